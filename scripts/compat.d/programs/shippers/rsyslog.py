"""rsyslog as Debian ships it: omkafka as a producer, imkafka as a consumer in a group. In the foreground, with its own files."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import BOOTSTRAP, CODECS, case, expect, main, poll_until, stored_batches, unique  # noqa: E402

RSYSLOGD = shutil.which("rsyslogd", path="/usr/sbin:/sbin:/usr/bin")
SECONDS = 40


class Running:
    """rsyslogd with this configuration, until the end of a `with`."""

    def __init__(self, text):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="compat-rsyslog-"))
        self.text = text

    def __enter__(self):
        configuration = self.directory / "conf"
        configuration.write_text(f'global(workDirectory="{self.directory}" maxMessageSize="1m")\n' + self.text(self.directory))
        checked = subprocess.run([RSYSLOGD, "-N1", "-f", configuration], capture_output=True, text=True)
        expect(checked.returncode, 0, f"rsyslogd on its configuration: {checked.stderr}")
        self.process = subprocess.Popen(
            [RSYSLOGD, "-n", "-f", configuration, "-i", self.directory / "pid"], stdout=sys.stdout, stderr=sys.stdout,
        )
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def values(topic):
    done = subprocess.run(
        ["kcat", "-b", BOOTSTRAP, "-C", "-q", "-e", "-t", topic, "-p", "0", "-o", "beginning"],
        capture_output=True, text=True, timeout=30,
    )
    return done.stdout.splitlines()


def ship(topic, codec, extra=""):
    lines = [f"{codec} line {n:05d} of a log that compresses well, well, well" for n in range(1000)]

    def configuration(directory):
        (directory / "input.log").write_text("\n".join(lines) + "\n")
        return (
            'module(load="imfile" mode="polling" pollingInterval="1")\nmodule(load="omkafka")\n'
            'template(name="raw" type="string" string="%rawmsg%")\n'
            f'input(type="imfile" file="{directory}/input.log" tag="t:" ruleset="r" freshStartTail="off")\n'
            f'ruleset(name="r" queue.type="Direct") {{\n'
            f'  action(type="omkafka" broker=["{BOOTSTRAP}"] topic="{topic}" partitions.number="1" template="raw"\n'
            f'    confParam=["acks=all", "compression.codec={codec}", "linger.ms=50"{extra}])\n}}\n'
        )

    with Running(configuration):
        poll_until(lambda: len(values(topic)) >= 1000, "a thousand lines", SECONDS)
    expect(values(topic), lines, "lines in order")
    # A line that goes alone is not worth compressing to the client.
    found = {batch.codec for batch in stored_batches(BOOTSTRAP, topic, 0) if batch.count > 5}
    expect(found, {CODECS[codec]}, "codec of the larger batches in the log")


@case
def omkafka_snappy(topic):
    ship(topic, "snappy")


@case
def omkafka_lz4_idempotent(topic):
    ship(topic, "lz4", ', "enable.idempotence=true"')


@case
def omkafka_zstd(topic):
    ship(topic, "zstd")


@case
def imkafka_reads_in_a_group(topic):
    lines = [f"message {n}" for n in range(200)]
    subprocess.run(["kcat", "-b", BOOTSTRAP, "-P", "-t", topic], input="\n".join(lines) + "\n", text=True, check=True, timeout=30)
    out = pathlib.Path(tempfile.mkdtemp(prefix="compat-imkafka-")) / "out"

    def configuration(_directory):
        return (
            'module(load="imkafka")\ntemplate(name="raw" type="string" string="%rawmsg%\\n")\n'
            f'input(type="imkafka" topic="{topic}" broker=["{BOOTSTRAP}"] consumergroup="{unique("imkafka")}" ruleset="w"\n'
            '  confParam=["auto.offset.reset=earliest"])\n'
            f'ruleset(name="w") {{ action(type="omfile" file="{out}" template="raw") }}\n'
        )

    with Running(configuration):
        poll_until(lambda: out.exists() and len(out.read_text().splitlines()) >= 200, "200 messages", SECONDS)
    expect(sorted(line.strip() for line in out.read_text().splitlines()), sorted(lines), "messages")
    shutil.rmtree(out.parent)


if __name__ == "__main__":
    main()

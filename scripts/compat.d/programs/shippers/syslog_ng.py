"""syslog-ng's kafka-c destination, from packages that were only unpacked: Debian's cannot be installed beside rsyslog."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import BOOTSTRAP, CODECS, case, expect, main, poll_until, stored_batches  # noqa: E402

ROOT = pathlib.Path(os.environ.get("COMPAT_ROOT", "/"))
SECONDS = 40


def values(topic):
    done = subprocess.run(
        ["kcat", "-b", BOOTSTRAP, "-C", "-q", "-e", "-t", topic, "-p", "0", "-o", "beginning"],
        capture_output=True, text=True, timeout=30,
    )
    return done.stdout.splitlines()


def ship(topic, codec, workers=""):
    lines = [f"{codec} line {n:05d} of a log that compresses well, well, well" for n in range(500)]
    directory = pathlib.Path(tempfile.mkdtemp(prefix="compat-syslog-ng-"))
    (directory / "input.log").write_text("\n".join(lines) + "\n")
    libraries = next((ROOT / "usr" / "lib").glob("*-linux-gnu*"))
    (directory / "conf").write_text(
        f'@version: 3.38\n@module affile\n@module kafka\n'
        f'source s {{ file("{directory}/input.log" flags(no-parse) follow-freq(0.2) read-old-records(yes)); }};\n'
        f'destination d {{ kafka-c(bootstrap-servers("{BOOTSTRAP}") topic("{topic}") message("$MESSAGE") {workers}\n'
        f'  config("compression.codec" => "{codec}", "acks" => "all", "linger.ms" => "50")); }};\n'
        f'log {{ source(s); destination(d); }};\n'
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{ROOT}/usr/lib/syslog-ng:{libraries}:{ROOT}/lib/{libraries.name}"}
    modules = next(path.parent for path in ROOT.rglob("libkafka.so"))
    process = subprocess.Popen(
        [ROOT / "usr" / "sbin" / "syslog-ng", "--foreground", "--no-caps", "--stderr", "--cfgfile", directory / "conf",
         "--persist-file", directory / "persist", "--pidfile", directory / "pid", "--control", directory / "ctl",
         "--module-path", modules],
        env=environment, stdout=sys.stdout, stderr=sys.stdout,
    )
    try:
        def shipped():
            expect(process.poll(), None, "syslog-ng's end")
            return len(values(topic)) >= 500

        poll_until(shipped, "five hundred lines", SECONDS)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)
    expect(sorted(values(topic)), sorted(lines), "lines")
    # A line that goes alone is not worth compressing to the client.
    found = {batch.codec for batch in stored_batches(BOOTSTRAP, topic, 0) if batch.count > 5}
    expect(found, {CODECS[codec]}, "codec of the larger batches in the log")


@case
def kafka_c_gzip(topic):
    ship(topic, "gzip")


@case
def kafka_c_zstd(topic):
    ship(topic, "zstd")


if __name__ == "__main__":
    main()

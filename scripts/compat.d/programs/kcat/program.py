"""kcat as Debian ships it: the old client that must not notice that it talks to something else.

librdkafka before 2.11.1 quietly sends batches uncompressed when it dislikes the range of Produce versions that a broker
advertises, and finds out about broker features by exact versions. So each codec is looked for in the log itself, and groups
are joined, left and resumed.
"""

import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import BOOTSTRAP, CODECS, case, expect, holds, main, poll_until, stored_batches  # noqa: E402

SECONDS = 30


def kcat(*arguments, stdin=None, accept=(0,)):
    done = subprocess.run(
        ["kcat", "-b", BOOTSTRAP, *arguments], input=stdin, capture_output=True, text=True, timeout=SECONDS,
    )
    if done.returncode not in accept:
        raise AssertionError(f"kcat {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def produce(topic, messages, *options):
    text = "".join(message + "\n" for message in messages)
    return kcat("-P", "-t", topic, "-X", "linger.ms=100", "-X", "acks=all", *options, stdin=text)


def consume(topic, *options, form="%o %s\\n"):
    return kcat("-C", "-q", "-t", topic, "-e", "-f", form, "-X", "fetch.wait.max.ms=50", *options).splitlines()


def lines(label, count):
    return [f"{label} line {n:06d} ".ljust(80, "=") for n in range(count)]


def codec(topic, name):
    sent = lines(name, 500)
    produce(topic, sent, "-p", "0", "-z", name)
    got = consume(topic, "-p", "0", "-o", "beginning", "-X", "check.crcs=true")
    expect(got, [f"{n} {line}" for n, line in enumerate(sent)], "records read back")
    batches = list(stored_batches(BOOTSTRAP, topic, 0))
    expect({batch.codec for batch in batches}, {CODECS[name]}, "codec of the batches in the log")
    expect(sum(batch.count for batch in batches), 500, "records in the batches")


@case
def uncompressed(topic):
    codec(topic, "none")


@case
def gzip(topic):
    codec(topic, "gzip")


@case
def snappy(topic):
    codec(topic, "snappy")


@case
def lz4(topic):
    codec(topic, "lz4")


@case
def zstd(topic):
    codec(topic, "zstd")


@case
def one_message_compressed(topic):
    """The case in which a client has the least reason to compress."""
    text = "x" * 2000
    produce(topic, [text], "-p", "0", "-z", "snappy")
    expect({batch.codec for batch in stored_batches(BOOTSTRAP, topic, 0)}, {CODECS["snappy"]}, "codec in the log")


@case
def metadata(topic):
    produce(topic, ["one"])
    answer = json.loads(kcat("-L", "-J"))
    ids = {broker["id"] for broker in answer["brokers"]}
    holds(answer["controllerid"] in ids, f"controller {answer['controllerid']} is one of {ids}")
    of_topic = [t for t in answer["topics"] if t["topic"] == topic]
    expect(len(of_topic), 1, "topics of that name")
    leaders = {partition["leader"] for partition in of_topic[0]["partitions"]}
    holds(leaders <= ids, f"leaders {leaders} are brokers {ids}")
    expect([p["partition"] for p in of_topic[0]["partitions"]], list(range(4)), "partitions of a topic made by using it")
    expect(json.loads(kcat("-L", "-J", "-t", topic))["topics"][0]["topic"], topic, "metadata of one topic")


@case
def metadata_of_a_missing_topic_makes_none(topic):
    kcat("-L", "-t", topic, "-X", "allow.auto.create.topics=false", accept=(0, 1))
    names = [t["topic"] for t in json.loads(kcat("-L", "-J"))["topics"]]
    holds(topic not in names, "the topic was made by looking for it")


@case
def offsets_and_ends(topic):
    produce(topic, lines("o", 200), "-p", "1")
    of = lambda *options: [int(line) for line in consume(topic, "-p", "1", *options, form="%o\\n")]
    expect(of("-o", "150"), list(range(150, 200)), "from an offset")
    expect(of("-o", "-5"), list(range(195, 200)), "the last five")
    expect(of("-o", "120", "-c", "10"), list(range(120, 130)), "ten from an offset")
    expect(of("-o", "end"), [], "from the end")


@case
def offsets_by_time(topic):
    produce(topic, lines("early", 20), "-p", "0")
    time.sleep(0.05)
    produce(topic, lines("late", 20), "-p", "0")
    stamps = [int(line) for line in consume(topic, "-p", "0", "-o", "beginning", form="%T\\n")]
    query = lambda stamp: int(kcat("-Q", "-t", f"{topic}:0:{stamp}").rsplit(" ", 1)[1])
    expect(query(-2), 0, "the beginning")
    expect(query(-1), 40, "the end")
    expect(query(stamps[20]), 20, "first late record")
    inside = stamps[-1]
    expect(query(inside), stamps.index(inside), "a time inside of a batch")
    late = [int(line) for line in consume(topic, "-p", "0", "-o", f"s@{stamps[20]}", form="%o\\n")]
    expect(late, list(range(20, 40)), "consumed from a time")


@case
def keys_headers_and_nulls(topic):
    produce(topic, ["k:value", "n:", ":keyless"], "-p", "0", "-K:", "-Z", "-H", "a=1", "-H", "b=two words")
    got = [json.loads(line) for line in kcat("-C", "-q", "-e", "-J", "-t", topic, "-p", "0").splitlines()]
    expect([(m["key"], m["payload"]) for m in got], [("k", "value"), ("n", None), (None, "keyless")], "keys and values")
    expect(got[0]["headers"], ["a", "1", "b", "two words"], "headers")


@case
def large_messages(topic):
    sent = ["m" * 900_000, "n" * 900_000]
    produce(topic, sent, "-p", "0")
    expect(consume(topic, "-p", "0", "-o", "beginning", form="%s\\n"), sent, "large messages read back")


@case
def too_large_is_refused(topic):
    done = subprocess.run(
        ["kcat", "-b", BOOTSTRAP, "-P", "-t", topic, "-p", "0", "-X", "message.max.bytes=3000000"],
        input="z" * 2_000_000 + "\n", capture_output=True, text=True, timeout=SECONDS,
    )
    holds(done.returncode != 0 or "too large" in done.stderr.lower(), f"a message of 2 MB was taken: {done.stderr}")
    produce(topic, ["after"], "-p", "0")
    expect(consume(topic, "-p", "0", "-o", "beginning", form="%s\\n"), ["after"], "what is in the log")


@case
def idempotent(topic):
    produce(topic, lines("i", 300), "-p", "0", "-X", "enable.idempotence=true")
    expect(len(consume(topic, "-p", "0", "-o", "beginning")), 300, "records of an idempotent producer")
    producers = {batch.producer_id for batch in stored_batches(BOOTSTRAP, topic, 0)}
    holds(all(producer >= 0 for producer in producers), f"producer ids {producers}")


def in_group(group, topic, *options):
    return kcat("-G", group, topic, "-q", "-e", "-f", "%p %o %s\\n", "-X", "auto.offset.reset=earliest",
                "-X", "fetch.wait.max.ms=50", *options).splitlines()


@case
def group_reads_everything_and_resumes(topic):
    for partition in range(4):
        produce(topic, [f"first {partition} {n}" for n in range(25)], "-p", str(partition))
    got = in_group(topic, topic)
    expect(len(got), 100, "records read by the group")
    expect(len(set(got)), 100, "distinct records")
    produce(topic, ["more"], "-p", "2")
    expect(in_group(topic, topic), ["2 25 more"], "read after what was committed")


@case
def two_members_share(topic):
    for partition in range(4):
        produce(topic, [f"start {partition}"], "-p", str(partition))
    options = ["-q", "-u", "-f", "%p %s\\n", "-X", "auto.offset.reset=earliest", "-X", "heartbeat.interval.ms=200",
               "-X", "session.timeout.ms=6000"]
    members, logs = [], []
    try:
        for at in range(2):
            log = open(f"/tmp/{topic}-{at}", "w+")
            logs.append(log)
            members.append(subprocess.Popen(
                ["kcat", "-b", BOOTSTRAP, "-G", topic, topic, *options], stdout=log, stderr=subprocess.DEVNULL,
            ))

        def shared():
            """Sends one record to each partition until both members have read some of a round."""
            shared.round += 1
            for partition in range(4):
                produce(topic, [f"round-{shared.round} {partition}"], "-p", str(partition))
            time.sleep(0.5)
            word = f"round-{shared.round} "
            seen = [[line.split()[0] for line in read(log) if word in line] for log in logs]
            return all(seen) and sorted(seen[0] + seen[1]) == ["0", "1", "2", "3"]

        shared.round = 0
        poll_until(shared, "both members have partitions, each partition one member", 25)
        members[0].terminate()
        members[0].wait(10)

        def taken_over():
            produce(topic, [f"after {n}" for n in range(2)], "-p", "0")
            produce(topic, [f"after {n}" for n in range(2)], "-p", "3")
            time.sleep(0.5)
            seen = {line.split()[0] for line in read(logs[1]) if "after" in line}
            return {"0", "3"} <= seen

        poll_until(taken_over, "the member that is left reads every partition", 25)
    finally:
        for member in members:
            member.kill()
            member.wait()
        for log in logs:
            log.close()
            pathlib.Path(log.name).unlink()


def read(log):
    return pathlib.Path(log.name).read_text().splitlines()


if __name__ == "__main__":
    main()

"""kcat as Debian ships it (librdkafka 2.0.2): the old client that must not notice it talks to something else.

Topics are made by the broker on first use, as kcat users expect. Shown here: metadata, produce with every
codec (and that the codec really reached the log: librdkafka before 2.11.1 silently drops it when it dislikes
the advertised Produce range), keys and headers, consume from the start, an offset, the tail and a timestamp,
the offset query, and an end that is found.
"""

import json
import subprocess

from checks import CODECS, arguments, expect, lines, next_millisecond, run, stored_batches

TIMEOUT_SECONDS = 30
args = arguments(__doc__)


def kcat(*arguments, stdin=None):
    """kcat's standard output; what it says on standard error is shown when it fails."""
    done = subprocess.run(
        ["kcat", "-b", args.brokers, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    if done.returncode != 0:
        raise AssertionError(f"kcat {' '.join(arguments)} exited {done.returncode}: {done.stderr}")
    return done.stdout


def produce(topic, messages, *options):
    # A long linger puts the messages into few batches, so that compression is worth it.
    text = "".join(message + "\n" for message in messages)
    kcat("-P", "-t", topic, "-p", "0", "-X", "linger.ms=100", "-X", "acks=all", *options, stdin=text)


def consume(topic, *options, form="%o %s\\n"):
    # At the end a fetch waits for more before it says so: the wait is what these programs would spend time on.
    wait = ("-X", "fetch.wait.max.ms=50")
    return kcat("-C", "-q", "-t", topic, "-p", "0", "-e", "-f", form, *wait, *options).splitlines()


def metadata():
    answer = json.loads(kcat("-L", "-J"))
    expect(len(answer["brokers"]), args.broker_count, "brokers in metadata")
    ids = {broker["id"] for broker in answer["brokers"]}
    expect(len(ids), args.broker_count, "distinct broker ids")
    expect(len({broker["name"] for broker in answer["brokers"]}), args.broker_count, "distinct addresses")
    expect(answer["controllerid"] in ids, True, f"controller {answer['controllerid']} is one of {ids}")


def codec(name):
    topic = f"kcat-{name}"
    sent = lines(name, 300)
    produce(topic, sent, "-z", name)
    expect(consume(topic, "-o", "beginning"), [f"{n} {line}" for n, line in enumerate(sent)], "records read back")
    expect({batch.codec for batch in stored_batches(args.brokers, topic, 0)}, {CODECS[name]}, "codec in the log")


def keys_and_headers():
    produce("kcat-keys", ["k1:first", "k2:second", ":empty key"], "-K", ":", "-H", "origin=kcat", "-H", "n=1")
    expect(
        consume("kcat-keys", "-o", "beginning", form="%o|%k|%s|%h\\n"),
        ["0|k1|first|origin=kcat,n=1", "1|k2|second|origin=kcat,n=1", "2||empty key|origin=kcat,n=1"],
        "keys and headers read back",
    )


def offsets():
    produce("kcat-offsets", lines("offsets", 200))
    offsets_of = lambda *options: [int(o) for o in consume("kcat-offsets", *options, form="%o\\n")]
    expect(offsets_of("-o", "150"), list(range(150, 200)), "from an offset")
    expect(offsets_of("-o", "120", "-c", "10"), list(range(120, 130)), "ten from an offset")
    expect(offsets_of("-o", "-5"), list(range(195, 200)), "the last five")
    expect(offsets_of("-o", "end"), [], "from the end")


def timestamps():
    topic = "kcat-timestamps"
    produce(topic, lines("early", 50))
    stamps = [int(stamp) for stamp in consume(topic, "-o", "beginning", form="%T\\n")]
    next_millisecond(max(stamps))
    produce(topic, lines("late", 50))
    stamps = [int(stamp) for stamp in consume(topic, "-o", "beginning", form="%T\\n")]
    expect(len(stamps), 100, "records with a timestamp")

    def query(stamp):
        answer = kcat("-Q", "-t", f"{topic}:0:{stamp}")
        return int(answer.split("offset")[1])

    expect(query(-2), 0, "the beginning")
    expect(query(-1), 100, "the end")
    expect(query(stamps[0]), 0, "the first record's timestamp")
    expect(query(stamps[0] - 60_000), 0, "before the first record")
    expect(query(stamps[50]), 50, "the first late record's timestamp")
    # Inside a batch: the first record that is as late, not the batch's first.
    inside = stamps[-1]
    expect(query(inside), stamps.index(inside), "the last record's timestamp")
    # Nothing is that late. The wire answers -1; librdkafka's query prints the end for it or -1 by version.
    expect(query(stamps[-1] + 3_600_000) in (-1, 100), True, "later than every record")
    late = consume(topic, "-o", f"s@{stamps[50]}", form="%o\\n")
    expect([int(offset) for offset in late], list(range(50, 100)), "consumed from a timestamp")


def empty_topic():
    produce("kcat-empty", ["only"])
    expect(consume("kcat-empty", "-o", "1"), [], "at the end")


run(
    "kcat",
    [("metadata", metadata)]
    + [(f"produce and consume with {name}", lambda name=name: codec(name)) for name in CODECS]
    + [
        ("keys and headers", keys_and_headers),
        ("consume by offset", offsets),
        ("query and consume by timestamp", timestamps),
        ("stop at the end", empty_topic),
    ],
)

"""What every client program here shares: steps, expectations, and a look at the batches behind the client.

A program is a list of steps run against one broker address. Each step prints one line, a failed step does not
hide the ones after it, and the exit status is 0 only if every step passed. A watchdog prints where the
program stands and ends it when it takes longer than it ever should, so that a hung client cannot hang a run.

`stored_batches` is deliberately not a client: a few lines of struct and a socket that fetch a partition raw,
because the question "did the broker keep this batch compressed as it came?" is one that clients answer wrongly
by decompressing. It asks the address it was given, whichever core answers there, so it also shows that any
core serves any partition.
"""

import argparse
import collections
import faulthandler
import socket
import struct
import sys
import time
import traceback

WATCHDOG_SECONDS = 100
# Bits 0-2 of a batch's attributes.
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

Batch = collections.namedtuple("Batch", "base_offset count codec producer_id base_sequence")


def expect(actual, expected, what):
    """Fails unless the two are equal; long values are shortened to where they first differ."""
    if actual == expected:
        return
    if isinstance(actual, list) and isinstance(expected, list):
        for at, (a, e) in enumerate(zip(actual, expected)):
            if a != e:
                raise AssertionError(f"{what}: item {at} is {a!r:.300}, expected {e!r:.300}")
        raise AssertionError(f"{what}: {len(actual)} items, expected {len(expected)}")
    raise AssertionError(f"{what}: {actual!r:.600}, expected {expected!r:.600}")


def poll_until(condition, what, seconds=15):
    """Asks again and again, politely, until the condition holds; returns what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def next_millisecond(after):
    """Waits until the clock shows a later millisecond than `after`, and gives it."""
    while (now := time.time_ns() // 1_000_000) <= after:
        pass
    return now


def lines(label, count, width=60):
    """Distinct lines that every codec makes smaller."""
    return [f"{label} line {n:06d} ".ljust(width, "=") for n in range(count)]


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("brokers", help="bootstrap address, HOST:PORT")
    parser.add_argument("--broker-count", type=int, default=1, help="how many brokers metadata must name")
    return parser.parse_args()


def run(name, steps):
    """Runs the steps in order and exits with the verdict."""
    faulthandler.dump_traceback_later(WATCHDOG_SECONDS, exit=True)
    failed = []
    for title, step in steps:
        started = time.monotonic()
        try:
            step()
            verdict = "ok"
        except Exception:
            verdict = "FAILED"
            failed.append(title)
            traceback.print_exc()
        print(f"{name}: {title}: {verdict} ({time.monotonic() - started:.2f} s)", flush=True)
    print(f"{name}: {len(steps) - len(failed)} of {len(steps)} steps passed", flush=True)
    faulthandler.cancel_dump_traceback_later()
    sys.exit(1 if failed else 0)


def stored_batches(brokers, topic, partition):
    """Every batch of a partition, as Fetch version 4 hands it out."""
    host, port = brokers.split(",")[0].rsplit(":", 1)
    batches = []
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        offset = 0
        while True:
            end, records = _fetch(sock, topic, partition, offset)
            found = [batch for batch in _batches(records) if batch.base_offset >= offset]
            batches.extend(found)
            if found:
                offset = found[-1].base_offset + found[-1].count
            if offset >= end or not found:
                expect(offset, end, f"offset after the last stored batch of {topic}/{partition}")
                return batches


def _fetch(sock, topic, partition, offset):
    name = topic.encode()
    # Version 10 is the first that may carry zstd.
    request = struct.pack(">hhih", 1, 10, 7, -1)
    request += struct.pack(">iiiibii", -1, 500, 1, 16 << 20, 0, 0, -1)
    request += struct.pack(">ih", 1, len(name)) + name
    request += struct.pack(">iiiqqi", 1, partition, -1, offset, -1, 16 << 20)
    request += struct.pack(">i", 0)
    sock.sendall(struct.pack(">i", len(request)) + request)
    answer = _exactly(sock, struct.unpack(">i", _exactly(sock, 4))[0])
    correlation, _throttle, code, _session, topics, name_length = struct.unpack_from(">iihiih", answer)
    expect((correlation, code, topics), (7, 0, 1), "fetch answer")
    at = 20 + name_length
    partitions, index, error, high_watermark, _stable, _start, aborted = struct.unpack_from(">iihqqqi", answer, at)
    expect((partitions, index, error), (1, partition, 0), "fetched partition")
    at += 38 + 16 * max(aborted, 0)
    (length,) = struct.unpack_from(">i", answer, at)
    expect(length >= 0, True, "records length is not null")
    return high_watermark, answer[at + 4 : at + 4 + length]


def _batches(records):
    at = 0
    while at + 61 <= len(records):
        base, length, _epoch, magic = struct.unpack_from(">qiib", records, at)
        if at + 12 + length > len(records):
            return
        expect(magic, 2, "batch magic")
        attributes, _last, _first_ts, _max_ts, producer, _pepoch, sequence, count = struct.unpack_from(
            ">hiqqqhii", records, at + 21
        )
        yield Batch(base, count, attributes & 7, producer, sequence)
        at += 12 + length


def _exactly(sock, count):
    got = bytearray()
    while len(got) < count:
        piece = sock.recv(count - len(got))
        if not piece:
            raise AssertionError("the broker closed the connection in the middle of an answer")
        got += piece
    return bytes(got)

"""What the confluent-kafka programs share: clients made for tests, and the harness."""

import functools
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import (  # noqa: E402, F401
    BOOTSTRAP, CODECS, Skip, case, expect, holds, main, poll_until, raises, stored_batches, unique,
)

from confluent_kafka import Consumer, Producer  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

SECONDS = 15


@functools.cache
def admin():
    # One for all: a client that is collected takes its unanswered calls with it.
    return AdminClient({"bootstrap.servers": BOOTSTRAP})


def settle(futures):
    """Waits for every answer of an administrative call; the first error is raised."""
    return {key: future.result(timeout=SECONDS) for key, future in futures.items()}


def create(topic, partitions=4, **config):
    made = NewTopic(topic, num_partitions=partitions, replication_factor=1,
                    config={key.replace("_", "."): str(value) for key, value in config.items()})
    settle(admin().create_topics([made], operation_timeout=SECONDS))


def producer(**options):
    return Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5, **dotted(options)})


def consumer(group, **options):
    return Consumer({
        "bootstrap.servers": BOOTSTRAP,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 100,
        **dotted(options),
    })


def dotted(options):
    return {key.replace("_", "."): value for key, value in options.items()}


def send(topic, messages, client=None, **options):
    """Produces `(partition, key, value)` and gives what the broker acknowledged."""
    client = client or producer(**options)
    reports = []

    def delivered(error, message):
        if error:
            reports.append(error)
        else:
            reports.append((message.partition(), message.offset()))

    for partition, key, value in messages:
        client.produce(topic, key=key, value=value, partition=partition, on_delivery=delivered)
        client.poll(0)
    expect(client.flush(SECONDS), 0, "messages left after flush")
    errors = [report for report in reports if not isinstance(report, tuple)]
    expect(errors, [], "delivery errors")
    return reports


def read(client, count, seconds=SECONDS):
    """The next `count` messages; errors are raised."""
    got, deadline = [], time.monotonic() + seconds
    while len(got) < count:
        holds(time.monotonic() < deadline, f"{len(got)} of {count} messages within {seconds} s")
        for message in client.consume(min(count - len(got), 500), 0.2):
            if message.error():
                raise AssertionError(f"consumer says: {message.error()}")
            got.append(message)
    return got


def nothing_more(client, seconds=0.7):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        message = client.poll(0.1)
        if message is not None and not message.error():
            raise AssertionError(f"one more message: {message.partition()}@{message.offset()} {message.value()!r:.80}")


def drive(members, done, what, seconds=30, on_message=None):
    """Polls all members until `done()`."""

    def step():
        for member in members:
            message = member.poll(0.02)
            if message is not None:
                if message.error():
                    raise AssertionError(f"consumer says: {message.error()}")
                if on_message:
                    on_message(member, message)
        return done()

    poll_until(step, what, seconds)


def owned(member):
    return sorted((part.topic, part.partition) for part in member.assignment())

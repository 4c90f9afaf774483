"""Produce and consume through a current librdkafka: codecs, sizes, headers, nulls, times, idempotence, errors."""

import threading
import time

from common import *  # noqa: F403
from confluent_kafka import (
    OFFSET_BEGINNING, OFFSET_END, TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError,
    KafkaException, TopicPartition,
)

PAST_MS = 1_600_000_000_000


def assigned(topic, partition, offset=OFFSET_BEGINNING, **options):
    client = consumer("assigned-only", **{"check.crcs": True, **options})
    client.assign([TopicPartition(topic, partition, offset)])
    return client


def codec(topic, name):
    create(topic, 1)
    values = [f"{name} {n:05d} ".encode().ljust(120, b".") for n in range(2000)]
    reports = send(topic, [(0, None, value) for value in values], compression_type=name)
    expect(reports, [(0, n) for n in range(2000)], "delivery reports")
    client = assigned(topic, 0)
    got = read(client, 2000)
    expect([m.value() for m in got], values, "values read back")
    expect([m.offset() for m in got], list(range(2000)), "offsets")
    client.close()
    expect({b.codec for b in stored_batches(BOOTSTRAP, topic, 0)}, {CODECS[name]}, "codec in the log")


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
def headers_keys_and_nulls(topic):
    create(topic, 1)
    client = producer()
    headers = [("a", b"1"), ("a", b"again"), ("empty", b""), ("null", None), ("bytes", bytes(range(256)))]
    client.produce(topic, key=b"k", value=b"v", headers=headers)
    client.produce(topic, key=None, value=None)
    client.produce(topic, key=b"", value=b"")
    expect(client.flush(SECONDS), 0, "messages left")
    got = read(assigned(topic, 0), 3)
    expect(got[0].headers(), headers, "headers in order, with repeats and nulls")
    expect((got[1].key(), got[1].value()), (None, None), "nulls")
    expect((got[2].key(), got[2].value()), (b"", b""), "empty is not null")


@case
def timestamps(topic):
    create(topic, 1)
    client = producer()
    for n in range(10):
        client.produce(topic, value=b"t", timestamp=PAST_MS + n * 1000, partition=0)
    client.flush(SECONDS)
    reader = assigned(topic, 0)
    got = read(reader, 10)
    expect([m.timestamp() for m in got], [(TIMESTAMP_CREATE_TIME, PAST_MS + n * 1000) for n in range(10)], "stamps")

    def lookup(stamp):
        return reader.offsets_for_times([TopicPartition(topic, 0, stamp)], timeout=SECONDS)[0].offset

    expect(lookup(PAST_MS), 0, "first")
    expect(lookup(PAST_MS - 5), 0, "before the first")
    expect(lookup(PAST_MS + 4000), 4, "exact, inside of the batch")
    expect(lookup(PAST_MS + 4001), 5, "between two")
    expect(lookup(PAST_MS + 60_000), OFFSET_END, "behind the last")
    expect(reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=SECONDS), (0, 10), "watermarks")


@case
def lookup_by_time_in_every_codec(topic):
    for name in CODECS:
        each = f"{topic}-{name}"
        create(each, 1)
        client = producer(compression_type=name, linger_ms=200)
        for n in range(500):
            client.produce(each, value=b"%d" % n, timestamp=PAST_MS + n, partition=0)
        client.flush(SECONDS)
        reader = assigned(each, 0)
        for n in (0, 1, 250, 499):
            found = reader.offsets_for_times([TopicPartition(each, 0, PAST_MS + n)], timeout=SECONDS)[0].offset
            expect(found, n, f"{name}: offset of the stamp {n}")
        reader.close()


@case
def log_append_time(topic):
    create(topic, 1, message_timestamp_type="LogAppendTime")
    before = time.time_ns() // 1_000_000
    for name in ("none", "lz4"):
        client = producer(compression_type=name)
        for _ in range(20):
            client.produce(topic, value=b"t" * 50, timestamp=PAST_MS, partition=0)
        client.flush(SECONDS)
    got = read(assigned(topic, 0), 40)
    after = time.time_ns() // 1_000_000
    for message in got:
        kind, stamp = message.timestamp()
        expect(kind, TIMESTAMP_LOG_APPEND_TIME, "kind of timestamp")
        holds(before - 1000 <= stamp <= after + 1000, f"{before} <= {stamp} <= {after}")


@case
def timestamp_too_far_ahead_is_refused(topic):
    create(topic, 1, message_timestamp_after_max_ms=60000)
    client, errors = producer(), []
    client.produce(topic, value=b"x", timestamp=(time.time_ns() // 1_000_000) + 3_600_000, partition=0,
                   on_delivery=lambda error, _: errors.append(error))
    client.flush(SECONDS)
    expect([error and error.code() for error in errors], [KafkaError.INVALID_TIMESTAMP], "delivery report")


@case
def large_messages(topic):
    create(topic, 1, max_message_bytes=5_000_000)
    values = [bytes([n]) * 4_000_000 for n in range(3)]
    send(topic, [(0, None, v) for v in values], **{"message.max.bytes": 5_000_000})
    reader = assigned(topic, 0, **{"fetch.message.max.bytes": 1000, "receive.message.max.bytes": 60_000_000})
    expect([m.value() == v for m, v in zip(read(reader, 3), values)], [True] * 3, "large values")


@case
def too_large_is_refused_and_nothing_else(topic):
    create(topic, 1)
    client, errors = producer(**{"message.max.bytes": 5_000_000}), []
    report = lambda error, _: errors.append(error and error.code())
    client.produce(topic, value=b"x" * 3_000_000, partition=0, on_delivery=report)
    client.flush(SECONDS)
    client.produce(topic, value=b"small", partition=0, on_delivery=report)
    client.flush(SECONDS)
    expect(errors, [KafkaError.MSG_SIZE_TOO_LARGE, None], "delivery reports")


@case
def idempotent_and_dense(topic):
    create(topic, 4)
    client = producer(**{"enable.idempotence": True, "batch.num.messages": 50})
    reports = send(topic, [(n % 4, b"%d" % n, b"v%d" % n) for n in range(4000)], client)
    for partition in range(4):
        expect(sorted(o for p, o in reports if p == partition), list(range(1000)), f"offsets of partition {partition}")
    batches = list(stored_batches(BOOTSTRAP, topic, 0))
    holds(all(b.producer_id >= 0 for b in batches), "producer ids in the log")
    sequence = 0
    for batch in batches:
        expect(batch.base_sequence, sequence, "sequence of the next batch")
        sequence += batch.count


@case
def acks_none_one_and_all(topic):
    create(topic, 1)
    for acks in ("0", "1", "all"):
        client = producer(acks=acks)
        for n in range(100):
            client.produce(topic, value=f"{acks} {n}".encode(), partition=0)
        expect(client.flush(SECONDS), 0, "messages left")
    got = read(assigned(topic, 0), 300)
    expect(sorted({m.value().split()[0] for m in got}), [b"0", b"1", b"all"], "levels of acknowledgement that arrived")


@case
def unknown_partition_and_topic(topic):
    create(topic, 2)
    client, errors = producer(**{"message.timeout.ms": 5000}), []
    report = lambda error, _: errors.append(error and error.code())
    try:
        client.produce(topic, value=b"x", partition=7, on_delivery=report)
        client.flush(SECONDS)
    except KafkaException as error:
        errors.append(error.args[0].code())
    holds(errors and errors[0] in (KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART), f"errors {errors}")
    missing = unique("missing")
    about = consumer("nobody", **{"allow.auto.create.topics": False}).list_topics(missing, timeout=SECONDS)
    expect(about.topics[missing].error.code(), KafkaError.UNKNOWN_TOPIC_OR_PART, "error of a missing topic")


@case
def invalid_topic_name(_topic):
    client, errors = producer(**{"message.timeout.ms": 5000}), []
    client.produce("not/valid", value=b"x", on_delivery=lambda error, _: errors.append(error.code()))
    client.flush(SECONDS)
    expect(errors, [KafkaError.TOPIC_EXCEPTION], "delivery report")


@case
def offset_out_of_range_resets(topic):
    create(topic, 1)
    send(topic, [(0, None, b"%d" % n) for n in range(10)])
    reader = assigned(topic, 0, 5000)
    expect(read(reader, 10)[0].offset(), 0, "reset to the earliest")
    reader = assigned(topic, 0, 5000, **{"auto.offset.reset": "error"})
    error = poll_until(lambda: (m := reader.poll(0.2)) and m.error(), "an error")
    expect(error.code(), KafkaError._AUTO_OFFSET_RESET, "error without a reset")


@case
def long_poll_wakes_for_a_record(topic):
    create(topic, 1)
    reader = consumer("long-poll", **{"fetch.wait.max.ms": 10_000})
    reader.assign([TopicPartition(topic, 0, 0)])
    expect(reader.poll(1.0), None, "an empty topic")
    threading.Timer(0.3, lambda: send(topic, [(0, None, b"now")])).start()
    started = time.monotonic()
    expect(read(reader, 1)[0].value(), b"now", "the record")
    holds(time.monotonic() - started < 5, "it came long before the wait was over")


@case
def partition_end_events_and_pause(topic):
    create(topic, 2)
    send(topic, [(n % 2, None, b"%d" % n) for n in range(20)])
    reader = consumer("ends", **{"enable.partition.eof": True})
    reader.assign([TopicPartition(topic, 0, 0), TopicPartition(topic, 1, 0)])
    ends, seen = set(), []

    def step():
        message = reader.poll(0.1)
        if message is not None:
            if message.error():
                expect(message.error().code(), KafkaError._PARTITION_EOF, "event")
                ends.add(message.partition())
            else:
                seen.append(message)
        return len(ends) == 2

    poll_until(step, "both ends")
    expect(len(seen), 20, "records before the ends")
    reader.pause([TopicPartition(topic, 0)])
    send(topic, [(0, None, b"paused"), (1, None, b"flowing")])
    got = poll_until(lambda: (m := reader.poll(0.1)) and not m.error() and m, "the record of the other partition")
    expect(got.value(), b"flowing", "not the paused one")
    reader.resume([TopicPartition(topic, 0)])
    got = poll_until(lambda: (m := reader.poll(0.1)) and not m.error() and m, "the record of the resumed partition")
    expect(got.value(), b"paused", "resumed")


@case
def many_partitions_at_once(topic):
    create(topic, 100)
    send(topic, [(n % 100, None, b"%d" % n) for n in range(3000)], compression_type="lz4")
    reader = consumer("many")
    reader.assign([TopicPartition(topic, p, 0) for p in range(100)])
    got = read(reader, 3000)
    expect(len({(m.partition(), m.offset()) for m in got}), 3000, "distinct records")


@case
def keyless_records_in_a_compacted_topic_are_refused(topic):
    create(topic, 1, cleanup_policy="compact")
    for name in ("none", "zstd"):
        client, errors = producer(compression_type=name), []
        client.produce(topic, value=b"x" * 100, partition=0, on_delivery=lambda e, _: errors.append(e and e.code()))
        client.flush(SECONDS)
        expect(errors, [KafkaError.INVALID_RECORD], f"delivery report, {name}")
    send(topic, [(0, b"key", b"value")])


@case
def the_last_record_of_each_key_stays(topic):
    create(topic, 1, cleanup_policy="compact", segment_ms=1000, min_cleanable_dirty_ratio="0.01",
           max_compaction_lag_ms=1000, delete_retention_ms=60000)
    for round_ in range(3):
        send(topic, [(0, b"k%d" % (n % 10), b"%d-%d" % (round_, n)) for n in range(100)])
        time.sleep(1.2)
    send(topic, [(0, b"roll", b"x")])

    def compacted():
        reader = consumer("compacted", **{"enable.partition.eof": True})
        reader.assign([TopicPartition(topic, 0, 0)])
        got = []
        while True:
            message = reader.poll(2)
            if message is None or message.error():
                break
            got.append(message)
        reader.close()
        latest = {m.key(): m.value() for m in got}
        expect(latest, {**{b"k%d" % k: b"2-%d" % (90 + k) for k in range(10)}, b"roll": b"x"}, "last values")
        return len(got) <= 120

    # Kafka looks for logs to clean every 15 s.
    poll_until(compacted, "older records are gone", 45)


main()

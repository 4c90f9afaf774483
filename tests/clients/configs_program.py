"""Configuration as tools change it, and what it does to produced records.

Shown here, with confluent-kafka's admin client: where each value comes from and how topics inherit from the broker;
setting, removing, adding to and taking from lists, one by one and all at once; what is refused. Then, with its producer and
consumer: records stamped by the broker, batches compressed by the broker, keys demanded by compacted topics, timestamps out
of bounds, replicas that are not there, and topics that are the broker's own.
"""

import io
import os
import socket
import struct
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource
from confluent_kafka.admin import NewPartitions, NewTopic, ResourceType

from checks import CODECS, arguments, expect, poll_until, run, stored_batches

args = arguments(__doc__)
admin = AdminClient({"bootstrap.servers": args.brokers})
TIMEOUT_SECONDS = 15
# A timestamp of the past that no clock of this run gives, so that a broker that stamps by itself is found out.
PAST_MS = 1_600_000_000_000


def topic(name):
    return ConfigResource(ResourceType.TOPIC, name)


def broker(name):
    return ConfigResource(ResourceType.BROKER, name)


def create(name, partitions=1, **config):
    config = {key.replace("_", "."): value for key, value in config.items()}
    new = NewTopic(name, partitions, 1, config=config)
    for future in admin.create_topics([new], operation_timeout=10).values():
        future.result(timeout=TIMEOUT_SECONDS)
    known = lambda: name in admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    poll_until(known, f"{name} is there")


def describe(resource):
    return admin.describe_configs([resource])[resource].result(timeout=TIMEOUT_SECONDS)


def error_code(call):
    """The Kafka error name that the call fails with."""
    try:
        call()
    except KafkaException as failure:
        return failure.args[0].name()
    return "no error"


def alter(resource, *entries, **options):
    """Changes (key, operation, value) triples one by one; the error's name."""
    changed = ConfigResource(resource.restype, resource.name)
    for key, operation, value in entries:
        changed.add_incremental_config(ConfigEntry(key, value, incremental_operation=operation))
    future = admin.incremental_alter_configs([changed], **options)[changed]
    return error_code(lambda: future.result(timeout=TIMEOUT_SECONDS))


def replace(resource, **config):
    """Replaces the whole configuration; the error's name."""
    config = {key.replace("_", "."): value for key, value in config.items()}
    changed = ConfigResource(resource.restype, resource.name, set_config=config)
    future = admin.alter_configs([changed])[changed]
    return error_code(lambda: future.result(timeout=TIMEOUT_SECONDS))


SET, DELETE = AlterConfigOpType.SET, AlterConfigOpType.DELETE
APPEND, SUBTRACT = AlterConfigOpType.APPEND, AlterConfigOpType.SUBTRACT


def ask(key, version, body):
    """Sends one request by hand: librdkafka neither names all brokers at once nor asks one for another that is not there."""
    host, port = args.brokers.split(",")[0].rsplit(":", 1)
    request = struct.pack(">hhih", key, version, 7, -1) + body
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS) as sock:
        sock.sendall(struct.pack(">i", len(request)) + request)
        answer = sock.makefile("rb")
        (size,) = struct.unpack(">i", answer.read(4))
        return io.BytesIO(answer.read(size)[4:])


def packed(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text)) + text.encode()


def unpacked(answer):
    (length,) = struct.unpack(">h", answer.read(2))
    return None if length < 0 else answer.read(length).decode()


def alter_by_hand(name, key, operation, value):
    """Changes one key of a broker; the error's code."""
    body = struct.pack(">ib", 1, 4) + packed(name) + struct.pack(">i", 1) + packed(key)
    body += struct.pack(">b", operation) + packed(value) + b"\0"
    _throttle, _count, code = struct.unpack(">iih", ask(44, 0, body).read(10))
    return code


def describe_all_brokers():
    """What is set for all brokers: value and source by key."""
    body = struct.pack(">ib", 1, 4) + packed("") + struct.pack(">i", -1) + b"\0"
    answer = ask(32, 1, body)
    _throttle, _count, code = struct.unpack(">iih", answer.read(10))
    expect(code, 0, "describing all brokers")
    unpacked(answer), answer.read(1), unpacked(answer)
    found = {}
    (count,) = struct.unpack(">i", answer.read(4))
    for _ in range(count):
        key, value = unpacked(answer), unpacked(answer)
        _read_only, source, _secret, synonyms = struct.unpack(">bbbi", answer.read(7))
        expect(synonyms, 0, "synonyms nobody asked for")
        found[key] = (value, source)
    return found


def sources():
    create("conf-sources", retention_ms="5000")
    found = describe(topic("conf-sources"))
    own = found["retention.ms"]
    expect((own.value, own.source), ("5000", ConfigSource.DYNAMIC_TOPIC_CONFIG.value), "an override")
    expect("log.retention.ms" in own.synonyms, True, "the broker's key is a synonym")
    default = found["segment.ms"]
    expect((default.value, default.is_default), ("604800000", True), "a default")
    for key in ("compression.zstd.level", "min.insync.replicas", "remote.storage.enable"):
        expect(key in found, True, f"{key} is listed")

    node = describe(broker("0"))
    expect(node["node.id"].value, "0", "node.id")
    expect(node["num.partitions"].is_read_only, True, "num.partitions is read-only")
    expect(node["log.retention.ms"].is_read_only, False, "log.retention.ms can be changed")
    expect(len(node) > 120, True, "a broker has many keys")
    expect(describe_all_brokers(), {}, "nothing is set for all brokers")


def alterations():
    create("conf-alter")
    here = topic("conf-alter")
    expect(alter(here, ("retention.ms", SET, "7"), ("cleanup.policy", APPEND, "compact")), "no error", "set, append")
    found = describe(here)
    expect(found["retention.ms"].value, "7", "set")
    expect(found["cleanup.policy"].value, "delete,compact", "appended to the default")
    expect(alter(here, ("cleanup.policy", SUBTRACT, "delete"), ("retention.ms", DELETE, None)), "no error", "undo")
    found = describe(here)
    expect(found["cleanup.policy"].value, "compact", "subtracted")
    expect(found["retention.ms"].is_default, True, "deleted")
    expect(alter(here, ("retention.ms", SET, "8"), validate_only=True), "no error", "validate only")
    expect(describe(here)["retention.ms"].is_default, True, "validating changes nothing")
    expect(replace(here, retention_ms="9"), "no error", "replace")
    found = describe(here)
    expect((found["retention.ms"].value, found["cleanup.policy"].value), ("9", "delete"), "replaced")

    invalid, request = "INVALID_CONFIG", "INVALID_REQUEST"
    for key, operation, value, code in [
        ("retention.ms", SET, "soon", invalid),
        ("no.such.key", SET, "1", invalid),
        ("retention.ms", APPEND, "1", invalid),
        ("min.insync.replicas", SET, "0", invalid),
        ("compression.type", SET, "none", invalid),
        ("remote.storage.enable", SET, "true", invalid),
    ]:
        expect(alter(here, (key, operation, value)), code, f"{key} {operation} {value}")
    expect(alter(topic("conf-none"), ("retention.ms", SET, "1")), "UNKNOWN_TOPIC_OR_PART", "no such topic")
    expect(alter_by_hand("77", "log.retention.ms", 0, "1"), 42, "no such broker")
    expect(alter_by_hand("", "no.such.key", 0, "1"), 40, "no such key")
    expect(alter(broker("0"), ("num.partitions", SET, "1")), request, "a key of the file")


def broker_defaults():
    create("conf-default")
    create("conf-own", max_message_bytes="2222")
    create_bytes = lambda name: describe(topic(name))["max.message.bytes"]
    expect(alter_by_hand("", "message.max.bytes", 0, "3333"), 0, "for all brokers")
    entry = create_bytes("conf-default")
    expect((entry.value, entry.source), ("3333", ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG.value), "inherited")
    expect(create_bytes("conf-own").value, "2222", "a topic's own value stays")
    expect(alter(broker("0"), ("message.max.bytes", SET, "4444")), "no error", "for a broker")
    entry = create_bytes("conf-default")
    expect((entry.value, entry.source), ("4444", ConfigSource.DYNAMIC_BROKER_CONFIG.value), "the broker's wins")
    expect(describe_all_brokers(), {"message.max.bytes": ("3333", 3)}, "what all brokers have")
    expect(produced("conf-default", b"x" * 4500), "MSG_SIZE_TOO_LARGE", "the new bound holds")
    expect(alter(broker("0"), ("message.max.bytes", DELETE, None)), "no error", "undo")
    expect(alter_by_hand("", "message.max.bytes", 1, None), 0, "undo")
    expect(create_bytes("conf-default").is_default, True, "back to the default")
    expect(produced("conf-default", b"x" * 4500), "no error", "the old bound holds")


def produced(name, value, key=None, timestamp=0, **config):
    """Produces one record and tells what became of it."""
    outcome = []
    producer = Producer({"bootstrap.servers": args.brokers, "message.timeout.ms": 5000, **config})
    report = lambda error, message: outcome.append(error.name() if error else "no error")
    producer.produce(name, value=value, key=key, partition=0, timestamp=timestamp, on_delivery=report)
    producer.flush(TIMEOUT_SECONDS)
    expect(len(outcome), 1, "delivery reports")
    return outcome[0]


def read(name, count):
    reader = Consumer(
        {"bootstrap.servers": args.brokers, "group.id": "unused", "check.crcs": True, "auto.offset.reset": "error"}
    )
    try:
        reader.assign([TopicPartition(name, 0, OFFSET_BEGINNING)])
        records = []
        while len(records) < count:
            message = reader.poll(TIMEOUT_SECONDS)
            expect(message is not None and message.error() is None, True, f"a record of {name}")
            records.append(message)
        return records
    finally:
        reader.close()


def append_time():
    create("conf-append-time", message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000) - 1000
    for codec in CODECS:
        outcome = produced("conf-append-time", b"stamped", timestamp=PAST_MS, **{"compression.type": codec})
        expect(outcome, "no error", f"produce with {codec}")
    for message in read("conf-append-time", len(CODECS)):
        kind, stamp = message.timestamp()
        expect(kind, TIMESTAMP_LOG_APPEND_TIME, "kind of timestamp")
        expect(before <= stamp <= int(time.time() * 1000) + 1000, True, f"the broker's time: {stamp}")
        expect(message.value(), b"stamped", "value")


def broker_compression():
    value = b"a line of text that compresses well " * 20
    for stored in CODECS:
        name = f"conf-stored-{stored}"
        create(name, compression_type="uncompressed" if stored == "none" else stored)
        for codec in CODECS:
            outcome = produced(name, value, key=b"k", timestamp=PAST_MS, **{"compression.type": codec})
            expect(outcome, "no error", f"produce {codec} into {stored}")
        expect({batch.codec for batch in stored_batches(args.brokers, name, 0)}, {CODECS[stored]}, "stored codec")
        got = {(m.key(), m.value(), m.timestamp()) for m in read(name, len(CODECS))}
        expect(got, {(b"k", value, (TIMESTAMP_CREATE_TIME, PAST_MS))}, f"records of {stored}")


def refusals():
    create("conf-compact", cleanup_policy="compact")
    for codec in CODECS:
        kind = {"compression.type": codec}
        expect(produced("conf-compact", b"v" * 100, **kind), "INVALID_RECORD", f"no key, {codec}")
        expect(produced("conf-compact", b"v" * 100, key=b"k", **kind), "no error", f"a key, {codec}")
    ahead = int(time.time() * 1000) + 2 * 3_600_000
    create("conf-bounds", message_timestamp_before_max_ms="60000")
    expect(produced("conf-bounds", b"v", timestamp=ahead), "INVALID_TIMESTAMP", "two hours ahead")
    expect(produced("conf-bounds", b"v", timestamp=PAST_MS), "INVALID_TIMESTAMP", "years ago")
    expect(produced("conf-bounds", b"v"), "no error", "now")
    create("conf-replicas", min_insync_replicas="2")
    expect(produced("conf-replicas", b"v", acks="1"), "no error", "acks=1")
    failed = produced("conf-replicas", b"v", acks="all", retries=0)
    expect(failed, "NOT_ENOUGH_REPLICAS", "acks=all")


def names():
    create("conf.dotted")
    new = admin.create_topics([NewTopic("conf_dotted", 1, 1)])["conf_dotted"]
    expect(error_code(new.result), "TOPIC_EXCEPTION", "a name that collides")
    new = admin.create_topics([NewTopic("__consumer_offsets", 1, 1)])["__consumer_offsets"]
    expect(error_code(new.result), "TOPIC_EXCEPTION", "the broker's own name")
    gone = admin.delete_topics(["__consumer_offsets"])["__consumer_offsets"]
    expect(error_code(gone.result) in ("TOPIC_EXCEPTION", "UNKNOWN_TOPIC_OR_PART"), True, "deleting it")
    for partitions, replicas, code in [(0, 1, "INVALID_PARTITIONS"), (1, 3, "INVALID_REPLICATION_FACTOR")]:
        new = admin.create_topics([NewTopic("conf-bad", partitions, replicas)])["conf-bad"]
        expect(error_code(new.result), code, f"{partitions} partitions, {replicas} replicas")
    more = admin.create_partitions([NewPartitions("conf.dotted", 1)])["conf.dotted"]
    expect(error_code(more.result), "INVALID_PARTITIONS", "as many partitions as there are")


def leave_a_mark():
    create("conf-mark", retention_ms="77")
    expect(alter_by_hand("", "log.segment.delete.delay.ms", 0, "1234"), 0, "for all brokers")


def find_the_mark():
    expect(describe(topic("conf-mark"))["retention.ms"].value, "77", "the topic's")
    expect(describe_all_brokers(), {"log.segment.delete.delay.ms": ("1234", 3)}, "the brokers'")
    entry = describe(topic("conf-mark"))["file.delete.delay.ms"]
    expect((entry.value, entry.source), ("1234", ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG.value), "inherited")


FRESH = [
    ("tell where values come from", sources),
    ("change topics", alterations),
    ("change what topics inherit", broker_defaults),
    ("stamp records", append_time),
    ("compress anew", broker_compression),
    ("refuse records", refusals),
    ("refuse names and counts", names),
    ("leave a mark", leave_a_mark),
]
# The same broker after a kill.
RESTARTED = [("find the mark", find_the_mark)]

run("configs", RESTARTED if "RESTARTED" in os.environ else FRESH)

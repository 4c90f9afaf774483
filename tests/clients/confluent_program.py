"""confluent-kafka (a current librdkafka): the client most production code stands on.

Shown here: the topic administration, an idempotent producer with every codec, keys, headers and timestamps
kept, delivery reports whose offsets are dense from zero, and a consumer that never joins a group: assigned by
offset, by timestamp, at the beginning and at the end. Checksums are verified by the consumer (`check.crcs`).
"""

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, TIMESTAMP_CREATE_TIME
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from checks import CODECS, arguments, expect, lines, poll_until, run, stored_batches

args = arguments(__doc__)
admin = AdminClient({"bootstrap.servers": args.brokers})
TIMEOUT_SECONDS = 15
# A timestamp of the past that no clock of this run gives, so that a broker that stamps by itself is found out.
PAST_MS = 1_600_000_000_000
MISSING = -1001


def settle(futures):
    """Waits for every topic's answer; the first error is raised."""
    for future in futures.values():
        future.result(timeout=TIMEOUT_SECONDS)


def create(topic, partitions, **config):
    config = {name.replace("_", "."): value for name, value in config.items()}
    settle(admin.create_topics([NewTopic(topic, partitions, 1, config=config)], operation_timeout=10))
    visible(topic, partitions)


def visible(topic, partitions):
    """The topic's metadata, once it shows that many partitions, each with a leader."""

    def look():
        found = admin.list_topics(timeout=TIMEOUT_SECONDS).topics.get(topic)
        if found is None or found.error is not None or len(found.partitions) != partitions:
            return None
        return all(p.leader >= 0 and p.error is None for p in found.partitions.values())

    poll_until(look, f"{topic} with {partitions} led partitions")


def error_code(call):
    """The Kafka error name that the call fails with."""
    try:
        call()
    except KafkaException as failure:
        return failure.args[0].name()
    return "no error"


def consumer(**config):
    return Consumer(
        {
            "bootstrap.servers": args.brokers,
            "group.id": "never-joined",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 50,
            "allow.auto.create.topics": False,
            **config,
        }
    )


def read(*assigned):
    """Everything from the assigned positions to the ends, in the order it came, per partition."""
    reader = consumer()
    try:
        reader.assign(list(assigned))
        at_end, records = set(), {a.partition: [] for a in assigned}
        while len(at_end) < len(assigned):
            message = reader.poll(TIMEOUT_SECONDS)
            if message is None:
                raise AssertionError(f"nothing came for {TIMEOUT_SECONDS} s from {assigned}")
            if message.error() is None:
                records[message.partition()].append(message)
            elif message.error().name() == "_PARTITION_EOF":
                at_end.add(message.partition())
            else:
                raise AssertionError(f"consume: {message.error()}")
        return records
    finally:
        reader.close()


def produce(topic, records, **config):
    """Sends (partition, key, value, headers, timestamp) tuples; delivery reports' offsets per partition."""
    reports = {}

    def delivered(error, message):
        if error is not None:
            raise AssertionError(f"delivery to {message.partition()}: {error}")
        reports.setdefault(message.partition(), []).append(message.offset())

    producer = Producer(
        {
            "bootstrap.servers": args.brokers,
            "enable.idempotence": True,
            "linger.ms": 20,
            "message.timeout.ms": TIMEOUT_SECONDS * 1000,
            **config,
        }
    )
    for partition, key, value, headers, timestamp in records:
        producer.produce(
            topic,
            value=value,
            key=key,
            partition=partition,
            headers=headers,
            timestamp=timestamp,
            on_delivery=delivered,
        )
        producer.poll(0)
    expect(producer.flush(TIMEOUT_SECONDS), 0, "messages left in the producer's queue")
    return reports


def cluster():
    found = admin.describe_cluster(request_timeout=TIMEOUT_SECONDS).result()
    expect(len(found.nodes), args.broker_count, "nodes of the cluster")
    expect(found.controller.id in {node.id for node in found.nodes}, True, "the controller is a node")
    expect(bool(found.cluster_id), True, "the cluster has an id")


def topics():
    create("confluent-admin", 3, retention_bytes="1000000", max_message_bytes="500000")
    answered = admin.create_topics([NewTopic("confluent-admin", 1, 1)])["confluent-admin"]
    expect(error_code(answered.result), "TOPIC_ALREADY_EXISTS", "creating it again")
    answered = admin.create_topics([NewTopic("bad/name", 1, 1)])["bad/name"]
    expect(error_code(answered.result), "TOPIC_EXCEPTION", "creating a topic with a slash in its name")
    settle(admin.create_topics([NewTopic("confluent-dry", 1, 1)], validate_only=True))
    expect("confluent-dry" in admin.list_topics(timeout=TIMEOUT_SECONDS).topics, False, "validate_only creates")


def configs():
    resource = ConfigResource(ConfigResource.Type.TOPIC, "confluent-admin")
    found = admin.describe_configs([resource])[resource].result(timeout=TIMEOUT_SECONDS)
    expect(found["retention.bytes"].value, "1000000", "retention.bytes")
    expect(found["max.message.bytes"].value, "500000", "max.message.bytes")
    expect(found["retention.bytes"].is_default, False, "retention.bytes is no default")
    expect(found["cleanup.policy"].value, "delete", "cleanup.policy by default")


def more_partitions():
    settle(admin.create_partitions([NewPartitions("confluent-admin", 5)]))
    visible("confluent-admin", 5)
    fewer = admin.create_partitions([NewPartitions("confluent-admin", 2)])["confluent-admin"]
    expect(error_code(fewer.result), "INVALID_PARTITIONS", "fewer partitions than there are")
    sent = [(p, None, f"p{p} n{n}".encode(), None, 0) for n in range(10) for p in range(5)]
    expect(produce("confluent-admin", sent), {p: list(range(10)) for p in range(5)}, "offsets of all five")


def delete_and_recreate():
    create("confluent-again", 2)
    produce("confluent-again", [(p, None, b"of the first life", None, 0) for p in (0, 1)])
    settle(admin.delete_topics(["confluent-again"], operation_timeout=10))
    gone = lambda: "confluent-again" not in admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    poll_until(gone, "the deleted topic leaves the metadata")
    missing = admin.delete_topics(["confluent-again"])["confluent-again"]
    expect(error_code(missing.result), "UNKNOWN_TOPIC_OR_PART", "deleting it again")
    create("confluent-again", 1)
    sent = [(0, None, b"of the second life", None, 0)]
    expect(produce("confluent-again", sent), {0: [0]}, "a new life starts at offset zero")
    records = read(TopicPartition("confluent-again", 0, OFFSET_BEGINNING))
    expect([m.value() for m in records[0]], [b"of the second life"], "what the new topic holds")


def codec(name):
    """500 records over three partitions, with a null value and an empty one among them."""
    topic = f"confluent-{name}"
    create(topic, 3)
    sent = []
    for n, line in enumerate(lines(name, 500)):
        value = {13: None, 14: b""}.get(n, line.encode())
        key = None if n % 5 == 0 else f"key-{n % 7}".encode()
        headers = [("n", str(n).encode()), ("n", b"twice"), ("null", None)] if n % 2 else None
        sent.append((n % 3, key, value, headers, PAST_MS + n))
    reports = produce(topic, sent, **{"compression.type": name})
    wanted = {p: [s for s in sent if s[0] == p] for p in range(3)}
    expect(reports, {p: list(range(len(wanted[p]))) for p in range(3)}, "offsets in the delivery reports")

    records = read(*(TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(3)))
    for p in range(3):
        got = [(p, m.key(), m.value(), m.headers(), m.timestamp()[1]) for m in records[p]]
        expect(got, wanted[p], f"records of partition {p}")
        expect([m.offset() for m in records[p]], list(range(len(wanted[p]))), f"offsets of partition {p}")
        expect({m.timestamp()[0] for m in records[p]}, {TIMESTAMP_CREATE_TIME}, "kind of timestamp")
        batches = stored_batches(args.brokers, topic, p)
        expect({batch.codec for batch in batches}, {CODECS[name]}, f"codec in partition {p}")
        expect(all(batch.producer_id >= 0 for batch in batches), True, "batches carry a producer id")


def positions():
    topic = "confluent-positions"
    create(topic, 1)
    sent = [(0, None, b"%d" % n, None, PAST_MS + 10 * n) for n in range(1000)]
    expect(produce(topic, sent, **{"compression.type": "lz4"}), {0: list(range(1000))}, "offsets")

    def from_offset(offset):
        return [m.offset() for m in read(TopicPartition(topic, 0, offset))[0]]

    expect(from_offset(OFFSET_BEGINNING), list(range(1000)), "from the beginning")
    expect(from_offset(OFFSET_END), [], "from the end")
    expect(from_offset(617), list(range(617, 1000)), "from the middle of a batch")
    expect(from_offset(999), [999], "the last one")
    reader = consumer()
    marks = reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=TIMEOUT_SECONDS)
    expect(marks, (0, 1000), "watermarks")
    # (asked, expected): between two records it is the later one; past all of them it is the end.
    for stamp, offset in [(0, 0), (PAST_MS, 0), (PAST_MS + 6165, 617), (PAST_MS + 6170, 617), (PAST_MS + 99_990, -1)]:
        [found] = reader.offsets_for_times([TopicPartition(topic, 0, stamp)], timeout=TIMEOUT_SECONDS)
        expect(found.offset, offset, f"offset for time {stamp}")
    reader.close()
    out = consumer()
    out.assign([TopicPartition(topic, 0, 5000)])
    message = poll_until(lambda: out.poll(1), "an answer for an offset past the end")
    expect(message.error().name(), "_AUTO_OFFSET_RESET", "an offset past the end is refused")
    out.close()


def waiting_reader():
    """A reader at the end gets what is produced later without asking anew all the time."""
    create("confluent-waiting", 1)
    reader = consumer(**{"fetch.wait.max.ms": 5000})
    reader.assign([TopicPartition("confluent-waiting", 0, 0)])
    first = reader.poll(0.2)
    expect(first is None or first.error() is not None, True, "nothing is there yet")
    produce("confluent-waiting", [(0, None, b"at last", None, 0)])

    def next_record():
        message = reader.poll(1)
        return message if message is not None and message.error() is None else None

    expect(poll_until(next_record, "the record arrives").value(), b"at last", "the record that arrived")
    reader.close()


def too_large():
    """A batch above the topic's bound is refused, and the next one is taken."""
    create("confluent-large", 1, max_message_bytes="10000")
    refused = []
    producer = Producer({"bootstrap.servers": args.brokers, "message.timeout.ms": 10_000, "linger.ms": 0})
    report = lambda error, message: refused.append(error.name() if error is not None else None)
    producer.produce("confluent-large", b"x" * 20_000, partition=0, on_delivery=report)
    producer.flush(TIMEOUT_SECONDS)
    producer.produce("confluent-large", b"x" * 1000, partition=0, on_delivery=report)
    producer.flush(TIMEOUT_SECONDS)
    expect(refused, ["MSG_SIZE_TOO_LARGE", None], "verdicts on a large and a small record")


run(
    "confluent-kafka",
    [
        ("describe the cluster", cluster),
        ("create and refuse topics", topics),
        ("describe configs", configs),
        ("add partitions", more_partitions),
        ("delete and create again", delete_and_recreate),
    ]
    + [(f"idempotent produce with {name}", lambda name=name: codec(name)) for name in CODECS]
    + [
        ("consume by offset and timestamp", positions),
        ("wait for a record", waiting_reader),
        ("refuse what is too large", too_large),
    ],
)

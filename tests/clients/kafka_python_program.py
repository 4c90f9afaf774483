"""kafka-python 3: a codec written by other people, in the newest versions of the requests it knows.

Shown here: the administration client, an idempotent producer with acks=all and every codec this package can
do with nothing but the standard library, and a consumer that assigns, seeks and asks for offsets by time,
all without a group. It uses fetch sessions where a broker offers them.
"""

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError

from checks import CODECS, arguments, expect, lines, poll_until, run, stored_batches

args = arguments(__doc__)
TIMEOUT_MS = 15_000
PAST_MS = 1_600_000_000_000
admin = KafkaAdminClient(bootstrap_servers=args.brokers, request_timeout_ms=TIMEOUT_MS)


def create(topic, partitions, **configs):
    admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}})
    admin.wait_for_topics([topic], timeout_ms=TIMEOUT_MS)


def refused(call):
    """The name of the error the call raises."""
    try:
        call()
    except Exception as failure:
        return type(failure).__name__
    return "no error"


def produce(topic, records, **config):
    """Sends (partition, key, value, headers, timestamp) tuples; the offsets answered, per partition."""
    producer = KafkaProducer(
        bootstrap_servers=args.brokers, acks="all", enable_idempotence=True, linger_ms=20, **config
    )
    try:
        futures = [
            (partition, producer.send(topic, value, key, headers or [], partition, timestamp))
            for partition, key, value, headers, timestamp in records
        ]
        producer.flush(timeout=TIMEOUT_MS / 1000)
        offsets = {}
        for partition, future in futures:
            offsets.setdefault(partition, []).append(future.get(timeout=TIMEOUT_MS / 1000).offset)
        return offsets
    finally:
        producer.close(timeout=5)


def consumer():
    return KafkaConsumer(
        bootstrap_servers=args.brokers,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=50,
        check_crcs=True,
    )


def read(reader, partition, until):
    """From the reader's position to offset `until` (exclusive), in order."""
    records = []

    def more():
        records.extend(reader.poll(timeout_ms=200).get(partition, []))
        return reader.position(partition) >= until

    poll_until(more, f"{partition} read up to {until}")
    return records


def cluster():
    found = admin.describe_cluster()
    expect(len(found["brokers"]), args.broker_count, "brokers")
    expect(bool(found["cluster_id"]), True, "the cluster has an id")


def topics():
    create("python-admin", 3, **{"retention.bytes": "1000000"})
    again = lambda: admin.create_topics({"python-admin": {"num_partitions": 1, "replication_factor": 1}})
    expect(refused(again), TopicAlreadyExistsError.__name__, "creating it again")
    expect("python-admin" in admin.list_topics(), True, "the topic is listed")
    [described] = admin.describe_topics(["python-admin"])
    expect(sorted(p["partition_index"] for p in described["partitions"]), [0, 1, 2], "its partitions")
    admin.create_partitions({"python-admin": 6})
    described = lambda: len(admin.describe_topics(["python-admin"])[0]["partitions"])
    poll_until(lambda: described() == 6, "six partitions")


def configs():
    resource = ConfigResource(ConfigResourceType.TOPIC, "python-admin")
    found = admin.describe_configs([resource], config_filter="all")
    values = found["topic"]["python-admin"]
    expect(values["retention.bytes"]["value"], "1000000", "retention.bytes")
    expect(values["cleanup.policy"]["value"], "delete", "cleanup.policy")


def delete_and_recreate():
    create("python-again", 1)
    produce("python-again", [(0, None, b"first life", None, None)])
    admin.delete_topics(["python-again"])
    poll_until(lambda: "python-again" not in admin.list_topics(), "the deleted topic leaves the list")
    missing = lambda: admin.delete_topics(["python-again"])
    expect(refused(missing), UnknownTopicOrPartitionError.__name__, "deleting it again")
    create("python-again", 1)
    expect(produce("python-again", [(0, None, b"second life", None, None)]), {0: [0]}, "a new life starts at 0")


def codec(name):
    topic = f"python-{name}"
    create(topic, 2)
    sent = [
        (n % 2, f"k{n}".encode() if n % 3 else None, line.encode(), [("n", b"%d" % n)], PAST_MS + n)
        for n, line in enumerate(lines(name, 200))
    ]
    offsets = produce(topic, sent, compression_type=None if name == "none" else name)
    expect(offsets, {0: list(range(100)), 1: list(range(100))}, "offsets answered")
    reader = consumer()
    for p in (0, 1):
        partition = TopicPartition(topic, p)
        reader.assign([partition])
        reader.seek_to_beginning(partition)
        got = [(p, m.key, m.value, list(m.headers), m.timestamp) for m in read(reader, partition, 100)]
        expect(got, [s for s in sent if s[0] == p], f"records of partition {p}")
        batches = stored_batches(args.brokers, topic, p)
        expect({batch.codec for batch in batches}, {CODECS[name]}, f"codec in partition {p}")
        expect(all(batch.producer_id >= 0 for batch in batches), True, "batches carry a producer id")
    reader.close()


def positions():
    topic, partition = "python-positions", TopicPartition("python-positions", 0)
    create(topic, 1)
    sent = [(0, None, b"%d" % n, None, PAST_MS + 10 * n) for n in range(500)]
    expect(produce(topic, sent, compression_type="gzip"), {0: list(range(500))}, "offsets answered")
    reader = consumer()
    expect(reader.beginning_offsets([partition]), {partition: 0}, "the beginning")
    expect(reader.end_offsets([partition]), {partition: 500}, "the end")
    found = reader.offsets_for_times({partition: PAST_MS + 2345})[partition]
    expect((found.offset, found.timestamp), (235, PAST_MS + 2350), "the first record as late")
    expect(reader.offsets_for_times({partition: PAST_MS + 9999})[partition], None, "later than every record")
    reader.assign([partition])
    reader.seek(partition, found.offset)
    values = [m.value for m in read(reader, partition, 500)]
    expect(values, [b"%d" % n for n in range(235, 500)], "from the time's offset on")
    reader.seek(partition, 123)
    expect([m.offset for m in read(reader, partition, 500)], list(range(123, 500)), "after seeking back")
    reader.seek_to_end(partition)
    expect(reader.position(partition), 500, "position at the end")
    reader.close()


run(
    "kafka-python",
    [
        ("describe the cluster", cluster),
        ("create, list and extend topics", topics),
        ("describe configs", configs),
        ("delete and create again", delete_and_recreate),
    ]
    # The other codecs would need packages of their own; confluent-kafka and kcat show them.
    + [(f"idempotent produce with {name}", lambda name=name: codec(name)) for name in ("none", "gzip")]
    + [("assign, seek and offsets for times", positions)],
)

"""kafka-python: a codec and a group protocol that share nothing with librdkafka."""

import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import BOOTSTRAP, case, expect, holds, main, poll_until, raises, unique  # noqa: E402
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition  # noqa: E402
from kafka import errors  # noqa: E402
from kafka.structs import OffsetAndMetadata  # noqa: E402

PAST_MS = 1_600_000_000_000


def admin():
    return KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def create(topic, partitions=4):
    with admin() as client:
        client.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}}, wait_for_metadata=True)


def consumer(*topics, **options):
    wanted = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "consumer_timeout_ms": 10_000,
              "heartbeat_interval_ms": 300, "session_timeout_ms": 6000, "fetch_max_wait_ms": 100}
    return KafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, **{**wanted, **options})


def send(topic, messages, **options):
    with KafkaProducer(bootstrap_servers=BOOTSTRAP, **options) as client:
        futures = [client.send(topic, partition=partition, key=key, value=value) for partition, key, value in messages]
        client.flush(15)
        return [future.get(15) for future in futures]


def take(client, count):
    got = []
    for message in client:
        got.append(message)
        if len(got) == count:
            return got
    raise AssertionError(f"{len(got)} of {count} messages, then none for ten seconds")


@case
def plain_produce_and_consume(topic):
    create(topic, 1)
    done = send(topic, [(0, b"k%d" % n, b"v%d" % n) for n in range(500)])
    expect([m.offset for m in done], list(range(500)), "acknowledged offsets")
    with consumer(topic) as client:
        got = take(client, 500)
    expect([(m.key, m.value) for m in got], [(b"k%d" % n, b"v%d" % n) for n in range(500)], "read back")


@case
def headers_nulls_and_timestamps(topic):
    create(topic, 1)
    with KafkaProducer(bootstrap_servers=BOOTSTRAP) as client:
        client.send(topic, key=b"k", value=b"v", headers=[("a", b"1"), ("a", b""), ("z", b"\x00\xff")],
                    timestamp_ms=PAST_MS, partition=0)
        client.send(topic, key=b"k", value=None, timestamp_ms=PAST_MS + 1000, partition=0)
        client.flush(15)
    with consumer(topic) as client:
        got = take(client, 2)
        expect(list(got[0].headers), [("a", b"1"), ("a", b""), ("z", b"\x00\xff")], "headers")
        expect((got[1].value, got[1].timestamp), (None, PAST_MS + 1000), "null value, timestamp")
        part = TopicPartition(topic, 0)
        expect(client.offsets_for_times({part: PAST_MS + 1})[part].offset, 1, "offset by time")
        expect(client.offsets_for_times({part: PAST_MS + 5000})[part], None, "no offset that late")
        expect((client.beginning_offsets([part])[part], client.end_offsets([part])[part]), (0, 2), "ends")


@case
def idempotent_and_large(topic):
    create(topic, 1)
    values = [bytes([65 + n]) * 700_000 for n in range(6)]
    send(topic, [(0, None, value) for value in values], enable_idempotence=True, max_request_size=2_000_000)
    with consumer(topic, max_partition_fetch_bytes=100_000) as client:
        holds([m.value for m in take(client, 6)] == values, "large values read back")


@case
def too_large_is_refused(topic):
    create(topic, 1)
    error = raises(errors.KafkaError, lambda: send(topic, [(0, None, b"x" * 3_000_000)], max_request_size=5_000_000,
                                                   enable_idempotence=False), "a message too large")
    holds(isinstance(error, errors.MessageSizeTooLargeError), f"{error!r}")


@case
def group_commits_and_resumes(topic):
    create(topic)
    send(topic, [(n % 4, None, b"%d" % n) for n in range(200)])
    with consumer(topic, group_id=topic) as client:
        take(client, 200)
        client.commit()
        part = TopicPartition(topic, 1)
        expect(client.committed(part), 50, "committed")
        client.commit({part: OffsetAndMetadata(20, "a note", -1)})
        expect(client.committed(part, metadata=True)[:2], (20, "a note"), "committed with metadata")
    with consumer(topic, group_id=topic) as client:
        got = take(client, 30)
        expect({(m.partition) for m in got}, {1}, "only what is behind the commit")
        expect([m.offset for m in got], list(range(20, 50)), "offsets")


class Running(threading.Thread):
    """A member that polls until it is told to stop."""

    def __init__(self, topic, group, **options):
        super().__init__(daemon=True)
        self.client = consumer(topic, group_id=group, **options)
        self.seen, self.parts, self.stopping = [], set(), False
        self.start()

    def run(self):
        while not self.stopping:
            for messages in self.client.poll(timeout_ms=100).values():
                self.seen += [(m.partition, m.offset) for m in messages]
            self.parts = {part.partition for part in self.client.assignment()}
        self.client.close()

    def stop(self):
        self.stopping = True
        self.join(15)


@case
def members_share_and_take_over(topic):
    create(topic)
    members = [Running(topic, topic) for _ in range(2)]
    shared = lambda: all(len(m.parts) == 2 for m in members) and members[0].parts | members[1].parts == {0, 1, 2, 3}
    poll_until(shared, "two share four partitions", 30)
    send(topic, [(n % 4, None, b"%d" % n) for n in range(100)])
    poll_until(lambda: len(members[0].seen) + len(members[1].seen) >= 100, "all records")
    expect(len(set(members[0].seen + members[1].seen)), 100, "each record once")
    members[0].stop()
    poll_until(lambda: members[1].parts == {0, 1, 2, 3}, "the one that is left has all", 30)
    members[1].stop()


@case
def groups_are_described_and_deleted(topic):
    create(topic, 2)
    member = Running(topic, topic)
    poll_until(lambda: member.parts == {0, 1}, "assigned", 30)
    with admin() as client:
        holds(topic in str(client.list_groups()), "listed")
        about = client.describe_groups([topic])
        holds("Stable" in str(about), f"described: {about}")
        member.client.commit({TopicPartition(topic, 0): OffsetAndMetadata(0, "", -1)})
        member.stop()
        offsets = client.list_group_offsets(topic)[topic]
        expect(offsets[TopicPartition(topic, 0)].offset, 0, "offsets of the group")
        client.delete_groups([topic])
        holds(topic not in str(client.list_groups()), "not listed after it was deleted")


@case
def topics_are_administered(topic):
    create(topic, 2)
    with admin() as client:
        client.create_partitions({topic: 4})
        poll_until(lambda: len(client.describe_topics([topic])[0]["partitions"]) == 4, "four partitions")
        raises(errors.TopicAlreadyExistsError, lambda: client.create_topics({topic: {}}), "again")
        send(topic, [(0, None, b"x")] * 10)
        client.delete_records({TopicPartition(topic, 0): 4})
        with consumer() as reader:
            expect(reader.beginning_offsets([TopicPartition(topic, 0)]), {TopicPartition(topic, 0): 4}, "after deleting")
        client.delete_topics([topic])
        poll_until(lambda: topic not in client.list_topics(), "deleted")


@case
def every_member_of_the_cluster_answers(_topic):
    with admin() as client:
        about = client.describe_cluster()
        holds(about["cluster_id"], "cluster id")
        holds(len(about["brokers"]) >= 1, "brokers")


if __name__ == "__main__":
    main()

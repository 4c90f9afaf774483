"""Consumer groups as two clients see them: confluent-kafka (librdkafka) and kafka-python.

Shown here: members that share a topic under each assignor, one that leaves and one that takes over; commits with
notes, read back by somebody else; a static member that comes back without disturbing the others; and the groups as
an administrator sees them: listed, described, their offsets altered and deleted, themselves deleted.
"""

import threading

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from kafka import KafkaConsumer
from kafka.structs import TopicPartition as PyTopicPartition
from kafka.structs import OffsetAndMetadata

from checks import arguments, expect, poll_until, run
from group_checks import Groups, PARTITIONS, TIMEOUT_SECONDS, until_assigned

args = arguments(__doc__)
groups = Groups(args.brokers, session_timeout_ms=6000, heartbeat_interval_ms=500)
admin, create, consumer = groups.admin, groups.create, groups.consumer


def shares(assignor):
    topic = group = f"shared-{assignor}"
    create(topic, records=40)
    one = consumer(group, partition_assignment_strategy=assignor)
    one.subscribe([topic])
    until_assigned([one], [4])
    two = consumer(group, partition_assignment_strategy=assignor)
    two.subscribe([topic])
    until_assigned([one, two], [2, 2])
    taken = {p.partition for p in one.assignment()} | {p.partition for p in two.assignment()}
    expect(taken, set(range(PARTITIONS)), "partitions the two have together")
    one.close()
    until_assigned([two], [4])
    two.close()


def python_group():
    topic = group = "python-shared"
    create(topic, records=40)
    values, stop = [], threading.Event()
    sizes = {}

    def work(name):
        member = KafkaConsumer(
            topic,
            bootstrap_servers=args.brokers,
            group_id=group,
            auto_offset_reset="earliest",
            session_timeout_ms=6000,
            heartbeat_interval_ms=500,
        )
        while not stop.is_set():
            for batch in member.poll(timeout_ms=100).values():
                values.extend(record.value for record in batch)
            sizes[name] = len(member.assignment())
        member.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        poll_until(lambda: sorted(sizes.values()) == [2, 2], "two partitions each", seconds=40)
        poll_until(lambda: {int(v) for v in values} == set(range(40)), "every record", seconds=20)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def commits():
    topic = group = "committed"
    create(topic, records=8)
    writer = consumer(group)
    writer.assign([TopicPartition(topic, 0, 0)])
    writer.commit(offsets=[TopicPartition(topic, 0, 2, metadata="two read"), TopicPartition(topic, 1, 1)], asynchronous=False)
    found = consumer(group).committed([TopicPartition(topic, p) for p in range(3)], timeout=TIMEOUT_SECONDS)
    expect([(p.offset, p.metadata or "") for p in found], [(2, "two read"), (1, ""), (-1001, "")], "committed")
    other = KafkaConsumer(bootstrap_servers=args.brokers, group_id=group)
    partition = PyTopicPartition(topic, 0)
    note = other.committed(partition, metadata=True)
    # confluent-kafka ends its notes with the zero byte of C.
    expect((note.offset, note.metadata.rstrip("\0")), (2, "two read"), "committed, as kafka-python sees it")
    other.assign([partition])
    other.commit({partition: OffsetAndMetadata(1, "back", -1)})
    expect(other.committed(partition), 1, "a lower commit stands")
    other.close()
    try:
        writer.commit(offsets=[TopicPartition(topic, 0, 2, metadata="x" * 5000)], asynchronous=False)
        refused = "nothing"
    except KafkaException as failure:
        refused = failure.args[0].name()
    expect(refused, "OFFSET_METADATA_TOO_LARGE", "what a long note meets")
    writer.close()


def static_member():
    topic = group = "static"
    create(topic, records=8)
    steady = consumer(group, group_instance_id="steady")
    restarted = consumer(group, group_instance_id="restarted")
    rebalances = []
    steady.subscribe([topic], on_assign=lambda _, parts: rebalances.append(len(parts)))
    restarted.subscribe([topic])
    until_assigned([steady, restarted], [2, 2])
    share = {p.partition for p in restarted.assignment()}
    before = len(rebalances)
    # A static member that closes does not leave.
    restarted.close()
    again = consumer(group, group_instance_id="restarted")
    again.subscribe([topic])
    until_assigned([steady, again], [2, 2])
    expect({p.partition for p in again.assignment()}, share, "the share it had")
    expect(len(rebalances), before, "assignments the other member saw")
    steady.close()
    again.close()


def administration():
    topic, group = "administered", "administered-group"
    create(topic, records=8)
    member = consumer(group, client_id="a client", partition_assignment_strategy="range")
    member.subscribe([topic])
    until_assigned([member], [4])
    member.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    listed = admin.list_consumer_groups(request_timeout=TIMEOUT_SECONDS).result()
    expect([e for e in listed.errors], [], "errors of the list")
    expect([g.state.name for g in listed.valid if g.group_id == group], ["STABLE"], "state in the list")
    described = admin.describe_consumer_groups([group])[group].result(TIMEOUT_SECONDS)
    expect((described.state.name, described.partition_assignor), ("STABLE", "range"), "described group")
    expect([m.client_id for m in described.members], ["a client"], "described members")
    expect(len(described.members[0].assignment.topic_partitions), 4, "described assignment")
    expect(described.members[0].host, "/127.0.0.1", "described host")

    def fails(futures):
        try:
            futures[group].result(TIMEOUT_SECONDS)
            return "nothing"
        except KafkaException as failure:
            return failure.args[0].name()

    expect(fails(admin.delete_consumer_groups([group])), "NON_EMPTY_GROUP", "deleting a group with members")
    member.close()
    listing = lambda: admin.describe_consumer_groups([group])[group].result(TIMEOUT_SECONDS).state.name
    poll_until(lambda: listing() == "EMPTY", "an empty group")
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 2), TopicPartition(topic, 1, 1)])
    admin.alter_consumer_group_offsets([wanted])[group].result(TIMEOUT_SECONDS)
    found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(TIMEOUT_SECONDS)
    offsets = sorted((p.partition, p.offset) for p in found.topic_partitions)
    expect(offsets, [(0, 2), (1, 1)], "altered offsets")
    admin.delete_consumer_groups([group])[group].result(TIMEOUT_SECONDS)
    expect(fails(admin.delete_consumer_groups([group])), "GROUP_ID_NOT_FOUND", "deleting it twice")
    listed = admin.list_consumer_groups(request_timeout=TIMEOUT_SECONDS).result()
    expect([g.group_id for g in listed.valid if g.group_id == group], [], "the deleted group in the list")


def internal_topic():
    topics = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    expect("__consumer_offsets" in topics, True, "the topic that groups are kept in")


run(
    "groups",
    [
        ("range", lambda: shares("range")),
        ("roundrobin", lambda: shares("roundrobin")),
        ("cooperative-sticky", lambda: shares("cooperative-sticky")),
        ("kafka-python shares", python_group),
        ("commits and notes", commits),
        ("a static member comes back", static_member),
        ("administration", administration),
        ("the internal topic", internal_topic),
    ],
)

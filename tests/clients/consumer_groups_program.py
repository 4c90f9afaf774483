"""Groups of the newer protocol (KIP-848) as confluent-kafka sees them: the broker assigns.

Shown here: members that share a topic under both assignors of the broker, one that leaves and one that takes over;
a pattern that is matched by the broker and follows new topics; commits that the next member starts from; a static
member that comes back without disturbing the others; the groups as an administrator sees them; and an empty group
that goes over to the other protocol and back.
"""

from confluent_kafka import ConsumerGroupType, KafkaException, TopicPartition

from checks import arguments, expect, poll_until, run
from group_checks import Groups, PARTITIONS, TIMEOUT_SECONDS, until_assigned

args = arguments(__doc__)
groups = Groups(args.brokers, group_protocol="consumer")
admin, create, consumer = groups.admin, groups.create, groups.consumer


def partitions(*members):
    return sorted(p.partition for member in members for p in member.assignment())


def shares(assignor):
    topic = group = f"newer-{assignor}"
    create(topic, records=40)
    one = consumer(group, group_remote_assignor=assignor)
    one.subscribe([topic])
    until_assigned([one], [4])
    two = consumer(group, group_remote_assignor=assignor)
    two.subscribe([topic])
    until_assigned([one, two], [2, 2])
    expect(partitions(one, two), list(range(PARTITIONS)), "partitions the two have together")
    described = describe(group)
    expect(described.partition_assignor, assignor, "the assignor")
    one.close()
    until_assigned([two], [4])
    two.close()


def pattern():
    group = "newer-pattern"
    create("pattern-one", records=4)
    create("other-one", records=4)
    member = consumer(group, topic_metadata_refresh_interval_ms=1000)
    member.subscribe(["^pattern-.*"])
    until_assigned([member], [4])
    create("pattern-two", records=4)
    until_assigned([member], [8])
    expect({p.topic for p in member.assignment()}, {"pattern-one", "pattern-two"}, "topics that match")
    member.close()


def commits():
    topic = group = "newer-commits"
    create(topic, records=40)
    member = consumer(group)
    member.subscribe([topic])
    read = []

    def all_read():
        message = member.poll(0.2)
        if message is not None and message.error() is None:
            read.append(message.value())
        return len(read) == 20

    poll_until(all_read, "twenty records", seconds=40)
    member.commit(asynchronous=False)
    kept = {p.partition: p.offset for p in member.committed(member.assignment(), timeout=TIMEOUT_SECONDS)}
    member.close()
    heir = consumer(group)
    heir.subscribe([topic])

    def rest_read():
        message = heir.poll(0.2)
        if message is not None and message.error() is None:
            read.append(message.value())
        return len(read) == 40

    poll_until(rest_read, "the other twenty", seconds=40)
    expect(sorted(read, key=int), [b"%d" % n for n in range(40)], "every record once")
    expect(sum(offset for offset in kept.values() if offset > 0), 20, "offsets committed")
    heir.close()


def static_member():
    topic = group = "newer-static"
    create(topic)
    rebalances = []
    steady = consumer(group, group_instance_id="steady")
    steady.subscribe([topic], on_assign=lambda _, parts: rebalances.append(len(parts)))
    restarted = consumer(group, group_instance_id="restarted")
    restarted.subscribe([topic])
    until_assigned([steady, restarted], [2, 2])
    share, before = partitions(restarted), len(rebalances)
    restarted.close()
    again = consumer(group, group_instance_id="restarted")
    again.subscribe([topic])
    until_assigned([steady, again], [2, 2])
    expect(partitions(again), share, "the share it had")
    expect(len(rebalances), before, "assignments the other member saw")
    steady.close()
    again.close()


def describe(group):
    return admin.describe_consumer_groups([group])[group].result(TIMEOUT_SECONDS)


def administration():
    topic, group = "newer-administered", "newer-administered"
    create(topic, records=8)
    member = consumer(group, client_id="a client")
    member.subscribe([topic])
    until_assigned([member], [4])
    member.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    listed = admin.list_consumer_groups(types={ConsumerGroupType.CONSUMER}, request_timeout=TIMEOUT_SECONDS).result()
    expect([e for e in listed.errors], [], "errors of the list")
    found = [(g.state.name, g.type.name) for g in listed.valid if g.group_id == group]
    expect(found, [("STABLE", "CONSUMER")], "state and type in the list")
    listed = admin.list_consumer_groups(types={ConsumerGroupType.CLASSIC}, request_timeout=TIMEOUT_SECONDS).result()
    expect([g.group_id for g in listed.valid if g.group_id == group], [], "the group among classic ones")
    described = describe(group)
    expect((described.state.name, described.type.name), ("STABLE", "CONSUMER"), "described group")
    expect([(m.client_id, m.host) for m in described.members], [("a client", "/127.0.0.1")], "described members")
    expect(len(described.members[0].assignment.topic_partitions), 4, "described assignment")
    expect(len(described.members[0].target_assignment.topic_partitions), 4, "described target")

    def fails(futures):
        try:
            futures[group].result(TIMEOUT_SECONDS)
            return "nothing"
        except KafkaException as failure:
            return failure.args[0].name()

    expect(fails(admin.delete_consumer_groups([group])), "NON_EMPTY_GROUP", "deleting a group with members")
    member.close()
    poll_until(lambda: describe(group).state.name == "EMPTY", "an empty group")
    admin.delete_consumer_groups([group])[group].result(TIMEOUT_SECONDS)
    expect(fails(admin.delete_consumer_groups([group])), "GROUP_ID_NOT_FOUND", "deleting it twice")


def both_protocols():
    topic = group = "newer-and-older"
    create(topic, records=8)
    for protocol in ["consumer", "classic", "consumer"]:
        member = consumer(group, group_protocol=protocol)
        member.subscribe([topic])
        until_assigned([member], [4])
        expect(describe(group).type.name, protocol.upper(), "the group's protocol")
        member.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
        member.close()


run(
    "consumer groups",
    [
        ("uniform", lambda: shares("uniform")),
        ("range", lambda: shares("range")),
        ("a pattern", pattern),
        ("commits", commits),
        ("a static member comes back", static_member),
        ("administration", administration),
        ("both protocols", both_protocols),
    ],
)

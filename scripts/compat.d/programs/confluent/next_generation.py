"""KIP-848 consumer groups through a current librdkafka: the broker assigns, members only heartbeat."""

import time

from common import *  # noqa: F403
from confluent_kafka import OFFSET_INVALID, KafkaError, TopicPartition
from groups import all_of, close, committed, shared


def member(group, topic, **options):
    client = consumer(group, **{"group.protocol": "consumer", **options})
    client.subscribe([topic])
    return client


@case
def reads_all_commits_and_resumes(topic):
    create(topic)
    send(topic, [(n % 4, None, b"%d" % n) for n in range(400)])
    first = member(topic, topic)
    got = read(first, 400)
    expect(len({(m.partition(), m.offset()) for m in got}), 400, "distinct records")
    first.commit(asynchronous=False)
    first.close()
    send(topic, [(1, None, b"new")])
    second = member(topic, topic)
    expect(read(second, 1)[0].value(), b"new", "what comes after the commit")
    expect(committed(second, topic), [100] * 4, "commits")
    nothing_more(second)
    close(second)


@case
def members_share_join_and_leave(topic):
    create(topic, 6)
    members = [member(topic, topic)]
    drive(members, lambda: owned(members[0]) == all_of(topic, 6), "one has all")
    members.append(member(topic, topic))
    drive(members, lambda: shared(members, topic, 6), "two share")
    members.append(member(topic, topic))
    drive(members, lambda: shared(members, topic, 6) and {len(owned(m)) for m in members} == {2}, "three share evenly")
    send(topic, [(n % 6, None, b"%d" % n) for n in range(60)])
    seen = []
    drive(members, lambda: len(seen) >= 60, "all records", on_message=lambda _, m: seen.append((m.partition(), m.offset())))
    expect(len(set(seen)), 60, "each record once")
    members.pop().close()
    drive(members, lambda: shared(members, topic, 6), "two share again")
    members.pop(0).close()
    drive(members, lambda: owned(members[0]) == all_of(topic, 6), "one has all again")
    close(*members)


@case
def range_assignor(topic):
    create(topic, 4)
    other = unique("other")
    create(other, 4)
    members = []
    for _ in range(2):
        client = consumer(topic, **{"group.protocol": "consumer", "group.remote.assignor": "range"})
        client.subscribe([topic, other])
        members.append(client)
    both = sorted(all_of(topic) + all_of(other))
    drive(members, lambda: sorted(owned(members[0]) + owned(members[1])) == both and len(owned(members[0])) == 4, "shared")
    # Range gives a member the same numbers of every topic.
    numbers = [{t: {p for of, p in owned(m) if of == t} for t in (topic, other)} for m in members]
    for of in numbers:
        expect(of[topic], of[other], "numbers of both topics")
    about = settle(admin().describe_consumer_groups([topic]))[topic]
    expect(about.partition_assignor, "range", "assignor")
    close(*members)


@case
def unknown_assignor_is_refused(topic):
    create(topic)
    client = member(topic, topic, **{"group.remote.assignor": "no-such"})
    codes = []

    def step():
        message = client.poll(0.2)
        if message is not None and message.error():
            codes.append(message.error().code())
        return codes

    poll_until(step, "refused", 15)
    holds(codes[0] in (KafkaError.UNSUPPORTED_ASSIGNOR, KafkaError._FATAL), f"error {codes}")
    client.close()


@case
def growth_of_a_topic_is_noticed(topic):
    create(topic, 1)
    client = member(topic, topic, **{"topic.metadata.refresh.interval.ms": 1000})
    drive([client], lambda: owned(client) == all_of(topic, 1), "one partition")
    from confluent_kafka.admin import NewPartitions

    settle(admin().create_partitions([NewPartitions(topic, 3)]))
    drive([client], lambda: owned(client) == all_of(topic, 3), "three partitions", 40)
    client.close()


@case
def subscription_before_the_topic_is_there(topic):
    client = member(topic, topic, **{"allow.auto.create.topics": False})
    for _ in range(5):
        client.poll(0.2)
    expect(owned(client), [], "nothing yet")
    create(topic, 2)
    drive([client], lambda: owned(client) == all_of(topic, 2), "assigned when it comes", 40)
    client.close()


@case
def subscription_by_pattern(topic):
    create(f"{topic}-a", 1)
    create(f"x{topic}-a", 1)
    client = member(topic, f"^{topic}-[ab]$")
    drive([client], lambda: owned(client) == [(f"{topic}-a", 0)], "the topic that matches")
    create(f"{topic}-b", 1)
    drive([client], lambda: len(owned(client)) == 2, "a new topic that matches", 45)
    client.close()


@case
def bad_pattern_is_refused(topic):
    create(topic)
    # Good for the client, but not RE2: back references are not regular.
    client = member(topic, r"^(a)\1$")
    codes = []

    def step():
        message = client.poll(0.2)
        if message is not None and message.error():
            codes.append(message.error().code())
        return codes

    poll_until(step, "refused", 15)
    holds(codes[0] in (KafkaError.INVALID_REGULAR_EXPRESSION, KafkaError._FATAL), f"error {codes}")
    client.close()


@case
def static_member_comes_back(topic):
    create(topic)
    made = lambda: member(topic, topic, **{"group.instance.id": "one"})
    other = member(topic, topic, **{"group.instance.id": "two"})
    first = made()
    drive([first, other], lambda: shared([first, other], topic), "they share")
    before = owned(first)
    first.close()
    time.sleep(1)
    drive([other], lambda: True, "poll")
    expect(len(owned(other)), 2, "of the other while one is away")
    first = made()
    drive([first, other], lambda: owned(first) == before, "the same partitions again")
    close(first, other)


@case
def second_use_of_an_instance_is_refused(topic):
    create(topic)
    first = member(topic, topic, **{"group.instance.id": "twin"})
    drive([first], lambda: owned(first) == all_of(topic), "assigned")
    second = member(topic, topic, **{"group.instance.id": "twin"})
    codes = []

    def step():
        first.poll(0.05)
        message = second.poll(0.1)
        if message is not None and message.error():
            codes.append(message.error())
        return codes

    poll_until(step, "the second is refused", 20)
    code = codes[0].code()
    holds(code in (KafkaError.UNRELEASED_INSTANCE_ID, KafkaError._FATAL), f"error {codes}")
    expect(owned(first), all_of(topic), "the first is not disturbed")
    close(first)


@case
def commit_with_metadata(topic):
    create(topic)
    client = member(topic, topic)
    drive([client], lambda: owned(client) == all_of(topic), "assigned")
    send(topic, [(0, None, b"%d" % n) for n in range(20)])
    client.commit(offsets=[TopicPartition(topic, 0, 7, metadata="seven")], asynchronous=False)
    back = client.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], timeout=SECONDS)
    expect([(p.offset, p.metadata) for p in back][0], (7, "seven"), "commit")
    expect(back[1].offset, OFFSET_INVALID, "nothing committed")
    close(client)


@case
def described_as_a_consumer_group(topic):
    create(topic)
    client = member(topic, topic, **{"client.id": "next"})
    drive([client], lambda: owned(client) == all_of(topic), "assigned")
    about = settle(admin().describe_consumer_groups([topic]))[topic]
    expect((about.state.name, about.type.name), ("STABLE", "CONSUMER"), "state and type")
    expect(about.partition_assignor, "uniform", "assignor")
    expect([m.client_id for m in about.members], ["next"], "members")
    parts = sorted((p.topic, p.partition) for p in about.members[0].assignment.topic_partitions)
    expect(parts, all_of(topic), "assignment")
    from confluent_kafka import ConsumerGroupType

    listed = admin().list_consumer_groups(types={ConsumerGroupType.CONSUMER}).result(SECONDS).valid
    holds(topic in {g.group_id for g in listed}, "listed among groups of its type")
    listed = admin().list_consumer_groups(types={ConsumerGroupType.CLASSIC}).result(SECONDS).valid
    holds(topic not in {g.group_id for g in listed}, "not listed among classic groups")
    client.close()


@case
def classic_and_new_members_in_one_group(topic):
    """A group is moved by restarting its members one after another."""
    create(topic)
    old = consumer(topic, **{"session.timeout.ms": 6000, "heartbeat.interval.ms": 300,
                             "partition.assignment.strategy": "cooperative-sticky"})
    old.subscribe([topic])
    drive([old], lambda: owned(old) == all_of(topic), "the classic member has all")
    new = member(topic, topic)
    drive([old, new], lambda: shared([old, new], topic), "both kinds share", 45)
    send(topic, [(n % 4, None, b"%d" % n) for n in range(40)])
    seen = []
    drive([old, new], lambda: len(seen) >= 40, "records", on_message=lambda _, m: seen.append((m.partition(), m.offset())))
    expect(len(set(seen)), 40, "each record once")
    old.close()
    drive([new], lambda: owned(new) == all_of(topic), "the new member has all", 45)
    new.close()


@case
def an_empty_classic_group_becomes_a_new_one(topic):
    create(topic)
    send(topic, [(0, None, b"%d" % n) for n in range(10)])
    old = consumer(topic, **{"session.timeout.ms": 6000})
    old.subscribe([topic])
    read(old, 10)
    old.commit(asynchronous=False)
    old.close()
    send(topic, [(0, None, b"new")])
    new = member(topic, topic)
    expect(read(new, 1)[0].value(), b"new", "goes on where the classic group was")
    new.close()


main()

"""Classic consumer groups through a current librdkafka: sharing, leaving, committing, static members, assignors."""

import time

from common import *  # noqa: F403
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition
from groups import all_of, close, committed, shared

SESSION_MS = 6000


def member(group, topic, **options):
    client = consumer(group, **{"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 300, **options})
    client.subscribe([topic])
    return client


@case
def reads_all_commits_and_resumes(topic):
    create(topic)
    send(topic, [(n % 4, None, b"%d" % n) for n in range(400)])
    first = member(topic, topic)
    got = read(first, 400)
    expect(len({(m.partition(), m.offset()) for m in got}), 400, "distinct records")
    parts = first.commit(asynchronous=False)
    expect(sorted((p.partition, p.offset) for p in parts), [(p, 100) for p in range(4)], "committed")
    first.close()
    send(topic, [(1, None, b"new")])
    second = member(topic, topic)
    expect(read(second, 1)[0].value(), b"new", "what comes after the commit")
    expect(committed(second, topic), [100] * 4, "commits read by another member")
    nothing_more(second)
    close(second)


@case
def nothing_committed_is_no_offset(topic):
    create(topic)
    client = consumer(topic)
    expect(committed(client, topic), [OFFSET_INVALID] * 4, "commits of a group that never was")
    client.close()


@case
def commit_with_metadata_and_leader_epoch(topic):
    create(topic)
    send(topic, [(0, None, b"%d" % n) for n in range(50)])
    client = member(topic, topic)
    drive([client], lambda: owned(client) == all_of(topic), "assigned")
    client.commit(offsets=[TopicPartition(topic, 0, 17, metadata="where é we are", leader_epoch=0)], asynchronous=False)
    back = client.committed([TopicPartition(topic, 0)], timeout=SECONDS)[0]
    expect((back.offset, back.metadata), (17, "where é we are"), "commit read back")
    holds(back.leader_epoch in (0, None), f"leader epoch {back.leader_epoch}")
    client.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    back = client.committed([TopicPartition(topic, 0)], timeout=SECONDS)[0]
    expect((back.offset, back.metadata or ""), (5, ""), "a commit replaces the one before, backwards too")
    error = raises(KafkaException, lambda: client.commit(
        offsets=[TopicPartition(topic, 0, 6, metadata="m" * 5000)], asynchronous=False), "metadata too large")
    expect(error.args[0].code(), KafkaError.OFFSET_METADATA_TOO_LARGE, "error")
    close(client)


@case
def commit_to_an_unknown_partition(topic):
    create(topic, 1)
    client = member(topic, topic)
    drive([client], lambda: owned(client) == all_of(topic, 1), "assigned")
    error = raises(KafkaException, lambda: client.commit(
        offsets=[TopicPartition(unique("gone"), 3, 1)], asynchronous=False), "commit")
    expect(error.args[0].code(), KafkaError.UNKNOWN_TOPIC_OR_PART, "error")
    close(client)


@case
def two_members_share_and_one_takes_over(topic):
    create(topic)
    members = [member(topic, topic) for _ in range(2)]
    drive(members, lambda: shared(members, topic), "two members share four partitions")
    expect([len(owned(client)) for client in members], [2, 2], "an even share")
    send(topic, [(n % 4, None, b"%d" % n) for n in range(40)])
    seen = []
    drive(members, lambda: len(seen) >= 40, "all records", on_message=lambda _, m: seen.append((m.partition(), m.offset())))
    expect(len(set(seen)), 40, "each record once")
    members[0].close()
    drive(members[1:], lambda: owned(members[1]) == all_of(topic), "the one that is left has all")
    close(members[1])


@case
def a_third_member_and_more_members_than_partitions(topic):
    create(topic, 2)
    members = [member(topic, topic) for _ in range(3)]
    full = lambda: sorted(sum((owned(client) for client in members), [])) == all_of(topic, 2)
    drive(members, lambda: full() and sorted(len(owned(c)) for c in members) == [0, 1, 1], "one of three is idle")
    busy = next(client for client in members if owned(client))
    busy.close()
    members.remove(busy)
    drive(members, lambda: shared(members, topic, 2), "the idle one takes over")
    close(*members)


def silent_member(group, topic, **options):
    """A member in a process of its own, to be killed: it joins, says so, and then lives on."""
    import os
    import subprocess
    import sys
    code = (
        "import sys; from confluent_kafka import Consumer\n"
        f"c = Consumer({{'bootstrap.servers': {BOOTSTRAP!r}, 'group.id': {group!r}, 'session.timeout.ms': {SESSION_MS},"
        f" 'heartbeat.interval.ms': 300, **{options!r}}})\n"
        f"c.subscribe([{topic!r}])\n"
        "said = False\n"
        "while True:\n"
        "    c.poll(0.05)\n"
        "    if c.assignment() and not said: print('in', flush=True); said = True\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ)
    return process


@case
def a_killed_member_is_missed(topic):
    create(topic)
    victim = silent_member(topic, topic)
    try:
        expect(victim.stdout.readline(), b"in\n", "the member joined")
        survivor = member(topic, topic)
        drive([survivor], lambda: len(owned(survivor)) == 2, "they share")
        victim.kill()
        killed = time.monotonic()
        drive([survivor], lambda: owned(survivor) == all_of(topic), "the session of the dead ends", 40)
        took = time.monotonic() - killed
        holds(SESSION_MS / 1000 - 1 < took < 3 * SESSION_MS / 1000, f"after {took:.1f} s")
        close(survivor)
    finally:
        victim.kill()
        victim.wait()


@case
def static_members_come_back_without_a_rebalance(topic):
    create(topic)
    made = lambda at: member(topic, topic, **{"group.instance.id": f"instance-{at}", "session.timeout.ms": 15000})
    members = [made(0), made(1)]
    drive(members, lambda: shared(members, topic), "they share")
    before = owned(members[0])
    generation = lambda: settle(admin().describe_consumer_groups([topic]))[topic].state.name
    members[0].close()
    time.sleep(1)
    drive(members[1:], lambda: True, "poll")
    expect(len(owned(members[1])), 2, "partitions of the other while one is away")
    members[0] = made(0)
    drive(members, lambda: owned(members[0]) == before, "the same partitions again")
    expect(generation(), "STABLE", "state")
    close(*members)


@case
def the_same_instance_twice_fences_the_first(topic):
    create(topic)
    first = member(topic, topic, **{"group.instance.id": "twin"})
    drive([first], lambda: owned(first) == all_of(topic), "assigned")
    second = member(topic, topic, **{"group.instance.id": "twin"})
    codes = []

    def step():
        for client in (first, second):
            message = client.poll(0.05)
            if message is not None and message.error():
                codes.append((client is first, message.error().code()))
        return (True, KafkaError._FATAL) in codes or (True, KafkaError.FENCED_INSTANCE_ID) in codes

    poll_until(step, "the first is told that it is fenced", 25)
    drive([second], lambda: owned(second) == all_of(topic), "the second has everything")
    second.close()


@case
def cooperative_sticky_moves_only_what_it_must(topic):
    create(topic)
    option = {"partition.assignment.strategy": "cooperative-sticky"}
    first = member(topic, topic, **option)
    drive([first], lambda: owned(first) == all_of(topic), "one has all")
    second = member(topic, topic, **option)
    drive([first, second], lambda: shared([first, second], topic), "two share", 40)
    expect(len(owned(first)), 2, "kept by the first")
    third = member(topic, topic, **option)
    drive([first, second, third], lambda: shared([first, second, third], topic), "three share", 40)
    close(first, second, third)


@case
def roundrobin_and_range_over_two_topics(topic):
    for strategy in ("range", "roundrobin"):
        one, two = unique("one"), unique("two")
        create(one, 2)
        create(two, 2)
        group = unique(strategy)
        members = [consumer(group, **{"partition.assignment.strategy": strategy, "session.timeout.ms": SESSION_MS,
                                      "heartbeat.interval.ms": 300}) for _ in range(2)]
        for client in members:
            client.subscribe([one, two])
        whole = sorted([(one, 0), (one, 1), (two, 0), (two, 1)])
        drive(members, lambda: sorted(owned(members[0]) + owned(members[1])) == whole
              and len(owned(members[0])) == 2, strategy)
        close(*members)


@case
def members_without_a_common_assignor_are_refused(topic):
    create(topic)
    first = member(topic, topic, **{"partition.assignment.strategy": "range"})
    drive([first], lambda: owned(first) == all_of(topic), "assigned")
    second = member(topic, topic, **{"partition.assignment.strategy": "roundrobin"})
    codes = []

    def step():
        first.poll(0.05)
        message = second.poll(0.1)
        if message is not None and message.error():
            codes.append(message.error().code())
        return codes

    poll_until(step, "the second is refused", 20)
    expect(codes[0], KafkaError.INCONSISTENT_GROUP_PROTOCOL, "error")
    expect(owned(first), all_of(topic), "the first is not disturbed")
    close(first, second)


@case
def subscription_by_pattern_and_growth(topic):
    create(f"{topic}-a", 1)
    client = consumer(topic, **{"session.timeout.ms": SESSION_MS, "topic.metadata.refresh.interval.ms": 500})
    client.subscribe([f"^{topic}-.*"])
    drive([client], lambda: owned(client) == [(f"{topic}-a", 0)], "the topic that is there")
    create(f"{topic}-b", 1)
    drive([client], lambda: len(owned(client)) == 2, "a new topic that matches")
    client.close()


@case
def session_timeout_out_of_range_is_refused(topic):
    create(topic)
    client = consumer(topic, **{"session.timeout.ms": 500, "heartbeat.interval.ms": 100})
    client.subscribe([topic])
    codes = []

    def step():
        message = client.poll(0.2)
        if message is not None and message.error():
            codes.append(message.error().code())
        return codes

    poll_until(step, "refused", 15)
    expect(codes[0], KafkaError.INVALID_SESSION_TIMEOUT, "error")
    client.close()


@case
def rebalance_callbacks_and_commit_in_revoke(topic):
    create(topic)
    send(topic, [(n % 4, None, b"%d" % n) for n in range(80)])
    first = consumer(topic, **{"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 300})
    log = []

    def revoked(client, parts):
        log.append(("revoked", len(parts)))
        if log[-2] == ("assigned", 4):
            client.commit(asynchronous=False)

    first.subscribe([topic], on_assign=lambda _, parts: log.append(("assigned", len(parts))), on_revoke=revoked)
    read(first, 80)
    second = member(topic, topic)
    drive([first, second], lambda: shared([first, second], topic), "they share")
    expect(log[:3], [("assigned", 4), ("revoked", 4), ("assigned", 2)], "callbacks")
    nothing_more(second)
    expect(committed(second, topic), [20] * 4, "committed when revoked")
    close(first, second)


@case
def auto_commit(topic):
    create(topic, 1)
    send(topic, [(0, None, b"%d" % n) for n in range(30)])
    client = member(topic, topic, **{"enable.auto.commit": True, "auto.commit.interval.ms": 200})
    read(client, 30)
    poll_until(lambda: client.poll(0.1) is None and committed(client, topic, 1) == [30], "committed by itself")
    client.close()


@case
def commit_without_being_a_member(topic):
    """What tools do: a group with no members takes commits with no generation."""
    create(topic)
    client = consumer(topic)
    client.commit(offsets=[TopicPartition(topic, 2, 9)], asynchronous=False)
    expect(committed(client, topic), [OFFSET_INVALID, OFFSET_INVALID, 9, OFFSET_INVALID], "commits")
    other = consumer(topic)
    expect(committed(other, topic)[2], 9, "read by another")
    close(client, other)


@case
def commit_from_outside_of_a_group_with_members_is_refused(topic):
    create(topic)
    inside = member(topic, topic)
    drive([inside], lambda: owned(inside) == all_of(topic), "assigned")
    outside = consumer(topic)
    error = raises(KafkaException, lambda: outside.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False),
                   "commit")
    expect(error.args[0].code(), KafkaError.UNKNOWN_MEMBER_ID, "error")
    close(inside, outside)


@case
def describe_and_list_while_it_lives_and_after(topic):
    create(topic)
    client = member(topic, topic, **{"client.id": "a-client"})
    drive([client], lambda: owned(client) == all_of(topic), "assigned")
    about = settle(admin().describe_consumer_groups([topic]))[topic]
    expect(about.state.name, "STABLE", "state")
    expect(about.partition_assignor, "range", "assignor")
    expect([m.client_id for m in about.members], ["a-client"], "members")
    holds(about.members[0].host not in ("", None), "the member's host is known")
    parts = sorted((p.topic, p.partition) for p in about.members[0].assignment.topic_partitions)
    expect(parts, all_of(topic), "assignment")
    listed = {g.group_id: g for g in admin().list_consumer_groups().result(SECONDS).valid}
    expect(listed[topic].state.name, "STABLE", "state in the list")
    client.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    client.close()
    poll_until(lambda: settle(admin().describe_consumer_groups([topic]))[topic].state.name == "EMPTY", "empty at last")


@case
def many_groups_on_one_topic(topic):
    create(topic, 2)
    send(topic, [(n % 2, None, b"%d" % n) for n in range(20)])
    clients = [member(f"{topic}-{n}", topic) for n in range(20)]
    for client in clients:
        read(client, 20)
        client.commit(asynchronous=False)
    for client in clients:
        expect(committed(client, topic, 2), [10, 10], "commits")
    close(*clients)


main()

"""The administration through a current librdkafka: topics, partitions, configs, records, offsets, groups, the cluster."""

import time

from common import *  # noqa: F403
from confluent_kafka import (
    OFFSET_INVALID, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, NewPartitions, NewTopic, OffsetSpec,
)
from groups import all_of

RESOURCE = ConfigResource.Type


def refused(futures, what):
    """The codes with which each part of a call failed."""
    return {key: raises(KafkaException, lambda: future.result(timeout=SECONDS), what).args[0].code()
            for key, future in futures.items()}


def configs(kind, name):
    resource = ConfigResource(kind, name)
    return settle(admin().describe_configs([resource], request_timeout=SECONDS))[resource]


def change(topic, *entries):
    settle(admin().incremental_alter_configs([ConfigResource(RESOURCE.TOPIC, topic, incremental_configs=[
        ConfigEntry(name, value, incremental_operation=operation) for operation, name, value in entries
    ])]))


def eventually(look, expected, what):
    """What was changed may take a moment to be seen everywhere."""
    seen = []

    def same():
        seen.append(look())
        return seen[-1] == expected

    try:
        poll_until(same, what, 10)
    except AssertionError:
        expect(seen[-1], expected, what)


def values(topic, *names):
    got = configs(RESOURCE.TOPIC, topic)
    return [None if got[name].is_default else got[name].value for name in names]


@case
def create_describe_delete(topic):
    create(topic, 3, retention_ms=1234567, cleanup_policy="delete")
    about = admin().list_topics(topic, timeout=SECONDS).topics[topic]
    expect(sorted(about.partitions), [0, 1, 2], "partitions")
    expect([part.replicas == part.isrs and len(part.isrs) for part in about.partitions.values()], [1] * 3, "replicas")
    expect(configs(RESOURCE.TOPIC, topic)["retention.ms"].value, "1234567", "config")
    settle(admin().delete_topics([topic], operation_timeout=SECONDS))
    poll_until(lambda: topic not in admin().list_topics(timeout=SECONDS).topics, "it is gone")
    expect(list(refused(admin().delete_topics([topic]), "again").values()), [KafkaError.UNKNOWN_TOPIC_OR_PART], "again")


@case
def create_refuses(topic):
    create(topic)
    asked = {
        topic: KafkaError.TOPIC_ALREADY_EXISTS,
        "white space": KafkaError.TOPIC_EXCEPTION,
        "." : KafkaError.TOPIC_EXCEPTION,
        "x" * 250: KafkaError.TOPIC_EXCEPTION,
    }
    got = refused(admin().create_topics([NewTopic(name, 1, 1) for name in asked]), "create")
    expect(got, asked, "codes")
    one = lambda **options: list(refused(admin().create_topics([NewTopic(unique("no"), **options)]), "create").values())[0]
    expect(one(num_partitions=1, replication_factor=3), KafkaError.INVALID_REPLICATION_FACTOR, "too many replicas")
    expect(one(num_partitions=1, replication_factor=1, config={"no.such.config": "1"}), KafkaError.INVALID_CONFIG, "config")
    expect(one(num_partitions=1, replication_factor=1, config={"retention.ms": "soon"}), KafkaError.INVALID_CONFIG, "value")
    expect(one(num_partitions=1, replication_factor=1, config={"cleanup.policy": "burn"}), KafkaError.INVALID_CONFIG, "policy")


@case
def create_with_the_defaults_of_the_broker(topic):
    settle(admin().create_topics([NewTopic(topic)]))
    eventually(lambda: len(admin().list_topics(topic, timeout=SECONDS).topics[topic].partitions), 4, "partitions by default")


@case
def create_only_validated(topic):
    settle(admin().create_topics([NewTopic(topic, 1, 1)], validate_only=True))
    time.sleep(0.3)
    holds(topic not in admin().list_topics(timeout=SECONDS).topics, "validated is not created")


@case
def a_deleted_topic_comes_back_empty(topic):
    create(topic, 1)
    send(topic, [(0, None, b"old")] * 5)
    settle(admin().delete_topics([topic], operation_timeout=SECONDS))
    poll_until(lambda: topic not in admin().list_topics(timeout=SECONDS).topics, "it is gone")
    create(topic, 1)
    expect(send(topic, [(0, None, b"new")]), [(0, 0)], "offsets start again")


@case
def partitions_grow_and_never_shrink(topic):
    create(topic, 2)
    settle(admin().create_partitions([NewPartitions(topic, 5)]))
    poll_until(lambda: len(admin().list_topics(topic, timeout=SECONDS).topics[topic].partitions) == 5, "five")
    expect(refused(admin().create_partitions([NewPartitions(topic, 3)]), "fewer"),
           {topic: KafkaError.INVALID_PARTITIONS}, "fewer")
    missing = unique("missing")
    expect(refused(admin().create_partitions([NewPartitions(missing, 3)]), "missing"),
           {missing: KafkaError.UNKNOWN_TOPIC_OR_PART}, "of a missing topic")
    send(topic, [(4, None, b"x")])


@case
def topic_configs(topic):
    create(topic, 1, max_message_bytes=200000)
    got = configs(RESOURCE.TOPIC, topic)
    known = {
        "cleanup.policy", "compression.type", "delete.retention.ms", "file.delete.delay.ms", "flush.messages",
        "flush.ms", "index.interval.bytes", "max.compaction.lag.ms", "max.message.bytes",
        "message.timestamp.after.max.ms", "message.timestamp.before.max.ms", "message.timestamp.type",
        "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "min.insync.replicas", "preallocate", "retention.bytes",
        "retention.ms", "segment.bytes", "segment.index.bytes", "segment.jitter.ms", "segment.ms",
        "unclean.leader.election.enable",
    }
    expect(sorted(known - set(got)), [], "configs that are missing")
    entry = got["max.message.bytes"]
    expect((entry.value, entry.is_default, entry.source), ("200000", False, ConfigSource.DYNAMIC_TOPIC_CONFIG.value), "set")
    entry = got["cleanup.policy"]
    expect((entry.value, entry.is_default, entry.is_read_only, entry.is_sensitive), ("delete", True, False, False), "default")
    expect(entry.source, ConfigSource.DEFAULT_CONFIG.value, "source of a default")


@case
def topic_configs_are_altered_one_by_one(topic):
    create(topic, 1)
    op = AlterConfigOpType
    change(topic, (op.SET, "retention.ms", "100000"), (op.SET, "max.message.bytes", "5000"))
    eventually(lambda: values(topic, "retention.ms", "max.message.bytes"), ["100000", "5000"], "set")
    change(topic, (op.APPEND, "cleanup.policy", "compact"))
    eventually(lambda: set(values(topic, "cleanup.policy")[0].split(",")), {"delete", "compact"}, "appended")
    change(topic, (op.SUBTRACT, "cleanup.policy", "delete"), (op.DELETE, "retention.ms", None))
    eventually(lambda: values(topic, "cleanup.policy", "retention.ms"), ["compact", None], "subtracted, deleted")
    expect(configs(RESOURCE.TOPIC, topic)["retention.ms"].value, "604800000", "the default")
    client, errors = producer(), []
    client.produce(topic, key=b"k", value=b"x" * 6000, on_delivery=lambda e, _: errors.append(e and e.code()))
    client.flush(SECONDS)
    expect(errors, [KafkaError.MSG_SIZE_TOO_LARGE], "the limit is in force")


@case
def alter_configs_refuses(topic):
    create(topic, 1)
    def code(name, value, resource=topic):
        asked = ConfigResource(RESOURCE.TOPIC, resource, incremental_configs=[
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)])
        return list(refused(admin().incremental_alter_configs([asked]), "alter").values())[0]

    expect(code("no.such.config", "1"), KafkaError.INVALID_CONFIG, "unknown name")
    expect(code("retention.ms", "x"), KafkaError.INVALID_CONFIG, "bad value")
    expect(code("min.insync.replicas", "0"), KafkaError.INVALID_CONFIG, "out of range")
    expect(code("retention.ms", "1", unique("gone")), KafkaError.UNKNOWN_TOPIC_OR_PART, "missing topic")
    expect(configs(RESOURCE.TOPIC, topic)["retention.ms"].is_default, True, "nothing changed")


@case
def altering_all_configs_resets_the_others(topic):
    """AlterConfigs, the older call: what is not named goes back to its default."""
    create(topic, 1, retention_ms=5000, segment_ms=60000)
    settle(admin().alter_configs([ConfigResource(RESOURCE.TOPIC, topic, set_config={"segment.ms": "70000"})]))
    eventually(lambda: values(topic, "segment.ms", "retention.ms"), ["70000", None], "configs")


@case
def broker_configs(_topic):
    node = next(iter(admin().list_topics(timeout=SECONDS).brokers))
    got = configs(RESOURCE.BROKER, str(node))
    for name in ("num.partitions", "auto.create.topics.enable", "message.max.bytes", "log.retention.ms",
                 "offsets.retention.minutes", "log.segment.bytes", "default.replication.factor"):
        holds(name in got, f"{name} is among the broker's configs")
    expect(got["num.partitions"].value, "4", "num.partitions")
    expect(got["auto.create.topics.enable"].value, "true", "auto.create.topics.enable")


@case
def configs_of_a_missing_topic(_topic):
    resource = ConfigResource(RESOURCE.TOPIC, unique("missing"))
    expect(refused(admin().describe_configs([resource]), "describe"), {resource: KafkaError.UNKNOWN_TOPIC_OR_PART}, "code")


@case
def delete_records(topic):
    create(topic, 2)
    send(topic, [(n % 2, None, b"%d" % n) for n in range(100)])
    done = settle(admin().delete_records([TopicPartition(topic, 0, 30), TopicPartition(topic, 1, -1)]))
    expect(sorted((part.partition, r.low_watermark) for part, r in done.items()), [(0, 30), (1, 50)], "low watermarks")
    client = consumer("deleted")
    marks = [client.get_watermark_offsets(TopicPartition(topic, p), timeout=SECONDS) for p in (0, 1)]
    expect(marks, [(30, 50), (50, 50)], "watermarks")
    client.assign([TopicPartition(topic, 0, 0)])
    expect(read(client, 20)[0].offset(), 30, "the first record that is left")
    client.close()
    codes = refused(admin().delete_records([TopicPartition(topic, 0, 51)]), "behind the end")
    expect(list(codes.values()), [KafkaError.OFFSET_OUT_OF_RANGE], "behind the end")
    codes = refused(admin().delete_records([TopicPartition(topic, 7, 1)]), "no such partition")
    # The client looks for the leader first, and finds none.
    holds(list(codes.values())[0] in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._NOENT), f"{codes}")


@case
def list_offsets(topic):
    create(topic, 2)
    client = producer()
    for n in range(10):
        client.produce(topic, value=b"x", partition=0, timestamp=1_600_000_000_000 + (n if n != 4 else 1000))
    client.flush(SECONDS)

    def ask(spec, partition=0):
        result = list(settle(admin().list_offsets({TopicPartition(topic, partition): spec})).values())[0]
        return result.offset, result.timestamp

    expect(ask(OffsetSpec.earliest())[0], 0, "earliest")
    expect(ask(OffsetSpec.latest())[0], 10, "latest")
    expect(ask(OffsetSpec.for_timestamp(1_600_000_000_003)), (3, 1_600_000_000_003), "by time")
    expect(ask(OffsetSpec.max_timestamp()), (4, 1_600_000_001_000), "the largest timestamp")
    expect(ask(OffsetSpec.latest(), 1)[0], 0, "an empty partition")
    expect(ask(OffsetSpec.max_timestamp(), 1)[0], -1, "no largest timestamp")


@case
def describe_topics(topic):
    create(topic, 3)
    got = settle(admin().describe_topics(TopicCollection([topic])))[topic]
    expect((got.name, got.is_internal, len(got.partitions)), (topic, False, 3), "description")
    holds(got.topic_id is not None and str(got.topic_id) != "AAAAAAAAAAAAAAAAAAAAAA", "it has an id")
    holds(all(part.leader is not None and len(part.replicas) == 1 for part in got.partitions), "leaders and replicas")
    missing = unique("missing")
    expect(refused(admin().describe_topics(TopicCollection([missing])), "missing"),
           {missing: KafkaError.UNKNOWN_TOPIC_OR_PART}, "missing")


@case
def describe_cluster(_topic):
    got = admin().describe_cluster().result(timeout=SECONDS)
    holds(got.cluster_id, "it has an id")
    holds(got.controller.id in {node.id for node in got.nodes}, "the controller is a node")
    expect(admin().list_topics(timeout=SECONDS).cluster_id, got.cluster_id, "one id everywhere")


@case
def group_offsets_are_altered_and_listed(topic):
    create(topic)
    send(topic, [(n % 4, None, b"%d" % n) for n in range(40)])
    set_to = [TopicPartition(topic, p, p + 1, metadata=f"m{p}") for p in range(3)]
    settle(admin().alter_consumer_group_offsets([ConsumerGroupTopicPartitions(topic, set_to)]))
    got = settle(admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(topic)]))[topic].topic_partitions
    expect(sorted((p.partition, p.offset) for p in got), [(0, 1), (1, 2), (2, 3)], "all offsets of the group")
    asked = ConsumerGroupTopicPartitions(topic, [TopicPartition(topic, 0), TopicPartition(topic, 3)])
    got = settle(admin().list_consumer_group_offsets([asked]))[topic].topic_partitions
    expect([p.offset for p in got], [1, OFFSET_INVALID], "offsets that were asked for")
    client = consumer(topic, **{"session.timeout.ms": 6000})
    client.subscribe([topic])
    first = {}
    drive([client], lambda: len(first) == 4, "records of every partition",
          on_message=lambda _, m: first.setdefault(m.partition(), m.offset()))
    expect(first, {0: 1, 1: 2, 2: 3, 3: 0}, "where the consumer starts")
    got = settle(admin().alter_consumer_group_offsets([ConsumerGroupTopicPartitions(topic, set_to)]))[topic]
    codes = {part.error and part.error.code() for part in got.topic_partitions}
    expect(codes, {KafkaError.UNKNOWN_MEMBER_ID}, "altering the offsets of a group with members")
    client.close()


@case
def groups_are_listed_by_state_and_deleted(topic):
    create(topic)
    client = consumer(topic, **{"session.timeout.ms": 6000})
    client.subscribe([topic])
    drive([client], lambda: owned(client) == all_of(topic), "assigned")
    listed = admin().list_consumer_groups(states={ConsumerGroupState.STABLE}).result(SECONDS).valid
    holds(topic in {group.group_id for group in listed}, "listed as stable")
    listed = admin().list_consumer_groups(states={ConsumerGroupState.EMPTY}).result(SECONDS).valid
    holds(topic not in {group.group_id for group in listed}, "not listed as empty")
    expect(refused(admin().delete_consumer_groups([topic]), "with members"), {topic: KafkaError.NON_EMPTY_GROUP}, "code")
    client.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    client.close()
    poll_until(lambda: settle(admin().describe_consumer_groups([topic]))[topic].state == ConsumerGroupState.EMPTY, "empty")
    settle(admin().delete_consumer_groups([topic]))
    expect(refused(admin().delete_consumer_groups([topic]), "again"), {topic: KafkaError.GROUP_ID_NOT_FOUND}, "again")
    listed = admin().list_consumer_groups().result(SECONDS).valid
    holds(topic not in {group.group_id for group in listed}, "not listed any more")
    back = consumer(topic)
    expect([p.offset for p in back.committed([TopicPartition(topic, 0)], timeout=SECONDS)], [OFFSET_INVALID], "commits")
    back.close()


@case
def a_group_that_is_not_there(_topic):
    name = unique("nobody")
    try:
        about = settle(admin().describe_consumer_groups([name]))[name]
        expect(about.state, ConsumerGroupState.DEAD, "state")
    except KafkaException as error:
        expect(error.args[0].code(), KafkaError.GROUP_ID_NOT_FOUND, "code")
    got = settle(admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)]))[name].topic_partitions
    expect(got, [], "offsets of a group that is not there")


@case
def elect_leaders(topic):
    from confluent_kafka import ElectionType

    create(topic, 1)
    got = admin().elect_leaders(ElectionType.PREFERRED, [TopicPartition(topic, 0)]).result(SECONDS)
    code = list(got.values())[0].code()
    expect(code, KafkaError.ELECTION_NOT_NEEDED, "its only replica leads already")


@case
def a_deleted_topic_takes_its_offsets_along(topic):
    create(topic, 1)
    client = consumer(topic)
    client.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
    settle(admin().delete_topics([topic], operation_timeout=SECONDS))
    gone = lambda: settle(admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(topic)]))[topic].topic_partitions == []
    poll_until(gone, "offsets of a deleted topic are gone")
    client.close()


main()

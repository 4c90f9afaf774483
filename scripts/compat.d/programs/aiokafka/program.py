"""aiokafka: the oldest protocol versions that are in use, every codec, groups with two members, static members."""

import asyncio
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import BOOTSTRAP, CODECS, case, expect, holds, main, stored_batches  # noqa: E402
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # noqa: E402
from aiokafka import errors  # noqa: E402
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic  # noqa: E402
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # noqa: E402
from aiokafka.admin.records_to_delete import RecordsToDelete  # noqa: E402
from aiokafka.structs import OffsetAndMetadata  # noqa: E402

PAST_MS = 1_600_000_000_000


async def create(topic, partitions=4, **configs):
    client = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await client.start()
    try:
        answer = await client.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        expect([error[1] for error in answer.topic_errors], [0], "error of create")
    finally:
        await client.close()


class running:
    """A client between its start and its stop."""

    def __init__(self, client):
        self.client = client

    async def __aenter__(self):
        await self.client.start()
        return self.client

    async def __aexit__(self, *_):
        await self.client.stop()


def producer(**options):
    return running(AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **options))


def consumer(*topics, **options):
    wanted = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "fetch_max_wait_ms": 100,
              "session_timeout_ms": 6000, "heartbeat_interval_ms": 300}
    return running(AIOKafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, **{**wanted, **options}))


async def take(client, count, seconds=15):
    got, deadline = [], time.monotonic() + seconds
    while len(got) < count:
        holds(time.monotonic() < deadline, f"{len(got)} of {count} messages within {seconds} s")
        for messages in (await client.getmany(timeout_ms=200)).values():
            got += messages
    return got


async def until(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        holds(time.monotonic() < deadline, f"not within {seconds} s: {what}")
        await asyncio.sleep(0.05)


async def codec(topic, name):
    await create(topic, 1)
    async with producer(compression_type=None if name == "none" else name, linger_ms=20) as client:
        futures = [await client.send(topic, b"%s %05d" % (name.encode(), n) + b"." * 100, partition=0) for n in range(800)]
        expect([(await future).offset for future in futures], list(range(800)), "acknowledged offsets")
    async with consumer(topic) as client:
        got = await take(client, 800)
    expect([m.value[:len(name) + 6] for m in got], [b"%s %05d" % (name.encode(), n) for n in range(800)], "read back")
    expect({batch.codec for batch in stored_batches(BOOTSTRAP, topic, 0)}, {CODECS[name]}, "codec in the log")


@case
async def uncompressed(topic):
    await codec(topic, "none")


@case
async def gzip(topic):
    await codec(topic, "gzip")


@case
async def snappy(topic):
    await codec(topic, "snappy")


@case
async def lz4(topic):
    await codec(topic, "lz4")


@case
async def zstd(topic):
    await codec(topic, "zstd")


@case
async def topic_made_by_using_it(topic):
    async with producer() as client:
        await client.send_and_wait(topic, b"first")
        expect(len(await client.partitions_for(topic)), 4, "partitions by default")


@case
async def headers_nulls_and_timestamps(topic):
    await create(topic, 1)
    async with producer() as client:
        await client.send_and_wait(topic, b"v", b"k", 0, PAST_MS, headers=[("a", b"1"), ("a", b"\xff")])
        await client.send_and_wait(topic, None, b"k", 0, PAST_MS + 1000)
        await client.send_and_wait(topic, b"", None, 0, PAST_MS + 2000)
    async with consumer(topic) as client:
        got = await take(client, 3)
        expect(list(got[0].headers), [("a", b"1"), ("a", b"\xff")], "headers")
        expect([(m.key, m.value) for m in got], [(b"k", b"v"), (b"k", None), (None, b"")], "keys and values")
        part = TopicPartition(topic, 0)
        expect((await client.offsets_for_times({part: PAST_MS + 1}))[part].offset, 1, "offset by time")
        expect((await client.offsets_for_times({part: PAST_MS + 9999}))[part], None, "no offset that late")
        expect((await client.beginning_offsets([part]), await client.end_offsets([part])), ({part: 0}, {part: 3}), "ends")


@case
async def idempotent(topic):
    await create(topic, 2)
    async with producer(enable_idempotence=True) as client:
        await asyncio.gather(*[client.send_and_wait(topic, b"%d" % n, partition=n % 2) for n in range(400)])
    batches = list(stored_batches(BOOTSTRAP, topic, 0))
    expect(sum(batch.count for batch in batches), 200, "records")
    holds(all(batch.producer_id >= 0 for batch in batches), "producer ids")


@case
async def too_large_is_refused(topic):
    await create(topic, 1)
    async with producer(max_request_size=5_000_000) as client:
        try:
            await client.send_and_wait(topic, b"x" * 3_000_000)
        except errors.MessageSizeTooLargeError:
            return
    raise AssertionError("3 MB were taken")


@case
async def large_messages_in_small_fetches(topic):
    await create(topic, 1)
    values = [bytes([65 + n]) * 900_000 for n in range(5)]
    async with producer(max_request_size=2_000_000) as client:
        for value in values:
            await client.send_and_wait(topic, value)
    async with consumer(topic, max_partition_fetch_bytes=1000) as client:
        holds([m.value for m in await take(client, 5)] == values, "read back")


@case
async def group_commits_and_resumes(topic):
    await create(topic)
    async with producer() as client:
        await asyncio.gather(*[client.send_and_wait(topic, b"%d" % n, partition=n % 4) for n in range(200)])
    async with consumer(topic, group_id=topic) as client:
        await take(client, 200)
        await client.commit()
        part = TopicPartition(topic, 1)
        expect(await client.committed(part), 50, "committed")
        await client.commit({part: OffsetAndMetadata(20, "a note")})
        expect(await client.committed(part), 20, "committed backwards")
    async with consumer(topic, group_id=topic) as client:
        got = await take(client, 30)
        expect([(m.partition, m.offset) for m in got], [(1, n) for n in range(20, 50)], "only what is behind the commit")


@case
async def members_share_and_take_over(topic):
    await create(topic)
    one, two = consumer(topic, group_id=topic), consumer(topic, group_id=topic)
    async with one as first:
        await until(lambda: len(first.assignment()) == 4, "one has all")
        async with two as second:
            await until(lambda: len(first.assignment()) == len(second.assignment()) == 2, "two share")
            holds(not first.assignment() & second.assignment(), "no partition twice")
            async with producer() as client:
                await asyncio.gather(*[client.send_and_wait(topic, b"%d" % n, partition=n % 4) for n in range(100)])
            got = await asyncio.gather(take(first, 50), take(second, 50))
            expect(len({(m.partition, m.offset) for messages in got for m in messages}), 100, "each record once")
        await until(lambda: len(first.assignment()) == 4, "one has all again")


@case
async def static_member_comes_back(topic):
    await create(topic)
    options = {"group_id": topic, "session_timeout_ms": 20000}
    async with consumer(topic, group_instance_id="steady", **options) as other:
        async with consumer(topic, group_instance_id="leaving", **options) as client:
            await until(lambda: len(other.assignment()) == len(client.assignment()) == 2, "two share")
            before = client.assignment()
        async with consumer(topic, group_instance_id="leaving", **options) as client:
            await until(lambda: client.assignment() == before, "the same partitions again")
            expect(len(other.assignment()), 2, "the other's share")


@case
async def seeks_and_out_of_range(topic):
    await create(topic, 1)
    async with producer() as client:
        await asyncio.gather(*[client.send_and_wait(topic, b"%d" % n, partition=0) for n in range(20)])
    part = TopicPartition(topic, 0)
    async with consumer(auto_offset_reset="none") as client:
        client.assign([part])
        client.seek(part, 15)
        expect([m.offset for m in await take(client, 5)], list(range(15, 20)), "from an offset")
        client.seek(part, 5000)
        try:
            await take(client, 1, 5)
        except errors.OffsetOutOfRangeError:
            return
    raise AssertionError("an offset out of range was not told")


@case
async def administration(topic):
    client = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await client.start()
    try:
        await client.create_topics([NewTopic(topic, 2, 1, topic_configs={"retention.ms": "1000000"})])
        await client.create_partitions({topic: NewPartitions(3)})
        about = await client.describe_topics([topic])
        expect(len(about[0]["partitions"]), 3, "partitions")
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        answer = await client.describe_configs([resource])
        found = {entry[0]: entry[1] for entry in answer[0].resources[0][4]}
        expect(found["retention.ms"], "1000000", "config")
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"segment.ms": "70000"})])
        answer = await client.describe_configs([resource])
        found = {entry[0]: entry[1] for entry in answer[0].resources[0][4]}
        expect((found["segment.ms"], found["retention.ms"]), ("70000", "604800000"), "all configs replaced")
        async with producer() as sender:
            await asyncio.gather(*[sender.send_and_wait(topic, b"x", partition=0) for _ in range(10)])
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=6)})
        async with consumer(topic, group_id=topic) as reader:
            expect((await take(reader, 4))[0].offset, 6, "first record after deleting")
            await reader.commit()
            listed = await client.list_consumer_groups()
            holds(topic in {group[0] for group in listed}, "group is listed")
            described = await client.describe_consumer_groups([topic])
            holds("Stable" in str(described), f"group is stable: {described}")
        offsets = await client.list_consumer_group_offsets(topic)
        expect(offsets[TopicPartition(topic, 0)].offset, 10, "offsets of the group")
        await client.delete_topics([topic])
        holds(topic not in await client.list_topics(), "deleted")
        about = await client.describe_cluster()
        holds(about["cluster_id"], f"cluster id: {about}")
    finally:
        await client.close()


if __name__ == "__main__":
    main()

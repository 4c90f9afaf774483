// @platformatic/kafka speaks only the flexible, recent versions of the protocol: a broker that stops at those of 2018 cannot
// serve it. Codecs, both kinds of groups, fetch sessions, administration.
import zlib from 'node:zlib'
import { Admin, Consumer, GroupProtocols, MessagesStreamModes, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'
import { BOOTSTRAP, Skip, fails, holds, main, same, sleep, test, unique, until } from './harness.mjs'

const base = { clientId: 'compat', bootstrapBrokers: [BOOTSTRAP], retries: 5, retryDelay: 200 }
const PAST = 1_600_000_000_000n

async function using(client, use) {
  try {
    return await use(client)
  } finally {
    await (client instanceof Admin ? client.close() : client.close(true))
  }
}

const withAdmin = (use) => using(new Admin(base), use)
const withProducer = (use, options = {}) =>
  using(new Producer({ ...base, serializers: stringSerializers, autocreateTopics: true, ...options }), use)
const consumer = (groupId, options = {}) => new Consumer({
  ...base, groupId, deserializers: stringDeserializers, autocommit: false, sessionTimeout: 6000, rebalanceTimeout: 6000,
  heartbeatInterval: 300, maxWaitTime: 100, ...options
})

// A send to a topic whose partitions are not all there yet is repeated as a whole, so it is waited for them.
const create = (topic, partitions = 4, configs = []) => withAdmin(async (admin) => {
  await admin.createTopics({ topics: [topic], partitions, replicas: 1, configs })
  await until(async () => {
    const about = (await admin.metadata({ topics: [topic], forceUpdate: true }).catch(() => null))?.topics.get(topic)
    return about?.partitionsCount === partitions && about.partitions.every((p) => p.leader >= 0)
  }, 'leaders')
  await sleep(200)
})

async function collecting(client, topic, mode = MessagesStreamModes.EARLIEST, options = {}) {
  const self = { client, seen: [], errors: [] }
  self.stream = await client.consume({ topics: [topic], mode, maxWaitTime: 100, ...options })
  self.stream.on('data', (message) => self.seen.push(message))
  self.stream.on('error', (error) => self.errors.push(error))
  self.parts = () => (client.assignments ?? []).filter((a) => a.topic === topic).flatMap((a) => a.partitions).sort()
  self.close = async () => {
    await self.stream.close()
    await (client instanceof Admin ? client.close() : client.close(true))
  }
  return self
}

async function readAll(topic, count, options = {}) {
  const self = await collecting(consumer(unique('reader'), options), topic)
  await until(() => self.seen.length >= count, `${count} messages`)
  await sleep(150)
  await self.close()
  same(self.seen.length, count, 'messages')
  return self.seen
}

// Once its partitions change, this client may read from the place it began at.
const distinct = (...members) => new Set(members.flatMap((m) => m.seen).map((m) => `${m.partition}@${m.offset}`)).size

const numbered = (topic, count, partitions = 4) =>
  Array.from({ length: count }, (_, n) => ({ topic, key: `k${n}`, value: `v${n}`, partition: n % partitions }))

for (const name of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
  test(name === 'none' ? 'uncompressed' : name, async (topic) => {
    if (name === 'zstd' && !zlib.zstdCompressSync) throw new Skip('this Node has no zstd')
    await create(topic, 1)
    const messages = Array.from({ length: 500 }, (_, n) => ({ topic, value: `${name} ${n}`.padEnd(100, '.'), partition: 0 }))
    const { offsets } = await withProducer((p) => p.send({ messages, compression: name, acks: -1 }))
    same(offsets, [{ topic, partition: 0, offset: 0 }], 'report')
    const got = await readAll(topic, 500)
    same(got.map((m) => m.value), messages.map((m) => m.value), 'values')
    same(got.map((m) => Number(m.offset)), messages.map((_, n) => n), 'offsets')
  })
}

test('topic_made_by_using_it', async (topic) => {
  await withProducer((p) => p.send({ messages: [{ topic, key: 'k', value: 'v' }] }))
  const about = await withAdmin((a) => a.metadata({ topics: [topic] }))
  same(about.topics.get(topic).partitionsCount, 4, 'partitions by default')
})

test('headers_nulls_and_timestamps', async (topic) => {
  await create(topic, 1)
  await withProducer((p) => p.send({ messages: [
    { topic, key: 'k', value: 'v', headers: { a: '1', b: '2' }, timestamp: PAST },
    { topic, key: 'k', value: undefined, timestamp: PAST + 1000n },
    { topic, value: 'w', timestamp: PAST + 2000n }
  ] }))
  const got = await readAll(topic, 3)
  same([...got[0].headers.entries()], [['a', '1'], ['b', '2']], 'headers')
  same(got.map((m) => Number(m.timestamp)), [0, 1000, 2000].map((n) => Number(PAST) + n), 'timestamps')
  holds(!got[1].value && !got[2].key, 'nulls')
  await using(consumer(topic), async (c) => {
    same((await c.listOffsets({ topics: [topic], timestamp: PAST + 1n })).get(topic), [1n], 'offset by time')
    same((await c.listOffsets({ topics: [topic], timestamp: -2n })).get(topic), [0n], 'beginning')
    same((await c.listOffsets({ topics: [topic], timestamp: -1n })).get(topic), [3n], 'end')
  })
})

test('idempotent', async (topic) => {
  await create(topic, 2)
  await withProducer(async (p) => {
    for (let n = 0; n < 30; n++) await p.send({ messages: numbered(topic, 4, 2) })
  }, { idempotent: true })
  await readAll(topic, 120)
})

test('too_large_is_refused', async (topic) => {
  await create(topic, 1)
  const error = await fails(withProducer((p) => p.send({ messages: [{ topic, value: 'x'.repeat(3_000_000) }] }), { retries: 0 }), '3 MB')
  const text = JSON.stringify(error, Object.getOwnPropertyNames(error)) + JSON.stringify(error.errors?.map(String))
  holds(/MESSAGE_TOO_LARGE|too large|larger/i.test(text + error.stack), text)
})

for (const [kind, options] of [['classic', {}], ['kip_848', { groupProtocol: GroupProtocols.CONSUMER, sessionTimeout: undefined, rebalanceTimeout: undefined, heartbeatInterval: undefined }]]) {
  test(`${kind}_group_commits_and_resumes`, async (topic) => {
    await create(topic)
    await withProducer((p) => p.send({ messages: numbered(topic, 100) }))
    const first = await collecting(consumer(topic, options), topic)
    await until(() => distinct(first) === 100, 'all messages')
    for (const partition of [0, 1, 2, 3]) await first.seen.filter((m) => m.partition === partition).at(-1).commit()
    const committed = await first.client.listCommittedOffsets({ topics: [{ topic, partitions: [0, 1, 2, 3] }] })
    same(committed.get(topic), [25n, 25n, 25n, 25n].map(Number), 'committed')
    await first.close()
    await withProducer((p) => p.send({ messages: [{ topic, value: 'more', partition: 2 }] }))
    const second = await collecting(consumer(topic, options), topic, MessagesStreamModes.COMMITTED)
    await until(() => second.seen.length >= 1, 'what is new')
    await sleep(300)
    same(second.seen.map((m) => m.value), ['more'], 'only what is new')
    await second.close()
  })

  test(`${kind}_members_share_and_take_over`, async (topic) => {
    await create(topic)
    const one = await collecting(consumer(topic, options), topic, MessagesStreamModes.COMMITTED, { fallbackMode: 'earliest' })
    await until(() => one.parts().length === 4, 'one has all')
    const two = await collecting(consumer(topic, options), topic, MessagesStreamModes.COMMITTED, { fallbackMode: 'earliest' })
    await until(() => one.parts().length === 2, 'two share')
    if (kind === 'classic') {
      await until(() => two.parts().length === 2, 'the other half')
      same([...one.parts(), ...two.parts()].sort(), [0, 1, 2, 3], 'each partition once')
    }
    await sleep(1500)
    await withProducer((p) => p.send({ messages: numbered(topic, 80) }))
    await until(() => distinct(one, two) >= 80, 'all messages')
    // By the new protocol this client goes on reading what it had to give away, from Kafka as well.
    if (kind === 'classic') same([distinct(one), distinct(two)], [40, 40], 'half of them each')
    await two.close()
    await until(() => one.parts().length === 4, 'one has all again')
    await one.close()
  })
}

test('administration', async (topic) => withAdmin(async (admin) => {
  const made = await admin.createTopics({ topics: [topic], partitions: 2, replicas: 1, configs: [{ name: 'retention.ms', value: '1000000' }] })
  same([made[0].name, made[0].partitions, made[0].replicas], [topic, 2, 1], 'created')
  holds(/^[0-9a-f-]{36}$/.test(made[0].id), `id ${made[0].id}`)
  same(made[0].configuration['retention.ms'], '1000000', 'configuration in the answer')
  await fails(admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 }), 'again')
  await admin.createPartitions({ topics: [{ name: topic, count: 3 }] })
  await until(async () => (await admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(topic).partitionsCount === 3, 'three partitions')
  const config = async (name) => (await admin.describeConfigs({ resources: [{ resourceType: 2, resourceName: topic, configurationKeys: null }], includeSynonyms: true, includeDocumentation: true }))[0].configs.find((entry) => entry.name === name)
  same((await config('retention.ms')).value, '1000000', 'config')
  holds((await config('retention.ms')).documentation, 'documentation')
  holds((await config('retention.ms')).synonyms.length >= 1, 'synonyms')
  await admin.incrementalAlterConfigs({ resources: [{ resourceType: 2, resourceName: topic, configs: [{ name: 'segment.ms', configOperation: 0, value: '70000' }] }] })
  await until(async () => (await config('segment.ms')).value === '70000', 'altered')
  same((await config('retention.ms')).value, '1000000', 'the others stay')
  await withProducer((p) => p.send({ messages: Array.from({ length: 10 }, () => ({ topic, value: 'x', partition: 0 })) }))
  const deleted = await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 4n }] }] })
  same(deleted[0].partitions, [{ partition: 0, lowWatermark: 4 }], 'deleted records')
  const listed = await admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -2n }] }] })
  same(Number(listed[0].partitions[0].offset), 4, 'earliest offset')
  holds((await admin.listTopics()).includes(topic), 'listed')
  await admin.deleteTopics({ topics: [topic] })
  await until(async () => !(await admin.listTopics()).includes(topic), 'deleted')
}))

test('log_directories', async (topic) => {
  await create(topic, 2)
  await withProducer((p) => p.send({ messages: numbered(topic, 10, 2) }))
  const got = await withAdmin((a) => a.describeLogDirs({ topics: [{ name: topic, partitions: [0, 1] }] }))
  const parts = got.flatMap((b) => b.results.flatMap((r) => r.topics.filter((t) => t.name === topic).flatMap((t) => t.partitions)))
  same([...new Set(parts.map((p) => p.partitionIndex))].sort(), [0, 1], 'partitions')
  holds(parts.every((p) => p.partitionSize > 0n), 'sizes')
})

test('groups_are_administered', async (topic) => {
  await create(topic, 2)
  const self = await collecting(consumer(topic), topic)
  await until(() => self.parts().length === 2, 'assigned')
  await withAdmin(async (admin) => {
    const listed = await admin.listGroups()
    holds(listed.get(topic)?.protocolType === 'consumer', 'listed')
    const about = (await admin.describeGroups({ groups: [topic] })).get(topic)
    same([about.state, about.members.size], ['Stable', 1], 'described')
    await self.close()
    await until(async () => (await admin.describeGroups({ groups: [topic] })).get(topic).state === 'Empty', 'it is empty')
    await admin.alterConsumerGroupOffsets({ groupId: topic, topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 7n }, { partition: 1, offset: 3n }] }] })
    const offsets = async () => (await admin.listConsumerGroupOffsets({ groups: [topic] }))[0].topics.flatMap((t) => t.partitions)
    same((await offsets()).map((p) => [p.partitionIndex, Number(p.committedOffset)]).sort(), [[0, 7], [1, 3]], 'offsets')
    await admin.deleteConsumerGroupOffsets({ groupId: topic, topics: [{ name: topic, partitionIndexes: [1] }] })
    same((await offsets()).map((p) => [p.partitionIndex, Number(p.committedOffset)]), [[0, 7]], 'after deleting one')
    await admin.deleteGroups({ groups: [topic] })
    holds(!(await admin.listGroups()).has(topic), 'deleted')
  })
})

await main()

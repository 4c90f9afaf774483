// kafkajs, whose last release is of 2023 and which much of the Node world still runs: its own codec, its own group protocol.
import { createRequire } from 'node:module'
import { BOOTSTRAP, fails, holds, main, same, sleep, test, unique, until } from './harness.mjs'

const require = createRequire(import.meta.url)
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel, PartitionAssigners } = require('kafkajs')
const zstd = require('@mongodb-js/zstd')
const { lz4Compress, lz4Decompress } = require('@platformatic/wasm-utils')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: (encoder) => zstd.compress(encoder.buffer),
  decompress: (buffer) => zstd.decompress(buffer)
})
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => Buffer.from(lz4Compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(lz4Decompress(buffer))
})

const kafka = new Kafka({ clientId: 'compat', brokers: [BOOTSTRAP], logLevel: logLevel.ERROR, retry: { retries: 8 } })
const PAST = 1_600_000_000_000

async function withClient(client, use) {
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.disconnect()
  }
}

const withAdmin = (use) => withClient(kafka.admin(), use)
const withProducer = (use, options = {}) => withClient(kafka.producer(options), use)

const create = (topic, numPartitions = 4, configEntries = []) =>
  withAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions, configEntries }], waitForLeaders: true }))

function consumer(groupId, options = {}) {
  return kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 300, maxWaitTimeInMs: 100, ...options })
}

// A consumer that collects; its partitions are known after each join.
async function member(topic, groupId, options = {}, run = {}) {
  const client = consumer(groupId, options)
  const self = { client, seen: [], parts: [] }
  client.on(client.events.GROUP_JOIN, ({ payload }) => {
    self.parts = payload.memberAssignment[topic] ?? []
  })
  await client.connect()
  await client.subscribe({ topic, fromBeginning: true })
  await client.run({
    eachMessage: async ({ partition, message }) => {
      self.seen.push({ partition, ...message })
    },
    ...run
  })
  return self
}

async function readAll(topic, count, options = {}) {
  const self = await member(topic, unique('reader'), options)
  await until(() => self.seen.length >= count, `${count} messages`)
  await self.client.disconnect()
  same(self.seen.length, count, 'messages')
  return self.seen
}

for (const [name, compression] of Object.entries({
  uncompressed: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD
})) {
  test(name, async (topic) => {
    await create(topic, 1)
    const sent = Array.from({ length: 500 }, (_, n) => `${name} ${n}`.padEnd(100, '.'))
    const [report] = await withProducer((p) =>
      p.send({ topic, compression, messages: sent.map((value) => ({ value, partition: 0 })) }))
    same([report.errorCode, report.baseOffset], [0, '0'], 'report')
    const got = await readAll(topic, 500)
    same(got.map((m) => m.value.toString()), sent, 'values')
    same(got.map((m) => m.offset), sent.map((_, n) => String(n)), 'offsets')
  })
}

test('topic_made_by_using_it', async (topic) => {
  await withProducer((p) => p.send({ topic, messages: [{ value: 'first' }] }))
  const { topics } = await withAdmin((a) => a.fetchTopicMetadata({ topics: [topic] }))
  same(topics[0].partitions.length, 4, 'partitions by default')
})

test('headers_nulls_and_timestamps', async (topic) => {
  await create(topic, 1)
  await withProducer((p) => p.send({ topic, messages: [
    { key: 'k', value: 'v', headers: { a: '1', b: ['x', 'y'] }, timestamp: String(PAST) },
    { key: 'k', value: null, timestamp: String(PAST + 1000) },
    { value: '', timestamp: String(PAST + 2000) }
  ] }))
  const got = await readAll(topic, 3)
  same(got[0].headers.a.toString(), '1', 'header')
  same(got[0].headers.b.map(String), ['x', 'y'], 'repeated header')
  same(got.map((m) => [m.key?.toString() ?? null, m.value?.toString() ?? null]), [['k', 'v'], ['k', null], [null, '']], 'pairs')
  same(got.map((m) => m.timestamp), [PAST, PAST + 1000, PAST + 2000].map(String), 'timestamps')
  const found = await withAdmin((a) => a.fetchTopicOffsetsByTimestamp(topic, PAST + 1))
  same(found, [{ partition: 0, offset: '1' }], 'offset by time')
})

test('idempotent', async (topic) => {
  await create(topic, 2)
  await withProducer(async (p) => {
    for (let n = 0; n < 40; n++) {
      await p.send({ topic, acks: -1, messages: [{ value: `${n}`, partition: n % 2 }, { value: `${n}`, partition: n % 2 }] })
    }
  }, { idempotent: true, maxInFlightRequests: 1 })
  same((await readAll(topic, 80)).length, 80, 'messages')
})

test('several_topics_and_partitions_in_one_batch', async (topic) => {
  const other = unique('other')
  await create(topic)
  await create(other)
  const reports = await withProducer((p) => p.sendBatch({ topicMessages: [topic, other].map((name) => ({
    topic: name, messages: Array.from({ length: 40 }, (_, n) => ({ value: `${n}`, partition: n % 4 }))
  })) }))
  same(reports.map((r) => r.errorCode), Array(8).fill(0), 'reports')
  await readAll(topic, 40)
  await readAll(other, 40)
})

test('too_large_is_refused', async (topic) => {
  await create(topic, 1)
  const error = await fails(withProducer((p) => p.send({ topic, messages: [{ value: 'x'.repeat(3_000_000) }] }),
    { retry: { retries: 1 } }), 'a message of 3 MB')
  holds(/MESSAGE_TOO_LARGE|larger/.test(`${error.type} ${error.message}`), `${error.type} ${error.message}`)
})

test('acks_none', async (topic) => {
  await create(topic, 1)
  await withProducer((p) => p.send({ topic, acks: 0, messages: [{ value: 'quiet' }] }))
  same((await readAll(topic, 1))[0].value.toString(), 'quiet', 'value')
})

test('group_commits_and_resumes', async (topic) => {
  await create(topic)
  await withProducer((p) => p.send({ topic, messages: Array.from({ length: 100 }, (_, n) => ({ value: `${n}`, partition: n % 4 })) }))
  const first = await member(topic, topic)
  await until(() => first.seen.length === 100, 'all messages')
  await first.client.commitOffsets([{ topic, partition: 1, offset: '20', metadata: 'a note' }])
  await first.client.disconnect()
  const offsets = await withAdmin((a) => a.fetchOffsets({ groupId: topic, topics: [topic] }))
  const of = Object.fromEntries(offsets[0].partitions.map((p) => [p.partition, p]))
  holds(['20', '25'].includes(of[1].offset), `committed: ${JSON.stringify(of)}`)
  same([of[0].offset, of[2].offset, of[3].offset], ['25', '25', '25'], 'committed when it left')
  await withProducer((p) => p.send({ topic, messages: [{ value: 'more', partition: 2 }] }))
  const second = await member(topic, topic)
  await until(() => second.seen.some((m) => m.value.toString() === 'more'), 'what is new')
  same(second.seen.filter((m) => m.partition !== 1).length, 1, 'nothing else of the other partitions')
  await second.client.disconnect()
})

test('members_share_and_take_over', async (topic) => {
  await create(topic)
  const one = await member(topic, topic)
  const two = await member(topic, topic)
  await until(() => one.parts.length === 2 && two.parts.length === 2, 'two share')
  same([...one.parts, ...two.parts].sort(), [0, 1, 2, 3], 'each partition once')
  await withProducer((p) => p.send({ topic, messages: Array.from({ length: 80 }, (_, n) => ({ value: `${n}`, partition: n % 4 })) }))
  await until(() => one.seen.length + two.seen.length >= 80, 'all messages')
  same(new Set([...one.seen, ...two.seen].map((m) => `${m.partition}@${m.offset}`)).size, 80, 'each message once')
  await one.client.disconnect()
  await until(() => two.parts.length === 4, 'one has all')
  await two.client.disconnect()
})

test('seek_pause_and_resume', async (topic) => {
  await create(topic, 1)
  await withProducer((p) => p.send({ topic, messages: Array.from({ length: 30 }, (_, n) => ({ value: `${n}` })) }))
  const self = await member(topic, topic)
  await until(() => self.seen.length === 30, 'all')
  self.client.seek({ topic, partition: 0, offset: '25' })
  await until(() => self.seen.length === 35, 'the last five again')
  self.client.pause([{ topic }])
  await sleep(300)
  await withProducer((p) => p.send({ topic, messages: [{ value: 'held' }] }))
  await sleep(700)
  same(self.seen.length, 35, 'nothing while paused')
  self.client.resume([{ topic }])
  await until(() => self.seen.length === 36, 'it goes on')
  await self.client.disconnect()
})

test('administration', async (topic) => withAdmin(async (admin) => {
  same(await admin.createTopics({ topics: [{ topic, numPartitions: 2, configEntries: [{ name: 'retention.ms', value: '1000000' }] }] }), true, 'created')
  same(await admin.createTopics({ topics: [{ topic }] }), false, 'there already')
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  await until(async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3, 'three partitions')
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
  const config = async (name) =>
    (await admin.describeConfigs({ includeSynonyms: true, resources: [resource] })).resources[0].configEntries
      .find((entry) => entry.configName === name)
  same((await config('retention.ms')).configValue, '1000000', 'config')
  await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries: [{ name: 'segment.ms', value: '70000' }] }] })
  await until(async () => (await config('segment.ms')).configValue === '70000', 'altered')
  same((await config('retention.ms')).isDefault, true, 'the others are reset')
  await withProducer((p) => p.send({ topic, messages: Array.from({ length: 10 }, () => ({ value: 'x', partition: 0 })) }))
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
  const ends = (await admin.fetchTopicOffsets(topic)).find((p) => p.partition === 0)
  same([ends.low, ends.high], ['4', '10'], 'after deleting records')
  holds((await admin.listTopics()).includes(topic), 'listed')
  const cluster = await admin.describeCluster()
  holds(cluster.clusterId && cluster.brokers.length >= 1, 'cluster')
  await admin.deleteTopics({ topics: [topic] })
  await until(async () => !(await admin.listTopics()).includes(topic), 'deleted')
}))

test('groups_are_administered', async (topic) => {
  await create(topic, 2)
  const self = await member(topic, topic)
  await until(() => self.parts.length === 2, 'assigned')
  await withAdmin(async (admin) => {
    const { groups } = await admin.listGroups()
    holds(groups.some((g) => g.groupId === topic && g.protocolType === 'consumer'), 'listed')
    const about = (await admin.describeGroups([topic])).groups[0]
    same([about.state, about.members.length], ['Stable', 1], 'described')
    const error = await fails(admin.deleteGroups([topic]), 'deleting a group with members')
    holds(/NON_EMPTY|not empty/.test(JSON.stringify(error)), JSON.stringify(error))
    await self.client.disconnect()
    await admin.setOffsets({ groupId: topic, topic, partitions: [{ partition: 0, offset: '7' }, { partition: 1, offset: '0' }] })
    const [{ partitions }] = await admin.fetchOffsets({ groupId: topic, topics: [topic] })
    same(partitions.find((p) => p.partition === 0).offset, '7', 'set')
    await admin.deleteGroups([topic])
    holds(!(await admin.listGroups()).groups.some((g) => g.groupId === topic), 'deleted')
  })
})

await main()

//! A Kafka client that hides nothing: one request, one answer, every error code given back.
//!
//! Where a client library would try again, wait or reconnect, this one tells. Requests are the old non-flexible
//! versions of [`super::wire`]; batches are uncompressed, with a producer's stamp if asked for. A [`Ledger`] keeps
//! what was acknowledged and judges what is read.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::wire::{self, Answer, Connection, FETCH, Fields, PRODUCE};

const LIST_OFFSETS: i16 = 2;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const CREATE_TOPICS: i16 = 19;
const DELETE_TOPICS: i16 = 20;
const DELETE_RECORDS: i16 = 21;
const INIT_PRODUCER_ID: i16 = 22;
/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Error codes that tests name.
pub(crate) const NONE: i16 = 0;
pub(crate) const OFFSET_OUT_OF_RANGE: i16 = 1;
pub(crate) const KAFKA_STORAGE_ERROR: i16 = 56;
/// Timestamps that ask for the ends of a log.
pub(crate) const LATEST: i64 = -1;
pub(crate) const EARLIEST: i64 = -2;

/// An idempotent producer's stamp on a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

/// No producer.
const NOBODY: Stamp = Stamp {
    id: -1,
    epoch: -1,
    sequence: -1,
};

/// What a fetch found.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) error: i16,
    pub(crate) high_watermark: i64,
    pub(crate) records: Vec<(i64, Vec<u8>)>,
}

/// What ListOffsets said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) error: i16,
    pub(crate) offset: i64,
    pub(crate) epoch: i32,
}

/// One connection.
pub(crate) struct Client(Connection);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self(Connection::open(address).expect("a connection"))
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.0
    }

    /// Creates a topic; fails the test if that fails.
    pub(crate) fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let error = self.try_create(topic, partitions, configs);
        assert_eq!(
            error.expect("an answer to CreateTopics"),
            NONE,
            "creating {topic}"
        );
    }

    /// Creates a topic; its error code.
    pub(crate) fn try_create(
        &mut self,
        topic: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> io::Result<i16> {
        let mut body = 1_i32.to_be_bytes().to_vec();
        wire::string(&mut body, topic.as_bytes());
        body.extend(partitions.to_be_bytes());
        body.extend(1_i16.to_be_bytes());
        body.extend(0_i32.to_be_bytes());
        body.extend(i32::try_from(configs.len()).expect("few configs").to_be_bytes());
        for (key, value) in configs {
            wire::string(&mut body, key.as_bytes());
            wire::string(&mut body, value.as_bytes());
        }
        body.extend(10_000_i32.to_be_bytes());
        body.push(0);
        let answer = self.0.call(CREATE_TOPICS, 2, &body)?;
        let mut fields = Fields(&answer);
        let error = (|| {
            fields.take(8)?;
            fields.string()?;
            fields.i16()
        })();
        Ok(error.expect("a whole answer to CreateTopics"))
    }

    /// Removes the records below `offset`; the error code.
    pub(crate) fn delete_records(&mut self, topic: &str, partition: i32, offset: i64) -> io::Result<i16> {
        let mut body = 1_i32.to_be_bytes().to_vec();
        wire::string(&mut body, topic.as_bytes());
        body.extend(1_i32.to_be_bytes());
        body.extend(partition.to_be_bytes());
        body.extend(offset.to_be_bytes());
        body.extend(10_000_i32.to_be_bytes());
        let answer = self.0.call(DELETE_RECORDS, 0, &body)?;
        let mut fields = Fields(&answer);
        let error = (|| {
            fields.take(8)?;
            fields.string()?;
            fields.take(16)?;
            fields.i16()
        })();
        Ok(error.expect("a whole answer to DeleteRecords"))
    }

    /// Deletes a topic; its error code.
    pub(crate) fn delete(&mut self, topic: &str) -> i16 {
        let mut body = 1_i32.to_be_bytes().to_vec();
        wire::string(&mut body, topic.as_bytes());
        body.extend(10_000_i32.to_be_bytes());
        let answer = self
            .0
            .call(DELETE_TOPICS, 1, &body)
            .expect("an answer to DeleteTopics");
        let mut fields = Fields(&answer);
        let error = (|| {
            fields.take(8)?;
            fields.string()?;
            fields.i16()
        })();
        error.expect("a whole answer to DeleteTopics")
    }

    /// A topic's id, by Metadata version 10.
    pub(crate) fn topic_id(&mut self, topic: &str) -> [u8; 16] {
        let compact = |text: &[u8]| {
            let mut out = vec![u8::try_from(text.len() + 1).expect("a short name")];
            out.extend(text);
            out
        };
        // Flexible: empty tagged fields after the header, the topic and the body.
        let body = [
            &[0, 2][..],
            &[0; 16],
            &compact(topic.as_bytes()),
            &[0, 0, 0, 0, 0],
        ]
        .concat();
        let answer = self
            .0
            .call(wire::METADATA, 10, &body)
            .expect("an answer to Metadata");
        let mut fields = Fields(&answer);
        let id = (|| {
            fields.take(5)?;
            for _ in 1..fields.varint()? {
                fields.take(4)?;
                compact_string(&mut fields)?;
                fields.take(4)?;
                compact_string(&mut fields)?;
                fields.take(1)?;
            }
            compact_string(&mut fields)?;
            fields.take(4)?;
            fields.varint()?;
            fields.take(2)?;
            compact_string(&mut fields)?;
            fields.take(16)?.try_into().ok()
        })();
        id.expect("a whole answer to Metadata")
    }

    /// A producer id of its own and its epoch.
    pub(crate) fn init_producer(&mut self) -> (i64, i16) {
        let body = [&(-1_i16).to_be_bytes()[..], &60_000_i32.to_be_bytes()].concat();
        let answer = self
            .0
            .call(INIT_PRODUCER_ID, 0, &body)
            .expect("an answer to InitProducerId");
        let mut fields = Fields(&answer);
        fields.take(4);
        assert_eq!(fields.i16(), Some(NONE), "a producer id");
        (fields.i64().expect("an id"), fields.i16().expect("an epoch"))
    }

    /// Produces one batch; the error code and the base offset.
    pub(crate) fn produce(&mut self, topic: &str, partition: i32, batch: &[u8]) -> io::Result<(i16, i64)> {
        let answer = self.0.call(PRODUCE, 3, &produce_body(topic, partition, batch))?;
        produced(&answer)
    }

    /// Sends a produce and does not wait for its answer.
    pub(crate) fn produce_later(&mut self, topic: &str, partition: i32, batch: &[u8]) {
        let frame = wire::request(PRODUCE, 3, 1, &produce_body(topic, partition, batch));
        self.0.send(&frame).expect("a produce is sent");
    }

    /// The answer to [`produce_later`](Self::produce_later), or nothing if the connection was closed.
    pub(crate) fn produced_later(&mut self) -> io::Result<Option<(i16, i64)>> {
        match self.0.read()? {
            Answer::Closed => Ok(None),
            Answer::Frame(frame) => produced(&frame[4..]).map(Some),
        }
    }

    /// Produces one batch that must be taken; its base offset.
    pub(crate) fn produce_ok(&mut self, topic: &str, partition: i32, batch: &[u8]) -> i64 {
        let (error, offset) = self
            .produce(topic, partition, batch)
            .expect("an answer to Produce");
        assert_eq!(error, NONE, "producing to {topic}/{partition}");
        offset
    }

    /// Fetches without waiting for more.
    pub(crate) fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Fetched {
        let answer = self
            .0
            .call(FETCH, 5, &fetch_body(topic, partition, offset))
            .expect("an answer to Fetch");
        let mut fields = Fields(&answer);
        let found = (|| {
            fields.take(8)?;
            fields.string()?;
            fields.take(8)?;
            let error = fields.i16()?;
            let high_watermark = fields.i64()?;
            fields.take(16)?;
            let aborted = usize::try_from(fields.i32()?.max(0)).ok()?;
            fields.take(aborted * 16)?;
            let length = usize::try_from(fields.i32()?.max(0)).ok()?;
            let mut records = records_of(fields.take(length)?);
            // A batch is given whole, also what lies before the offset asked for.
            records.retain(|(at, _)| *at >= offset);
            Some(Fetched {
                error,
                high_watermark,
                records,
            })
        })();
        found.expect("a whole answer to Fetch")
    }

    /// Sends a fetch and leaves its answer in the socket.
    pub(crate) fn fetch_later(&mut self, topic: &str, partition: i32, offset: i64) -> io::Result<()> {
        self.0
            .send(&wire::request(FETCH, 5, 1, &fetch_body(topic, partition, offset)))
    }

    /// An end of the log.
    pub(crate) fn list(&mut self, topic: &str, partition: i32, timestamp: i64) -> Listed {
        let mut body = (-1_i32).to_be_bytes().to_vec();
        body.push(0);
        body.extend(1_i32.to_be_bytes());
        wire::string(&mut body, topic.as_bytes());
        body.extend(1_i32.to_be_bytes());
        body.extend(partition.to_be_bytes());
        body.extend((-1_i32).to_be_bytes());
        body.extend(timestamp.to_be_bytes());
        let answer = self
            .0
            .call(LIST_OFFSETS, 4, &body)
            .expect("an answer to ListOffsets");
        let mut fields = Fields(&answer);
        let listed = (|| {
            fields.take(8)?;
            fields.string()?;
            fields.take(8)?;
            let error = fields.i16()?;
            fields.take(8)?;
            Some(Listed {
                error,
                offset: fields.i64()?,
                epoch: fields.i32()?,
            })
        })();
        listed.expect("a whole answer to ListOffsets")
    }

    /// Everything from `from` to the end.
    pub(crate) fn read_all(&mut self, topic: &str, partition: i32, from: i64) -> BTreeMap<i64, Vec<u8>> {
        let mut all = BTreeMap::new();
        let mut next = from;
        loop {
            let fetched = self.fetch(topic, partition, next);
            assert_eq!(fetched.error, NONE, "fetching {topic}/{partition} from {next}");
            let last = fetched.records.last().map(|(offset, _)| *offset);
            all.extend(fetched.records);
            match last {
                Some(last) => next = last + 1,
                None => {
                    assert_eq!(
                        next, fetched.high_watermark,
                        "{topic}/{partition} is read to its end"
                    );
                    return all;
                }
            }
        }
    }

    /// Commits an offset of a group without members; the error code. The first commit waits for the coordinator.
    pub(crate) fn commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) -> i16 {
        let mut body = Vec::new();
        wire::string(&mut body, group.as_bytes());
        body.extend((-1_i32).to_be_bytes());
        wire::string(&mut body, b"");
        body.extend((-1_i64).to_be_bytes());
        body.extend(1_i32.to_be_bytes());
        wire::string(&mut body, topic.as_bytes());
        body.extend(1_i32.to_be_bytes());
        body.extend(partition.to_be_bytes());
        body.extend(offset.to_be_bytes());
        wire::string(&mut body, b"");
        let answer = self
            .0
            .call(OFFSET_COMMIT, 2, &body)
            .expect("an answer to OffsetCommit");
        let mut fields = Fields(&answer);
        let error = (|| {
            fields.take(4)?;
            fields.string()?;
            fields.take(8)?;
            fields.i16()
        })();
        error.expect("a whole answer to OffsetCommit")
    }

    /// What a group committed, -1 for nothing.
    pub(crate) fn committed(&mut self, group: &str, topic: &str, partition: i32) -> i64 {
        let mut body = Vec::new();
        wire::string(&mut body, group.as_bytes());
        body.extend(1_i32.to_be_bytes());
        wire::string(&mut body, topic.as_bytes());
        body.extend(1_i32.to_be_bytes());
        body.extend(partition.to_be_bytes());
        let answer = self
            .0
            .call(OFFSET_FETCH, 1, &body)
            .expect("an answer to OffsetFetch");
        let mut fields = Fields(&answer);
        let offset = (|| {
            fields.take(4)?;
            fields.string()?;
            fields.take(8)?;
            fields.i64()
        })();
        offset.expect("a whole answer to OffsetFetch")
    }

    /// Asks again until the answer satisfies; fails the test, naming `what`, if it never does.
    pub(crate) fn until<T: std::fmt::Debug>(
        &mut self,
        what: &str,
        mut ask: impl FnMut(&mut Self) -> T,
        satisfies: impl Fn(&T) -> bool,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = ask(self);
            if satisfies(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{what}: still {answer:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn produce_body(topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut body = (-1_i16).to_be_bytes().to_vec();
    body.extend((-1_i16).to_be_bytes());
    body.extend(10_000_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    wire::string(&mut body, topic.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    wire::bytes(&mut body, batch);
    body
}

fn produced(answer: &[u8]) -> io::Result<(i16, i64)> {
    let mut fields = Fields(answer);
    let verdict = (|| {
        fields.i32()?;
        fields.string()?;
        fields.take(8)?;
        Some((fields.i16()?, fields.i64()?))
    })();
    verdict.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a short produce answer"))
}

fn fetch_body(topic: &str, partition: i32, offset: i64) -> Vec<u8> {
    let mut body = Vec::new();
    // No replica, no wait, one byte is enough, at most 4 MiB.
    for field in [-1_i32, 0, 1, 4 << 20] {
        body.extend(field.to_be_bytes());
    }
    body.push(0);
    body.extend(1_i32.to_be_bytes());
    wire::string(&mut body, topic.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend((-1_i64).to_be_bytes());
    body.extend((4_i32 << 20).to_be_bytes());
    body
}

fn compact_string<'a>(fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(fields.varint()?.saturating_sub(1)).ok()?;
    fields.take(length)
}

/// An uncompressed batch of these values.
pub(crate) fn batch<V: AsRef<[u8]>>(values: &[V]) -> Vec<u8> {
    stamped_batch(NOBODY, values)
}

/// The same, with a producer's stamp.
pub(crate) fn stamped_batch<V: AsRef<[u8]>>(stamp: Stamp, values: &[V]) -> Vec<u8> {
    let count = i32::try_from(values.len()).expect("few records");
    let mut checked = Vec::new();
    checked.extend(0_i16.to_be_bytes());
    checked.extend((count - 1).to_be_bytes());
    checked.extend(1_600_000_000_000_i64.to_be_bytes());
    checked.extend(1_600_000_000_000_i64.to_be_bytes());
    checked.extend(stamp.id.to_be_bytes());
    checked.extend(stamp.epoch.to_be_bytes());
    checked.extend(stamp.sequence.to_be_bytes());
    checked.extend(count.to_be_bytes());
    for (at, value) in values.iter().enumerate() {
        let value = value.as_ref();
        // Attributes, timestamp delta, offset delta, no key, the value, no headers.
        let mut record = vec![0, 0];
        wire::varint(&mut record, at);
        record.push(1);
        wire::varint(&mut record, value.len());
        record.extend(value);
        record.push(0);
        wire::varint(&mut checked, record.len());
        checked.extend(record);
    }
    let mut batch = 0_i64.to_be_bytes().to_vec();
    wire::bytes(&mut batch, &[]);
    let length = i32::try_from(checked.len() + 9).expect("a short batch");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend(wire::crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

/// The records of whole batches; a cut-off batch at the end is left out. Checksums are checked.
fn records_of(mut bytes: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(rest) = one_batch(bytes, &mut all) {
        bytes = rest;
    }
    all
}

fn one_batch<'a>(bytes: &'a [u8], all: &mut Vec<(i64, Vec<u8>)>) -> Option<&'a [u8]> {
    let mut fields = Fields(bytes);
    let base = fields.i64()?;
    let length = usize::try_from(fields.i32()?).ok()?;
    let mut batch = Fields(fields.take(length)?);
    batch.take(5)?;
    let crc = batch.i32()?;
    assert_eq!(
        wire::crc32c(batch.0).to_be_bytes(),
        crc.to_be_bytes(),
        "the batch at {base}"
    );
    batch.take(36)?;
    for at in 0..batch.i32()? {
        let mut record = || {
            batch.varint()?;
            batch.take(2)?;
            batch.varint()?;
            assert_eq!(batch.byte()?, 1, "no key");
            let value = usize::try_from(batch.varint()? / 2).ok()?;
            let value = batch.take(value)?.to_vec();
            batch.varint()?;
            Some(value)
        };
        all.push((base + i64::from(at), record().expect("a whole record")));
    }
    Some(fields.0)
}

/// What was acknowledged, by topic and partition, and the judge of what is read.
#[derive(Default)]
pub(crate) struct Ledger {
    acked: BTreeMap<(String, i32), BTreeMap<i64, Vec<u8>>>,
    made: u64,
}

impl Ledger {
    /// A value that no other has, of at least `length` bytes.
    pub(crate) fn value(&mut self, length: usize) -> Vec<u8> {
        self.made += 1;
        let mut value = format!("value {:012} ", self.made).into_bytes();
        let filling = self.made.to_be_bytes()[7];
        value.resize(value.len().max(length), filling);
        value
    }

    /// These values were acknowledged from `base` on.
    pub(crate) fn acked<V: AsRef<[u8]>>(&mut self, topic: &str, partition: i32, base: i64, values: &[V]) {
        let log = self.acked.entry((topic.to_owned(), partition)).or_default();
        for (offset, value) in (base..).zip(values) {
            let before = log.insert(offset, value.as_ref().to_vec());
            assert_eq!(before, None, "{topic}/{partition}: offset {offset} is given once");
        }
    }

    /// Produces one value that must be acknowledged.
    pub(crate) fn produce(&mut self, client: &mut Client, topic: &str, partition: i32, length: usize) -> i64 {
        let value = self.value(length);
        let offset = client.produce_ok(topic, partition, &batch(&[&value]));
        self.acked(topic, partition, offset, &[value]);
        offset
    }

    /// Forgets a topic that was deleted.
    pub(crate) fn forget(&mut self, topic: &str) {
        self.acked.retain(|(name, _), _| name != topic);
    }

    /// Forgets what lies below an offset, which retention removed.
    pub(crate) fn forget_below(&mut self, topic: &str, partition: i32, start: i64) {
        if let Some(log) = self.acked.get_mut(&(topic.to_owned(), partition)) {
            log.retain(|offset, _| *offset >= start);
        }
    }

    /// How many values are known.
    pub(crate) fn len(&self) -> usize {
        self.acked.values().map(BTreeMap::len).sum()
    }

    /// Reads everything and fails the test unless every acknowledged value is at its offset and offsets are dense.
    pub(crate) fn check(&self, client: &mut Client) {
        for ((topic, partition), acked) in &self.acked {
            let start = client.list(topic, *partition, EARLIEST).offset;
            let found = client.read_all(topic, *partition, start);
            assert!(
                found
                    .keys()
                    .copied()
                    .eq(start..start + i64::try_from(found.len()).expect("a count")),
                "{topic}/{partition} has a gap"
            );
            for (offset, value) in acked {
                let same = found.get(offset) == Some(value);
                let text = |value: Option<&Vec<u8>>| {
                    value.map(|value| String::from_utf8_lossy(&value[..value.len().min(18)]).into_owned())
                };
                assert!(
                    same,
                    "{topic}/{partition}@{offset}: acknowledged {:?}, found {:?}",
                    text(Some(value)),
                    text(found.get(offset))
                );
            }
        }
    }
}

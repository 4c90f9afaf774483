//! What a partition remembers of its idempotent producers, so that a batch sent twice is stored once.
//!
//! One [`ProducerTable`] per partition, owned by the shard that owns the partition. Pure: no clock, no I/O. The shard asks
//! [`ProducerTable::check`] before it appends, and tells [`ProducerTable::record`] once the batch has its offsets; recovery
//! tells it of every batch it reads, so the table is a function of the log and a snapshot is only a shortcut.
//!
//! Promise, per producer id and partition, as Kafka 4 does it:
//!
//! | batch | answer |
//! |---|---|
//! | producer not known (new, expired or evicted) | append, whatever the sequence |
//! | known epoch, same first and last sequence as one of the last [`BATCHES_KEPT`] | duplicate: the first one's offsets |
//! | known epoch, sequence follows the last one | append |
//! | known epoch, any other sequence | [`SequenceError::OutOfOrderSequence`] |
//! | higher epoch, sequence 0 | append; the batches of the old epoch are forgotten |
//! | higher epoch, any other sequence | [`SequenceError::OutOfOrderSequence`] |
//! | lower epoch | [`SequenceError::InvalidProducerEpoch`] |
//!
//! A batch that is older than the remembered ones gets 45 (out of order), not 46 (duplicate sequence number): Kafka's
//! broker of today has no path that answers 46, and clients treat 45 as "the log is not where I think it is", which is so.
//!
//! Sequences are `0..=i32::MAX` and wrap to 0; a batch may wrap inside.
//!
//! **A duplicate is not yet an ack**: the first copy may still be on its way to the disk. Answer it when the log is durable
//! past [`Verdict::Duplicate`]'s `last_offset`.
//!
//! Bounds: [`PRODUCERS_MAX`] producers, the least recently used go first. Forgetting a producer is safe for the log but
//! makes its next retry a second copy, so the bound is far above what one partition sees within a retry.
//!
//! Absent on purpose: transactions (another table), and the meaning of errors on the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{Offset, ProducerEpoch, ProducerId, Timestamp};

/// Batches remembered per producer: Kafka's number, and the most that a client may have in flight with idempotence on.
pub const BATCHES_KEPT: usize = 5;

/// Producers remembered per partition: at about 200 bytes each, less than 1 MiB.
pub const PRODUCERS_MAX: usize = 4096;

/// How many are evicted at once when the table is full, so that a flood of new producers pays for one search per this
/// many batches.
const PRODUCERS_EVICTED: usize = PRODUCERS_MAX / 8;

const _: () = assert!(PRODUCERS_EVICTED >= 1 && PRODUCERS_EVICTED < PRODUCERS_MAX);

/// Who sent a batch, and its place in the sender's sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its generation.
    pub epoch: ProducerEpoch,
    /// The sequence of the first record; not negative.
    pub base_sequence: i32,
}

/// Where an accepted batch went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record (inclusive).
    pub last_offset: Offset,
    /// The timestamp that the answer to the producer carries.
    pub timestamp: Timestamp,
}

/// What to do with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Append it, then call [`ProducerTable::record`].
    Append,
    /// It is in the log already, here. Answer as if it had just been appended; mind the essay on durability.
    Duplicate {
        /// Offset of the first record.
        base_offset: Offset,
        /// Offset of the last record (inclusive).
        last_offset: Offset,
        /// The timestamp of the first answer.
        timestamp: Timestamp,
    },
}

/// Why a batch must not be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SequenceError {
    /// A newer generation of the producer has written here (Kafka: 47).
    #[error("producer {id} has epoch {current} here, the batch has {got}")]
    InvalidProducerEpoch {
        /// The producer.
        id: ProducerId,
        /// The epoch of the batch.
        got: ProducerEpoch,
        /// The epoch that is known.
        current: ProducerEpoch,
    },
    /// The sequence is not the next one (Kafka: 45).
    #[error("producer {id} sent sequence {got}, expected {expected}")]
    OutOfOrderSequence {
        /// The producer.
        id: ProducerId,
        /// The first sequence of the batch.
        got: i32,
        /// The sequence that would have been right.
        expected: i32,
    },
}

/// Why bytes are not a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than they claim to be.
    #[error("the producer table is incomplete")]
    Incomplete,
    /// Written by a version that this one does not know.
    #[error("the producer table has version {0}")]
    Version(u16),
    /// A value that no table holds.
    #[error("the producer table has a bad {0}")]
    Invalid(&'static str),
}

/// The producers of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProducerTable {
    producers: BTreeMap<ProducerId, Producer>,
}

/// Invariant: `1 <= count <= BATCHES_KEPT`; `batches[..count]` are of this epoch, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Producer {
    epoch: ProducerEpoch,
    /// Broker time of the last batch.
    used: Timestamp,
    count: usize,
    batches: [Batch; BATCHES_KEPT],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Batch {
    first_sequence: i32,
    last_sequence: i32,
    placement: Placement,
}

impl Batch {
    const NONE: Self = Self {
        first_sequence: 0,
        last_sequence: 0,
        placement: Placement {
            base_offset: Offset::ZERO,
            last_offset: Offset::ZERO,
            timestamp: Timestamp::ZERO,
        },
    };
}

/// What a table knows of one producer, for people to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerReport {
    /// The producer.
    pub id: ProducerId,
    /// Its generation.
    pub epoch: ProducerEpoch,
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// Broker time of its last batch.
    pub used: Timestamp,
}

impl ProducerTable {
    /// A table that knows nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every producer, by id.
    pub fn reports(&self) -> impl Iterator<Item = ProducerReport> {
        self.producers.iter().map(|(id, producer)| ProducerReport {
            id: *id,
            epoch: producer.epoch,
            last_sequence: producer.known().last().map_or(-1, |batch| batch.last_sequence),
            used: producer.used,
        })
    }

    /// Number of producers known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// True if nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// May a batch of `record_count` records (at least 1) be appended, or was it before? Changes nothing.
    pub fn check(&self, stamp: ProducerStamp, record_count: u32) -> Result<Verdict, SequenceError> {
        let ProducerStamp {
            id,
            epoch,
            base_sequence,
        } = stamp;
        let out_of_order = |expected| {
            Err(SequenceError::OutOfOrderSequence {
                id,
                got: base_sequence,
                expected,
            })
        };
        let producer = self.producers.get(&id);
        if base_sequence < 0 {
            // The door refuses these; were one to get here, nothing after it could ever be in order.
            return out_of_order(producer.map_or(0, Producer::next_sequence));
        }
        let Some(producer) = producer else {
            return Ok(Verdict::Append);
        };
        if epoch < producer.epoch {
            return Err(SequenceError::InvalidProducerEpoch {
                id,
                got: epoch,
                current: producer.epoch,
            });
        }
        if epoch > producer.epoch {
            return if base_sequence == 0 {
                Ok(Verdict::Append)
            } else {
                out_of_order(0)
            };
        }
        if let Some(batch) = producer.find(base_sequence, last_sequence(base_sequence, record_count)) {
            let Placement {
                base_offset,
                last_offset,
                timestamp,
            } = batch.placement;
            return Ok(Verdict::Duplicate {
                base_offset,
                last_offset,
                timestamp,
            });
        }
        let expected = producer.next_sequence();
        if base_sequence == expected {
            Ok(Verdict::Append)
        } else {
            out_of_order(expected)
        }
    }

    /// Remembers a batch that was appended (or found in the log by recovery). `now` is the broker's time of the append.
    ///
    /// It does not check again: what is in the log is the truth. A full table first forgets those unused for longest.
    pub fn record(&mut self, stamp: ProducerStamp, record_count: u32, placement: Placement, now: Timestamp) {
        let batch = Batch {
            first_sequence: stamp.base_sequence,
            last_sequence: last_sequence(stamp.base_sequence, record_count),
            placement,
        };
        if let Some(producer) = self.producers.get_mut(&stamp.id) {
            producer.push(stamp.epoch, batch, now);
            return;
        }
        if self.producers.len() >= PRODUCERS_MAX {
            self.evict(PRODUCERS_EVICTED);
        }
        self.producers
            .insert(stamp.id, Producer::new(stamp.epoch, batch, now));
    }

    /// Forgets the producers that were last used more than `ttl` before `now`, and says how many.
    pub fn expire(&mut self, now: Timestamp, ttl: Duration) -> usize {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.get().saturating_sub(ttl_ms);
        let before = self.producers.len();
        self.producers.retain(|_, producer| producer.used.get() >= oldest);
        before - self.producers.len()
    }

    /// Forgets up to `most` of the producers that were not used after `last`, and says how many.
    pub fn forget(&mut self, last: Timestamp, most: usize) -> usize {
        let mut forgotten = 0;
        self.producers.retain(|_, producer| {
            let goes = forgotten < most && producer.used <= last;
            forgotten += usize::from(goes);
            !goes
        });
        forgotten
    }

    fn evict(&mut self, count: usize) {
        let mut by_use: Vec<_> = self
            .producers
            .iter()
            .map(|(&id, producer)| (producer.used, id))
            .collect();
        by_use.sort_unstable();
        for (_, id) in by_use.into_iter().take(count) {
            self.producers.remove(&id);
        }
    }

    /// The table as bytes, for a snapshot; equal tables give equal bytes. No checksum: the file that carries it has one.
    ///
    /// ```text
    ///  0  2  version = 1           each producer, by id            each batch, oldest first
    ///  2  4  number of producers    0  8  id                        0  4  first sequence
    ///  6     producers              8  2  epoch                     4  4  last sequence
    ///                              10  8  last use, ms              8  8  base offset
    ///                              18  1  number of batches, 1..=5 16  8  last offset
    ///                              19     batches                  24  8  timestamp, ms       (all little-endian)
    /// ```
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = u32::try_from(self.producers.len()).expect("PRODUCERS_MAX fits");
        let mut bytes = Vec::with_capacity(6 + self.producers.len() * PRODUCER_BYTES_MAX);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        for (id, producer) in &self.producers {
            bytes.extend_from_slice(&id.get().to_le_bytes());
            bytes.extend_from_slice(&producer.epoch.get().to_le_bytes());
            bytes.extend_from_slice(&producer.used.get().to_le_bytes());
            bytes.push(u8::try_from(producer.count).expect("BATCHES_KEPT fits"));
            for batch in producer.known() {
                bytes.extend_from_slice(&batch.first_sequence.to_le_bytes());
                bytes.extend_from_slice(&batch.last_sequence.to_le_bytes());
                bytes.extend_from_slice(&batch.placement.base_offset.get().to_le_bytes());
                bytes.extend_from_slice(&batch.placement.last_offset.get().to_le_bytes());
                bytes.extend_from_slice(&batch.placement.timestamp.get().to_le_bytes());
            }
        }
        bytes
    }

    /// Reads what [`ProducerTable::encode`] wrote: all of `bytes`, and nothing else. Allocates no more than the bytes
    /// justify.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        let version = u16::from_le_bytes(read(&mut rest)?);
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let count = u32::from_le_bytes(read(&mut rest)?);
        if usize::try_from(count).map_or(true, |count| count > PRODUCERS_MAX) {
            return Err(DecodeError::Invalid("number of producers"));
        }
        let mut producers = BTreeMap::new();
        for _ in 0..count {
            let (id, producer) = decode_producer(&mut rest)?;
            if producers.last_key_value().is_some_and(|(&last, _)| last >= id) {
                return Err(DecodeError::Invalid("order of producers"));
            }
            producers.insert(id, producer);
        }
        if !rest.is_empty() {
            return Err(DecodeError::Invalid("length"));
        }
        Ok(Self { producers })
    }
}

const VERSION: u16 = 1;
const PRODUCER_BYTES_MAX: usize = 19 + BATCHES_KEPT * 32;

impl Producer {
    fn new(epoch: ProducerEpoch, batch: Batch, used: Timestamp) -> Self {
        let mut producer = Self {
            epoch,
            used,
            count: 0,
            batches: [Batch::NONE; BATCHES_KEPT],
        };
        producer.push(epoch, batch, used);
        producer
    }

    fn push(&mut self, epoch: ProducerEpoch, batch: Batch, used: Timestamp) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches = [Batch::NONE; BATCHES_KEPT];
            self.count = 0;
        }
        if self.count == BATCHES_KEPT {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[self.count] = batch;
        self.count += 1;
        self.used = used;
    }

    fn known(&self) -> &[Batch] {
        &self.batches[..self.count]
    }

    fn find(&self, first: i32, last: i32) -> Option<&Batch> {
        self.known()
            .iter()
            .find(|batch| batch.first_sequence == first && batch.last_sequence == last)
    }

    fn next_sequence(&self) -> i32 {
        // `last_sequence` of two records is the successor.
        self.known()
            .last()
            .map_or(0, |batch| last_sequence(batch.last_sequence, 2))
    }
}

/// The sequence of the last of `record_count` records, the first of which has `base`: after `i32::MAX` comes 0.
fn last_sequence(base: i32, record_count: u32) -> i32 {
    const SEQUENCES: i64 = 1 << 31;
    let last = (i64::from(base) + i64::from(record_count.saturating_sub(1))) % SEQUENCES;
    i32::try_from(last).expect("a remainder of 2^31 fits")
}

fn decode_producer(rest: &mut &[u8]) -> Result<(ProducerId, Producer), DecodeError> {
    let id = ProducerId::new(i64::from_le_bytes(read(rest)?));
    let epoch = ProducerEpoch::new(i16::from_le_bytes(read(rest)?));
    let used = Timestamp::new(i64::from_le_bytes(read(rest)?));
    let count = usize::from(u8::from_le_bytes(read(rest)?));
    if !(1..=BATCHES_KEPT).contains(&count) {
        return Err(DecodeError::Invalid("number of batches"));
    }
    let mut batches = [Batch::NONE; BATCHES_KEPT];
    for batch in &mut batches[..count] {
        *batch = decode_batch(rest)?;
    }
    Ok((
        id,
        Producer {
            epoch,
            used,
            count,
            batches,
        },
    ))
}

fn decode_batch(rest: &mut &[u8]) -> Result<Batch, DecodeError> {
    let first_sequence = i32::from_le_bytes(read(rest)?);
    let last_sequence = i32::from_le_bytes(read(rest)?);
    if first_sequence < 0 || last_sequence < 0 {
        return Err(DecodeError::Invalid("sequence"));
    }
    let base_offset = u64::from_le_bytes(read(rest)?);
    let last_offset = u64::from_le_bytes(read(rest)?);
    if last_offset < base_offset || i64::try_from(last_offset).is_err() {
        return Err(DecodeError::Invalid("offset"));
    }
    let timestamp = Timestamp::new(i64::from_le_bytes(read(rest)?));
    let placement = Placement {
        base_offset: Offset::new(base_offset),
        last_offset: Offset::new(last_offset),
        timestamp,
    };
    Ok(Batch {
        first_sequence,
        last_sequence,
        placement,
    })
}

fn read<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(DecodeError::Incomplete)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests;

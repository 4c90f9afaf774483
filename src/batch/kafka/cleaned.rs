//! A stored batch written again without some of its records, over the offsets it covered and those before it that are
//! covered by nothing else any more.
//!
//! What stays is what a reader could tell: each record's offset, timestamp, key, value and headers, the batch's codec,
//! attributes, producer and base timestamp. What changes: base offset, last offset delta, record count, the largest
//! timestamp (that of the records that are left, unless the broker's clock stamped them), and the checksum. Where no record
//! is left a batch of none says that there was something: Kafka's own cleaner leaves such batches, and clients step over
//! them.
//!
//! Pure. The caller decides which records stay and has made sure that the records section is sound.

use super::builder::seal;
use super::record::{put_varint, varint_bytes};
use super::{BuildError, KAFKA_HEADER_BYTES, KafkaBatch, Record, RecordError, Records, SUMMED_FROM, patch};
use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::batch::attributes::{Attributes, Compression, TimestampType};
use crate::batch::compression;
use thiserror::Error;

/// Kafka's "no time": what a batch without records has.
pub const NO_TIMESTAMP: Timestamp = Timestamp::new(-1);

/// The offsets a rewritten batch covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First.
    pub base: Offset,
    /// One past the last.
    pub end: Offset,
    /// Epoch of the leader that appended them.
    pub epoch: LeaderEpoch,
}

impl Span {
    /// Most offsets one batch covers: its last offset delta is an `i32`.
    pub const MAX: u64 = i32::MAX.cast_unsigned() as u64;

    /// Offsets covered.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.get().saturating_sub(self.base.get())
    }

    /// Whether it covers none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one batch can cover it.
    #[must_use]
    pub const fn fits(&self) -> bool {
        !self.is_empty() && self.len() <= Self::MAX
    }

    fn last_delta(&self) -> i32 {
        i32::try_from(self.len().saturating_sub(1)).unwrap_or(i32::MAX)
    }
}

/// Why a batch could not be written again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RewriteError {
    /// A record that is not sound.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The result does not fit a batch.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The fields between checksum and records that differ from batch to batch.
struct Head {
    attributes: Attributes,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    /// Producer id, epoch and base sequence as they are stored.
    producer: (i64, i16, i32),
    count: i32,
}

/// Writes `batch` again over `span`, which must cover it and fit, with the records of `section` (its records,
/// uncompressed) that `keep` wants. `None` when it wants none.
///
/// # Errors
/// Records that are not sound, or too many bytes.
pub fn rewrite(
    batch: &KafkaBatch<'_>,
    section: &[u8],
    span: &Span,
    mut keep: impl FnMut(&Record<'_>) -> bool,
) -> Result<Option<Vec<u8>>, RewriteError> {
    let count = u32::try_from(batch.record_count()).unwrap_or(0);
    let shift = batch.base_offset() - span.base.get().cast_signed();
    let mut kept = Vec::with_capacity(section.len());
    let mut left = 0_i32;
    let mut latest: Option<i64> = None;
    for record in Records::new(section, count) {
        let record = record?;
        if keep(&record) {
            push(&mut kept, &record, shift + i64::from(record.offset_delta));
            left += 1;
            let own = batch.base_timestamp().get().wrapping_add(record.timestamp_delta);
            latest = Some(latest.map_or(own, |latest| latest.max(own)));
        }
    }
    let Some(latest) = latest else { return Ok(None) };
    let attributes = batch.attributes();
    let head = Head {
        attributes,
        base_timestamp: batch.base_timestamp(),
        max_timestamp: match attributes.timestamp_type() {
            TimestampType::CreateTime => Timestamp::new(latest),
            TimestampType::LogAppendTime => batch.max_timestamp(),
        },
        producer: (batch.producer_id(), batch.producer_epoch(), batch.base_sequence()),
        count: left,
    };
    let records = match attributes.compression() {
        Ok(Compression::None) | Err(_) => kept,
        Ok(codec) => compression::compress(codec, &kept),
    };
    Ok(Some(write(&head, span, &records)?))
}

/// A batch of no records that covers `span`, which must fit.
#[must_use]
pub fn gap(span: &Span) -> Vec<u8> {
    let head = Head {
        attributes: Attributes::default(),
        base_timestamp: NO_TIMESTAMP,
        max_timestamp: NO_TIMESTAMP,
        producer: (-1, -1, -1),
        count: 0,
    };
    write(&head, span, &[]).expect("a header alone fits a batch")
}

fn push(into: &mut Vec<u8>, record: &Record<'_>, offset_delta: i64) {
    let bytes = 1 + varint_bytes(record.timestamp_delta) + varint_bytes(offset_delta) + record.body.len();
    put_varint(
        into,
        i64::try_from(bytes).expect("no slice is longer than isize::MAX"),
    );
    into.push(record.attributes);
    put_varint(into, record.timestamp_delta);
    put_varint(into, offset_delta);
    into.extend_from_slice(record.body);
}

fn write(head: &Head, span: &Span, records: &[u8]) -> Result<Vec<u8>, BuildError> {
    debug_assert!(span.fits(), "{span:?} does not fit a batch");
    let mut batch = Vec::with_capacity(KAFKA_HEADER_BYTES + records.len());
    batch.extend_from_slice(&[0; SUMMED_FROM]);
    batch.extend_from_slice(&head.attributes.bits().to_be_bytes());
    batch.extend_from_slice(&span.last_delta().to_be_bytes());
    batch.extend_from_slice(&head.base_timestamp.get().to_be_bytes());
    batch.extend_from_slice(&head.max_timestamp.get().to_be_bytes());
    batch.extend_from_slice(&head.producer.0.to_be_bytes());
    batch.extend_from_slice(&head.producer.1.to_be_bytes());
    batch.extend_from_slice(&head.producer.2.to_be_bytes());
    batch.extend_from_slice(&head.count.to_be_bytes());
    batch.extend_from_slice(records);
    seal(&mut batch)?;
    patch(&mut batch, span.base, span.epoch);
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::kafka::KafkaBatchBuilder;
    use crate::batch::{ProducerInfo, RecordHeader};

    type Plain = (
        u64,
        i64,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
        Vec<(Vec<u8>, Option<Vec<u8>>)>,
    );

    fn records_of(bytes: &[u8]) -> Vec<Plain> {
        let batch = KafkaBatch::parse(bytes).unwrap();
        batch.verify_crc().unwrap();
        let section = batch.uncompressed(1 << 20).unwrap();
        let count = u32::try_from(batch.record_count()).unwrap();
        Records::new(&section, count)
            .map(|record| {
                let record = record.unwrap();
                let offset = batch.base_offset() + i64::from(record.offset_delta);
                (
                    u64::try_from(offset).unwrap(),
                    batch.base_timestamp().get() + record.timestamp_delta,
                    record.key.map(<[u8]>::to_vec),
                    record.value.map(<[u8]>::to_vec),
                    record
                        .headers
                        .map(|one| (one.key.to_vec(), one.value.map(<[u8]>::to_vec)))
                        .collect(),
                )
            })
            .collect()
    }

    fn sample(codec: Compression, attributes: Attributes) -> Vec<u8> {
        let mut builder = KafkaBatchBuilder::new().with_attributes(attributes);
        for n in 0..10_u8 {
            let headers = [RecordHeader {
                key: b"h",
                value: (n % 2 == 0).then_some(&b"v"[..]),
            }];
            let value = (n % 3 != 0).then(|| vec![n; usize::from(n) * 7]);
            builder.push(
                Some(&[n]),
                value.as_deref(),
                Timestamp::new(1_000 + i64::from(n % 4)),
                headers,
            );
        }
        let producer = ProducerInfo {
            id: crate::base::ProducerId::new(7),
            epoch: crate::base::ProducerEpoch::new(1),
            base_sequence: 40,
        };
        let mut batch = builder.build(codec, Some(producer)).unwrap();
        patch(&mut batch, Offset::new(500), LeaderEpoch::new(3));
        batch
    }

    #[test]
    fn what_stays_keeps_its_offset_and_every_byte_in_every_codec() {
        for codec in Compression::ALL {
            let bytes = sample(codec, Attributes::default());
            let batch = KafkaBatch::parse(&bytes).unwrap();
            let section = batch.uncompressed(1 << 20).unwrap();
            for base in [500, 400, 0] {
                let span = Span {
                    base: Offset::new(base),
                    end: Offset::new(510),
                    epoch: LeaderEpoch::new(3),
                };
                let written = rewrite(&batch, &section, &span, |record| record.offset_delta % 3 == 1);
                let written = written.unwrap().unwrap();
                let wanted: Vec<_> = records_of(&bytes)
                    .into_iter()
                    .filter(|record| (record.0 - 500) % 3 == 1)
                    .collect();
                assert_eq!(records_of(&written), wanted, "{codec:?} {base}");
                let again = KafkaBatch::parse(&written).unwrap();
                assert_eq!(again.base_offset() + i64::from(again.last_offset_delta()), 509);
                assert_eq!(
                    (again.base_offset().cast_unsigned(), again.leader_epoch()),
                    (base, 3)
                );
                assert_eq!(again.attributes(), batch.attributes());
                assert_eq!(again.producer(), batch.producer());
                assert_eq!(again.max_timestamp(), Timestamp::new(1_003));
            }
        }
    }

    #[test]
    fn the_largest_timestamp_is_that_of_what_stays_unless_the_broker_stamped_it() {
        let stamped = Attributes::default().with_timestamp_type(TimestampType::LogAppendTime);
        for (attributes, wanted) in [(Attributes::default(), 1_000), (stamped, 1_003)] {
            let bytes = sample(Compression::None, attributes);
            let batch = KafkaBatch::parse(&bytes).unwrap();
            let span = Span {
                base: Offset::new(500),
                end: Offset::new(510),
                epoch: LeaderEpoch::new(3),
            };
            let section = batch.records_section();
            let written = rewrite(&batch, section, &span, |record| record.offset_delta == 4).unwrap();
            let written = written.unwrap();
            let again = KafkaBatch::parse(&written).unwrap();
            assert_eq!(again.max_timestamp(), Timestamp::new(wanted));
            assert_eq!(again.record_count(), 1);
            assert_eq!(rewrite(&batch, section, &span, |_| false), Ok(None));
        }
    }

    #[test]
    fn a_gap_is_a_sound_batch_of_no_records() {
        let span = Span {
            base: Offset::new(7),
            end: Offset::new(7 + Span::MAX),
            epoch: LeaderEpoch::new(1),
        };
        assert!(span.fits());
        let bytes = gap(&span);
        assert_eq!(records_of(&bytes), []);
        let batch = KafkaBatch::parse(&bytes).unwrap();
        assert_eq!(
            (batch.base_offset(), batch.last_offset_delta()),
            (7, i32::MAX - 1)
        );
    }
}

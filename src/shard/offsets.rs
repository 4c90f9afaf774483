//! Questions about offsets of partitions of this shard: the ends of a log, and records by their time.
//!
//! **Promise.** Only visible records count. A search by time finds the record, not its batch: index first, then batch
//! headers, then the records of one batch, decompressed if need be. The record with the largest timestamp is the first
//! of those that share it. Each answer says in which epoch its record was written.
//!
//! **Cost.** The indexes narrow a search to a few steps of [`SEARCH_STEP_BYTES`]. The largest timestamp of a log whose
//! beginning was deleted inside a segment takes a walk over the headers of that segment.

use super::Shard;
use super::partition::Partition;
use super::request::{OffsetAnswer, OffsetQuery, ReadFailure};
use crate::base::{LeaderEpoch, LogId, Offset, Timestamp};
use crate::batch::kafka::{KafkaBatch, Record, Records};
use crate::storage::read::{ReadFormat, Want};
use std::ops::Range;
use std::rc::Rc;

/// Most bytes one batch may decompress to when looking for a record by time.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Bytes read per step of a search by time.
const SEARCH_STEP_BYTES: usize = 128 * 1024;

/// A record found by its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Found {
    offset: Offset,
    timestamp: Timestamp,
    epoch: LeaderEpoch,
}

impl Shard {
    /// Answers a query about a partition of this shard.
    pub(crate) async fn offset_query(
        self: &Rc<Self>,
        log: LogId,
        query: OffsetQuery,
    ) -> Result<OffsetAnswer, ReadFailure> {
        let partition = self
            .partition(log)
            .filter(|partition| !partition.closed.get())
            .ok_or(ReadFailure::UnknownPartition)?;
        let bounds = partition.bounds();
        let plain = |offset, epoch| OffsetAnswer {
            found: Some((offset, None)),
            epoch,
            bounds,
        };
        let by_time = |found: Option<Found>| OffsetAnswer {
            found: found.map(|found| (found.offset, Some(found.timestamp))),
            epoch: found.map_or(bounds.epoch, |found| found.epoch),
            bounds,
        };
        Ok(match query {
            OffsetQuery::Earliest => {
                let epoch = partition.log.borrow().epoch_at(bounds.log_start);
                plain(bounds.log_start, epoch)
            }
            OffsetQuery::Latest => plain(bounds.high_watermark, bounds.epoch),
            OffsetQuery::AtTime(timestamp) => by_time(self.offset_at(&partition, timestamp).await?),
            OffsetQuery::MaxTimestamp => by_time(match self.max_timestamp(&partition).await? {
                Some(timestamp) => self.offset_at(&partition, timestamp).await?,
                None => None,
            }),
            OffsetQuery::EpochEnd(epoch) => {
                let found = partition.log.borrow().epoch_end(epoch);
                OffsetAnswer {
                    found: found.map(|(_, offset)| (offset.min(bounds.high_watermark), None)),
                    epoch: found.map_or(epoch, |(found, _)| found),
                    bounds,
                }
            }
        })
    }

    /// The largest timestamp of the visible records.
    async fn max_timestamp(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
    ) -> Result<Option<Timestamp>, ReadFailure> {
        let (mut largest, unknown) = partition.log.borrow().max_timestamp_floor();
        let start = partition.bounds().log_start;
        for range in unknown {
            self.walk(partition, range, |batch| {
                largest = largest.max(youngest_in(batch, start));
                None::<()>
            })
            .await?;
        }
        Ok(largest)
    }

    /// The first record at or after `timestamp`.
    async fn offset_at(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        timestamp: Timestamp,
    ) -> Result<Option<Found>, ReadFailure> {
        let bounds = partition.bounds();
        let Some(floor) = partition.log.borrow().time_floor(timestamp) else {
            return Ok(None);
        };
        self.walk(partition, floor..bounds.high_watermark, |batch| {
            (batch.max_timestamp() >= timestamp)
                .then(|| first_record_at(batch, bounds.log_start, timestamp))
                .flatten()
        })
        .await
    }

    /// Shows the batches that begin in `range` to `look` until it has found something.
    async fn walk<T>(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        range: Range<Offset>,
        mut look: impl FnMut(&KafkaBatch<'_>) -> Option<T>,
    ) -> Result<Option<T>, ReadFailure> {
        let mut next = range.start;
        while next < range.end {
            let want = Want {
                offset: next,
                max_bytes: SEARCH_STEP_BYTES,
                oversized_first: true,
                verify: false,
                format: ReadFormat::Kafka,
            };
            let (batches, reached) = self.read_one(partition, want).await?;
            if reached <= next {
                break;
            }
            next = reached;
            let mut rest = batches.as_slice();
            while let Some(batch) = split_batch(&mut rest) {
                if base_of(&batch) >= range.end {
                    return Ok(None);
                }
                if let Some(found) = look(&batch) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}

fn base_of(batch: &KafkaBatch<'_>) -> Offset {
    Offset::new(u64::try_from(batch.base_offset()).unwrap_or(0))
}

/// Takes the first batch off a run of batches this broker stored.
fn split_batch<'a>(rest: &mut &'a [u8]) -> Option<KafkaBatch<'a>> {
    let length = i32::from_be_bytes(*rest.get(8..)?.first_chunk()?);
    let (first, behind) = rest.split_at_checked(12 + usize::try_from(length).ok()?)?;
    *rest = behind;
    KafkaBatch::parse(first).ok()
}

/// The record's place and time in the log.
fn placed(batch: &KafkaBatch<'_>, record: &Record<'_>) -> (Offset, Timestamp) {
    let own = batch
        .base_timestamp()
        .get()
        .saturating_add(record.timestamp_delta);
    let stamped = batch
        .attributes()
        .record_timestamp(Timestamp::new(own), batch.max_timestamp());
    let delta = u64::try_from(record.offset_delta).unwrap_or(0);
    (base_of(batch).plus(delta), stamped)
}

/// The largest timestamp of a batch's records at or after `start`; only a batch whose beginning was deleted is opened.
fn youngest_in(batch: &KafkaBatch<'_>, start: Offset) -> Option<Timestamp> {
    if base_of(batch) >= start {
        return Some(batch.max_timestamp());
    }
    let Ok(section) = batch.uncompressed(DECOMPRESSED_BYTES_MAX) else {
        return Some(batch.max_timestamp());
    };
    let count = u32::try_from(batch.record_count()).unwrap_or(0);
    let times = Records::new(&section, count)
        .flatten()
        .map(|record| placed(batch, &record))
        .filter(|(offset, _)| *offset >= start)
        .map(|(_, timestamp)| timestamp);
    times.max()
}

/// The first record of a batch at or after both `start` and `timestamp`, decompressing if need be. A batch whose records
/// contradict its header (the client's own doing) answers with its first offset.
fn first_record_at(batch: &KafkaBatch<'_>, start: Offset, timestamp: Timestamp) -> Option<Found> {
    let found = |offset, timestamp| Found {
        offset,
        timestamp,
        epoch: LeaderEpoch::new(u32::try_from(batch.leader_epoch()).unwrap_or(0)),
    };
    let fallback = Some(found(base_of(batch).max(start), batch.max_timestamp()));
    let Ok(section) = batch.uncompressed(DECOMPRESSED_BYTES_MAX) else {
        return fallback;
    };
    let count = u32::try_from(batch.record_count()).unwrap_or(0);
    for record in Records::new(&section, count) {
        let Ok(record) = record else { return fallback };
        let (offset, stamped) = placed(batch, &record);
        if stamped >= timestamp && offset >= start {
            return Some(found(offset, stamped));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Compression;
    use crate::batch::kafka::{KafkaBatchBuilder, patch};

    /// A batch at offset 100, epoch 3, with a record for each time.
    fn stored(codec: Compression, times: &[i64]) -> Vec<u8> {
        let mut builder = KafkaBatchBuilder::new();
        for time in times {
            builder.push(None, Some(b"v"), Timestamp::new(*time), std::iter::empty());
        }
        let mut bytes = builder.build(codec, None).unwrap();
        patch(&mut bytes, Offset::new(100), LeaderEpoch::new(3));
        bytes
    }

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    #[test]
    fn the_first_record_old_enough_is_found_inside_the_batch() {
        for codec in CODECS {
            let bytes = stored(codec, &[10, 40, 20, 40]);
            let batch = KafkaBatch::parse(&bytes).unwrap();
            let at = |start, time| {
                let found = first_record_at(&batch, Offset::new(start), Timestamp::new(time))?;
                assert_eq!(found.epoch, LeaderEpoch::new(3));
                Some((found.offset.get(), found.timestamp.get()))
            };
            assert_eq!(at(0, 0), Some((100, 10)));
            assert_eq!(at(0, 11), Some((101, 40)));
            assert_eq!(at(102, 11), Some((102, 20)), "what was deleted does not count");
            assert_eq!(at(102, 21), Some((103, 40)));
            assert_eq!(at(0, 41), None);
        }
    }

    #[test]
    fn the_largest_time_leaves_out_what_was_deleted() {
        for codec in CODECS {
            let bytes = stored(codec, &[90, 40, 20]);
            let batch = KafkaBatch::parse(&bytes).unwrap();
            let youngest = |start| youngest_in(&batch, Offset::new(start)).map(Timestamp::get);
            assert_eq!(youngest(100), Some(90));
            assert_eq!(youngest(101), Some(40));
            assert_eq!(youngest(102), Some(20));
            assert_eq!(youngest(103), None);
        }
    }
}

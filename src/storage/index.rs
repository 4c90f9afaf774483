//! Sparse indexes of a segment, and the file they are kept in when the segment is sealed.
//!
//! One entry per `index_interval_bytes` of log (32 KiB by default), 16 bytes each, in memory for every segment. An entry
//! says: the frame of this offset starts at this position, and everything before it has timestamps up to this maximum.
//! The file also keeps what recovery would otherwise have to scan the segment for: its end, its clocks, its leader epochs
//! and the producers known at its end. It is written when a segment is sealed or the broker stops cleanly, and may be
//! missing or stale at any time: then the segment is scanned and it is made again.
//!
//! An epoch whose first offset is the end has no record in the segment: it says how far the log's epoch had come when the
//! file was written. After an unclean start the active segment has a file that says just that, with its end at its base.
//!
//! ```text
//! <base>.idx, little-endian
//!   0  4  magic "CLX1"            4  4  crc32c of everything from 8
//!   8 16  topic id               24  4  partition             28  4  number of entries  (e)
//!  32  8  base offset            40  8  end offset            48  8  end position
//!  56  8  first append time, ms  64  8  last append time, ms  72  8  max timestamp, ms
//!  80  4  number of epochs (p)   84  4  bytes of producers (s)
//!  88 16e entries: u32 offset - base, u32 position, i64 max timestamp before
//!      12p epochs: u32 epoch, u64 first offset
//!       s  producers (broker::producer_state snapshot)
//! ```

use crate::base::{LeaderEpoch, LogId, Offset, PartitionId, Timestamp, TopicId, crc32c};

const MAGIC: [u8; 4] = *b"CLX1";
const FIXED_BYTES: usize = 88;

/// Most epochs kept per segment file; a log cannot lead more often than it is opened.
const EPOCHS_MAX: usize = 1 << 20;

/// One sparse entry. See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    /// Offset minus the segment's base.
    pub relative_offset: u32,
    /// Where the frame of that offset starts.
    pub position: u32,
    /// Largest timestamp of all frames of the segment before this one; `i64::MIN` when there is none.
    pub max_timestamp_before: i64,
}

/// The sparse index of one segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegmentIndex {
    entries: Vec<IndexEntry>,
}

impl SegmentIndex {
    /// Adds an entry for a frame at `position`; offsets and positions must rise.
    pub fn push(&mut self, entry: IndexEntry) {
        debug_assert!(self.entries.last().is_none_or(|last| {
            last.relative_offset < entry.relative_offset && last.position < entry.position
        }));
        self.entries.push(entry);
    }

    /// Adds an entry between others, for a frame that is to be found without walking from the one before. Nothing is known of
    /// the times between its neighbours, so it takes the later one's, or `max_timestamp` at the end: who looks for a time
    /// starts no later for it.
    pub fn insert(&mut self, relative_offset: u32, position: u32, max_timestamp: Timestamp) {
        let at = self
            .entries
            .partition_point(|entry| entry.relative_offset < relative_offset);
        let after = self.entries.get(at);
        if after.is_some_and(|after| after.relative_offset == relative_offset) {
            return;
        }
        let max_timestamp_before =
            after.map_or_else(|| max_timestamp.get(), |after| after.max_timestamp_before);
        let entry = IndexEntry {
            relative_offset,
            position,
            max_timestamp_before,
        };
        self.entries.insert(at, entry);
    }

    /// Position of the last entry, to space the next.
    #[must_use]
    pub fn last_position(&self) -> Option<u32> {
        self.entries.last().map(|entry| entry.position)
    }

    /// Where to start walking for `relative_offset`: offset (relative) and position of the entry at or before it.
    #[must_use]
    pub fn floor(&self, relative_offset: u32) -> (u32, u32) {
        let after = self
            .entries
            .partition_point(|entry| entry.relative_offset <= relative_offset);
        after.checked_sub(1).map_or((0, 0), |at| {
            (self.entries[at].relative_offset, self.entries[at].position)
        })
    }

    /// Where to start walking for the first record at or after `timestamp`: every frame before it is older.
    #[must_use]
    pub fn floor_by_time(&self, timestamp: Timestamp) -> (u32, u32) {
        let after = self
            .entries
            .partition_point(|entry| entry.max_timestamp_before < timestamp.get());
        after.checked_sub(1).map_or((0, 0), |at| {
            (self.entries[at].relative_offset, self.entries[at].position)
        })
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }
}

/// Everything an index file says about a sealed segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentSummary {
    /// The log the segment belongs to.
    pub log: LogId,
    /// First offset.
    pub base: Offset,
    /// One past the last offset.
    pub end: Offset,
    /// One past the last frame's bytes.
    pub end_position: u64,
    /// Broker clock at the first append.
    pub first_append_time: Timestamp,
    /// Broker clock at the last append.
    pub last_append_time: Timestamp,
    /// Largest record timestamp.
    pub max_timestamp: Timestamp,
    /// Sparse entries.
    pub index: SegmentIndex,
    /// Leader epochs of this segment with their first offsets, then perhaps the log's own, at `end`.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Snapshot of the producers at `end`.
    pub producers: Vec<u8>,
}

impl SegmentSummary {
    /// The leader epochs that records of the segment have.
    pub fn epochs_with_records(&self) -> impl Iterator<Item = (LeaderEpoch, Offset)> {
        let end = self.end;
        self.epochs
            .iter()
            .copied()
            .filter(move |(_, offset)| *offset < end)
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = |len: usize| {
            u32::try_from(len)
                .expect("bounded by the segment's size")
                .to_le_bytes()
        };
        let mut out = Vec::with_capacity(
            FIXED_BYTES + 16 * self.index.entries.len() + 12 * self.epochs.len() + self.producers.len(),
        );
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.log.topic.to_bytes());
        out.extend_from_slice(&self.log.partition.get().to_le_bytes());
        out.extend_from_slice(&count(self.index.entries.len()));
        for value in [self.base.get(), self.end.get(), self.end_position] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for time in [self.first_append_time, self.last_append_time, self.max_timestamp] {
            out.extend_from_slice(&time.get().to_le_bytes());
        }
        out.extend_from_slice(&count(self.epochs.len()));
        out.extend_from_slice(&count(self.producers.len()));
        for entry in &self.index.entries {
            out.extend_from_slice(&entry.relative_offset.to_le_bytes());
            out.extend_from_slice(&entry.position.to_le_bytes());
            out.extend_from_slice(&entry.max_timestamp_before.to_le_bytes());
        }
        for (epoch, offset) in &self.epochs {
            out.extend_from_slice(&epoch.get().to_le_bytes());
            out.extend_from_slice(&offset.get().to_le_bytes());
        }
        out.extend_from_slice(&self.producers);
        let crc = crc32c(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a file's bytes; `None` when they are not exactly a valid index (torn, stale format, damaged). Whether it is
    /// the right segment's and current is the caller's to check.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.take::<4>()? != MAGIC || u32::from_le_bytes(fields.take()?) != crc32c(bytes.get(8..)?) {
            return None;
        }
        let topic = TopicId::new(fields.take()?);
        let partition = PartitionId::new(u32::from_le_bytes(fields.take()?));
        let entries = u32::from_le_bytes(fields.take()?) as usize;
        let base = Offset::new(u64::from_le_bytes(fields.take()?));
        let end = Offset::new(u64::from_le_bytes(fields.take()?));
        let end_position = u64::from_le_bytes(fields.take()?);
        let first_append_time = Timestamp::new(i64::from_le_bytes(fields.take()?));
        let last_append_time = Timestamp::new(i64::from_le_bytes(fields.take()?));
        let max_timestamp = Timestamp::new(i64::from_le_bytes(fields.take()?));
        let epochs = u32::from_le_bytes(fields.take()?) as usize;
        let producers = u32::from_le_bytes(fields.take()?) as usize;
        let rest = fields.0.len();
        let fits = entries
            .checked_mul(16)?
            .checked_add(epochs.checked_mul(12)?)?
            .checked_add(producers)?
            == rest;
        if !fits || epochs > EPOCHS_MAX || end < base {
            return None;
        }
        let mut index = SegmentIndex {
            entries: Vec::with_capacity(entries),
        };
        for _ in 0..entries {
            index.entries.push(IndexEntry {
                relative_offset: u32::from_le_bytes(fields.take()?),
                position: u32::from_le_bytes(fields.take()?),
                max_timestamp_before: i64::from_le_bytes(fields.take()?),
            });
        }
        let mut epoch_list = Vec::with_capacity(epochs);
        for _ in 0..epochs {
            let epoch = LeaderEpoch::new(u32::from_le_bytes(fields.take()?));
            epoch_list.push((epoch, Offset::new(u64::from_le_bytes(fields.take()?))));
        }
        Some(Self {
            log: LogId { topic, partition },
            base,
            end,
            end_position,
            first_append_time,
            last_append_time,
            max_timestamp,
            index,
            epochs: epoch_list,
            producers: fields.0.to_vec(),
        })
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> SegmentSummary {
        let mut index = SegmentIndex::default();
        for (relative_offset, position, max) in [(0, 0, i64::MIN), (10, 32_768, 500), (25, 70_000, 900)] {
            index.push(IndexEntry {
                relative_offset,
                position,
                max_timestamp_before: max,
            });
        }
        SegmentSummary {
            log: LogId {
                topic: TopicId::new([7; 16]),
                partition: PartitionId::new(3),
            },
            base: Offset::new(1000),
            end: Offset::new(1040),
            end_position: 99_984,
            first_append_time: Timestamp::new(1_700_000_000_000),
            last_append_time: Timestamp::new(1_700_000_000_999),
            max_timestamp: Timestamp::new(901),
            index,
            epochs: vec![
                (LeaderEpoch::new(2), Offset::new(1000)),
                (LeaderEpoch::new(3), Offset::new(1020)),
            ],
            producers: vec![1, 2, 3],
        }
    }

    #[test]
    fn a_file_reads_back_as_written() {
        assert_eq!(SegmentSummary::decode(&summary().encode()), Some(summary()));
    }

    #[test]
    fn any_flipped_bit_or_missing_byte_makes_the_file_unusable() {
        let bytes = summary().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentSummary::decode(&damaged), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(SegmentSummary::decode(&bytes[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn lookups_land_at_or_before_the_target() {
        let index = summary().index;
        assert_eq!(index.floor(0), (0, 0));
        assert_eq!(index.floor(9), (0, 0));
        assert_eq!(index.floor(10), (10, 32_768));
        assert_eq!(index.floor(9_999), (25, 70_000));
        assert_eq!(
            index.floor_by_time(Timestamp::new(500)),
            (0, 0),
            "a frame before entry 1 may hold exactly 500"
        );
        assert_eq!(index.floor_by_time(Timestamp::new(501)), (10, 32_768));
        assert_eq!(index.floor_by_time(Timestamp::new(5_000)), (25, 70_000));
        assert_eq!(SegmentIndex::default().floor(5), (0, 0));
    }
}

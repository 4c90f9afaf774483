//! One segment of a log: a preallocated file and what is known about its frames.
//!
//! ```text
//! <base>.log
//!   0 ........... frames, back to back, each a multiple of 16 bytes (batch::header) ........... end_position
//!   end_position  zeros to the next block, then whatever the file held before (zeros, or stale frames of its former
//!                 life, which name other logs, older offsets or older epochs)
//! ```
//! After a restart appending continues at the next block boundary, so frames may be followed by padding up to a block.
//!
//! **Invariant:** `synced <= written <= chain.end() <= capacity`, all positions of this file.

use super::chain::Chain;
use super::index::{IndexEntry, SegmentIndex, SegmentSummary};
use super::log::Edition;
use crate::base::{LogId, Offset, Timestamp};
use crate::batch::BatchHeader;
use crate::runtime::buffer::{BLOCK_BYTES, align_up};
use crate::runtime::disk::File;
use std::collections::VecDeque;

/// Sizes a log's segments grow through, so that ten thousand small partitions cost little disk. The topic's
/// `segment.bytes` caps them.
pub const SEGMENT_LADDER: [u64; 3] = [1 << 20, 16 << 20, 1 << 40];

/// Smallest and largest segment; positions in an index are 32 bits.
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024;
/// See [`SEGMENT_BYTES_MIN`].
pub const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// File size of the segment after one of `previous` bytes, for a first frame of `frame_len`.
#[must_use]
pub fn next_capacity(previous: Option<u64>, segment_bytes: u64, frame_len: usize) -> u64 {
    let step = previous.map_or(SEGMENT_LADDER[0], |previous| {
        SEGMENT_LADDER
            .into_iter()
            .find(|step| *step > previous)
            .unwrap_or(SEGMENT_LADDER[2])
    });
    let wanted = step
        .min(segment_bytes)
        .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    align_up(wanted).max(align_up(frame_len as u64))
}

/// File size of the segment after one of `previous` bytes that was not full: the same step of the ladder.
#[must_use]
pub fn same_capacity(previous: u64, segment_bytes: u64) -> u64 {
    let step = SEGMENT_LADDER.into_iter().find(|step| *step >= previous);
    let wanted = step.unwrap_or(SEGMENT_LADDER[2]).min(segment_bytes);
    align_up(wanted.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX))
}

/// Whether a file of `capacity` bytes is of a size that logs ask the pool for.
#[must_use]
pub fn is_common_capacity(capacity: u64, segment_bytes: u64) -> bool {
    capacity == same_capacity(capacity, segment_bytes)
}

/// See the module.
#[derive(Debug)]
pub struct Segment {
    /// First offset.
    pub base: Offset,
    /// One past the last appended offset.
    pub end: Offset,
    /// Bytes of the file.
    pub capacity: u64,
    /// The open file: there from the moment the pool gives it until the segment is sealed and indexed.
    pub file: Option<File>,
    /// Whether the file has its name in the log's directory, durably.
    pub on_disk: bool,
    /// Positions below are written (completed by the device).
    pub written: u64,
    /// Positions below are durable.
    pub synced: u64,
    /// Bytes held in memory; its end is the append position.
    pub chain: Chain,
    /// Sparse index.
    pub index: SegmentIndex,
    /// Clock of the first append.
    pub first_append_time: Timestamp,
    /// Clock of the last append.
    pub last_append_time: Timestamp,
    /// Largest record timestamp, `i64::MIN` while empty.
    pub max_timestamp: Timestamp,
    /// End position and end offset of frames not yet durable, oldest first.
    pub undurable: VecDeque<(u64, Offset)>,
    /// No more appends.
    pub sealed: bool,
    /// Some of its bytes are known to be rotten. It never gets an index file, so that every start finds the damage again.
    pub damaged: bool,
    /// The index file on disk says what is here.
    pub index_written: bool,
    /// Snapshot of the producers when the segment was sealed, until the index file holds it.
    pub producers_at_end: Vec<u8>,
    /// Tells it from the segment whose place it took.
    pub edition: Edition,
}

impl Segment {
    /// An empty segment that starts at `base`, without a file yet.
    #[must_use]
    pub fn empty(base: Offset, capacity: u64) -> Self {
        Self {
            base,
            end: base,
            capacity,
            file: None,
            on_disk: false,
            written: 0,
            synced: 0,
            chain: Chain::at(0),
            index: SegmentIndex::default(),
            first_append_time: Timestamp::ZERO,
            last_append_time: Timestamp::ZERO,
            max_timestamp: Timestamp::new(i64::MIN),
            undurable: VecDeque::new(),
            sealed: false,
            damaged: false,
            index_written: false,
            producers_at_end: Vec::new(),
            edition: Edition::default(),
        }
    }

    /// A segment found on disk, all of it durable; appends continue at the next block. Only the active segment needs its
    /// `file` open.
    #[must_use]
    pub fn opened(summary: SegmentSummary, file: Option<File>, capacity: u64) -> Self {
        let next = align_up(summary.end_position);
        Self {
            end: summary.end,
            file,
            on_disk: true,
            written: next,
            synced: next,
            chain: Chain::at(next),
            index: summary.index,
            first_append_time: summary.first_append_time,
            last_append_time: summary.last_append_time,
            max_timestamp: summary.max_timestamp,
            ..Self::empty(summary.base, capacity)
        }
    }

    /// Whether no record was ever appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.base == self.end
    }

    /// Whether it is sealed, holds records, and has no current index file but should.
    #[must_use]
    pub fn wants_index(&self) -> bool {
        self.sealed && !self.index_written && !self.is_empty() && !self.damaged
    }

    /// Whether a frame of `frame_len` may still be appended.
    #[must_use]
    pub fn has_room(&self, frame_len: usize) -> bool {
        !self.sealed && self.chain.end() + frame_len as u64 <= self.capacity
    }

    /// Whether everything appended is durable.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.undurable.is_empty()
    }

    /// Books a frame that is about to be appended at `position`.
    pub fn book(&mut self, header: &BatchHeader, position: u64, index_interval_bytes: u64) {
        if self.is_empty() {
            self.first_append_time = header.append_time;
        }
        note_in_index(
            &mut self.index,
            self.base,
            header,
            position,
            self.max_timestamp,
            index_interval_bytes,
        );
        self.last_append_time = header.append_time;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.end = header.end_offset();
        self.undurable
            .push_back((position + header.frame_len() as u64, self.end));
        self.index_written = false;
    }

    /// Whether nothing will be added to it, and all of it is on the disk.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.sealed && self.is_durable()
    }

    /// Whether it is what it will always be: sealed, durable, its index file written, and sound.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_over() && self.index_written && !self.damaged
    }

    /// Moves the durable position and returns the durable end offset if a frame became durable.
    pub fn advance_synced(&mut self, position: u64) -> Option<Offset> {
        self.synced = self.synced.max(position);
        let mut durable = None;
        while let Some((_, end)) = self
            .undurable
            .pop_front_if(|(end_position, _)| *end_position <= self.synced)
        {
            durable = Some(end);
        }
        if self.is_durable() {
            // What else was written is padding.
            self.synced = self.written;
        }
        durable
    }

    /// Closes the file of a segment that needs it no more: sealed, durable, and its index is written or never will be.
    pub fn close_if_finished(&mut self) {
        if self.sealed && self.on_disk && self.is_durable() && !self.wants_index() {
            self.file = None;
        }
    }

    /// What the index file will say. `epochs` and `producers` are the log's.
    #[must_use]
    pub fn summary(
        &self,
        log: LogId,
        epochs: Vec<(crate::base::LeaderEpoch, Offset)>,
        producers: Vec<u8>,
    ) -> SegmentSummary {
        SegmentSummary {
            log,
            base: self.base,
            end: self.end,
            end_position: self.chain.end(),
            first_append_time: self.first_append_time,
            last_append_time: self.last_append_time,
            max_timestamp: self.max_timestamp,
            index: self.index.clone(),
            epochs,
            producers,
        }
    }
}

/// Adds an entry for the frame at `position` when the last one is far enough behind.
pub fn note_in_index(
    index: &mut SegmentIndex,
    base: Offset,
    header: &BatchHeader,
    position: u64,
    max_timestamp_before: Timestamp,
    interval_bytes: u64,
) {
    let due = index
        .last_position()
        .is_none_or(|last| position >= u64::from(last) + interval_bytes);
    let relative = u32::try_from(header.base_offset.get() - base.get());
    // A segment of more than 2^32 offsets keeps working, only with a coarser index.
    if let (true, Ok(relative_offset), Ok(position)) = (due, relative, u32::try_from(position)) {
        index.push(IndexEntry {
            relative_offset,
            position,
            max_timestamp_before: max_timestamp_before.get(),
        });
    }
}

const _: () =
    assert!(SEGMENT_BYTES_MIN.is_multiple_of(BLOCK_BYTES as u64) && SEGMENT_BYTES_MAX <= u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_climb_the_ladder_to_the_topics_size() {
        let topic = 128 << 20;
        assert_eq!(next_capacity(None, topic, 100), 1 << 20);
        assert_eq!(next_capacity(Some(1 << 20), topic, 100), 16 << 20);
        assert_eq!(next_capacity(Some(16 << 20), topic, 100), topic);
        assert_eq!(next_capacity(Some(topic), topic, 100), topic);
        assert_eq!(
            next_capacity(Some(1 << 20), 100_000, 100),
            102_400,
            "a small topic stays small, in whole blocks"
        );
        assert_eq!(
            next_capacity(None, 65_536, 5_000_000),
            5_001_216,
            "a frame always fits"
        );
    }

    #[test]
    fn a_roll_by_age_keeps_the_size() {
        let topic = 128 << 20;
        for size in [1 << 20, 16 << 20, topic] {
            assert_eq!(same_capacity(size, topic), size);
            assert!(is_common_capacity(size, topic));
        }
        assert_eq!(same_capacity(5_001_216, topic), 16 << 20);
        assert!(!is_common_capacity(5_001_216, topic));
        assert_eq!(same_capacity(1 << 20, 65_536), 65_536, "the topic's size changed");
    }

    proptest::proptest! {
        #[test]
        fn every_step_is_whole_blocks_fits_its_frame_and_stays_under_the_cap(
            sizes in proptest::collection::vec((1u64..5 << 30, 0usize..20 << 20), 1..20)
        ) {
            let mut previous = None;
            for (segment_bytes, frame_len) in sizes {
                let next = next_capacity(previous, segment_bytes, frame_len);
                proptest::prop_assert!(next.is_multiple_of(BLOCK_BYTES as u64) && next >= frame_len as u64);
                let cap = align_up(segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX));
                proptest::prop_assert!(next <= cap.max(align_up(frame_len as u64)));
                previous = Some(next);
            }
        }
    }
}

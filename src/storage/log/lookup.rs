//! Questions about a log: where an offset, a time or an epoch is.
//!
//! Answers come from what is in memory, the sparse indexes and the cached tail; nothing here changes a log or reads a file.
//! Where an index is not exact the answer lies at or before what was asked for, and the reader walks on from there.

use super::{Log, ReadStart, WalkStart};
use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::storage::error::ReadError;
use crate::storage::segment::Segment;
use std::ops::Range;

impl Log {
    /// Where to start reading `offset`.
    ///
    /// # Errors
    /// Out of range or damaged.
    pub fn read_start(&self, offset: Offset) -> Result<ReadStart<'_>, ReadError> {
        if offset < self.start || offset > self.visible {
            return Err(ReadError::OutOfRange {
                offset,
                start: self.start,
                end: self.visible,
            });
        }
        if offset == self.visible {
            return Ok(ReadStart::End);
        }
        let after_damage = self.damaged.partition_point(|range| range.end <= offset);
        let next_damage = self.damaged.get(after_damage);
        if next_damage.is_some_and(|range| range.contains(&offset)) {
            return Err(ReadError::Damaged { log: self.id, offset });
        }
        let segment = self.segment_of(offset);
        let limit = self
            .visible
            .min(segment.end)
            .min(next_damage.map_or(segment.end, |range| range.start));
        if let Some((at, position)) = segment.chain.locate(offset) {
            let from = WalkStart {
                position,
                offset: at,
                limit,
            };
            return Ok(ReadStart::Tail {
                chain: &segment.chain,
                from,
            });
        }
        let relative = u32::try_from(offset.get() - segment.base.get()).unwrap_or(u32::MAX);
        let (at, position) = segment.index.floor(relative);
        let from = WalkStart {
            position: position.into(),
            offset: segment.base.plus(at.into()),
            limit,
        };
        Ok(ReadStart::Cold {
            file: segment.file.clone(),
            base: segment.base,
            edition: segment.edition,
            from,
            written: segment.written,
        })
    }

    /// Where to start looking for the first record at or after `timestamp`: an offset at or before it, or `None` when no
    /// retained frame is that young. Damaged ranges are stepped over.
    #[must_use]
    pub fn time_floor(&self, timestamp: Timestamp) -> Option<Offset> {
        let segment = self
            .segments
            .iter()
            .find(|s| !s.is_empty() && s.max_timestamp >= timestamp)?;
        let (relative, _) = segment.index.floor_by_time(timestamp);
        // The beginning of the first segment may be gone.
        let mut offset = segment.base.plus(relative.into()).max(self.start);
        while let Some(range) = self.damaged.iter().find(|range| range.contains(&offset)) {
            offset = range.end;
        }
        let offset = offset.max(self.start);
        (offset < self.visible).then_some(offset)
    }

    /// The largest timestamp of visible records as far as the indexes know it, and the ranges of offsets they say nothing
    /// exact about: at most the readable part of the first segment, where its beginning is gone, and what lies behind the
    /// last index entry below the visible end, where more was appended already.
    #[must_use]
    pub fn max_timestamp_floor(&self) -> (Option<Timestamp>, Vec<Range<Offset>>) {
        let mut largest: Option<Timestamp> = None;
        let mut unknown = Vec::new();
        let visible = self.visible;
        for segment in self.segments.iter().filter(|s| !s.is_empty() && s.base < visible) {
            let whole = segment.base >= self.start;
            if whole && segment.end <= visible {
                largest = largest.max(Some(segment.max_timestamp));
                continue;
            }
            let mut from = segment.base.max(self.start);
            let entries = segment.index.entries();
            let offset_of = |at: usize| segment.base.plus(entries[at].relative_offset.into());
            let below =
                entries.partition_point(|entry| segment.base.plus(entry.relative_offset.into()) <= visible);
            if let Some(last) = below.checked_sub(1).filter(|_| whole)
                && entries[last].max_timestamp_before != i64::MIN
            {
                largest = largest.max(Some(Timestamp::new(entries[last].max_timestamp_before)));
                from = offset_of(last);
            }
            unknown.push(from..segment.end.min(visible));
        }
        unknown.retain(|range| !range.is_empty());
        (largest, unknown)
    }

    /// The epoch the record at `offset` was written in; of an offset without a record, the epoch in force there.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> LeaderEpoch {
        let after = self.epochs.partition_point(|(_, first)| *first <= offset);
        let known = after.checked_sub(1).and_then(|at| self.epochs.get(at));
        known.map_or(self.epoch, |(epoch, _)| *epoch)
    }

    /// The last epoch not above `epoch` and where its records end: Kafka's answer to "where did that leader stop".
    /// `None` when all retained records are of later epochs.
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        if epoch >= self.epoch {
            return (epoch == self.epoch).then_some((epoch, self.next));
        }
        let after = self.epochs.partition_point(|(known, _)| *known <= epoch);
        let (found, _) = *self.epochs.get(after.checked_sub(1)?)?;
        Some((
            found,
            self.epochs.get(after).map_or(self.next, |(_, offset)| *offset),
        ))
    }

    fn segment_of(&self, offset: Offset) -> &Segment {
        let after = self.segments.partition_point(|segment| segment.base <= offset);
        &self.segments[after
            .checked_sub(1)
            .expect("offsets at or above start have a segment")]
    }
}

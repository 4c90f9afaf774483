//! What is known to be unreadable: found by recovery, or later by whoever reads again.

use super::Log;
use crate::base::Offset;
use std::ops::Range;

impl Log {
    /// Marks acknowledged offsets as damaged, as recovery does: reads there are refused from now on, and the segments they are
    /// in have no index file that counts. Gives whether anything of the range was not known, and is not gone.
    pub fn mark_damaged(&mut self, range: Range<Offset>) -> bool {
        let (start, end) = (range.start.max(self.start), range.end.min(self.durable));
        let known = |one: &Range<Offset>| one.start <= start && end <= one.end;
        if start >= end || self.damaged.iter().any(known) {
            return false;
        }
        let first = self.damaged.partition_point(|one| one.end < start);
        let after = self.damaged.partition_point(|one| one.start <= end);
        let touched = self.damaged.drain(first..after);
        let joined = touched.fold(start..end, |joined, one| {
            joined.start.min(one.start)..joined.end.max(one.end)
        });
        self.damaged.insert(first, joined);
        for segment in &mut self.segments {
            if segment.base < end && start < segment.end {
                self.unindexed -= usize::from(segment.wants_index());
                (segment.damaged, segment.index_written) = (true, false);
                segment.close_if_finished();
            }
        }
        true
    }

    /// Whether a start has to scan some segment, also when what is damaged of it lies below the log's start.
    #[must_use]
    pub fn has_damaged_segments(&self) -> bool {
        self.segments.iter().any(|segment| segment.damaged)
    }

    /// Remembers where the first sound frame behind damage is, in the segment at `base`: readers start there, because the way
    /// from the index entry before leads through the damage.
    pub fn note_sound(&mut self, base: Offset, offset: Offset, position: u64) {
        let Some(segment) = self.segment_mut(base).filter(|segment| offset < segment.end) else {
            return;
        };
        let relative = u32::try_from(offset.get().saturating_sub(base.get()));
        // Where positions and offsets do not fit, the index is coarser, as everywhere.
        if let (Ok(relative), Ok(position)) = (relative, u32::try_from(position)) {
            let max_timestamp = segment.max_timestamp;
            segment.index.insert(relative, position, max_timestamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::error::ReadError;
    use crate::storage::log::{Durability, LogConfig, ReadStart};
    use crate::storage::testing::{Disk, append, arena, batch, config, log_id, settle};

    #[test]
    fn a_marked_range_is_refused_and_the_rest_is_read() {
        let (arena, mut disk) = (arena(), Disk::default());
        let mut log = Log::empty(log_id(1), config(64 << 10, Durability::Durable));
        for _ in 0..60 {
            append(&mut log, &arena, &batch(1, 4000, 7, 0), 1);
            settle(&mut log, &mut disk);
        }
        let front = log.segments().next().map(|one| (one.base, one.end)).unwrap();
        assert!(front.1 < log.durable(), "several segments");
        let offset = |n: u64| Offset::new(n);
        assert!(log.mark_damaged(offset(3)..offset(4)));
        assert!(!log.mark_damaged(offset(3)..offset(4)), "known");
        assert!(log.mark_damaged(offset(5)..offset(7)));
        assert!(log.mark_damaged(offset(4)..offset(5)), "joins its neighbours");
        assert_eq!(log.damaged(), [offset(3)..offset(7)]);
        let refused = |n| matches!(log.read_start(offset(n)), Err(ReadError::Damaged { .. }));
        let all: Vec<u64> = (0..log.durable().get()).filter(|n| refused(*n)).collect();
        assert_eq!(all, [3, 4, 5, 6]);
        assert!(
            log.segments()
                .next()
                .is_some_and(|one| one.damaged && !one.is_settled())
        );
        assert!(log.segments().nth(1).is_some_and(|one| !one.damaged));
        assert!(log.next_index().is_none() && !log.is_replaceable(front.0, front.1));
    }

    #[test]
    fn reading_starts_behind_damage_where_a_sound_frame_was_noted() {
        let (arena, mut disk) = (arena(), Disk::default());
        let sparse = LogConfig {
            index_interval_bytes: 32 << 10,
            ..config(64 << 10, Durability::Durable)
        };
        let mut log = Log::empty(log_id(1), sparse);
        for _ in 0..60 {
            append(&mut log, &arena, &batch(1, 4000, 7, 0), 1);
            settle(&mut log, &mut disk);
        }
        let from = |log: &Log| match log.read_start(Offset::new(6)) {
            Ok(ReadStart::Cold { from, .. }) => (from.offset, from.position),
            other => panic!("{other:?}"),
        };
        while log.evict() {}
        assert!(from(&log).0 < Offset::new(5), "the index is sparse");
        assert!(log.mark_damaged(Offset::new(3)..Offset::new(5)));
        log.note_sound(Offset::ZERO, Offset::new(5), 12_345);
        assert_eq!(from(&log), (Offset::new(5), 12_345));
        log.note_sound(Offset::ZERO, Offset::new(5), 12_345);
        let index = &log.segments().next().unwrap().index;
        let rising =
            |pair: &[crate::storage::index::IndexEntry]| pair[0].relative_offset < pair[1].relative_offset;
        assert!(index.entries().windows(2).all(rising));
    }

    #[test]
    fn what_is_gone_or_not_acknowledged_is_not_marked() {
        let (arena, mut disk) = (arena(), Disk::default());
        let mut log = Log::empty(log_id(1), config(1 << 20, Durability::Durable));
        append(&mut log, &arena, &batch(4, 10, 7, 0), 1);
        settle(&mut log, &mut disk);
        append(&mut log, &arena, &batch(4, 10, 7, 0), 1);
        log.start_at(Offset::new(2));
        assert!(!log.mark_damaged(Offset::new(0)..Offset::new(2)));
        assert!(!log.mark_damaged(Offset::new(4)..Offset::new(8)));
        assert!(log.mark_damaged(Offset::new(0)..Offset::new(8)));
        assert_eq!(log.damaged(), [Offset::new(2)..Offset::new(4)]);
    }
}

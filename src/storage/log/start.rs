//! Where a log starts when a client says so, and what its checkpoint file keeps.

use super::{Log, Retired};
use crate::base::{Offset, Timestamp};
use crate::storage::checkpoint::Checkpoint;
use crate::storage::segment::Segment;

impl Log {
    /// What the checkpoint file is to say once the log starts at `start`.
    #[must_use]
    pub fn checkpoint(&self, start: Offset) -> Checkpoint {
        Checkpoint {
            log: self.id,
            start: start.max(self.start),
            first_dirty: self.first_dirty,
            delete_horizon: self.delete_horizon,
        }
    }

    /// Takes over what the checkpoint file said. False, and nothing changes, when the log contradicts it: a start or a
    /// cleaned part beyond its end.
    #[must_use]
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> bool {
        if checkpoint.start > self.next || checkpoint.first_dirty > self.next {
            return false;
        }
        self.start_at(checkpoint.start);
        self.first_dirty = checkpoint.first_dirty;
        self.delete_horizon = checkpoint.delete_horizon;
        true
    }

    /// Moves the start forward to `start`; records below cannot be read any more. The checkpoint that says so should be
    /// durable, or a crash may take it back. Segments that hold nothing else are left for [`retire_below_start`](Self::retire_below_start).
    pub fn start_at(&mut self, start: Offset) {
        let start = start.min(self.next);
        if start > self.start {
            self.start = start;
            self.forget_before_start();
        }
    }

    /// Where the log would start without its oldest segments, as long as `expired` says so and nothing more comes to them.
    #[must_use]
    pub fn start_without(&self, mut expired: impl FnMut(&Segment) -> bool) -> Offset {
        let pairs = self.segments.iter().zip(self.segments.iter().skip(1));
        let gone = pairs.take_while(|(one, next)| next.on_disk && one.is_over() && expired(one));
        gone.last().map_or(self.start, |(one, _)| self.start.max(one.end))
    }

    /// Removes the oldest segment if all of it lies below the start and it may go.
    #[must_use]
    pub fn retire_below_start(&mut self) -> Option<Retired> {
        if self.segments.front()?.end > self.start || !self.may_retire_front() {
            return None;
        }
        let front = self.segments.pop_front()?;
        self.unindexed -= usize::from(front.wants_index());
        Some(Retired {
            base: front.base,
            capacity: front.capacity,
        })
    }

    /// Its index file is the last to know the log's end and epoch, and the producers whose batches are gone, until the next
    /// segment has one: a crash now would forget them, and take what such a producer repeats for new. A damaged segment never
    /// has one; what it costs is told with the damage.
    pub(in crate::storage) fn may_retire_front(&self) -> bool {
        let (Some(front), Some(next)) = (self.segments.front(), self.segments.get(1)) else {
            return false;
        };
        front.is_over() && next.on_disk && (next.index_written || (next.damaged && self.durable > next.base))
    }

    /// Everything below was cleaned.
    #[must_use]
    pub fn first_dirty(&self) -> Offset {
        self.first_dirty.max(self.start)
    }

    /// When the first of the tombstones that were cleaned may leave.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        self.delete_horizon
    }

    /// A pass of the cleaner ended: everything below `first_dirty` is clean, and the first tombstone may leave at
    /// `delete_horizon`.
    pub fn cleaned(&mut self, first_dirty: Offset, delete_horizon: Option<Timestamp>) {
        self.first_dirty = first_dirty;
        self.delete_horizon = delete_horizon;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::log::Durability;
    use crate::storage::testing::{Disk, append, arena, batch, config, log_id, settle};

    #[test]
    fn segments_leave_from_the_front_once_the_start_is_behind_them() {
        let (arena, mut disk) = (arena(), Disk::default());
        let mut log = Log::empty(log_id(1), config(64 << 10, Durability::Durable));
        for _ in 0..60 {
            append(&mut log, &arena, &batch(1, 4000, 7, 0), 1);
            settle(&mut log, &mut disk);
        }
        let bases: Vec<Offset> = log.segments().map(|one| one.base).collect();
        assert!(bases.len() > 3, "{bases:?}");
        let last = bases[bases.len() - 1];
        assert_eq!(log.start_without(|_| false), Offset::ZERO);
        assert_eq!(
            log.start_without(|one| one.base == bases[1]),
            Offset::ZERO,
            "only from the front"
        );
        assert_eq!(log.start_without(|_| true), last, "never the active one");
        assert!(log.retire_below_start().is_none(), "nothing moved the start yet");

        log.start_at(log.start_without(|one| one.base < bases[2]));
        assert_eq!(log.start(), bases[2]);
        let gone = std::iter::from_fn(|| log.retire_below_start().map(|one| one.base));
        assert_eq!(gone.collect::<Vec<_>>(), bases[..2]);
        log.start_at(last);
        let gone = std::iter::from_fn(|| log.retire_below_start().map(|one| one.base));
        assert_eq!(
            gone.collect::<Vec<_>>(),
            bases[2..bases.len() - 2],
            "the last sealed one knows the producers"
        );
        log.roll_active(Vec::new);
        settle(&mut log, &mut disk);
        let gone = log.retire_below_start().map(|one| one.base);
        assert_eq!(gone, Some(bases[bases.len() - 2]), "now its successor does");
        assert!(log.retire_below_start().is_none(), "it is still to be read");
    }
}

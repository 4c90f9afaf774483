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

    /// Moves the start forward to `start`; records below cannot be read any more. The checkpoint that says so must be
    /// durable. Segments that hold nothing else are left for [`retire_below_start`](Self::retire_below_start).
    pub fn start_at(&mut self, start: Offset) {
        let start = start.min(self.next);
        if start > self.start {
            self.start = start;
            self.forget_before_start();
        }
    }

    /// Removes the oldest segment if all of it lies below the start, on the terms of
    /// [`retire_front`](Self::retire_front).
    #[must_use]
    pub fn retire_below_start(&mut self) -> Option<Retired> {
        let start = self.start;
        self.retire_front(|segment: &Segment| segment.end <= start)
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

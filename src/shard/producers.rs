//! The idempotent producers of all logs of a shard, under one bound.
//!
//! Each log bounds its own table ([`crate::broker::producer_state::PRODUCERS_MAX`]), but a client may invent producers in every
//! log there is. So the shard counts them, and beyond its bound forgets those unused for longest, wherever they are: an eighth at
//! once, so that a flood pays for one look at all tables per so many new producers. A producer that was forgotten and sends on is
//! taken at its word, as one that expired is.

use super::Shard;
use std::rc::Rc;

/// The share of a shard's memory that producers may take: one byte of this many.
const MEMORY_SHARE: usize = 16;

/// Bytes of one producer, roughly.
const PRODUCER_BYTES: usize = 256;

/// Forgotten at once: one of this many.
const FORGOTTEN_SHARE: usize = 8;

/// How many producers a shard of this much memory remembers.
pub(super) const fn most(memory_bytes: usize) -> usize {
    memory_bytes / MEMORY_SHARE / PRODUCER_BYTES
}

impl Shard {
    /// A log has learned of a producer.
    pub(crate) fn note_producer(self: &Rc<Self>) {
        self.producers_known.set(self.producers_known.get() + 1);
        if self.producers_known.get() > self.producers_max {
            self.forget_producers();
        }
    }

    /// Counts them anew: logs come and go, and producers expire.
    pub(crate) fn count_producers(&self) -> usize {
        let partitions = self.partitions.borrow();
        let known = partitions
            .values()
            .map(|partition| partition.producers.borrow().len())
            .sum();
        self.producers_known.set(known);
        known
    }

    fn forget_producers(&self) {
        let known = self.count_producers();
        if known <= self.producers_max {
            return;
        }
        let partitions = self.partitions.borrow();
        let mut uses = Vec::with_capacity(known);
        for partition in partitions.values() {
            uses.extend(partition.producers.borrow().reports().map(|report| report.used));
        }
        let mut left = known / FORGOTTEN_SHARE + 1;
        let Some((_, last, _)) = (left <= uses.len()).then(|| uses.select_nth_unstable(left - 1)) else {
            return;
        };
        for partition in partitions.values() {
            // Many may share the last one's time: no more than were meant to go.
            left -= partition.producers.borrow_mut().forget(*last, left);
            if left == 0 {
                break;
            }
        }
        drop(partitions);
        let remembered = self.count_producers();
        tracing::warn!(
            remembered,
            "more idempotent producers than fit; those unused for longest are forgotten"
        );
    }
}

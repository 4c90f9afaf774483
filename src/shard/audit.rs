//! What the simulator looks at after every step: the numbers whose order is the shard's promise. Unit tests only.

use super::Shard;
use crate::base::{LeaderEpoch, LogId, Offset};

/// A log in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogState {
    /// Which.
    pub(crate) id: LogId,
    /// First readable offset.
    pub(crate) start: Offset,
    /// Everything below is durable.
    pub(crate) durable: Offset,
    /// Everything below may be read.
    pub(crate) visible: Offset,
    /// The next offset to be assigned.
    pub(crate) next: Offset,
    /// The epoch it is led with.
    pub(crate) epoch: LeaderEpoch,
    /// Whether acks mean durable now.
    pub(crate) durable_mode: bool,
    /// Whether some of it is known to be damaged.
    pub(crate) damaged: bool,
    /// Segments it has.
    pub(crate) segments: usize,
}

impl Shard {
    /// Shows every log of the shard.
    pub(crate) fn audit(&self, mut look: impl FnMut(LogState)) {
        for partition in self.partitions.borrow().values() {
            let log = partition.log.borrow();
            look(LogState {
                id: log.id(),
                start: log.start(),
                durable: log.durable(),
                visible: log.visible(),
                next: log.next(),
                epoch: log.epoch(),
                durable_mode: log.is_durable_mode(),
                damaged: !log.damaged().is_empty(),
                segments: log.segments().len(),
            });
        }
    }

    /// Memory in use and memory there is, by budget.
    pub(crate) fn audit_memory(&self) -> [(&'static str, usize, usize); 3] {
        // Wrapping: a budget that was given back more than it has counts as overdrawn.
        let used = |limit: usize, available: usize| limit.wrapping_sub(available);
        let (requests, responses) = (&self.request_budget, &self.response_budget);
        [
            ("buffers", self.arena.used_bytes(), self.arena.len_bytes()),
            (
                "requests",
                used(requests.limit(), requests.available()),
                requests.limit(),
            ),
            (
                "responses",
                used(responses.limit(), responses.available()),
                responses.limit(),
            ),
        ]
    }
}

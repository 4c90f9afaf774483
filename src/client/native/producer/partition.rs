//! One partition of a producer: the batch that is filling, those on their way, and what may be sent next.
//!
//! **Order and no duplicates.** Batches are sent in the order they were closed and keep their sequences for life. After
//! any failure nothing more is sent until every batch on its way has come back one way or the other; then sending begins
//! again at the oldest. What the broker had got in the meantime it recognises and answers as if for the first time.
//!
//! A broker that does not know a producer takes its first batch whatever its sequence. So under a new identity, and after
//! any failure, one batch goes alone; the others follow when it is acknowledged. Otherwise the second of two could be
//! taken for the first while the first is refused for the moment.
//!
//! **A gap.** A batch that will never be appended (refused for good, or given up) leaves a hole in the sequence, and the
//! broker refuses everything behind it. Then the partition goes on under a new identity, counting from 0; but only once
//! each batch left is known not to be in the log under the old one. Those of which nobody knows are sent once more as they
//! are: the broker says "here it is" or "not after this gap", and either settles the question.
//!
//! ```text
//! batch:  Fresh -> OnWire -> (gone: delivered or failed)
//!                  OnWire -> Unknown   the connection broke      -> OnWire
//!                  OnWire -> Refused   the broker did not append -> OnWire, under a new identity if there is a gap
//! ```
//!
//! Pure; owned by one producer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::delivery::{Callback, Delivered, Outcome, of_record};
use crate::base::{LogId, ProducerEpoch, ProducerId};
use crate::batch::{BatchHeader, HEADER_BYTES, ProducerInfo, RecordsBuilder};
use crate::client::native::cluster::LinkId;
use crate::client::native::config::pause_after;
use crate::client::native::error::Error;

/// The identity of an idempotent producer.
pub(super) type Id = (ProducerId, ProducerEpoch);

/// See the module.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) log: LogId,
    pub(super) leader: u32,
    pub(super) open: Option<Open>,
    pub(super) queue: VecDeque<Batch>,
    on_wire: usize,
    /// Wait until nothing is on its way, then send again from the oldest.
    rewind: bool,
    /// The sequence has a hole.
    gap: bool,
    /// A batch was acknowledged since the identity was taken or sending began again.
    proven: bool,
    pub(super) id: Option<Id>,
    /// The identity whose sequence got a hole; never used here again.
    burned: Option<Id>,
    next_sequence: i32,
    failures: u32,
    /// Send nothing before.
    pub(super) pause: Option<Instant>,
    /// Whether the producer has it on its list of partitions with something to do.
    pub(super) listed: bool,
}

/// The batch that is filling.
pub(super) struct Open {
    pub(super) builder: RecordsBuilder,
    pub(super) outcome: Arc<Outcome>,
    pub(super) callbacks: Vec<(u32, Callback)>,
    pub(super) since: Instant,
    pub(super) bytes: usize,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open")
            .field("records", &self.builder.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("fate", &self.fate)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// A closed batch.
pub(super) struct Batch {
    /// As it goes over the wire; the identity is stamped in when it is sent.
    pub(super) frame: Vec<u8>,
    pub(super) count: u32,
    /// What it takes of the producer's buffer.
    pub(super) charged: usize,
    pub(super) number: u64,
    pub(super) fate: Fate,
    pub(super) deadline: Instant,
    sequence: Option<i32>,
    outcome: Arc<Outcome>,
    callbacks: Vec<(u32, Callback)>,
}

/// What is known of a batch. See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Fresh,
    OnWire(LinkId),
    Unknown,
    Refused,
}

/// What a partition would send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// The batch at this place of the queue.
    Send(usize),
    /// Nothing before it has an identity that is not this one.
    NeedsId { burned: Option<Id> },
    /// Nothing now.
    Nothing,
}

/// What a refusal means for a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Try again later.
    Later,
    /// The sequence does not fit.
    Sequence,
    /// Never.
    Lasting,
}

impl Partition {
    pub(super) const fn new(log: LogId, leader: u32) -> Self {
        Self {
            log,
            leader,
            open: None,
            queue: VecDeque::new(),
            on_wire: 0,
            rewind: false,
            gap: false,
            proven: false,
            id: None,
            burned: None,
            next_sequence: 0,
            failures: 0,
            pause: None,
            listed: false,
        }
    }

    /// Whether there is anything to do for it.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none() && self.queue.is_empty()
    }

    /// Whether a batch closed now could leave now.
    pub(super) fn could_send(&self, in_flight: usize, now: Instant) -> bool {
        !self.rewind
            && self.queue.len() == self.on_wire
            && self.on_wire < self.window(in_flight)
            && self.pause.is_none_or(|until| until <= now)
    }

    /// Whether the batch that is filling could have been sent long ago: it is closed to expire with the others.
    pub(super) fn open_is_late(&self, now: Instant) -> bool {
        self.open.as_ref().is_some_and(|open| now >= open.since + LATE)
    }

    /// How many batches may be on their way now.
    const fn window(&self, in_flight: usize) -> usize {
        if self.proven || self.id.is_none() {
            in_flight
        } else {
            1
        }
    }

    /// Puts a closed batch behind the others.
    pub(super) fn close(
        &mut self,
        open: Open,
        records: usize,
        frame: Vec<u8>,
        number: u64,
        deadline: Instant,
    ) {
        let count = u32::try_from(records).expect("the batch was built, so its records fit its count");
        self.queue.push_back(Batch {
            frame,
            count,
            charged: open.bytes,
            number,
            fate: Fate::Fresh,
            deadline,
            sequence: None,
            outcome: open.outcome,
            callbacks: open.callbacks,
        });
    }

    /// What may be sent now.
    pub(super) fn next(&mut self, in_flight: usize, needs_id: bool, now: Instant) -> Next {
        if self.queue.is_empty() || self.pause.is_some_and(|until| now < until) {
            return Next::Nothing;
        }
        self.pause = None;
        if self.rewind {
            if self.on_wire > 0 {
                return Next::Nothing;
            }
            let unknown = self.queue.iter().position(|batch| batch.fate == Fate::Unknown);
            match unknown {
                Some(at) if self.gap => return Next::Send(at),
                _ => self.restart(),
            }
        }
        if needs_id && self.id.is_none() {
            return Next::NeedsId { burned: self.burned };
        }
        if self.on_wire < self.window(in_flight) && self.on_wire < self.queue.len() {
            Next::Send(self.on_wire)
        } else {
            Next::Nothing
        }
    }

    /// Begins again at the oldest batch, under a new identity if the old one's sequence has a hole.
    fn restart(&mut self) {
        self.rewind = false;
        self.proven = false;
        if self.gap {
            self.gap = false;
            self.burned = self.id.take();
            self.next_sequence = 0;
            for batch in &mut self.queue {
                batch.sequence = None;
            }
        }
    }

    /// Takes an identity, counting from 0.
    pub(super) const fn identify(&mut self, id: Id) {
        self.id = Some(id);
        self.proven = false;
        self.next_sequence = 0;
    }

    /// The log behind the name is another one now: nothing of the old one counts.
    pub(super) fn moved_to(&mut self, log: LogId) {
        self.log = log;
        self.rewind = true;
        self.gap = true;
        for batch in &mut self.queue {
            if batch.fate == Fate::Unknown {
                batch.fate = Fate::Refused;
            }
        }
    }

    /// Marks a batch as on its way by `link` and gives the bytes to send.
    pub(super) fn send(&mut self, at: usize, link: LinkId) -> (u64, &[u8]) {
        let batch = &mut self.queue[at];
        let producer = self.id.map(|(id, epoch)| {
            let base_sequence = *batch.sequence.get_or_insert(self.next_sequence);
            ProducerInfo {
                id,
                epoch,
                base_sequence,
            }
        });
        let newest = producer.filter(|info| info.base_sequence == self.next_sequence);
        if newest.is_some() {
            self.next_sequence = advance(self.next_sequence, batch.count);
        }
        stamp(&mut batch.frame, self.log, producer);
        batch.fate = Fate::OnWire(link);
        self.on_wire += 1;
        (batch.number, &batch.frame)
    }

    /// The connection broke: what was on its way may or may not be there.
    pub(super) fn lost(&mut self, link: LinkId) {
        for batch in &mut self.queue {
            if batch.fate == Fate::OnWire(link) {
                batch.fate = Fate::Unknown;
                self.on_wire -= 1;
                self.rewind = true;
            }
        }
    }

    /// A batch is in the log, or as good as. Gives what it took of the buffer.
    pub(super) fn delivered(&mut self, number: u64, delivered: Delivered) -> Option<usize> {
        let at = self.place_of(number)?;
        self.failures = 0;
        self.proven = true;
        Some(self.remove(at, Ok(delivered)))
    }

    /// A batch was not appended. Gives what it took of the buffer if that is the end of it.
    pub(super) fn refused(
        &mut self,
        number: u64,
        refusal: Refusal,
        error: Error,
        now: Instant,
    ) -> Option<usize> {
        let at = self.place_of(number)?;
        self.rewind = true;
        match refusal {
            Refusal::Lasting => {
                self.gap = self.id.is_some();
                return Some(self.remove(at, Err(error)));
            }
            // Behind one that failed this is expected. At the head it means that the broker's memory of this producer is
            // not ours (a relaxed topic that lost its end): no number of the old sequence will ever fit again.
            Refusal::Sequence if at == 0 => self.gap = true,
            Refusal::Sequence => {}
            Refusal::Later => {
                self.failures = self.failures.saturating_add(1);
                self.pause = Some(now + pause_after(self.failures));
            }
        }
        self.queue[at].fate = Fate::Refused;
        self.on_wire -= 1;
        None
    }

    /// Gives up batches that waited too long and are not on their way. Gives what they took of the buffer.
    pub(super) fn expire(&mut self, now: Instant, error: &Error) -> usize {
        let mut freed = 0;
        while let Some(at) = self
            .queue
            .iter()
            .position(|batch| batch.deadline <= now && !matches!(batch.fate, Fate::OnWire(_)))
        {
            if self.queue[at].sequence.is_some() {
                self.gap = self.id.is_some();
                self.rewind = true;
            }
            freed += self.remove(at, Err(error.clone()));
        }
        freed
    }

    /// When the batch that is filling is due, the oldest one expires, or the pause ends.
    pub(super) fn wake(&self, linger: Duration, in_flight: usize) -> Option<Instant> {
        // While nothing more may be sent, lingering is over when an answer comes.
        let may_send =
            self.queue.len() == self.on_wire && self.on_wire < self.window(in_flight) && !self.rewind;
        let patience = if may_send { linger } else { LATE };
        let due = self.open.as_ref().map(|open| open.since + patience.max(linger));
        let waiting = self
            .queue
            .iter()
            .find(|batch| !matches!(batch.fate, Fate::OnWire(_)));
        let expiry = waiting.map(|batch| batch.deadline);
        let pause = self.pause.filter(|_| waiting.is_some());
        due.into_iter().chain(expiry).chain(pause).min()
    }

    fn place_of(&self, number: u64) -> Option<usize> {
        self.queue.iter().position(|batch| batch.number == number)
    }

    fn remove(&mut self, at: usize, outcome: Result<Delivered, Error>) -> usize {
        let batch = self.queue.remove(at).expect("the place was just found");
        if matches!(batch.fate, Fate::OnWire(_)) {
            self.on_wire -= 1;
        }
        for (index, callback) in batch.callbacks {
            callback(of_record(&outcome, index));
        }
        batch.outcome.settle(outcome);
        batch.charged
    }
}

/// How long a batch may go on filling because its partition cannot send.
const LATE: Duration = Duration::from_secs(1);

/// Writes log and identity into the header of a finished batch; the payload and its checksum stay.
fn stamp(frame: &mut [u8], log: LogId, producer: Option<ProducerInfo>) {
    let header = BatchHeader::decode(frame).expect("the batch was built by this producer");
    if header.log != log || header.producer != producer {
        let header = BatchHeader {
            log,
            producer,
            ..header
        };
        frame[..HEADER_BYTES].copy_from_slice(&header.encode());
    }
}

/// Sequences wrap from `i32::MAX` to 0.
fn advance(sequence: i32, count: u32) -> i32 {
    let next = (i64::from(sequence) + i64::from(count)) & i64::from(i32::MAX);
    i32::try_from(next).expect("masked to 31 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance(5, 3), 8);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 5), 3);
    }
}

//! [`Outbox`]: the requests of one connection in their order, and the writer that answers them in that order.
//!
//! **Promise.** Answers leave in the order of their requests, whatever order they were worked on. Answers that are
//! ready together leave in one vectored write. A peer that takes next to nothing for
//! [`WRITE_STALL_TIMEOUT`](crate::protocol::delivery) is cut off.
//!
//! **Invariants.** A slot holds its request's memory until its answer is written, so `in_flight` requests are all
//! a connection can hold. The writer takes a slot out before polling it: nothing is borrowed across a poll. Long
//! polls watch [`Outbox::hurried`]: a request behind them that is not a Fetch, a stop or a closed connection ends
//! their wait.
//!
//! **Why turns.** Response memory is taken only by the request whose answer is next to leave ([`Outbox::wait_turn`]).
//! Otherwise a request could hold the last of it behind one that waits for it on the same connection, for ever.
//! One shard's thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use futures_lite::future::poll_once;

use crate::protocol::delivery::{Undelivered, write_chunks};
use crate::protocol::kafka::call::{Answer, PendingAnswer, Reply};
use crate::runtime::local::{Notify, Permit, WakerList};
use crate::runtime::net::Stream;
use crate::runtime::{clock, executor};
use crate::shard::stages::Handoff;
use crate::shard::{Probe, Shard};

/// Answers are gathered into one write up to this many bytes.
const WRITE_BYTES_GATHERED: usize = 256 * 1024;

/// What a request holds until it is answered.
#[expect(dead_code, reason = "held for what their drop gives back")]
pub(in crate::protocol::kafka) struct Held {
    /// Memory of its frame and of what was decoded.
    pub(in crate::protocol::kafka) memory: Rc<RefCell<Permit>>,
}

/// A request waiting for its turn.
struct Slot {
    sequence: u64,
    answer: PendingAnswer,
    held: Held,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Requests are read.
    Open,
    /// No more requests; what is in flight is answered.
    Draining,
    /// Nothing is read or written any more.
    Closed,
}

/// See the module.
pub(in crate::protocol::kafka) struct Outbox {
    queue: RefCell<VecDeque<Slot>>,
    in_flight: Cell<usize>,
    phase: Cell<Phase>,
    /// Number of the newest request that is not a Fetch.
    urgent: Cell<u64>,
    /// Number of the request whose answer is next to leave, or of the last one while none waits.
    turn: Cell<u64>,
    queued: Notify,
    room: Notify,
    hurry: WakerList,
    turns: WakerList,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("in_flight", &self.in_flight)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            queue: RefCell::default(),
            in_flight: Cell::new(0),
            phase: Cell::new(Phase::Open),
            urgent: Cell::new(0),
            turn: Cell::new(0),
            queued: Notify::default(),
            room: Notify::default(),
            hurry: WakerList::default(),
            turns: WakerList::default(),
        }
    }

    /// Requests not yet answered.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Whether the connection is given up.
    pub(in crate::protocol::kafka) fn is_closed(&self) -> bool {
        self.phase.get() == Phase::Closed
    }

    /// Waits until fewer than `max` requests are in flight, or the connection is closed.
    pub(super) async fn wait_for_room(&self, max: usize) {
        while self.in_flight.get() >= max.max(1) && !self.is_closed() {
            self.room.notified().await;
        }
    }

    /// Notes that request `sequence` (from 1) is not a Fetch: long polls before it stop waiting.
    pub(super) fn hasten(&self, sequence: u64) {
        self.urgent.set(sequence);
        self.hurry.wake_all();
    }

    /// Queues request `sequence`; its answer leaves after those queued before. On a closed connection it is dropped:
    /// nobody would take it out again, and what it holds (this outbox, too) would never be freed.
    pub(super) fn push(&self, sequence: u64, answer: PendingAnswer, held: Held) {
        if self.is_closed() {
            return;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        self.queue.borrow_mut().push_back(Slot {
            sequence,
            answer,
            held,
        });
        self.queued.notify();
    }

    /// No more requests will come: answer what is there, then end.
    pub(super) fn drain(&self) {
        if self.phase.get() == Phase::Open {
            self.phase.set(Phase::Draining);
        }
        self.hurry.wake_all();
        self.queued.notify();
    }

    /// Gives up the connection and everything queued.
    pub(super) fn close(&self) {
        self.phase.set(Phase::Closed);
        // Out of the cell first: dropping a slot gives memory back, which may wake and run other code.
        let abandoned = std::mem::take(&mut *self.queue.borrow_mut());
        drop(abandoned);
        self.hurry.wake_all();
        self.turns.wake_all();
        self.queued.notify();
        self.room.notify();
    }

    /// Waits until nobody should wait on behalf of request `sequence` any longer.
    pub(in crate::protocol::kafka) async fn hurried(&self, sequence: u64) {
        poll_fn(|cx| {
            if self.is_hurried(sequence) {
                return Poll::Ready(());
            }
            self.hurry.register(cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Whether [`Self::hurried`] would return at once.
    pub(in crate::protocol::kafka) fn is_hurried(&self, sequence: u64) -> bool {
        self.phase.get() != Phase::Open || self.urgent.get() > sequence
    }

    /// Waits until every answer before that of request `sequence` is on its way, or the connection is closed. Wait for
    /// it before taking response memory.
    pub(in crate::protocol::kafka) async fn wait_turn(&self, sequence: u64) {
        poll_fn(|cx| {
            if self.turn.get() >= sequence || self.is_closed() {
                return Poll::Ready(());
            }
            self.turns.register(cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Takes the next request out: it is its turn.
    fn pop(&self) -> Option<Slot> {
        let slot = self.queue.borrow_mut().pop_front()?;
        self.turn.set(slot.sequence);
        self.turns.wake_all();
        Some(slot)
    }

    /// The next request in order; `None` when there will be none.
    async fn next(&self) -> Option<Slot> {
        loop {
            if let Some(slot) = self.pop() {
                return Some(slot);
            }
            if self.phase.get() != Phase::Open {
                return None;
            }
            self.queued.notified().await;
        }
    }

    fn answered(&self, count: usize) {
        self.in_flight.set(self.in_flight.get() - count);
        self.room.notify();
    }

    /// Writes answers until the connection drains or fails.
    pub(super) async fn deliver(&self, stream: &Stream, shard: &Shard) -> Result<(), Undelivered> {
        let mut batch = Batch::default();
        let mut carried = None;
        loop {
            let slot = match carried.take() {
                Some(slot) => Some(slot),
                None => self.next().await,
            };
            let Some(mut slot) = slot else { return Ok(()) };
            let answer = (&mut slot.answer).await;
            batch.add(answer, slot.held);
            while batch.wants_more() {
                let Some(mut slot) = self.pop() else { break };
                match poll_once(&mut slot.answer).await {
                    Some(answer) => batch.add(answer, slot.held),
                    None => {
                        carried = Some(slot);
                        break;
                    }
                }
            }
            write_chunks(stream, &batch.chunks, shard.response_budget()).await?;
            batch.hand_off(shard.probe());
            self.answered(batch.held.len());
            if let Some(reason) = batch.close {
                return Err(Undelivered::Refused(reason));
            }
            batch.clear();
            if !self.queue.borrow().is_empty() {
                // A peer that asks and reads without a pause is not the only one.
                executor::yield_now().await;
            }
        }
    }
}

/// Answers that leave together. Its vectors keep their room between writes.
#[derive(Default)]
struct Batch {
    chunks: Vec<Vec<u8>>,
    bytes: usize,
    held: Vec<(Held, Option<Permit>)>,
    handoffs: Vec<Handoff>,
    close: Option<&'static str>,
}

impl Batch {
    fn add(&mut self, answer: Answer, held: Held) {
        let mut memory = None;
        match answer {
            Answer::Send(Reply {
                encoded,
                held,
                handoff,
            }) => {
                self.handoffs.extend(handoff);
                self.bytes += encoded.total_len();
                self.chunks.extend(encoded.into_chunks());
                memory = held;
            }
            Answer::Silent => {}
            Answer::Close(reason) => self.close = Some(reason),
        }
        self.held.push((held, memory));
    }

    /// Ends the stages that last until the answers are written.
    fn hand_off(&mut self, probe: &Probe) {
        if self.handoffs.is_empty() {
            return;
        }
        let now = clock::now();
        for handoff in self.handoffs.drain(..) {
            probe.handed_off(handoff, now);
        }
    }

    const fn wants_more(&self) -> bool {
        self.close.is_none() && self.bytes < WRITE_BYTES_GATHERED
    }

    fn clear(&mut self) {
        self.chunks.clear();
        self.held.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;
    use crate::runtime::local::Budget;

    fn ready<F: Future>(future: F) -> bool {
        executor::block_on(poll_once(future)).is_some()
    }

    fn held() -> Held {
        Held {
            memory: Rc::new(RefCell::new(Budget::new(1).try_acquire(1).unwrap())),
        }
    }

    fn push(outbox: &Outbox, sequence: u64) {
        outbox.push(sequence, Box::pin(std::future::pending()), held());
    }

    #[test]
    fn a_request_has_its_turn_when_those_before_it_are_taken_out() {
        let outbox = Outbox::new();
        push(&outbox, 1);
        push(&outbox, 2);
        assert!(!ready(outbox.wait_turn(1)));
        let _first = outbox.pop();
        assert!(ready(outbox.wait_turn(1)));
        assert!(
            !ready(outbox.wait_turn(2)),
            "the first would wait for what the second holds"
        );
        let _second = outbox.pop();
        assert!(ready(outbox.wait_turn(2)));
        assert!(!ready(outbox.wait_turn(3)));
        outbox.close();
        assert!(ready(outbox.wait_turn(3)));
    }

    #[test]
    fn a_closed_connection_keeps_no_request() {
        let outbox = Outbox::new();
        push(&outbox, 1);
        outbox.close();
        push(&outbox, 2);
        assert!(outbox.pop().is_none());
    }

    #[test]
    fn only_a_later_request_that_is_no_fetch_ends_a_long_poll() {
        let outbox = Outbox::new();
        outbox.hasten(3);
        assert!(outbox.is_hurried(2));
        assert!(!outbox.is_hurried(3));
        assert!(!outbox.is_hurried(4));
        outbox.drain();
        assert!(outbox.is_hurried(4));
    }

    #[test]
    fn room_opens_when_answers_are_written_or_all_is_lost() {
        let outbox = Outbox::new();
        outbox.in_flight.set(2);
        assert!(!ready(outbox.wait_for_room(2)));
        outbox.answered(1);
        assert!(ready(outbox.wait_for_room(2)));
        outbox.in_flight.set(2);
        outbox.close();
        assert!(ready(outbox.wait_for_room(2)));
    }
}

//! [`Outbox`]: what one connection is to be sent. Answers leave in the order of their requests; pushes leave when they are
//! made, in between.
//!
//! **Promise.** Only the answer that is next to leave is worked on beyond its first stage, so at most one request of a
//! connection waits for response memory, and it never waits for one behind it. What is ready leaves in one vectored write.
//! Neither answers nor pushes starve the other: every write takes one push, if there is one, before it takes answers.
//!
//! **Invariants.** A slot holds its request's memory until its answer is written, so `in_flight` requests are all a
//! connection can hold; whoever pushes bounds its pushes itself. The writer takes a slot out before polling it: nothing is
//! borrowed across a poll. One shard's thread: a reader, a writer and subscriptions share it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::protocol::delivery::{Undelivered, write_chunks};
use crate::runtime::local::{Notify, Permit, WakerList};
use crate::runtime::net::Stream;
use crate::runtime::{clock, executor};
use crate::shard::stages::Handoff;
use crate::shard::{Probe, Shard};

/// What is ready is gathered into one write up to this many bytes.
const WRITE_BYTES_GATHERED: usize = 256 * 1024;

/// Bytes to send, and what they hold until they are sent.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// A frame, or its head and control part; empty for no answer.
    pub(super) frame: Vec<u8>,
    /// The batches behind it.
    pub(super) batches: Vec<Vec<u8>>,
    /// Response memory and the right to push.
    pub(super) held: Vec<Permit>,
    /// The stage that ends when it is sent.
    pub(super) handoff: Option<Handoff>,
    /// The connection ends behind it, and why: for our log.
    pub(super) close: Option<&'static str>,
}

impl Answer {
    /// One whole frame.
    pub(super) fn of(frame: Vec<u8>) -> Self {
        Self {
            frame,
            ..Self::default()
        }
    }

    fn len(&self) -> usize {
        self.frame.len() + self.batches.iter().map(Vec::len).sum::<usize>()
    }
}

/// An answer that is still being worked on.
pub(super) type PendingAnswer = Pin<Box<dyn Future<Output = Answer>>>;

/// A request waiting for its turn.
struct Slot {
    answer: PendingAnswer,
    memory: Permit,
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
pub(super) struct Outbox {
    queue: RefCell<VecDeque<Slot>>,
    pushes: RefCell<VecDeque<Answer>>,
    in_flight: Cell<usize>,
    phase: Cell<Phase>,
    /// Number of the newest request that no long poll should delay.
    urgent: Cell<u64>,
    work: Notify,
    room: Notify,
    hurry: WakerList,
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
            pushes: RefCell::default(),
            in_flight: Cell::new(0),
            phase: Cell::new(Phase::Open),
            urgent: Cell::new(0),
            work: Notify::default(),
            room: Notify::default(),
            hurry: WakerList::default(),
        }
    }

    /// Requests not yet answered.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Whether the connection is given up.
    pub(super) fn is_closed(&self) -> bool {
        self.phase.get() == Phase::Closed
    }

    /// Waits until fewer than `max` requests are in flight, or the connection is closed.
    pub(super) async fn wait_for_room(&self, max: usize) {
        while self.in_flight.get() >= max.max(1) && !self.is_closed() {
            self.room.notified().await;
        }
    }

    /// Queues a request's answer behind those before it. On a closed connection it is dropped: nobody would take it out
    /// again.
    pub(super) fn answer(&self, answer: PendingAnswer, memory: Permit) {
        if self.is_closed() {
            return;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        self.queue.borrow_mut().push_back(Slot { answer, memory });
        self.work.notify();
    }

    /// As [`Self::answer`], for an answer there is nothing to wait for.
    pub(super) fn answer_now(&self, answer: Answer, memory: Permit) {
        self.answer(Box::pin(ready(answer)), memory);
    }

    /// Sends something nobody asked for just now.
    pub(super) fn push(&self, push: Answer) {
        if !self.is_closed() {
            self.pushes.borrow_mut().push_back(push);
            self.work.notify();
        }
    }

    /// Notes that request `sequence` (from 1) is not a long poll: those before it stop waiting.
    pub(super) fn hasten(&self, sequence: u64) {
        self.urgent.set(sequence);
        self.hurry.wake_all();
    }

    /// No more requests will come: send what there is, then end.
    pub(super) fn drain(&self) {
        if self.phase.get() == Phase::Open {
            self.phase.set(Phase::Draining);
        }
        self.hurry.wake_all();
        self.work.notify();
    }

    /// Gives up the connection and everything queued.
    pub(super) fn close(&self) {
        self.phase.set(Phase::Closed);
        // Out of the cells first: dropping gives memory back, which may wake and run other code.
        let requests = std::mem::take(&mut *self.queue.borrow_mut());
        let pushes = std::mem::take(&mut *self.pushes.borrow_mut());
        drop((requests, pushes));
        self.hurry.wake_all();
        self.work.notify();
        self.room.notify();
    }

    /// Whether nobody should wait on behalf of request `sequence` any longer.
    pub(super) fn is_hurried(&self, sequence: u64) -> bool {
        self.phase.get() != Phase::Open || self.urgent.get() > sequence
    }

    /// Waits until [`Self::is_hurried`].
    pub(super) async fn hurried(&self, sequence: u64) {
        poll_fn(|cx| {
            if self.is_hurried(sequence) {
                return Poll::Ready(());
            }
            self.hurry.register(cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Writes until the connection drains or fails.
    pub(super) async fn deliver(&self, stream: &Stream, shard: &Shard) -> Result<(), Undelivered> {
        let mut next = None;
        let mut batch = Batch::default();
        loop {
            if !poll_fn(|cx| self.poll_gather(cx, &mut next, &mut batch)).await {
                return Ok(());
            }
            write_chunks(stream, &batch.chunks, shard.response_budget()).await?;
            batch.hand_off(shard.probe());
            self.in_flight.set(self.in_flight.get() - batch.requests.len());
            self.room.notify();
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

    /// Gathers what is ready; false when nothing will be any more.
    fn poll_gather(&self, cx: &mut Context<'_>, next: &mut Option<Slot>, batch: &mut Batch) -> Poll<bool> {
        // Until it registers: what is set meanwhile is looked at below.
        while self.work.poll_notified(cx).is_ready() {}
        if self.is_closed() {
            *next = None;
            return Poll::Ready(false);
        }
        if let Some(push) = self.next_push() {
            batch.add(push);
        }
        let mut first = true;
        while (first || batch.wants_more()) && self.poll_answer(cx, next, batch) {
            first = false;
        }
        while batch.wants_more()
            && let Some(push) = self.next_push()
        {
            batch.add(push);
        }
        if !batch.is_empty() {
            return Poll::Ready(true);
        }
        let nothing_left = next.is_none() && self.queue.borrow().is_empty();
        if nothing_left && self.phase.get() != Phase::Open {
            return Poll::Ready(false);
        }
        Poll::Pending
    }

    fn next_push(&self) -> Option<Answer> {
        self.pushes.borrow_mut().pop_front()
    }

    /// Works on the answer that is next to leave; true when it was ready.
    fn poll_answer(&self, cx: &mut Context<'_>, next: &mut Option<Slot>, batch: &mut Batch) -> bool {
        if next.is_none() {
            *next = self.queue.borrow_mut().pop_front();
        }
        let Some(mut slot) = next.take() else { return false };
        match slot.answer.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                batch.add(answer);
                batch.requests.push(slot.memory);
                true
            }
            Poll::Pending => {
                *next = Some(slot);
                false
            }
        }
    }
}

/// What leaves together. Its vectors keep their room between writes.
#[derive(Default)]
struct Batch {
    chunks: Vec<Vec<u8>>,
    bytes: usize,
    requests: Vec<Permit>,
    held: Vec<Permit>,
    handoffs: Vec<Handoff>,
    close: Option<&'static str>,
}

impl Batch {
    fn add(&mut self, answer: Answer) {
        self.bytes += answer.len();
        if !answer.frame.is_empty() {
            self.chunks.push(answer.frame);
        }
        self.chunks
            .extend(answer.batches.into_iter().filter(|batch| !batch.is_empty()));
        self.held.extend(answer.held);
        self.handoffs.extend(answer.handoff);
        self.close = self.close.or(answer.close);
    }

    const fn wants_more(&self) -> bool {
        self.close.is_none() && self.bytes < WRITE_BYTES_GATHERED
    }

    const fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.requests.is_empty() && self.close.is_none()
    }

    /// Ends the stages that last until the answers are written.
    fn hand_off(&mut self, probe: &Probe) {
        if !self.handoffs.is_empty() {
            let now = clock::now();
            for handoff in self.handoffs.drain(..) {
                probe.handed_off(handoff, now);
            }
        }
    }

    fn clear(&mut self) {
        self.chunks.clear();
        self.requests.clear();
        self.held.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::executor;
    use crate::runtime::local::Budget;
    use futures_lite::future::poll_once;

    fn memory() -> Permit {
        Budget::new(1).try_acquire(1).unwrap()
    }

    fn frame(byte: u8) -> Answer {
        Answer::of(vec![byte; 4])
    }

    /// What one write would carry, first byte of each chunk; `None` when nothing is ready.
    fn gathered(outbox: &Outbox, next: &mut Option<Slot>) -> Option<Vec<u8>> {
        let mut batch = Batch::default();
        let gathering = poll_once(poll_fn(|cx| outbox.poll_gather(cx, next, &mut batch)));
        let more = executor::block_on(gathering)?;
        more.then(|| batch.chunks.iter().map(|chunk| chunk[0]).collect())
    }

    #[test]
    fn answers_keep_their_order_and_pushes_do_not_wait_for_them() {
        let (outbox, mut next) = (Outbox::new(), None);
        let first = crate::runtime::local::OneShot::default();
        let slow = first.clone();
        outbox.answer(Box::pin(async move { slow.take().await }), memory());
        outbox.answer_now(frame(2), memory());
        outbox.push(frame(100));
        assert_eq!(gathered(&outbox, &mut next), Some(vec![100]));
        assert_eq!(gathered(&outbox, &mut next), None);
        first.set(frame(1));
        assert_eq!(gathered(&outbox, &mut next), Some(vec![1, 2]));
    }

    #[test]
    fn neither_answers_nor_pushes_starve_the_other() {
        let (outbox, mut next) = (Outbox::new(), None);
        for _ in 0..2 {
            outbox.push(Answer::of(vec![100; WRITE_BYTES_GATHERED]));
            outbox.answer_now(Answer::of(vec![1; WRITE_BYTES_GATHERED]), memory());
        }
        assert_eq!(gathered(&outbox, &mut next), Some(vec![100, 1]));
        assert_eq!(gathered(&outbox, &mut next), Some(vec![100, 1]));
    }

    #[test]
    fn a_drained_connection_ends_when_all_is_sent_and_a_closed_one_at_once() {
        let (outbox, mut next) = (Outbox::new(), None);
        outbox.answer_now(frame(1), memory());
        outbox.drain();
        assert_eq!(gathered(&outbox, &mut next), Some(vec![1]));
        let mut batch = Batch::default();
        let ended = poll_once(poll_fn(|cx| outbox.poll_gather(cx, &mut next, &mut batch)));
        assert_eq!(executor::block_on(ended), Some(false));
        outbox.close();
        outbox.push(frame(1));
        outbox.answer_now(frame(1), memory());
        assert!(outbox.pushes.borrow().is_empty() && outbox.queue.borrow().is_empty());
    }

    #[test]
    fn only_a_later_request_that_is_no_fetch_ends_a_long_poll() {
        let outbox = Outbox::new();
        outbox.hasten(3);
        assert!(outbox.is_hurried(2) && !outbox.is_hurried(3));
        outbox.drain();
        assert!(outbox.is_hurried(4));
    }
}

//! Subscriptions: what is pushed to a connection, as soon as it is readable and as far as the client's credit goes.
//!
//! One task per subscription: wait for credit, for the connection's leave to push, for response memory; read; push; and when
//! there was nothing to read, give all of that back and wait for a watch. No poll, no timer.
//!
//! **Promise.** A subscription pushes at most its credit, overdrawn by at most one batch. A connection has at most
//! [`PUSHES_MAX`] pushes made and not yet written, whatever its credit, so that a consumer that does not read holds no more
//! memory than that until it is given up; its subscriptions take turns. Ended or closed, a subscription holds nothing.
//!
//! **Invariants.** `next` of a position only grows and is where the last push ended. A partition that cannot be read is pushed
//! once with its error and dropped. One shard's thread.

use crate::base::hash::HashMap;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future::or;

use super::errors::ErrorCode;
use super::frame::Kind;
use super::messages::{
    CREDIT_BYTES_MAX, FetchedEntry, PUSH_BYTES_MAX, SubscriptionEnded, encode_fetched_before,
};
use super::outbox::Answer;
use super::requests::{Connection, entry_of, largest_batch, response_share};
use crate::base::{LogId, Offset};
use crate::runtime::executor;
use crate::runtime::local::{Budget, Permit, WakerList};
use crate::shard::count;
use crate::shard::request::{PartRead, ReadLimits, ReadPart};
use crate::storage::read::ReadFormat;

/// Pushes of one connection that are made and not yet written: one on its way, one being read.
const PUSHES_MAX: usize = 2;

/// Bytes of a push for which the client named no bound.
const PUSH_BYTES_DEFAULT: usize = 1 << 20;

/// What a push takes beside its batches: its head, and an entry for each partition in it.
const PUSH_OVERHEAD_BYTES: usize = 64;

/// Pause after a watch that fired for nothing: a failed disk fires every watch, and the process is about to end.
const IDLE_PAUSE: Duration = Duration::from_millis(1);

/// Where a subscription is in one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    /// Which.
    pub(super) log: LogId,
    /// The next record to push.
    pub(super) next: Offset,
}

/// Why a subscription stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// The client knows, or is gone.
    Quiet,
    /// The client is told.
    Because(ErrorCode),
}

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    id: u64,
    credit: Cell<i64>,
    push_bytes: usize,
    stop: Cell<Option<Stop>>,
    /// Its task was started.
    started: Cell<bool>,
    /// Its task is not done.
    alive: Cell<bool>,
    changed: WakerList,
}

impl Subscription {
    pub(super) fn new(id: u64, credit_bytes: u64, push_bytes: u32) -> Self {
        let push_bytes = match push_bytes {
            0 => PUSH_BYTES_DEFAULT,
            bytes => bytes.min(PUSH_BYTES_MAX) as usize,
        };
        Self {
            id,
            credit: Cell::new(i64::try_from(credit_bytes).unwrap_or(i64::MAX)),
            push_bytes,
            stop: Cell::new(None),
            started: Cell::new(false),
            alive: Cell::new(true),
            changed: WakerList::default(),
        }
    }

    /// Adds credit; nothing, or more than may be held, ends the subscription.
    pub(super) fn add_credit(&self, bytes: u64) {
        let max = i64::try_from(CREDIT_BYTES_MAX).unwrap_or(i64::MAX);
        let more = i64::try_from(bytes).unwrap_or(i64::MAX);
        let credit = self.credit.get().saturating_add(more);
        if more == 0 || credit > max {
            self.stop_with(Stop::Because(ErrorCode::InvalidCredit));
        } else {
            self.credit.set(credit);
            self.changed.wake_all();
        }
    }

    /// Ends it without a word.
    pub(super) fn stop_quietly(&self) {
        self.stop_with(Stop::Quiet);
    }

    fn stop_with(&self, stop: Stop) {
        if self.stop.get().is_none() {
            self.stop.set(Some(stop));
        }
        self.changed.wake_all();
    }

    /// Waits until its task is done and what it pushed is queued.
    pub(super) async fn ended(&self) {
        self.until(|| !self.alive.get()).await;
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        poll_fn(|cx| {
            if condition() {
                return Poll::Ready(());
            }
            self.changed.register(cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Waits for `future` unless the subscription is stopped first.
    async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Result<T, Stop> {
        let stopped = async {
            self.until(|| self.stop.get().is_some()).await;
            Err(self.stop.get().unwrap_or(Stop::Quiet))
        };
        or(stopped, async { Ok(future.await) }).await
    }
}

/// The subscriptions of one connection.
#[derive(Debug)]
pub(super) struct Subscriptions {
    by_id: RefCell<HashMap<u64, Rc<Subscription>>>,
    /// Leave to push; first come, first served.
    leave: Budget,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            by_id: RefCell::default(),
            leave: Budget::new(PUSHES_MAX),
        }
    }
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.by_id.borrow().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.borrow().is_empty()
    }

    pub(super) fn get(&self, id: u64) -> Option<Rc<Subscription>> {
        self.by_id.borrow().get(&id).cloned()
    }

    pub(super) fn add(&self, subscription: Subscription) -> Rc<Subscription> {
        let subscription = Rc::new(subscription);
        self.by_id
            .borrow_mut()
            .insert(subscription.id, Rc::clone(&subscription));
        subscription
    }

    /// Forgets one whose task does not run.
    pub(super) fn remove(&self, id: u64) {
        let removed = self.by_id.borrow_mut().remove(&id);
        if let Some(subscription) = removed {
            subscription.alive.set(false);
            subscription.changed.wake_all();
        }
    }

    /// Ends all, telling the client why if there is a reason, and waits for those that had begun.
    pub(super) async fn end_all(&self, reason: Option<ErrorCode>) {
        let all: Vec<Rc<Subscription>> = self.by_id.borrow().values().cloned().collect();
        for subscription in &all {
            subscription.stop_with(reason.map_or(Stop::Quiet, Stop::Because));
        }
        for subscription in all.iter().filter(|subscription| subscription.started.get()) {
            subscription.ended().await;
        }
    }
}

/// Starts the pushes of a subscription whose answer is about to leave. `refused` is why some partition is not among them.
pub(super) fn start(
    connection: &Rc<Connection>,
    subscription: &Rc<Subscription>,
    positions: Vec<Position>,
    refused: Option<ErrorCode>,
) {
    subscription.started.set(true);
    let pusher = Pusher {
        connection: Rc::clone(connection),
        subscription: Rc::clone(subscription),
        positions,
        last_error: refused.unwrap_or(ErrorCode::Internal),
    };
    executor::spawn(async move {
        let (connection, id) = (Rc::clone(&pusher.connection), pusher.subscription.id);
        let stop = match executor::catch_panic(pusher.run()).await {
            Ok(stop) => stop,
            Err(_) => Stop::Because(ErrorCode::Internal),
        };
        if let Stop::Because(code) = stop {
            let ended = SubscriptionEnded {
                subscription: id,
                error: Some(code),
            };
            let mut frame = Vec::new();
            ended.encode(&mut frame).expect("the frame is small");
            connection.outbox.push(Answer::of(frame));
        }
        connection.subscriptions.remove(id);
    });
}

/// The task of one subscription.
struct Pusher {
    connection: Rc<Connection>,
    subscription: Rc<Subscription>,
    positions: Vec<Position>,
    /// Why the last partition was dropped.
    last_error: ErrorCode,
}

impl Pusher {
    async fn run(mut self) -> Stop {
        loop {
            if let Err(stop) = self.push_once().await {
                return stop;
            }
        }
    }

    /// One push, or one wait for something to push.
    async fn push_once(&mut self) -> Result<(), Stop> {
        let subscription = Rc::clone(&self.subscription);
        let connection = Rc::clone(&self.connection);
        if self.positions.is_empty() {
            return Err(Stop::Because(self.last_error));
        }
        let has_credit = || subscription.credit.get() > 0;
        subscription
            .unless_stopped(subscription.until(has_credit))
            .await?;
        let leave = connection.subscriptions.leave.acquire(1);
        let leave = subscription.unless_stopped(leave).await?;
        let (limits, reserve) = self.bounds();
        let memory = connection.reserve(reserve);
        let memory = subscription.unless_stopped(memory).await?;
        let parts = self.parts(limits.max_bytes);
        let reads = connection.shard.read(parts.clone(), limits).await;
        if connection.outbox.is_closed() {
            return Err(Stop::Quiet);
        }
        if reads
            .iter()
            .all(|read| matches!(&read.records, Ok(records) if records.is_empty()))
        {
            drop((leave, memory, reads));
            return self.wait_for_more().await;
        }
        self.push(&parts, reads, leave, memory);
        Ok(())
    }

    /// How much one push may carry now, and the memory to reserve for it.
    fn bounds(&self) -> (ReadLimits, usize) {
        let share = response_share(&self.connection);
        let overhead = PUSH_OVERHEAD_BYTES + self.positions.len() * 48;
        let credit = usize::try_from(self.subscription.credit.get()).unwrap_or(0);
        let max_bytes = credit
            .saturating_sub(overhead)
            .min(self.subscription.push_bytes)
            .min(share);
        let limits = ReadLimits {
            max_bytes,
            oversized_first: true,
            format: ReadFormat::Frames,
        };
        let logs = self.positions.iter().map(|position| position.log);
        let largest = largest_batch(&self.connection.shard.image(), logs).min(share);
        (limits, max_bytes.max(largest))
    }

    fn parts(&self, max_bytes: usize) -> Vec<ReadPart> {
        let part = |position: &Position| ReadPart {
            log: position.log,
            offset: position.next,
            max_bytes,
            last_epoch: None,
        };
        self.positions.iter().map(part).collect()
    }

    async fn wait_for_more(&self) -> Result<(), Stop> {
        let ends: Vec<(LogId, Offset)> = self
            .positions
            .iter()
            .map(|position| (position.log, position.next))
            .collect();
        let began = crate::runtime::clock::now();
        let moved = async { self.connection.shard.watch(&ends).await.fired().await };
        self.subscription.unless_stopped(moved).await?;
        if crate::runtime::clock::now().since(began).is_zero() {
            executor::sleep(IDLE_PAUSE).await;
        }
        Ok(())
    }

    /// Queues one push of what was read, moves on, and drops what cannot be read.
    fn push(&mut self, parts: &[ReadPart], reads: Vec<PartRead>, leave: Permit, mut memory: Permit) {
        let probe = self.connection.shard.probe();
        let mut entries: Vec<FetchedEntry> = Vec::new();
        let mut batches = Vec::new();
        let mut kept = Vec::with_capacity(self.positions.len());
        for (part, read) in std::iter::zip(parts, reads) {
            let entry = entry_of(part.log, &read);
            match read.records {
                Ok(records) => {
                    kept.push(Position {
                        log: part.log,
                        next: read.next,
                    });
                    if !records.is_empty() {
                        entries.push(entry);
                        batches.push(records);
                    }
                }
                Err(_) => {
                    self.last_error = entry.error().unwrap_or(ErrorCode::Internal);
                    count(&probe.request_errors, 1);
                    entries.push(entry);
                }
            }
        }
        // The next push begins behind the partitions this one had room for.
        let first = kept.len().min(1);
        kept.rotate_left(first);
        self.positions = kept;
        let bytes: usize = batches.iter().map(Vec::len).sum();
        memory.shrink_to(bytes);
        let mut frame = Vec::new();
        encode_fetched_before(&mut frame, Kind::Push, self.subscription.id, &entries)
            .expect("a push is bounded far below the largest frame");
        let cost = i64::try_from(frame.len() + bytes).unwrap_or(i64::MAX);
        let credit = &self.subscription.credit;
        credit.set(credit.get().saturating_sub(cost));
        count(&probe.bytes_fetched, bytes as u64);
        count(&probe.native_pushes, 1);
        self.connection.outbox.push(Answer {
            batches,
            held: vec![memory, leave],
            ..Answer::of(frame)
        });
    }
}

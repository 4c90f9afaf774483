//! One partition on its owning shard: the log, the producers, who waits for durability, who waits for records.
//!
//! The state machines inside decide; [`super::writer`] and [`super::reader`] do the I/O. Borrows of the cells here never
//! live across an `await`.

use super::calendar::Sightings;
use super::damage::Seen;
use crate::base::{LogId, Offset};
use crate::batch::{BatchHeader, Contents, ProducerInfo};
use crate::broker::producer_state::{Placement, ProducerStamp, ProducerTable};
use crate::broker::topic::Topic;
use crate::runtime::clock::Mono;
use crate::runtime::local::{Budget, Notify};
use crate::shard::request::{Bounds, ProduceError};
use crate::shard::stages::Trace;
use crate::storage::log::{Edition, Log};
use crate::storage::recovery::FrameVisitor;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Positions remembered so that sequential cold readers continue without an index lookup.
const CURSORS: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: LogId,
    pub(crate) topic: RefCell<Arc<Topic>>,
    pub(crate) directory: PathBuf,
    pub(crate) log: RefCell<Log>,
    pub(crate) producers: RefCell<ProducerTable>,
    /// Segments that a wrong clock stamped.
    pub(crate) sightings: RefCell<Sightings>,
    /// Set once the topic is gone; everything waiting is told.
    pub(crate) closed: Cell<bool>,
    /// Set once the disk failed under any log of the process.
    pub(crate) failed: Cell<bool>,
    /// A writer task is running.
    pub(crate) driving: Cell<bool>,
    /// The writer waits for space for the next segment.
    pub(crate) lacks_room: Cell<bool>,
    /// In the shard's list of partitions with cached bytes.
    pub(crate) in_cache_list: Cell<bool>,
    /// In the shard's list of relaxed partitions with bytes to sync, since when, and records since then.
    pub(crate) dirty_since: Cell<Option<Mono>>,
    pub(crate) dirty_records: Cell<u64>,
    /// A sync of this relaxed partition is out.
    pub(crate) syncing: Cell<bool>,
    /// The cleaner met something it cannot read here.
    pub(crate) uncleanable: Cell<bool>,
    /// The last look of a reader at what it could not read that changed nothing: where, and at what.
    pub(crate) vain_look: Cell<Option<(Offset, Seen)>>,
    /// Held by who removes or replaces files of sealed segments, or marks them as damaged.
    pub(crate) upkeep: Budget,
    /// Held by who writes the checkpoint file.
    pub(crate) checkpointing: Budget,
    pub(crate) trace: Trace,
    durable_waiters: RefCell<Vec<(Offset, Waker)>>,
    watchers: RefCell<Vec<Weak<WatchState>>>,
    idle: crate::runtime::local::WakerList,
    cursors: RefCell<[Option<Cursor>; CURSORS]>,
    next_cursor: Cell<usize>,
}

/// Where a cold reader stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cursor {
    pub(crate) segment: Offset,
    pub(crate) edition: Edition,
    pub(crate) offset: Offset,
    pub(crate) position: u64,
}

/// One waiter for records on any number of partitions.
#[derive(Debug, Default)]
pub(crate) struct WatchState {
    pub(crate) fired: Cell<bool>,
    pub(crate) notify: Notify,
    /// Called instead of waking a local task: the watch belongs to another shard.
    pub(crate) remote: Option<RemoteWatch>,
}

/// Whom to tell about a watch that another shard holds.
#[derive(Debug)]
pub(crate) struct RemoteWatch {
    pub(crate) outbox: Weak<super::watch::Outbox>,
    pub(crate) peer: crate::runtime::mesh::Peer,
    pub(crate) id: super::request::WatchId,
}

impl WatchState {
    pub(crate) fn fire(&self) {
        if self.fired.replace(true) {
            return;
        }
        self.notify.notify();
        if let Some(remote) = &self.remote
            && let Some(outbox) = remote.outbox.upgrade()
        {
            outbox.fired(remote.peer, remote.id);
        }
    }

    pub(crate) fn has_fired(&self) -> bool {
        self.fired.get()
    }
}

impl Partition {
    pub(crate) fn new(topic: Arc<Topic>, directory: PathBuf, log: Log, producers: ProducerTable) -> Rc<Self> {
        Rc::new(Self {
            id: log.id(),
            topic: RefCell::new(topic),
            directory,
            log: RefCell::new(log),
            producers: RefCell::new(producers),
            sightings: RefCell::default(),
            closed: Cell::new(false),
            failed: Cell::new(false),
            driving: Cell::new(false),
            lacks_room: Cell::new(false),
            in_cache_list: Cell::new(false),
            dirty_since: Cell::new(None),
            dirty_records: Cell::new(0),
            syncing: Cell::new(false),
            uncleanable: Cell::new(false),
            vain_look: Cell::new(None),
            upkeep: Budget::new(1),
            checkpointing: Budget::new(1),
            trace: Trace::default(),
            durable_waiters: RefCell::new(Vec::new()),
            watchers: RefCell::new(Vec::new()),
            idle: crate::runtime::local::WakerList::default(),
            cursors: RefCell::new([None; CURSORS]),
            next_cursor: Cell::new(0),
        })
    }

    /// What readers are told about the partition.
    pub(crate) fn bounds(&self) -> Bounds {
        let log = self.log.borrow();
        Bounds {
            log_start: log.start(),
            high_watermark: log.visible(),
            epoch: log.epoch(),
        }
    }

    /// Waits until everything below `end` is as safe as the topic promises.
    pub(crate) async fn settled(&self, end: Offset) -> Result<(), ProduceError> {
        poll_fn(|cx| {
            // A failed disk comes first: what it completed before it failed may be acked, nothing after.
            if self.log.borrow().visible() >= end {
                return Poll::Ready(Ok(()));
            }
            if self.failed.get() {
                return Poll::Ready(Err(ProduceError::Storage));
            }
            if self.closed.get() {
                return Poll::Ready(Err(ProduceError::UnknownPartition));
            }
            let mut waiters = self.durable_waiters.borrow_mut();
            if !waiters
                .iter()
                .any(|(at, waker)| *at == end && waker.will_wake(cx.waker()))
            {
                waiters.push((end, cx.waker().clone()));
            }
            Poll::Pending
        })
        .await
    }

    /// Wakes whoever waits for what is visible now.
    pub(crate) fn wake_settled(&self) {
        let visible = self.log.borrow().visible();
        let everyone = self.failed.get() || self.closed.get();
        self.durable_waiters.borrow_mut().retain(|(end, waker)| {
            let wake = everyone || *end <= visible;
            if wake {
                waker.wake_by_ref();
            }
            !wake
        });
    }

    /// Adds a watcher; the caller has checked that it should not fire at once.
    pub(crate) fn watch(&self, watch: &Rc<WatchState>) {
        let mut watchers = self.watchers.borrow_mut();
        watchers.retain(|known| known.strong_count() > 0);
        watchers.push(Rc::downgrade(watch));
    }

    /// Fires every watcher.
    pub(crate) fn fire_watchers(&self) {
        if self.watchers.borrow().is_empty() {
            return;
        }
        let watchers = std::mem::take(&mut *self.watchers.borrow_mut());
        for watch in watchers.iter().filter_map(Weak::upgrade) {
            watch.fire();
        }
    }

    /// Ends the partition: waiters are told, the writer stops after what is in flight.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.wake_settled();
        self.fire_watchers();
    }

    /// The disk failed: nothing more is acknowledged.
    pub(crate) fn fail(&self) {
        self.failed.set(true);
        self.wake_settled();
        self.fire_watchers();
    }

    /// Waits until no I/O of this partition is in flight.
    pub(crate) async fn quiet(&self) {
        poll_fn(|cx| {
            if !self.driving.get() && !self.syncing.get() {
                return Poll::Ready(());
            }
            self.idle.register(cx.waker());
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn wake_quiet(&self) {
        self.idle.wake_all();
    }

    /// Where a sequential reader of `offset` left off.
    pub(crate) fn cursor(&self, segment: Offset, edition: Edition, offset: Offset) -> Option<u64> {
        let cursors = self.cursors.borrow();
        let found = cursors
            .iter()
            .flatten()
            .find(|cursor| (cursor.segment, cursor.edition, cursor.offset) == (segment, edition, offset));
        found.map(|cursor| cursor.position)
    }

    pub(crate) fn remember(&self, cursor: Cursor) {
        let next = self.next_cursor.get();
        self.cursors.borrow_mut()[next] = Some(cursor);
        self.next_cursor.set((next + 1) % CURSORS);
    }
}

/// The sequence table's view of a batch's producer.
pub(crate) fn stamp(producer: ProducerInfo) -> ProducerStamp {
    ProducerStamp {
        id: producer.id,
        epoch: producer.epoch,
        base_sequence: producer.base_sequence,
    }
}

/// Rebuilds the producers while recovery scans.
#[derive(Debug, Default)]
pub(crate) struct ProducerVisitor(pub(crate) ProducerTable);

impl FrameVisitor for ProducerVisitor {
    fn restore(&mut self, snapshot: &[u8]) {
        self.0 = ProducerTable::decode(snapshot).unwrap_or_default();
    }

    fn frame(&mut self, header: &BatchHeader) {
        // A cleaned frame covers other offsets than its producer's batch did; the index file beside it knows the producers.
        let stamp = header.producer.map(stamp);
        if let Some(stamp) = stamp.filter(|_| header.contents == Contents::AsAppended) {
            let placement = Placement {
                base_offset: header.base_offset,
                last_offset: Offset::new(header.end_offset().get() - 1),
                timestamp: header.max_timestamp,
            };
            self.0
                .record(stamp, header.record_count, placement, header.append_time);
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.encode()
    }
}

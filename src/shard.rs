//! The shard room: one pinned core, what it owns, and how requests reach the core that owns what they need.
//!
//! A [`Shard`] is the whole of a core's state. Nothing in it is shared, locked or atomic; other threads reach it through
//! the mesh ([`request`]) and nowhere else. The doors (`protocol`) call the methods of [`router`]: they split a request by
//! owner, serve the local part at once, and send one message per other core for the rest.
//!
//! **Invariants.** Only the owner touches a partition ([`crate::broker::placement::owner`]). Batches of one connection are
//! appended in the order its requests arrived: the first stage of a produce ends only when every part was appended
//! locally or put into the ring of its owner. An ack leaves only after the owner saw the durable end pass the batch.

mod append;
#[cfg(test)]
pub(crate) mod audit;
mod calendar;
mod cleaner;
pub mod coordinator;
mod damage;
mod housekeeping;
pub mod inspect;
mod mailbox;
pub mod numbers;
mod offsets;
mod partition;
mod producers;
mod reader;
pub mod request;
mod request_budget;
pub mod router;
mod scrub;
pub mod stages;
mod topics;
mod trim;
pub mod watch;
mod writer;

pub use append::PendingProduce;
pub use cleaner::CleanerConfig;
pub use mailbox::ShardStats;
pub use request_budget::RequestBudget;
pub use scrub::ScrubConfig;

use crate::base::hash::HashMap;
use crate::base::{LeaderEpoch, LogId, ShardId};
use crate::broker::image::Image;
use crate::broker::placement::owner;
use crate::runtime::buffer::Arena;
use crate::runtime::disk::{DiskRing, WriteSync};
use crate::runtime::local::{Budget, Notify, WakerList};
use crate::runtime::mesh::{Peer, Port};
use crate::storage::error::is_failure;
use crate::storage::layout::DataDir;
use crate::storage::marker::CleanEnd;
use crate::storage::pool::Pool;
use partition::Partition;
use request::Message;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A broker as Kafka clients see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Kafka's node id.
    pub id: i32,
    /// Host clients connect to.
    pub host: String,
    /// Port Kafka clients connect to.
    pub port: u16,
    /// Port native clients connect to; 0 where there is no native door.
    pub native_port: u16,
}

/// Whether each core is a broker of its own to the outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advertise {
    /// A node and a port per shard: clients connect to the owner of each partition.
    PerCore,
    /// One node, one port; requests for other cores cross the rings.
    Single,
}

/// What clients are told about the cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Constant over the life of the data directory.
    pub id: String,
    /// One per shard, node id = shard index; or exactly one with id 0.
    pub nodes: Vec<Node>,
    /// Which of the two.
    pub advertise: Advertise,
    /// Shards of this process.
    pub shards: u16,
}

impl Cluster {
    /// The node that leads `log`.
    #[must_use]
    pub fn leader_node(&self, log: LogId) -> &Node {
        match self.advertise {
            Advertise::Single => &self.nodes[0],
            Advertise::PerCore => &self.nodes[usize::from(owner(log, self.shards).get())],
        }
    }
}

/// Bounds and habits of the doors.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    /// Largest request frame.
    pub max_frame_bytes: usize,
    /// A connection without a request for this long is closed.
    pub idle_timeout: Duration,
    /// A frame must arrive within this once it began.
    pub frame_timeout: Duration,
    /// Requests of one connection under way at once.
    pub in_flight_max: usize,
    /// Whether a Metadata request may create topics.
    pub auto_create_topics: bool,
    /// Partitions of a topic that does not say.
    pub num_partitions: u32,
}

/// Plain counters of one shard, read by the control thread through a message.
#[derive(Debug, Default)]
pub struct Probe {
    /// Connections open now.
    pub connections_open: Cell<u64>,
    /// Connections accepted.
    pub connections_total: Cell<u64>,
    /// Connections refused at the limit.
    pub connections_refused: Cell<u64>,
    /// Requests answered or dropped.
    pub requests_total: Cell<u64>,
    /// Of these, native ones.
    pub native_requests: Cell<u64>,
    /// Pushes to native subscriptions.
    pub native_pushes: Cell<u64>,
    /// Produce requests.
    pub produce_requests: Cell<u64>,
    /// Fetch requests.
    pub fetch_requests: Cell<u64>,
    /// Records accepted from clients.
    pub records_produced: Cell<u64>,
    /// Bytes of batches accepted from clients.
    pub bytes_produced: Cell<u64>,
    /// Bytes of batches sent to clients.
    pub bytes_fetched: Cell<u64>,
    /// Requests that could not be answered as asked.
    pub request_errors: Cell<u64>,
    /// Writes to segments.
    pub writes: Cell<u64>,
    /// Reads from segments.
    pub cold_reads: Cell<u64>,
    /// Messages to other shards.
    pub hops: Cell<u64>,
    /// Reads that met damaged bytes.
    pub damaged_reads: Cell<u64>,
    /// Passes of the cleaner that ended.
    pub compaction_passes: Cell<u64>,
    /// Bytes it read.
    pub compaction_read_bytes: Cell<u64>,
    /// Bytes it wrote.
    pub compaction_written_bytes: Cell<u64>,
    /// Records it removed.
    pub compaction_removed_records: Cell<u64>,
    /// How long its last pass took, in milliseconds.
    pub compaction_last_ms: Cell<u64>,
    /// Bytes the scrub read.
    pub scrub_bytes: Cell<u64>,
    /// Passes of the scrub over all logs that ended.
    pub scrub_passes: Cell<u64>,
    /// Damaged ranges the scrub found.
    pub scrub_damaged: Cell<u64>,
    /// Where the time of batches and reads goes.
    pub stages: stages::StageLedger,
    /// From a complete Produce frame to its answer handed to the socket, durability included.
    pub produce_latency: Latency,
    /// One write to a segment, durable unless the topic is relaxed.
    pub write_latency: Latency,
}

/// How long something took, on one shard: 1 us to [`Latency::MAX`], two significant digits, fixed memory (about 20 KiB).
#[derive(Debug)]
pub struct Latency(RefCell<hdrhistogram::Histogram<u64>>);

impl Latency {
    /// Longer ones count as this.
    pub const MAX: Duration = Duration::from_secs(60);

    /// Adds one.
    pub fn record(&self, took: Duration) {
        let took_us = u64::try_from(took.min(Self::MAX).as_micros()).unwrap_or(u64::MAX);
        self.0.borrow_mut().saturating_record(took_us);
    }

    /// Everything recorded so far.
    #[must_use]
    pub fn snapshot(&self) -> hdrhistogram::Histogram<u64> {
        self.0.borrow().clone()
    }
}

impl Default for Latency {
    fn default() -> Self {
        let bounds = hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 2);
        Self(RefCell::new(bounds.expect("the bounds are constants that fit")))
    }
}

/// Adds to a counter.
pub fn count(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// Called when the disk failed; must not return for long, the process is to stop.
pub type FatalSink = Arc<dyn Fn(String) + Send + Sync>;

/// Everything a shard is told at its start.
pub struct ShardConfig {
    /// Its number.
    pub id: ShardId,
    /// What clients are told.
    pub cluster: Cluster,
    /// Bounds of the doors.
    pub limits: DoorLimits,
    /// The data directory.
    pub data: DataDir,
    /// Memory budget in bytes: half for tails and cold reads, a quarter each for requests and responses.
    pub memory_bytes: usize,
    /// How writes are made durable.
    pub write_sync: WriteSync,
    /// Ready segments kept per size.
    pub pool_depth: usize,
    /// Ready segments found on disk for this shard.
    pub pool_found: Vec<(u64, PathBuf)>,
    /// Metadata at start.
    pub image: Arc<Image>,
    /// Where logs ended, after a clean stop.
    pub clean: Option<Arc<HashMap<LogId, CleanEnd>>>,
    /// How often retention looks.
    pub retention_check_interval: Duration,
    /// Idempotent producers silent for this long are forgotten.
    pub producer_expiration: Duration,
    /// Bounds of the cleaner.
    pub cleaner: CleanerConfig,
    /// When and how fast sealed segments are read again.
    pub scrub: ScrubConfig,
    /// What there is to know about groups.
    pub groups: coordinator::GroupSettings,
    /// Whom to tell when the disk failed.
    pub fatal: FatalSink,
}

impl std::fmt::Debug for ShardConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardConfig")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A core's state. Always behind an `Rc`; never leaves its thread.
pub struct Shard {
    id: ShardId,
    cluster: Cluster,
    limits: DoorLimits,
    data: DataDir,
    write_sync: WriteSync,
    producer_expiration: Duration,
    calendar: Cell<crate::broker::calendar::Calendar>,
    /// Idempotent producers in all logs, and how many may be.
    producers_known: Cell<usize>,
    producers_max: usize,
    retention_check_interval: Duration,
    fatal: FatalSink,
    arena: Arena,
    disk: DiskRing,
    pool: Pool,
    port: Rc<Port<Message>>,
    calls: router::Calls,
    outbox: Rc<watch::Outbox>,
    image: RefCell<Arc<Image>>,
    partitions: RefCell<HashMap<LogId, Rc<Partition>>>,
    request_budget: RequestBudget,
    response_budget: Budget,
    probe: Probe,
    stopping: Cell<bool>,
    stop_waiters: WakerList,
    /// The logs are being settled for a stop; nothing more is appended.
    sealed: Cell<bool>,
    failed: Cell<bool>,
    /// Free space is below the floor, as the control thread sees it.
    below_floor: Cell<bool>,
    /// Partitions that wait for space for a segment.
    without_room: Cell<u32>,
    /// Held by the one append that waits for memory; others queue behind it, so order is kept.
    append_gate: Budget,
    memory_freed: WakerList,
    /// Partitions with cached bytes, oldest use first.
    cached: RefCell<VecDeque<Rc<Partition>>>,
    /// Relaxed partitions with bytes to sync.
    dirty: RefCell<Vec<Rc<Partition>>>,
    dirty_work: Notify,
    cold: reader::ColdReads,
    cleaner: CleanerConfig,
    pace: cleaner::Pace,
    scrub: ScrubConfig,
    scrub_pace: cleaner::Pace,
    producer_ids: RefCell<std::ops::Range<i64>>,
    groups: coordinator::Groups,
    /// Leader epochs of all logs of the broker that are led with another epoch than the first.
    epochs: RefCell<Arc<HashMap<LogId, LeaderEpoch>>>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// Builds the shard on its own thread: opens the partitions it owns (blocking, before anybody is served) and starts
    /// its tasks.
    ///
    /// # Errors
    /// Refused memory or a log that cannot be opened.
    pub fn start(config: ShardConfig, port: Port<Message>) -> Result<Rc<Self>, crate::storage::Error> {
        let here = Path::new("buffers");
        let arena =
            Arena::new(config.memory_bytes / 2).map_err(crate::storage::Error::io("map memory for", here))?;
        let disk = DiskRing::here();
        let pool = Pool::start(
            config.data.pool(),
            disk.clone(),
            &arena,
            config.pool_depth,
            config.pool_found,
        );
        let port = Rc::new(port);
        let groups = coordinator::Groups::new(
            config.groups,
            config.memory_bytes,
            coordinator::start_outbox(&port),
        );
        let shard = Rc::new(Self {
            id: config.id,
            cluster: config.cluster,
            limits: config.limits,
            data: config.data,
            write_sync: config.write_sync,
            producer_expiration: config.producer_expiration,
            calendar: Cell::new(calendar::begin()),
            producers_known: Cell::new(0),
            producers_max: producers::most(config.memory_bytes),
            retention_check_interval: config.retention_check_interval,
            cleaner: config.cleaner,
            pace: cleaner::Pace::default(),
            scrub: config.scrub,
            scrub_pace: cleaner::Pace::default(),
            fatal: config.fatal,
            outbox: watch::Outbox::start(Rc::clone(&port)),
            cold: reader::ColdReads::new(arena.len_bytes()),
            arena,
            disk,
            pool,
            port,
            calls: router::Calls::default(),
            image: RefCell::new(Arc::new(Image::default())),
            partitions: RefCell::new(HashMap::default()),
            request_budget: RequestBudget::new(config.memory_bytes / 4),
            response_budget: Budget::new(config.memory_bytes / 4),
            probe: Probe::default(),
            stopping: Cell::new(false),
            stop_waiters: WakerList::default(),
            sealed: Cell::new(false),
            failed: Cell::new(false),
            below_floor: Cell::new(false),
            without_room: Cell::new(0),
            append_gate: Budget::new(1),
            memory_freed: WakerList::default(),
            cached: RefCell::new(VecDeque::new()),
            dirty: RefCell::new(Vec::new()),
            dirty_work: Notify::default(),
            producer_ids: RefCell::new(0..0),
            groups,
            epochs: RefCell::default(),
        });
        shard.open_owned(&config.image, config.clean.as_deref())?;
        shard.count_producers();
        shard.start_calendar();
        mailbox::start(&shard);
        housekeeping::start(&shard);
        cleaner::start(&shard);
        scrub::start(&shard);
        coordinator::start(&shard);
        Ok(shard)
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The metadata now.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.borrow())
    }

    /// What clients are told.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Bounds of the doors.
    #[must_use]
    pub fn limits(&self) -> &DoorLimits {
        &self.limits
    }

    /// Bytes of request frames; reserve before reading a body.
    #[must_use]
    pub fn request_budget(&self) -> &RequestBudget {
        &self.request_budget
    }

    /// Bytes of responses; reserve before reading records.
    #[must_use]
    pub fn response_budget(&self) -> &Budget {
        &self.response_budget
    }

    /// Counters.
    #[must_use]
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Whether a stop was asked for.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Resolves once the shard is stopping.
    #[must_use]
    pub fn stop_signal(self: &Rc<Self>) -> StopSignal {
        StopSignal(Rc::clone(self))
    }

    /// The logs this shard owns that are led with another epoch than the first. Epochs change at a start only.
    #[must_use]
    pub fn own_epochs(&self) -> Vec<(LogId, LeaderEpoch)> {
        let partitions = self.partitions.borrow();
        let epochs = partitions
            .values()
            .map(|partition| (partition.id, partition.log.borrow().epoch()));
        epochs.filter(|(_, epoch)| *epoch != LeaderEpoch::ZERO).collect()
    }

    /// Tells the shard what all of them said, before it serves anybody.
    pub fn set_epochs(&self, epochs: Arc<HashMap<LogId, LeaderEpoch>>) {
        *self.epochs.borrow_mut() = epochs;
    }

    /// The epoch any log of the broker is led with.
    #[must_use]
    pub fn leader_epoch(&self, log: LogId) -> LeaderEpoch {
        self.epochs
            .borrow()
            .get(&log)
            .copied()
            .unwrap_or(LeaderEpoch::ZERO)
    }

    fn owner_of(&self, log: LogId) -> ShardId {
        owner(log, self.cluster.shards)
    }

    fn control_peer(&self) -> Peer {
        Peer::new(self.cluster.shards)
    }

    fn partition(&self, log: LogId) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&log).cloned()
    }

    /// A file that logs can do without could not be written. What passes is only told. A disk that failed is the end, whichever
    /// file met it: a flush that failed may have dropped what was written for others.
    fn upkeep_failed(&self, action: &'static str, path: &Path, error: &io::Error) {
        if is_failure(error) {
            self.disk_failed(action, path, error);
        } else {
            tracing::warn!(%error, path = %path.display(), "cannot {action}; going on without");
        }
    }

    /// The disk refused a write, a sync or a name: nothing more is acknowledged, and the process stops.
    fn disk_failed(&self, action: &'static str, path: &Path, error: &io::Error) {
        if self.failed.replace(true) {
            return;
        }
        tracing::error!(%error, path = %path.display(), "cannot {action}; stopping, nothing unsynced was acknowledged");
        for partition in self.partitions.borrow().values() {
            partition.fail();
        }
        self.memory_freed.wake_all();
        (self.fatal)(format!("cannot {action} {}: {error}", path.display()));
    }
}

/// See [`Shard::stop_signal`].
#[derive(Debug)]
pub struct StopSignal(Rc<Shard>);

impl StopSignal {
    /// Waits for the stop.
    pub async fn wait(&self) {
        poll_fn(|cx| {
            if self.0.stopping.get() {
                return Poll::Ready(());
            }
            self.0.stop_waiters.register(cx.waker());
            Poll::Pending
        })
        .await;
    }
}

//! From a configuration to a serving broker, and back to nothing, in order.
//!
//! **Start.** Check the configuration and the machine; lock the data directory; open the catalogue; take the clean-stop
//! marker; take every port; start the shards, each of which opens its logs before it reports; only when all are ready does
//! any accept. Whatever fails before that is one clear error and nothing listens.
//!
//! **End.** First signal: shards stop accepting, connections finish, logs settle, the marker is written, exit 0. Second
//! signal: exit at once ([`EXIT_SECOND_SIGNAL`]); the next start recovers. A disk that fails: what was pending is answered
//! with a storage error, exit [`EXIT_DISK_FAILED`], which is also how a start ends on a disk that fails. A shard that panics: exit [`EXIT_SHARD_PANICKED`].

use super::admin::{self, NodeFacts};
use super::banner::{BannerFacts, banner};
use super::catalog::{Catalog, make_places};
use super::checks;
use super::config::{self, Config};
use super::control::Control;
use super::kafka_names;
use super::lock::{DataLock, LockWatch};
use super::{ServeError, checks::Report};
use crate::base::{LeaderEpoch, LogId, ShardId};
use crate::protocol::door::ConnectionLimit;
use crate::protocol::{kafka, native};
use crate::runtime::clock::{self, Mono};
use crate::runtime::disk::WriteSync;
use crate::runtime::executor::{self, PollMode, ShardOptions};
use crate::runtime::mesh::{Mesh, Port};
use crate::runtime::net::BoundSocket;
use crate::shard::coordinator::GroupSettings;
use crate::shard::request::Message;
use crate::shard::{
    Advertise, CleanerConfig, Cluster, DoorLimits, FatalSink, Node, ScrubConfig, Shard, ShardConfig,
};
use crate::storage::layout::DataDir;
use crate::storage::{Error as StorageError, marker, pool};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Exit status after the disk failed, in service or at a start (`EX_IOERR` of `sysexits.h`).
pub const EXIT_DISK_FAILED: u8 = 74;
/// Exit status after a panic on a shard thread (`EX_SOFTWARE`).
pub const EXIT_SHARD_PANICKED: u8 = 70;
/// Exit status after a second signal during a graceful stop.
pub const EXIT_SECOND_SIGNAL: u8 = 130;

/// Open files that connections leave to the log, or half of all where there are fewer than twice as many.
const FILES_RESERVED: u64 = 1024;

/// Time shards get to answer pending requests with a storage error before the process exits.
const FAILED_DISK_GRACE: Duration = Duration::from_millis(200);

/// How long a taken port is tried again at start, and how often.
const BIND_PATIENCE: Duration = Duration::from_secs(3);
/// See [`BIND_PATIENCE`].
const BIND_RETRY: Duration = Duration::from_millis(10);

/// Polling below this many cores takes time from the clients beside the broker.
const CORES_FOR_POLLING: usize = 4;

/// Leader epochs of logs, from all shards.
type Epochs = Arc<crate::base::hash::HashMap<LogId, LeaderEpoch>>;

enum Event {
    ShardReady(Result<Vec<(LogId, LeaderEpoch)>, StorageError>),
    DiskFailed(String),
    ShardEnded(String),
}

/// Runs a broker until it is told to stop.
///
/// # Errors
/// Whatever keeps it from serving. After it served, only a clean stop returns; every other end exits the process.
pub fn serve(config: &Config) -> Result<(), ServeError> {
    let begun = clock::now();
    let problems = config.check();
    if !problems.is_empty() {
        return Err(ServeError::Config(problems));
    }
    let allowed = crate::runtime::affinity::allowed_cores().map_err(ServeError::Runtime)?;
    let cores = config
        .shard_cores(&allowed)
        .map_err(|problem| ServeError::Config(vec![problem]))?;
    let problems = config.check_ports(cores.len());
    if !problems.is_empty() {
        return Err(ServeError::Config(problems));
    }
    let data = DataDir::new(&config.data_dir);
    std::fs::create_dir_all(data.root()).map_err(StorageError::io("create", data.root()))?;
    let report = checks::run(config, cores.len()).map_err(ServeError::Checks)?;
    make_places(&data)?;
    let lock = DataLock::take(&data)?;
    let open_files = raise_open_files();
    let watch = lock.watch(&data)?;
    let broker = kafka_names::broker_config(config, cores.len());
    let catalog = Catalog::open(&data, broker, config.kafka.num_partitions)?;
    let sockets = Sockets::bind(config, cores.len())?;
    let clean = marker::take(&data.marker())?.map(Arc::new);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let start = Start {
        config,
        data,
        cores,
        report,
        catalog,
        sockets,
        clean,
        begun,
        watch,
        open_files,
    };
    let stopped = tokio::task::LocalSet::new().block_on(&runtime, start.run());
    drop(lock);
    stopped
}

struct Start<'a> {
    config: &'a Config,
    data: DataDir,
    cores: Vec<usize>,
    report: Report,
    catalog: Catalog,
    sockets: Sockets,
    clean: Option<Arc<crate::base::hash::HashMap<LogId, marker::CleanEnd>>>,
    begun: Mono,
    watch: LockWatch,
    /// How many files the process may have open.
    open_files: Option<u64>,
}

impl Start<'_> {
    async fn run(mut self) -> Result<(), ServeError> {
        let (events, mut happened) = mpsc::unbounded_channel();
        let shards = u16::try_from(self.cores.len()).expect("the configuration bounds the shards");
        let mut ports: Vec<Port<Message>> = Mesh::new(usize::from(shards) + 1);
        let control_port = ports.pop().expect("the mesh has a port for the control thread");
        let cluster = self.cluster(shards);
        let connections = connections_max(self.config.kafka.max_connections, self.open_files);
        let connections = ConnectionLimit::new(Arc::default(), connections);
        let mut found = pool::scan_directory(&self.data.pool())?;
        let image = self.catalog.image();
        let mut starters = Vec::new();
        for (index, port) in (0..shards).zip(ports) {
            let share = found.len().div_ceil(usize::from(shards - index));
            let shard = self.shard_config(
                index,
                &cluster,
                Arc::clone(&image),
                &events,
                found.split_off(found.len() - share),
            );
            starters.push(self.spawn_shard(index, shard, port, connections.clone(), events.clone())?);
        }
        let image_topics = image.topics().len();
        let partitions = image.partition_count();
        let catalog = self.catalog;
        let control = Control::start(
            control_port,
            shards,
            catalog,
            self.data.clone(),
            self.config.log.min_free_bytes.get(),
            Box::new({
                let watch = self.watch;
                move || watch.loss()
            }),
            fatal_sink(&events),
        );
        let mut epochs = crate::base::hash::HashMap::default();
        for _ in 0..shards {
            match happened.recv().await {
                Some(Event::ShardReady(Ok(own))) => epochs.extend(own),
                Some(Event::ShardReady(Err(error))) => return Err(ServeError::ShardStorage(error)),
                Some(Event::ShardEnded(problem)) => return Err(ServeError::Shard(problem)),
                Some(Event::DiskFailed(problem)) => exit_after(EXIT_DISK_FAILED, &problem).await,
                None => return Err(ServeError::Shard("the shards ended".to_owned())),
            }
        }
        let damaged = control
            .stats()
            .await
            .map_or(0, |stats| stats.iter().map(|s| s.damaged_partitions).sum());
        let kafka = self.sockets.kafka.base;
        let per_core = self.sockets.kafka.per_core.clone();
        let native = self.sockets.native.as_ref().map(|native| native.base);
        let native_per_core = match &self.sockets.native {
            Some(native) => native.per_core.clone(),
            None => Vec::new(),
        };
        let admin_address = self.sockets.admin_address;
        let admin_listener =
            tokio::net::TcpListener::from_std(self.sockets.admin).map_err(ServeError::Runtime)?;
        let facts = NodeFacts {
            version: env!("CARGO_PKG_VERSION"),
            cluster_id: cluster.id.clone(),
            data_dir: self.data.root().display().to_string(),
            durability: format!("durable({})", self.config.runtime.write_sync),
            advertise: self.config.kafka.advertise.to_string(),
            kafka: kafka.to_string(),
            kafka_per_core: per_core.iter().map(ToString::to_string).collect(),
            native: native.map(|native| native.to_string()),
            native_per_core: native_per_core.iter().map(ToString::to_string).collect(),
            cores: self.cores.clone(),
            memory_bytes: self.config.memory.get(),
        };
        let begun = self.begun;
        let epochs = Arc::new(epochs);
        for starter in starters {
            // A shard that ended meanwhile is reported by its own event.
            let _ended = starter.send(Arc::clone(&epochs));
        }
        admin::start(admin_listener, facts, std::rc::Rc::clone(&control), move || {
            clock::now().since(begun)
        });
        let relaxed = image
            .topics()
            .filter(|topic| topic.settings.log.durability == crate::storage::log::Durability::Relaxed);
        eprint(&banner(&BannerFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready_after: clock::now().since(begun),
            kafka,
            kafka_per_core: per_core,
            native,
            native_per_core,
            advertise: self.config.kafka.advertise,
            advertised_host: self.config.advertised_host(),
            admin: admin_address,
            data_dir: self.config.data_dir.clone(),
            disk: self.report.data_dir.clone(),
            write_sync: self.config.runtime.write_sync,
            relaxed_topics: relaxed.count(),
            cores: self.cores.clone(),
            memory: self.config.memory,
            topics: image_topics,
            partitions: usize::try_from(partitions).unwrap_or(usize::MAX),
            damaged_partitions: usize::try_from(damaged).unwrap_or(usize::MAX),
            warnings: self.report.warnings.clone(),
        }));
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Runtime)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            event = happened.recv() => match end_badly(event).await {},
        }
        tracing::info!("stopping; a second signal stops at once");
        let stop = async {
            let ends = control.stop().await;
            write_marker(&self.data, &ends)
        };
        tokio::select! {
            written = stop => written?,
            _ = terminate.recv() => exit_after(EXIT_SECOND_SIGNAL, "second signal").await,
            _ = interrupt.recv() => exit_after(EXIT_SECOND_SIGNAL, "second signal").await,
            event = happened.recv() => match end_badly(event).await {},
        }
        // A log that could not be settled was left out of the marker, and this says why.
        if let Ok(event) = happened.try_recv() {
            match end_badly(Some(event)).await {}
        }
        tracing::info!("stopped cleanly");
        Ok(())
    }

    fn cluster(&self, shards: u16) -> Cluster {
        let host = self.config.advertised_host();
        let native = self.sockets.native.as_ref();
        let (advertise, nodes) = match self.config.kafka.advertise {
            config::Advertise::Single => (
                Advertise::Single,
                vec![Node {
                    id: 0,
                    host,
                    port: self.sockets.kafka.base.port(),
                    native_port: native.map_or(0, |native| native.base.port()),
                }],
            ),
            config::Advertise::PerCore => {
                let node = |(index, address): (usize, &SocketAddr)| Node {
                    id: i32::try_from(index).expect("few shards"),
                    host: host.clone(),
                    port: address.port(),
                    native_port: native.map_or(0, |native| native.per_core[index].port()),
                };
                (
                    Advertise::PerCore,
                    self.sockets.kafka.per_core.iter().enumerate().map(node).collect(),
                )
            }
        };
        Cluster {
            id: self.catalog.cluster_id().to_owned(),
            nodes,
            advertise,
            shards,
        }
    }

    fn shard_config(
        &self,
        index: u16,
        cluster: &Cluster,
        image: Arc<crate::broker::image::Image>,
        events: &mpsc::UnboundedSender<Event>,
        pool_found: Vec<(u64, std::path::PathBuf)>,
    ) -> ShardConfig {
        let config = self.config;
        ShardConfig {
            id: ShardId::new(index),
            cluster: cluster.clone(),
            limits: DoorLimits {
                max_frame_bytes: as_usize(config.frame_bytes_max().get()),
                idle_timeout: config.kafka.idle_timeout.get(),
                frame_timeout: config.kafka.frame_timeout.get(),
                in_flight_max: config.kafka.in_flight_max as usize,
                auto_create_topics: config.kafka.auto_create_topics,
                num_partitions: config.kafka.num_partitions,
            },
            data: self.data.clone(),
            memory_bytes: as_usize(config.memory.get()),
            write_sync: match config.runtime.write_sync {
                config::WriteSync::Dsync => WriteSync::Dsync,
                config::WriteSync::Link => WriteSync::Link,
            },
            pool_depth: config.log.pool_segments as usize,
            pool_found,
            image,
            clean: self.clean.clone(),
            retention_check_interval: config.log.retention_check_interval.get(),
            producer_expiration: config.log.producer_id_expiration.get(),
            cleaner: CleanerConfig {
                check_interval: config.compaction.check_interval.get(),
                memory_bytes: as_usize(config.compaction.memory_bytes.get()),
                bytes_per_second: config
                    .compaction
                    .bytes_per_second
                    .0
                    .map(crate::base::units::ByteSize::get),
            },
            scrub: ScrubConfig {
                interval: Some(config.scrub.interval.get()).filter(|interval| !interval.is_zero()),
                // Each shard has its part of the broker's budget.
                bytes_per_second: config
                    .scrub
                    .bytes_per_second
                    .0
                    .map(|bytes| bytes.get().div_ceil(u64::from(cluster.shards.max(1)))),
            },
            groups: group_settings(&config.group),
            fatal: fatal_sink(events),
        }
    }

    /// Starts one shard thread. It reports readiness and then waits for the returned sender before it accepts.
    fn spawn_shard(
        &mut self,
        index: u16,
        shard: ShardConfig,
        port: Port<Message>,
        connections: ConnectionLimit,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<tokio::sync::oneshot::Sender<Epochs>, ServeError> {
        let options = ShardOptions {
            name: format!("shard-{index}"),
            core: self.cores[usize::from(index)],
            poll: poll_mode(self.config, self.cores.len()),
        };
        let (kafka, native) = self.sockets.take(usize::from(index));
        let (start, started) = tokio::sync::oneshot::channel();
        let ready = events.clone();
        let thread = executor::spawn_shard(&options, move || async move {
            let shard = match Shard::start(shard, port) {
                Ok(shard) => {
                    let _ended = ready.send(Event::ShardReady(Ok(shard.own_epochs())));
                    shard
                }
                Err(error) => {
                    let _ended = ready.send(Event::ShardReady(Err(error)));
                    return;
                }
            };
            let Ok(epochs) = executor::from_afar(started).await else {
                return;
            };
            shard.set_epochs(epochs);
            for socket in kafka {
                let (listener, shard) = (socket.into_listener(), std::rc::Rc::clone(&shard));
                executor::spawn(kafka::door::serve(listener, shard, connections.clone()));
            }
            for socket in native {
                let (listener, shard) = (socket.into_listener(), std::rc::Rc::clone(&shard));
                executor::spawn(native::door::serve(listener, shard, connections.clone()));
            }
            // The thread serves until the process ends.
            std::future::pending::<()>().await;
        })
        .map_err(ServeError::Runtime)?;
        executor::spawn_thread(&format!("watch-{index}"), move || {
            let problem = match thread.join() {
                Ok(()) => return,
                Err(error) => format!("shard {index} ended: {error}"),
            };
            let _ended = events.send(Event::ShardEnded(problem));
        })
        .map_err(ServeError::Runtime)?;
        Ok(start)
    }
}

/// Tells the control thread that the disk failed.
fn fatal_sink(events: &mpsc::UnboundedSender<Event>) -> FatalSink {
    let events = events.clone();
    Arc::new(move |problem| {
        // Nobody is left to tell when the control thread has ended.
        let _ended = events.send(Event::DiskFailed(problem));
    })
}

/// Writes the clean-stop marker. Doing without it on a full disk costs a scan at the next start and no record.
fn write_marker(data: &DataDir, ends: &[marker::CleanEnd]) -> Result<(), StorageError> {
    match marker::write(&data.marker(), ends) {
        Err(error) if error.is_full() => {
            tracing::warn!(%error, "no clean-stop marker; the next start scans the logs");
            Ok(())
        }
        written => written,
    }
}

async fn end_badly(event: Option<Event>) -> std::convert::Infallible {
    match event {
        Some(Event::DiskFailed(problem)) => exit_after(EXIT_DISK_FAILED, &problem).await,
        Some(Event::ShardEnded(problem)) => exit_after(EXIT_SHARD_PANICKED, &problem).await,
        Some(Event::ShardReady(Err(error))) => exit_after(EXIT_SHARD_PANICKED, &error.to_string()).await,
        Some(Event::ShardReady(Ok(_))) | None => exit_after(EXIT_SHARD_PANICKED, "a shard ended").await,
    }
}

async fn exit_after(status: u8, problem: &str) -> ! {
    tracing::error!(status, "{problem}; exiting");
    if status == EXIT_DISK_FAILED {
        tokio::time::sleep(FAILED_DISK_GRACE).await;
    }
    std::process::exit(status.into())
}

/// Every listening socket, bound before any shard starts.
struct Sockets {
    kafka: DoorSockets,
    native: Option<DoorSockets>,
    admin: std::net::TcpListener,
    admin_address: SocketAddr,
}

/// The sockets of one protocol.
struct DoorSockets {
    /// The base address, shared by all shards.
    base: SocketAddr,
    /// The address of each shard's own port; none if clients are told of one broker.
    per_core: Vec<SocketAddr>,
    /// By shard.
    shards: Vec<Vec<BoundSocket>>,
}

impl Sockets {
    fn bind(config: &Config, shards: usize) -> Result<Self, ServeError> {
        let per_core = config.kafka.advertise == config::Advertise::PerCore;
        let kafka = DoorSockets::bind(config.kafka.listen.0, shards, per_core)?;
        let native = config
            .native
            .enabled
            .then(|| DoorSockets::bind(config.native.listen.0, shards, per_core))
            .transpose()?;
        let address = config.admin.listen.0;
        let admin = patiently(|| std::net::TcpListener::bind(address)).map_err(taken(address))?;
        admin.set_nonblocking(true).map_err(taken(address))?;
        let admin_address = admin.local_addr().map_err(taken(address))?;
        Ok(Self {
            kafka,
            native,
            admin,
            admin_address,
        })
    }

    /// The Kafka and the native sockets of one shard.
    fn take(&mut self, shard: usize) -> (Vec<BoundSocket>, Vec<BoundSocket>) {
        let kafka = std::mem::take(&mut self.kafka.shards[shard]);
        let native = self.native.as_mut();
        let native = native.map_or_else(Vec::new, |native| std::mem::take(&mut native.shards[shard]));
        (kafka, native)
    }
}

impl DoorSockets {
    /// Binds `listen` for each shard and, if `own_ports` says so, the next port for each alone; whichever is free where
    /// `listen` has port 0.
    fn bind(listen: SocketAddr, shards: usize, own_ports: bool) -> Result<Self, ServeError> {
        let bind = |address, shared| patiently(|| BoundSocket::bind(address, shared)).map_err(taken(address));
        let first = bind(listen, true)?;
        let base = first.address();
        let mut shared = vec![first];
        for _ in 1..shards {
            shared.push(bind(base, true)?);
        }
        let mut per_core = Vec::new();
        let mut lists = Vec::new();
        for (index, socket) in shared.into_iter().enumerate() {
            let mut list = vec![socket];
            if own_ports {
                let port = match listen.port() {
                    0 => 0,
                    port => u16::try_from(usize::from(port) + 1 + index).unwrap_or(0),
                };
                let own = bind(SocketAddr::new(base.ip(), port), false)?;
                per_core.push(own.address());
                list.push(own);
            }
            lists.push(list);
        }
        Ok(Self {
            base,
            per_core,
            shards: lists,
        })
    }
}

fn taken(address: SocketAddr) -> impl Fn(std::io::Error) -> ServeError {
    move |error| ServeError::Listen { address, error }
}

/// Binds, trying again for a moment while the address is in use: the kernel tears down the rings of a killed broker after
/// the process is gone, and its sockets with them.
fn patiently<T>(bind: impl Fn() -> std::io::Result<T>) -> std::io::Result<T> {
    let begun = clock::now();
    loop {
        match bind() {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse
                    && clock::now().since(begun) < BIND_PATIENCE =>
            {
                clock::block_for(BIND_RETRY);
            }
            done => return done,
        }
    }
}

fn poll_mode(config: &Config, shards: usize) -> PollMode {
    let budget = Duration::from_micros(config.runtime.poll_budget_us.into());
    match config.runtime.poll {
        config::Poll::Sleep => PollMode::Sleep,
        // Long, not for ever: a thread that has had nothing to do for so long is not missed by anybody in a hurry.
        config::Poll::Busy => PollMode::Spin(Duration::from_secs(1)),
        config::Poll::Adaptive if shards < CORES_FOR_POLLING => PollMode::Sleep,
        config::Poll::Adaptive => PollMode::Spin(budget),
    }
}

fn group_settings(config: &config::GroupConfig) -> GroupSettings {
    GroupSettings {
        config: crate::broker::group::config::GroupConfig {
            session_timeout_min: config.session_timeout_min.get(),
            session_timeout_max: config.session_timeout_max.get(),
            initial_rebalance_delay: config.initial_rebalance_delay.get(),
            size_max: config.max_size,
            offsets_retention: config.offsets_retention.get(),
            offset_metadata_bytes_max: u32::try_from(config.offset_metadata_max.get()).unwrap_or(u32::MAX),
            consumer: crate::broker::group::consumer::ConsumerGroupConfig {
                session_timeout_ms: millis(config.consumer_session_timeout.get()),
                heartbeat_interval_ms: millis(config.consumer_heartbeat_interval.get()),
                size_max: config.consumer_max_size,
            },
        },
        topic_partitions: config.offsets_partitions,
        expiry_interval: config.offsets_retention_check_interval.get(),
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// Raises the soft limit on open files to the hard one: every connection and active segment needs one.
fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    ) {
        tracing::warn!(%error, "cannot raise the limit on open files");
        return limit.current;
    }
    limit.maximum
}

/// Connections that leave the log its files: a flood of them must not keep it from opening a segment.
fn connections_max(wanted: u32, open_files: Option<u64>) -> usize {
    let room = open_files.map_or(u64::MAX, |limit| {
        limit.saturating_sub(FILES_RESERVED).max(limit / 2)
    });
    usize::try_from(room.min(wanted.into())).unwrap_or(usize::MAX)
}

fn as_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The banner goes to stderr whole; a closed stderr is no reason to stop.
fn eprint(text: &str) {
    use std::io::Write;
    let _closed = std::io::stderr().write_all(text.as_bytes());
}

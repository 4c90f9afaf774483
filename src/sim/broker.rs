//! A broker in the world: what `server::bootstrap` starts, without its sockets, signals and admin server.
//!
//! The order of steps is bootstrap's: places, catalogue, marker, pool, mesh, shards, control thread, epochs, and only then
//! does anybody listen. A disk that fails ends the process a moment later with the status the real one has. What bootstrap
//! takes from the machine (the lock on the directory, limits, checks) is absent here.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::audit::Shards;
use super::book::{Book, address};
use crate::base::hash::HashMap;
use crate::base::{LeaderEpoch, LogId, ShardId};
use crate::broker::broker_config::BrokerConfig;
use crate::broker::group::config::GroupConfig;
use crate::broker::group::consumer::ConsumerGroupConfig;
use crate::broker::topic::TopicDefaults;
use crate::protocol::door::ConnectionLimit;
use crate::protocol::kafka;
use crate::runtime::disk::WriteSync;
use crate::runtime::executor;
use crate::runtime::local::{Notify, OneShot};
use crate::runtime::mesh::{Mesh, Port};
use crate::runtime::net::Listener;
use crate::runtime::sim::{ProcessId, World};
use crate::server::bootstrap::EXIT_DISK_FAILED;
use crate::server::catalog::{Catalog, make_places};
use crate::server::control::Control;
use crate::shard::coordinator::GroupSettings;
use crate::shard::request::Message;
use crate::shard::{
    Advertise, CleanerConfig, Cluster, DoorLimits, FatalSink, Node, ScrubConfig, Shard, ShardConfig,
};
use crate::storage::layout::DataDir;
use crate::storage::marker::CleanEnd;
use crate::storage::{marker, pool};

/// Where the data directory is on the simulated disk.
pub(super) const DATA_DIR: &str = "/corelog";

/// Time shards get to answer before a process with a failed disk ends.
const FAILED_DISK_GRACE: Duration = Duration::from_millis(200);

/// Status of a start that failed.
pub(super) const EXIT_START_FAILED: u8 = 1;

/// How a broker is set up; what may change from start to start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) shards: u16,
    pub(super) advertise: Advertise,
    pub(super) write_sync: WriteSync,
    pub(super) memory_bytes: usize,
    pub(super) pool_depth: usize,
    pub(super) min_free_bytes: u64,
    pub(super) retention_check: Duration,
    pub(super) cleaner_check: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            shards: 1,
            advertise: Advertise::PerCore,
            write_sync: WriteSync::Dsync,
            memory_bytes: 6 << 20,
            pool_depth: 1,
            min_free_bytes: 1 << 20,
            retention_check: Duration::from_millis(700),
            cleaner_check: Duration::from_millis(500),
        }
    }
}

/// How far a process has got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Not listening yet.
    Starting,
    /// Clients are served.
    Serving,
    /// A stop was asked for.
    Stopping,
    /// Ended by itself, with this status.
    Ended(u8, String),
}

/// A run of the broker.
struct Process {
    id: ProcessId,
    state: Rc<RefCell<State>>,
    stop: Rc<Notify>,
}

/// See the module.
pub(super) struct Broker {
    book: Rc<Book>,
    process: Option<Process>,
    shards: Shards,
    /// Number of the run.
    run: Rc<Cell<u32>>,
}

impl Broker {
    pub(super) fn new(book: &Rc<Book>) -> Self {
        Self {
            book: Rc::clone(book),
            process: None,
            shards: Shards::default(),
            run: Rc::default(),
        }
    }

    pub(super) fn shards(&self) -> Shards {
        Rc::clone(&self.shards)
    }

    pub(super) fn run_number(&self) -> Rc<Cell<u32>> {
        Rc::clone(&self.run)
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The process and its state, for whoever waits for a change of it.
    pub(super) fn state(&self) -> Option<State> {
        self.process
            .as_ref()
            .map(|process| process.state.borrow().clone())
    }

    pub(super) fn is_serving(&self) -> bool {
        self.state() == Some(State::Serving)
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state(), Some(State::Ended(..)))
    }

    /// Starts a process.
    pub(super) fn start(&mut self, setup: Setup) {
        assert!(self.process.is_none(), "one broker uses a data directory");
        let world = self.book.world.clone();
        let id = world.new_process();
        self.run.set(self.run.get() + 1);
        self.book.set_shards(setup.shards);
        self.book.say(|| format!("broker starts: {setup:?}"));
        let state = Rc::new(RefCell::new(State::Starting));
        let stop = Rc::new(Notify::default());
        let boot = Boot {
            world: world.clone(),
            id,
            setup,
            state: Rc::clone(&state),
            stop: Rc::clone(&stop),
            shards: Rc::clone(&self.shards),
            book: Rc::clone(&self.book),
        };
        world.spawn(id, setup.shards, boot.run());
        self.process = Some(Process { id, state, stop });
    }

    /// Asks for an orderly stop.
    pub(super) fn ask_stop(&self) {
        if let Some(process) = &self.process {
            self.book.say(|| "broker is told to stop".to_owned());
            process.stop.notify();
        }
    }

    /// Ends the process where it stands. Whether it had ended well by itself is for the caller to know.
    pub(super) fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            self.book
                .say(|| format!("broker ends, {:?}", process.state.borrow()));
            self.shards.borrow_mut().clear();
            self.book.world.kill(process.id);
        }
    }

    /// Keeps a thread of the process from running for a while.
    pub(super) fn stall(&self, thread: u16, time: Duration) {
        if let Some(process) = &self.process {
            self.book.world.stall(process.id, thread, time);
        }
    }
}

/// What is known to one start.
struct Boot {
    world: World,
    id: ProcessId,
    setup: Setup,
    state: Rc<RefCell<State>>,
    stop: Rc<Notify>,
    shards: Shards,
    book: Rc<Book>,
}

/// What shards tell the control thread.
type Ready = OneShot<Result<Vec<(LogId, LeaderEpoch)>, String>>;
/// What the control thread tells shards.
type Go = OneShot<Arc<HashMap<LogId, LeaderEpoch>>>;

impl Boot {
    async fn run(self) {
        let (fatal, mut failed) = mpsc::unbounded_channel::<String>();
        let first = futures_lite::future::or(async { Err(failed.recv().await.unwrap_or_default()) }, async {
            Ok(self.serve(fatal).await)
        })
        .await;
        let end = match first {
            Ok(Ok(())) => State::Ended(0, String::new()),
            Ok(Err(problem)) => State::Ended(EXIT_START_FAILED, problem),
            Err(problem) => {
                executor::sleep(FAILED_DISK_GRACE).await;
                State::Ended(EXIT_DISK_FAILED, problem)
            }
        };
        *self.state.borrow_mut() = end;
    }

    /// Starts, serves, and stops cleanly.
    async fn serve(&self, fatal: mpsc::UnboundedSender<String>) -> Result<(), String> {
        let data = DataDir::new(DATA_DIR);
        make_places(&data).map_err(said)?;
        let broker = BrokerConfig::of_file(
            TopicDefaults::default(),
            std::collections::BTreeMap::new(),
            String::new(),
        );
        let catalog = Catalog::open(&data, broker, 1).map_err(said)?;
        let clean = marker::take(&data.marker()).map_err(said)?.map(Arc::new);
        self.book.mark(
            if clean.is_some() {
                "started from a marker"
            } else {
                "started without a marker"
            },
            1,
        );
        let shards = self.setup.shards;
        let mut ports: Vec<Port<Message>> = Mesh::new(usize::from(shards) + 1);
        let control_port = ports.pop().expect("the mesh has a port for the control thread");
        let mut found = pool::scan_directory(&data.pool()).map_err(said)?;
        let image = catalog.image();
        let cluster = self.cluster(catalog.cluster_id());
        let connections = ConnectionLimit::new(Arc::default(), 1000);
        let mut starters = Vec::new();
        for (index, port) in (0..shards).zip(ports) {
            let share = found.len().div_ceil(usize::from(shards - index));
            let config = ShardConfig {
                image: Arc::clone(&image),
                clean: clean.clone(),
                pool_found: found.split_off(found.len() - share),
                ..self.shard_config(index, &cluster, &data, &fatal)
            };
            starters.push(self.spawn_shard(index, config, port, connections.clone()));
        }
        let control = Control::start(
            control_port,
            shards,
            catalog,
            data.clone(),
            self.setup.min_free_bytes,
            Box::new(|| None),
            fatal_sink(&fatal),
        );
        let mut epochs = HashMap::default();
        for (ready, _) in &starters {
            epochs.extend(ready.take().await?);
        }
        let epochs = Arc::new(epochs);
        for (_, go) in &starters {
            go.set(Arc::clone(&epochs));
        }
        *self.state.borrow_mut() = State::Serving;
        self.stop.notified().await;
        *self.state.borrow_mut() = State::Stopping;
        let ends = control.stop().await;
        write_marker(&data, &ends)
    }

    fn cluster(&self, id: &str) -> Cluster {
        let node = |(id, address): (i32, SocketAddr)| Node {
            id,
            host: address.ip().to_string(),
            port: address.port(),
            native_port: 0,
        };
        let shards = self.setup.shards;
        let nodes = match self.setup.advertise {
            Advertise::Single => vec![node((0, address(0)))],
            Advertise::PerCore => (0..).zip((1..=shards).map(address)).map(node).collect(),
        };
        Cluster {
            id: id.to_owned(),
            nodes,
            advertise: self.setup.advertise,
            shards,
        }
    }

    fn shard_config(
        &self,
        index: u16,
        cluster: &Cluster,
        data: &DataDir,
        fatal: &mpsc::UnboundedSender<String>,
    ) -> ShardConfig {
        let memory_bytes = self.setup.memory_bytes;
        ShardConfig {
            id: ShardId::new(index),
            cluster: cluster.clone(),
            limits: DoorLimits {
                max_frame_bytes: memory_bytes / 4,
                idle_timeout: Duration::from_secs(600),
                frame_timeout: Duration::from_secs(30),
                in_flight_max: 64,
                auto_create_topics: false,
                num_partitions: 1,
            },
            data: data.clone(),
            memory_bytes,
            write_sync: self.setup.write_sync,
            pool_depth: self.setup.pool_depth,
            pool_found: Vec::new(),
            image: Arc::default(),
            clean: None,
            retention_check_interval: self.setup.retention_check,
            producer_expiration: Duration::from_secs(86_400),
            cleaner: CleanerConfig {
                check_interval: self.setup.cleaner_check,
                memory_bytes: 64 << 10,
                bytes_per_second: None,
            },
            groups: group_settings(),
            scrub: ScrubConfig {
                interval: Some(self.setup.cleaner_check),
                bytes_per_second: Some(8 << 20),
            },
            fatal: fatal_sink(fatal),
        }
    }

    fn spawn_shard(
        &self,
        index: u16,
        config: ShardConfig,
        port: Port<Message>,
        connections: ConnectionLimit,
    ) -> (Ready, Go) {
        let (ready, go) = (Ready::default(), Go::default());
        let world = self.world.clone();
        let own_ports = self.setup.advertise == Advertise::PerCore;
        let shards = Rc::clone(&self.shards);
        let (tell, wait) = (ready.clone(), go.clone());
        self.world.spawn(self.id, index, async move {
            let shard = match Shard::start(config, port) {
                Ok(shard) => shard,
                Err(error) => return tell.set(Err(error.to_string())),
            };
            shards.borrow_mut().push(Rc::clone(&shard));
            tell.set(Ok(shard.own_epochs()));
            shard.set_epochs(wait.take().await);
            let addresses = std::iter::once(address(0)).chain(own_ports.then(|| address(index + 1)));
            for address in addresses {
                let listener = Listener::simulated(world.net().listen(address));
                let shard = Rc::clone(&shard);
                executor::spawn(kafka::door::serve(listener, shard, connections.clone()));
            }
            // The thread serves until the process ends.
            std::future::pending::<()>().await;
        });
        (ready, go)
    }
}

/// Writes the clean-stop marker. Doing without it on a full disk costs a scan at the next start and no record.
fn write_marker(data: &DataDir, ends: &[CleanEnd]) -> Result<(), String> {
    match marker::write(&data.marker(), ends) {
        Err(error) if error.is_full() => Ok(()),
        written => written.map_err(said),
    }
}

fn fatal_sink(fatal: &mpsc::UnboundedSender<String>) -> FatalSink {
    let fatal = fatal.clone();
    Arc::new(move |problem| {
        // Nobody is left to tell when the process has ended.
        let _ended = fatal.send(problem);
    })
}

fn group_settings() -> GroupSettings {
    GroupSettings {
        config: GroupConfig {
            session_timeout_min: Duration::from_millis(500),
            session_timeout_max: Duration::from_secs(60),
            initial_rebalance_delay: Duration::from_millis(50),
            consumer: ConsumerGroupConfig {
                session_timeout_ms: 3_000,
                heartbeat_interval_ms: 300,
                ..ConsumerGroupConfig::default()
            },
            ..GroupConfig::default()
        },
        topic_partitions: 2,
        expiry_interval: Duration::from_secs(600),
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

//! The admin HTTP server, on the control thread: health, readiness, metrics, where time goes, and what this node is.
//!
//! `GET` only; nothing here changes anything. Loopback by default, like every listener, and as bounded as one (`listener`).

mod listener;

use super::control::Control;
use super::lag::{KnownTimes, LagSnapshot};
use super::metrics::{self, Snapshot};
use super::stages::StagesAnswer;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use listener::Listener;
use serde::Serialize;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The format of metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Requests waiting for the control thread; more are refused with 503.
const QUEUE_MAX: usize = 64;

/// What `/v1/node` says that does not change while the process runs.
#[derive(Clone, Debug, Serialize)]
pub struct NodeFacts {
    /// Version of the program.
    pub version: &'static str,
    /// Constant over the life of the data directory.
    pub cluster_id: String,
    /// The data directory.
    pub data_dir: String,
    /// How writes are made durable.
    pub durability: String,
    /// What clients are told.
    pub advertise: String,
    /// The base Kafka address.
    pub kafka: String,
    /// The address of each shard's own listener.
    pub kafka_per_core: Vec<String>,
    /// The native base address, if there is a native door.
    pub native: Option<String>,
    /// The address of each shard's own native listener.
    pub native_per_core: Vec<String>,
    /// The core of each shard.
    pub cores: Vec<usize>,
    /// Memory budget per shard in bytes.
    pub memory_bytes: u64,
}

#[derive(Serialize)]
struct NodeAnswer {
    #[serde(flatten)]
    facts: NodeFacts,
    ready: bool,
    topics: u64,
    partitions: u64,
    damaged_partitions: u64,
    log_bytes: u64,
    disk_free_bytes: u64,
    disk_full: bool,
}

/// What a handler wants of the control thread.
enum Question {
    Gathered(oneshot::Sender<Option<Gathered>>),
    Lag(oneshot::Sender<Option<LagSnapshot>>),
}

type Ask = mpsc::Sender<Question>;

/// What a handler needs from the control thread's own state.
#[derive(Clone, Debug)]
struct Gathered {
    snapshot: Snapshot,
    stopping: bool,
}

#[derive(Clone)]
struct Handlers {
    facts: NodeFacts,
    ask: Ask,
}

/// Serves until the process ends. Call inside a tokio `LocalSet`.
pub fn start(
    listener: tokio::net::TcpListener,
    facts: NodeFacts,
    control: Rc<Control>,
    now: impl Fn() -> Duration + 'static,
) {
    let (ask, mut asked) = mpsc::channel::<Question>(QUEUE_MAX);
    let brokers = u16::try_from(facts.kafka_per_core.len().max(1)).unwrap_or(u16::MAX);
    // Handlers must be `Send`; the control state is not, so they ask a task that holds it.
    tokio::task::spawn_local(async move {
        let started = Cell::new(now());
        let known_times = Rc::new(tokio::sync::Mutex::new(KnownTimes::default()));
        while let Some(question) = asked.recv().await {
            match question {
                Question::Gathered(answer) => {
                    if answer.is_closed() {
                        continue;
                    }
                    let gathered = gather(&control, now().saturating_sub(started.get())).await;
                    // The client may have gone away.
                    let _gone = answer.send(gathered);
                }
                // Takes longer, and health does not wait for it.
                Question::Lag(answer) => {
                    let (control, known_times) = (Rc::clone(&control), Rc::clone(&known_times));
                    tokio::task::spawn_local(async move {
                        let mut known = known_times.lock().await;
                        if answer.is_closed() {
                            return;
                        }
                        let _gone = answer.send(LagSnapshot::gather(&control, brokers, &mut known).await);
                    });
                }
            }
        }
    });
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/metrics/kafka", get(lag_text))
        .route("/v1/node", get(node))
        .route("/v1/stages", get(stages))
        .with_state(Handlers { facts, ask });
    tokio::task::spawn_local(async move {
        if let Err(error) = axum::serve(Listener::new(listener), router).await {
            tracing::error!(%error, "the admin server stopped");
        }
    });
}

async fn gather(control: &Control, uptime: Duration) -> Option<Gathered> {
    let shards = control.stats().await?;
    let (disk_full, free_bytes) = control.free_space();
    let topics = control.image().await.topics().len() as u64;
    let snapshot = Snapshot {
        shards,
        topics,
        free_bytes,
        disk_full,
        uptime_seconds: uptime.as_secs(),
    };
    Some(Gathered {
        snapshot,
        stopping: control.is_stopping(),
    })
}

impl Handlers {
    async fn gathered(&self) -> Option<Gathered> {
        let (answer, waiting) = oneshot::channel();
        self.ask.try_send(Question::Gathered(answer)).ok()?;
        waiting.await.ok()?
    }

    async fn lag(&self) -> Option<LagSnapshot> {
        let (answer, waiting) = oneshot::channel();
        self.ask.try_send(Question::Lag(answer)).ok()?;
        waiting.await.ok()?
    }
}

/// 200 while every shard answers within a second.
async fn healthz(State(handlers): State<Handlers>) -> Response {
    match handlers.gathered().await {
        Some(_) => (StatusCode::OK, "ok\n").into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n").into_response(),
    }
}

/// 200 while clients are served: recovered, listening, not stopping, room on the disk.
async fn readyz(State(handlers): State<Handlers>) -> Response {
    let (status, text) = match handlers.gathered().await {
        None => (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n"),
        Some(gathered) if gathered.stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        Some(gathered) if gathered.snapshot.disk_full => (
            StatusCode::SERVICE_UNAVAILABLE,
            "free space is below the floor; produce is refused\n",
        ),
        Some(_) => (StatusCode::OK, "ready\n"),
    };
    (status, text).into_response()
}

async fn metrics_text(State(handlers): State<Handlers>) -> Response {
    match handlers.gathered().await {
        Some(gathered) => (
            [(header::CONTENT_TYPE, OPEN_METRICS)],
            metrics::render(gathered.snapshot),
        )
            .into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn lag_text(State(handlers): State<Handlers>) -> Response {
    match handlers.lag().await {
        Some(lag) => ([(header::CONTENT_TYPE, OPEN_METRICS)], lag.render()).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn stages(State(handlers): State<Handlers>) -> Response {
    match handlers.gathered().await {
        Some(gathered) => {
            Json(StagesAnswer::new(&gathered.snapshot, handlers.facts.durability)).into_response()
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn node(State(handlers): State<Handlers>) -> Response {
    let Some(gathered) = handlers.gathered().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let sum = |value: fn(&crate::shard::ShardStats) -> u64| gathered.snapshot.shards.iter().map(value).sum();
    Json(NodeAnswer {
        facts: handlers.facts.clone(),
        ready: !gathered.stopping && !gathered.snapshot.disk_full,
        topics: gathered.snapshot.topics,
        partitions: sum(|shard| shard.partitions),
        damaged_partitions: sum(|shard| shard.damaged_partitions),
        log_bytes: sum(|shard| shard.log_bytes),
        disk_free_bytes: gathered.snapshot.free_bytes,
        disk_full: gathered.snapshot.disk_full,
    })
    .into_response()
}

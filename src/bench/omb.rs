//! The OpenMessaging Benchmark's files: its workloads in, its results out.
//!
//! [`OmbRun`] is a workload file and, if there is one, a driver file, in plain words; the engine's own spec is made from
//! it by whoever runs it. [`result_json`] writes a result under that benchmark's names, so that its charts and the many
//! scripts around it work. Keys nobody knows, and wishes that are not carried out, become warnings: a workload that
//! runs differently from what its file says must say so.
//!
//! **Its publish latency begins at the actual send**, and the wait before it is its publish delay. So `service` here is
//! `publishLatency` there, and our response time appears nowhere in its files.

mod driver;
mod output;
mod workload;
mod yaml;

use std::time::Duration;

pub use driver::Driver;
pub use output::{OMB_FILE, file_name, result_json};
pub use workload::{KeyDistributor, Workload};
pub use yaml::OmbError;

/// A workload as it shall run.
#[derive(Clone, Debug, PartialEq)]
pub struct OmbRun {
    /// Of the workload.
    pub name: String,
    /// Of the driver file; empty without one.
    pub driver: String,
    /// Topics.
    pub topics: usize,
    /// Partitions of each.
    pub partitions: u32,
    /// How messages find them.
    pub keys: KeyDistributor,
    /// Bytes of a value.
    pub message_bytes: usize,
    /// Producers over all topics.
    pub producers: usize,
    /// Groups, each reading everything.
    pub subscriptions: usize,
    /// Consumers of each group over all topics.
    pub consumers: usize,
    /// Messages per second of all producers together; 0 for as many as possible.
    pub rate: f64,
    /// The measured part.
    pub duration: Duration,
    /// Before it.
    pub warmup: Duration,
    /// Whether producers ask for an acknowledgement at all.
    pub acknowledged: Acknowledged,
    /// How long a batch may wait.
    pub linger: Duration,
    /// Bytes at which a batch is closed.
    pub batch_bytes: usize,
    /// Requests in flight on one connection.
    pub in_flight: usize,
    /// Whether producers register for exactly-once sequences.
    pub idempotent: Idempotent,
    /// Settings of the topics by their Kafka names.
    pub topic_settings: Vec<(String, String)>,
    /// Most bytes of one answer to a consumer.
    pub fetch_bytes: u32,
    /// Longest wait of a poll that finds nothing.
    pub fetch_wait: Duration,
    /// What the files ask for and will not happen.
    pub warnings: Vec<String>,
}

/// Kafka's `acks`, as far as it can be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// `acks=0`.
    Never,
    /// `acks=1` or `acks=all`: both are answered when the batch is durable.
    Always,
}

/// Kafka's `enable.idempotence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotent {
    /// Off, our default.
    No,
    /// On.
    Yes,
}

/// What the command line replaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// Instead of `testDurationMinutes`.
    pub duration: Option<Duration>,
    /// Instead of `warmupDurationMinutes`.
    pub warmup: Option<Duration>,
}

impl OmbRun {
    /// The run that `workload` and `driver`, the texts of the files, describe.
    ///
    /// # Errors
    /// When a file is no YAML mapping, or a value makes no sense.
    pub fn parse(workload: &str, driver: Option<&str>, overrides: Overrides) -> Result<Self, OmbError> {
        let mut warnings = Vec::new();
        let workload = Workload::parse(workload, &mut warnings)?;
        let driver = driver
            .map(|text| Driver::parse(text, &mut warnings))
            .transpose()?
            .unwrap_or_default();
        let topics = workload.topics;
        Ok(Self {
            name: workload.name,
            driver: driver.name,
            topics,
            partitions: workload.partitions_per_topic,
            keys: workload.key_distributor,
            message_bytes: workload.message_bytes,
            producers: topics.saturating_mul(workload.producers_per_topic),
            subscriptions: workload.subscriptions_per_topic,
            consumers: topics.saturating_mul(workload.consumers_per_subscription),
            rate: workload.producer_rate,
            duration: overrides.duration.unwrap_or(workload.duration),
            warmup: overrides.warmup.unwrap_or(workload.warmup),
            acknowledged: driver.acknowledged,
            linger: driver.linger,
            batch_bytes: driver.batch_bytes,
            in_flight: driver.in_flight,
            idempotent: driver.idempotent,
            topic_settings: driver.topic_settings,
            fetch_bytes: driver.fetch_bytes,
            fetch_wait: driver.fetch_wait,
            warnings,
        })
    }
}

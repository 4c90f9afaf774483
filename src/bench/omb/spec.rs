//! From a workload of that benchmark to a run of this one: the only place that knows both.

use std::time::Duration;

use super::{Acknowledged, Idempotent, KeyDistributor, OmbRun};
use crate::bench::schedule::Arrival;
use crate::bench::spec::{Keys, Kind, Rate, RunSpec};
use crate::bench::wire::{Acks, TopicSpec};

/// What a workload's files leave to the command line.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Threads of the generator.
    pub threads: usize,
    /// Cores they are pinned to in turn; empty for none.
    pub cores: Vec<usize>,
    /// What the broker promises with an acknowledgement, as the user says.
    pub durability: String,
    /// The broker's process, if it is on this machine.
    pub broker_pid: Option<i32>,
}

impl OmbRun {
    /// The run this workload is. Without subscriptions nothing is consumed.
    #[must_use]
    pub fn to_spec(&self, surroundings: Surroundings) -> RunSpec {
        let consumes = self.subscriptions > 0 && self.consumers > 0;
        let plain: String = self
            .name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .take(NAME_CHARS_MAX)
            .collect();
        RunSpec {
            kind: if consumes { Kind::E2e } else { Kind::Produce },
            name: self.name.clone(),
            rate: Rate::new(self.rate),
            arrival: Arrival::Fixed,
            size: self.message_bytes,
            topic: TopicSpec {
                names: (0..self.topics)
                    .map(|index| format!("omb-{plain}-{index}"))
                    .collect(),
                partitions: self.partitions,
                settings: self.topic_settings.clone(),
            },
            producers: self.producers,
            consumers: self.consumers,
            fanout: self.subscriptions,
            duration: self.duration,
            warmup: self.warmup,
            acks: match self.acknowledged {
                Acknowledged::Never => Acks::None,
                Acknowledged::Always => Acks::All,
            },
            keys: match self.keys {
                KeyDistributor::None => Keys::None,
                KeyDistributor::RoundRobin => Keys::RoundRobin,
                KeyDistributor::Random => Keys::Random,
            },
            idempotent: self.idempotent == Idempotent::Yes,
            stages: false,
            linger: self.linger,
            batch_bytes: self.batch_bytes,
            in_flight: self.in_flight,
            threads: surroundings.threads,
            cores: surroundings.cores,
            seed: SEED,
            inject_stall: Duration::ZERO,
            messages: 0,
            durability: surroundings.durability,
            broker_pid: surroundings.broker_pid,
            fetch_bytes: self.fetch_bytes,
            fetch_wait: self.fetch_wait,
        }
    }
}

/// Topic names stay far below Kafka's 249 characters.
const NAME_CHARS_MAX: usize = 100;
/// Of keys and payloads: always the same, so that two brokers get the same bytes.
const SEED: u64 = 1;

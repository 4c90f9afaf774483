//! What a run shall do: every knob, by the names of the command line.
//!
//! A [`RunSpec`] is complete and protocol-free: the same spec drives every door, which is what makes results
//! comparable. [`RunSpec::check`] refuses what makes no sense before anything is connected; [`RunSpec::describe`] is what
//! a result keeps of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::payload::{KEY_BYTES, STAMP_BYTES};
use super::schedule::Arrival;
use super::wire::{Acks, TopicSpec};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Producers only: from the intended send to the acknowledgement.
    Produce,
    /// Consumers only: how fast they read what is there.
    Consume,
    /// Both: also from the intended send to the consumer.
    E2e,
}

impl Kind {
    /// Its name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::E2e => "e2e",
        }
    }
}

/// Messages per second; 0 is as many as possible.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Rate(f64);

impl Rate {
    /// As many as the windows allow: a closed loop.
    pub const MAX: Self = Self(0.0);

    /// A rate of `per_second`; nothing, negative or endless is [`Rate::MAX`].
    #[must_use]
    pub fn new(per_second: f64) -> Self {
        if per_second.is_finite() && per_second > 0.0 {
            Self(per_second)
        } else {
            Self::MAX
        }
    }

    /// Messages per second, 0 for as many as possible.
    #[must_use]
    pub const fn per_second(self) -> f64 {
        self.0
    }

    /// Whether there is no target.
    #[must_use]
    pub fn is_max(self) -> bool {
        self.0 == 0.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::MAX);
        }
        let (number, factor) = match text.char_indices().next_back() {
            Some((at, 'k')) => (&text[..at], 1e3),
            Some((at, 'M' | 'm')) => (&text[..at], 1e6),
            _ => (text, 1.0),
        };
        match number.parse::<f64>() {
            Ok(number) if number >= 0.0 && (number * factor) <= RATE_MAX => Ok(Self(number * factor)),
            _ => Err("expected messages per second such as 500, 200k, 1.5M, or max".to_owned()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_max() {
            f.write_str("max")
        } else {
            f.write_str(&super::text::count(self.0))
        }
    }
}

/// Beyond this a nanosecond clock cannot tell messages apart.
const RATE_MAX: f64 = 1e9;

/// How messages find their partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// No keys; each batch goes to the next partition, as Kafka's clients do.
    #[default]
    None,
    /// Keys in turn; each message goes to its key's partition.
    RoundRobin,
    /// Keys at random.
    Random,
}

/// One run.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// What is measured.
    pub kind: Kind,
    /// For tables and charts.
    pub name: String,
    /// Target of all producers together.
    pub rate: Rate,
    /// How messages arrive.
    pub arrival: Arrival,
    /// Bytes of a value.
    pub size: usize,
    /// Topics and partitions.
    pub topic: TopicSpec,
    /// Producers, spread over the topics.
    pub producers: usize,
    /// Consumers of each group.
    pub consumers: usize,
    /// Groups; each reads everything.
    pub fanout: usize,
    /// The measured part.
    pub duration: Duration,
    /// Before it, under the same load, not counted.
    pub warmup: Duration,
    /// Acknowledgement asked for.
    pub acks: Acks,
    /// Keys.
    pub keys: Keys,
    /// Idempotent producers.
    pub idempotent: bool,
    /// Ask for the broker's stage times.
    pub stages: bool,
    /// How long a batch may wait for more messages.
    pub linger: Duration,
    /// Bytes at which a batch is closed; at least one message goes in each.
    pub batch_bytes: usize,
    /// Requests in flight on one connection.
    pub in_flight: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// Cores they are pinned to in turn; empty for none.
    pub cores: Vec<usize>,
    /// Of arrivals, keys and payloads.
    pub seed: u64,
    /// How long the generator stops itself in the middle of the measured part.
    pub inject_stall: Duration,
    /// Most messages in all; 0 for no bound. Ends the run early.
    pub messages: u64,
    /// What the broker promises with an acknowledgement, as the user says.
    pub durability: String,
    /// The broker's process, if it is on this machine.
    pub broker_pid: Option<i32>,
    /// Most bytes one answer to a consumer may carry.
    pub fetch_bytes: u32,
    /// Longest wait of a poll that finds nothing.
    pub fetch_wait: Duration,
}

/// Most connections a run may open; the usual limit on files is not far above.
pub const CONNECTIONS_MAX: usize = 100_000;

impl RunSpec {
    /// Whether this can be done.
    ///
    /// # Errors
    /// What to change.
    pub fn check(&self) -> Result<(), String> {
        let traced = self.kind == Kind::E2e;
        let problem = if traced && self.size < STAMP_BYTES {
            format!("--size must be at least {STAMP_BYTES} bytes to trace messages end to end")
        } else if self.kind != Kind::Consume && self.producers == 0 {
            "--producers must be at least 1".to_owned()
        } else if self.kind != Kind::Produce && (self.consumers == 0 || self.fanout == 0) {
            "--consumers and --fanout must be at least 1".to_owned()
        } else if self.in_flight == 0 || self.threads == 0 || self.topic.partitions == 0 {
            "--in-flight, --threads and --partitions must be at least 1".to_owned()
        } else if self.topic.names.is_empty() {
            "a run needs a topic".to_owned()
        } else if self.idempotent && self.acks == Acks::None {
            "--idempotent needs --acks all".to_owned()
        } else if self.duration.is_zero() {
            "--duration must be more than nothing".to_owned()
        } else if self.producers + self.consumers.saturating_mul(self.fanout) > CONNECTIONS_MAX {
            format!("more than {CONNECTIONS_MAX} producers and consumers")
        } else {
            return Ok(());
        };
        Err(problem)
    }

    /// Bytes of a message: value and key.
    #[must_use]
    pub const fn message_bytes(&self) -> usize {
        match self.keys {
            Keys::None => self.size,
            Keys::RoundRobin | Keys::Random => self.size + KEY_BYTES,
        }
    }

    /// Messages a full batch holds.
    #[must_use]
    pub fn batch_messages(&self) -> usize {
        (self.batch_bytes / self.message_bytes().max(1)).max(1)
    }

    /// What a result keeps: by the command line's names, as people write the values.
    #[must_use]
    pub fn describe(&self) -> BTreeMap<String, serde_json::Value> {
        use serde_json::json;
        let settings: BTreeMap<_, _> = self.topic.settings.iter().cloned().collect();
        let entries = [
            ("rate", json!(self.rate.per_second())),
            ("arrival", json!(self.arrival)),
            ("size", json!(self.size)),
            ("topics", json!(self.topic.names.len())),
            ("partitions", json!(self.topic.partitions)),
            ("config", json!(settings)),
            ("producers", json!(self.producers)),
            ("consumers", json!(self.consumers)),
            ("fanout", json!(self.fanout)),
            ("duration", json!(self.duration.as_secs_f64())),
            ("warmup", json!(self.warmup.as_secs_f64())),
            ("acks", json!(self.acks)),
            ("keys", json!(self.keys)),
            ("idempotent", json!(self.idempotent)),
            ("stages", json!(self.stages)),
            ("linger_ms", json!(self.linger.as_secs_f64() * 1e3)),
            ("batch_bytes", json!(self.batch_bytes)),
            ("in_flight", json!(self.in_flight)),
            ("threads", json!(self.threads)),
            ("cores", json!(self.cores)),
            ("seed", json!(self.seed)),
            ("inject_stall_ms", json!(self.inject_stall.as_secs_f64() * 1e3)),
            ("fetch_bytes", json!(self.fetch_bytes)),
        ];
        entries
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// What a sweep's rates must keep: a percentile of a distribution below a limit.
#[derive(Clone, PartialEq, Debug)]
pub struct Objective {
    text: String,
    /// From 0 to 1.
    pub quantile: f64,
    /// In nanoseconds; the percentile must be below.
    pub limit_ns: u64,
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a percentile and a limit, such as p99.9<2ms".to_owned();
        let (percentile, limit) = text.split_once('<').ok_or_else(wrong)?;
        let quantile = match percentile.trim() {
            "max" => 1.0,
            name => {
                name.strip_prefix('p')
                    .and_then(|digits| digits.parse::<f64>().ok())
                    .ok_or_else(wrong)?
                    / 100.0
            }
        };
        let limit: crate::base::units::TimeSpan = limit.trim().parse().map_err(|_| wrong())?;
        let limit_ns = u64::try_from(limit.get().as_nanos()).map_err(|_| wrong())?;
        if (0.0..=1.0).contains(&quantile) && limit_ns > 0 {
            Ok(Self {
                text: text.to_owned(),
                quantile,
                limit_ns,
            })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Objective {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

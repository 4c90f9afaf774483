//! Topics and their configuration.
//!
//! Kafka's names and defaults. Every key a tool may set is in [`KEYS`]; a key that does nothing here yet is accepted and
//! reported, and marked so, because tools refuse brokers that refuse keys. A value that would promise something we do
//! not keep is refused.

use super::cleanup::{CleanupPolicy, CompactionSettings, Ratio};
use crate::base::TopicId;
use crate::storage::log::{Durability, LogConfig};
use crate::storage::segment::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Kafka's limit on topic names, in bytes.
pub const NAME_BYTES_MAX: usize = 249;

/// Most partitions a topic may have.
pub const PARTITIONS_MAX: u32 = 100_000;

/// Why a topic name or configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopicError {
    /// The name breaks Kafka's rules.
    #[error("topic name {0:?} is not valid: use 1 to 249 of [a-zA-Z0-9._-], not \".\" or \"..\"")]
    Name(String),
    /// No such key.
    #[error("unknown topic config {0:?}")]
    UnknownKey(String),
    /// The value is not one the key takes.
    #[error("invalid value {value:?} for {key}: {expected}")]
    Value {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
}

/// Checks a topic name against Kafka's rules, which also make it a safe directory name.
///
/// # Errors
/// [`TopicError::Name`].
pub fn check_name(name: &str) -> Result<(), TopicError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name == "."
        || name == ".."
        || !name.bytes().all(legal)
    {
        return Err(TopicError::Name(name.to_owned()));
    }
    Ok(())
}

/// Names of the topics the broker keeps its own state in.
const INTERNAL: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// Whether the broker alone writes, alters and deletes the topic of that name. Clients may read it.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// The broker's defaults for what a topic does not set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicDefaults {
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `retention.bytes`; `None` is unlimited.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` is unlimited.
    pub retention: Option<Duration>,
    /// `max.message.bytes`.
    pub max_message_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u64,
    /// How often a relaxed topic is synced when `flush.ms` is not set.
    pub relaxed_sync_interval: Duration,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            retention_bytes: None,
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            max_message_bytes: 1_048_588,
            index_interval_bytes: 32 * 1024,
            relaxed_sync_interval: Duration::from_secs(1),
        }
    }
}

/// What a topic's configuration comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicSettings {
    /// Shape of its logs.
    pub log: LogConfig,
    /// Bytes kept per partition.
    pub retention_bytes: Option<u64>,
    /// Age kept, by the broker's clock.
    pub retention: Option<Duration>,
    /// Largest batch accepted.
    pub max_message_bytes: u32,
    /// For a relaxed topic: longest time until appended records are synced.
    pub flush_interval: Duration,
    /// For a relaxed topic: most records appended before a sync is started.
    pub flush_messages: u64,
    /// How old records leave.
    pub cleanup: CleanupPolicy,
    /// How the cleaner works, where it does.
    pub compaction: CompactionSettings,
    /// The active segment is sealed when its first record is this old, by the broker's clock.
    pub segment_age: Duration,
    /// Up to this much is taken off `segment_age`, another share for each segment, so that many do not roll at once.
    pub segment_jitter: Duration,
}

/// Kafka's type of a config value, as DescribeConfigs reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigType {
    /// Free or enumerated text.
    String,
    /// 32-bit integer.
    Int,
    /// 64-bit integer.
    Long,
    /// Comma-separated list.
    List,
    /// True or false.
    Boolean,
    /// Floating point.
    Double,
}

/// One topic config key.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Value type.
    pub kind: ConfigType,
    /// One sentence for tools.
    pub doc: &'static str,
    /// The broker's default, formatted as the value would be.
    pub default: fn(&TopicDefaults) -> String,
    check: fn(&str) -> Result<(), &'static str>,
}

fn long_from(value: &str, min: i64) -> Result<i64, &'static str> {
    value
        .trim()
        .parse()
        .ok()
        .filter(|number| *number >= min)
        .ok_or("an integer in range")
}

/// Checks a value that must be an integer of at least `MIN`.
fn at_least<const MIN: i64>(value: &str) -> Result<(), &'static str> {
    long_from(value, MIN).map(drop)
}

fn one_of(value: &str, allowed: &'static [&'static str], expected: &'static str) -> Result<(), &'static str> {
    if allowed.contains(&value) {
        Ok(())
    } else {
        Err(expected)
    }
}

fn boolean(value: &str) -> Result<(), &'static str> {
    one_of(value, &["true", "false"], "true or false")
}

fn ratio(value: &str) -> Result<(), &'static str> {
    value
        .parse::<f64>()
        .ok()
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .map(drop)
        .ok_or("a number from 0 to 1")
}

fn unlimited_or<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-1".to_owned(), |value| value.to_string())
}

const FOREVER: &str = "9223372036854775807";

/// Every key a topic takes, sorted by name.
pub const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "cleanup.policy",
        kind: ConfigType::List,
        doc: "How old records leave: delete (by age and size), compact (all but the last of each key), or both.",
        default: |_| "delete".to_owned(),
        check: |value| {
            CleanupPolicy::parse(value)
                .map(drop)
                .ok_or("a list of compact and delete")
        },
    },
    ConfigKey {
        name: "compression.type",
        kind: ConfigType::String,
        doc: "Batches are stored as the producer compressed them.",
        default: |_| "producer".to_owned(),
        check: |value| {
            one_of(
                value,
                &["producer"],
                "producer (the broker does not compress again)",
            )
        },
    },
    ConfigKey {
        name: "corelog.durability",
        kind: ConfigType::String,
        doc: "What an ack means: durable (on the device) or relaxed (in memory, synced within flush.ms).",
        default: |_| "durable".to_owned(),
        check: |value| one_of(value, &["durable", "relaxed"], "durable or relaxed"),
    },
    ConfigKey {
        name: "delete.retention.ms",
        kind: ConfigType::Long,
        doc: "How long tombstones stay readable in a compacted topic after they were first cleaned.",
        default: |_| "86400000".to_owned(),
        check: at_least::<0>,
    },
    ConfigKey {
        name: "file.delete.delay.ms",
        kind: ConfigType::Long,
        doc: "Accepted for tools; files are recycled at once.",
        default: |_| "60000".to_owned(),
        check: at_least::<0>,
    },
    ConfigKey {
        name: "flush.messages",
        kind: ConfigType::Long,
        doc: "Setting more than 1 makes the topic relaxed: synced after so many records at the latest.",
        default: |_| FOREVER.to_owned(),
        check: at_least::<1>,
    },
    ConfigKey {
        name: "flush.ms",
        kind: ConfigType::Long,
        doc: "Setting more than 0 makes the topic relaxed: synced after so long at the latest.",
        default: |_| FOREVER.to_owned(),
        check: at_least::<0>,
    },
    ConfigKey {
        name: "index.interval.bytes",
        kind: ConfigType::Int,
        doc: "Log bytes per sparse index entry.",
        default: |defaults| defaults.index_interval_bytes.to_string(),
        check: at_least::<0>,
    },
    ConfigKey {
        name: "max.compaction.lag.ms",
        kind: ConfigType::Long,
        doc: "Longest time a record of a compacted topic may wait until it can be cleaned.",
        default: |_| FOREVER.to_owned(),
        check: at_least::<1>,
    },
    ConfigKey {
        name: "max.message.bytes",
        kind: ConfigType::Int,
        doc: "Largest record batch accepted, in bytes.",
        default: |defaults| defaults.max_message_bytes.to_string(),
        check: at_least::<0>,
    },
    ConfigKey {
        name: "message.timestamp.after.max.ms",
        kind: ConfigType::Long,
        doc: "Accepted for tools; timestamps are not bounded.",
        default: |_| FOREVER.to_owned(),
        check: at_least::<0>,
    },
    ConfigKey {
        name: "message.timestamp.before.max.ms",
        kind: ConfigType::Long,
        doc: "Accepted for tools; timestamps are not bounded.",
        default: |_| FOREVER.to_owned(),
        check: at_least::<0>,
    },
    ConfigKey {
        name: "message.timestamp.type",
        kind: ConfigType::String,
        doc: "Timestamps are the producer's.",
        default: |_| "CreateTime".to_owned(),
        check: |value| {
            one_of(
                value,
                &["CreateTime"],
                "CreateTime (LogAppendTime is not available)",
            )
        },
    },
    ConfigKey {
        name: "min.cleanable.dirty.ratio",
        kind: ConfigType::Double,
        doc: "Share of a compacted log that must be uncleaned before it is cleaned.",
        default: |_| "0.5".to_owned(),
        check: ratio,
    },
    ConfigKey {
        name: "min.compaction.lag.ms",
        kind: ConfigType::Long,
        doc: "Shortest time a record of a compacted topic stays as it is, by the broker's clock.",
        default: |_| "0".to_owned(),
        check: at_least::<0>,
    },
    ConfigKey {
        name: "min.insync.replicas",
        kind: ConfigType::Int,
        doc: "One node has one replica: only 1 can be met.",
        default: |_| "1".to_owned(),
        check: |value| one_of(value, &["1"], "1 (there is one replica)"),
    },
    ConfigKey {
        name: "preallocate",
        kind: ConfigType::Boolean,
        doc: "Accepted for tools; segments are always preallocated.",
        default: |_| "true".to_owned(),
        check: boolean,
    },
    ConfigKey {
        name: "retention.bytes",
        kind: ConfigType::Long,
        doc: "Bytes kept per partition; -1 for all.",
        default: |defaults| unlimited_or(defaults.retention_bytes),
        check: at_least::<-1>,
    },
    ConfigKey {
        name: "retention.ms",
        kind: ConfigType::Long,
        doc: "Time records are kept, by the broker's clock at append; -1 for ever.",
        default: |defaults| unlimited_or(defaults.retention.map(|retention| retention.as_millis())),
        check: at_least::<-1>,
    },
    ConfigKey {
        name: "segment.bytes",
        kind: ConfigType::Int,
        doc: "Size of a full-grown segment file; the first segments of a partition are smaller.",
        default: |defaults| defaults.segment_bytes.to_string(),
        check: |value| {
            let fits = |bytes: i64| {
                u64::try_from(bytes).is_ok_and(|b| (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&b))
            };
            long_from(value, 0)
                .ok()
                .filter(|bytes| fits(*bytes))
                .map(drop)
                .ok_or("16384 to 2147483647")
        },
    },
    ConfigKey {
        name: "segment.index.bytes",
        kind: ConfigType::Int,
        doc: "Accepted for tools; indexes grow with their segment.",
        default: |_| "10485760".to_owned(),
        check: at_least::<4>,
    },
    ConfigKey {
        name: "segment.jitter.ms",
        kind: ConfigType::Long,
        doc: "Up to this much is taken off segment.ms, so that many segments do not roll at once.",
        default: |_| "0".to_owned(),
        check: at_least::<0>,
    },
    ConfigKey {
        name: "segment.ms",
        kind: ConfigType::Long,
        doc: "A segment is sealed when its first record is this old, by the broker's clock.",
        default: |_| "604800000".to_owned(),
        check: at_least::<1>,
    },
    ConfigKey {
        name: "unclean.leader.election.enable",
        kind: ConfigType::Boolean,
        doc: "Accepted for tools; one node elects nobody.",
        default: |_| "false".to_owned(),
        check: boolean,
    },
];

/// The key of that name.
#[must_use]
pub fn key(name: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.name == name)
}

/// Checks what a client wants to set.
///
/// # Errors
/// [`TopicError`] for the first key or value that is not acceptable.
pub fn check_overrides(overrides: &BTreeMap<String, String>) -> Result<(), TopicError> {
    for (name, value) in overrides {
        let key = key(name).ok_or_else(|| TopicError::UnknownKey(name.clone()))?;
        (key.check)(value).map_err(|expected| TopicError::Value {
            key: name.clone(),
            value: value.clone(),
            expected,
        })?;
    }
    Ok(())
}

/// Puts a topic's overrides over the broker's defaults. Values that do not parse (written by another version) count as
/// not set.
#[must_use]
pub fn settings(overrides: &BTreeMap<String, String>, defaults: &TopicDefaults) -> TopicSettings {
    let long = |name: &str| {
        overrides
            .get(name)
            .and_then(|value| value.trim().parse::<i64>().ok())
    };
    let limit =
        |name: &str, default: Option<u64>| long(name).map_or(default, |value| u64::try_from(value).ok());
    let flush_messages = long("flush.messages").and_then(|n| u64::try_from(n).ok());
    let flush_ms = long("flush.ms").and_then(|ms| u64::try_from(ms).ok());
    let relaxed = match overrides.get("corelog.durability").map(String::as_str) {
        Some("relaxed") => true,
        Some(_) => false,
        None => flush_messages.is_some_and(|n| n > 1) || flush_ms.is_some_and(|ms| ms > 0),
    };
    TopicSettings {
        log: LogConfig {
            segment_bytes: limit("segment.bytes", Some(defaults.segment_bytes))
                .unwrap_or(defaults.segment_bytes),
            index_interval_bytes: limit("index.interval.bytes", None)
                .unwrap_or(defaults.index_interval_bytes),
            durability: if relaxed {
                Durability::Relaxed
            } else {
                Durability::Durable
            },
        },
        retention_bytes: limit("retention.bytes", defaults.retention_bytes),
        retention: limit(
            "retention.ms",
            defaults.retention.and_then(|d| u64::try_from(d.as_millis()).ok()),
        )
        .map(Duration::from_millis),
        max_message_bytes: long("max.message.bytes")
            .and_then(|bytes| u32::try_from(bytes).ok())
            .unwrap_or(defaults.max_message_bytes),
        flush_interval: flush_ms.map_or(defaults.relaxed_sync_interval, Duration::from_millis),
        flush_messages: flush_messages.unwrap_or(u64::MAX),
        cleanup: overrides
            .get("cleanup.policy")
            .and_then(|text| CleanupPolicy::parse(text))
            .unwrap_or_default(),
        compaction: compaction(overrides),
        segment_age: millis(overrides, "segment.ms").unwrap_or(SEGMENT_AGE),
        segment_jitter: millis(overrides, "segment.jitter.ms").unwrap_or(Duration::ZERO),
    }
}

fn millis(overrides: &BTreeMap<String, String>, name: &str) -> Option<Duration> {
    let value = overrides.get(name)?.trim().parse().ok()?;
    Some(Duration::from_millis(value))
}

fn compaction(overrides: &BTreeMap<String, String>) -> CompactionSettings {
    let default = CompactionSettings::default();
    CompactionSettings {
        min_lag: millis(overrides, "min.compaction.lag.ms").unwrap_or(default.min_lag),
        max_lag: millis(overrides, "max.compaction.lag.ms").unwrap_or(default.max_lag),
        min_dirty: overrides
            .get("min.cleanable.dirty.ratio")
            .and_then(|text| Ratio::parse(text))
            .unwrap_or(default.min_dirty),
        delete_retention: millis(overrides, "delete.retention.ms").unwrap_or(default.delete_retention),
    }
}

/// Kafka's default of `segment.ms`.
const SEGMENT_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A topic as every shard sees it. Immutable; a change makes a new one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub id: TopicId,
    /// Partitions `0..partitions`.
    pub partitions: u32,
    /// What was set explicitly.
    pub overrides: BTreeMap<String, String>,
    /// What that comes to.
    pub settings: TopicSettings,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A.b_c-9", &"x".repeat(249)] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", &"x".repeat(250)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_are_sorted_unique_and_accept_their_own_defaults() {
        assert!(KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for key in KEYS {
            let default = (key.default)(&TopicDefaults::default());
            assert_eq!((key.check)(&default), Ok(()), "{}={default}", key.name);
        }
    }

    #[test]
    fn what_would_promise_too_much_is_refused() {
        for pair in [
            ("cleanup.policy", "shrink"),
            ("min.insync.replicas", "2"),
            ("segment.bytes", "1"),
            ("nope", "1"),
        ] {
            assert!(check_overrides(&overrides(&[pair])).is_err(), "{pair:?}");
        }
    }

    #[test]
    fn kafkas_flush_settings_choose_relaxed_durability() {
        let durability = |pairs: &[(&str, &str)]| {
            settings(&overrides(pairs), &TopicDefaults::default())
                .log
                .durability
        };
        assert_eq!(durability(&[]), Durability::Durable);
        assert_eq!(durability(&[("flush.messages", "1")]), Durability::Durable);
        assert_eq!(durability(&[("flush.messages", "1000")]), Durability::Relaxed);
        assert_eq!(durability(&[("flush.ms", "0")]), Durability::Durable);
        assert_eq!(durability(&[("flush.ms", "500")]), Durability::Relaxed);
        assert_eq!(
            durability(&[("flush.ms", "500"), ("corelog.durability", "durable")]),
            Durability::Durable
        );
        assert_eq!(
            durability(&[("corelog.durability", "relaxed")]),
            Durability::Relaxed
        );
    }

    #[test]
    fn minus_one_means_unlimited() {
        let found = settings(
            &overrides(&[("retention.ms", "-1"), ("retention.bytes", "-1")]),
            &TopicDefaults::default(),
        );
        assert_eq!((found.retention, found.retention_bytes), (None, None));
        let found = settings(
            &overrides(&[("retention.ms", "1000"), ("retention.bytes", "5")]),
            &TopicDefaults::default(),
        );
        assert_eq!(
            (found.retention, found.retention_bytes),
            (Some(Duration::from_secs(1)), Some(5))
        );
    }
}

//! What a topic's configuration comes to: texts turned into what the shards obey.
//!
//! [`settings`] puts what a topic sets over the broker's defaults. Values that do not parse (written by another version)
//! count as not set, so a broker always starts. Pure.

use super::keys::COMPRESSION_TYPES;
use crate::batch::attributes::{Compression, TimestampType};
use crate::broker::cleanup::{CleanupPolicy, CompactionSettings, Ratio};
use crate::storage::log::{Durability, LogConfig};
use std::collections::BTreeMap;
use std::time::Duration;

/// The broker's defaults for what a topic does not set, as the configuration file has them.
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
    /// How far from the broker's clock producers may stamp records.
    pub timestamps: TimestampBounds,
    /// How batches are stored.
    pub compression: StoredCompression,
    /// Replicas a batch must reach before acks=all is answered.
    pub min_insync_replicas: u32,
}

/// How far from the broker's clock producers may stamp records, in milliseconds. With LogAppendTime there is no bound,
/// since their stamps are not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimestampBounds {
    /// Into the past; `None` is unlimited.
    pub before_ms: Option<i64>,
    /// Into the future; `None` is unlimited.
    pub after_ms: Option<i64>,
}

/// How batches are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StoredCompression {
    /// As they came.
    #[default]
    Producer,
    /// With this codec; batches that came with another are compressed again.
    Broker {
        /// The codec.
        codec: Compression,
        /// Its level; `None` for its default.
        level: Option<i32>,
    },
}

/// Puts a topic's overrides over the broker's defaults.
#[must_use]
pub fn settings(overrides: &BTreeMap<String, String>, defaults: &TopicDefaults) -> TopicSettings {
    let read = Reading(overrides);
    let flush_messages = read.long("flush.messages").and_then(|n| u64::try_from(n).ok());
    let flush_ms = read.long("flush.ms").and_then(|ms| u64::try_from(ms).ok());
    let timestamp_type = match read.text("message.timestamp.type") {
        Some("LogAppendTime") => TimestampType::LogAppendTime,
        _ => TimestampType::CreateTime,
    };
    TopicSettings {
        log: LogConfig {
            segment_bytes: read
                .limit("segment.bytes", Some(defaults.segment_bytes))
                .unwrap_or(defaults.segment_bytes),
            index_interval_bytes: read
                .limit("index.interval.bytes", None)
                .unwrap_or(defaults.index_interval_bytes),
            durability: durability(&read, flush_messages, flush_ms),
            timestamp_type,
        },
        retention_bytes: read.limit("retention.bytes", defaults.retention_bytes),
        retention: read
            .limit(
                "retention.ms",
                defaults.retention.and_then(|d| u64::try_from(d.as_millis()).ok()),
            )
            .map(Duration::from_millis),
        max_message_bytes: read
            .long("max.message.bytes")
            .and_then(|bytes| u32::try_from(bytes).ok())
            .unwrap_or(defaults.max_message_bytes),
        flush_interval: flush_ms.map_or(defaults.relaxed_sync_interval, Duration::from_millis),
        flush_messages: flush_messages.unwrap_or(u64::MAX),
        cleanup: read
            .text("cleanup.policy")
            .and_then(CleanupPolicy::parse)
            .unwrap_or_default(),
        compaction: compaction(&read),
        segment_age: read.millis("segment.ms").unwrap_or(SEGMENT_AGE),
        segment_jitter: read.millis("segment.jitter.ms").unwrap_or(Duration::ZERO),
        timestamps: timestamps(&read, timestamp_type),
        compression: compression(&read),
        min_insync_replicas: read
            .long("min.insync.replicas")
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1),
    }
}

/// The overrides, read as values.
struct Reading<'a>(&'a BTreeMap<String, String>);

impl<'a> Reading<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.trim())
    }

    fn long(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// A bound where a negative number means none.
    fn limit(&self, name: &str, default: Option<u64>) -> Option<u64> {
        self.long(name).map_or(default, |value| u64::try_from(value).ok())
    }

    fn millis(&self, name: &str) -> Option<Duration> {
        let value = u64::try_from(self.long(name)?).ok()?;
        Some(Duration::from_millis(value))
    }
}

fn durability(read: &Reading<'_>, flush_messages: Option<u64>, flush_ms: Option<u64>) -> Durability {
    let relaxed = match read.text("corelog.durability") {
        Some("relaxed") => true,
        Some(_) => false,
        None => {
            let messages = flush_messages.is_some_and(|n| n > 1 && n < NEVER_MS.unsigned_abs());
            messages || flush_ms.is_some_and(|ms| ms > 0 && ms < NEVER_MS.unsigned_abs())
        }
    };
    if relaxed {
        Durability::Relaxed
    } else {
        Durability::Durable
    }
}

fn compaction(read: &Reading<'_>) -> CompactionSettings {
    let default = CompactionSettings::default();
    CompactionSettings {
        min_lag: read.millis("min.compaction.lag.ms").unwrap_or(default.min_lag),
        max_lag: read.millis("max.compaction.lag.ms").unwrap_or(default.max_lag),
        min_dirty: read
            .text("min.cleanable.dirty.ratio")
            .and_then(Ratio::parse)
            .unwrap_or(default.min_dirty),
        delete_retention: read
            .millis("delete.retention.ms")
            .unwrap_or(default.delete_retention),
    }
}

fn timestamps(read: &Reading<'_>, timestamp_type: TimestampType) -> TimestampBounds {
    let bound = |name, default| {
        let bound = read.long(name).unwrap_or(default);
        (bound < NEVER_MS && timestamp_type == TimestampType::CreateTime).then_some(bound)
    };
    TimestampBounds {
        before_ms: bound("message.timestamp.before.max.ms", NEVER_MS),
        after_ms: bound("message.timestamp.after.max.ms", AFTER_MS),
    }
}

fn compression(read: &Reading<'_>) -> StoredCompression {
    let codec = match read.text("compression.type") {
        Some("uncompressed") => Compression::None,
        Some("gzip") => Compression::Gzip,
        Some("snappy") => Compression::Snappy,
        Some("lz4") => Compression::Lz4,
        Some("zstd") => Compression::Zstd,
        _ => return StoredCompression::Producer,
    };
    debug_assert_eq!(
        COMPRESSION_TYPES.len(),
        Compression::ALL.len() + 1,
        "each is read above"
    );
    let level = |name| read.long(name).and_then(|level| i32::try_from(level).ok());
    let level = match codec {
        Compression::Gzip => level("compression.gzip.level").filter(|level| *level > 0),
        Compression::Zstd => level("compression.zstd.level"),
        Compression::None | Compression::Snappy | Compression::Lz4 => None,
    };
    StoredCompression::Broker { codec, level }
}

/// Kafka's default of `segment.ms`.
const SEGMENT_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Kafka 4's default of `message.timestamp.after.max.ms`: an hour.
const AFTER_MS: i64 = 3_600_000;

/// The value that stands for "never" and "no bound".
const NEVER_MS: i64 = i64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_of(pairs: &[(&str, &str)]) -> TopicSettings {
        let overrides = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        settings(&overrides, &TopicDefaults::default())
    }

    #[test]
    fn kafkas_flush_settings_choose_relaxed_durability() {
        let durability = |pairs: &[(&str, &str)]| settings_of(pairs).log.durability;
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
    fn kafkas_default_written_out_keeps_a_topic_durable() {
        for key in ["flush.messages", "flush.ms"] {
            let found = settings_of(&[(key, "9223372036854775807")]);
            assert_eq!(found.log.durability, Durability::Durable, "{key}");
        }
    }

    #[test]
    fn minus_one_means_unlimited() {
        let found = settings_of(&[("retention.ms", "-1"), ("retention.bytes", "-1")]);
        assert_eq!((found.retention, found.retention_bytes), (None, None));
        let found = settings_of(&[("retention.ms", " 1000 "), ("retention.bytes", "5")]);
        assert_eq!(
            (found.retention, found.retention_bytes),
            (Some(Duration::from_secs(1)), Some(5))
        );
    }

    #[test]
    fn an_hour_ahead_is_the_bound_unless_the_broker_stamps() {
        let bounds = |pairs| settings_of(pairs).timestamps;
        let default = TimestampBounds {
            before_ms: None,
            after_ms: Some(3_600_000),
        };
        assert_eq!(bounds(&[]), default);
        let set = bounds(&[
            ("message.timestamp.before.max.ms", "5"),
            ("message.timestamp.after.max.ms", "9223372036854775807"),
        ]);
        assert_eq!((set.before_ms, set.after_ms), (Some(5), None));
        let stamped = bounds(&[
            ("message.timestamp.type", "LogAppendTime"),
            ("message.timestamp.before.max.ms", "5"),
        ]);
        assert_eq!((stamped.before_ms, stamped.after_ms), (None, None));
    }

    #[test]
    fn levels_belong_to_their_codec() {
        let compression = |codec, level: (&'static str, &'static str)| {
            settings_of(&[("compression.type", codec), level]).compression
        };
        let zstd = ("compression.zstd.level", "7");
        let broker = |codec, level| StoredCompression::Broker { codec, level };
        assert_eq!(compression("producer", zstd), StoredCompression::Producer);
        assert_eq!(compression("zstd", zstd), broker(Compression::Zstd, Some(7)));
        assert_eq!(compression("gzip", zstd), broker(Compression::Gzip, None));
        assert_eq!(
            compression("gzip", ("compression.gzip.level", "-1")),
            broker(Compression::Gzip, None)
        );
        assert_eq!(compression("uncompressed", zstd), broker(Compression::None, None));
    }
}

//! Every key a topic takes: name, values, default, the broker's key behind it, and what it does here.
//!
//! Kafka's names, and Kafka's defaults but for the sizes of segments and index intervals, which are ours because our
//! segments are preallocated. Keys that do nothing on one node are accepted and reported, and say so, because tools refuse
//! brokers that refuse keys. Keys that Kafka 4 has dropped are accepted from old tools and reported only where they are set.

use super::settings::TopicDefaults;
use crate::broker::config_value::{Domain, INT_MAX};
use crate::storage::segment::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

/// When DescribeConfigs names a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listing {
    /// Always.
    Always,
    /// Only where it is set.
    WhereSet,
}

/// One topic config key.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// Kafka's name.
    pub name: &'static str,
    /// What values it takes.
    pub domain: Domain,
    /// One sentence for tools.
    pub doc: &'static str,
    /// The broker's key that gives the default of topics that do not set it.
    pub broker: Option<&'static str>,
    /// When it is reported.
    pub listing: Listing,
    /// The default by the broker's configuration file, written as the value would be.
    pub default: fn(&TopicDefaults) -> String,
}

const fn key(
    name: &'static str,
    domain: Domain,
    default: fn(&TopicDefaults) -> String,
    doc: &'static str,
) -> ConfigKey {
    ConfigKey {
        name,
        domain,
        doc,
        broker: None,
        listing: Listing::Always,
        default,
    }
}

impl ConfigKey {
    /// Names the broker's key behind this one.
    const fn of(mut self, broker: &'static str) -> Self {
        self.broker = Some(broker);
        self
    }

    /// Makes it a key of the past.
    const fn retired(mut self) -> Self {
        self.listing = Listing::WhereSet;
        self
    }
}

/// Kafka's "never", in milliseconds, and "as many as you like".
pub(super) const FOREVER: &str = "9223372036854775807";

/// The codecs `compression.type` may name.
pub(super) const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

fn forever(_: &TopicDefaults) -> String {
    FOREVER.to_owned()
}

fn zero(_: &TopicDefaults) -> String {
    "0".to_owned()
}

fn off(_: &TopicDefaults) -> String {
    "false".to_owned()
}

fn nothing(_: &TopicDefaults) -> String {
    String::new()
}

fn as_retention(_: &TopicDefaults) -> String {
    "-2".to_owned()
}

fn unlimited_or<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-1".to_owned(), |value| value.to_string())
}

/// Sizes a full-grown segment may have: what the storage room takes, as far as Kafka's type goes.
const SEGMENT_BYTES: Domain = {
    assert!(SEGMENT_BYTES_MIN == 16 << 10 && SEGMENT_BYTES_MAX >= INT_MAX.unsigned_abs() as u64);
    Domain::Int(16 << 10, INT_MAX)
};

/// Every key a topic takes, sorted by name.
pub const KEYS: &[ConfigKey] = &[
    key(
        "cleanup.policy",
        Domain::Words(&["compact", "delete"]),
        |_| "delete".to_owned(),
        "How old records leave: delete (by age and size), compact (all but the last of each key), or both.",
    )
    .of("log.cleanup.policy"),
    key(
        "compression.gzip.level",
        Domain::IntOr(-1, 1, 9),
        |_| "-1".to_owned(),
        "How hard the broker tries when it recompresses with gzip; -1 for the codec's default.",
    )
    .of("compression.gzip.level"),
    key(
        "compression.lz4.level",
        Domain::Int(1, 17),
        |_| "9".to_owned(),
        "Accepted for tools; the broker's lz4 has one level.",
    )
    .of("compression.lz4.level"),
    key(
        "compression.type",
        Domain::Word(COMPRESSION_TYPES),
        |_| "producer".to_owned(),
        "How batches are stored: as the producer compressed them, or compressed by the broker with this codec.",
    )
    .of("compression.type"),
    key(
        "compression.zstd.level",
        Domain::Int(-131_072, 22),
        |_| "3".to_owned(),
        "How hard the broker tries when it recompresses with zstd.",
    )
    .of("compression.zstd.level"),
    key(
        "corelog.durability",
        Domain::Word(&["durable", "relaxed"]),
        |_| "durable".to_owned(),
        "What an ack means: durable (on the device) or relaxed (in memory, synced within flush.ms).",
    ),
    key(
        "delete.retention.ms",
        Domain::Long(0),
        |_| "86400000".to_owned(),
        "How long tombstones stay readable in a compacted topic after they were first cleaned.",
    )
    .of("log.cleaner.delete.retention.ms"),
    key(
        "file.delete.delay.ms",
        Domain::Long(0),
        |_| "60000".to_owned(),
        "Accepted for tools; files are recycled at once.",
    )
    .of("log.segment.delete.delay.ms"),
    key(
        "flush.messages",
        Domain::Long(1),
        forever,
        "Setting more than 1 makes the topic relaxed: synced after so many records at the latest.",
    ),
    key(
        "flush.ms",
        Domain::Long(0),
        forever,
        "Setting more than 0 makes the topic relaxed: synced after so long at the latest.",
    ),
    key(
        "follower.replication.throttled.replicas",
        Domain::Replicas,
        nothing,
        "Accepted for tools; one node has no followers.",
    ),
    key(
        "index.interval.bytes",
        Domain::Int(0, INT_MAX),
        |defaults| defaults.index_interval_bytes.to_string(),
        "Log bytes per sparse index entry.",
    )
    .of("log.index.interval.bytes"),
    key(
        "leader.replication.throttled.replicas",
        Domain::Replicas,
        nothing,
        "Accepted for tools; one node has no followers.",
    ),
    key(
        "local.retention.bytes",
        Domain::Long(-2),
        as_retention,
        "Accepted for tools; all storage is local.",
    )
    .of("log.local.retention.bytes"),
    key(
        "local.retention.ms",
        Domain::Long(-2),
        as_retention,
        "Accepted for tools; all storage is local.",
    )
    .of("log.local.retention.ms"),
    key(
        "max.compaction.lag.ms",
        Domain::Long(1),
        forever,
        "Longest time a record of a compacted topic may wait until it can be cleaned.",
    )
    .of("log.cleaner.max.compaction.lag.ms"),
    key(
        "max.message.bytes",
        Domain::Int(0, INT_MAX),
        |defaults| defaults.max_message_bytes.to_string(),
        "Largest record batch accepted, in bytes.",
    )
    .of("message.max.bytes"),
    key(
        "message.downconversion.enable",
        Domain::Boolean,
        |_| "true".to_owned(),
        "Accepted from old tools; every client reads the one format there is.",
    )
    .retired(),
    key(
        "message.format.version",
        Domain::Text,
        |_| "3.0-IV1".to_owned(),
        "Accepted from old tools; there is one format.",
    )
    .retired(),
    key(
        "message.timestamp.after.max.ms",
        Domain::Long(0),
        |_| "3600000".to_owned(),
        "Records may be stamped this far in the future, by the broker's clock.",
    )
    .of("log.message.timestamp.after.max.ms"),
    key(
        "message.timestamp.before.max.ms",
        Domain::Long(0),
        forever,
        "Records may be stamped this far in the past, by the broker's clock.",
    )
    .of("log.message.timestamp.before.max.ms"),
    key(
        "message.timestamp.difference.max.ms",
        Domain::Long(0),
        forever,
        "Accepted from old tools; message.timestamp.before.max.ms and .after.max.ms took its place.",
    )
    .retired(),
    key(
        "message.timestamp.type",
        Domain::Word(&["CreateTime", "LogAppendTime"]),
        |_| "CreateTime".to_owned(),
        "Whose time records bear: the producer's (CreateTime) or the broker's (LogAppendTime).",
    )
    .of("log.message.timestamp.type"),
    key(
        "min.cleanable.dirty.ratio",
        Domain::Double(0.0, 1.0),
        |_| "0.5".to_owned(),
        "Share of a compacted log that must be uncleaned before it is cleaned.",
    )
    .of("log.cleaner.min.cleanable.ratio"),
    key(
        "min.compaction.lag.ms",
        Domain::Long(0),
        zero,
        "Shortest time a record of a compacted topic stays as it is, by the broker's clock.",
    )
    .of("log.cleaner.min.compaction.lag.ms"),
    key(
        "min.insync.replicas",
        Domain::Int(1, INT_MAX),
        |_| "1".to_owned(),
        "Replicas that must have a batch before acks=all is answered. There is one: more refuses such batches.",
    )
    .of("min.insync.replicas"),
    key(
        "preallocate",
        Domain::Boolean,
        |_| "true".to_owned(),
        "Accepted for tools; segments are always preallocated.",
    )
    .of("log.preallocate"),
    key(
        "remote.log.copy.disable",
        Domain::Boolean,
        off,
        "Accepted for tools; there is no remote storage.",
    ),
    key(
        "remote.log.delete.on.disable",
        Domain::Boolean,
        off,
        "Accepted for tools; there is no remote storage.",
    ),
    key(
        "remote.storage.enable",
        Domain::Word(&["false"]),
        off,
        "There is no remote storage: only false can be kept.",
    ),
    key(
        "retention.bytes",
        Domain::Long(-1),
        |defaults| unlimited_or(defaults.retention_bytes),
        "Bytes kept per partition; -1 for all.",
    )
    .of("log.retention.bytes"),
    key(
        "retention.ms",
        Domain::Long(-1),
        |defaults| unlimited_or(defaults.retention.map(|retention| retention.as_millis())),
        "Time records are kept, by the broker's clock at append; -1 for ever.",
    )
    .of("log.retention.ms"),
    key(
        "segment.bytes",
        SEGMENT_BYTES,
        |defaults| defaults.segment_bytes.to_string(),
        "Size of a full-grown segment file; the first segments of a partition are smaller.",
    )
    .of("log.segment.bytes"),
    key(
        "segment.index.bytes",
        Domain::Int(4, INT_MAX),
        |_| "10485760".to_owned(),
        "Accepted for tools; indexes grow with their segment.",
    )
    .of("log.index.size.max.bytes"),
    key(
        "segment.jitter.ms",
        Domain::Long(0),
        zero,
        "Up to this much is taken off segment.ms, so that many segments do not roll at once.",
    )
    .of("log.roll.jitter.ms"),
    key(
        "segment.ms",
        Domain::Long(1),
        |_| "604800000".to_owned(),
        "A segment is sealed when its first record is this old, by the broker's clock.",
    )
    .of("log.roll.ms"),
    key(
        "unclean.leader.election.enable",
        Domain::Boolean,
        off,
        "Accepted for tools; one node elects nobody.",
    )
    .of("unclean.leader.election.enable"),
];

/// The key of that name.
#[must_use]
pub fn key_of(name: &str) -> Option<&'static ConfigKey> {
    let at = KEYS.binary_search_by(|key| key.name.cmp(name)).ok()?;
    Some(&KEYS[at])
}

/// The topic key whose default the broker's key of that name gives.
#[must_use]
pub fn behind(broker: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.broker == Some(broker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_unique_and_so_are_the_brokers_behind_them() {
        assert!(KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
        let mut behind: Vec<_> = KEYS.iter().filter_map(|key| key.broker).collect();
        let count = behind.len();
        behind.sort_unstable();
        behind.dedup();
        assert_eq!(behind.len(), count);
        assert!(KEYS.iter().all(|key| key_of(key.name).is_some()));
    }

    #[test]
    fn every_default_is_a_legal_value() {
        for key in KEYS {
            let default = (key.default)(&TopicDefaults::default());
            assert_eq!(key.domain.check(&default), Ok(()), "{}={default}", key.name);
        }
    }

    #[test]
    fn defaults_are_kafkas_where_ours_are_not_documented_to_differ() {
        let ours = [
            "segment.bytes",
            "index.interval.bytes",
            "preallocate",
            "corelog.durability",
        ];
        let kafkas = [
            ("cleanup.policy", "delete"),
            ("compression.gzip.level", "-1"),
            ("compression.lz4.level", "9"),
            ("compression.type", "producer"),
            ("compression.zstd.level", "3"),
            ("delete.retention.ms", "86400000"),
            ("file.delete.delay.ms", "60000"),
            ("flush.messages", FOREVER),
            ("flush.ms", FOREVER),
            ("follower.replication.throttled.replicas", ""),
            ("leader.replication.throttled.replicas", ""),
            ("local.retention.bytes", "-2"),
            ("local.retention.ms", "-2"),
            ("max.compaction.lag.ms", FOREVER),
            ("max.message.bytes", "1048588"),
            ("message.timestamp.after.max.ms", "3600000"),
            ("message.timestamp.before.max.ms", FOREVER),
            ("message.timestamp.type", "CreateTime"),
            ("min.cleanable.dirty.ratio", "0.5"),
            ("min.compaction.lag.ms", "0"),
            ("min.insync.replicas", "1"),
            ("remote.log.copy.disable", "false"),
            ("remote.log.delete.on.disable", "false"),
            ("remote.storage.enable", "false"),
            ("retention.bytes", "-1"),
            ("retention.ms", "604800000"),
            ("segment.index.bytes", "10485760"),
            ("segment.jitter.ms", "0"),
            ("segment.ms", "604800000"),
            ("unclean.leader.election.enable", "false"),
        ];
        for key in KEYS.iter().filter(|key| key.listing == Listing::Always) {
            let default = (key.default)(&TopicDefaults::default());
            match kafkas.iter().find(|(name, _)| *name == key.name) {
                Some((_, expected)) => assert_eq!(default, *expected, "{}", key.name),
                None => assert!(ours.contains(&key.name), "{} is in neither list", key.name),
            }
        }
    }
}

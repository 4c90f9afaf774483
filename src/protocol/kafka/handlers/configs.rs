//! What is configured, as DescribeConfigs and CreateTopics tell it: key, value, where it comes from.
//!
//! Topics have every key of [`crate::broker::topic::KEYS`], set or default. Of the broker's own settings a small set
//! is shown under Kafka's names, because tools read them; they come from the configuration file and cannot be changed
//! through the protocol. Pure; nothing here is secret.

use crate::broker::topic::{ConfigType, KEYS, Topic, TopicDefaults};
use crate::protocol::kafka::messages::{
    SOURCE_DEFAULT, SOURCE_STATIC_BROKER, SOURCE_TOPIC, TYPE_BOOLEAN, TYPE_DOUBLE, TYPE_INT, TYPE_LIST,
    TYPE_LONG, TYPE_STRING,
};
use crate::shard::DoorLimits;
use std::collections::BTreeMap;

/// Memory that describing one resource takes, encoded and not: some 25 settings of about 600 bytes.
pub(super) const RESERVE_BYTES: usize = 16 * 1024;

/// One setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// Its name.
    pub(super) name: &'static str,
    /// Its value now.
    pub(super) value: String,
    /// Its value if it were not set; equal to `value` if it is not.
    pub(super) default: String,
    /// Kafka's number for where the value comes from.
    pub(super) source: i8,
    /// Kafka's number for the type.
    pub(super) kind: i8,
    /// Whether it cannot be changed.
    pub(super) read_only: bool,
    /// One sentence.
    pub(super) doc: &'static str,
}

/// All settings of a topic.
pub(super) fn of_topic(topic: &Topic, defaults: &TopicDefaults) -> Vec<Entry> {
    of_overrides(&topic.overrides, defaults)
}

/// All settings of a topic with these overrides.
pub(super) fn of_overrides(overrides: &BTreeMap<String, String>, defaults: &TopicDefaults) -> Vec<Entry> {
    let entry = |key: &'static crate::broker::topic::ConfigKey| {
        let default = (key.default)(defaults);
        let set = overrides.get(key.name);
        Entry {
            name: key.name,
            value: set.unwrap_or(&default).clone(),
            source: if set.is_some() {
                SOURCE_TOPIC
            } else {
                SOURCE_DEFAULT
            },
            default,
            kind: wire_type(key.kind),
            read_only: false,
            doc: key.doc,
        }
    };
    KEYS.iter().map(entry).collect()
}

/// The settings of the broker that tools ask for.
pub(super) fn of_broker(limits: &DoorLimits) -> Vec<Entry> {
    let defaults = &limits.topic_defaults;
    let unlimited = |value: Option<u128>| value.map_or_else(|| "-1".to_owned(), |value| value.to_string());
    let entry = |name, value: String, kind, doc| Entry {
        name,
        default: value.clone(),
        value,
        source: SOURCE_STATIC_BROKER,
        kind,
        read_only: true,
        doc,
    };
    vec![
        entry(
            "auto.create.topics.enable",
            limits.auto_create_topics.to_string(),
            TYPE_BOOLEAN,
            "Whether asking for a topic that does not exist may create it.",
        ),
        entry(
            "connections.max.idle.ms",
            limits.idle_timeout.as_millis().to_string(),
            TYPE_LONG,
            "A connection without requests is closed after this time.",
        ),
        entry(
            "default.replication.factor",
            "1".to_owned(),
            TYPE_INT,
            "One node has one replica.",
        ),
        entry(
            "log.retention.bytes",
            unlimited(defaults.retention_bytes.map(u128::from)),
            TYPE_LONG,
            "Bytes kept per partition where the topic does not say.",
        ),
        entry(
            "log.retention.ms",
            unlimited(defaults.retention.map(|time| time.as_millis())),
            TYPE_LONG,
            "Time records are kept where the topic does not say.",
        ),
        entry(
            "log.segment.bytes",
            defaults.segment_bytes.to_string(),
            TYPE_INT,
            "Size of a full-grown segment file where the topic does not say.",
        ),
        entry(
            "message.max.bytes",
            defaults.max_message_bytes.to_string(),
            TYPE_INT,
            "Largest record batch where the topic does not say.",
        ),
        entry(
            "min.insync.replicas",
            "1".to_owned(),
            TYPE_INT,
            "One node has one replica.",
        ),
        entry(
            "num.partitions",
            limits.num_partitions.to_string(),
            TYPE_INT,
            "Partitions of a topic whose creator does not say.",
        ),
        entry(
            "socket.request.max.bytes",
            limits.max_frame_bytes.to_string(),
            TYPE_INT,
            "Largest request accepted.",
        ),
    ]
}

const fn wire_type(kind: ConfigType) -> i8 {
    match kind {
        ConfigType::String => TYPE_STRING,
        ConfigType::Int => TYPE_INT,
        ConfigType::Long => TYPE_LONG,
        ConfigType::List => TYPE_LIST,
        ConfigType::Boolean => TYPE_BOOLEAN,
        ConfigType::Double => TYPE_DOUBLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_comes_from_the_topic_and_the_rest_is_default() {
        let overrides = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
        let entries = of_overrides(&overrides, &TopicDefaults::default());
        let source = |name| {
            entries
                .iter()
                .find(|entry| entry.name == name)
                .map(|entry| entry.source)
        };
        assert_eq!(entries.len(), KEYS.len());
        assert_eq!(source("retention.ms"), Some(SOURCE_TOPIC));
        assert_eq!(source("segment.bytes"), Some(SOURCE_DEFAULT));
    }
}

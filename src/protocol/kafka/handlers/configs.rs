//! What is configured, in the words of DescribeConfigs and CreateTopics: key, value, every place that gives it one.
//!
//! The rooms below know the places ([`BrokerConfig`]); here they get Kafka's numbers. Pure; nothing here is secret.
//! [`alter`] is what the APIs that change configurations share.

pub(super) mod alter;

use crate::broker::broker_config::{BrokerConfig, Described, Given, Origin};
use crate::broker::config_value::ConfigType;
use crate::broker::topic::{KEYS, Listing};
use crate::protocol::kafka::messages::{
    SOURCE_DEFAULT, SOURCE_DYNAMIC_BROKER, SOURCE_DYNAMIC_DEFAULT_BROKER, SOURCE_STATIC_BROKER, SOURCE_TOPIC,
    TYPE_BOOLEAN, TYPE_DOUBLE, TYPE_INT, TYPE_LIST, TYPE_LONG, TYPE_SHORT, TYPE_STRING,
};
use crate::shard::Node;
use std::collections::BTreeMap;

/// Memory that describing a topic takes, encoded and not: some 35 settings of about 600 bytes.
pub(super) const TOPIC_RESERVE_BYTES: usize = 24 * 1024;

/// And describing a broker: some 150 of them.
pub(super) const BROKER_RESERVE_BYTES: usize = 96 * 1024;

/// Kafka's number for the level of a logger.
const SOURCE_DYNAMIC_BROKER_LOGGER: i8 = 6;

/// Kafka's number for a value whose type is not told, as it does for loggers.
const TYPE_UNKNOWN: i8 = 0;

/// Kafka's number for the name of a class.
const TYPE_CLASS: i8 = 8;

/// One setting.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    /// Its name.
    pub(super) name: &'static str,
    /// Every place that gives it a value, the strongest first.
    pub(super) given: Vec<Synonym>,
    /// Kafka's number for the type.
    pub(super) kind: i8,
    /// Whether it cannot be changed.
    pub(super) read_only: bool,
    /// One sentence.
    pub(super) doc: &'static str,
}

/// One place that gives a setting its value.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Synonym {
    /// The key as it is called there.
    pub(super) name: &'static str,
    /// The value there.
    pub(super) value: String,
    /// Kafka's number for the place.
    pub(super) source: i8,
}

impl Entry {
    /// The value, if it has one.
    pub(super) fn value(&self) -> Option<&str> {
        self.given.first().map(|given| given.value.as_str())
    }

    /// Kafka's number for where the value comes from.
    pub(super) fn source(&self) -> i8 {
        self.given.first().map_or(SOURCE_DEFAULT, |given| given.source)
    }
}

/// All settings of a topic with these overrides.
pub(super) fn of_topic(overrides: &BTreeMap<String, String>, broker: &BrokerConfig) -> Vec<Entry> {
    KEYS.iter()
        .filter(|key| key.listing == Listing::Always || overrides.contains_key(key.name))
        .map(|key| broker.describe_topic_key(key, overrides).into())
        .collect()
}

/// All settings of a node.
pub(super) fn of_node(node: &Node, broker: &BrokerConfig) -> Vec<Entry> {
    let listener = format!("PLAINTEXT://{}:{}", node.host, node.port);
    let own = BTreeMap::from([
        ("advertised.listeners", listener.clone()),
        ("broker.id", node.id.to_string()),
        ("listeners", listener),
        ("node.id", node.id.to_string()),
    ]);
    broker.describe_node(&own).into_iter().map(Entry::from).collect()
}

/// What was set for all brokers.
pub(super) fn of_cluster(broker: &BrokerConfig) -> Vec<Entry> {
    broker.describe_cluster().into_iter().map(Entry::from).collect()
}

/// The loggers of a node: there is one, and its level stands in the configuration file.
pub(super) fn of_loggers(broker: &BrokerConfig) -> Vec<Entry> {
    vec![Entry {
        name: "root",
        given: vec![Synonym {
            name: "root",
            value: root_level(&broker.log_filter),
            source: SOURCE_DYNAMIC_BROKER_LOGGER,
        }],
        kind: TYPE_UNKNOWN,
        read_only: true,
        doc: "What is logged, from the configuration file.",
    }]
}

/// The settings of a group of the newer protocol. They are the broker's for all groups.
pub(super) fn of_group(broker: &BrokerConfig) -> Vec<Entry> {
    let all = broker.describe_node(&BTreeMap::new());
    let named = GROUP_KEYS.iter().filter_map(|(name, of_broker)| {
        let described = all.iter().find(|described| described.name == *of_broker)?;
        Some(Entry {
            name,
            ..Entry::from(described.clone())
        })
    });
    named.collect()
}

/// The keys of a group, and the broker's that give their values.
const GROUP_KEYS: &[(&str, &str)] = &[
    (
        "consumer.heartbeat.interval.ms",
        "group.consumer.heartbeat.interval.ms",
    ),
    ("consumer.session.timeout.ms", "group.consumer.session.timeout.ms"),
];

/// The level a filter such as `info,corelog::storage=debug` gives to everything it does not name.
fn root_level(filter: &str) -> String {
    let plain = filter.split(',').map(str::trim).find(|part| !part.contains('='));
    let level = plain.filter(|part| !part.is_empty()).unwrap_or("error");
    level.to_uppercase()
}

impl From<Described> for Entry {
    fn from(described: Described) -> Self {
        Self {
            name: described.name,
            given: described.given.into_iter().map(Synonym::from).collect(),
            kind: wire_type(described.kind),
            read_only: described.read_only,
            doc: described.doc,
        }
    }
}

impl From<Given> for Synonym {
    fn from(given: Given) -> Self {
        Self {
            name: given.name,
            value: given.value,
            source: match given.origin {
                Origin::Topic => SOURCE_TOPIC,
                Origin::Node => SOURCE_DYNAMIC_BROKER,
                Origin::Cluster => SOURCE_DYNAMIC_DEFAULT_BROKER,
                Origin::File => SOURCE_STATIC_BROKER,
                Origin::Default => SOURCE_DEFAULT,
            },
        }
    }
}

const fn wire_type(kind: ConfigType) -> i8 {
    match kind {
        ConfigType::Boolean => TYPE_BOOLEAN,
        ConfigType::String => TYPE_STRING,
        ConfigType::Int => TYPE_INT,
        ConfigType::Short => TYPE_SHORT,
        ConfigType::Long => TYPE_LONG,
        ConfigType::Double => TYPE_DOUBLE,
        ConfigType::List => TYPE_LIST,
        ConfigType::Class => TYPE_CLASS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_comes_from_the_topic_and_the_rest_is_default() {
        let overrides = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
        let entries = of_topic(&overrides, &BrokerConfig::default());
        let found = |name| entries.iter().find(|entry| entry.name == name).unwrap();
        assert_eq!(found("retention.ms").source(), SOURCE_TOPIC);
        assert_eq!(found("retention.ms").value(), Some("5"));
        assert_eq!(found("segment.bytes").source(), SOURCE_DEFAULT);
        assert!(!entries.iter().any(|entry| entry.name == "message.format.version"));
    }

    #[test]
    fn retired_keys_are_told_where_they_are_set() {
        let overrides = BTreeMap::from([("message.format.version".to_owned(), "2.8".to_owned())]);
        let entries = of_topic(&overrides, &BrokerConfig::default());
        assert!(entries.iter().any(|entry| entry.name == "message.format.version"));
    }

    #[test]
    fn a_node_has_a_name_and_an_address_of_its_own() {
        let node = |id| Node {
            native_port: 0,
            id,
            host: "localhost".to_owned(),
            port: 9093,
        };
        let entries = of_node(&node(1), &BrokerConfig::default());
        let value = |name| entries.iter().find(|entry| entry.name == name).unwrap().value();
        assert_eq!(value("node.id"), Some("1"));
        assert_eq!(value("advertised.listeners"), Some("PLAINTEXT://localhost:9093"));
        assert_eq!(value("broker.rack"), None);
    }

    #[test]
    fn groups_have_the_brokers_times() {
        let entries = of_group(&BrokerConfig::default());
        let values: Vec<_> = entries.iter().map(|entry| (entry.name, entry.value())).collect();
        assert_eq!(
            values,
            [
                ("consumer.heartbeat.interval.ms", Some("5000")),
                ("consumer.session.timeout.ms", Some("45000"))
            ]
        );
    }

    #[test]
    fn the_root_logger_has_the_level_without_a_name() {
        assert_eq!(root_level("info"), "INFO");
        assert_eq!(root_level("corelog::storage=debug, warn"), "WARN");
        assert_eq!(root_level("corelog=debug"), "ERROR");
    }
}

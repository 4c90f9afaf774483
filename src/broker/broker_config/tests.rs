//! What is told of the broker's keys, and what changing them does to topics.

use super::*;
use std::time::Duration;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn places(described: &Described) -> Vec<(&str, &str, Origin)> {
    let places = described.given.iter();
    places
        .map(|given| (given.name, given.value.as_str(), given.origin))
        .collect()
}

fn topic_places(config: &BrokerConfig, name: &str, overrides: &[(&str, &str)]) -> Vec<String> {
    let key = topic::key_of(name).unwrap();
    let described = config.describe_topic_key(key, &map(overrides));
    places(&described)
        .into_iter()
        .map(|(name, value, origin)| format!("{name}={value} {origin:?}"))
        .collect()
}

#[test]
fn keys_are_sorted_unique_and_apart_from_those_behind_topics() {
    assert!(FIXED_KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
    for key in FIXED_KEYS {
        assert!(behind(key.name).is_none(), "{} is changeable", key.name);
        if let Some(default) = key.default {
            assert_eq!(key.domain.check(default), Ok(()), "{}={default}", key.name);
        }
    }
    let all = BrokerConfig::default().describe_node(&BTreeMap::new());
    assert!(all.windows(2).all(|pair| pair[0].name < pair[1].name));
}

#[test]
fn a_topics_value_comes_from_the_nearest_place_and_all_are_told() {
    let mut config = BrokerConfig::default();
    assert_eq!(
        topic_places(&config, "retention.ms", &[]),
        ["log.retention.ms=604800000 Default"]
    );
    config.defaults.retention = Some(Duration::from_millis(9));
    let config = config
        .with(Scope::Cluster, map(&[("log.retention.ms", "8")]))
        .with(Scope::Node, map(&[("log.retention.ms", "7")]));
    assert_eq!(
        topic_places(&config, "retention.ms", &[("retention.ms", "6")]),
        [
            "retention.ms=6 Topic",
            "log.retention.ms=7 Node",
            "log.retention.ms=8 Cluster",
            "log.retention.ms=9 File",
            "log.retention.ms=604800000 Default"
        ]
    );
    assert_eq!(
        topic_places(&config, "flush.ms", &[]),
        ["flush.ms=9223372036854775807 Default"]
    );
}

#[test]
fn settings_follow_the_same_order() {
    let retention =
        |config: &BrokerConfig, overrides: &[(&str, &str)]| config.topic_settings(&map(overrides)).retention;
    let week = Some(Duration::from_secs(7 * 24 * 3600));
    let config = BrokerConfig::default();
    assert_eq!(retention(&config, &[]), week);
    let config = config.with(Scope::Cluster, map(&[("log.retention.ms", "8")]));
    assert_eq!(retention(&config, &[]), Some(Duration::from_millis(8)));
    let config = config.with(Scope::Node, map(&[("log.retention.ms", "-1")]));
    assert_eq!(retention(&config, &[]), None);
    assert_eq!(
        retention(&config, &[("retention.ms", "6")]),
        Some(Duration::from_millis(6))
    );
    let config = config
        .with(Scope::Node, BTreeMap::new())
        .with(Scope::Cluster, BTreeMap::new());
    assert_eq!(retention(&config, &[]), week);
}

#[test]
fn what_the_file_says_is_static_unless_it_is_the_default() {
    let config = BrokerConfig {
        fixed: BTreeMap::from([
            ("num.partitions", "3".to_owned()),
            ("auto.create.topics.enable", "true".to_owned()),
        ]),
        ..BrokerConfig::default()
    };
    let of_node = BTreeMap::from([("node.id", "1".to_owned())]);
    let all = config.describe_node(&of_node);
    let found = |name: &str| places(all.iter().find(|key| key.name == name).unwrap());
    assert_eq!(
        found("num.partitions"),
        [
            ("num.partitions", "3", Origin::File),
            ("num.partitions", "1", Origin::Default)
        ]
    );
    assert_eq!(
        found("auto.create.topics.enable"),
        [("auto.create.topics.enable", "true", Origin::Default)]
    );
    assert_eq!(found("node.id"), [("node.id", "1", Origin::File)]);
    assert_eq!(found("broker.rack"), []);
}

#[test]
fn all_brokers_have_what_was_set_for_all_and_nothing_else() {
    let config = BrokerConfig::default()
        .with(Scope::Cluster, map(&[("message.max.bytes", "5")]))
        .with(Scope::Node, map(&[("log.retention.ms", "7")]));
    let all = config.describe_cluster();
    assert_eq!(all.len(), 1);
    assert_eq!(places(&all[0]), [("message.max.bytes", "5", Origin::Cluster)]);
}

#[test]
fn only_defaults_of_topics_can_be_changed() {
    assert_eq!(
        check(&map(&[("log.retention.ms", "1"), ("compression.type", "gzip")])),
        Ok(())
    );
    assert_eq!(check(&map(&[("leader.replication.throttled.rate", "1")])), Ok(()));
    assert!(matches!(
        check(&map(&[("num.partitions", "1")])),
        Err(BrokerConfigError::Fixed(_))
    ));
    assert!(matches!(
        check(&map(&[("nope", "1")])),
        Err(BrokerConfigError::Unknown(_))
    ));
    assert!(matches!(
        check(&map(&[("log.retention.ms", "x")])),
        Err(BrokerConfigError::Value { .. })
    ));
}

#[test]
fn lists_are_told_from_other_keys() {
    let config = BrokerConfig::default().with(Scope::Cluster, map(&[("log.cleanup.policy", "compact")]));
    assert_eq!(
        config.list(Scope::Cluster, "log.cleanup.policy").as_deref(),
        Some("compact")
    );
    assert_eq!(
        config.list(Scope::Node, "log.cleanup.policy").as_deref(),
        Some("delete")
    );
    assert_eq!(config.list(Scope::Node, "log.retention.ms"), None);
    assert_eq!(
        config.topic_list("cleanup.policy", &BTreeMap::new()).as_deref(),
        Some("compact")
    );
    assert_eq!(config.topic_list("retention.ms", &BTreeMap::new()), None);
}

//! Our settings under Kafka's names: what tools are told of the broker's configuration file.
//!
//! One direction only: the file is ours, and what Kafka calls its settings is for those who ask through Kafka's door. A key
//! that is not here has Kafka's default there, with a word on whether it means anything ([`FIXED_KEYS`]).
//!
//! [`FIXED_KEYS`]: crate::broker::broker_config::FIXED_KEYS

use super::config::Config;
use crate::base::units::{ByteSize, TimeSpan};
use crate::broker::broker_config::BrokerConfig;
use crate::broker::topic::TopicDefaults;
use std::collections::BTreeMap;

/// The broker's configuration as far as the file goes, for a process with so many shards.
pub(super) fn broker_config(config: &Config, shards: usize) -> BrokerConfig {
    BrokerConfig::of_file(
        topic_defaults(config),
        fixed(config, shards),
        config.log_level.clone(),
    )
}

fn topic_defaults(config: &Config) -> TopicDefaults {
    TopicDefaults {
        segment_bytes: config.log.segment_bytes.get(),
        retention_bytes: config.log.retention_bytes.0.map(ByteSize::get),
        retention: config.log.retention_ms.0.map(TimeSpan::get),
        max_message_bytes: u32::try_from(config.log.max_message_bytes.get()).unwrap_or(u32::MAX),
        index_interval_bytes: config.log.index_interval_bytes.get(),
        relaxed_sync_interval: config.log.relaxed_sync_interval.get(),
    }
}

fn fixed(config: &Config, shards: usize) -> BTreeMap<&'static str, String> {
    let data = config.data_dir.display().to_string();
    let threads = shards.to_string();
    let group = &config.group;
    let millis = |span: TimeSpan| span.as_millis().to_string();
    let retention_hours = config.log.retention_ms.0.map_or_else(
        || "-1".to_owned(),
        |span| (span.as_millis() / HOUR_MS).to_string(),
    );
    BTreeMap::from([
        (
            "auto.create.topics.enable",
            config.kafka.auto_create_topics.to_string(),
        ),
        ("connections.max.idle.ms", millis(config.kafka.idle_timeout)),
        (
            "group.consumer.heartbeat.interval.ms",
            millis(group.consumer_heartbeat_interval),
        ),
        ("group.consumer.max.size", group.consumer_max_size.to_string()),
        (
            "group.consumer.session.timeout.ms",
            millis(group.consumer_session_timeout),
        ),
        (
            "group.initial.rebalance.delay.ms",
            millis(group.initial_rebalance_delay),
        ),
        ("group.max.session.timeout.ms", millis(group.session_timeout_max)),
        ("group.max.size", group.max_size.to_string()),
        ("group.min.session.timeout.ms", millis(group.session_timeout_min)),
        ("log.dir", data.clone()),
        ("log.dirs", data),
        (
            "log.retention.check.interval.ms",
            millis(config.log.retention_check_interval),
        ),
        ("log.retention.hours", retention_hours),
        ("max.connections", config.kafka.max_connections.to_string()),
        ("num.io.threads", threads.clone()),
        ("num.network.threads", threads),
        ("num.partitions", config.kafka.num_partitions.to_string()),
        (
            "offset.metadata.max.bytes",
            group.offset_metadata_max.get().to_string(),
        ),
        (
            "offsets.retention.check.interval.ms",
            millis(group.offsets_retention_check_interval),
        ),
        (
            "offsets.retention.minutes",
            (group.offsets_retention.as_millis() / MINUTE_MS).to_string(),
        ),
        (
            "offsets.topic.num.partitions",
            group.offsets_partitions.to_string(),
        ),
        (
            "producer.id.expiration.ms",
            millis(config.log.producer_id_expiration),
        ),
        (
            "queued.max.request.bytes",
            config.request_budget().get().to_string(),
        ),
        (
            "socket.request.max.bytes",
            config.frame_bytes_max().get().to_string(),
        ),
    ])
}

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::broker_config::FIXED_KEYS;

    #[test]
    fn every_name_is_a_key_and_every_value_one_it_takes() {
        let config = broker_config(&Config::default(), 2);
        for (name, value) in &config.fixed {
            let key = FIXED_KEYS.iter().find(|key| key.name == *name);
            let key = key.unwrap_or_else(|| panic!("{name} is no key"));
            assert_eq!(key.domain.check(value), Ok(()), "{name}={value}");
        }
    }

    #[test]
    fn the_defaults_of_the_file_are_those_of_topics() {
        let config = broker_config(&Config::default(), 1);
        assert_eq!(config.defaults, TopicDefaults::default());
    }
}

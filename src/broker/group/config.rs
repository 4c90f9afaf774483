//! What an operator may set about groups. Kafka's names, meanings and defaults; the server fills it from its configuration.

use super::consumer::ConsumerGroupConfig;
use std::time::Duration;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.initial.rebalance.delay.ms`: how long the first generation of an empty group waits for more members.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: members of a classic group.
    pub size_max: u32,
    /// `offsets.retention.minutes`: how long offsets outlive their group's last member, or a simple group's last commit.
    pub offsets_retention: Duration,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: u32,
    /// `group.consumer.*`: groups of the next-generation protocol.
    pub consumer: ConsumerGroupConfig,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::from_secs(3),
            size_max: u32::MAX,
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            offset_metadata_bytes_max: 4096,
            consumer: ConsumerGroupConfig::default(),
        }
    }
}

//! The one table of APIs: key, versions we parse, versions we advertise, first flexible version.
//!
//! **Promise.** What is advertised is served: every version in [`ApiKey::advertised`] of every API in [`ADVERTISED`]
//! either decodes here or, for the Produce versions below 3, is refused by version with an answer the client
//! understands. Every API this codec knows is listed.
//!
//! **Why Produce says 0.** librdkafka before 2.11.1 takes a minimum of 3 for a broker that cannot compress and
//! silently sends gzip, snappy and lz4 batches uncompressed. Kafka 4 advertises 0 for the same reason
//! (KAFKA-18659) and refuses 0 to 2 as we do. Other old clients demand exact points too, so minima are Kafka's.
//!
//! **Absent on purpose.** An API that is not served is not listed: clients cope with a missing API, not with
//! one that always fails. Of FindCoordinator only transactions are an exception (`handlers::find_coordinator` says why).

/// An API this codec knows. Matches on it are exhaustive, so a new API without a handler does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum ApiKey {
    /// Append record batches.
    Produce = 0,
    /// Read record batches.
    Fetch = 1,
    /// Offsets by timestamp, and the ends of a log.
    ListOffsets = 2,
    /// Brokers, topics, leaders.
    Metadata = 3,
    /// Positions of a group, to be kept.
    OffsetCommit = 8,
    /// Positions of groups.
    OffsetFetch = 9,
    /// The coordinator of a group or transaction.
    FindCoordinator = 10,
    /// Become a member of a group.
    JoinGroup = 11,
    /// Stay a member of a group.
    Heartbeat = 12,
    /// Cease to be a member of a group.
    LeaveGroup = 13,
    /// A member's share of a group's work.
    SyncGroup = 14,
    /// State and members of groups.
    DescribeGroups = 15,
    /// The groups there are.
    ListGroups = 16,
    /// What the broker speaks.
    ApiVersions = 18,
    /// Create topics.
    CreateTopics = 19,
    /// Delete topics.
    DeleteTopics = 20,
    /// Cut off the beginning of a log.
    DeleteRecords = 21,
    /// A producer id and epoch.
    InitProducerId = 22,
    /// Where a leader epoch ended.
    OffsetForLeaderEpoch = 23,
    /// Read configuration.
    DescribeConfigs = 32,
    /// Replace a configuration.
    AlterConfigs = 33,
    /// Move logs to another directory.
    AlterReplicaLogDirs = 34,
    /// Where logs lie and how large they are.
    DescribeLogDirs = 35,
    /// Add partitions to topics.
    CreatePartitions = 37,
    /// Delete groups.
    DeleteGroups = 42,
    /// Make the preferred replica the leader.
    ElectLeaders = 43,
    /// Change configuration key by key.
    IncrementalAlterConfigs = 44,
    /// Move partitions to other brokers.
    AlterPartitionReassignments = 45,
    /// The partitions being moved.
    ListPartitionReassignments = 46,
    /// Forget positions of a group.
    OffsetDelete = 47,
    /// Brokers and the controller, without topics.
    DescribeCluster = 60,
    /// The producers a log remembers.
    DescribeProducers = 61,
    /// Membership in a group of the newer protocol.
    ConsumerGroupHeartbeat = 68,
    /// State and members of groups of the newer protocol.
    ConsumerGroupDescribe = 69,
    /// What there is to be configured.
    ListConfigResources = 74,
    /// Topics and their partitions, page by page.
    DescribeTopicPartitions = 75,
}

/// Versions from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// First version.
    pub min: i16,
    /// Last version.
    pub max: i16,
}

impl VersionRange {
    /// `min..=max`.
    #[must_use]
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    /// Whether `version` is in the range.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// What ApiVersions lists, in key order: every API this codec knows.
pub const ADVERTISED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::OffsetDelete,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
];

impl ApiKey {
    /// The API of a key from the wire, if this codec knows it.
    #[must_use]
    pub const fn from_wire(key: i16) -> Option<Self> {
        Some(match key {
            0 => Self::Produce,
            1 => Self::Fetch,
            2 => Self::ListOffsets,
            3 => Self::Metadata,
            8 => Self::OffsetCommit,
            9 => Self::OffsetFetch,
            10 => Self::FindCoordinator,
            11 => Self::JoinGroup,
            12 => Self::Heartbeat,
            13 => Self::LeaveGroup,
            14 => Self::SyncGroup,
            15 => Self::DescribeGroups,
            16 => Self::ListGroups,
            18 => Self::ApiVersions,
            19 => Self::CreateTopics,
            20 => Self::DeleteTopics,
            21 => Self::DeleteRecords,
            22 => Self::InitProducerId,
            23 => Self::OffsetForLeaderEpoch,
            32 => Self::DescribeConfigs,
            33 => Self::AlterConfigs,
            34 => Self::AlterReplicaLogDirs,
            35 => Self::DescribeLogDirs,
            37 => Self::CreatePartitions,
            42 => Self::DeleteGroups,
            43 => Self::ElectLeaders,
            44 => Self::IncrementalAlterConfigs,
            45 => Self::AlterPartitionReassignments,
            46 => Self::ListPartitionReassignments,
            47 => Self::OffsetDelete,
            60 => Self::DescribeCluster,
            61 => Self::DescribeProducers,
            68 => Self::ConsumerGroupHeartbeat,
            69 => Self::ConsumerGroupDescribe,
            74 => Self::ListConfigResources,
            75 => Self::DescribeTopicPartitions,
            _ => return None,
        })
    }

    /// The key on the wire.
    #[must_use]
    pub const fn key(self) -> i16 {
        // The discriminants are the keys.
        self as i16
    }

    /// Versions this codec parses and writes.
    #[must_use]
    pub const fn versions(self) -> VersionRange {
        match self {
            Self::Produce => VersionRange::new(3, 13),
            Self::Fetch => VersionRange::new(4, 18),
            Self::ListOffsets => VersionRange::new(1, 11),
            Self::Metadata => VersionRange::new(0, 13),
            Self::OffsetCommit => VersionRange::new(2, 10),
            Self::OffsetFetch => VersionRange::new(1, 10),
            Self::FindCoordinator => VersionRange::new(0, 6),
            Self::JoinGroup => VersionRange::new(0, 9),
            Self::Heartbeat => VersionRange::new(0, 4),
            Self::LeaveGroup => VersionRange::new(0, 5),
            Self::SyncGroup => VersionRange::new(0, 5),
            Self::DescribeGroups => VersionRange::new(0, 6),
            Self::ListGroups => VersionRange::new(0, 5),
            Self::ApiVersions => VersionRange::new(0, 4),
            Self::CreateTopics => VersionRange::new(2, 7),
            Self::DeleteTopics => VersionRange::new(1, 6),
            Self::DeleteRecords => VersionRange::new(0, 2),
            Self::InitProducerId => VersionRange::new(0, 5),
            Self::OffsetForLeaderEpoch => VersionRange::new(2, 4),
            Self::DescribeConfigs => VersionRange::new(1, 4),
            Self::AlterConfigs => VersionRange::new(0, 2),
            Self::AlterReplicaLogDirs => VersionRange::new(1, 2),
            Self::DescribeLogDirs => VersionRange::new(1, 5),
            Self::CreatePartitions => VersionRange::new(0, 3),
            Self::DeleteGroups => VersionRange::new(0, 2),
            Self::ElectLeaders => VersionRange::new(0, 2),
            Self::IncrementalAlterConfigs => VersionRange::new(0, 1),
            Self::AlterPartitionReassignments => VersionRange::new(0, 1),
            Self::ListPartitionReassignments => VersionRange::new(0, 0),
            Self::OffsetDelete => VersionRange::new(0, 0),
            Self::DescribeCluster => VersionRange::new(0, 2),
            Self::DescribeProducers => VersionRange::new(0, 0),
            Self::ConsumerGroupHeartbeat => VersionRange::new(0, 1),
            Self::ConsumerGroupDescribe => VersionRange::new(0, 1),
            Self::ListConfigResources => VersionRange::new(0, 1),
            Self::DescribeTopicPartitions => VersionRange::new(0, 0),
        }
    }

    /// The range ApiVersions gives for this API: what is parsed and served, except that Produce starts at 0.
    /// Whether it is listed at all is [`ADVERTISED`]'s matter.
    #[must_use]
    pub const fn advertised(self) -> VersionRange {
        match self {
            Self::Produce => VersionRange::new(0, self.versions().max),
            _ => self.versions(),
        }
    }

    /// The versions in which topics go by name, for a client that knows no ids.
    #[must_use]
    pub const fn versions_by_name(self) -> VersionRange {
        let VersionRange { min, max } = self.versions();
        let last = match self {
            Self::Produce | Self::Fetch => 12,
            Self::OffsetCommit | Self::OffsetFetch => 9,
            _ => max,
        };
        VersionRange::new(min, last)
    }

    /// The first version with compact lengths and tagged fields.
    #[must_use]
    pub const fn flexible_since(self) -> i16 {
        match self {
            Self::AlterPartitionReassignments
            | Self::ListPartitionReassignments
            | Self::DescribeCluster
            | Self::DescribeProducers
            | Self::ConsumerGroupHeartbeat
            | Self::ConsumerGroupDescribe
            | Self::ListConfigResources
            | Self::DescribeTopicPartitions => 0,
            Self::IncrementalAlterConfigs => 1,
            Self::DeleteRecords
            | Self::InitProducerId
            | Self::AlterConfigs
            | Self::AlterReplicaLogDirs
            | Self::DescribeLogDirs
            | Self::CreatePartitions
            | Self::DeleteGroups
            | Self::ElectLeaders => 2,
            Self::FindCoordinator | Self::ListGroups | Self::ApiVersions => 3,
            Self::Heartbeat
            | Self::LeaveGroup
            | Self::SyncGroup
            | Self::DeleteTopics
            | Self::OffsetForLeaderEpoch
            | Self::DescribeConfigs => 4,
            Self::DescribeGroups | Self::CreateTopics => 5,
            Self::ListOffsets | Self::OffsetFetch | Self::JoinGroup => 6,
            Self::OffsetCommit => 8,
            Self::Produce | Self::Metadata => 9,
            Self::Fetch => 12,
            // Never.
            Self::OffsetDelete => i16::MAX,
        }
    }

    /// Whether `version` is flexible. True for versions newer than we parse: a client that speaks too new an
    /// ApiVersions still has its header understood.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_since()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_the_round_trip() {
        for &api in ADVERTISED {
            assert_eq!(ApiKey::from_wire(api.key()), Some(api));
        }
        let known = (i16::MIN..=i16::MAX)
            .filter(|&key| ApiKey::from_wire(key).is_some())
            .count();
        assert_eq!(known, ADVERTISED.len(), "every key from_wire knows is listed");
    }

    #[test]
    fn advertised_is_in_key_order() {
        assert!(ADVERTISED.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn only_produce_advertises_what_it_does_not_parse() {
        for &api in ADVERTISED {
            let (advertised, parsed) = (api.advertised(), api.versions());
            assert!(advertised.max <= parsed.max, "{api:?}");
            assert_eq!(
                advertised.min,
                if api == ApiKey::Produce { 0 } else { parsed.min },
                "{api:?}"
            );
        }
    }

    #[test]
    fn names_suffice_below_the_versions_with_ids() {
        for &api in ADVERTISED {
            let (named, parsed) = (api.versions_by_name(), api.versions());
            assert_eq!(named.min, parsed.min);
            assert!(named.max <= parsed.max, "{api:?}");
        }
        assert_eq!(ApiKey::Produce.versions_by_name().max, 12);
    }
}

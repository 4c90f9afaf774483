//! The one table of APIs: key, versions we parse, versions we advertise, first flexible version.
//!
//! **Promise.** What is advertised is served: every version in [`ApiKey::advertised`] either decodes here or,
//! for the Produce versions below 3, is refused by version with an answer the client understands.
//!
//! **Why Produce says 0.** librdkafka before 2.11.1 takes a minimum of 3 for a broker that cannot compress and
//! silently sends gzip, snappy and lz4 batches uncompressed. Kafka 4 advertises 0 for the same reason
//! (KAFKA-18659) and refuses 0 to 2 as we do. Other old clients demand exact points too, so minima are Kafka's.
//!
//! **Absent on purpose.** An API that is not served is not listed: clients cope with a missing API, not with
//! one that always fails. FindCoordinator is the exception (`handlers::find_coordinator` says why).

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
    /// The coordinator of a group or transaction.
    FindCoordinator = 10,
    /// What the broker speaks.
    ApiVersions = 18,
    /// Create topics.
    CreateTopics = 19,
    /// Delete topics.
    DeleteTopics = 20,
    /// A producer id and epoch.
    InitProducerId = 22,
    /// Where a leader epoch ended.
    OffsetForLeaderEpoch = 23,
    /// Read configuration.
    DescribeConfigs = 32,
    /// Add partitions to topics.
    CreatePartitions = 37,
    /// Change configuration key by key.
    IncrementalAlterConfigs = 44,
    /// Brokers and the controller, without topics.
    DescribeCluster = 60,
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

/// What ApiVersions lists, in key order.
pub const ADVERTISED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::FindCoordinator,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::CreatePartitions,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::DescribeCluster,
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
            10 => Self::FindCoordinator,
            18 => Self::ApiVersions,
            19 => Self::CreateTopics,
            20 => Self::DeleteTopics,
            22 => Self::InitProducerId,
            23 => Self::OffsetForLeaderEpoch,
            32 => Self::DescribeConfigs,
            37 => Self::CreatePartitions,
            44 => Self::IncrementalAlterConfigs,
            60 => Self::DescribeCluster,
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
            Self::Produce => VersionRange::new(3, 11),
            Self::Fetch => VersionRange::new(4, 12),
            Self::ListOffsets => VersionRange::new(1, 10),
            Self::Metadata => VersionRange::new(0, 13),
            Self::FindCoordinator => VersionRange::new(0, 6),
            Self::ApiVersions => VersionRange::new(0, 4),
            Self::CreateTopics => VersionRange::new(2, 7),
            Self::DeleteTopics => VersionRange::new(1, 6),
            Self::InitProducerId => VersionRange::new(0, 5),
            Self::OffsetForLeaderEpoch => VersionRange::new(2, 4),
            Self::DescribeConfigs => VersionRange::new(1, 4),
            Self::CreatePartitions => VersionRange::new(0, 3),
            Self::IncrementalAlterConfigs => VersionRange::new(0, 1),
            Self::DescribeCluster => VersionRange::new(0, 2),
        }
    }

    /// The range ApiVersions gives for this API: what is parsed, except that Produce starts at 0.
    /// Whether it is listed at all is [`ADVERTISED`]'s matter.
    #[must_use]
    pub const fn advertised(self) -> VersionRange {
        match self {
            Self::Produce => VersionRange::new(0, self.versions().max),
            _ => self.versions(),
        }
    }

    /// The first version with compact lengths and tagged fields.
    #[must_use]
    pub const fn flexible_since(self) -> i16 {
        match self {
            Self::DescribeCluster => 0,
            Self::IncrementalAlterConfigs => 1,
            Self::InitProducerId | Self::CreatePartitions => 2,
            Self::ApiVersions | Self::FindCoordinator => 3,
            Self::DeleteTopics | Self::OffsetForLeaderEpoch | Self::DescribeConfigs => 4,
            Self::CreateTopics => 5,
            Self::ListOffsets => 6,
            Self::Produce | Self::Metadata => 9,
            Self::Fetch => 12,
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
        assert!(ADVERTISED.is_sorted());
    }

    #[test]
    fn only_produce_advertises_more_than_it_parses() {
        for &api in ADVERTISED {
            let (advertised, parsed) = (api.advertised(), api.versions());
            assert_eq!(advertised.max, parsed.max);
            assert_eq!(
                advertised.min,
                if api == ApiKey::Produce { 0 } else { parsed.min },
                "{api:?}"
            );
        }
    }
}

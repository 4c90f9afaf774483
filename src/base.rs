//! The ground floor: words every room uses and none of them owns.
//!
//! A type is admitted here only if every room could want it and it depends on nothing but the standard
//! library: identities and offsets ([`ids`]), checksums ([`checksum`]), sizes and durations as people write
//! them ([`units`]), hash tables ([`hash`]), where time goes ([`stages`], [`histogram`]), seeded numbers (`random`). Nothing here
//! does I/O, reads a clock or allocates on a hot path.

#[cfg(feature = "client")]
pub mod checksum;
pub mod hash;
pub mod histogram;
pub mod ids;
#[cfg(feature = "server")]
pub mod random;
pub mod stages;
#[cfg(feature = "server")]
pub mod units;

#[cfg(feature = "client")]
pub use checksum::{crc32c, crc32c_combine};
pub use ids::{
    LeaderEpoch, LogId, Offset, PartitionId, Position, ProducerEpoch, ProducerId, ShardId, Timestamp, TopicId,
};

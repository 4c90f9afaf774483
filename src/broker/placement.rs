//! Which shard owns a partition.
//!
//! A pure function of topic id, partition and number of shards: every core computes it, nothing stores it, and files know
//! nothing of it, so the number of shards may change between starts. Consecutive partitions of a topic land on
//! consecutive shards, so a topic with as many partitions as shards uses all of them.

use crate::base::{LogId, ShardId};

/// The shard among `shards` (at least one) that owns `log`.
#[must_use]
pub fn owner(log: LogId, shards: u16) -> ShardId {
    let id = u128::from_le_bytes(log.topic.to_bytes());
    // Topic ids are random UUIDs; folding keeps every bit of them in play.
    let folded = u64::try_from((id >> 64) ^ (id & u128::from(u64::MAX))).expect("folded to 64 bits");
    let index = (folded % u64::from(shards) + u64::from(log.partition.get())) % u64::from(shards);
    ShardId::new(u16::try_from(index).expect("below a u16"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{PartitionId, TopicId};

    #[test]
    fn partitions_of_a_topic_spread_evenly_and_stably() {
        for shards in [1u16, 2, 3, 4, 7, 64] {
            for seed in 0..20u8 {
                let topic = TopicId::new([seed.wrapping_mul(37); 16]);
                let mut counts = vec![0u32; usize::from(shards)];
                for partition in 0..u32::from(shards) * 3 {
                    let log = LogId {
                        topic,
                        partition: PartitionId::new(partition),
                    };
                    assert_eq!(owner(log, shards), owner(log, shards));
                    counts[usize::from(owner(log, shards).get())] += 1;
                }
                assert!(
                    counts.iter().all(|count| *count == 3),
                    "{shards} shards: {counts:?}"
                );
            }
        }
    }
}

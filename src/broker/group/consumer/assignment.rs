//! Sets of partitions: what a member is meant to have, has, or must give back.
//!
//! Ordered, so that equal inputs give equal decisions and equal bytes. Invariant: no topic is kept with an empty set, so
//! two assignments are equal if and only if they hold the same partitions.

use crate::base::{PartitionId, TopicId};
use crate::broker::group::record::{RecordError, RecordReader, RecordWriter};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a topic with no partitions: its id, an empty array, no tags.
const TOPIC_BYTES_MIN: usize = 18;

/// Bytes of one partition number.
const PARTITION_BYTES: usize = 4;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assignment {
    topics: BTreeMap<TopicId, BTreeSet<PartitionId>>,
}

impl Assignment {
    /// True if it holds no partition.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Number of partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.values().map(BTreeSet::len).sum()
    }

    /// True if it holds that partition.
    #[must_use]
    pub fn contains(&self, topic: TopicId, partition: PartitionId) -> bool {
        self.topics
            .get(&topic)
            .is_some_and(|partitions| partitions.contains(&partition))
    }

    /// Adds a partition.
    pub fn insert(&mut self, topic: TopicId, partition: PartitionId) {
        self.topics.entry(topic).or_default().insert(partition);
    }

    /// The topics in order, each with its partitions in order.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (TopicId, &BTreeSet<PartitionId>)> {
        self.topics.iter().map(|(topic, partitions)| (*topic, partitions))
    }

    /// The partitions in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionId)> {
        self.topics()
            .flat_map(|(topic, partitions)| partitions.iter().map(move |partition| (topic, *partition)))
    }

    /// True if `other` holds every partition of this one.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.topics.iter().all(|(topic, partitions)| {
            other
                .topics
                .get(topic)
                .is_some_and(|theirs| partitions.is_subset(theirs))
        })
    }

    /// True if some partition is in both.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.topics.iter().any(|(topic, partitions)| {
            other
                .topics
                .get(topic)
                .is_some_and(|theirs| !partitions.is_disjoint(theirs))
        })
    }

    /// Memory it takes, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.topics.len() * 64 + self.len() * 8
    }

    /// Writes it as the records of a consumer group hold it.
    #[must_use]
    pub fn encode(&self, mut writer: RecordWriter) -> RecordWriter {
        writer = writer.compact_count(self.topics.len());
        for (topic, partitions) in &self.topics {
            writer = writer.topic_id(*topic).compact_count(partitions.len());
            for partition in partitions {
                writer = writer.i32(i32::try_from(partition.get()).unwrap_or(i32::MAX));
            }
            writer = writer.no_tags();
        }
        writer
    }

    /// Reads what [`Assignment::encode`] or Kafka wrote.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(reader: &mut RecordReader<'_>) -> Result<Self, RecordError> {
        let mut found = Self::default();
        for _ in 0..reader.compact_count(TOPIC_BYTES_MIN)? {
            let topic = reader.topic_id()?;
            for _ in 0..reader.compact_count(PARTITION_BYTES)? {
                let partition =
                    u32::try_from(reader.i32()?).map_err(|_| RecordError::Invalid("partition"))?;
                found.insert(topic, PartitionId::new(partition));
            }
            reader.skip_tags()?;
        }
        Ok(found)
    }
}

impl FromIterator<(TopicId, PartitionId)> for Assignment {
    fn from_iter<I: IntoIterator<Item = (TopicId, PartitionId)>>(partitions: I) -> Self {
        let mut found = Self::default();
        for (topic, partition) in partitions {
            found.insert(topic, partition);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assignment() -> impl Strategy<Value = Assignment> {
        proptest::collection::vec((0u8..4, 0u32..6), 0..20).prop_map(|pairs| {
            pairs
                .into_iter()
                .map(|(topic, partition)| (TopicId::new([topic; 16]), PartitionId::new(partition)))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn set_questions_agree_with_lists(one in assignment(), other in assignment()) {
            let (left, right): (Vec<_>, Vec<_>) = (one.iter().collect(), other.iter().collect());
            prop_assert_eq!(one.len(), left.len());
            prop_assert_eq!(one.is_empty(), left.is_empty());
            prop_assert_eq!(one.is_subset(&other), left.iter().all(|p| right.contains(p)));
            prop_assert_eq!(one.intersects(&other), left.iter().any(|p| right.contains(p)));
            prop_assert!(left.iter().all(|(topic, partition)| one.contains(*topic, *partition)));
        }

        #[test]
        fn what_is_encoded_is_decoded(one in assignment()) {
            let bytes = one.encode(RecordWriter::default()).finish();
            prop_assert_eq!(Assignment::decode(&mut RecordReader::new(&bytes)), Ok(one));
            for end in 0..bytes.len() {
                prop_assert!(Assignment::decode(&mut RecordReader::new(&bytes[..end])).is_err());
            }
        }
    }
}

//! The metadata image: all topics at one moment, immutable and shared by every thread.
//!
//! The control thread makes a new image for every change and hands it to every shard; a shard swaps its reference. So a
//! request sees one consistent set of topics from start to end, and nothing is locked.

use super::topic::Topic;
use crate::base::TopicId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Grows with every change.
    pub revision: u64,
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
}

impl Image {
    /// The topic of that name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// All topics by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Partitions of all topics.
    #[must_use]
    pub fn partition_count(&self) -> u64 {
        self.by_name
            .values()
            .map(|topic| u64::from(topic.partitions))
            .sum()
    }

    /// Adds a topic or replaces the one of its name.
    pub fn put(&mut self, topic: Topic) {
        let topic = Arc::new(topic);
        if let Some(old) = self.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic)) {
            self.by_id.remove(&old.id);
        }
        self.by_id.insert(topic.id, topic);
    }

    /// Removes the topic of that name.
    pub fn remove(&mut self, name: &str) -> Option<Arc<Topic>> {
        let topic = self.by_name.remove(name)?;
        self.by_id.remove(&topic.id);
        Some(topic)
    }
}

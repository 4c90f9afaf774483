//! The metadata image: all topics and what was set of the broker's configuration at one moment, immutable and shared by every
//! thread.
//!
//! The control thread makes a new image for every change and hands it to every shard; a shard swaps its reference. So a
//! request sees one consistent set of topics from start to end, and nothing is locked.

use super::broker_config::BrokerConfig;
use super::topic::{Topic, shape};
use crate::base::TopicId;
use crate::base::hash::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Grows with every change.
    pub revision: u64,
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
    /// Names by their shape, for those that have one.
    by_shape: HashMap<String, Arc<str>>,
    broker: Arc<BrokerConfig>,
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

    /// The topic whose name collides with this one: it differs in dots and underscores only.
    #[must_use]
    pub fn colliding(&self, name: &str) -> Option<&Arc<str>> {
        let taken = self.by_shape.get(&shape(name)?)?;
        (**taken != *name).then_some(taken)
    }

    /// The broker's configuration.
    #[must_use]
    pub fn broker(&self) -> &Arc<BrokerConfig> {
        &self.broker
    }

    /// Replaces the broker's configuration, and what every topic's comes to under it. Topics that stay as they were are
    /// kept, so that whoever compares them sees what changed.
    pub fn set_broker(&mut self, broker: Arc<BrokerConfig>) {
        self.broker = broker;
        let stale: Vec<Topic> = self
            .topics()
            .filter_map(|topic| {
                let settings = self.broker.topic_settings(&topic.overrides);
                (settings != topic.settings).then(|| Topic {
                    settings,
                    ..Topic::clone(topic)
                })
            })
            .collect();
        for topic in stale {
            self.put(topic);
        }
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
        if let Some(shape) = shape(&topic.name) {
            self.by_shape
                .entry(shape)
                .or_insert_with(|| Arc::clone(&topic.name));
        }
        self.by_id.insert(topic.id, topic);
    }

    /// Removes the topic of that name.
    pub fn remove(&mut self, name: &str) -> Option<Arc<Topic>> {
        let topic = self.by_name.remove(name)?;
        self.by_id.remove(&topic.id);
        if let Some(shape) = shape(name)
            && self.by_shape.get(&shape).is_some_and(|taken| **taken == *name)
        {
            self.by_shape.remove(&shape);
        }
        Some(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::broker_config::Scope;
    use std::collections::BTreeMap;

    fn topic(name: &str, overrides: BTreeMap<String, String>) -> Topic {
        Topic {
            name: name.into(),
            id: TopicId::new([name.as_bytes()[0]; 16]),
            partitions: 1,
            settings: BrokerConfig::default().topic_settings(&overrides),
            overrides,
        }
    }

    #[test]
    fn names_collide_until_the_topic_is_gone() {
        let mut image = Image::default();
        image.put(topic("a.b", BTreeMap::new()));
        assert_eq!(image.colliding("a_b").map(|name| &**name), Some("a.b"));
        assert_eq!(
            image.colliding("a.b"),
            None,
            "a name does not collide with itself"
        );
        assert_eq!(image.colliding("ab"), None);
        image.remove("a.b");
        assert_eq!(image.colliding("a_b"), None);
    }

    #[test]
    fn a_change_of_the_broker_replaces_the_topics_it_changes_and_no_other() {
        let mut image = Image::default();
        let own = BTreeMap::from([("max.message.bytes".to_owned(), "7".to_owned())]);
        image.put(topic("default", BTreeMap::new()));
        image.put(topic("own", own));
        let before = image.clone();
        let values = BTreeMap::from([("message.max.bytes".to_owned(), "5".to_owned())]);
        image.set_broker(Arc::new(BrokerConfig::default().with(Scope::Cluster, values)));
        let bytes = |name| image.topic(name).map(|topic| topic.settings.max_message_bytes);
        assert_eq!((bytes("default"), bytes("own")), (Some(5), Some(7)));
        let same = |name| Arc::ptr_eq(image.topic(name).unwrap(), before.topic(name).unwrap());
        assert_eq!((same("default"), same("own")), (false, true));
        let default = image.topic("default").unwrap();
        assert!(
            image
                .topic_by_id(default.id)
                .is_some_and(|topic| Arc::ptr_eq(topic, default))
        );
    }
}

//! The partitions of one session, in the order they are fetched in, with what the client was told of each.
//!
//! Invariant: `order` and `places` hold the same partitions; `bytes` is their cost. Pure.

use crate::base::hash::HashMap;
use std::collections::BTreeMap;

use super::{News, Position, Told, TopicKey, TopicRef};

/// What a partition takes in both maps, rounded up; a request that fetches it takes about as much.
pub(super) const ENTRY_BYTES: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Entries {
    places: HashMap<(TopicRef, i32), u64>,
    order: BTreeMap<u64, Entry>,
    next_place: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    topic: TopicRef,
    position: Position,
    /// `None` before anything was told, and after an error.
    told: Option<Told>,
}

/// What an entry costs; a name counts for every partition though they share it.
fn cost(topic: &TopicRef) -> usize {
    ENTRY_BYTES + topic.key().name().len()
}

impl Entries {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything, in order.
    pub(super) fn snapshot(&self) -> Vec<(TopicRef, Position)> {
        let entries = self.order.values();
        entries
            .map(|entry| (entry.topic.clone(), entry.position))
            .collect()
    }

    /// Adds partitions or changes them; what was told of them stays told.
    pub(super) fn put_all<'a>(&mut self, wanted: impl Iterator<Item = (TopicKey<'a>, Position)>) {
        let mut topic: Option<TopicRef> = None;
        for (key, position) in wanted {
            // Partitions of one topic stand together and share its name.
            let topic = match &topic {
                Some(topic) if topic.key() == key => topic.clone(),
                _ => topic.insert(key.into()).clone(),
            };
            self.put(topic, position);
        }
    }

    /// Adds a partition of which `news` is told.
    pub(super) fn put_told(&mut self, topic: TopicKey<'_>, position: Position, news: News) {
        let last = self.order.last_key_value().map(|(_, entry)| &entry.topic);
        let topic = match last {
            Some(last) if last.key() == topic => last.clone(),
            _ => topic.into(),
        };
        self.put(topic.clone(), position);
        self.tell(&topic, position.partition, news);
    }

    fn put(&mut self, topic: TopicRef, position: Position) {
        let key = (topic, position.partition);
        if let Some(entry) = self.places.get(&key).and_then(|place| self.order.get_mut(place)) {
            entry.position = position;
            return;
        }
        self.bytes += cost(&key.0);
        let entry = Entry {
            topic: key.0.clone(),
            position,
            told: None,
        };
        self.places.insert(key, self.next_place);
        self.order.insert(self.next_place, entry);
        self.next_place += 1;
    }

    pub(super) fn forget(&mut self, topic: &TopicRef, partition: i32) {
        if let Some(place) = self.places.remove(&(topic.clone(), partition)) {
            self.order.remove(&place);
            self.bytes -= cost(topic);
        }
    }

    /// Whether `news` are worth telling; then they are told and the partition goes to the end.
    pub(super) fn tell(&mut self, topic: &TopicRef, partition: i32, news: News) -> bool {
        // Forgotten while it was read: telling does no harm.
        let Some(place) = self.places.get_mut(&(topic.clone(), partition)) else {
            return true;
        };
        let Some(mut entry) = self.order.remove(place) else {
            return true;
        };
        let (told, tells) = match news {
            News::Records(told) => (Some(told), true),
            News::Quiet(told) => (Some(told), entry.told != Some(told)),
            News::Fault => (None, true),
        };
        if tells {
            entry.told = told;
            *place = self.next_place;
            self.next_place += 1;
        }
        self.order.insert(*place, entry);
        tells
    }
}

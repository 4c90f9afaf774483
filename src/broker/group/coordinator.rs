//! All groups of one partition of the offsets topic.
//!
//! One [`Coordinator`] per partition, on the shard that owns it. It finds the group, asks it, and keeps what groups have in
//! common: offsets, deadlines, memory, the end of groups that nobody needs any more.
//!
//! **Time.** Each group knows a moment before which nothing happens to it. [`Coordinator::tick`] looks only at groups whose
//! moment has come; a heartbeat moves no entry in the queue, because the entry may be early: the group is then looked at once
//! and queued again. Ten thousand members cost a look at each group once per session timeout.
//!
//! **Replay.** [`Coordinator::apply`] takes records in the order of the log; [`Coordinator::finish_load`] then begins the
//! members' sessions, and writes off offsets of topics that are gone.
//!
//! **Bounds.** Memory is counted; where the caller says that little is left, new members and offsets are refused and known ones
//! go on, and where there is none they go on without growing ([`Room`]).

mod calls;
mod consumer;
mod group;
mod room;
mod upkeep;

use super::classic::{ClassicGroup, ClassicValue, Context};
use super::consumer::ConsumerGroup;
use super::offsets::read_value;
use super::record::{KEY_CLASSIC_GROUP, KEY_OFFSET_COMMIT, KEY_OFFSET_COMMIT_OLD, RecordError, RecordReader};
use super::request::{ListedGroup, Now};
use crate::base::hash::HashMap;
pub use group::{Group, Members};
pub use room::Room;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What has happened since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Offsets committed.
    pub commits: u64,
    /// Offsets expired.
    pub expired: u64,
    /// Generations begun.
    pub rebalances: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Coordinator {
    groups: HashMap<Arc<str>, Group>,
    deadlines: BTreeSet<(u64, Arc<str>)>,
    bytes: usize,
    counts: Counts,
}

impl Coordinator {
    /// Every group, in no order.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &Group)> {
        self.groups.iter()
    }

    /// One group.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    /// Memory, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The groups as a list shows them.
    pub fn list(&self) -> impl Iterator<Item = ListedGroup> {
        self.groups.iter().map(|(id, group)| group.listed(id))
    }

    /// Applies one record of the log.
    ///
    /// # Errors
    /// When it cannot be read. A kind of record that is not known here is passed over.
    pub fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RecordError> {
        let mut reader = RecordReader::new(key);
        match reader.i16()? {
            KEY_OFFSET_COMMIT_OLD | KEY_OFFSET_COMMIT => {
                let (group, topic) = (reader.string()?, reader.string()?);
                self.apply_offset(group, topic, reader.i32()?, value)
            }
            KEY_CLASSIC_GROUP => self.apply_classic(reader.string()?, value),
            kind if ConsumerGroup::has_records_of(kind) => self.apply_consumer(reader.string()?, key, value),
            _ => Ok(()),
        }
    }

    fn apply_offset(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        let committed = value.map(read_value).transpose()?;
        let group = self.known_or_new(group);
        match committed {
            Some(committed) => group.offsets.put(&Arc::from(topic), partition, committed),
            None => {
                group.offsets.remove(topic, partition);
            }
        }
        Ok(())
    }

    fn apply_classic(&mut self, id: &str, value: Option<&[u8]>) -> Result<(), RecordError> {
        let value = value.map(ClassicValue::read).transpose()?;
        let id: Arc<str> = Arc::from(id);
        let group = self.known_or_new(&id);
        match value {
            Some(value) => group.members = Members::Classic(value.into_group(id)),
            // The end of its classic members is no news to a group that has gone over to the other protocol.
            None if group.classic().is_some() => {
                group.members = Members::Classic(ClassicGroup::new(id, Now::default()));
            }
            None => {}
        }
        Ok(())
    }

    fn known_or_new(&mut self, id: &str) -> &mut Group {
        if !self.groups.contains_key(id) {
            let id: Arc<str> = Arc::from(id);
            let group = Group::new(Members::Classic(ClassicGroup::new(
                Arc::clone(&id),
                Now::default(),
            )));
            self.groups.insert(id, group);
        }
        self.groups.get_mut(id).expect("just inserted")
    }

    /// All records have been applied.
    pub fn finish_load(&mut self, cx: &mut Context<'_>) {
        self.groups.retain(|_, group| !group.is_blank());
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            self.on_group(&id, cx, |group, cx| {
                group.resume(cx);
                let gone = group.offsets.remove_where(&id, |topic, _, committed| {
                    let known = cx.image.topic(topic).map(|topic| topic.id);
                    known.is_none_or(|known| !committed.is_of(known))
                });
                cx.effects.records.extend(gone);
            });
        }
    }

    /// The moment at which [`tick`](Self::tick) has something to look at.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Does what time asks for.
    pub fn tick(&mut self, cx: &mut Context<'_>) {
        // Each group once, even if it asks to be looked at again at once.
        let later = self
            .deadlines
            .split_off(&(cx.now.mono_ms.saturating_add(1), Arc::default()));
        for (_, id) in std::mem::replace(&mut self.deadlines, later) {
            self.on_group(&id, cx, |group, cx| {
                group.queued = None;
                group.tick(cx);
            });
        }
    }

    /// Runs `work` on a group that is there, and keeps the books afterwards.
    fn on_group<T>(
        &mut self,
        id: &Arc<str>,
        cx: &mut Context<'_>,
        work: impl FnOnce(&mut Group, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(id)?;
        let generation = group.generation();
        let done = work(group, cx);
        if group.generation() != generation {
            self.counts.rebalances += 1;
        }
        let counted = group.memory_bytes();
        self.bytes = self.bytes - group.counted + counted;
        group.counted = counted;
        let wake_at = group.wake_at();
        if wake_at.is_some_and(|at| group.queued.is_none_or(|queued| at < queued)) {
            if let Some(old) = group.queued {
                self.deadlines.remove(&(old, Arc::clone(id)));
            }
            group.queued = wake_at;
            self.deadlines.extend(wake_at.map(|at| (at, Arc::clone(id))));
        }
        if group.is_blank() {
            self.forget(id);
        }
        Some(done)
    }

    fn forget(&mut self, id: &Arc<str>) {
        let Some(group) = self.groups.remove(id) else {
            return;
        };
        self.bytes -= group.counted;
        if let Some(at) = group.queued {
            self.deadlines.remove(&(at, Arc::clone(id)));
        }
    }
}

#[cfg(test)]
mod desk;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

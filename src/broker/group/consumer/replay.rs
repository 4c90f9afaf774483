//! The group out of its records, and the records that delete it.

use super::ConsumerGroup;
use super::assignment::Assignment;
use super::format::{
    Key, read_group, read_holding, read_member, read_pattern, read_target, read_target_epoch,
};
use super::member::{Holding, MemberMetadata};
use super::subscription::Pattern;
use crate::broker::group::record::{GroupRecord, RecordError};
use std::sync::Arc;

impl ConsumerGroup {
    /// Applies a record of this group, in the order of the log; [`ConsumerGroup::resume`] ends the replay. Applying a
    /// record twice does no harm.
    ///
    /// # Errors
    /// [`RecordError`] for what cannot be read; nothing has changed then.
    pub fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RecordError> {
        match Key::decode(key)? {
            Key::Group => (self.epoch, self.topics_hash) = value.map_or(Ok((0, 0)), read_group)?,
            Key::TargetEpoch => self.target_epoch = value.map_or(Ok(0), read_target_epoch)?,
            Key::Topics => {}
            Key::Pattern(source) => match value {
                Some(value) => {
                    let resolved = read_pattern(value)?;
                    let compiled = None;
                    self.patterns
                        .insert(source.into(), Pattern { resolved, compiled });
                }
                None => drop(self.patterns.remove(source)),
            },
            Key::Member(id) => self.apply_member(id, value.map(read_member).transpose()?),
            Key::TargetMember(id) => self.apply_target(id, value.map(read_target).transpose()?),
            Key::Holding(id) => self.apply_holding(id, value.map(read_holding).transpose()?),
        }
        Ok(())
    }

    fn apply_member(&mut self, id: &str, metadata: Option<MemberMetadata>) {
        self.unnamed.remove(id);
        match metadata {
            Some(metadata) => self.change(&Arc::from(id), |member| member.metadata = metadata),
            None => drop(self.members.remove(id)),
        }
    }

    fn apply_target(&mut self, id: &str, target: Option<Assignment>) {
        if target.is_some() || self.members.contains_key(id) {
            let id = self.known_or_unnamed(id);
            self.change(&id, |member| member.target = target.unwrap_or_default());
        }
    }

    fn apply_holding(&mut self, id: &str, holding: Option<Holding>) {
        if holding.is_some() || self.members.contains_key(id) {
            let id = self.known_or_unnamed(id);
            self.change(&id, |member| member.holding = holding.unwrap_or_default());
        }
    }

    /// Compaction keeps the last record of each key where it was, so a member's parts come in any order; one whose
    /// metadata never comes is none.
    fn known_or_unnamed(&mut self, id: &str) -> Arc<str> {
        let id = Arc::from(id);
        if !self.members.contains_key(&id) {
            self.unnamed.insert(Arc::clone(&id));
        }
        id
    }

    /// The records that delete the group.
    #[must_use]
    pub fn tombstones(&self) -> Vec<GroupRecord> {
        let members = self.members.keys().flat_map(|id| {
            [Key::Holding(id), Key::TargetMember(id), Key::Member(id)].map(|key| key.tombstone(&self.id))
        });
        let patterns = self
            .patterns
            .keys()
            .map(|source| Key::Pattern(source).tombstone(&self.id));
        let group = [Key::TargetEpoch, Key::Group].map(|key| key.tombstone(&self.id));
        members.chain(patterns).chain(group).collect()
    }
}

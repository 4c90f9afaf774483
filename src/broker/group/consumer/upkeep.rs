//! What happens without anybody asking: members that fall silent or do not let go, topics that come, go and grow.

use super::format::pattern_record;
use super::member::MemberState;
use super::subscription::{REFRESH_INTERVAL_MS, topics_hash};
use super::{ConsumerGroup, ConsumerGroupConfig};
use crate::broker::group::record::GroupRecord;
use crate::broker::group::request::Now;
use crate::broker::image::Image;
use std::sync::Arc;

impl ConsumerGroup {
    /// Expels members whose time is up and notices changed topics. Call it when [`ConsumerGroup::next_deadline_ms`] has come
    /// and, if topics have changed, as often as that; more often does no harm.
    pub fn tick(&mut self, image: &Image, now: Now, records: &mut Vec<GroupRecord>) {
        let is_late = |deadline_ms: u64| deadline_ms <= now.mono_ms;
        let mut asks_anew = false;
        if is_late(self.deadline_ms) {
            let late = self
                .members
                .iter()
                .filter(|(_, member)| is_late(member.deadline_ms()));
            let late: Vec<Arc<str>> = late.map(|(id, _)| Arc::clone(id)).collect();
            asks_anew = !late.is_empty();
            self.expel(&late, records);
            self.deadline_ms = self.earliest_deadline();
        }
        asks_anew |= self.notice_topics(image, now, records);
        if asks_anew {
            self.grow_epoch(records);
        }
    }

    /// Begins the sessions of the members that the log has brought, and all that is derived from them. Call it once, when
    /// every record has been applied.
    pub fn resume(&mut self, config: &ConsumerGroupConfig, now: Now) {
        for id in std::mem::take(&mut self.unnamed) {
            self.members.remove(&id);
        }
        self.owners.clear();
        self.instances.clear();
        self.member_bytes = 0;
        for (id, member) in &mut self.members {
            for partition in member
                .holding
                .assigned
                .iter()
                .chain(member.holding.revoking.iter())
            {
                self.owners.insert(partition, Arc::clone(id));
            }
            if let Some(instance) = &member.metadata.instance_id {
                self.instances.insert(Arc::clone(instance), Arc::clone(id));
            }
            member.session_deadline_ms = now.mono_ms + u64::from(config.session_timeout_ms);
            member.revocation_deadline_ms = (member.holding.state == MemberState::Unrevoked)
                .then(|| now.mono_ms + u64::from(member.metadata.rebalance_timeout_ms));
            self.member_bytes += member.memory_bytes();
        }
        self.seen_revision = None;
        self.deadline_ms = self.earliest_deadline();
    }

    fn earliest_deadline(&self) -> u64 {
        let sessions = self.members.values().map(|member| member.deadline_ms());
        sessions.min().unwrap_or(u64::MAX)
    }

    /// Looks at the topics if they have changed since the last look. True if the group has to be assigned anew; the new hash
    /// goes into the record of the epoch that the caller grows then.
    pub(super) fn notice_topics(&mut self, image: &Image, now: Now, records: &mut Vec<GroupRecord>) -> bool {
        let is_new = self.seen_revision != Some(image.revision);
        if is_new && !self.patterns.is_empty() && now.mono_ms < self.patterns_rest_until_ms {
            // Look again when the patterns may be resolved again; until then nobody has seen these topics.
            self.deadline_ms = self.deadline_ms.min(self.patterns_rest_until_ms);
            return false;
        }
        let mut changed = false;
        if is_new {
            for (source, pattern) in &mut self.patterns {
                if pattern.refresh(source, image, now.wall) {
                    records.push(pattern_record(&self.id, source, &pattern.resolved));
                    changed = true;
                }
            }
            // The first look follows no change: members and their patterns have just come, or were read back.
            if self.seen_revision.is_some() && !self.patterns.is_empty() {
                self.patterns_rest_until_ms = now.mono_ms + REFRESH_INTERVAL_MS;
            }
            self.seen_revision = Some(image.revision);
        } else if records.is_empty() {
            // Neither the topics nor the subscriptions have changed.
            return false;
        }
        let hash = topics_hash(&self.members, &self.patterns, image);
        changed |= hash != self.topics_hash && !self.members.is_empty();
        self.topics_hash = hash;
        changed
    }
}

//! The one request of the protocol: join, stay, leave.
//!
//! Everything that can refuse comes first and changes nothing; from [`ConsumerGroup::proceed`] on nothing fails. The order of
//! the records is the order in which a crash between them does no harm: who the member is, the group's epoch, the targets,
//! the target's epoch, what the member has.

use super::assignment::Assignment;
use super::assignor::{Assignor, Subscriber};
use super::format::{
    Key, group_record, holding_record, member_record, pattern_record, target_epoch_record, target_record,
};
use super::member::{
    EPOCH_JOIN, EPOCH_LEAVE, EPOCH_STATIC_LEAVE, Holding, Member, MemberMetadata, MemberState,
};
use super::reconcile::{Owned, Target, step};
use super::subscription::{PATTERNS_MAX, Pattern, interests, preferred_assignor};
use super::{
    ConsumerGroup, ConsumerGroupConfig, ConsumerGroupError, ConsumerHeartbeat, ConsumerHeartbeatReply,
};
use crate::broker::group::record::GroupRecord;
use crate::broker::group::request::{Now, REBALANCE_TIMEOUT_MS_MAX};
use crate::broker::image::Image;
use std::sync::Arc;

/// Bytes of topic names that one member may subscribe; a member's metadata is one record.
const SUBSCRIPTION_BYTES_MAX: usize = 256 * 1024;

/// Who is knocking.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Admission {
    /// A member.
    Known,
    /// Somebody new.
    New,
    /// The process that takes over from an absent static member.
    Replaces(Arc<str>),
}

impl ConsumerGroup {
    /// Carries out one heartbeat. What is to be appended goes to `records`; the answer may leave when it is durable.
    ///
    /// # Errors
    /// [`ConsumerGroupError`]; nothing has changed then.
    pub fn heartbeat(
        &mut self,
        request: &ConsumerHeartbeat,
        image: &Image,
        config: &ConsumerGroupConfig,
        now: Now,
        records: &mut Vec<GroupRecord>,
    ) -> Result<ConsumerHeartbeatReply, ConsumerGroupError> {
        check_request(request)?;
        if matches!(request.member_epoch, EPOCH_LEAVE | EPOCH_STATIC_LEAVE) {
            return self.leave(request, image, now, records);
        }
        let admission = self.admission(request)?;
        if admission == Admission::New && self.members.len() >= usize_of(config.size_max) {
            return Err(ConsumerGroupError::GroupFull);
        }
        let old = match &admission {
            Admission::Known => self.members.get(&request.member_id),
            Admission::New => None,
            Admission::Replaces(old) => self.members.get(old),
        };
        let metadata = metadata_after(old.map(|member| &member.metadata), request);
        let pattern = self.new_pattern(&metadata, image, now)?;
        Ok(self.proceed(request, admission, metadata, pattern, image, config, now, records))
    }

    fn admission(&self, request: &ConsumerHeartbeat) -> Result<Admission, ConsumerGroupError> {
        let known = self.members.get(&request.member_id);
        let holder = request
            .instance_id
            .as_ref()
            .map(|instance| self.instances.get(instance));
        if request.member_epoch == EPOCH_JOIN {
            return match holder.flatten() {
                Some(holder) if *holder != request.member_id => {
                    let holder_epoch = self.members.get(holder).map(|member| member.holding.epoch);
                    if holder_epoch != Some(EPOCH_STATIC_LEAVE) {
                        return Err(ConsumerGroupError::UnreleasedInstance);
                    }
                    Ok(Admission::Replaces(Arc::clone(holder)))
                }
                _ if known.is_some() => Ok(Admission::Known),
                _ => Ok(Admission::New),
            };
        }
        self.check_instance(request)?;
        let member = known.ok_or(ConsumerGroupError::UnknownMember)?;
        check_epoch(&member.holding, request)?;
        Ok(Admission::Known)
    }

    /// One who names an instance must be the one who holds it.
    fn check_instance(&self, request: &ConsumerHeartbeat) -> Result<(), ConsumerGroupError> {
        let Some(instance) = &request.instance_id else {
            return Ok(());
        };
        match self.instances.get(instance) {
            None => Err(ConsumerGroupError::UnknownMember),
            Some(holder) if *holder != request.member_id => Err(ConsumerGroupError::FencedInstance),
            Some(_) => Ok(()),
        }
    }

    /// Compiles and resolves the member's pattern, if the group does not have it yet.
    fn new_pattern(
        &self,
        metadata: &MemberMetadata,
        image: &Image,
        now: Now,
    ) -> Result<Option<Pattern>, ConsumerGroupError> {
        let Some(source) = metadata
            .pattern
            .as_ref()
            .filter(|source| !self.patterns.contains_key(*source))
        else {
            return Ok(None);
        };
        if self.patterns.len() >= PATTERNS_MAX {
            let reason = format!("the group has {PATTERNS_MAX} different patterns already");
            return Err(ConsumerGroupError::InvalidPattern(reason));
        }
        Pattern::new(source, image, now.wall)
            .map(Some)
            .map_err(|error| ConsumerGroupError::InvalidPattern(error.to_string()))
    }

    fn proceed(
        &mut self,
        request: &ConsumerHeartbeat,
        admission: Admission,
        metadata: MemberMetadata,
        pattern: Option<Pattern>,
        image: &Image,
        config: &ConsumerGroupConfig,
        now: Now,
        records: &mut Vec<GroupRecord>,
    ) -> ConsumerHeartbeatReply {
        let id = &request.member_id;
        let is_join = request.member_epoch == EPOCH_JOIN;
        if let (Some(pattern), Some(source)) = (pattern, &metadata.pattern) {
            records.push(pattern_record(&self.id, source, &pattern.resolved));
            self.patterns.insert(Arc::clone(source), pattern);
        }
        let mut asks_anew = admission == Admission::New;
        if let Admission::Replaces(old) = &admission {
            self.replace(old, id, records);
        }
        asks_anew |= self.store_metadata(id, metadata, records);
        if is_join {
            self.end_absence(id);
        }
        let topics_changed = self.notice_topics(image, now, records);
        if asks_anew || topics_changed {
            self.grow_epoch(records);
        }
        if self.epoch > self.target_epoch {
            self.assign(image, records);
        }
        let seen = request.member_epoch == self.members[id].holding.epoch;
        let owned = match &request.owned {
            _ if is_join => Owned::Nothing,
            None => Owned::Unsaid,
            Some(owned) => Owned::Exactly(owned),
        };
        let moved = self.move_on(id, owned, now, records);
        let member = self.members.get_mut(id).expect("stored above");
        member.session_deadline_ms = now.mono_ms + u64::from(config.session_timeout_ms);
        let deadline = member.deadline_ms();
        self.deadline_ms = self.deadline_ms.min(deadline);
        let holding = &member.holding;
        let may_not_know = is_join || is_full(request) || !seen || moved;
        ConsumerHeartbeatReply {
            member_id: Arc::clone(id),
            member_epoch: holding.epoch,
            heartbeat_interval_ms: config.heartbeat_interval_ms,
            assignment: may_not_know.then(|| holding.assigned.clone()),
        }
    }

    /// Puts `new` in the place of the absent static member `old`: its target and what it has pass over, nobody else notices.
    fn replace(&mut self, old: &Arc<str>, new: &Arc<str>, records: &mut Vec<GroupRecord>) {
        // A joining process owns nothing, so what it had under the new id (it was somebody else before) is free.
        self.forget(new, records);
        let Some(mut member) = self.forget(old, records) else {
            return;
        };
        member.holding = Holding {
            assigned: member.holding.assigned,
            ..Holding::default()
        };
        records.push(target_record(&self.id, new, &member.target));
        for partition in member.holding.assigned.iter() {
            self.owners.insert(partition, Arc::clone(new));
        }
        if let Some(instance) = &member.metadata.instance_id {
            self.instances.insert(Arc::clone(instance), Arc::clone(new));
        }
        self.member_bytes += member.memory_bytes();
        self.members.insert(Arc::clone(new), member);
        // The record of what it has follows in `move_on`: its epoch is 0, so it moves.
        records.push(member_record(&self.id, new, &self.members[new].metadata));
    }

    /// True if the group has to be assigned anew.
    fn store_metadata(
        &mut self,
        id: &Arc<str>,
        metadata: MemberMetadata,
        records: &mut Vec<GroupRecord>,
    ) -> bool {
        let old = self.members.get(id).map(|member| &member.metadata);
        if old == Some(&metadata) {
            return false;
        }
        records.push(member_record(&self.id, id, &metadata));
        let asks_anew = old.is_none_or(|old| !old.subscribes_like(&metadata));
        let old_instance = old.and_then(|old| old.instance_id.clone());
        let had_pattern = old.is_some_and(|old| old.pattern.is_some() && old.pattern != metadata.pattern);
        if let Some(instance) = old_instance {
            self.instances.remove(&instance);
        }
        if let Some(instance) = &metadata.instance_id {
            self.instances.insert(Arc::clone(instance), Arc::clone(id));
        }
        self.change(id, |member| member.metadata = metadata);
        if had_pattern {
            self.drop_unused_patterns(records);
        }
        asks_anew
    }

    /// A static member that comes back under its old member id begins anew with what it has.
    fn end_absence(&mut self, id: &Arc<str>) {
        self.change(id, |member| {
            if member.holding.epoch == EPOCH_STATIC_LEAVE {
                member.holding.epoch = 0;
                member.holding.previous_epoch = 0;
            }
        });
    }

    pub(super) fn grow_epoch(&mut self, records: &mut Vec<GroupRecord>) {
        self.epoch = self.epoch.saturating_add(1);
        records.push(group_record(&self.id, self.epoch, self.topics_hash));
    }

    /// Computes the target for the group's epoch.
    fn assign(&mut self, image: &Image, records: &mut Vec<GroupRecord>) {
        let interests = interests(&self.members, &self.patterns, image);
        let subscribers: Vec<Subscriber<'_>> = self
            .members
            .iter()
            .zip(&interests.topics)
            .map(|((id, member), topics)| Subscriber {
                member_id: id,
                instance_id: member.metadata.instance_id.as_deref(),
                topics: Arc::clone(topics),
                held: &member.target,
            })
            .collect();
        let targets = preferred_assignor(&self.members).assign(&subscribers, &interests.partitions);
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for (id, target) in ids.iter().zip(targets) {
            if self.members[id].target != target {
                records.push(target_record(&self.id, id, &target));
                self.change(id, |member| member.target = target);
            }
        }
        self.target_epoch = self.epoch;
        records.push(target_epoch_record(&self.id, self.target_epoch));
    }

    /// One step of one member towards its target. True if it may own other partitions than before.
    fn move_on(&mut self, id: &Arc<str>, owned: Owned<'_>, now: Now, records: &mut Vec<GroupRecord>) -> bool {
        let member = &self.members[id];
        let target = Target {
            epoch: self.target_epoch,
            partitions: &member.target,
        };
        let is_free = |topic, partition| !self.owners.contains_key(&(topic, partition));
        let Some(next) = step(&member.holding, target, owned, is_free) else {
            return false;
        };
        let moved = member.holding.assigned != next.assigned;
        records.push(holding_record(&self.id, id, &next));
        self.set_holding(id, next, now);
        moved
    }

    /// Keeps the owners in step with what the member has, and its revocation deadline with what it was asked for.
    fn set_holding(&mut self, id: &Arc<str>, next: Holding, now: Now) {
        let old = &self.members[id].holding;
        for partition in old.assigned.iter().chain(old.revoking.iter()) {
            self.owners.remove(&partition);
        }
        for partition in next.assigned.iter().chain(next.revoking.iter()) {
            self.owners.insert(partition, Arc::clone(id));
        }
        self.change(id, |member| {
            member.revocation_deadline_ms = (next.state == MemberState::Unrevoked)
                .then(|| now.mono_ms + u64::from(member.metadata.rebalance_timeout_ms));
            member.holding = next;
        });
    }

    fn leave(
        &mut self,
        request: &ConsumerHeartbeat,
        image: &Image,
        now: Now,
        records: &mut Vec<GroupRecord>,
    ) -> Result<ConsumerHeartbeatReply, ConsumerGroupError> {
        self.check_instance(request)?;
        let id = &request.member_id;
        let member = self.members.get(id).ok_or(ConsumerGroupError::UnknownMember)?;
        if request.member_epoch == EPOCH_STATIC_LEAVE {
            // It has stopped reading, but what it has stays its own until it is back or its session ends.
            let absent = Holding {
                state: MemberState::Stable,
                revoking: Assignment::default(),
                ..member.holding.clone()
            };
            let absent = absent.with_epoch(EPOCH_STATIC_LEAVE);
            records.push(holding_record(&self.id, id, &absent));
            self.set_holding(id, absent, now);
        } else {
            self.expel(std::slice::from_ref(id), records);
            self.notice_topics(image, now, records);
            self.grow_epoch(records);
        }
        Ok(ConsumerHeartbeatReply {
            member_id: Arc::clone(id),
            member_epoch: request.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        })
    }

    /// Removes members; the caller has the group assigned anew.
    pub(super) fn expel(&mut self, ids: &[Arc<str>], records: &mut Vec<GroupRecord>) {
        for id in ids {
            self.forget(id, records);
        }
        if !ids.is_empty() {
            self.drop_unused_patterns(records);
        }
    }

    /// Removes a member and all that is derived from it.
    fn forget(&mut self, id: &Arc<str>, records: &mut Vec<GroupRecord>) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.member_bytes = self.member_bytes.saturating_sub(member.memory_bytes());
        for partition in member
            .holding
            .assigned
            .iter()
            .chain(member.holding.revoking.iter())
        {
            self.owners.remove(&partition);
        }
        if let Some(instance) = &member.metadata.instance_id {
            self.instances.remove(instance);
        }
        for key in [Key::Holding(id), Key::TargetMember(id), Key::Member(id)] {
            records.push(key.tombstone(&self.id));
        }
        Some(member)
    }

    fn drop_unused_patterns(&mut self, records: &mut Vec<GroupRecord>) {
        if self.patterns.is_empty() {
            return;
        }
        let (group, members) = (&self.id, &self.members);
        self.patterns.retain(|source, _| {
            let is_used = members
                .values()
                .any(|member| member.metadata.pattern.as_ref() == Some(source));
            if !is_used {
                records.push(Key::Pattern(source).tombstone(group));
            }
            is_used
        });
    }

    /// Changes a member (made first if it is new) and keeps count of its memory.
    pub(super) fn change(&mut self, id: &Arc<str>, change: impl FnOnce(&mut Member)) {
        let member = match self.members.get_mut(id) {
            Some(member) => {
                self.member_bytes = self.member_bytes.saturating_sub(member.memory_bytes());
                member
            }
            None => self
                .members
                .entry(Arc::clone(id))
                .or_insert_with(|| Member::new(MemberMetadata::default())),
        };
        change(member);
        self.member_bytes += member.memory_bytes();
    }
}

/// What can be said of a request without looking at the group.
fn check_request(request: &ConsumerHeartbeat) -> Result<(), ConsumerGroupError> {
    let refused = |what| Err(ConsumerGroupError::InvalidRequest(what));
    let is_blank = |text: &Option<Arc<str>>| text.as_ref().is_some_and(|text| text.is_empty());
    if request.member_id.is_empty() {
        return refused("the member id is empty");
    }
    if is_blank(&request.instance_id) {
        return refused("the instance id is empty");
    }
    if is_blank(&request.rack_id) {
        return refused("the rack id is empty");
    }
    match request.member_epoch {
        EPOCH_JOIN => {
            if request.rebalance_timeout_ms.is_none() {
                return refused("a joining member has to set its rebalance timeout");
            }
            if request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return refused("a joining member owns no partitions");
            }
            if request.names.is_none() && request.pattern.is_none() {
                return refused("a joining member has to say what it subscribes");
            }
        }
        EPOCH_STATIC_LEAVE if request.instance_id.is_none() => {
            return refused("only a member with an instance id leaves for a while");
        }
        i32::MIN..EPOCH_STATIC_LEAVE => return refused("there is no such member epoch"),
        _ => {}
    }
    let names_bytes = |names: &Vec<Arc<str>>| names.iter().map(|name| name.len() + 1).sum::<usize>();
    if request.names.as_ref().map_or(0, names_bytes) > SUBSCRIPTION_BYTES_MAX {
        return refused("the member subscribes more than 256 KiB of topic names");
    }
    let assignor = request.assignor.as_deref().filter(|name| !name.is_empty());
    if assignor.is_some_and(|name| Assignor::from_name(name).is_none()) {
        return Err(ConsumerGroupError::UnsupportedAssignor);
    }
    Ok(())
}

/// The current epoch is right. The one before is, if the member cannot have done harm with it: the answer that told it the
/// current one was lost.
fn check_epoch(holding: &Holding, request: &ConsumerHeartbeat) -> Result<(), ConsumerGroupError> {
    let (got, current) = (request.member_epoch, holding.epoch);
    let knows_less = || {
        got == holding.previous_epoch
            && current > got
            && request
                .owned
                .as_ref()
                .is_some_and(|owned| owned.is_subset(&holding.assigned))
    };
    if got == current || knows_less() {
        return Ok(());
    }
    Err(ConsumerGroupError::FencedMemberEpoch { got, current })
}

/// The member's metadata once the request is taken into account.
fn metadata_after(old: Option<&MemberMetadata>, request: &ConsumerHeartbeat) -> MemberMetadata {
    let old = old.cloned().unwrap_or_default();
    let shared = |new: &Option<Arc<str>>, old: Option<Arc<str>>| new.clone().or(old);
    let pattern = shared(&request.pattern, old.pattern).filter(|pattern| !pattern.is_empty());
    let names = match &request.names {
        Some(names) => Arc::new(names.iter().filter(|name| !name.is_empty()).cloned().collect()),
        None => old.names,
    };
    MemberMetadata {
        instance_id: shared(&request.instance_id, old.instance_id),
        rack_id: shared(&request.rack_id, old.rack_id),
        client_id: Arc::clone(&request.client_id),
        client_host: Arc::clone(&request.client_host),
        names,
        pattern,
        rebalance_timeout_ms: request
            .rebalance_timeout_ms
            .map_or(old.rebalance_timeout_ms, |timeout| {
                timeout.min(REBALANCE_TIMEOUT_MS_MAX)
            }),
        assignor: match request.assignor.as_deref() {
            Some(name) => Assignor::from_name(name),
            None => old.assignor,
        },
    }
}

/// A request that says everything comes from a member that may have missed an answer.
fn is_full(request: &ConsumerHeartbeat) -> bool {
    request.rebalance_timeout_ms.is_some()
        && (request.names.is_some() || request.pattern.is_some())
        && request.owned.is_some()
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

//! What members of a classic group ask between joins: their assignment, a sign of life, to leave.

use super::{ClassicGroup, Context, GROUP_BYTES_MAX, State};
use crate::base::hash::HashMap;
use crate::broker::group::error::GroupError;
use crate::broker::group::request::{
    CONSUMER_PROTOCOL, GroupReply, MemberRef, Now, SyncRequest, Synced, Ticket,
};
use std::sync::Arc;

/// An assignment of nothing, as consumers write it: version 0, no topics, no user data. A consumer takes a blob without a
/// version for a fault of the broker.
const NO_PARTITIONS: [u8; 10] = [0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];

impl ClassicGroup {
    /// A member asks for its assignment; answered under `ticket`, now or when the leader has assigned.
    pub fn sync(&mut self, request: SyncRequest, ticket: Ticket, cx: &mut Context<'_>) {
        let mut answer = |reply| cx.effects.replies.push((ticket, GroupReply::Sync(reply)));
        if let Err(error) = self.check_sync(&request) {
            return answer(Err(error));
        }
        match self.state {
            State::Empty => answer(Err(GroupError::UnknownMember)),
            State::Preparing => answer(Err(GroupError::RebalanceInProgress)),
            State::Stable => {
                answer(Ok(self.synced_answer(&request.member_id)));
                self.note_sync(&request.member_id);
                self.touch(&request.member_id, cx.now);
            }
            State::Completing => {
                self.note_sync(&request.member_id);
                let member = self.members.get_mut(request.member_id.as_str());
                let first = member.and_then(|member| member.syncing.replace(ticket));
                if let Some(first) = first {
                    // The same member on another connection.
                    let again = GroupReply::Sync(Err(GroupError::RebalanceInProgress));
                    cx.effects.replies.push((first, again));
                }
                if self.is_leader(&request.member_id) {
                    self.assign(request.assignments, cx);
                }
            }
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        self.check_member(&MemberRef {
            member_id: request.member_id.clone(),
            instance_id: request.instance_id.clone(),
        })?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |said: &Option<String>, ours: &Option<Arc<str>>| {
            said.is_some() && said.as_deref() != ours.as_deref()
        };
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        Ok(())
    }

    /// Once everybody has asked, nobody is waited for.
    fn note_sync(&mut self, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.synced = true;
        }
        if self.sync_deadline.is_some() && self.members.values().all(|member| member.synced) {
            self.sync_deadline = None;
        }
    }

    /// The leader has decided. Members it left out get nothing, in a form they can read.
    fn assign(&mut self, assignments: Vec<(String, Arc<[u8]>)>, cx: &mut Context<'_>) {
        let mut given: HashMap<String, Arc<[u8]>> = assignments.into_iter().collect();
        let nothing: Arc<[u8]> = match self.protocol_type.as_deref() {
            Some(CONSUMER_PROTOCOL) => Arc::from(NO_PARTITIONS),
            _ => Arc::default(),
        };
        let total: usize = given.values().map(|bytes| bytes.len()).sum();
        if self.bytes + total + self.members.len() * NO_PARTITIONS.len() > GROUP_BYTES_MAX {
            self.refuse_syncs(GroupError::RecordTooLarge, cx);
            return self.prepare(cx);
        }
        for (id, member) in &mut self.members {
            let share = given.remove(&**id).filter(|bytes| !bytes.is_empty());
            member.assignment = share.unwrap_or_else(|| Arc::clone(&nothing));
            self.bytes += member.assignment.len();
        }
        self.enter(State::Stable, cx.now);
        self.record(cx.effects);
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let ticket = self.members.get_mut(&id).and_then(|member| member.syncing.take());
            if let Some(ticket) = ticket {
                let synced = GroupReply::Sync(Ok(self.synced_answer(&id)));
                cx.effects.replies.push((ticket, synced));
            }
            // Whose session ended while it waited begins a new one.
            self.touch(&id, cx.now);
        }
    }

    fn synced_answer(&self, member_id: &str) -> Synced {
        let assignment = self
            .members
            .get(member_id)
            .map(|member| Arc::clone(&member.assignment));
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: assignment.unwrap_or_default(),
        }
    }

    /// A sign of life.
    ///
    /// # Errors
    /// Kafka's: the member is not known, fenced, of another generation; or it must join, because the group rebalances.
    pub fn heartbeat(&mut self, member: &MemberRef, generation: i32, now: Now) -> Result<(), GroupError> {
        self.check_member(member)?;
        if generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.touch(&member.member_id, now);
        match self.state {
            State::Empty => Err(GroupError::UnknownMember),
            State::Preparing => Err(GroupError::RebalanceInProgress),
            State::Completing | State::Stable => Ok(()),
        }
    }

    /// Members leave, or are removed by an administrator who names their instances.
    pub fn leave(&mut self, members: &[MemberRef], cx: &mut Context<'_>) -> Vec<Result<(), GroupError>> {
        let mut anybody = false;
        let outcomes = members
            .iter()
            .map(|member| {
                let id = self.who_leaves(member)?;
                if self.pending.remove(&id).is_none() {
                    self.remove(&id, cx);
                }
                anybody = true;
                Ok(())
            })
            .collect();
        if anybody {
            self.after_departure(cx);
        }
        outcomes
    }

    fn who_leaves(&self, member: &MemberRef) -> Result<Arc<str>, GroupError> {
        if member.member_id.is_empty() {
            let instance = member.instance_id.as_deref().ok_or(GroupError::UnknownMember)?;
            let id = self.instances.get(instance).ok_or(GroupError::UnknownMember)?;
            return Ok(Arc::clone(id));
        }
        if !self.pending.contains_key(member.member_id.as_str()) {
            self.check_member(member)?;
        }
        Ok(Arc::from(member.member_id.as_str()))
    }
}

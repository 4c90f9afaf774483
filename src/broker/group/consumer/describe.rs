//! What others see of a group.

use super::ConsumerGroup;
use super::assignment::Assignment;
use super::assignor::Assignor;
use super::member::{Member, MemberState};
use super::subscription::preferred_assignor;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where a group stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ConsumerGroupState {
    /// No members.
    Empty,
    /// The target is older than the group.
    Assigning,
    /// Some member has not reached the target.
    Reconciling,
    /// Everybody has what it is meant to have.
    Stable,
}

impl ConsumerGroupState {
    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// One member as others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerMemberDescription {
    /// Its id.
    pub member_id: Arc<str>,
    /// The name that outlives its process.
    pub instance_id: Option<Arc<str>>,
    /// Where it is.
    pub rack_id: Option<Arc<str>>,
    /// Its epoch.
    pub epoch: i32,
    /// The client's name for itself.
    pub client_id: Arc<str>,
    /// The address it comes from.
    pub client_host: Arc<str>,
    /// Topics subscribed by name.
    pub names: Arc<BTreeSet<Arc<str>>>,
    /// Topics subscribed by pattern.
    pub pattern: Option<Arc<str>>,
    /// What it has.
    pub assigned: Assignment,
    /// What it is meant to have.
    pub target: Assignment,
}

/// A group as others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerGroupDescription {
    /// Where it stands.
    pub state: ConsumerGroupState,
    /// The group's epoch.
    pub epoch: i32,
    /// The target's epoch.
    pub target_epoch: i32,
    /// Who assigns.
    pub assignor: Assignor,
    /// In the order of their ids.
    pub members: Vec<ConsumerMemberDescription>,
}

impl ConsumerGroup {
    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> ConsumerGroupState {
        let is_there = |member: &Member| {
            member.holding.state == MemberState::Stable && member.holding.epoch == self.target_epoch
        };
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > self.target_epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(is_there) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// All there is to see.
    #[must_use]
    pub fn describe(&self) -> ConsumerGroupDescription {
        let members = self
            .members
            .iter()
            .map(|(id, member)| describe_member(id, member));
        ConsumerGroupDescription {
            state: self.state(),
            epoch: self.epoch,
            target_epoch: self.target_epoch,
            assignor: preferred_assignor(&self.members),
            members: members.collect(),
        }
    }
}

fn describe_member(id: &Arc<str>, member: &Member) -> ConsumerMemberDescription {
    let metadata = &member.metadata;
    ConsumerMemberDescription {
        member_id: Arc::clone(id),
        instance_id: metadata.instance_id.clone(),
        rack_id: metadata.rack_id.clone(),
        epoch: member.holding.epoch,
        client_id: Arc::clone(&metadata.client_id),
        client_host: Arc::clone(&metadata.client_host),
        names: Arc::clone(&metadata.names),
        pattern: metadata.pattern.clone(),
        assigned: member.holding.assigned.clone(),
        target: member.target.clone(),
    }
}

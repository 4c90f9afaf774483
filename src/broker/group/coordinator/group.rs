//! One group: its offsets, and its members under the protocol they speak.
//!
//! A group has one protocol while it has members. [`Members`] is the one place where the coordinator tells protocols apart;
//! what both have in common is asked through [`Group`]. An empty group takes the protocol of whoever comes.

use crate::base::Timestamp;
use crate::broker::group::classic::{ClassicGroup, Context};
use crate::broker::group::consumer::{ConsumerGroup, ConsumerGroupError};
use crate::broker::group::error::GroupError;
use crate::broker::group::offsets::Offsets;
use crate::broker::group::record::GroupRecord;
use crate::broker::group::request::{CONSUMER_PROTOCOL, GroupType, ListedGroup, MemberRef};
use std::sync::Arc;

/// Bytes a group costs beside its members and offsets, roughly.
const GROUP_BYTES: usize = 512;

/// The members of a group, by the protocol they speak.
#[derive(Clone, Debug)]
pub enum Members {
    /// They agree among themselves. Also a group that only commits.
    Classic(ClassicGroup),
    /// The broker assigns (KIP-848).
    Consumer(ConsumerGroup),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its members.
    pub members: Members,
    /// Its offsets.
    pub offsets: Offsets,
    /// The deadline under which it is queued.
    pub(super) queued: Option<u64>,
    /// The memory counted for it.
    pub(super) counted: usize,
}

impl Group {
    pub(super) fn new(members: Members) -> Self {
        Self {
            members,
            offsets: Offsets::default(),
            queued: None,
            counted: 0,
        }
    }

    /// Its members, if they are of the classic protocol.
    #[must_use]
    pub fn classic(&self) -> Option<&ClassicGroup> {
        match &self.members {
            Members::Classic(group) => Some(group),
            Members::Consumer(_) => None,
        }
    }

    /// Its members, if they are of the classic protocol.
    pub(super) fn classic_mut(&mut self) -> Option<&mut ClassicGroup> {
        match &mut self.members {
            Members::Classic(group) => Some(group),
            Members::Consumer(_) => None,
        }
    }

    /// Its members, if the broker assigns them.
    #[must_use]
    pub fn consumer(&self) -> Option<&ConsumerGroup> {
        match &self.members {
            Members::Classic(_) => None,
            Members::Consumer(group) => Some(group),
        }
    }

    /// Its members, if the broker assigns them.
    pub(super) fn consumer_mut(&mut self) -> Option<&mut ConsumerGroup> {
        match &mut self.members {
            Members::Classic(_) => None,
            Members::Consumer(group) => Some(group),
        }
    }

    /// Its protocol.
    #[must_use]
    pub fn kind(&self) -> GroupType {
        match &self.members {
            Members::Classic(_) => GroupType::Classic,
            Members::Consumer(_) => GroupType::Consumer,
        }
    }

    /// Kafka's name of its state.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match &self.members {
            Members::Classic(group) => group.state().name(),
            Members::Consumer(group) => group.state().name(),
        }
    }

    /// Members.
    #[must_use]
    pub fn member_count(&self) -> usize {
        match &self.members {
            Members::Classic(group) => group.len(),
            Members::Consumer(group) => group.len(),
        }
    }

    /// Whether it has no members, and nobody is about to become one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.members {
            Members::Classic(group) => group.is_empty(),
            Members::Consumer(group) => group.is_empty(),
        }
    }

    /// Grows with every rebalance.
    pub(super) fn generation(&self) -> i32 {
        match &self.members {
            Members::Classic(group) => group.generation(),
            Members::Consumer(group) => group.epoch(),
        }
    }

    /// Nothing would be lost by forgetting it.
    pub(super) fn is_blank(&self) -> bool {
        let members = match &self.members {
            Members::Classic(group) => group.is_blank(),
            Members::Consumer(group) => group.is_blank(),
        };
        members && self.offsets.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let members = match &self.members {
            Members::Classic(group) => group.memory_bytes(),
            Members::Consumer(group) => group.memory_bytes(),
        };
        GROUP_BYTES + members + self.offsets.memory_bytes()
    }

    /// Nothing happens to its members before.
    pub(super) fn wake_at(&self) -> Option<u64> {
        match &self.members {
            Members::Classic(group) => group.wake_at(),
            Members::Consumer(group) => group.next_deadline_ms(),
        }
    }

    pub(super) fn tick(&mut self, cx: &mut Context<'_>) {
        match &mut self.members {
            Members::Classic(group) => group.tick(cx),
            Members::Consumer(group) => group.tick(cx.image, cx.now, &mut cx.effects.records),
        }
    }

    /// After it was read back: sessions begin.
    pub(super) fn resume(&mut self, cx: &Context<'_>) {
        match &mut self.members {
            Members::Classic(group) => group.resume(cx.now),
            Members::Consumer(group) => group.resume(&cx.config.consumer, cx.now),
        }
    }

    /// Whether a commit is to be taken.
    pub(super) fn check_commit(
        &mut self,
        member: &MemberRef,
        generation: i32,
        cx: &Context<'_>,
    ) -> Result<(), GroupError> {
        match &mut self.members {
            Members::Classic(group) => group.check_commit(member, generation, cx.now),
            Members::Consumer(group) => group
                .check_commit(&member.member_id, generation)
                .map_err(|error| offset_refusal(&error)),
        }
    }

    /// Whether a look at its offsets is to be answered. In the classic protocol anybody may look.
    pub(super) fn check_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), GroupError> {
        match &self.members {
            Members::Classic(_) => Ok(()),
            Members::Consumer(group) => group
                .check_fetch(member_id, member_epoch)
                .map_err(|error| offset_refusal(&error)),
        }
    }

    /// Whether a live member reads `topic`.
    pub(super) fn is_subscribed(&self, topic: &str) -> Result<bool, GroupError> {
        match &self.members {
            Members::Classic(group) => group.is_subscribed(topic),
            Members::Consumer(group) => Ok(group.subscribes(topic)),
        }
    }

    /// From when its offsets' age counts, if not from each commit.
    pub(super) fn empty_since(&self) -> Option<Timestamp> {
        match &self.members {
            Members::Classic(group) => group.empty_since(),
            // Kafka counts these from each commit.
            Members::Consumer(_) => None,
        }
    }

    /// What says in the log that its members are gone.
    pub(super) fn tombstones(&self) -> Vec<GroupRecord> {
        match &self.members {
            Members::Classic(group) => group.tombstone().into_iter().collect(),
            Members::Consumer(group) => group.tombstones(),
        }
    }

    /// As a list shows it.
    pub(super) fn listed(&self, id: &Arc<str>) -> ListedGroup {
        ListedGroup {
            id: Arc::clone(id),
            kind: self.kind(),
            protocol_type: match &self.members {
                Members::Classic(group) => group.protocol_type(),
                Members::Consumer(_) => CONSUMER_PROTOCOL.into(),
            },
            state: self.state_name(),
        }
    }
}

/// What the check of a commit or fetch can refuse.
fn offset_refusal(error: &ConsumerGroupError) -> GroupError {
    match error {
        ConsumerGroupError::StaleMemberEpoch { .. } => GroupError::StaleMemberEpoch,
        _ => GroupError::UnknownMember,
    }
}

//! A consumer group of the next-generation protocol (KIP-848): the broker assigns, the members follow.
//!
//! ```text
//!   group epoch      grows when the question changes: members, subscriptions, topics
//!   target epoch     the group epoch for which the target assignment was computed
//!   member epoch     the target epoch a member has reached (it has nothing left to give back)
//! ```
//!
//! A member knows one request, the heartbeat: it says who it is, which epoch it has seen and, when that changes, what it
//! subscribes and what it owns; it is told its epoch and, when that changes, its partitions. There is no barrier: each
//! member moves on its own from what it has to its target (`reconcile`), and a partition waits only for its owner.
//!
//! **Promise.**
//! - A partition has at most one owner: the member that was told of it, until that member says it no longer owns it, leaves,
//!   or is fenced. `owners` is the union of what members have and what they were asked to give back, and these are disjoint.
//! - Epochs only grow, but for the mark of an absent static member.
//! - If members keep heartbeating and do as they are told, and nothing else changes, everybody reaches the target.
//! - Every change is in a record before it is in an answer. Any prefix of the records of one call, applied, gives a
//!   group that breaks none of the above: at worst it computes a target again or lets a half-joined member expire.
//! - A call that returns an error has changed nothing.
//!
//! **Time.** Sessions and revocations have deadlines; [`ConsumerGroup::next_deadline_ms`] may be early, never late. A
//! heartbeat only moves deadlines away, so the queue above need not be told.
//!
//! **Cost.** A heartbeat that changes nothing looks at one member. Assignments are computed when a member's heartbeat finds the
//! group epoch ahead of the target's, so what changes between two heartbeats is paid for once.
//!
//! Where to look: `heartbeat` is the protocol, `reconcile` one member's way, [`assignor`] the targets, `subscription`
//! and [`pattern`] what is subscribed, `upkeep` time-outs and changed topics, `replay` and `format` the log,
//! [`describe`] what others see.
//!
//! Absent: the migration of a classic group with members to this protocol and back (a group takes the protocol of whoever
//! comes when it is empty), and client-side assignors, which Kafka gave up as well.

pub mod assignment;
pub mod assignor;
pub mod describe;
mod format;
mod heartbeat;
pub mod member;
#[cfg(test)]
mod model;
pub mod pattern;
mod reconcile;
mod replay;
mod subscription;
#[cfg(test)]
mod tests;
mod upkeep;

use super::record::{
    KEY_CONSUMER_CURRENT, KEY_CONSUMER_GROUP, KEY_CONSUMER_MEMBER, KEY_CONSUMER_REGEX,
    KEY_CONSUMER_TARGET_EPOCH, KEY_CONSUMER_TARGET_MEMBER, KEY_CONSUMER_TOPICS,
};
use crate::base::hash::HashMap;
use crate::base::{PartitionId, TopicId};
use assignment::Assignment;
use member::Member;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use subscription::Pattern;

pub use subscription::PATTERNS_MAX;

/// Bytes of an entry in the table of owners, roughly.
const OWNER_BYTES: usize = 64;

/// What an operator may set: Kafka's `group.consumer.*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`: a member that is silent for so long is gone.
    pub session_timeout_ms: u32,
    /// `group.consumer.heartbeat.interval.ms`: what members are told to keep.
    pub heartbeat_interval_ms: u32,
    /// `group.consumer.max.size`: members of one group.
    pub size_max: u32,
}

impl Default for ConsumerGroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            size_max: u32::MAX,
        }
    }
}

/// What a member says. `None` means: as before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConsumerHeartbeat {
    /// Chosen by the client, or by the door for clients that cannot choose.
    pub member_id: Arc<str>,
    /// The epoch it has seen, or one of [`member::EPOCH_JOIN`], [`member::EPOCH_LEAVE`], [`member::EPOCH_STATIC_LEAVE`].
    pub member_epoch: i32,
    /// The name that outlives its process.
    pub instance_id: Option<Arc<str>>,
    /// Where it is.
    pub rack_id: Option<Arc<str>>,
    /// Time it may take to give partitions back.
    pub rebalance_timeout_ms: Option<u32>,
    /// Topics it subscribes by name.
    pub names: Option<Vec<Arc<str>>>,
    /// Topics it subscribes by pattern; empty text ends that.
    pub pattern: Option<Arc<str>>,
    /// The assignor it would like.
    pub assignor: Option<Arc<str>>,
    /// What it owns.
    pub owned: Option<Assignment>,
    /// The client's name for itself.
    pub client_id: Arc<str>,
    /// The address it comes from.
    pub client_host: Arc<str>,
}

/// What a member is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerHeartbeatReply {
    /// Its id.
    pub member_id: Arc<str>,
    /// The epoch to show from now on.
    pub member_epoch: i32,
    /// How often to heartbeat; 0 for one that has left.
    pub heartbeat_interval_ms: u32,
    /// All it may own, if that has changed or it may not know.
    pub assignment: Option<Assignment>,
}

/// Why the group refuses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConsumerGroupError {
    /// No member of that id: join again with epoch 0.
    #[error("the member is not known")]
    UnknownMember,
    /// The epoch is not one the member can have: it must abandon its partitions and join again.
    #[error("the member epoch {got} does not fit the current epoch {current}")]
    FencedMemberEpoch {
        /// What the member showed.
        got: i32,
        /// What it should have shown.
        current: i32,
    },
    /// A commit or fetch of offsets with another epoch than the member's.
    #[error("the member epoch is {current}, not {got}")]
    StaleMemberEpoch {
        /// What the member showed.
        got: i32,
        /// What it should have shown.
        current: i32,
    },
    /// Another member holds the instance id and has not left.
    #[error("the instance id is in use by another member")]
    UnreleasedInstance,
    /// Another member has taken over the instance id.
    #[error("another member took over this instance id")]
    FencedInstance,
    /// No assignor of that name.
    #[error("the assignor is not supported; there are: uniform, range")]
    UnsupportedAssignor,
    /// The request contradicts itself or the protocol.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The group has as many members as it may.
    #[error("the group is full")]
    GroupFull,
    /// The pattern does not parse or is over a bound.
    #[error("the topic pattern is not valid: {0}")]
    InvalidPattern(String),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    id: Arc<str>,
    epoch: i32,
    target_epoch: i32,
    /// [`subscription::topics_hash`] at the last look.
    topics_hash: i64,
    members: BTreeMap<Arc<str>, Member>,
    /// Members with a name of their own.
    instances: BTreeMap<Arc<str>, Arc<str>>,
    patterns: BTreeMap<Arc<str>, Pattern>,
    /// Derived from the members' holdings.
    owners: HashMap<(TopicId, PartitionId), Arc<str>>,
    /// The metadata image at the last look; `None` forces one.
    seen_revision: Option<u64>,
    /// Patterns are not resolved again before.
    patterns_rest_until_ms: u64,
    /// Nothing happens before, unless somebody asks for it.
    deadline_ms: u64,
    /// Memory of the members, roughly.
    member_bytes: usize,
    /// Members of whom the log has told only parts so far.
    unnamed: BTreeSet<Arc<str>>,
}

impl ConsumerGroup {
    /// A group without members.
    #[must_use]
    pub fn new(id: Arc<str>) -> Self {
        Self {
            id,
            epoch: 0,
            target_epoch: 0,
            topics_hash: 0,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            patterns: BTreeMap::new(),
            owners: HashMap::default(),
            seen_revision: None,
            patterns_rest_until_ms: 0,
            deadline_ms: u64::MAX,
            member_bytes: 0,
            unnamed: BTreeSet::new(),
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Whether records whose keys are of that kind belong to groups like this.
    #[must_use]
    pub const fn has_records_of(kind: i16) -> bool {
        matches!(
            kind,
            KEY_CONSUMER_GROUP
                | KEY_CONSUMER_TOPICS
                | KEY_CONSUMER_MEMBER
                | KEY_CONSUMER_TARGET_EPOCH
                | KEY_CONSUMER_TARGET_MEMBER
                | KEY_CONSUMER_CURRENT
                | KEY_CONSUMER_REGEX
        )
    }

    /// Its epoch: it grows when the group has to be assigned anew.
    #[must_use]
    pub const fn epoch(&self) -> i32 {
        self.epoch
    }

    /// True if it has a member of that id.
    #[must_use]
    pub fn has_member(&self, member_id: &str) -> bool {
        self.members.contains_key(member_id)
    }

    /// True if it comes from a member that subscribes no more than it has subscribed.
    #[must_use]
    pub fn holds(&self, request: &ConsumerHeartbeat) -> bool {
        let Some(member) = self.members.get(&request.member_id) else {
            return false;
        };
        let bytes = |names: &mut dyn Iterator<Item = &Arc<str>>| names.map(|name| name.len()).sum::<usize>();
        let held = bytes(&mut member.metadata.names.iter());
        let named = request.names.as_ref().map_or(0, |names| bytes(&mut names.iter()));
        let same_pattern = request.pattern.is_none() || request.pattern == member.metadata.pattern;
        named <= held && same_pattern
    }

    /// True if it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// True if nothing would be lost by forgetting it: it never had members, or its records were deleted.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.members.is_empty() && self.epoch == 0 && self.target_epoch == 0 && self.patterns.is_empty()
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// A moment before which [`ConsumerGroup::tick`] does nothing; it may be early. `None` if no time matters.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        (self.deadline_ms != u64::MAX).then_some(self.deadline_ms)
    }

    /// Memory it takes, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let matched = |pattern: &Pattern| pattern.resolved.topics.len() * 48 + 1024;
        self.member_bytes
            + self.owners.len() * OWNER_BYTES
            + self.patterns.values().map(matched).sum::<usize>()
    }

    /// True if some member subscribes that topic.
    #[must_use]
    pub fn subscribes(&self, topic: &str) -> bool {
        self.members.values().any(|member| {
            subscription::names_of(&member.metadata, &self.patterns).any(|name| **name == *topic)
        })
    }

    /// May a member (or, in an empty group, anybody with a negative epoch) commit offsets?
    ///
    /// # Errors
    /// [`ConsumerGroupError::UnknownMember`] or [`ConsumerGroupError::StaleMemberEpoch`].
    pub fn check_commit(&self, member_id: &str, member_epoch: i32) -> Result<(), ConsumerGroupError> {
        if member_epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.check_epoch(member_id, member_epoch)
    }

    /// May this member fetch offsets? Who names neither member nor epoch (tools) may always.
    ///
    /// # Errors
    /// [`ConsumerGroupError::UnknownMember`] or [`ConsumerGroupError::StaleMemberEpoch`].
    pub fn check_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), ConsumerGroupError> {
        match member_id {
            None if member_epoch < 0 => Ok(()),
            member_id => self.check_epoch(member_id.unwrap_or_default(), member_epoch),
        }
    }

    fn check_epoch(&self, member_id: &str, got: i32) -> Result<(), ConsumerGroupError> {
        let member = self
            .members
            .get(member_id)
            .ok_or(ConsumerGroupError::UnknownMember)?;
        let current = member.holding.epoch;
        if got != current {
            return Err(ConsumerGroupError::StaleMemberEpoch { got, current });
        }
        Ok(())
    }
}

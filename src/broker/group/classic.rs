//! A classic group: members agree among themselves, the broker keeps the minutes.
//!
//! ```text
//!            join                   everybody joined, or time is up
//!   Empty ----------> Preparing ------------------------------------> Completing
//!     ^                ^     |  nobody is left                            |  the leader's sync
//!     |                |     v                                            v
//!     +---------------(-- Empty          a member comes, goes,          Stable
//!                      |                 changes, falls silent            |
//!                      +--------------------------------------------------+
//! ```
//!
//! The rules of who may do what in which state are Kafka's, which clients rely on in detail: [`join`](ClassicGroup::join) in
//! `classic/join`, generations and time-outs in `classic/rebalance`, the rest in `classic/member_calls`.
//!
//! **Promise.** A generation that any member has heard of is in a record before the member hears of it, so after a crash no
//! number is used twice: Kafka writes a generation when its leader has assigned, this also when it begins, marked as
//! incomplete (`classic/format`). The group comes back from its records as it was: stable, or waiting for its leader.
//!
//! **Invariants.** `generation` only grows. `joined` is the number of members with an open join, `supported` counts the
//! members per protocol, `bytes` their metadata and assignments. In `Stable` every member has the assignment of this
//! generation. Members with an open join or sync do not fall silent.
//!
//! Pure: time, tickets and new ids are arguments; answers and records are collected in [`Effects`].

mod format;
mod join;
mod member;
mod member_calls;
mod rebalance;

use super::Effects;
use super::config::GroupConfig;
use super::error::GroupError;
use super::request::{
    CONSUMER_PROTOCOL, DescribedMember, Description, GroupReply, JoinRefused, MemberRef, Now, Ticket,
};
use super::subscription::subscribed_topics;
use crate::base::Timestamp;
use crate::base::hash::HashMap;
use crate::broker::image::Image;
use member::Member;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use format::ClassicValue;

/// Most bytes of metadata and assignments of a group: they are written as one record, and the leader is sent them as one
/// answer.
pub const GROUP_BYTES_MAX: usize = 4 << 20;

/// Ids given out to members that have not joined with them yet. Beyond this the one closest to its end is forgotten; its
/// owner is told to start over.
const PENDING_MAX: usize = 4096;

/// Bytes a member costs beside its metadata and assignment, roughly.
const MEMBER_BYTES: usize = 512;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum State {
    /// No members; offsets may remain.
    #[default]
    Empty,
    /// Members are joining.
    Preparing,
    /// A generation has begun; its leader has not assigned yet.
    Completing,
    /// Everybody has an assignment.
    Stable,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Empty, Self::Preparing, Self::Completing, Self::Stable];

    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing => "PreparingRebalance",
            Self::Completing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// When joining ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum JoinTimer {
    /// The first generation after an empty group waits for company, a little longer whenever somebody comes.
    Initial { at: u64, delay: u64, left: u64 },
    /// A rebalance waits for the members there were.
    Rebalance { at: u64 },
}

/// What a group decides by, and where its decisions go.
#[derive(Debug)]
pub struct Context<'a> {
    /// What the operator set.
    pub config: &'a GroupConfig,
    /// The time.
    pub now: Now,
    /// The topics there are.
    pub image: &'a Image,
    /// Records and answers.
    pub effects: &'a mut Effects,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct ClassicGroup {
    id: Arc<str>,
    state: State,
    state_since: Timestamp,
    generation: i32,
    protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Static members by their instance.
    instances: HashMap<Arc<str>, Arc<str>>,
    /// Ids given out and not used yet, and when they lapse.
    pending: BTreeMap<Arc<str>, u64>,
    supported: HashMap<Arc<str>, usize>,
    joined: usize,
    /// Somebody joined while the first generation waits for company.
    company: bool,
    join_timer: Option<JoinTimer>,
    /// When members that have not synced are dropped.
    sync_deadline: Option<u64>,
    bytes: usize,
    /// No deadline of the group is earlier; it may be later.
    wake_at: Option<u64>,
    /// There is a record of it.
    recorded: bool,
}

impl ClassicGroup {
    /// A group without members.
    #[must_use]
    pub fn new(id: Arc<str>, now: Now) -> Self {
        Self {
            id,
            state_since: now.wall,
            ..Self::default()
        }
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Number of the generation.
    #[must_use]
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// The leader of the generation.
    #[must_use]
    pub fn leader(&self) -> Option<&Arc<str>> {
        self.leader.as_ref()
    }

    /// Members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no members, and nobody is about to become one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// Whether there is nothing to remember of it: no generation ever, no members.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.is_empty() && !self.recorded && self.generation == 0
    }

    /// Whether its state is in the log, so that its end must be, too.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// When it became empty, for a group that once had members.
    #[must_use]
    pub fn empty_since(&self) -> Option<Timestamp> {
        (self.state == State::Empty && self.protocol_type.is_some()).then_some(self.state_since)
    }

    /// Memory, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes + (self.members.len() + self.pending.len()) * MEMBER_BYTES
    }

    /// `consumer`, `connect`; empty for a group that never had members.
    #[must_use]
    pub fn protocol_type(&self) -> Arc<str> {
        self.protocol_type.clone().unwrap_or_default()
    }

    /// The earliest moment at which [`tick`](Self::tick) may have something to do.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        self.wake_at
    }

    /// As tools see it.
    #[must_use]
    pub fn describe(&self) -> Description {
        let chosen = self.protocol.as_ref().filter(|_| self.state == State::Stable);
        let describe = |member: &Member| DescribedMember {
            id: Arc::clone(&member.id),
            instance_id: member.instance_id.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            metadata: chosen.map(|name| member.metadata(name)).unwrap_or_default(),
            assignment: chosen.map(|_| Arc::clone(&member.assignment)).unwrap_or_default(),
        };
        Description {
            state: self.state.name(),
            protocol_type: self.protocol_type(),
            protocol: chosen.cloned().unwrap_or_default(),
            members: self.members.values().map(describe).collect(),
        }
    }

    /// Whether a live member reads `topic`. Members whose subscription cannot be read count as reading everything; whether
    /// that is so of a group that does not consume cannot be told at all.
    ///
    /// # Errors
    /// [`GroupError::NonEmpty`] for a group with members that are not consumers.
    pub fn is_subscribed(&self, topic: &str) -> Result<bool, GroupError> {
        if self.members.is_empty() {
            return Ok(false);
        }
        if self.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL) {
            return Err(GroupError::NonEmpty);
        }
        let reads = |member: &Member| {
            let metadata = match &self.protocol {
                Some(protocol) => member.metadata(protocol),
                None => return true,
            };
            subscribed_topics(&metadata).is_none_or(|topics| topics.contains(&topic))
        };
        Ok(self.members.values().any(reads))
    }

    /// Whether a commit of `member` in `generation` is to be taken; a member that commits is alive.
    ///
    /// # Errors
    /// Kafka's refusals.
    pub fn check_commit(&mut self, member: &MemberRef, generation: i32, now: Now) -> Result<(), GroupError> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 && member.member_id.is_empty() && member.instance_id.is_none() {
            return Err(GroupError::UnknownMember);
        }
        self.check_member(member)?;
        if generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        match self.state {
            State::Completing => Err(GroupError::RebalanceInProgress),
            State::Empty => Ok(()),
            State::Stable | State::Preparing => {
                self.touch(&member.member_id, now);
                Ok(())
            }
        }
    }

    /// Whether the group knows this member, under this id.
    fn check_member(&self, member: &MemberRef) -> Result<(), GroupError> {
        if let Some(instance) = &member.instance_id {
            match self.instances.get(instance.as_str()) {
                None => return Err(GroupError::UnknownMember),
                Some(id) if **id != *member.member_id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        match self.members.contains_key(member.member_id.as_str()) {
            true => Ok(()),
            false => Err(GroupError::UnknownMember),
        }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Notes a deadline.
    fn arm(&mut self, at: u64) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    /// The member is alive: its session begins anew.
    fn touch(&mut self, member_id: &str, now: Now) {
        if let Some(member) = self.members.get_mut(member_id) {
            let at = now.mono_ms + u64::from(member.session_timeout_ms);
            member.deadline = Some(at);
            self.arm(at);
        }
    }

    fn enter(&mut self, state: State, now: Now) {
        self.state = state;
        self.state_since = now.wall;
    }

    /// Writes the group down as it is now.
    fn record(&mut self, effects: &mut Effects) {
        self.recorded = true;
        effects.records.push(format::record(self));
    }
}

fn refuse_join(effects: &mut Effects, ticket: Ticket, error: GroupError, member_id: Arc<str>) {
    let refused = JoinRefused { error, member_id };
    effects.replies.push((ticket, GroupReply::Join(Err(refused))));
}

//! One member of a consumer group: what it asked for, what it is meant to have, what it has.
//!
//! Each of the three is a record of its own in the log (`format`), because each changes at its own pace. The
//! deadlines are not written: after a restart every member gets a full session again.

use super::assignment::Assignment;
use super::assignor::Assignor;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The epoch with which a member joins, or joins again after it was fenced.
pub const EPOCH_JOIN: i32 = 0;

/// The epoch with which a member leaves for good.
pub const EPOCH_LEAVE: i32 = -1;

/// The epoch with which a static member leaves for a while; it is kept in the member's record until it is back.
pub const EPOCH_STATIC_LEAVE: i32 = -2;

/// How far a member is on its way to its target; the numbers are those of Kafka's records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemberState {
    /// It has what it is meant to have.
    #[default]
    Stable,
    /// It was told to give back partitions and has not confirmed yet.
    Unrevoked,
    /// It waits for partitions that others have not given back yet.
    Unreleased,
}

impl MemberState {
    /// The number in the record.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
        }
    }

    /// The state of that number.
    #[must_use]
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Stable),
            1 => Some(Self::Unrevoked),
            2 => Some(Self::Unreleased),
            _ => None,
        }
    }
}

/// What a member asked for and who it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemberMetadata {
    /// The name that outlives its process.
    pub instance_id: Option<Arc<str>>,
    /// Where it is; reported, not used.
    pub rack_id: Option<Arc<str>>,
    /// The client's name for itself.
    pub client_id: Arc<str>,
    /// The address it comes from.
    pub client_host: Arc<str>,
    /// Topics subscribed by name.
    pub names: Arc<BTreeSet<Arc<str>>>,
    /// Topics subscribed by pattern; never empty text.
    pub pattern: Option<Arc<str>>,
    /// Time it may take to give partitions back.
    pub rebalance_timeout_ms: u32,
    /// The assignor it would like.
    pub assignor: Option<Assignor>,
}

impl MemberMetadata {
    /// True if both want the same topics from the same assignor.
    #[must_use]
    pub fn subscribes_like(&self, other: &Self) -> bool {
        self.names == other.names && self.pattern == other.pattern && self.assignor == other.assignor
    }

    fn memory_bytes(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let names: usize = self.names.iter().map(|name| name.len() + 48).sum();
        names
            + text(&self.instance_id)
            + text(&self.rack_id)
            + text(&self.pattern)
            + self.client_id.len()
            + self.client_host.len()
    }
}

/// What a member has, and under which epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Holding {
    /// The epoch the member has to show; 0 before its first answer.
    pub epoch: i32,
    /// The epoch before that: the answer that told the newer one may have been lost.
    pub previous_epoch: i32,
    /// See [`MemberState`].
    pub state: MemberState,
    /// What it may read. Told, or about to be.
    pub assigned: Assignment,
    /// What it was told to give back. Still its own until it confirms.
    pub revoking: Assignment,
}

impl Holding {
    /// The same under another epoch.
    #[must_use]
    pub(super) fn with_epoch(mut self, epoch: i32) -> Self {
        if self.epoch != epoch {
            self.previous_epoch = self.epoch;
            self.epoch = epoch;
        }
        self
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// What it asked for.
    pub metadata: MemberMetadata,
    /// What it is meant to have.
    pub target: Assignment,
    /// What it has.
    pub holding: Holding,
    /// It is gone if it has not been heard of by then.
    pub(super) session_deadline_ms: u64,
    /// It is fenced if it has not given back what it was told to by then.
    pub(super) revocation_deadline_ms: Option<u64>,
}

impl Member {
    /// A member that has asked for nothing yet.
    #[must_use]
    pub(super) fn new(metadata: MemberMetadata) -> Self {
        Self {
            metadata,
            target: Assignment::default(),
            holding: Holding::default(),
            session_deadline_ms: u64::MAX,
            revocation_deadline_ms: None,
        }
    }

    /// The earlier of its deadlines.
    pub(super) fn deadline_ms(&self) -> u64 {
        self.revocation_deadline_ms
            .map_or(self.session_deadline_ms, |deadline| {
                deadline.min(self.session_deadline_ms)
            })
    }

    /// Memory it takes, roughly.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.metadata.memory_bytes()
            + self.target.memory_bytes()
            + self.holding.assigned.memory_bytes()
            + self.holding.revoking.memory_bytes()
    }
}

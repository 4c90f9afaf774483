//! What can be asked of a coordinator, and what it answers.
//!
//! Plain owned data, because a request may cross to the core that coordinates the group. Byte blobs that many answers share
//! (a member's metadata is in its own join and in the leader's answer) are counted references.
//!
//! Bounds are the caller's: a request is in memory already when it gets here, within the memory its door reserved.

use super::consumer::describe::ConsumerGroupDescription;
use super::consumer::{ConsumerGroupError, ConsumerHeartbeat, ConsumerHeartbeatReply};
use super::error::GroupError;
use crate::base::{Timestamp, TopicId};
use std::sync::Arc;

/// The two clocks a coordinator decides by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Milliseconds that never step: sessions and time-outs.
    pub mono_ms: u64,
    /// Wall time: commit times and the expiry of offsets.
    pub wall: Timestamp,
}

/// Names an answer that is still owed; chosen by the caller.
pub type Ticket = u64;

/// The protocol type of consumers, whose assignments have a form the broker knows.
pub const CONSUMER_PROTOCOL: &str = "consumer";

/// Longest time a member may leave its group waiting: Kafka has no bound here, but ours must not overflow.
pub const REBALANCE_TIMEOUT_MS_MAX: u32 = 24 * 3600 * 1000;

/// A protocol a member supports and what it says to the leader under it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protocol {
    /// The assignor's name.
    pub name: Arc<str>,
    /// Opaque; for consumers the subscription.
    pub metadata: Arc<[u8]>,
}

/// A member joins, or joins again.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// Its id; empty if it has none yet.
    pub member_id: String,
    /// What a new id ends in; unique, chosen by the caller.
    pub fresh_id: String,
    /// Set for a static member (KIP-345).
    pub instance_id: Option<String>,
    /// The client's own name.
    pub client_id: Arc<str>,
    /// Where it connects from.
    pub client_host: Arc<str>,
    /// `consumer`, `connect` and so on.
    pub protocol_type: Arc<str>,
    /// What it supports, most wanted first.
    pub protocols: Vec<Protocol>,
    /// Silence after which it is gone.
    pub session_timeout_ms: i32,
    /// How long the group waits for it in a rebalance.
    pub rebalance_timeout_ms: i32,
    /// A new dynamic member is given an id and must join again (KIP-394).
    pub needs_known_id: bool,
    /// The client understands that a leader may keep the assignment (KIP-814).
    pub can_skip_assignment: bool,
}

/// A member of a new generation, as its leader is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinedMember {
    /// Its id.
    pub id: Arc<str>,
    /// For a static member.
    pub instance_id: Option<Arc<str>>,
    /// What it said under the chosen protocol.
    pub metadata: Arc<[u8]>,
}

/// The answer to a join that took part in a generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The member's id.
    pub member_id: Arc<str>,
    /// The generation.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol chosen.
    pub protocol: Option<Arc<str>>,
    /// The leader's id.
    pub leader: Arc<str>,
    /// The leader is to keep the assignment.
    pub skip_assignment: bool,
    /// All members, for the leader alone.
    pub members: Vec<JoinedMember>,
}

/// A join that did not succeed. A member without an id learns its id here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// The id to join with next; empty for a new start.
    pub member_id: Arc<str>,
}

/// A member asks for its assignment; the leader brings all of them.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// Its id.
    pub member_id: String,
    /// For a static member.
    pub instance_id: Option<String>,
    /// The generation it joined.
    pub generation: i32,
    /// Checked if given.
    pub protocol_type: Option<String>,
    /// Checked if given.
    pub protocol: Option<String>,
    /// By member, from the leader.
    pub assignments: Vec<(String, Arc<[u8]>)>,
}

/// A member's assignment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol chosen.
    pub protocol: Option<Arc<str>>,
    /// Opaque; never empty for a consumer.
    pub assignment: Arc<[u8]>,
}

/// Who a request says it comes from.
#[derive(Clone, Debug)]
pub struct MemberRef {
    /// Its id; may be empty.
    pub member_id: String,
    /// For a static member.
    pub instance_id: Option<String>,
}

/// Offsets to commit.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// Who.
    pub member: MemberRef,
    /// Its generation or member epoch; negative for a client that is no member.
    pub generation: i32,
    /// When the offsets expire, if the client says so itself.
    pub expire: Option<Timestamp>,
    /// What.
    pub parts: Vec<CommitPart>,
}

/// One offset to commit.
#[derive(Clone, Debug)]
pub struct CommitPart {
    /// The topic.
    pub topic: Arc<str>,
    /// Its id now.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: i32,
    /// The offset to go on from.
    pub offset: i64,
    /// Epoch of the record before it; -1 if not known.
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: String,
}

/// A committed offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The offset to go on from.
    pub offset: i64,
    /// Epoch of the record before it; -1 if not known.
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub time: Timestamp,
    /// When it expires, if the client said so itself.
    pub expire: Option<Timestamp>,
    /// The id of the topic then; nil if not known.
    pub topic_id: TopicId,
}

impl Committed {
    /// Whether it was committed for the topic of this id. One of unknown id is taken to be.
    #[must_use]
    pub fn is_of(&self, topic: TopicId) -> bool {
        self.topic_id == TopicId::NIL || self.topic_id == topic
    }
}

/// Offsets to look up.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The member that asks, checked for groups of the newer protocol.
    pub member_id: Option<String>,
    /// Its epoch; negative if it is no member.
    pub member_epoch: i32,
    /// Which; all there are if not said.
    pub topics: Option<Vec<(Arc<str>, Vec<i32>)>>,
}

/// Committed offsets by topic and partition, as asked.
pub type FetchedOffsets = Vec<(Arc<str>, Vec<(i32, Option<Committed>)>)>;

/// Bytes a request costs beside what it brings, roughly.
const REQUEST_BYTES: usize = 512;
/// Bytes an element of a request costs beside its text, roughly.
const ELEMENT_BYTES: usize = 96;

impl GroupRequest {
    /// Memory it takes while it waits, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let brought: usize = match self {
            Self::Join(join) => {
                let protocol = |one: &Protocol| ELEMENT_BYTES + one.name.len() + one.metadata.len();
                join.protocols.iter().map(protocol).sum()
            }
            Self::Sync(sync) => {
                let share = |(id, share): &(String, Arc<[u8]>)| ELEMENT_BYTES + id.len() + share.len();
                sync.assignments.iter().map(share).sum()
            }
            Self::Commit(commit) => {
                let part = |part: &CommitPart| ELEMENT_BYTES + part.metadata.len();
                commit.parts.iter().map(part).sum()
            }
            Self::Fetch(fetch) => {
                let topic = |(_, partitions): &(Arc<str>, Vec<i32>)| ELEMENT_BYTES + partitions.len() * 4;
                fetch.topics.iter().flatten().map(topic).sum()
            }
            Self::Leave(members) => members.len() * ELEMENT_BYTES,
            Self::DeleteOffsets(offsets) => offsets.len() * ELEMENT_BYTES,
            Self::ConsumerHeartbeat(beat) => {
                let name = |name: &Arc<str>| ELEMENT_BYTES + name.len();
                let owned = beat
                    .owned
                    .as_ref()
                    .map_or(0, super::consumer::assignment::Assignment::memory_bytes);
                beat.names.iter().flatten().map(name).sum::<usize>() + owned
            }
            _ => 0,
        };
        REQUEST_BYTES + brought
    }
}

/// One request to one group.
#[derive(Clone, Debug)]
pub enum GroupRequest {
    /// JoinGroup.
    Join(JoinRequest),
    /// SyncGroup.
    Sync(SyncRequest),
    /// Heartbeat of a member of a generation.
    Heartbeat(MemberRef, i32),
    /// Members leave, or are removed.
    Leave(Vec<MemberRef>),
    /// OffsetCommit.
    Commit(CommitRequest),
    /// OffsetFetch.
    Fetch(FetchRequest),
    /// OffsetDelete.
    DeleteOffsets(Vec<(Arc<str>, i32)>),
    /// DescribeGroups.
    Describe,
    /// DeleteGroups.
    Delete,
    /// ConsumerGroupHeartbeat.
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    /// ConsumerGroupDescribe.
    ConsumerDescribe,
}

/// The answer to a [`GroupRequest`], of the variant of its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupReply {
    /// To [`GroupRequest::Join`].
    Join(Result<Joined, JoinRefused>),
    /// To [`GroupRequest::Sync`].
    Sync(Result<Synced, GroupError>),
    /// To [`GroupRequest::Leave`], in the order of the members.
    Leave(Vec<Result<(), GroupError>>),
    /// To [`GroupRequest::Commit`] and [`GroupRequest::DeleteOffsets`], in the order of the offsets.
    PerOffset(Vec<Result<(), GroupError>>),
    /// To [`GroupRequest::Fetch`].
    Fetched(FetchedOffsets),
    /// To [`GroupRequest::Describe`].
    Described(Box<Description>),
    /// To [`GroupRequest::ConsumerHeartbeat`].
    ConsumerHeartbeat(Result<ConsumerHeartbeatReply, ConsumerGroupError>),
    /// To [`GroupRequest::ConsumerDescribe`].
    ConsumerDescribed(Box<ConsumerGroupDescription>),
    /// Done, nothing to say.
    Done,
    /// The request as a whole is refused.
    Refused(GroupError),
}

/// Which protocol a group speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GroupType {
    /// Members agree among themselves: JoinGroup and SyncGroup.
    Classic,
    /// The broker assigns: ConsumerGroupHeartbeat.
    Consumer,
}

/// A group in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedGroup {
    /// Its id.
    pub id: Arc<str>,
    /// Its protocol.
    pub kind: GroupType,
    /// `consumer`, `connect`; empty for a group that only commits.
    pub protocol_type: Arc<str>,
    /// Kafka's name of its state.
    pub state: &'static str,
}

/// A classic group as tools see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// Kafka's name of its state.
    pub state: &'static str,
    /// `consumer`, `connect`; empty for a group that only commits.
    pub protocol_type: Arc<str>,
    /// The protocol chosen; empty unless stable.
    pub protocol: Arc<str>,
    /// Its members, by id.
    pub members: Vec<DescribedMember>,
}

/// A member as tools see it. Metadata and assignment are empty unless the group is stable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedMember {
    /// Its id.
    pub id: Arc<str>,
    /// For a static member.
    pub instance_id: Option<Arc<str>>,
    /// The client's own name.
    pub client_id: Arc<str>,
    /// Where it connects from.
    pub client_host: Arc<str>,
    /// Under the chosen protocol.
    pub metadata: Arc<[u8]>,
    /// Its share.
    pub assignment: Arc<[u8]>,
}

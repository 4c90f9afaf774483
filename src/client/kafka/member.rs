//! A member of a consumer group, by the classic protocol, for one topic and one thread.
//!
//! The promise: what [`Member::commit`] accepted is committed in the generation this member belongs to, and nothing else is.
//! A member that lost its place (`Standing::Rejoin`) has committed all it could and must join again before it reads on.
//! Partitions without a committed offset begin at their first record.
//!
//! Between two calls the member must not be silent for longer than [`SESSION`], or the group goes on without it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupRequestProtocol, LeaveGroupMember, LeaveGroupRequest,
    SyncGroupRequest, SyncGroupRequestAssignment, TIMESTAMP_EARLIEST,
};
use crate::runtime::clock::{self, Mono};

use super::assignment;
use super::groups::{Committer, TopicPartition};
use super::{Client, ClientError, Missing, To};

/// How long the group waits for a silent member.
pub const SESSION: Duration = Duration::from_secs(30);
/// How often a member shows that it is there.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long members get to join again when the group changes; below the client's patience with an answer.
const REBALANCE: Duration = Duration::from_secs(20);
/// How often a group may change while this member tries to join it.
const JOIN_ROUNDS_MAX: u32 = 100;
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "range";

/// How a member stands to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to it.
    Member,
    /// The group is changing, or went on without it: it must join again.
    Rejoin,
}

/// See the module.
#[derive(Debug)]
pub struct Member {
    group: String,
    topic: String,
    coordinator: i32,
    id: String,
    generation: i32,
    last_heartbeat: Mono,
}

/// What joining came to.
struct Joined {
    protocol: String,
    /// Members and their subscriptions, for the leader; empty for others.
    members: Vec<(String, Vec<String>)>,
}

impl Member {
    /// Somebody who is not in the group yet.
    #[must_use]
    pub fn new(group: &str, topic: &str) -> Self {
        Self {
            group: group.to_owned(),
            topic: topic.to_owned(),
            coordinator: -1,
            id: String::new(),
            generation: -1,
            last_heartbeat: clock::now(),
        }
    }

    /// Joins, or joins again, and gives the partitions this member owns. Waits until the group has agreed.
    ///
    /// # Errors
    /// What the broker or the network says, once the client's patience is used up.
    pub fn join(&mut self, client: &mut Client) -> Result<Vec<i32>, ClientError> {
        client.persist(|client| self.join_once(client))
    }

    fn join_once(&mut self, client: &mut Client) -> Result<Vec<i32>, ClientError> {
        self.coordinator = client.coordinator(&self.group)?;
        for _ in 0..JOIN_ROUNDS_MAX {
            let joined = match self.ask_to_join(client)? {
                Ok(joined) => joined,
                Err(code) => {
                    self.after_refusal(code)?;
                    continue;
                }
            };
            let assignments = self.assign(client, &joined)?;
            match self.sync(client, &joined, &assignments)? {
                Ok(mut assigned) => {
                    self.last_heartbeat = clock::now();
                    return Ok(assigned.remove(&self.topic).unwrap_or_default());
                }
                Err(code) => self.after_refusal(code)?,
            }
        }
        Err(ClientError::refused(
            &self.described(),
            ErrorCode::RebalanceInProgress.code(),
            None,
        ))
    }

    /// Forgets what a refusal says is over; an error if joining again cannot help.
    fn after_refusal(&mut self, code: i16) -> Result<(), ClientError> {
        match ErrorCode::from_wire(code) {
            // The id to join with came with the refusal, or is still good: under another the group would wait for this one.
            Some(
                ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration,
            ) => Ok(()),
            Some(ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId) => {
                self.id.clear();
                Ok(())
            }
            _ => Err(ClientError::refused(&self.described(), code, None)),
        }
    }

    fn described(&self) -> String {
        format!("group {:?}", self.group)
    }

    fn ask_to_join(&mut self, client: &mut Client) -> Result<Result<Joined, i16>, ClientError> {
        let subscription = assignment::encode_subscription(&[&self.topic]);
        let request = JoinGroupRequest {
            group_id: &self.group,
            session_timeout_ms: millis(SESSION),
            rebalance_timeout_ms: millis(REBALANCE),
            member_id: &self.id,
            protocol_type: PROTOCOL_TYPE,
            protocols: vec![JoinGroupRequestProtocol {
                name: PROTOCOL,
                metadata: &subscription,
            }],
            ..JoinGroupRequest::default()
        };
        let (code, id, generation, joined) = client.ask(To::Node(self.coordinator), request, |answer| {
            let members = answer.members.iter();
            let members = members.map(|member| {
                let topics = assignment::decode_subscription(member.metadata);
                (member.member_id.to_owned(), topics)
            });
            let joined = Joined {
                protocol: answer.protocol_name.unwrap_or_default().to_owned(),
                members: members.collect(),
            };
            (
                answer.error_code,
                answer.member_id.to_owned(),
                answer.generation_id,
                joined,
            )
        })?;
        if code == 0 || code == ErrorCode::MemberIdRequired.code() {
            self.id = id;
        }
        if code != 0 {
            return Ok(Err(code));
        }
        self.generation = generation;
        Ok(Ok(joined))
    }

    /// What everybody gets, if this member leads.
    fn assign(
        &self,
        client: &mut Client,
        joined: &Joined,
    ) -> Result<BTreeMap<String, assignment::Assignment>, ClientError> {
        let members: BTreeMap<&str, Vec<String>> = joined
            .members
            .iter()
            .map(|(id, topics)| (id.as_str(), topics.clone()))
            .collect();
        let mut topics: Vec<&str> = members.values().flatten().map(String::as_str).collect();
        topics.sort_unstable();
        topics.dedup();
        let mut partitions = BTreeMap::new();
        if !topics.is_empty() {
            // Topics that are not there have no partitions to give.
            for (topic, _) in client.topics_once(Some(&topics), Missing::Fail)? {
                partitions.insert(topic.name, topic.partitions.len());
            }
        }
        Ok(assignment::range(&members, &partitions))
    }

    fn sync(
        &self,
        client: &mut Client,
        joined: &Joined,
        assignments: &BTreeMap<String, assignment::Assignment>,
    ) -> Result<Result<assignment::Assignment, i16>, ClientError> {
        let encoded: Vec<(&String, Vec<u8>)> = assignments
            .iter()
            .map(|(member, assigned)| (member, assignment::encode(assigned)))
            .collect();
        let assignments = encoded.iter().map(|(member, bytes)| SyncGroupRequestAssignment {
            member_id: member,
            assignment: bytes,
        });
        let request = SyncGroupRequest {
            group_id: &self.group,
            generation_id: self.generation,
            member_id: &self.id,
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: Some(&joined.protocol),
            assignments: assignments.collect(),
            ..SyncGroupRequest::default()
        };
        client.ask(To::Node(self.coordinator), request, |answer| {
            match answer.error_code {
                0 => Ok(assignment::decode(answer.assignment)),
                code => Err(code),
            }
        })
    }

    /// Where to read `partitions` from: what the group committed, or their first records.
    ///
    /// # Errors
    /// What the broker or the network says.
    pub fn places(&self, client: &mut Client, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, ClientError> {
        let committed = client.committed(&self.group)?;
        let first = client.offsets(&self.topic, TIMESTAMP_EARLIEST)?;
        let place = |partition: &i32| {
            let at = committed.get(&self.partition(*partition)).copied();
            let at = at.or_else(|| first.get(partition).copied());
            (*partition, at.unwrap_or(0))
        };
        Ok(partitions.iter().map(place).collect())
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: self.topic.clone(),
            partition,
        }
    }

    /// Shows that this member is there, if it is time to.
    ///
    /// # Errors
    /// What the broker or the network says.
    pub fn heartbeat(&mut self, client: &mut Client) -> Result<Standing, ClientError> {
        if clock::now().since(self.last_heartbeat) < HEARTBEAT {
            return Ok(Standing::Member);
        }
        let request = HeartbeatRequest {
            group_id: &self.group,
            generation_id: self.generation,
            member_id: &self.id,
            ..HeartbeatRequest::default()
        };
        let code = client.ask(To::Node(self.coordinator), request, |answer| answer.error_code);
        self.standing(code)
    }

    /// Commits where reading stands.
    ///
    /// # Errors
    /// What the broker or the network says.
    pub fn commit(
        &mut self,
        client: &mut Client,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<Standing, ClientError> {
        let offsets = offsets
            .iter()
            .map(|(partition, offset)| (self.partition(*partition), *offset))
            .collect();
        let committer = Committer {
            member: &self.id,
            generation: self.generation,
        };
        let outcomes = client.commit_as(&self.group, committer, &offsets, To::Node(self.coordinator));
        let code = outcomes.map(|outcomes| {
            let codes = outcomes.iter().map(|one| one.code);
            codes.into_iter().find(|code| *code != 0).unwrap_or(0)
        });
        // A commit does not keep a member alive everywhere; the heartbeat that is due goes with it.
        match self.standing_after(code)? {
            Standing::Member => self.heartbeat(client),
            Standing::Rejoin => Ok(Standing::Rejoin),
        }
    }

    /// Leaves, so that the others need not wait for the session to end.
    ///
    /// # Errors
    /// What the broker or the network says.
    pub fn leave(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let request = LeaveGroupRequest {
            group_id: &self.group,
            member_id: &self.id,
            members: vec![LeaveGroupMember {
                member_id: &self.id,
                ..LeaveGroupMember::default()
            }],
        };
        let code = client.ask(To::Node(self.coordinator), request, |answer| answer.error_code)?;
        ClientError::check(&self.described(), code, None)
    }

    fn standing(&mut self, code: Result<i16, ClientError>) -> Result<Standing, ClientError> {
        let standing = self.standing_after(code)?;
        if standing == Standing::Member {
            self.last_heartbeat = clock::now();
        }
        Ok(standing)
    }

    fn standing_after(&self, code: Result<i16, ClientError>) -> Result<Standing, ClientError> {
        let refused = |code| ClientError::refused(&self.described(), code, None);
        match code {
            Ok(0) => Ok(Standing::Member),
            Ok(code) => match ErrorCode::from_wire(code) {
                Some(
                    ErrorCode::RebalanceInProgress
                    | ErrorCode::UnknownMemberId
                    | ErrorCode::IllegalGeneration
                    | ErrorCode::FencedInstanceId,
                ) => Ok(Standing::Rejoin),
                // The coordinator moved, or is not ready: joining looks for it.
                Some(known) if known.is_retriable() => Ok(Standing::Rejoin),
                _ => Err(refused(code)),
            },
            Err(error) if error.is_transient() => Ok(Standing::Rejoin),
            Err(error) => Err(error),
        }
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

//! Asking about consumer groups, and moving or deleting what they committed.
//!
//! A group is asked of its coordinator, and all groups of all brokers, for each knows its own. Groups of both protocols are
//! shown in one shape: what a classic member owns is read from the assignment its leader wrote, what a member of the newer
//! protocol owns is what the coordinator says.

use std::collections::BTreeMap;

use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetFetchRequest,
    OffsetFetchRequestGroup,
};

use super::assignment;
use super::{Address, Client, ClientError, Missing, Outcome, To};

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// Its index.
    pub partition: i32,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its name.
    pub id: String,
    /// `Stable`, `Empty` and so on; empty where the broker is too old to say.
    pub state: String,
    /// `Classic` or `Consumer`; empty where the broker is too old to say.
    pub kind: String,
    /// `consumer` for groups of consumers.
    pub protocol_type: String,
    /// Node id of its coordinator.
    pub coordinator: i32,
}

/// Everything a coordinator says about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub id: String,
    /// `Stable`, `Empty` and so on.
    pub state: String,
    /// `classic` or `consumer`.
    pub kind: &'static str,
    /// The assignor in force.
    pub protocol: String,
    /// Node id of its coordinator.
    pub coordinator: i32,
    /// Its members.
    pub members: Vec<GroupMember>,
}

impl GroupDescription {
    /// The code the broker would refuse to delete this group with; 0 if it would not.
    #[must_use]
    pub fn refusal_to_delete(&self) -> i16 {
        if self.state == DEAD {
            ErrorCode::GroupIdNotFound.code()
        } else if self.members.is_empty() {
            0
        } else {
            ErrorCode::NonEmptyGroup.code()
        }
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The id the coordinator knows it by.
    pub id: String,
    /// The name it keeps over restarts, if it has one.
    pub instance: Option<String>,
    /// What it calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// What it owns.
    pub partitions: Vec<TopicPartition>,
}

/// What became of the offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetOutcome {
    /// The partition.
    pub partition: TopicPartition,
    /// 0, or why nothing happened.
    pub code: i16,
}

/// Who commits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committer<'a> {
    pub(super) member: &'a str,
    pub(super) generation: i32,
}

impl Committer<'_> {
    /// Somebody who is no member; accepted while a group has none.
    const OUTSIDER: Self = Self {
        member: "",
        generation: -1,
    };
}

/// The state of a group that is not there.
const DEAD: &str = "Dead";

impl Client {
    /// Node id of the coordinator of `group`.
    pub(super) fn coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        let request = FindCoordinatorRequest {
            key: group,
            coordinator_keys: vec![group],
            ..FindCoordinatorRequest::default()
        };
        let (code, message, node, address) = self.ask(To::Anyone, request, |answer| {
            let found = answer.coordinators.first().map(|one| {
                (
                    one.error_code,
                    one.error_message,
                    one.node_id,
                    Address::new(one.host, one.port),
                )
            });
            let (code, message, node, address) = found.unwrap_or_else(|| {
                let address = Address::new(answer.host, answer.port);
                (answer.error_code, answer.error_message, answer.node_id, address)
            });
            (code, message.map(str::to_owned), node, address)
        })?;
        ClientError::check(&format!("group {group:?}"), code, message.as_deref())?;
        self.meet(node, address);
        Ok(node)
    }

    /// Sends to the coordinator of `group` until it answers.
    fn ask_coordinator<T>(
        &mut self,
        group: &str,
        mut attempt: impl FnMut(&mut Self, To) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.persist(|client| {
            let node = client.coordinator(group)?;
            attempt(client, To::Node(node))
        })
    }

    /// All groups of all brokers, by name.
    pub fn list_groups(&mut self) -> Result<Vec<GroupListing>, ClientError> {
        let mut all = self.persist(|client| {
            // An empty list of topics: only the brokers are wanted.
            client.topics_once(Some(&[]), Missing::Fail)?;
            let mut all = Vec::new();
            for node in client.nodes() {
                let (code, groups) = client.ask(To::Node(node), ListGroupsRequest::default(), |answer| {
                    let groups = answer.groups.iter().map(|one| GroupListing {
                        id: one.group_id.to_owned(),
                        state: one.group_state.to_owned(),
                        kind: one.group_type.to_owned(),
                        protocol_type: one.protocol_type.to_owned(),
                        coordinator: node,
                    });
                    (answer.error_code, groups.collect::<Vec<_>>())
                })?;
                ClientError::check("the list of groups", code, None)?;
                all.extend(groups);
            }
            Ok(all)
        })?;
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// State and members of a group. One that is not there is described as dead, as Kafka does.
    pub fn describe_group(&mut self, group: &str) -> Result<GroupDescription, ClientError> {
        self.ask_coordinator(group, |client, to| {
            match client.describe_consumer_group(group, to) {
                // Too old a broker, or a group of the classic protocol.
                Err(ClientError::Unsupported { .. }) => {}
                Err(ClientError::Refused { code, .. }) if code == ErrorCode::GroupIdNotFound.code() => {}
                described => return described,
            }
            client.describe_classic_group(group, to)
        })
    }

    fn describe_consumer_group(&mut self, group: &str, to: To) -> Result<GroupDescription, ClientError> {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![group],
            ..ConsumerGroupDescribeRequest::default()
        };
        self.ask(to, request, |answer| {
            let one = answer.groups.first().ok_or_else(|| nothing_about(group))?;
            ClientError::check(&format!("group {group:?}"), one.error_code, one.error_message)?;
            let members = one.members.iter().map(|member| GroupMember {
                id: member.member_id.to_owned(),
                instance: member.instance_id.map(str::to_owned),
                client_id: member.client_id.to_owned(),
                host: member.client_host.to_owned(),
                partitions: partitions(
                    member
                        .assignment
                        .topic_partitions
                        .iter()
                        .map(|topic| (topic.topic_name, topic.partitions.as_slice())),
                ),
            });
            Ok(GroupDescription {
                id: group.to_owned(),
                state: one.group_state.to_owned(),
                kind: "consumer",
                protocol: one.assignor_name.to_owned(),
                coordinator: node_of(to),
                members: members.collect(),
            })
        })?
    }

    fn describe_classic_group(&mut self, group: &str, to: To) -> Result<GroupDescription, ClientError> {
        let request = DescribeGroupsRequest {
            groups: vec![group],
            ..DescribeGroupsRequest::default()
        };
        self.ask(to, request, |answer| {
            let one = answer.groups.first().ok_or_else(|| nothing_about(group))?;
            let missing = one.error_code == ErrorCode::GroupIdNotFound.code();
            if !missing {
                ClientError::check(&format!("group {group:?}"), one.error_code, None)?;
            }
            let members = one.members.iter().map(|member| {
                let assigned = assignment::decode(member.member_assignment);
                GroupMember {
                    id: member.member_id.to_owned(),
                    instance: member.group_instance_id.map(str::to_owned),
                    client_id: member.client_id.to_owned(),
                    host: member.client_host.to_owned(),
                    partitions: partitions(
                        assigned
                            .iter()
                            .map(|(topic, partitions)| (topic.as_str(), partitions.as_slice())),
                    ),
                }
            });
            let state = if missing { DEAD } else { one.group_state };
            Ok(GroupDescription {
                id: group.to_owned(),
                state: state.to_owned(),
                kind: "classic",
                protocol: one.protocol_data.to_owned(),
                coordinator: node_of(to),
                members: members.collect(),
            })
        })?
    }

    /// What a group has committed.
    pub fn committed(&mut self, group: &str) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        self.ask_coordinator(group, |client, to| {
            let request = OffsetFetchRequest {
                group_id: group,
                topics: None,
                groups: vec![OffsetFetchRequestGroup {
                    group_id: group,
                    topics: None,
                    ..OffsetFetchRequestGroup::default()
                }],
                ..OffsetFetchRequest::default()
            };
            client.ask(to, request, |answer| {
                let mut found = Vec::new();
                let mut code = answer.error_code;
                for topic in &answer.topics {
                    let partitions = topic.partitions.iter();
                    found.extend(partitions.map(|one| {
                        (
                            topic.name,
                            one.partition_index,
                            one.committed_offset,
                            one.error_code,
                        )
                    }));
                }
                for one in &answer.groups {
                    code = one.error_code;
                    for topic in &one.topics {
                        let partitions = topic.partitions.iter();
                        found.extend(partitions.map(|one| {
                            (
                                topic.name,
                                one.partition_index,
                                one.committed_offset,
                                one.error_code,
                            )
                        }));
                    }
                }
                ClientError::check(&format!("group {group:?}"), code, None)?;
                let mut committed = BTreeMap::new();
                for (topic, partition, offset, code) in found {
                    ClientError::check(&format!("{topic}-{partition}"), code, None)?;
                    // -1 stands for nothing committed.
                    if offset >= 0 {
                        let topic = topic.to_owned();
                        committed.insert(TopicPartition { topic, partition }, offset);
                    }
                }
                Ok(committed)
            })?
        })
    }

    /// Commits offsets for a group that has no members.
    pub fn commit_offsets(
        &mut self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<Vec<OffsetOutcome>, ClientError> {
        self.ask_coordinator(group, |client, to| {
            client.commit_as(group, Committer::OUTSIDER, offsets, to)
        })
    }

    /// One attempt to commit.
    pub(super) fn commit_as(
        &mut self,
        group: &str,
        committer: Committer<'_>,
        offsets: &BTreeMap<TopicPartition, i64>,
        to: To,
    ) -> Result<Vec<OffsetOutcome>, ClientError> {
        let mut topics = BTreeMap::<&str, Vec<OffsetCommitRequestPartition<'_>>>::new();
        for (partition, offset) in offsets {
            topics
                .entry(&partition.topic)
                .or_default()
                .push(OffsetCommitRequestPartition {
                    partition_index: partition.partition,
                    committed_offset: *offset,
                    committed_leader_epoch: -1,
                    ..OffsetCommitRequestPartition::default()
                });
        }
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| OffsetCommitRequestTopic {
                name,
                partitions,
                ..OffsetCommitRequestTopic::default()
            });
        let request = OffsetCommitRequest {
            group_id: group,
            generation_id_or_member_epoch: committer.generation,
            member_id: committer.member,
            topics: topics.collect(),
            ..OffsetCommitRequest::default()
        };
        self.ask(to, request, |answer| {
            let topics = answer.topics.iter();
            let outcomes = topics.flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|one| outcome(topic.name, one.partition_index, one.error_code))
            });
            outcomes.collect()
        })
    }

    /// Deletes groups that have no members: an answer for each.
    pub fn delete_groups(&mut self, groups: &[String]) -> Result<Vec<Outcome>, ClientError> {
        let mut outcomes = Vec::new();
        for group in groups {
            outcomes.extend(self.ask_coordinator(group, |client, to| {
                let request = DeleteGroupsRequest {
                    groups_names: vec![group.as_str()],
                };
                client.ask(to, request, |answer| {
                    let results = answer.results.iter().map(|one| Outcome {
                        name: one.group_id.to_owned(),
                        code: one.error_code,
                        message: None,
                    });
                    results.collect::<Vec<_>>()
                })
            })?);
        }
        Ok(outcomes)
    }

    /// Deletes committed offsets of a group: an answer for each.
    pub fn delete_offsets(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<OffsetOutcome>, ClientError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        self.ask_coordinator(group, |client, to| {
            let mut topics = BTreeMap::<&str, Vec<OffsetDeleteRequestPartition>>::new();
            for one in partitions {
                topics
                    .entry(&one.topic)
                    .or_default()
                    .push(OffsetDeleteRequestPartition {
                        partition_index: one.partition,
                    });
            }
            let topics = topics
                .into_iter()
                .map(|(name, partitions)| OffsetDeleteRequestTopic { name, partitions });
            let request = OffsetDeleteRequest {
                group_id: group,
                topics: topics.collect(),
            };
            client.ask(to, request, |answer| {
                ClientError::check(&format!("group {group:?}"), answer.error_code, None)?;
                let topics = answer.topics.iter();
                let outcomes = topics.flat_map(|topic| {
                    topic
                        .partitions
                        .iter()
                        .map(|one| outcome(topic.name, one.partition_index, one.error_code))
                });
                Ok(outcomes.collect())
            })?
        })
    }
}

fn outcome(topic: &str, partition: i32, code: i16) -> OffsetOutcome {
    OffsetOutcome {
        partition: TopicPartition {
            topic: topic.to_owned(),
            partition,
        },
        code,
    }
}

fn partitions<'a>(topics: impl Iterator<Item = (&'a str, &'a [i32])>) -> Vec<TopicPartition> {
    let each = topics.flat_map(|(topic, partitions)| {
        partitions.iter().map(|partition| TopicPartition {
            topic: topic.to_owned(),
            partition: *partition,
        })
    });
    each.collect()
}

fn nothing_about(group: &str) -> ClientError {
    ClientError::refused(
        &format!("group {group:?}"),
        ErrorCode::GroupIdNotFound.code(),
        None,
    )
}

fn node_of(to: To) -> i32 {
    match to {
        To::Node(node) => node,
        To::Anyone => -1,
    }
}

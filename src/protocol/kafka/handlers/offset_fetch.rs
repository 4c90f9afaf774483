//! OffsetFetch: where groups left off.
//!
//! A partition without an offset, and a group that is not there, are answered with -1 and no error: consumers take that as
//! "start where you are configured to". Partitions named twice in a group are answered once, because an answer may be a
//! thousand times as long as its question. `require_stable` asks about transactions, of which there are none.

use crate::base::hash::HashSet;
use std::sync::Arc;

use super::super::call::{Call, Outcome};
use super::super::errors::ErrorCode;
use super::super::messages::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use super::groups;
use crate::base::TopicId;
use crate::broker::group::request::{Committed, FetchRequest, FetchedOffsets, GroupReply, GroupRequest};
use crate::broker::image::Image;

/// First version that asks about many groups.
const GROUPS_SINCE: i16 = 8;
/// First version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 10;
/// First version that can say that the group as a whole cannot be answered for.
const GROUP_ERROR_SINCE: i16 = 2;
/// Bytes of a partition in an answer beside its note, roughly.
const PARTITION_BYTES: usize = 32;
/// Bytes of a topic in an answer beside its partitions, roughly.
const TOPIC_BYTES: usize = 64;

/// One topic as it will be answered.
struct Topic {
    name: Arc<str>,
    id: TopicId,
    partitions: Vec<(i32, Option<Committed>, ErrorCode)>,
}

/// One group as it will be answered.
struct Group {
    topics: Vec<Topic>,
    error: ErrorCode,
}

/// Looks up the groups one after the other.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: OffsetFetchRequest<'_> = call.decode()?;
    let asked = match call.version {
        GROUPS_SINCE.. => request.groups,
        _ => vec![OffsetFetchRequestGroup {
            group_id: request.group_id,
            topics: request.topics,
            ..OffsetFetchRequestGroup::default()
        }],
    };
    let mut named = HashSet::default();
    let mut found = Vec::new();
    for group in asked.iter().filter(|group| named.insert(group.group_id)) {
        found.push((group, fetch(&call, group).await));
    }
    if found.iter().any(|(_, group)| group.error != ErrorCode::None) {
        call.count_error();
    }
    let held = call
        .reserve(found.iter().map(|(_, group)| group.bytes()).sum())
        .await;
    let first = found.first().filter(|_| call.version < GROUPS_SINCE);
    let response = OffsetFetchResponse {
        topics: first.map(|(_, group)| group.topics()).unwrap_or_default(),
        error_code: first.map_or(0, |(_, group)| group.error.code()),
        groups: match call.version {
            GROUPS_SINCE.. => found
                .iter()
                .map(|(asked, group)| response(asked, group))
                .collect(),
            _ => Vec::new(),
        },
        ..OffsetFetchResponse::default()
    };
    Ok(call.answer_holding(response, held))
}

fn response<'a>(asked: &OffsetFetchRequestGroup<'a>, group: &'a Group) -> OffsetFetchResponseGroup<'a> {
    OffsetFetchResponseGroup {
        group_id: asked.group_id,
        topics: group.topics(),
        error_code: group.error.code(),
    }
}

impl Group {
    fn bytes(&self) -> usize {
        let note = |committed: &Committed| committed.metadata.len();
        let partition = |(_, committed, _): &(i32, Option<Committed>, ErrorCode)| {
            PARTITION_BYTES + committed.as_ref().map_or(0, note)
        };
        let topic = |topic: &Topic| TOPIC_BYTES + topic.partitions.iter().map(partition).sum::<usize>();
        TOPIC_BYTES + self.topics.iter().map(topic).sum::<usize>()
    }

    fn topics(&self) -> Vec<OffsetFetchResponseTopic<'_>> {
        self.topics.iter().map(topic_response).collect()
    }
}

fn topic_response(topic: &Topic) -> OffsetFetchResponseTopic<'_> {
    OffsetFetchResponseTopic {
        name: &topic.name,
        topic_id: topic.id,
        partitions: topic.partitions.iter().map(partition_response).collect(),
    }
}

fn partition_response(found: &(i32, Option<Committed>, ErrorCode)) -> OffsetFetchResponsePartition<'_> {
    let (partition_index, committed, error) = found;
    OffsetFetchResponsePartition {
        partition_index: *partition_index,
        committed_offset: committed.as_ref().map_or(-1, |committed| committed.offset),
        committed_leader_epoch: committed.as_ref().map_or(-1, |committed| committed.leader_epoch),
        metadata: Some(committed.as_ref().map_or("", |committed| &committed.metadata)),
        error_code: error.code(),
    }
}

async fn fetch(call: &Call, group: &OffsetFetchRequestGroup<'_>) -> Group {
    let image = call.shard.image();
    let mut unknown = Vec::new();
    let topics = group.topics.as_ref();
    let topics = topics.map(|topics| asked_topics(call, &image, topics, &mut unknown));
    let request = FetchRequest {
        member_id: group.member_id.map(str::to_owned),
        member_epoch: group.member_epoch,
        topics: topics.clone(),
    };
    let reply = match groups::named_or_empty(group.group_id) {
        Ok(id) => call.shard.group(id, GroupRequest::Fetch(request)).await,
        Err(error) => GroupReply::Refused(error),
    };
    match reply {
        GroupReply::Fetched(found) => {
            let mut topics = known_topics(call, &image, found);
            topics.append(&mut unknown);
            Group {
                topics,
                error: ErrorCode::None,
            }
        }
        refused => {
            let error = groups::refusal(&refused);
            let topics = match call.version {
                GROUP_ERROR_SINCE.. => Vec::new(),
                _ => failed_topics(topics.unwrap_or_default(), error),
            };
            Group { topics, error }
        }
    }
}

/// What is asked for, by name and each partition once. Topics of unknown ids are answered by themselves.
fn asked_topics(
    call: &Call,
    image: &Image,
    topics: &[OffsetFetchRequestTopic<'_>],
    unknown: &mut Vec<Topic>,
) -> Vec<(Arc<str>, Vec<i32>)> {
    let mut seen = HashSet::default();
    let mut asked = Vec::with_capacity(topics.len());
    for topic in topics {
        let name: Arc<str> = match call.version {
            TOPIC_IDS_SINCE.. => match image.topic_by_id(topic.topic_id) {
                Some(known) => Arc::clone(&known.name),
                None => {
                    let fail = |index: &i32| (*index, None, ErrorCode::UnknownTopicId);
                    unknown.push(Topic {
                        name: Arc::default(),
                        id: topic.topic_id,
                        partitions: topic.partition_indexes.iter().map(fail).collect(),
                    });
                    continue;
                }
            },
            _ => Arc::from(topic.name),
        };
        let fresh = |index: &&i32| seen.insert((Arc::clone(&name), **index));
        let partitions: Vec<i32> = topic.partition_indexes.iter().filter(fresh).copied().collect();
        asked.push((name, partitions));
    }
    asked
}

/// With ids, a topic that is not there any more cannot be named, and is left out.
fn known_topics(call: &Call, image: &Image, found: FetchedOffsets) -> Vec<Topic> {
    let topics = found.into_iter().filter_map(|(name, partitions)| {
        let id = image.topic(&name).map(|topic| topic.id);
        let id = match call.version {
            TOPIC_IDS_SINCE.. => id?,
            _ => id.unwrap_or_default(),
        };
        let partitions = partitions.into_iter();
        let partitions = partitions.map(|(index, committed)| (index, committed, ErrorCode::None));
        Some(Topic {
            name,
            id,
            partitions: partitions.collect(),
        })
    });
    topics.collect()
}

fn failed_topics(asked: Vec<(Arc<str>, Vec<i32>)>, error: ErrorCode) -> Vec<Topic> {
    let topic = |(name, partitions): (Arc<str>, Vec<i32>)| Topic {
        name,
        id: TopicId::NIL,
        partitions: partitions.into_iter().map(|index| (index, None, error)).collect(),
    };
    asked.into_iter().map(topic).collect()
}

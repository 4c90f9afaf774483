//! OffsetCommit: how far a group has read.
//!
//! Each partition is answered for itself: an unknown topic or a note that is too long does not keep the rest from being
//! committed. What the group refuses, it refuses for all of them.

use std::sync::Arc;

use super::super::call::{Call, Outcome};
use super::super::errors::ErrorCode;
use super::super::map;
use super::super::messages::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use super::{groups, log_of};
use crate::base::Timestamp;
use crate::broker::group::error::GroupError;
use crate::broker::group::request::{CommitPart, CommitRequest, GroupReply, GroupRequest};
use crate::broker::image::Image;
use crate::broker::topic::Topic;
use crate::runtime::clock;

/// First version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 10;
/// First version that tells a group that is not there from a generation that is not the group's.
const UNKNOWN_GROUP_SINCE: i16 = 9;

/// Commits.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: OffsetCommitRequest<'_> = call.decode()?;
    let image = call.shard.image();
    // In the order of the request: the code, once it is known.
    let mut codes: Vec<Option<ErrorCode>> = Vec::new();
    let mut parts = Vec::new();
    for topic in &request.topics {
        let known = find_topic(&call, &image, topic);
        for partition in &topic.partitions {
            let checked = known.and_then(|known| match log_of(known, partition.partition_index) {
                Some(_) => Ok(known),
                None => Err(ErrorCode::UnknownTopicOrPartition),
            });
            codes.push(checked.err());
            if let Ok(known) = checked {
                parts.push(CommitPart {
                    topic: Arc::clone(&known.name),
                    topic_id: known.id,
                    partition: partition.partition_index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.unwrap_or_default().to_owned(),
                });
            }
        }
    }
    let outcomes = commit(&call, &request, parts).await;
    let mut outcomes = outcomes.into_iter();
    let mut codes = codes.into_iter().map(|code| match code {
        Some(code) => code.code(),
        None => outcomes.next().unwrap_or(ErrorCode::UnknownServerError).code(),
    });
    let mut failed = false;
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let error_code = codes.next().unwrap_or_default();
            failed |= error_code != 0;
            OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code,
            }
        });
        OffsetCommitResponseTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        }
    });
    let topics = topics.collect();
    if failed {
        call.count_error();
    }
    Ok(call.answer(OffsetCommitResponse {
        throttle_time_ms: 0,
        topics,
    }))
}

fn find_topic<'i>(
    call: &Call,
    image: &'i Image,
    topic: &OffsetCommitRequestTopic<'_>,
) -> Result<&'i Arc<Topic>, ErrorCode> {
    if call.version >= TOPIC_IDS_SINCE {
        image.topic_by_id(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)
    } else {
        image.topic(topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)
    }
}

/// Commits what is left of the request; a code for each part.
async fn commit(call: &Call, request: &OffsetCommitRequest<'_>, parts: Vec<CommitPart>) -> Vec<ErrorCode> {
    let count = parts.len();
    if count == 0 {
        return Vec::new();
    }
    let group = match groups::named_or_empty(request.group_id) {
        Ok(group) => group,
        Err(error) => return vec![map::group_error(error); count],
    };
    let expire = u64::try_from(request.retention_time_ms).is_ok();
    let expire = expire.then(|| clock::wall_ms().get().saturating_add(request.retention_time_ms));
    let commit = CommitRequest {
        member: groups::member(request.member_id, request.group_instance_id),
        generation: request.generation_id_or_member_epoch,
        expire: expire.map(Timestamp::new),
        parts,
    };
    let code = |outcome: Result<(), GroupError>| outcome.err().map_or(ErrorCode::None, map::group_error);
    match call.shard.group(group, GroupRequest::Commit(commit)).await {
        GroupReply::PerOffset(outcomes) => outcomes.into_iter().map(code).collect(),
        GroupReply::Refused(GroupError::UnknownGroup) if call.version < UNKNOWN_GROUP_SINCE => {
            vec![ErrorCode::IllegalGeneration; count]
        }
        other => vec![groups::refusal(&other); count],
    }
}

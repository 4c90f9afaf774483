//! OffsetDelete: forget where a group left off in topics that none of its members reads.

use std::sync::Arc;

use super::super::call::{Call, Outcome};
use super::super::errors::ErrorCode;
use super::super::map;
use super::super::messages::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use super::{find_log, groups};
use crate::broker::group::request::{GroupReply, GroupRequest};

/// Deletes; each partition is answered for itself.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: OffsetDeleteRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let mut parts: Vec<(Arc<str>, i32)> = Vec::new();
    let mut known = Vec::new();
    for topic in &request.topics {
        let name: Arc<str> = Arc::from(topic.name);
        for partition in &topic.partitions {
            let found = find_log(&image, topic.name, partition.partition_index).is_some();
            known.push(found);
            if found {
                parts.push((Arc::clone(&name), partition.partition_index));
            }
        }
    }
    let reply = match groups::named(request.group_id) {
        Ok(group) => call.shard.group(group, GroupRequest::DeleteOffsets(parts)).await,
        Err(error) => GroupReply::Refused(error),
    };
    let GroupReply::PerOffset(outcomes) = reply else {
        call.count_error();
        return Ok(call.answer(OffsetDeleteResponse {
            error_code: groups::refusal(&reply).code(),
            ..OffsetDeleteResponse::default()
        }));
    };
    let mut outcomes = outcomes.into_iter();
    let mut codes = known.into_iter().map(|found| match found {
        true => match outcomes.next() {
            Some(Ok(())) => ErrorCode::None,
            Some(Err(error)) => map::group_error(error),
            None => ErrorCode::UnknownServerError,
        },
        false => ErrorCode::UnknownTopicOrPartition,
    });
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: codes.next().unwrap_or(ErrorCode::UnknownServerError).code(),
            });
        OffsetDeleteResponseTopic {
            name: topic.name,
            partitions: partitions.collect(),
        }
    });
    let topics = topics.collect();
    Ok(call.answer(OffsetDeleteResponse {
        topics,
        ..OffsetDeleteResponse::default()
    }))
}

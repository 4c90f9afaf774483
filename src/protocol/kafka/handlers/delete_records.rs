//! DeleteRecords: the beginning of a log goes. Each partition for itself.
//!
//! An offset of -1 is the high watermark. What is asked for is durable before it is answered, so the request's time-out is
//! not used. A partition named twice is asked for once, and the offset it is named with first counts: a small request
//! cannot ask for the same work many times.

use crate::base::hash::HashSet;

use super::{find_log, wire_offset};
use crate::base::Offset;
use crate::broker::image::Image;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::map;
use crate::protocol::kafka::messages::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// What is to become of one partition of the request.
type Asked = Result<(crate::base::LogId, Option<Offset>), ErrorCode>;

/// Moves the starts of all logs named.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: DeleteRecordsRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let mut named = HashSet::default();
    let mut asked: Vec<(usize, i32, Asked)> = Vec::new();
    for (topic_at, topic) in request.topics.iter().enumerate() {
        for partition in &topic.partitions {
            if named.insert((topic.name, partition.partition_index)) {
                let what = what_of(&image, topic.name, partition.partition_index, partition.offset);
                asked.push((topic_at, partition.partition_index, what));
            }
        }
    }
    let parts = asked.iter().filter_map(|(_, _, what)| what.ok()).collect();
    let mut starts = call.shard.trim(parts).await.into_iter();
    let mut results: Vec<Vec<DeleteRecordsPartitionResult>> =
        request.topics.iter().map(|_| Vec::new()).collect();
    for (topic_at, partition_index, what) in asked {
        let outcome = what.and_then(|_| {
            let start = starts.next().ok_or(ErrorCode::UnknownServerError)?;
            start.map_err(map::trim_error)
        });
        if outcome.is_err() {
            call.count_error();
        }
        results[topic_at].push(DeleteRecordsPartitionResult {
            partition_index,
            low_watermark: outcome.map_or(-1, wire_offset),
            error_code: outcome.err().map_or(0, ErrorCode::code),
        });
    }
    let topics = request.topics.iter().zip(results);
    let topics = topics.map(|(topic, partitions)| DeleteRecordsTopicResult {
        name: topic.name,
        partitions,
    });
    Ok(call.answer(DeleteRecordsResponse {
        throttle_time_ms: 0,
        topics: topics.collect(),
    }))
}

fn what_of(image: &Image, topic: &str, partition: i32, offset: i64) -> Asked {
    let log = find_log(image, topic, partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if offset == HIGH_WATERMARK {
        return Ok((log, None));
    }
    let offset = u64::try_from(offset).map_err(|_| ErrorCode::OffsetOutOfRange)?;
    Ok((log, Some(Offset::new(offset))))
}

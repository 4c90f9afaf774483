//! ListOffsets: the ends of a log, and the offset at a time.
//!
//! Without tiered storage the earliest local offset is the log start, and nothing is ever tiered. A question that a
//! version does not have is answered with `UNSUPPORTED_VERSION` for its partition, as Kafka does, and a partition that is
//! named twice with `INVALID_REQUEST`.

use crate::base::hash::HashSet;

use super::{find_log, wire_epoch, wire_offset};
use crate::base::Timestamp;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::map;
use crate::protocol::kafka::messages::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse, TIMESTAMP_EARLIEST, TIMESTAMP_EARLIEST_LOCAL,
    TIMESTAMP_EARLIEST_PENDING_UPLOAD, TIMESTAMP_LATEST, TIMESTAMP_LATEST_TIERED, TIMESTAMP_MAX,
};
use crate::shard::request::{OffsetAnswer, OffsetQuery, ReadFailure};

/// What a timestamp asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    /// Something the log knows.
    Ask(OffsetQuery),
    /// The end of what was moved to remote storage, or the first of what is to be: there is none.
    Tiered,
}

/// Partitions that are named more than once. A search may read megabytes, so none is made twice for one request.
fn repeated<'a>(request: &ListOffsetsRequest<'a>) -> HashSet<(&'a str, i32)> {
    let mut once = HashSet::default();
    let all = request.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| (topic.name, partition.partition_index))
    });
    all.filter(|place| !once.insert(*place)).collect()
}

/// Answers each partition for itself.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: ListOffsetsRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let mut queries = Vec::new();
    let mut asked = Vec::new();
    let repeated = repeated(&request);
    for topic in &request.topics {
        for partition in &topic.partitions {
            let log = find_log(&image, topic.name, partition.partition_index);
            let question = log
                .ok_or(ErrorCode::UnknownTopicOrPartition)
                .and_then(
                    |log| match repeated.contains(&(topic.name, partition.partition_index)) {
                        true => Err(ErrorCode::InvalidRequest),
                        false => Ok(log),
                    },
                )
                .and_then(|log| Ok((log, question(partition.timestamp, call.version)?)));
            if let Ok((log, Question::Ask(query))) = question {
                queries.push((log, query));
            }
            asked.push(question);
        }
    }
    let mut answers = call.shard.offsets(queries).await.into_iter();
    let mut asked = asked.into_iter();
    let mut failed = false;
    let mut partition = |partition: &ListOffsetsPartition| {
        let outcome = match asked.next() {
            Some(Ok((_, Question::Ask(_)))) => found(partition, answers.next()),
            Some(Ok((_, Question::Tiered))) => Ok(ListOffsetsPartitionResponse::default()),
            Some(Err(code)) => Err(code),
            None => Err(ErrorCode::UnknownServerError),
        };
        failed |= outcome.is_err();
        let response = outcome.unwrap_or_else(|code| ListOffsetsPartitionResponse {
            error_code: code.code(),
            ..ListOffsetsPartitionResponse::default()
        });
        ListOffsetsPartitionResponse {
            partition_index: partition.partition_index,
            ..response
        }
    };
    let topics = request
        .topics
        .iter()
        .map(|topic| ListOffsetsTopicResponse {
            name: topic.name,
            partitions: topic.partitions.iter().map(&mut partition).collect(),
        })
        .collect();
    if failed {
        call.count_error();
    }
    Ok(call.answer(ListOffsetsResponse {
        throttle_time_ms: 0,
        topics,
    }))
}

/// Reads a timestamp; the special ones came with the versions noted.
fn question(timestamp: i64, version: i16) -> Result<Question, ErrorCode> {
    let question = match (timestamp, version) {
        (TIMESTAMP_LATEST, _) => Question::Ask(OffsetQuery::Latest),
        (TIMESTAMP_EARLIEST, _) | (TIMESTAMP_EARLIEST_LOCAL, 8..) => Question::Ask(OffsetQuery::Earliest),
        (TIMESTAMP_MAX, 7..) => Question::Ask(OffsetQuery::MaxTimestamp),
        (TIMESTAMP_LATEST_TIERED, 9..) | (TIMESTAMP_EARLIEST_PENDING_UPLOAD, 11..) => Question::Tiered,
        (0.., _) => Question::Ask(OffsetQuery::AtTime(Timestamp::new(timestamp))),
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    Ok(question)
}

fn found(
    partition: &ListOffsetsPartition,
    answer: Option<Result<OffsetAnswer, ReadFailure>>,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    let answer = answer
        .ok_or(ErrorCode::UnknownServerError)?
        .map_err(map::read_failure)?;
    if let Some(fenced) = map::fence(partition.current_leader_epoch, answer.bounds.epoch) {
        return Err(fenced);
    }
    // Nothing found is offset -1 with timestamp -1: the defaults.
    Ok(answer
        .found
        .map_or_else(ListOffsetsPartitionResponse::default, |(offset, timestamp)| {
            ListOffsetsPartitionResponse {
                offset: wire_offset(offset),
                timestamp: timestamp.map_or(-1, Timestamp::get),
                leader_epoch: wire_epoch(answer.epoch),
                ..ListOffsetsPartitionResponse::default()
            }
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_begin_with_their_version() {
        let latest = Ok(Question::Ask(OffsetQuery::Latest));
        assert_eq!(question(-1, 1), latest);
        assert_eq!(question(-3, 6), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(question(-3, 7), Ok(Question::Ask(OffsetQuery::MaxTimestamp)));
        assert_eq!(question(-4, 7), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(question(-4, 8), Ok(Question::Ask(OffsetQuery::Earliest)));
        assert_eq!(question(-5, 8), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(question(-5, 9), Ok(Question::Tiered));
        assert_eq!(question(-6, 10), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(question(-6, 11), Ok(Question::Tiered));
        assert_eq!(
            question(0, 1),
            Ok(Question::Ask(OffsetQuery::AtTime(Timestamp::new(0))))
        );
    }
}

//! OffsetForLeaderEpoch: where an epoch ended, so that a consumer notices when its log was cut under it.
//!
//! An epoch the log has not seen yet, or a negative one, is answered with -1 and -1: unknown, and no error.

use super::{find_log, wire_epoch, wire_offset};
use crate::base::{LeaderEpoch, LogId};
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::map;
use crate::protocol::kafka::messages::{
    LeaderEpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use crate::shard::request::{OffsetAnswer, OffsetQuery, ReadFailure};

/// Answers each partition for itself.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: OffsetForLeaderEpochRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let mut queries = Vec::new();
    let mut logs: Vec<Option<LogId>> = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let log = find_log(&image, topic.topic, partition.partition);
            logs.push(log);
            queries.extend(log.map(|log| (log, OffsetQuery::EpochEnd(epoch_asked(partition)))));
        }
    }
    let mut answers = call.shard.offsets(queries).await.into_iter();
    let mut logs = logs.into_iter();
    let mut partition = |partition: &OffsetForLeaderPartition| {
        let outcome = match logs.next().flatten() {
            Some(_) => end_of(partition, answers.next()),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        };
        let response = outcome.unwrap_or_else(|code| LeaderEpochEndOffset {
            error_code: code.code(),
            ..LeaderEpochEndOffset::default()
        });
        LeaderEpochEndOffset {
            partition: partition.partition,
            ..response
        }
    };
    let topics = request
        .topics
        .iter()
        .map(|topic| OffsetForLeaderTopicResult {
            topic: topic.topic,
            partitions: topic.partitions.iter().map(&mut partition).collect(),
        })
        .collect();
    Ok(call.answer(OffsetForLeaderEpochResponse {
        throttle_time_ms: 0,
        topics,
    }))
}

/// The epoch in question; a negative one asks about epoch 0, whose answer is then withheld.
fn epoch_asked(partition: &OffsetForLeaderPartition) -> LeaderEpoch {
    LeaderEpoch::new(u32::try_from(partition.leader_epoch).unwrap_or(0))
}

fn end_of(
    partition: &OffsetForLeaderPartition,
    answer: Option<Result<OffsetAnswer, ReadFailure>>,
) -> Result<LeaderEpochEndOffset, ErrorCode> {
    let answer = answer
        .ok_or(ErrorCode::UnknownServerError)?
        .map_err(map::read_failure)?;
    if let Some(fenced) = map::fence(partition.current_leader_epoch, answer.bounds.epoch) {
        return Err(fenced);
    }
    let found = answer.found.filter(|_| partition.leader_epoch >= 0);
    Ok(
        found.map_or_else(LeaderEpochEndOffset::default, |(end, _)| LeaderEpochEndOffset {
            leader_epoch: wire_epoch(answer.epoch),
            end_offset: wire_offset(end),
            ..LeaderEpochEndOffset::default()
        }),
    )
}

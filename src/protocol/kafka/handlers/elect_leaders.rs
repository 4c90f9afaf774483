//! ElectLeaders: every partition has the one leader it can have, so there is nothing to elect.
//!
//! A partition that is there needs no election; one that is not is unknown. Asked about all partitions, Kafka names only
//! those that an election would change: none.

use std::collections::BTreeSet;

use super::find_log;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    ELECTION_PREFERRED, ELECTION_UNCLEAN, ElectLeadersRequest, ElectLeadersResponse, ElectionPartitionResult,
    ReplicaElectionResult,
};

/// Answers each partition for itself, once.
pub(in crate::protocol::kafka) fn handle(call: &Call) -> Outcome {
    let request: ElectLeadersRequest<'_> = call.decode()?;
    if ![ELECTION_PREFERRED, ELECTION_UNCLEAN].contains(&request.election_type) {
        call.count_error();
        return Ok(call.answer(ElectLeadersResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..ElectLeadersResponse::default()
        }));
    }
    let image = call.shard.image();
    let topics = request.topic_partitions.iter().flatten();
    let named: BTreeSet<(&str, i32)> = topics
        .flat_map(|topic| topic.partitions.iter().map(move |index| (topic.topic, *index)))
        .collect();
    let mut results: Vec<ReplicaElectionResult<'_>> = Vec::new();
    for (topic, partition_id) in named {
        let code = match find_log(&image, topic, partition_id) {
            Some(_) => ErrorCode::ElectionNotNeeded,
            None => ErrorCode::UnknownTopicOrPartition,
        };
        let partition = ElectionPartitionResult {
            partition_id,
            error_code: code.code(),
            error_message: Some(code.message()),
        };
        match results.last_mut().filter(|result| result.topic == topic) {
            Some(result) => result.partition_result.push(partition),
            None => results.push(ReplicaElectionResult {
                topic,
                partition_result: vec![partition],
            }),
        }
    }
    Ok(call.answer(ElectLeadersResponse {
        replica_election_results: results,
        ..ElectLeadersResponse::default()
    }))
}

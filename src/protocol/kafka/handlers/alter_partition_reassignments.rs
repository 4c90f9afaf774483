//! AlterPartitionReassignments: a partition stays with the node that leads it.
//!
//! Asked to be where it is, a partition is done at once. Any other place is refused: on one machine a partition's core
//! follows from its id. There is never a move to cancel.

use std::collections::BTreeMap;

use super::{Fault, code_and_message, find_log, has_node};
use crate::broker::image::Image;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};
use crate::shard::Cluster;

/// Answers each partition for itself, once.
pub(in crate::protocol::kafka) fn handle(call: &Call) -> Outcome {
    let request: AlterPartitionReassignmentsRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let mut outcomes: BTreeMap<(&str, i32), Result<(), Fault>> = BTreeMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let replicas = partition.replicas.as_deref();
            outcomes
                .entry((topic.name, partition.partition_index))
                .or_insert_with(|| {
                    let cluster = call.shard.cluster();
                    judge(cluster, &image, topic.name, partition.partition_index, replicas)
                });
        }
    }
    if outcomes.values().any(Result::is_err) {
        call.count_error();
    }
    let mut responses: Vec<ReassignableTopicResponse<'_>> = Vec::new();
    for ((name, partition_index), outcome) in &outcomes {
        let (error_code, error_message) = code_and_message(outcome);
        let partition = ReassignablePartitionResponse {
            partition_index: *partition_index,
            error_code,
            error_message,
        };
        match responses.last_mut().filter(|topic| topic.name == *name) {
            Some(topic) => topic.partitions.push(partition),
            None => responses.push(ReassignableTopicResponse {
                name,
                partitions: vec![partition],
            }),
        }
    }
    Ok(call.answer(AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses,
        ..AlterPartitionReassignmentsResponse::default()
    }))
}

fn judge(
    cluster: &Cluster,
    image: &Image,
    topic: &str,
    index: i32,
    replicas: Option<&[i32]>,
) -> Result<(), Fault> {
    let log = find_log(image, topic, index).ok_or_else(|| Fault::of(ErrorCode::UnknownTopicOrPartition))?;
    let replicas = replicas.ok_or_else(|| Fault::of(ErrorCode::NoReassignmentInProgress))?;
    let leader = cluster.leader_node(log).id;
    let refused = |message: String| Err(Fault::new(ErrorCode::InvalidReplicaAssignment, message));
    match replicas {
        [] => refused("a partition needs a replica".to_owned()),
        [one] if *one == leader => Ok(()),
        [one] if has_node(cluster, *one) => refused(format!(
            "the partition stays on node {leader}, which its id decides"
        )),
        [one] => refused(format!("there is no node {one}")),
        _ => refused("a partition has one replica here".to_owned()),
    }
}

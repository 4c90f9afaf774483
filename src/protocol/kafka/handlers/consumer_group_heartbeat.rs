//! ConsumerGroupHeartbeat: joins a group of the newer protocol, stays in it, leaves it.
//!
//! A client of version 0 gets its member id here, one of version 1 makes it itself. Partitions that are named with a
//! negative number, or twice, are what a client owns in no sense: they are passed over, the rest counts.

use std::sync::Arc;

use super::super::call::{Answer, Call, Outcome};
use super::super::errors::ErrorCode;
use super::super::map;
use super::super::messages::{
    ConsumerGroupAssignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    ConsumerGroupTopicPartitions,
};
use super::{Fault, groups, wire_count};
use crate::base::PartitionId;
use crate::broker::group::consumer::assignment::Assignment;
use crate::broker::group::consumer::member::EPOCH_JOIN;
use crate::broker::group::consumer::{ConsumerGroupError, ConsumerHeartbeat, ConsumerHeartbeatReply};
use crate::broker::group::error::GroupError;
use crate::broker::group::request::{GroupReply, GroupRequest};

/// First version whose clients make their own member ids.
const OWN_IDS_SINCE: i16 = 1;
/// Bytes of a partition in an answer.
const PARTITION_BYTES: usize = 4;
/// Bytes of an answer beside its partitions, roughly; and of a topic in it.
const ANSWER_BYTES: usize = 128;

/// Passes it on.
pub(in crate::protocol::kafka) async fn handle(mut call: Call) -> Outcome {
    let request: ConsumerGroupHeartbeatRequest<'_> = call.decode()?;
    let (group, heartbeat) = match take_over(&call, &request) {
        Ok(taken) => taken,
        Err(fault) => return Ok(refuse(&call, &fault)),
    };
    call.release_frame();
    let reply = call
        .shard
        .group(group, GroupRequest::ConsumerHeartbeat(heartbeat))
        .await;
    match reply {
        GroupReply::ConsumerHeartbeat(Ok(reply)) => {
            let partitions = reply.assignment.as_ref().map_or(0, Assignment::len);
            let topics = reply.assignment.as_ref().map_or(0, |all| all.topics().len());
            let bytes = (1 + topics) * ANSWER_BYTES + partitions * PARTITION_BYTES;
            let held = call.reserve(bytes).await;
            Ok(call.answer_holding(response(&reply), held))
        }
        GroupReply::ConsumerHeartbeat(Err(error)) => {
            let fault = Fault::new(map::consumer_group_error(&error), error.to_string());
            // A turn of events that a member has to expect is no fault of anybody.
            match error {
                ConsumerGroupError::UnknownMember | ConsumerGroupError::FencedMemberEpoch { .. } => {
                    Ok(call.answer(refusal(&fault)))
                }
                _ => Ok(refuse(&call, &fault)),
            }
        }
        GroupReply::Refused(error) => Ok(call.answer(refusal(&fault_of(error)))),
        other => Ok(refuse(&call, &Fault::of(groups::refusal(&other)))),
    }
}

fn fault_of(error: GroupError) -> Fault {
    match error {
        GroupError::UnknownGroup => Fault::new(
            map::group_error(error),
            "the group has members of the classic protocol",
        ),
        other => Fault::new(map::group_error(other), other.to_string()),
    }
}

fn take_over(
    call: &Call,
    request: &ConsumerGroupHeartbeatRequest<'_>,
) -> Result<(Arc<str>, Box<ConsumerHeartbeat>), Fault> {
    let group = groups::named(request.group_id)
        .map_err(|_| Fault::new(ErrorCode::InvalidRequest, "the group id is empty or too long"))?;
    let names = request.subscribed_topic_names.iter().flatten().copied();
    let texts = names
        .chain([request.member_id])
        .chain(request.instance_id)
        .chain(request.rack_id)
        .chain(request.subscribed_topic_regex);
    if !groups::can_be_kept(texts) {
        return Err(Fault::new(ErrorCode::InvalidRequest, "a name is too long"));
    }
    let gets_id =
        call.version < OWN_IDS_SINCE && request.member_epoch == EPOCH_JOIN && request.member_id.is_empty();
    let member_id = match gets_id {
        true => Arc::from(crate::runtime::entropy::uuid().hyphenated().to_string()),
        false => Arc::from(request.member_id),
    };
    let names = request.subscribed_topic_names.as_ref();
    let heartbeat = ConsumerHeartbeat {
        member_id,
        member_epoch: request.member_epoch,
        instance_id: request.instance_id.map(Arc::from),
        rack_id: request.rack_id.map(Arc::from),
        rebalance_timeout_ms: u32::try_from(request.rebalance_timeout_ms).ok(),
        names: names.map(|names| names.iter().copied().map(Arc::from).collect()),
        pattern: request.subscribed_topic_regex.map(Arc::from),
        assignor: request.server_assignor.map(Arc::from),
        owned: request.topic_partitions.as_deref().map(owned),
        client_id: Arc::from(call.client_id()),
        client_host: Arc::from(format!("/{}", call.stream.peer().ip())),
    };
    Ok((group, Box::new(heartbeat)))
}

fn owned(topics: &[ConsumerGroupTopicPartitions]) -> Assignment {
    let partitions = |topic: &ConsumerGroupTopicPartitions| {
        let id = topic.topic_id;
        let legal = topic
            .partitions
            .iter()
            .filter_map(|index| u32::try_from(*index).ok());
        legal
            .map(|index| (id, PartitionId::new(index)))
            .collect::<Vec<_>>()
    };
    topics.iter().flat_map(partitions).collect()
}

fn response(reply: &ConsumerHeartbeatReply) -> ConsumerGroupHeartbeatResponse<'_> {
    ConsumerGroupHeartbeatResponse {
        member_id: Some(&reply.member_id),
        member_epoch: reply.member_epoch,
        heartbeat_interval_ms: wire_count(reply.heartbeat_interval_ms),
        assignment: reply
            .assignment
            .as_ref()
            .map(|assignment| ConsumerGroupAssignment {
                topic_partitions: topic_partitions(assignment),
            }),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}

fn topic_partitions(assignment: &Assignment) -> Vec<ConsumerGroupTopicPartitions> {
    let topics = assignment.topics().map(|(topic_id, partitions)| {
        let partitions = partitions.iter().map(|partition| wire_count(partition.get()));
        ConsumerGroupTopicPartitions {
            topic_id,
            partitions: partitions.collect(),
        }
    });
    topics.collect()
}

fn refuse(call: &Call, fault: &Fault) -> Answer {
    call.count_error();
    call.answer(refusal(fault))
}

fn refusal(fault: &Fault) -> ConsumerGroupHeartbeatResponse<'_> {
    ConsumerGroupHeartbeatResponse {
        error_code: fault.code.code(),
        error_message: Some(&fault.message),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}

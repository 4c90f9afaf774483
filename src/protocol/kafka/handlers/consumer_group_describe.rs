//! ConsumerGroupDescribe: groups of the newer protocol, their members, what these have and what they are meant to have.
//!
//! A group that is not there, or of the classic protocol, is `GROUP_ID_NOT_FOUND`. A group named twice is answered once.
//! Topics that were deleted since are left out of the assignments: there is no name to give.

use crate::base::hash::HashSet;

use super::super::call::{Call, Outcome};
use super::super::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedAssignment, DescribedConsumerGroup,
    DescribedConsumerMember, DescribedTopicPartitions, MEMBER_TYPE_CONSUMER,
};
use super::{Fault, groups, wire_count};
use crate::broker::group::consumer::assignment::Assignment;
use crate::broker::group::consumer::describe::{ConsumerGroupDescription, ConsumerMemberDescription};
use crate::broker::group::error::GroupError;
use crate::broker::group::request::{GroupReply, GroupRequest};
use crate::broker::image::Image;

/// Bytes of a member or topic in an answer beside what is counted one by one, roughly.
const MEMBER_BYTES: usize = 256;
/// Bytes of a partition in an answer.
const PARTITION_BYTES: usize = 4;

/// A group as it was found, or why it was not.
type Found = Result<Box<ConsumerGroupDescription>, Fault>;

/// Describes one group after the other.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: ConsumerGroupDescribeRequest<'_> = call.decode()?;
    let mut named = HashSet::default();
    let mut found = Vec::new();
    for name in request.group_ids.into_iter().filter(|name| named.insert(*name)) {
        found.push((name, describe(&call, name).await));
    }
    let image = call.shard.image();
    let bytes = found.iter().map(|(_, group)| bytes_of(group)).sum();
    let held = call.reserve(bytes).await;
    let groups = found.iter().map(|(name, group)| response(name, group, &image));
    let response = ConsumerGroupDescribeResponse {
        throttle_time_ms: 0,
        groups: groups.collect(),
    };
    Ok(call.answer_holding(response, held))
}

async fn describe(call: &Call, name: &str) -> Found {
    let reply = match groups::named(name) {
        Ok(group) => call.shard.group(group, GroupRequest::ConsumerDescribe).await,
        Err(error) => GroupReply::Refused(error),
    };
    match reply {
        GroupReply::ConsumerDescribed(description) => Ok(description),
        GroupReply::Refused(GroupError::UnknownGroup) => {
            let message = format!("Group {name} is not a consumer group.");
            Err(Fault::new(groups::refusal(&reply), message))
        }
        refused => {
            call.count_error();
            Err(Fault::of(groups::refusal(&refused)))
        }
    }
}

fn bytes_of(found: &Found) -> usize {
    let assignment = |all: &Assignment| all.topics().len() * MEMBER_BYTES + all.len() * PARTITION_BYTES;
    let member = |member: &ConsumerMemberDescription| {
        let names: usize = member.names.iter().map(|name| name.len() + PARTITION_BYTES).sum();
        MEMBER_BYTES + names + assignment(&member.assigned) + assignment(&member.target)
    };
    let members = found
        .as_ref()
        .map(|group| group.members.as_slice())
        .unwrap_or_default();
    MEMBER_BYTES + members.iter().map(member).sum::<usize>()
}

fn response<'a>(group_id: &'a str, found: &'a Found, image: &'a Image) -> DescribedConsumerGroup<'a> {
    match found {
        Ok(group) => DescribedConsumerGroup {
            group_id,
            group_state: group.state.name(),
            group_epoch: group.epoch,
            assignment_epoch: group.target_epoch,
            assignor_name: group.assignor.name(),
            members: group
                .members
                .iter()
                .map(|member| member_response(member, image))
                .collect(),
            ..DescribedConsumerGroup::default()
        },
        Err(fault) => DescribedConsumerGroup {
            error_code: fault.code.code(),
            error_message: Some(&fault.message),
            group_id,
            ..DescribedConsumerGroup::default()
        },
    }
}

fn member_response<'a>(
    member: &'a ConsumerMemberDescription,
    image: &'a Image,
) -> DescribedConsumerMember<'a> {
    DescribedConsumerMember {
        member_id: &member.member_id,
        instance_id: member.instance_id.as_deref(),
        rack_id: member.rack_id.as_deref(),
        member_epoch: member.epoch,
        client_id: &member.client_id,
        client_host: &member.client_host,
        subscribed_topic_names: member.names.iter().map(|name| &**name).collect(),
        subscribed_topic_regex: member.pattern.as_deref(),
        assignment: assignment_response(&member.assigned, image),
        target_assignment: assignment_response(&member.target, image),
        member_type: MEMBER_TYPE_CONSUMER,
    }
}

fn assignment_response<'a>(assignment: &Assignment, image: &'a Image) -> DescribedAssignment<'a> {
    let topics = assignment.topics().filter_map(|(topic_id, partitions)| {
        let topic = image.topic_by_id(topic_id)?;
        let partitions = partitions.iter().map(|partition| wire_count(partition.get()));
        Some(DescribedTopicPartitions {
            topic_id,
            topic_name: &topic.name,
            partitions: partitions.collect(),
        })
    });
    DescribedAssignment {
        topic_partitions: topics.collect(),
    }
}

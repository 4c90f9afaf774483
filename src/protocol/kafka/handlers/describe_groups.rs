//! DescribeGroups: groups of the classic protocol and their members.
//!
//! A group that is not there is `Dead`, as Kafka has always said; from version 6 on there is an error as well. A group named
//! twice is answered once.

use crate::base::hash::HashSet;

use super::super::call::{Call, Outcome};
use super::super::errors::ErrorCode;
use super::super::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use super::groups;
use crate::broker::group::error::GroupError;
use crate::broker::group::request::{DescribedMember, Description, GroupReply, GroupRequest};

/// First version that calls an absent group an error.
const UNKNOWN_SINCE: i16 = 6;
/// The state of a group that is not there.
const DEAD: &str = "Dead";
/// Bytes of a member in an answer beside its blobs, roughly.
const MEMBER_BYTES: usize = 256;

/// A group as it was found, or why it was not.
type Found = Result<Box<Description>, (ErrorCode, Option<String>)>;

/// Describes one group after the other.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: DescribeGroupsRequest<'_> = call.decode()?;
    let mut named = HashSet::default();
    let mut found = Vec::new();
    for name in request.groups.into_iter().filter(|name| named.insert(*name)) {
        found.push((name, describe(&call, name).await));
    }
    let bytes = |(_, group): &(&str, Found)| {
        let members = group.as_ref().map(|group| group.members.as_slice());
        let member =
            |member: &DescribedMember| MEMBER_BYTES + member.metadata.len() + member.assignment.len();
        MEMBER_BYTES + members.unwrap_or_default().iter().map(member).sum::<usize>()
    };
    let held = call.reserve(found.iter().map(bytes).sum()).await;
    let groups = found.iter().map(|(name, group)| response(name, group));
    let response = DescribeGroupsResponse {
        throttle_time_ms: 0,
        groups: groups.collect(),
    };
    Ok(call.answer_holding(response, held))
}

async fn describe(call: &Call, name: &str) -> Found {
    let reply = match groups::named_or_empty(name) {
        Ok(group) => call.shard.group(group, GroupRequest::Describe).await,
        Err(error) => GroupReply::Refused(error),
    };
    match reply {
        GroupReply::Described(description) => Ok(description),
        GroupReply::Refused(GroupError::UnknownGroup) if call.version < UNKNOWN_SINCE => {
            Err((ErrorCode::None, None))
        }
        GroupReply::Refused(GroupError::UnknownGroup) => {
            let message = format!("Group {name} not found.");
            Err((ErrorCode::GroupIdNotFound, Some(message)))
        }
        refused => Err((groups::refusal(&refused), None)),
    }
}

fn response<'a>(group_id: &'a str, found: &'a Found) -> DescribedGroup<'a> {
    match found {
        Ok(group) => DescribedGroup {
            group_id,
            group_state: group.state,
            protocol_type: &group.protocol_type,
            protocol_data: &group.protocol,
            members: group.members.iter().map(member_response).collect(),
            ..DescribedGroup::default()
        },
        Err((code, message)) => DescribedGroup {
            error_code: code.code(),
            error_message: message.as_deref(),
            group_id,
            group_state: match code {
                ErrorCode::None | ErrorCode::GroupIdNotFound => DEAD,
                _ => "",
            },
            ..DescribedGroup::default()
        },
    }
}

fn member_response(member: &DescribedMember) -> DescribedGroupMember<'_> {
    DescribedGroupMember {
        member_id: &member.id,
        group_instance_id: member.instance_id.as_deref(),
        client_id: &member.client_id,
        client_host: &member.client_host,
        member_metadata: &member.metadata,
        member_assignment: &member.assignment,
    }
}

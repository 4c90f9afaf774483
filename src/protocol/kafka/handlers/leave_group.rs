//! LeaveGroup: members leave, or an administrator removes them by their instances.

use super::super::call::{Call, Outcome};
use super::super::map;
use super::super::messages::{LeaveGroupMemberResponse, LeaveGroupRequest, LeaveGroupResponse};
use super::groups;
use crate::broker::group::request::{GroupReply, GroupRequest};

/// First version that names many.
const LISTS_SINCE: i16 = 3;

/// Passes it on.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: LeaveGroupRequest<'_> = call.decode()?;
    let leaving: Vec<(&str, Option<&str>)> = match call.version {
        LISTS_SINCE.. => {
            let members = request.members.iter();
            members
                .map(|member| (member.member_id, member.group_instance_id))
                .collect()
        }
        _ => vec![(request.member_id, None)],
    };
    let reply = match groups::named(request.group_id) {
        Ok(group) => {
            let members = leaving.iter().map(|(id, instance)| groups::member(id, *instance));
            let leave = GroupRequest::Leave(members.collect());
            call.shard.group(group, leave).await
        }
        Err(error) => GroupReply::Refused(error),
    };
    let (error_code, outcomes) = match reply {
        GroupReply::Leave(outcomes) => (0, outcomes),
        other => (groups::refusal(&other).code(), Vec::new()),
    };
    let code = |outcome: &Result<(), _>| match outcome {
        Ok(()) => 0,
        Err(error) => map::group_error(*error).code(),
    };
    let only = outcomes.first().map_or(0, code);
    let members = leaving.iter().zip(&outcomes);
    let members = members.map(
        |((member_id, group_instance_id), outcome)| LeaveGroupMemberResponse {
            member_id,
            group_instance_id: *group_instance_id,
            error_code: code(outcome),
        },
    );
    Ok(call.answer(LeaveGroupResponse {
        throttle_time_ms: 0,
        error_code: match call.version {
            LISTS_SINCE.. => error_code,
            _ if error_code != 0 => error_code,
            _ => only,
        },
        members: match call.version {
            LISTS_SINCE.. => members.collect(),
            _ => Vec::new(),
        },
    }))
}

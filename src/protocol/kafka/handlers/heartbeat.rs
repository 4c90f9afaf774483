//! Heartbeat: a member shows that it lives, and hears whether it has to join again.

use super::super::call::{Call, Outcome};
use super::super::map;
use super::super::messages::{HeartbeatRequest, HeartbeatResponse};
use super::groups;
use crate::broker::group::request::{GroupReply, GroupRequest};

/// Passes it on.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: HeartbeatRequest<'_> = call.decode()?;
    let reply = match groups::named(request.group_id) {
        Ok(group) => {
            let member = groups::member(request.member_id, request.group_instance_id);
            let heartbeat = GroupRequest::Heartbeat(member, request.generation_id);
            call.shard.group(group, heartbeat).await
        }
        Err(error) => GroupReply::Refused(error),
    };
    let error_code = match reply {
        GroupReply::Done => 0,
        // An ordinary turn of events for a member, not a fault: not counted.
        GroupReply::Refused(error) => map::group_error(error).code(),
        other => groups::refusal(&other).code(),
    };
    Ok(call.answer(HeartbeatResponse {
        throttle_time_ms: 0,
        error_code,
    }))
}

//! SyncGroup: a member gets its share, and the leader brings everybody's.

use std::sync::Arc;

use super::super::call::{Answer, Call, Outcome};
use super::super::errors::ErrorCode;
use super::super::map;
use super::super::messages::{SyncGroupRequest, SyncGroupResponse};
use super::groups;
use crate::broker::group::request::{GroupReply, GroupRequest, SyncRequest};

/// First version that must name the protocol.
const PROTOCOL_SINCE: i16 = 5;

/// Syncs, and waits for the leader.
pub(in crate::protocol::kafka) async fn handle(mut call: Call) -> Outcome {
    let request: SyncGroupRequest<'_> = call.decode()?;
    let group = match groups::named(request.group_id) {
        Ok(group) => group,
        Err(error) => return Ok(refuse(&call, map::group_error(error))),
    };
    let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if call.version >= PROTOCOL_SINCE && !names_protocol {
        return Ok(refuse(&call, ErrorCode::InconsistentGroupProtocol));
    }
    let assignments = request.assignments.iter();
    let assignments = assignments.map(|one| (one.member_id.to_owned(), Arc::from(one.assignment)));
    let sync = SyncRequest {
        member_id: request.member_id.to_owned(),
        instance_id: request.group_instance_id.map(str::to_owned),
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(str::to_owned),
        protocol: request.protocol_name.map(str::to_owned),
        assignments: assignments.collect(),
    };
    call.release_frame();
    match call.shard.group(group, GroupRequest::Sync(sync)).await {
        GroupReply::Sync(Ok(synced)) => {
            let held = call.reserve(synced.assignment.len()).await;
            let response = SyncGroupResponse {
                protocol_type: synced.protocol_type.as_deref(),
                protocol_name: synced.protocol.as_deref(),
                assignment: &synced.assignment,
                ..SyncGroupResponse::default()
            };
            Ok(call.answer_holding(response, held))
        }
        GroupReply::Sync(Err(error)) => Ok(refuse(&call, map::group_error(error))),
        other => Ok(refuse(&call, groups::refusal(&other))),
    }
}

fn refuse(call: &Call, code: ErrorCode) -> Answer {
    call.count_error();
    call.answer(SyncGroupResponse {
        error_code: code.code(),
        ..SyncGroupResponse::default()
    })
}

//! JoinGroup: a member takes part in the next generation of its group, or learns of the current one.
//!
//! Waits as long as the group does. The request is taken over into the group's own words first and its frame let go, so
//! that ten thousand waiting members hold up nobody's reading.

use std::sync::Arc;

use super::super::call::{Call, Outcome};
use super::super::errors::ErrorCode;
use super::super::map;
use super::super::messages::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use super::groups;
use crate::broker::group::request::{GroupReply, GroupRequest, JoinRequest, Joined, JoinedMember, Protocol};

/// First version whose new members are told their id before they join (KIP-394).
const KNOWN_ID_SINCE: i16 = 4;
/// First version whose leader may be told to keep the assignment (KIP-814).
const SKIP_SINCE: i16 = 9;
/// First version with a rebalance time-out of its own.
const REBALANCE_TIMEOUT_SINCE: i16 = 1;
/// First version in which there may be no protocol name.
const NULL_NAME_SINCE: i16 = 7;
/// Bytes a member takes in the leader's answer beside its metadata, roughly.
const MEMBER_BYTES: usize = 128;

/// Joins, and waits.
pub(in crate::protocol::kafka) async fn handle(mut call: Call) -> Outcome {
    let request: JoinGroupRequest<'_> = call.decode()?;
    let (group, request) = match take_over(&call, &request) {
        Ok(taken) => taken,
        Err(code) => {
            let member_id = request.member_id;
            return Ok(refuse(&call, code, member_id));
        }
    };
    call.release_frame();
    match call.shard.group(group, GroupRequest::Join(request)).await {
        GroupReply::Join(Ok(joined)) => {
            let bytes = |member: &JoinedMember| member.metadata.len() + member.id.len() + MEMBER_BYTES;
            let held = call.reserve(joined.members.iter().map(bytes).sum()).await;
            Ok(call.answer_holding(response(&joined), held))
        }
        GroupReply::Join(Err(refused)) => {
            Ok(refuse(&call, map::group_error(refused.error), &refused.member_id))
        }
        other => Ok(refuse(&call, groups::refusal(&other), "")),
    }
}

fn take_over(call: &Call, request: &JoinGroupRequest<'_>) -> Result<(Arc<str>, JoinRequest), ErrorCode> {
    let group = groups::named(request.group_id).map_err(map::group_error)?;
    let names = request.protocols.iter().map(|protocol| protocol.name);
    let texts = names
        .chain(request.group_instance_id)
        .chain([request.protocol_type]);
    if !groups::can_be_kept(texts) {
        return Err(ErrorCode::InvalidRequest);
    }
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: Arc::from(protocol.name),
        metadata: Arc::from(protocol.metadata),
    });
    let join = JoinRequest {
        member_id: request.member_id.to_owned(),
        fresh_id: crate::runtime::entropy::uuid().hyphenated().to_string(),
        instance_id: request.group_instance_id.map(str::to_owned),
        client_id: Arc::from(call.client_id()),
        client_host: Arc::from(format!("/{}", call.stream.peer().ip())),
        protocol_type: Arc::from(request.protocol_type),
        protocols: protocols.collect(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: match call.version {
            REBALANCE_TIMEOUT_SINCE.. => request.rebalance_timeout_ms,
            _ => request.session_timeout_ms,
        },
        needs_known_id: call.version >= KNOWN_ID_SINCE,
        can_skip_assignment: call.version >= SKIP_SINCE,
    };
    Ok((group, join))
}

fn response(joined: &Joined) -> JoinGroupResponse<'_> {
    let members = joined.members.iter().map(|member| JoinGroupResponseMember {
        member_id: &member.id,
        group_instance_id: member.instance_id.as_deref(),
        metadata: &member.metadata,
    });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_deref(),
        protocol_name: Some(joined.protocol.as_deref().unwrap_or_default()),
        leader: &joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: &joined.member_id,
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}

fn refuse(call: &Call, code: ErrorCode, member_id: &str) -> super::super::call::Answer {
    if code != ErrorCode::MemberIdRequired {
        call.count_error();
    }
    call.answer(JoinGroupResponse {
        error_code: code.code(),
        protocol_name: (call.version < NULL_NAME_SINCE).then_some(""),
        member_id,
        ..JoinGroupResponse::default()
    })
}

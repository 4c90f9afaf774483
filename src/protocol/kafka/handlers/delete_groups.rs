//! DeleteGroups: groups without members, and their offsets, each for itself.

use super::super::call::{Call, Outcome};
use super::super::errors::ErrorCode;
use super::super::messages::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use super::groups;
use crate::broker::group::request::{GroupReply, GroupRequest};

/// Deletes one group after the other. One named twice is gone the first time and not known the second.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: DeleteGroupsRequest<'_> = call.decode()?;
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let reply = match groups::named_or_empty(group_id) {
            Ok(group) => call.shard.group(group, GroupRequest::Delete).await,
            Err(error) => GroupReply::Refused(error),
        };
        let code = match reply {
            GroupReply::Done => ErrorCode::None,
            refused => groups::refusal(&refused),
        };
        if code != ErrorCode::None {
            call.count_error();
        }
        results.push(DeletableGroupResult {
            group_id,
            error_code: code.code(),
        });
    }
    Ok(call.answer(DeleteGroupsResponse {
        throttle_time_ms: 0,
        results,
    }))
}

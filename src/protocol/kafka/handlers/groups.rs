//! What the handlers of group APIs have in common.
//!
//! **Bounds.** Ids, names and notes are kept as strings of at most [`STRING_BYTES_MAX`] bytes, which flexible versions allow
//! clients to exceed; such a request is refused before it gets to a group.

use std::sync::Arc;

use super::super::errors::ErrorCode;
use super::super::map;
use crate::broker::group::error::GroupError;
use crate::broker::group::record::STRING_BYTES_MAX;
use crate::broker::group::request::{GroupReply, MemberRef};

/// The group of a request that must name one.
pub(super) fn named(group: &str) -> Result<Arc<str>, GroupError> {
    if group.is_empty() {
        return Err(GroupError::InvalidGroupId);
    }
    named_or_empty(group)
}

/// The group of a request in which, as of old, the empty name is a group like any other.
pub(super) fn named_or_empty(group: &str) -> Result<Arc<str>, GroupError> {
    if group.len() > STRING_BYTES_MAX {
        return Err(GroupError::InvalidGroupId);
    }
    Ok(Arc::from(group))
}

/// Whether every text can be kept.
pub(super) fn can_be_kept<'a>(texts: impl IntoIterator<Item = &'a str>) -> bool {
    texts.into_iter().all(|text| text.len() <= STRING_BYTES_MAX)
}

/// Who a request says it comes from.
pub(super) fn member(member_id: &str, instance_id: Option<&str>) -> MemberRef {
    MemberRef {
        member_id: member_id.to_owned(),
        instance_id: instance_id.map(str::to_owned),
    }
}

/// The code of a refusal; of an answer that does not belong to its request, that the broker is at fault.
pub(super) fn refusal(reply: &GroupReply) -> ErrorCode {
    match reply {
        GroupReply::Refused(error) => map::group_error(*error),
        _ => ErrorCode::UnknownServerError,
    }
}

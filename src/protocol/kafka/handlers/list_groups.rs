//! ListGroups: every group of the broker, on every core.
//!
//! Kafka's clients ask every broker and put the answers together. With a broker per core each answers for the groups it
//! coordinates, so that none is listed twice; the one broker of the single mode answers for all.

use super::super::call::{Call, Outcome};
use super::super::map;
use super::super::messages::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use crate::broker::group::request::{self, GroupType};
use crate::shard::Advertise;

/// Bytes of a group in an answer beside its id, roughly.
const GROUP_BYTES: usize = 64;

/// Lists.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: ListGroupsRequest<'_> = call.decode()?;
    let found = match call.shard.cluster().advertise {
        Advertise::PerCore => call.shard.list_own_groups().await,
        Advertise::Single => call.shard.list_groups().await,
    };
    let mut groups = match found {
        Ok(groups) => groups,
        Err(error) => {
            call.count_error();
            return Ok(call.answer(ListGroupsResponse {
                error_code: map::group_error(error).code(),
                ..ListGroupsResponse::default()
            }));
        }
    };
    let wanted = |filter: &[&str], text: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(text))
    };
    groups.retain(|group| {
        wanted(&request.states_filter, group.state) && wanted(&request.types_filter, type_name(group.kind))
    });
    groups.sort_by(|one, other| one.id.cmp(&other.id));
    let held = call
        .reserve(groups.iter().map(|group| GROUP_BYTES + group.id.len()).sum())
        .await;
    let response = ListGroupsResponse {
        throttle_time_ms: 0,
        error_code: 0,
        groups: groups.iter().map(listed).collect(),
    };
    Ok(call.answer_holding(response, held))
}

fn listed(group: &request::ListedGroup) -> ListedGroup<'_> {
    ListedGroup {
        group_id: &group.id,
        protocol_type: &group.protocol_type,
        group_state: group.state,
        group_type: type_name(group.kind),
    }
}

/// Kafka's name of a type.
const fn type_name(kind: GroupType) -> &'static str {
    match kind {
        GroupType::Classic => "classic",
        GroupType::Consumer => "consumer",
    }
}

//! FindCoordinator: the broker that coordinates a group.
//!
//! The owner of the partition the group is kept in, as a node clients can connect to; any other node would pass its requests
//! on. The first question makes the topic that groups are kept in. Transactions have no coordinator yet and are told so in the
//! words of a broker that may have one later, which clients take calmly. Whatever else is asked for is a mistake.

use super::super::call::{Call, Outcome};
use super::super::errors::ErrorCode;
use super::super::map;
use super::super::messages::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse, KEY_GROUP, KEY_TRANSACTION,
};
use crate::shard::Node;

/// The first version that asks for many.
const LISTS_SINCE: i16 = 4;

/// Answers each key for itself.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: FindCoordinatorRequest<'_> = call.decode()?;
    let mut found = Vec::new();
    let keys = match call.version {
        LISTS_SINCE.. => request.coordinator_keys,
        _ => vec![request.key],
    };
    for key in keys {
        found.push((key, find(&call, request.key_type, key).await));
    }
    if found.iter().any(|(_, node)| node.is_err()) {
        call.count_error();
    }
    if call.version < LISTS_SINCE {
        let one = found.first().map(|(key, node)| coordinator(key, node));
        let one = one.unwrap_or_default();
        return Ok(call.answer(FindCoordinatorResponse {
            error_code: one.error_code,
            error_message: one.error_message,
            node_id: one.node_id,
            host: one.host,
            port: one.port,
            ..FindCoordinatorResponse::default()
        }));
    }
    Ok(call.answer(FindCoordinatorResponse {
        coordinators: found.iter().map(|(key, node)| coordinator(key, node)).collect(),
        ..FindCoordinatorResponse::default()
    }))
}

async fn find(call: &Call, key_type: i8, key: &str) -> Result<Node, ErrorCode> {
    match key_type {
        KEY_GROUP => {
            let log = call.shard.group_log(key).await.map_err(map::group_error)?;
            Ok(call.shard.cluster().leader_node(log).clone())
        }
        KEY_TRANSACTION => Err(ErrorCode::CoordinatorNotAvailable),
        _ => Err(ErrorCode::InvalidRequest),
    }
}

fn coordinator<'a>(key: &'a str, node: &'a Result<Node, ErrorCode>) -> Coordinator<'a> {
    match node {
        Ok(node) => Coordinator {
            key,
            node_id: node.id,
            host: &node.host,
            port: i32::from(node.port),
            ..Coordinator::default()
        },
        Err(code) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: code.code(),
            error_message: Some(code.message()),
            ..Coordinator::default()
        },
    }
}

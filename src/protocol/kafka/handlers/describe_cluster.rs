//! DescribeCluster: the nodes and the controller. Controllers of their own, which KIP-919 asks for, do not exist.

use super::controller_id;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse, ENDPOINT_BROKERS,
    ENDPOINT_CONTROLLERS,
};

/// Describes the cluster as this node sees it.
pub(in crate::protocol::kafka) fn handle(call: &Call) -> Outcome {
    let request: DescribeClusterRequest = call.decode()?;
    let cluster = call.shard.cluster();
    let refused = match request.endpoint_type {
        ENDPOINT_BROKERS => None,
        ENDPOINT_CONTROLLERS => Some(ErrorCode::MismatchedEndpointType),
        _ => Some(ErrorCode::UnsupportedEndpointType),
    };
    if let Some(code) = refused {
        call.count_error();
        return Ok(call.answer(DescribeClusterResponse {
            error_code: code.code(),
            error_message: Some(code.message()),
            endpoint_type: request.endpoint_type,
            ..DescribeClusterResponse::default()
        }));
    }
    let brokers = cluster
        .nodes
        .iter()
        .map(|node| DescribeClusterBroker {
            broker_id: node.id,
            host: &node.host,
            port: i32::from(node.port),
            ..DescribeClusterBroker::default()
        })
        .collect();
    Ok(call.answer(DescribeClusterResponse {
        cluster_id: &cluster.id,
        controller_id: controller_id(cluster),
        brokers,
        ..DescribeClusterResponse::default()
    }))
}

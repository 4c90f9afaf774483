//! ListConfigResources: which topics and brokers can be configured.
//!
//! Version 0 asks for subscriptions to client metrics, of which there are none; so do groups with settings of their own and
//! loggers of brokers. A type nobody knows fails the request, as in Kafka.

use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse, RESOURCE_BROKER,
    RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS, RESOURCE_GROUP, RESOURCE_TOPIC,
};

/// First version with types.
const TYPES_SINCE: i16 = 1;

/// Memory an answer takes for a resource, encoded and not.
const RESOURCE_RESERVE_BYTES: usize = 320;

/// Types that can be asked for.
const TYPES: [i8; 5] = [
    RESOURCE_TOPIC,
    RESOURCE_BROKER,
    RESOURCE_BROKER_LOGGER,
    RESOURCE_CLIENT_METRICS,
    RESOURCE_GROUP,
];

/// Lists the resources of the types asked for; none is all types.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: ListConfigResourcesRequest = call.decode()?;
    if request.resource_types.iter().any(|kind| !TYPES.contains(kind)) {
        call.count_error();
        return Ok(call.answer(ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..ListConfigResourcesResponse::default()
        }));
    }
    let wants = |kind| {
        call.version >= TYPES_SINCE
            && (request.resource_types.is_empty() || request.resource_types.contains(&kind))
    };
    let image = call.shard.image();
    let held = call.reserve(image.topics().len() * RESOURCE_RESERVE_BYTES).await;
    let nodes: Vec<String> = call
        .shard
        .cluster()
        .nodes
        .iter()
        .map(|node| node.id.to_string())
        .collect();
    let topics = image.topics().map(|topic| resource(&topic.name, RESOURCE_TOPIC));
    let brokers = nodes.iter().map(|id| resource(id, RESOURCE_BROKER));
    let config_resources = topics
        .chain(brokers)
        .filter(|resource| wants(resource.resource_type))
        .collect();
    let response = ListConfigResourcesResponse {
        config_resources,
        ..ListConfigResourcesResponse::default()
    };
    Ok(call.answer_holding(response, held))
}

const fn resource(resource_name: &str, resource_type: i8) -> ConfigResource<'_> {
    ConfigResource {
        resource_name,
        resource_type,
    }
}

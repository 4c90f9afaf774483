//! ListConfigResources: what there is to be configured. Version 0 knew only subscriptions to client metrics.

use super::{rpc, wire_struct};

/// A logger of a broker.
pub const RESOURCE_BROKER_LOGGER: i8 = 8;
/// A client metrics subscription.
pub const RESOURCE_CLIENT_METRICS: i8 = 16;
/// A group.
pub const RESOURCE_GROUP: i8 = 32;

wire_struct! {
    /// What is there?
    ListConfigResourcesRequest {
        /// Types wanted; none is all of them.
        resource_types: Vec<i8> => 1..;
    }
}

wire_struct! {
    /// The resources.
    ListConfigResourcesResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// 0, or why there is no list.
        error_code: i16 => 0..;
        /// The resources.
        config_resources: Vec<ConfigResource<'a>> => 0..;
    }
}

wire_struct! {
    /// One resource.
    ConfigResource<'a> {
        /// Its name.
        resource_name: &'a str => 0..;
        /// Its type.
        resource_type: i8 => 1.., default RESOURCE_CLIENT_METRICS;
    }
}

rpc!(ListConfigResources: <'a> ListConfigResourcesRequest => <'r> ListConfigResourcesResponse<'r>);

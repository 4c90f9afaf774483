//! IncrementalAlterConfigs: change some keys of a configuration and leave the others alone.

use super::{rpc, wire_struct};

/// Set the key to the value.
pub const OPERATION_SET: i8 = 0;
/// Remove the key, so that its default holds.
pub const OPERATION_DELETE: i8 = 1;
/// Add the value to a list.
pub const OPERATION_APPEND: i8 = 2;
/// Remove the value from a list.
pub const OPERATION_SUBTRACT: i8 = 3;

wire_struct! {
    /// Change these configurations.
    IncrementalAlterConfigsRequest<'a> {
        /// By topic and broker.
        resources: Vec<AlterConfigsResource<'a>> => 0..;
        /// Only say whether it would work.
        validate_only: bool => 0..;
    }
}

wire_struct! {
    /// Changes to one topic or broker.
    AlterConfigsResource<'a> {
        /// Topic or broker; the numbers are DescribeConfigs'.
        resource_type: i8 => 0..;
        /// The topic's name or the broker's node id.
        resource_name: &'a str => 0..;
        /// Key by key.
        configs: Vec<AlterableConfig<'a>> => 0..;
    }
}

wire_struct! {
    /// A change to one key.
    AlterableConfig<'a> {
        /// The key.
        name: &'a str => 0..;
        /// What to do to it.
        config_operation: i8 => 0..;
        /// The value; null to delete.
        value: Option<&'a str> => 0.., null 0..;
    }
}

wire_struct! {
    /// What became of it.
    IncrementalAlterConfigsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// By topic and broker.
        responses: Vec<AlterConfigsResourceResponse<'a>> => 0..;
    }
}

wire_struct! {
    /// What became of one topic or broker.
    AlterConfigsResourceResponse<'a> {
        /// 0, or why nothing changed.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 0.., null 0..;
        /// Topic or broker.
        resource_type: i8 => 0..;
        /// The topic's name or the broker's node id.
        resource_name: &'a str => 0..;
    }
}

rpc!(IncrementalAlterConfigs: <'a> IncrementalAlterConfigsRequest<'a> => <'r> IncrementalAlterConfigsResponse<'r>);

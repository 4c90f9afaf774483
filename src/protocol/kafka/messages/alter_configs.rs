//! AlterConfigs: the whole of a configuration is replaced; what is not named goes back to its default.
//!
//! The older of the two ways to change a configuration; its answer has the form of IncrementalAlterConfigs'.

use super::{AlterConfigsResourceResponse, rpc, wire_struct};

wire_struct! {
    /// Replace these configurations.
    AlterConfigsRequest<'a> {
        /// By topic and broker.
        resources: Vec<ReplacedConfigs<'a>> => 0..;
        /// Only say whether it would work.
        validate_only: bool => 0..;
    }
}

wire_struct! {
    /// The new configuration of one topic or broker.
    ReplacedConfigs<'a> {
        /// Topic or broker; the numbers are DescribeConfigs'.
        resource_type: i8 => 0..;
        /// The topic's name or the broker's node id.
        resource_name: &'a str => 0..;
        /// Key by key.
        configs: Vec<ReplacedConfig<'a>> => 0..;
    }
}

wire_struct! {
    /// One key.
    ReplacedConfig<'a> {
        /// The key.
        name: &'a str => 0..;
        /// Its value; null for the default.
        value: Option<&'a str> => 0.., null 0..;
    }
}

wire_struct! {
    /// What became of it.
    AlterConfigsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// By topic and broker.
        responses: Vec<AlterConfigsResourceResponse<'a>> => 0..;
    }
}

rpc!(AlterConfigs: <'a> AlterConfigsRequest<'a> => <'r> AlterConfigsResponse<'r>);

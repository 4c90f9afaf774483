//! DescribeConfigs: the configuration of topics and brokers, and where each value comes from.
//!
//! The numbers for resource types, sources and value types are Kafka's and are given as constants here.
//! Absent: version 0, which had a flag instead of a source.

use super::{rpc, wire_struct};

/// A topic's configuration.
pub const RESOURCE_TOPIC: i8 = 2;
/// A broker's configuration.
pub const RESOURCE_BROKER: i8 = 4;

/// The value was set on the topic.
pub const SOURCE_TOPIC: i8 = 1;
/// The value was set on the broker at run time.
pub const SOURCE_DYNAMIC_BROKER: i8 = 2;
/// The value was set for all brokers at run time.
pub const SOURCE_DYNAMIC_DEFAULT_BROKER: i8 = 3;
/// The value stands in the broker's configuration file.
pub const SOURCE_STATIC_BROKER: i8 = 4;
/// Nobody set it.
pub const SOURCE_DEFAULT: i8 = 5;

/// The value is a boolean.
pub const TYPE_BOOLEAN: i8 = 1;
/// The value is a string.
pub const TYPE_STRING: i8 = 2;
/// The value is a 32-bit integer.
pub const TYPE_INT: i8 = 3;
/// The value is a 16-bit integer.
pub const TYPE_SHORT: i8 = 4;
/// The value is a 64-bit integer.
pub const TYPE_LONG: i8 = 5;
/// The value is a floating-point number.
pub const TYPE_DOUBLE: i8 = 6;
/// The value is a list, comma separated.
pub const TYPE_LIST: i8 = 7;

wire_struct! {
    /// How are these configured?
    DescribeConfigsRequest<'a> {
        /// The topics and brokers.
        resources: Vec<DescribeConfigsResource<'a>> => 1..;
        /// Whether to list where else the key is set.
        include_synonyms: bool => 1..;
        /// Whether to explain the keys.
        include_documentation: bool => 3..;
    }
}

wire_struct! {
    /// One topic or broker.
    DescribeConfigsResource<'a> {
        /// Which of the two.
        resource_type: i8 => 1..;
        /// The topic's name or the broker's node id.
        resource_name: &'a str => 1..;
        /// The keys wanted; null is all of them.
        configuration_keys: Option<Vec<&'a str>> => 1.., null 1..;
    }
}

wire_struct! {
    /// The configurations.
    DescribeConfigsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// By topic and broker.
        results: Vec<DescribeConfigsResult<'a>> => 1..;
    }
}

wire_struct! {
    /// The configuration of one topic or broker.
    DescribeConfigsResult<'a> {
        /// 0, or why there is none.
        error_code: i16 => 1..;
        /// The same in words.
        error_message: Option<&'a str> => 1.., null 1..;
        /// Topic or broker.
        resource_type: i8 => 1..;
        /// The topic's name or the broker's node id.
        resource_name: &'a str => 1..;
        /// Key by key.
        configs: Vec<DescribeConfigsResourceResult<'a>> => 1..;
    }
}

wire_struct! {
    /// One key.
    DescribeConfigsResourceResult<'a> {
        /// The key.
        name: &'a str => 1..;
        /// The value; null if it is secret.
        value: Option<&'a str> => 1.., null 1..;
        /// Whether it cannot be changed.
        read_only: bool => 1..;
        /// Where the value comes from, -1 if unknown.
        config_source: i8 => 1.., default -1;
        /// Whether the value is kept secret.
        is_sensitive: bool => 1..;
        /// Every place that sets the key, the strongest first.
        synonyms: Vec<DescribeConfigsSynonym<'a>> => 1..;
        /// Type of the value, 0 if unknown.
        config_type: i8 => 3..;
        /// What the key is for.
        documentation: Option<&'a str> => 3.., null 3..;
    }
}

wire_struct! {
    /// One place that sets a key.
    DescribeConfigsSynonym<'a> {
        /// The key as it is called there.
        name: &'a str => 1..;
        /// The value there.
        value: Option<&'a str> => 1.., null 1..;
        /// Which place.
        source: i8 => 1..;
    }
}

rpc!(DescribeConfigs: <'a> DescribeConfigsRequest<'a> => <'r> DescribeConfigsResponse<'r>);

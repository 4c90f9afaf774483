//! DescribeCluster: the brokers and the controller, without the topics. Flexible from its first version.

use super::{AUTHORIZED_OPERATIONS_UNKNOWN, rpc, wire_struct};

/// The client wants the brokers' addresses.
pub const ENDPOINT_BROKERS: i8 = 1;
/// The client wants the controllers' addresses.
pub const ENDPOINT_CONTROLLERS: i8 = 2;

wire_struct! {
    /// Who is in the cluster?
    DescribeClusterRequest {
        /// Whether to say what the client may do to the cluster.
        include_cluster_authorized_operations: bool => 0..;
        /// Whose addresses: brokers or controllers.
        endpoint_type: i8 => 1.., default ENDPOINT_BROKERS;
        /// Whether to list brokers that are shut out.
        include_fenced_brokers: bool => 2..;
    }
}

wire_struct! {
    /// The cluster.
    DescribeClusterResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// 0, or why there is no answer.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 0.., null 0..;
        /// Whose addresses these are.
        endpoint_type: i8 => 1.., default ENDPOINT_BROKERS;
        /// The cluster's id.
        cluster_id: &'a str => 0..;
        /// Node id of the controller, -1 if there is none.
        controller_id: i32 => 0.., default -1;
        /// The brokers.
        brokers: Vec<DescribeClusterBroker<'a>> => 0..;
        /// What the client may do to the cluster, one bit per operation.
        cluster_authorized_operations: i32 => 0.., default AUTHORIZED_OPERATIONS_UNKNOWN;
    }
}

wire_struct! {
    /// One broker.
    DescribeClusterBroker<'a> {
        /// Its node id.
        broker_id: i32 => 0..;
        /// Where clients reach it.
        host: &'a str => 0..;
        /// And at which port.
        port: i32 => 0..;
        /// Its rack, if it has one.
        rack: Option<&'a str> => 0.., null 0..;
        /// Whether it is shut out.
        is_fenced: bool => 2..;
    }
}

rpc!(DescribeCluster: <'a> DescribeClusterRequest => <'r> DescribeClusterResponse<'r>);

//! AlterPartitionReassignments: move partitions to other brokers, or stop moving them.

use super::{rpc, wire_struct};

wire_struct! {
    /// Move these.
    AlterPartitionReassignmentsRequest<'a> {
        /// How long to wait for it, in ms.
        timeout_ms: i32 => 0.., default 60_000;
        /// Whether the number of replicas may change.
        allow_replication_factor_change: bool => 1.., default true;
        /// By topic.
        topics: Vec<ReassignableTopic<'a>> => 0..;
    }
}

wire_struct! {
    /// Partitions of one topic.
    ReassignableTopic<'a> {
        /// The topic.
        name: &'a str => 0..;
        /// By partition.
        partitions: Vec<ReassignablePartition> => 0..;
    }
}

wire_struct! {
    /// One partition.
    ReassignablePartition {
        /// The partition.
        partition_index: i32 => 0..;
        /// Node ids of the replicas it shall have; null to stop moving it.
        replicas: Option<Vec<i32>> => 0.., null 0..;
    }
}

wire_struct! {
    /// What became of them.
    AlterPartitionReassignmentsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// Whether the number of replicas may change, as asked.
        allow_replication_factor_change: bool => 1.., default true;
        /// 0, or why nothing was tried.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 0.., null 0..;
        /// By topic.
        responses: Vec<ReassignableTopicResponse<'a>> => 0..;
    }
}

wire_struct! {
    /// What became of one topic's.
    ReassignableTopicResponse<'a> {
        /// The topic.
        name: &'a str => 0..;
        /// By partition.
        partitions: Vec<ReassignablePartitionResponse<'a>> => 0..;
    }
}

wire_struct! {
    /// What became of one partition.
    ReassignablePartitionResponse<'a> {
        /// The partition.
        partition_index: i32 => 0..;
        /// 0, or why it does not move.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 0.., null 0..;
    }
}

rpc!(AlterPartitionReassignments: <'a> AlterPartitionReassignmentsRequest<'a> => <'r> AlterPartitionReassignmentsResponse<'r>);

//! ListPartitionReassignments: the partitions that are being moved.

use super::{rpc, wire_struct};

wire_struct! {
    /// Which of these move?
    ListPartitionReassignmentsRequest<'a> {
        /// How long to wait for the answer, in ms.
        timeout_ms: i32 => 0.., default 60_000;
        /// The topics; null is all of them.
        topics: Option<Vec<ListPartitionReassignmentsTopic<'a>>> => 0.., null 0..;
    }
}

wire_struct! {
    /// Partitions of one topic.
    ListPartitionReassignmentsTopic<'a> {
        /// The topic.
        name: &'a str => 0..;
        /// The partitions.
        partition_indexes: Vec<i32> => 0..;
    }
}

wire_struct! {
    /// Those that move.
    ListPartitionReassignmentsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// 0, or why there is no list.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 0.., null 0..;
        /// By topic.
        topics: Vec<OngoingTopicReassignment<'a>> => 0..;
    }
}

wire_struct! {
    /// Those of one topic.
    OngoingTopicReassignment<'a> {
        /// The topic.
        name: &'a str => 0..;
        /// By partition.
        partitions: Vec<OngoingPartitionReassignment> => 0..;
    }
}

wire_struct! {
    /// One that moves.
    OngoingPartitionReassignment {
        /// The partition.
        partition_index: i32 => 0..;
        /// Node ids of its replicas now.
        replicas: Vec<i32> => 0..;
        /// Those of them on the way in.
        adding_replicas: Vec<i32> => 0..;
        /// Those of them on the way out.
        removing_replicas: Vec<i32> => 0..;
    }
}

rpc!(ListPartitionReassignments: <'a> ListPartitionReassignmentsRequest<'a> => <'r> ListPartitionReassignmentsResponse<'r>);

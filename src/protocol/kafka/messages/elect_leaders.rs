//! ElectLeaders: make the preferred replica, or any, the leader.

use super::{rpc, wire_struct};

/// Elect the preferred replica.
pub const ELECTION_PREFERRED: i8 = 0;
/// Elect any replica, in sync or not.
pub const ELECTION_UNCLEAN: i8 = 1;

wire_struct! {
    /// Elect leaders for these.
    ElectLeadersRequest<'a> {
        /// How.
        election_type: i8 => 1..;
        /// The partitions; null is all of them.
        topic_partitions: Option<Vec<ElectLeadersTopic<'a>>> => 0.., null 0..;
        /// How long to wait for it, in ms.
        timeout_ms: i32 => 0.., default 60_000;
    }
}

wire_struct! {
    /// Partitions of one topic.
    ElectLeadersTopic<'a> {
        /// The topic.
        topic: &'a str => 0..;
        /// The partitions.
        partitions: Vec<i32> => 0..;
    }
}

wire_struct! {
    /// What became of them.
    ElectLeadersResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// 0, or why nothing was tried.
        error_code: i16 => 1..;
        /// By topic.
        replica_election_results: Vec<ReplicaElectionResult<'a>> => 0..;
    }
}

wire_struct! {
    /// What became of one topic's.
    ReplicaElectionResult<'a> {
        /// The topic.
        topic: &'a str => 0..;
        /// By partition.
        partition_result: Vec<ElectionPartitionResult<'a>> => 0..;
    }
}

wire_struct! {
    /// What became of one partition.
    ElectionPartitionResult<'a> {
        /// The partition.
        partition_id: i32 => 0..;
        /// 0, or why its leader is the one it was.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 0.., null 0..;
    }
}

rpc!(ElectLeaders: <'a> ElectLeadersRequest<'a> => <'r> ElectLeadersResponse<'r>);

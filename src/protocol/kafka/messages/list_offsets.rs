//! ListOffsets: the offset at a time, and the ends of a log.
//!
//! Times below zero are questions: [`TIMESTAMP_LATEST`] and friends. Nothing found is offset -1 with
//! timestamp -1.

use super::{rpc, wire_struct};

/// Asks for the end of the log, or the last stable offset under read-committed.
pub const TIMESTAMP_LATEST: i64 = -1;
/// Asks for the log start offset.
pub const TIMESTAMP_EARLIEST: i64 = -2;
/// Asks for the record with the highest timestamp (version 7 on).
pub const TIMESTAMP_MAX: i64 = -3;
/// Asks for the first offset on local disks (version 8 on).
pub const TIMESTAMP_EARLIEST_LOCAL: i64 = -4;
/// Asks for the last offset in remote storage (version 9 on).
pub const TIMESTAMP_LATEST_TIERED: i64 = -5;
/// Asks for the first offset that remote storage does not have yet (version 11 on).
pub const TIMESTAMP_EARLIEST_PENDING_UPLOAD: i64 = -6;

wire_struct! {
    /// Where do these logs begin, end, or pass a time?
    ListOffsetsRequest<'a> {
        /// Node id of a follower, -1 for a consumer.
        replica_id: i32 => 1.., default -1;
        /// As in Fetch.
        isolation_level: i8 => 2..;
        /// By topic.
        topics: Vec<ListOffsetsTopic<'a>> => 1..;
        /// How long remote storage may take, in ms.
        timeout_ms: i32 => 10..;
    }
}

wire_struct! {
    /// Questions about one topic.
    ListOffsetsTopic<'a> {
        /// The topic.
        name: &'a str => 1..;
        /// By partition.
        partitions: Vec<ListOffsetsPartition> => 1..;
    }
}

wire_struct! {
    /// A question about one partition.
    ListOffsetsPartition {
        /// The partition.
        partition_index: i32 => 1..;
        /// The leader epoch the client knows, -1 for none.
        current_leader_epoch: i32 => 4.., default -1;
        /// Ms since the Unix epoch, or one of the questions above.
        timestamp: i64 => 1..;
    }
}

wire_struct! {
    /// The answers.
    ListOffsetsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 2..;
        /// By topic.
        topics: Vec<ListOffsetsTopicResponse<'a>> => 1..;
    }
}

wire_struct! {
    /// Answers for one topic.
    ListOffsetsTopicResponse<'a> {
        /// The topic.
        name: &'a str => 1..;
        /// By partition.
        partitions: Vec<ListOffsetsPartitionResponse> => 1..;
    }
}

wire_struct! {
    /// The answer for one partition.
    ListOffsetsPartitionResponse {
        /// The partition.
        partition_index: i32 => 1..;
        /// 0, or why there is no answer.
        error_code: i16 => 1..;
        /// Timestamp of the record found, -1 for none.
        timestamp: i64 => 1.., default -1;
        /// The offset, -1 for none.
        offset: i64 => 1.., default -1;
        /// Epoch of that record, -1 if unknown.
        leader_epoch: i32 => 4.., default -1;
    }
}

rpc!(ListOffsets: <'a> ListOffsetsRequest<'a> => <'r> ListOffsetsResponse<'r>);

//! DeleteRecords: the beginning of a log goes.

use super::{rpc, wire_struct};

wire_struct! {
    /// Delete what lies below these offsets.
    DeleteRecordsRequest<'a> {
        /// By topic.
        topics: Vec<DeleteRecordsTopic<'a>> => 0..;
        /// How long to wait for it, in ms.
        timeout_ms: i32 => 0..;
    }
}

wire_struct! {
    /// Offsets of one topic.
    DeleteRecordsTopic<'a> {
        /// The topic.
        name: &'a str => 0..;
        /// By partition.
        partitions: Vec<DeleteRecordsPartition> => 0..;
    }
}

wire_struct! {
    /// The offset of one partition.
    DeleteRecordsPartition {
        /// The partition.
        partition_index: i32 => 0..;
        /// The first offset to keep; -1 for the high watermark.
        offset: i64 => 0..;
    }
}

wire_struct! {
    /// What is left.
    DeleteRecordsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// By topic.
        topics: Vec<DeleteRecordsTopicResult<'a>> => 0..;
    }
}

wire_struct! {
    /// What is left of one topic.
    DeleteRecordsTopicResult<'a> {
        /// The topic.
        name: &'a str => 0..;
        /// By partition.
        partitions: Vec<DeleteRecordsPartitionResult> => 0..;
    }
}

wire_struct! {
    /// What is left of one partition.
    DeleteRecordsPartitionResult {
        /// The partition.
        partition_index: i32 => 0..;
        /// First readable offset now, -1 with an error.
        low_watermark: i64 => 0..;
        /// 0, or why nothing was deleted.
        error_code: i16 => 0..;
    }
}

rpc!(DeleteRecords: <'a> DeleteRecordsRequest<'a> => <'r> DeleteRecordsResponse<'r>);

//! OffsetDelete: some positions of a group go. The one API here that has no flexible version.

use super::{rpc, wire_struct};

wire_struct! {
    /// Forget these positions.
    OffsetDeleteRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// By topic.
        topics: Vec<OffsetDeleteRequestTopic<'a>> => 0..;
    }
}

wire_struct! {
    /// Positions in one topic.
    OffsetDeleteRequestTopic<'a> {
        /// The topic.
        name: &'a str => 0..;
        /// By partition.
        partitions: Vec<OffsetDeleteRequestPartition> => 0..;
    }
}

wire_struct! {
    /// The position in one partition.
    OffsetDeleteRequestPartition {
        /// The partition.
        partition_index: i32 => 0..;
    }
}

wire_struct! {
    /// What became of them.
    OffsetDeleteResponse<'a> {
        /// 0, or why nothing was forgotten.
        error_code: i16 => 0..;
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// By topic.
        topics: Vec<OffsetDeleteResponseTopic<'a>> => 0..;
    }
}

wire_struct! {
    /// What became of one topic's.
    OffsetDeleteResponseTopic<'a> {
        /// The topic.
        name: &'a str => 0..;
        /// By partition.
        partitions: Vec<OffsetDeleteResponsePartition> => 0..;
    }
}

wire_struct! {
    /// What became of one partition's.
    OffsetDeleteResponsePartition {
        /// The partition.
        partition_index: i32 => 0..;
        /// 0, or why it is still there.
        error_code: i16 => 0..;
    }
}

rpc!(OffsetDelete: <'a> OffsetDeleteRequest<'a> => <'r> OffsetDeleteResponse<'r>);

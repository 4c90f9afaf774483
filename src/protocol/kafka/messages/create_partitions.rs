//! CreatePartitions: more partitions for topics that exist. Never fewer.

use super::{rpc, wire_struct};

wire_struct! {
    /// Grow these topics.
    CreatePartitionsRequest<'a> {
        /// The topics.
        topics: Vec<CreatePartitionsTopic<'a>> => 0..;
        /// How long to wait, in ms.
        timeout_ms: i32 => 0..;
        /// Only say whether it would work.
        validate_only: bool => 0..;
    }
}

wire_struct! {
    /// One topic to grow.
    CreatePartitionsTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// Partitions it shall have in all.
        count: i32 => 0..;
        /// Which broker holds what, if the client wants to say.
        assignments: Option<Vec<CreatePartitionsAssignment>> => 0.., null 0..;
    }
}

wire_struct! {
    /// The brokers of one new partition.
    CreatePartitionsAssignment {
        /// Their node ids, the preferred leader first.
        broker_ids: Vec<i32> => 0..;
    }
}

wire_struct! {
    /// What became of it.
    CreatePartitionsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// By topic.
        results: Vec<CreatePartitionsTopicResult<'a>> => 0..;
    }
}

wire_struct! {
    /// What became of one topic.
    CreatePartitionsTopicResult<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// 0, or why it did not grow.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 0.., null 0..;
    }
}

rpc!(CreatePartitions: <'a> CreatePartitionsRequest<'a> => <'r> CreatePartitionsResponse<'r>);

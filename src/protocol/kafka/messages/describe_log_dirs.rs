//! DescribeLogDirs: where logs lie and how much room they take.

use super::{rpc, wire_struct};

wire_struct! {
    /// Where are these logs?
    DescribeLogDirsRequest<'a> {
        /// The topics; null is all of them.
        topics: Option<Vec<DescribableLogDirTopic<'a>>> => 1.., null 1..;
    }
}

wire_struct! {
    /// Partitions of one topic.
    DescribableLogDirTopic<'a> {
        /// The topic.
        topic: &'a str => 1..;
        /// The partitions.
        partitions: Vec<i32> => 1..;
    }
}

wire_struct! {
    /// The directories.
    DescribeLogDirsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// 0, or why there is no answer.
        error_code: i16 => 3..;
        /// By directory.
        results: Vec<DescribeLogDirsResult<'a>> => 1..;
    }
}

wire_struct! {
    /// One directory.
    DescribeLogDirsResult<'a> {
        /// 0, or what is wrong with it.
        error_code: i16 => 1..;
        /// Its absolute path.
        log_dir: &'a str => 1..;
        /// By topic.
        topics: Vec<DescribeLogDirsTopic<'a>> => 1..;
        /// Size of its file system, -1 if unknown.
        total_bytes: i64 => 4.., default -1;
        /// Room left in it, -1 if unknown.
        usable_bytes: i64 => 4.., default -1;
        /// Whether it takes no new logs.
        is_cordoned: bool => 5..;
    }
}

wire_struct! {
    /// Logs of one topic.
    DescribeLogDirsTopic<'a> {
        /// The topic.
        name: &'a str => 1..;
        /// By partition.
        partitions: Vec<DescribeLogDirsPartition> => 1..;
    }
}

wire_struct! {
    /// One log.
    DescribeLogDirsPartition {
        /// The partition.
        partition_index: i32 => 1..;
        /// Bytes of its segments.
        partition_size: i64 => 1..;
        /// How far it is behind.
        offset_lag: i64 => 1..;
        /// Whether it is a copy that will replace the log in another directory.
        is_future_key: bool => 1..;
    }
}

rpc!(DescribeLogDirs: <'a> DescribeLogDirsRequest<'a> => <'r> DescribeLogDirsResponse<'r>);

//! AlterReplicaLogDirs: move logs to another directory of the broker.

use super::{rpc, wire_struct};

wire_struct! {
    /// Move these.
    AlterReplicaLogDirsRequest<'a> {
        /// By directory to move to.
        dirs: Vec<AlterReplicaLogDir<'a>> => 1..;
    }
}

wire_struct! {
    /// Logs for one directory.
    AlterReplicaLogDir<'a> {
        /// Its absolute path.
        path: &'a str => 1..;
        /// By topic.
        topics: Vec<AlterReplicaLogDirTopic<'a>> => 1..;
    }
}

wire_struct! {
    /// Logs of one topic.
    AlterReplicaLogDirTopic<'a> {
        /// The topic.
        name: &'a str => 1..;
        /// The partitions.
        partitions: Vec<i32> => 1..;
    }
}

wire_struct! {
    /// What became of them.
    AlterReplicaLogDirsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// By topic.
        results: Vec<AlterReplicaLogDirTopicResult<'a>> => 1..;
    }
}

wire_struct! {
    /// What became of one topic's.
    AlterReplicaLogDirTopicResult<'a> {
        /// The topic.
        topic_name: &'a str => 1..;
        /// By partition.
        partitions: Vec<AlterReplicaLogDirPartitionResult> => 1..;
    }
}

wire_struct! {
    /// What became of one log.
    AlterReplicaLogDirPartitionResult {
        /// The partition.
        partition_index: i32 => 1..;
        /// 0, or why it does not move.
        error_code: i16 => 1..;
    }
}

rpc!(AlterReplicaLogDirs: <'a> AlterReplicaLogDirsRequest<'a> => <'r> AlterReplicaLogDirsResponse<'r>);

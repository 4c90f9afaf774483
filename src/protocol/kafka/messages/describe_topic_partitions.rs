//! DescribeTopicPartitions: topics and their partitions, page by page.
//!
//! An answer that is full ends with a cursor; the next request begins there.

use super::{AUTHORIZED_OPERATIONS_UNKNOWN, rpc, wire_struct};
use crate::base::TopicId;

wire_struct! {
    /// Tell me about these topics.
    DescribeTopicPartitionsRequest<'a> {
        /// The topics; none is all of them.
        topics: Vec<DescribeTopicPartitionsTopic<'a>> => 0..;
        /// Most partitions in one answer.
        response_partition_limit: i32 => 0.., default 2000;
        /// Where to begin; null for the beginning.
        cursor: Option<TopicPartitionsCursor<'a>> => 0.., null 0..;
    }
}

wire_struct! {
    /// One topic.
    DescribeTopicPartitionsTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
    }
}

wire_struct! {
    /// A place among all partitions of all topics, by name and index.
    TopicPartitionsCursor<'a> {
        /// The topic.
        topic_name: &'a str => 0..;
        /// The first partition of it.
        partition_index: i32 => 0..;
    }
}

wire_struct! {
    /// The topics.
    DescribeTopicPartitionsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// By topic.
        topics: Vec<DescribedTopic<'a>> => 0..;
        /// Where to go on; null at the end.
        next_cursor: Option<TopicPartitionsCursor<'a>> => 0.., null 0..;
    }
}

wire_struct! {
    /// One topic.
    DescribedTopic<'a> {
        /// An error for this topic alone.
        error_code: i16 => 0..;
        /// Its name.
        name: Option<&'a str> => 0.., null 0..;
        /// Its id; nil only for an unknown name.
        topic_id: TopicId => 0.., default TopicId::NIL;
        /// Whether it belongs to the broker.
        is_internal: bool => 0..;
        /// Its partitions, those of this page.
        partitions: Vec<DescribedPartition> => 0..;
        /// What the client may do to it, one bit per operation.
        topic_authorized_operations: i32 => 0.., default AUTHORIZED_OPERATIONS_UNKNOWN;
    }
}

wire_struct! {
    /// One partition.
    DescribedPartition {
        /// An error for this partition alone.
        error_code: i16 => 0..;
        /// Its index.
        partition_index: i32 => 0..;
        /// Node id of its leader, -1 if there is none.
        leader_id: i32 => 0..;
        /// The leader's epoch, -1 if unknown.
        leader_epoch: i32 => 0.., default -1;
        /// Node ids of its replicas.
        replica_nodes: Vec<i32> => 0..;
        /// Node ids of the replicas in sync.
        isr_nodes: Vec<i32> => 0..;
        /// Node ids of replicas that may lead though they are not in sync.
        eligible_leader_replicas: Option<Vec<i32>> => 0.., null 0..;
        /// The last of them that are known.
        last_known_elr: Option<Vec<i32>> => 0.., null 0..;
        /// Node ids of the replicas that are down.
        offline_replicas: Vec<i32> => 0..;
    }
}

rpc!(DescribeTopicPartitions: <'a> DescribeTopicPartitionsRequest<'a> => <'r> DescribeTopicPartitionsResponse<'r>);

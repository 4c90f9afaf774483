//! Metadata: which brokers there are, and who leads which partition.
//!
//! No topics at all is written differently by age: in version 0 the empty list means all topics, from version
//! 1 on null means all and the empty list none. Topics may be asked for by id from version 12 on; the ids are
//! answered from version 10 on. `cluster_authorized_operations` left for DescribeCluster after version 10.

use super::{rpc, wire_struct};
use crate::base::TopicId;

/// Value of an authorized-operations bit field nobody asked for.
pub const AUTHORIZED_OPERATIONS_UNKNOWN: i32 = i32::MIN;

wire_struct! {
    /// Tell me about these topics, and the brokers.
    MetadataRequest<'a> {
        /// The topics; null is all of them. Version 0 has no null: there, empty is all of them.
        topics: Option<Vec<MetadataRequestTopic<'a>>> => 0.., null 1..;
        /// Whether topics that do not exist may be created. True in the versions that cannot say.
        allow_auto_topic_creation: bool => 4.., default true;
        /// Whether to say what the client may do to the cluster.
        include_cluster_authorized_operations: bool => 8..=10;
        /// Whether to say what the client may do to each topic.
        include_topic_authorized_operations: bool => 8..;
    }
}

wire_struct! {
    /// One topic asked for, by name or by id.
    MetadataRequestTopic<'a> {
        /// The id, or nil when asked for by name.
        topic_id: TopicId => 10..;
        /// The name, or null when asked for by id.
        name: Option<&'a str> => 0.., null 10..;
    }
}

wire_struct! {
    /// The cluster as the broker sees it.
    MetadataResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 3..;
        /// Every broker a client may connect to.
        brokers: Vec<MetadataResponseBroker<'a>> => 0..;
        /// The cluster's id.
        cluster_id: Option<&'a str> => 2.., null 2..;
        /// Node id of the controller, -1 if there is none.
        controller_id: i32 => 1.., default -1;
        /// The topics.
        topics: Vec<MetadataResponseTopic<'a>> => 0..;
        /// What the client may do to the cluster, one bit per operation.
        cluster_authorized_operations: i32 => 8..=10, default AUTHORIZED_OPERATIONS_UNKNOWN;
        /// An error for the whole answer: 129 tells the client to start over from its bootstrap list.
        error_code: i16 => 13..;
    }
}

wire_struct! {
    /// One broker.
    MetadataResponseBroker<'a> {
        /// Its node id.
        node_id: i32 => 0..;
        /// Where clients reach it.
        host: &'a str => 0..;
        /// And at which port.
        port: i32 => 0..;
        /// Its rack, if it has one.
        rack: Option<&'a str> => 1.., null 1..;
    }
}

wire_struct! {
    /// One topic.
    MetadataResponseTopic<'a> {
        /// An error for this topic alone.
        error_code: i16 => 0..;
        /// Its name; null only for an unknown id.
        name: Option<&'a str> => 0.., null 12..;
        /// Its id; nil only for an unknown name.
        topic_id: TopicId => 10..;
        /// Whether it belongs to the broker.
        is_internal: bool => 1..;
        /// Its partitions.
        partitions: Vec<MetadataResponsePartition> => 0..;
        /// What the client may do to it, one bit per operation.
        topic_authorized_operations: i32 => 8.., default AUTHORIZED_OPERATIONS_UNKNOWN;
    }
}

wire_struct! {
    /// One partition.
    MetadataResponsePartition {
        /// An error for this partition alone.
        error_code: i16 => 0..;
        /// Its index.
        partition_index: i32 => 0..;
        /// Node id of its leader, -1 if there is none.
        leader_id: i32 => 0..;
        /// The leader's epoch, -1 if unknown.
        leader_epoch: i32 => 7.., default -1;
        /// Node ids of its replicas.
        replica_nodes: Vec<i32> => 0..;
        /// Node ids of the replicas in sync.
        isr_nodes: Vec<i32> => 0..;
        /// Node ids of the replicas that are down.
        offline_replicas: Vec<i32> => 5..;
    }
}

rpc!(Metadata: <'a> MetadataRequest<'a> => <'r> MetadataResponse<'r>);

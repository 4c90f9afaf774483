//! One file per API: what a request means, asked of the shard, and put into Kafka's answer.
//!
//! **Promise.** A handler trusts its decoder for form and nothing for meaning: every number is checked before it is
//! used. One wrong topic or partition is answered for itself and never fails its neighbours, unless Kafka says so.
//!
//! **Invariants.** A handler reads one metadata image from start to end. It answers at most in proportion to what was
//! asked: things named twice are answered once or refused, so a small request cannot ask for a huge answer.
//! Errors become codes in [`super::map`] only. Absent: authorization.

pub(super) mod alter_configs;
pub(super) mod alter_partition_reassignments;
pub(super) mod alter_replica_log_dirs;
pub(super) mod api_versions;
pub(super) mod configs;
pub(super) mod consumer_group_describe;
pub(super) mod consumer_group_heartbeat;
pub(super) mod create_partitions;
pub(super) mod create_topics;
pub(super) mod delete_groups;
pub(super) mod delete_records;
pub(super) mod delete_topics;
pub(super) mod describe_cluster;
pub(super) mod describe_configs;
pub(super) mod describe_groups;
pub(super) mod describe_log_dirs;
pub(super) mod describe_producers;
pub(super) mod describe_topic_partitions;
pub(super) mod elect_leaders;
pub(super) mod fetch;
pub(super) mod find_coordinator;
mod groups;
pub(super) mod heartbeat;
pub(super) mod incremental_alter_configs;
pub(super) mod init_producer_id;
pub(super) mod join_group;
pub(super) mod leave_group;
pub(super) mod list_config_resources;
pub(super) mod list_groups;
pub(super) mod list_offsets;
pub(super) mod list_partition_reassignments;
pub(super) mod metadata;
pub(super) mod offset_commit;
pub(super) mod offset_delete;
pub(super) mod offset_fetch;
pub(super) mod offset_for_leader_epoch;
pub(super) mod produce;
pub(super) mod sync_group;

use super::errors::ErrorCode;
use crate::base::{LogId, Offset, PartitionId};
use crate::broker::image::Image;
use crate::broker::topic::Topic;
use crate::shard::Cluster;

/// The log of partition `index` of `topic`, if the topic has it.
fn log_of(topic: &Topic, index: i32) -> Option<LogId> {
    let partition = u32::try_from(index)
        .ok()
        .filter(|index| *index < topic.partitions)?;
    Some(LogId {
        topic: topic.id,
        partition: PartitionId::new(partition),
    })
}

/// The log of a topic's partition by name.
fn find_log(image: &Image, topic: &str, index: i32) -> Option<LogId> {
    image.topic(topic).and_then(|topic| log_of(topic, index))
}

/// An offset as the wire has it.
fn wire_offset(offset: Offset) -> i64 {
    i64::try_from(offset.get()).unwrap_or(i64::MAX)
}

/// An epoch as the wire has it.
fn wire_epoch(epoch: crate::base::LeaderEpoch) -> i32 {
    i32::try_from(epoch.get()).unwrap_or(i32::MAX)
}

/// A count of partitions as the wire has it.
fn wire_count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Whether the cluster has a node of that id.
fn has_node(cluster: &Cluster, id: i32) -> bool {
    cluster.nodes.iter().any(|node| node.id == id)
}

/// Any live node does as controller: every shard takes every request.
fn controller_id(cluster: &Cluster) -> i32 {
    cluster.nodes.first().map_or(-1, |node| node.id)
}

/// An error and what to say about it to people.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Fault {
    code: ErrorCode,
    message: String,
}

impl Fault {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    fn of(code: ErrorCode) -> Self {
        Self::new(code, code.message())
    }
}

impl From<crate::shard::request::ControlError> for Fault {
    fn from(error: crate::shard::request::ControlError) -> Self {
        Self::new(super::map::control_error(&error), error.to_string())
    }
}

impl From<crate::broker::topic::TopicError> for Fault {
    fn from(error: crate::broker::topic::TopicError) -> Self {
        Self::new(super::map::topic_error(&error), error.to_string())
    }
}

/// The code and the message of an outcome, as responses carry them.
fn code_and_message<T>(outcome: &Result<T, Fault>) -> (i16, Option<&str>) {
    match outcome {
        Ok(_) => (0, None),
        Err(fault) => (fault.code.code(), Some(&fault.message)),
    }
}

/// What the tests of several handlers need.
#[cfg(test)]
mod testing {
    use crate::shard::{Advertise, Cluster, Node};

    /// Two shards, each a node.
    pub(super) fn cluster() -> Cluster {
        let node = |id| Node {
            native_port: 0,
            id,
            host: "localhost".to_owned(),
            port: 9092,
        };
        Cluster {
            id: "test".to_owned(),
            nodes: vec![node(0), node(1)],
            advertise: Advertise::PerCore,
            shards: 2,
        }
    }
}

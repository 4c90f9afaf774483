//! Metadata: topics, and the node that leads each partition.
//!
//! Each topic is answered once however often it is named, so that a small request cannot ask for a huge answer.

use crate::base::hash::HashSet;
use std::rc::Rc;

use super::{Connection, Refusal, Request};
use crate::base::{LogId, PartitionId, TopicId};
use crate::broker::topic::Topic;
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::messages::{Metadata, MetadataAnswer, NodeInfo, TopicInfo};
use crate::protocol::native::outbox::Answer;
use crate::shard::Cluster;
use crate::storage::log::Durability;

/// Begins when its answer is next to leave, as all handlers do.
pub(super) async fn handle(connection: Rc<Connection>, request: Request) -> Result<Answer, Refusal> {
    let frame = request.frame();
    let metadata = Metadata::decode(&frame)?;
    let image = connection.shard.image();
    let cluster = connection.shard.cluster();
    let topics = match &metadata {
        Metadata::All => image.topics().map(|topic| known(cluster, topic)).collect(),
        Metadata::Named(names) => {
            let mut seen = HashSet::with_capacity_and_hasher(names.len(), Default::default());
            let fresh = names.iter().filter(|name| seen.insert(**name));
            let info = |name: &&'_ str| match image.topic(name) {
                Some(topic) => known(cluster, topic),
                None => unknown(),
            };
            fresh.map(|name| TopicInfo { name, ..info(name) }).collect()
        }
    };
    let answer = MetadataAnswer {
        nodes: nodes(cluster),
        topics,
    };
    let mut out = Vec::new();
    answer.encode(&mut out, request.head.correlation)?;
    Ok(Answer::of(out))
}

fn nodes(cluster: &Cluster) -> Vec<NodeInfo<'_>> {
    let node = |node: &'_ crate::shard::Node| (node.id.unsigned_abs(), node.native_port);
    cluster
        .nodes
        .iter()
        .map(|one| {
            let (id, port) = node(one);
            NodeInfo {
                id,
                host: &one.host,
                port,
            }
        })
        .collect()
}

fn known<'a>(cluster: &Cluster, topic: &'a Topic) -> TopicInfo<'a> {
    let leader = |partition| {
        let log = LogId {
            topic: topic.id,
            partition: PartitionId::new(partition),
        };
        cluster.leader_node(log).id.unsigned_abs()
    };
    TopicInfo {
        name: &topic.name,
        id: topic.id,
        error: None,
        max_batch_bytes: topic.settings.max_message_bytes,
        relaxed: topic.settings.log.durability == Durability::Relaxed,
        leaders: (0..topic.partitions).map(leader).collect(),
    }
}

const fn unknown<'a>() -> TopicInfo<'a> {
    TopicInfo {
        name: "",
        id: TopicId::NIL,
        error: Some(ErrorCode::UnknownTopic),
        max_batch_bytes: 0,
        relaxed: false,
        leaders: Vec::new(),
    }
}

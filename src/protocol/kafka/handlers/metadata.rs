//! Metadata: the nodes, and who leads which partition.
//!
//! **Which topics.** Version 0: an empty list is all of them. Later: null is all, empty none. By id from version 12 on;
//! an id in version 10 or 11 is refused, as in Kafka. A topic named twice is answered once.
//!
//! **Auto-create** happens when both the request and the configuration allow it, for at most [`AUTO_CREATE_MAX`]
//! topics a request; the new topic is in the answer at once. The rest are told to ask again. The broker's own topics are not
//! created by asking for them.
//!
//! **The leader epoch** changes at a start only, so every shard knows that of every log. A client must hear it: one that goes
//! on from an offset committed under an older epoch is fenced until it does. Leader, replicas and in-sync replicas are the
//! owner's node.

use crate::base::hash::HashSet;
use std::sync::Arc;

use super::{Fault, controller_id, log_of, wire_count, wire_epoch};
use crate::base::TopicId;
use crate::broker::image::Image;
use crate::broker::topic::{Topic, check_name, is_internal};
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::shard::Shard;
use crate::shard::request::{ControlError, ControlReply, ControlRequest, NewTopic};

/// Topics one request may create.
const AUTO_CREATE_MAX: usize = 100;

/// First version that asks for topics by id.
const BY_ID_SINCE: i16 = 12;

/// Memory an answer takes for a partition, encoded and not.
const PARTITION_RESERVE_BYTES: u64 = 160;

/// And for a topic.
const TOPIC_RESERVE_BYTES: u64 = 512;

/// What is known of one topic asked for.
enum Found<'a> {
    Topic(Arc<Topic>),
    NoName(&'a str, ErrorCode),
    NoId(TopicId, ErrorCode),
}

/// Answers with the cluster and the topics asked for.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: MetadataRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let found: Vec<Found<'_>> = match &request.topics {
        None => all(&image),
        Some(topics) if topics.is_empty() && call.version == 0 => all(&image),
        Some(topics) => find(&call, &image, topics, request.allow_auto_topic_creation).await,
    };
    if found.iter().any(|found| !matches!(found, Found::Topic(_))) {
        call.count_error();
    }
    // A large cluster makes a large answer; it waits for its memory like any other.
    let held = call.reserve(reserve_bytes(&found)).await;
    let cluster = call.shard.cluster();
    let brokers = cluster
        .nodes
        .iter()
        .map(|node| MetadataResponseBroker {
            node_id: node.id,
            host: &node.host,
            port: i32::from(node.port),
            rack: None,
        })
        .collect();
    let response = MetadataResponse {
        brokers,
        cluster_id: Some(&cluster.id),
        controller_id: controller_id(cluster),
        topics: found
            .iter()
            .map(|found| topic_response(&call.shard, found))
            .collect(),
        ..MetadataResponse::default()
    };
    Ok(call.answer_holding(response, held))
}

fn all<'a>(image: &Image) -> Vec<Found<'a>> {
    image
        .topics()
        .map(|topic| Found::Topic(Arc::clone(topic)))
        .collect()
}

fn reserve_bytes(found: &[Found<'_>]) -> usize {
    let bytes = |found: &Found<'_>| match found {
        Found::Topic(topic) => TOPIC_RESERVE_BYTES + u64::from(topic.partitions) * PARTITION_RESERVE_BYTES,
        Found::NoName(..) | Found::NoId(..) => TOPIC_RESERVE_BYTES,
    };
    usize::try_from(found.iter().map(bytes).sum::<u64>()).unwrap_or(usize::MAX)
}

/// Looks up every topic once, creating what is missing if that is allowed.
async fn find<'a>(
    call: &Call,
    image: &Image,
    topics: &[MetadataRequestTopic<'a>],
    allow_creation: bool,
) -> Vec<Found<'a>> {
    let mut may_create = if allow_creation && call.shard.limits().auto_create_topics {
        AUTO_CREATE_MAX
    } else {
        0
    };
    let creates = may_create > 0;
    let mut seen = HashSet::default();
    let mut found = Vec::new();
    for topic in topics {
        if !seen.insert((topic.topic_id, topic.name)) {
            continue;
        }
        found.push(match (topic.name, topic.topic_id) {
            (Some(name), TopicId::NIL) => match by_name(image, name) {
                Found::NoName(name, ErrorCode::UnknownTopicOrPartition)
                    if may_create > 0 && !is_internal(name) =>
                {
                    may_create -= 1;
                    create(call, name).await
                }
                Found::NoName(name, ErrorCode::UnknownTopicOrPartition) if creates && !is_internal(name) => {
                    Found::NoName(name, ErrorCode::LeaderNotAvailable)
                }
                found => found,
            },
            (_, id) => by_id(image, id, call.version),
        });
    }
    found
}

fn by_name<'a>(image: &Image, name: &'a str) -> Found<'a> {
    match image.topic(name) {
        Some(topic) => Found::Topic(Arc::clone(topic)),
        None if check_name(name).is_err() => Found::NoName(name, ErrorCode::InvalidTopicException),
        None => Found::NoName(name, ErrorCode::UnknownTopicOrPartition),
    }
}

fn by_id<'a>(image: &Image, id: TopicId, version: i16) -> Found<'a> {
    // Neither name nor id, or an id before ids could be asked for.
    if id == TopicId::NIL || version < BY_ID_SINCE {
        return Found::NoId(id, ErrorCode::InvalidRequest);
    }
    image
        .topic_by_id(id)
        .map_or(Found::NoId(id, ErrorCode::UnknownTopicId), |topic| {
            Found::Topic(Arc::clone(topic))
        })
}

async fn create<'a>(call: &Call, name: &'a str) -> Found<'a> {
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: None,
        configs: std::collections::BTreeMap::new(),
    };
    match call.shard.control(ControlRequest::CreateTopic(topic)).await {
        Ok(ControlReply::Topic(topic)) => Found::Topic(topic),
        // Somebody else was faster: theirs is in the newest image.
        Err(ControlError::TopicExists(_)) => by_name(&call.shard.image(), name),
        Ok(ControlReply::ProducerIds(_) | ControlReply::Altered) => {
            Found::NoName(name, ErrorCode::UnknownServerError)
        }
        Err(error) => Found::NoName(name, Fault::from(error).code),
    }
}

fn topic_response<'a>(shard: &Shard, found: &'a Found<'_>) -> MetadataResponseTopic<'a> {
    match found {
        Found::Topic(topic) => MetadataResponseTopic {
            name: Some(&topic.name),
            topic_id: topic.id,
            is_internal: is_internal(&topic.name),
            partitions: (0..topic.partitions)
                .map(|index| partition_response(shard, topic, index))
                .collect(),
            ..MetadataResponseTopic::default()
        },
        Found::NoName(name, code) => MetadataResponseTopic {
            error_code: code.code(),
            name: Some(name),
            ..MetadataResponseTopic::default()
        },
        Found::NoId(id, code) => MetadataResponseTopic {
            error_code: code.code(),
            topic_id: *id,
            ..MetadataResponseTopic::default()
        },
    }
}

fn partition_response(shard: &Shard, topic: &Topic, index: u32) -> MetadataResponsePartition {
    let partition_index = wire_count(index);
    let Some(log) = log_of(topic, partition_index) else {
        return MetadataResponsePartition::default();
    };
    let leader = shard.cluster().leader_node(log).id;
    MetadataResponsePartition {
        partition_index,
        leader_id: leader,
        leader_epoch: wire_epoch(shard.leader_epoch(log)),
        replica_nodes: vec![leader],
        isr_nodes: vec![leader],
        ..MetadataResponsePartition::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_looked_up_from_version_12_on_only() {
        let image = Image::default();
        let id = TopicId::new([7; 16]);
        let code = |version| match by_id(&image, id, version) {
            Found::NoId(_, code) => code,
            _ => ErrorCode::None,
        };
        assert_eq!(code(11), ErrorCode::InvalidRequest);
        assert_eq!(code(12), ErrorCode::UnknownTopicId);
    }

    #[test]
    fn bad_names_are_told_from_unknown_ones() {
        let image = Image::default();
        let code = |name| match by_name(&image, name) {
            Found::NoName(_, code) => code,
            _ => ErrorCode::None,
        };
        assert_eq!(code("no/such"), ErrorCode::InvalidTopicException);
        assert_eq!(code("no-such"), ErrorCode::UnknownTopicOrPartition);
    }
}

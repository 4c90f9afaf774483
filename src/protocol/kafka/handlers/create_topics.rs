//! CreateTopics: new topics, each for itself.
//!
//! **Checks**, in this order: named twice in the request (42), the name (17: also one of the broker's own topics, and one
//! that differs from another topic's in dots and underscores only), exists (36), partitions (37), replicas
//! (38: one node has one), an assignment by hand (39; 42 when counts are given as well), configuration (40: also a key
//! without a value). `validate_only` stops there. The request's time-out is not used: a topic is created in milliseconds or
//! not at all.

use crate::base::hash::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::configs::{self, Entry};
use super::{Fault, code_and_message, has_node, wire_count};
use crate::base::TopicId;
use crate::broker::image::Image;
use crate::broker::topic::{PARTITIONS_MAX, check_name, check_overrides, is_internal};
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
use crate::shard::request::{ControlError, ControlReply, ControlRequest, NewTopic};
use crate::shard::{Cluster, Shard};

/// What the client is told about a topic that was, or would be, created.
struct Created {
    id: TopicId,
    partitions: u32,
    configs: Vec<Entry>,
}

/// Creates the topics one after the other.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: CreateTopicsRequest<'_> = call.decode()?;
    // Each answer tells the topic's whole configuration.
    let held = call
        .reserve(request.topics.len().saturating_mul(configs::TOPIC_RESERVE_BYTES))
        .await;
    let image = call.shard.image();
    let mut times_named: HashMap<&str, usize> = HashMap::default();
    for topic in &request.topics {
        *times_named.entry(topic.name).or_default() += 1;
    }
    let mut outcomes = Vec::with_capacity(times_named.len());
    for topic in &request.topics {
        let outcome = match times_named.remove(topic.name) {
            Some(1) => create(&call.shard, &image, topic, request.validate_only).await,
            Some(_) => Err(Fault::new(
                ErrorCode::InvalidRequest,
                "the topic is named more than once",
            )),
            // Answered where it was named first.
            None => continue,
        };
        if outcome.is_err() {
            call.count_error();
        }
        outcomes.push((topic.name, outcome));
    }
    let response = CreateTopicsResponse {
        throttle_time_ms: 0,
        topics: outcomes
            .iter()
            .map(|(name, outcome)| topic_response(name, outcome))
            .collect(),
    };
    Ok(call.answer_holding(response, held))
}

async fn create(
    shard: &std::rc::Rc<Shard>,
    image: &Arc<Image>,
    topic: &CreatableTopic<'_>,
    validate_only: bool,
) -> Result<Created, Fault> {
    let new = check(shard.cluster(), image, topic)?;
    let broker = image.broker();
    if validate_only {
        return Ok(Created {
            id: TopicId::NIL,
            partitions: new.partitions.unwrap_or_else(|| shard.limits().num_partitions),
            configs: configs::of_topic(&new.configs, broker),
        });
    }
    match shard.control(ControlRequest::CreateTopic(new)).await? {
        ControlReply::Topic(topic) => Ok(Created {
            id: topic.id,
            partitions: topic.partitions,
            configs: configs::of_topic(&topic.overrides, broker),
        }),
        ControlReply::ProducerIds(_) | ControlReply::Altered => Err(Fault::of(ErrorCode::UnknownServerError)),
    }
}

/// Everything that can be known before trying.
fn check(cluster: &Cluster, image: &Image, topic: &CreatableTopic<'_>) -> Result<NewTopic, Fault> {
    check_name(topic.name)?;
    if is_internal(topic.name) {
        return Err(ControlError::InternalTopic(topic.name.to_owned()).into());
    }
    if image.topic(topic.name).is_some() {
        let message = format!("topic {:?} already exists", topic.name);
        return Err(Fault::new(ErrorCode::TopicAlreadyExists, message));
    }
    if let Some(taken) = image.colliding(topic.name) {
        let message = format!(
            "topic {:?} collides with the existing topic {taken:?}",
            topic.name
        );
        return Err(Fault::new(ErrorCode::InvalidTopicException, message));
    }
    let partitions = if topic.assignments.is_empty() {
        check_replicas(topic.replication_factor)?;
        check_partitions(topic.num_partitions)?
    } else {
        Some(check_assignments(cluster, topic)?)
    };
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = config.value else {
            let message = format!("{} comes without a value", config.name);
            return Err(Fault::new(ErrorCode::InvalidConfig, message));
        };
        configs.insert(config.name.to_owned(), value.to_owned());
    }
    check_overrides(&configs)?;
    Ok(NewTopic {
        name: topic.name.to_owned(),
        partitions,
        configs,
    })
}

fn check_replicas(replicas: i16) -> Result<(), Fault> {
    match replicas {
        -1 | 1 => Ok(()),
        other => Err(Fault::new(
            ErrorCode::InvalidReplicationFactor,
            format!("a replication factor of {other} is not possible: there is one replica (use 1 or -1)"),
        )),
    }
}

/// The number of partitions asked for; `None` for the default.
fn check_partitions(count: i32) -> Result<Option<u32>, Fault> {
    if count == -1 {
        return Ok(None);
    }
    match u32::try_from(count) {
        Ok(partitions @ 1..=PARTITIONS_MAX) => Ok(Some(partitions)),
        _ => Err(Fault::new(
            ErrorCode::InvalidPartitions,
            format!("{count} partitions: use 1 to {PARTITIONS_MAX}, or -1 for the default"),
        )),
    }
}

/// An assignment by hand must name every partition once and give each to one node; where it really lives is ours to
/// say.
fn check_assignments(cluster: &Cluster, topic: &CreatableTopic<'_>) -> Result<u32, Fault> {
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let message = "give either an assignment or numbers of partitions and replicas";
        return Err(Fault::new(ErrorCode::InvalidRequest, message));
    }
    let count = u32::try_from(topic.assignments.len())
        .ok()
        .filter(|count| *count <= PARTITIONS_MAX);
    let count = count.ok_or_else(|| Fault::of(ErrorCode::InvalidPartitions))?;
    let mut named: Vec<i32> = topic
        .assignments
        .iter()
        .map(|assignment| assignment.partition_index)
        .collect();
    named.sort_unstable();
    let dense = named.iter().copied().eq(0..wire_count(count));
    let one_node = |assignment: &CreatableReplicaAssignment| is_one_node(cluster, &assignment.broker_ids);
    if dense && topic.assignments.iter().all(one_node) {
        return Ok(count);
    }
    Err(Fault::new(
        ErrorCode::InvalidReplicaAssignment,
        "an assignment names partitions 0, 1, .. once each, and one existing broker for each",
    ))
}

/// Whether these are one node of the cluster.
pub(super) fn is_one_node(cluster: &Cluster, ids: &[i32]) -> bool {
    matches!(ids, [id] if has_node(cluster, *id))
}

fn topic_response<'a>(name: &'a str, outcome: &'a Result<Created, Fault>) -> CreatableTopicResult<'a> {
    let (error_code, error_message) = code_and_message(outcome);
    let base = CreatableTopicResult {
        name,
        error_code,
        error_message,
        ..CreatableTopicResult::default()
    };
    let Ok(created) = outcome else { return base };
    CreatableTopicResult {
        topic_id: created.id,
        num_partitions: wire_count(created.partitions),
        replication_factor: 1,
        configs: Some(created.configs.iter().map(config_response).collect()),
        ..base
    }
}

fn config_response(entry: &Entry) -> CreatableTopicConfigs<'_> {
    CreatableTopicConfigs {
        name: entry.name,
        value: entry.value(),
        read_only: entry.read_only,
        config_source: entry.source(),
        is_sensitive: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::kafka::handlers::testing::cluster;
    use crate::protocol::kafka::messages::CreatableTopicConfig;

    fn topic(num_partitions: i32, replication_factor: i16) -> CreatableTopic<'static> {
        CreatableTopic {
            name: "events",
            num_partitions,
            replication_factor,
            ..CreatableTopic::default()
        }
    }

    fn code(topic: &CreatableTopic<'_>) -> i16 {
        check(&cluster(), &Image::default(), topic).map_or_else(|fault| fault.code.code(), |_| 0)
    }

    #[test]
    fn counts_are_checked_and_minus_one_is_the_default() {
        for (partitions, replicas, expected) in [
            (1, 1, 0),
            (-1, -1, 0),
            (0, 1, 37),
            (-2, 1, 37),
            (100_001, 1, 37),
            (1, 0, 38),
            (1, 2, 38),
        ] {
            assert_eq!(
                code(&topic(partitions, replicas)),
                expected,
                "{partitions} x {replicas}"
            );
        }
    }

    #[test]
    fn assignments_are_dense_and_name_one_existing_node() {
        let with = |assignments: &[(i32, &[i32])]| CreatableTopic {
            assignments: assignments
                .iter()
                .map(|(partition_index, ids)| CreatableReplicaAssignment {
                    partition_index: *partition_index,
                    broker_ids: ids.to_vec(),
                })
                .collect(),
            ..topic(-1, -1)
        };
        assert_eq!(code(&with(&[(1, &[0]), (0, &[1])])), 0);
        assert_eq!(code(&with(&[(0, &[0]), (0, &[1])])), 39);
        assert_eq!(code(&with(&[(1, &[0])])), 39);
        assert_eq!(code(&with(&[(0, &[0, 1])])), 39);
        assert_eq!(code(&with(&[(0, &[7])])), 39);
        let both = CreatableTopic {
            num_partitions: 1,
            ..with(&[(0, &[0])])
        };
        assert_eq!(code(&both), 42);
    }

    #[test]
    fn names_and_configs_are_checked() {
        let config = |name, value| CreatableTopic {
            configs: vec![CreatableTopicConfig { name, value }],
            ..topic(1, 1)
        };
        assert_eq!(code(&config("retention.ms", Some("1000"))), 0);
        assert_eq!(code(&config("retention.ms", None)), 40);
        assert_eq!(code(&config("retention.ms", Some("soon"))), 40);
        assert_eq!(code(&config("no.such.key", Some("1"))), 40);
        let bad_name = CreatableTopic {
            name: "a b",
            ..topic(1, 1)
        };
        assert_eq!(code(&bad_name), 17);
        let internal = CreatableTopic {
            name: "__consumer_offsets",
            ..topic(1, 1)
        };
        assert_eq!(code(&internal), 17);
    }
}

//! Creating, deleting, changing and describing topics.
//!
//! A request is sent again when its connection broke, so an answer that was lost can come back as "exists already" or
//! "no such topic": the caller sees what the broker says about the second attempt.

use crate::protocol::kafka::messages::{
    AlterConfigsResource, AlterableConfig, CreatableTopic, CreatableTopicConfig, CreatePartitionsRequest,
    CreatePartitionsTopic, CreateTopicsRequest, DeleteRecordsPartition, DeleteRecordsRequest,
    DeleteRecordsTopic, DeleteTopicState, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeConfigsResource, IncrementalAlterConfigsRequest, OPERATION_DELETE, OPERATION_SET, RESOURCE_TOPIC,
};
use std::collections::BTreeMap;

use super::{ADMIN_TIMEOUT_MS, Client, ClientError, Missing, To};

/// What became of a request about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The topic.
    pub name: String,
    /// 0, or why nothing happened.
    pub code: i16,
    /// The broker's own words.
    pub message: Option<String>,
}

/// One key of a topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// The key.
    pub name: String,
    /// The value; `None` if it is secret or null.
    pub value: Option<String>,
    /// Kafka's number for where it comes from.
    pub source: i8,
}

/// Whether a request is meant, or only its answer wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is carried out.
    Change,
    /// It is checked and nothing changes.
    None,
}

/// A topic to create.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Partitions; `None` for the broker's default.
    pub partitions: Option<i32>,
    /// Configuration that differs from the default.
    pub config: Vec<(String, String)>,
}

impl Client {
    /// Creates topics. Not retried once the broker has answered: an answer for each.
    pub fn create_topics(&mut self, topics: &[NewTopic]) -> Result<Vec<Outcome>, ClientError> {
        self.persist(|client| {
            let request = CreateTopicsRequest {
                topics: topics.iter().map(creatable).collect(),
                timeout_ms: ADMIN_TIMEOUT_MS,
                validate_only: false,
            };
            client.ask(To::Anyone, request, |answer| {
                answer
                    .topics
                    .iter()
                    .map(|one| outcome(Some(one.name), one.error_code, one.error_message))
                    .collect()
            })
        })
    }

    /// Deletes topics: an answer for each.
    pub fn delete_topics(&mut self, names: &[String]) -> Result<Vec<Outcome>, ClientError> {
        self.persist(|client| {
            let request = DeleteTopicsRequest {
                topics: names
                    .iter()
                    .map(|name| DeleteTopicState {
                        name: Some(name),
                        ..DeleteTopicState::default()
                    })
                    .collect(),
                topic_names: names.iter().map(String::as_str).collect(),
                timeout_ms: ADMIN_TIMEOUT_MS,
            };
            client.ask(To::Anyone, request, |answer| {
                answer
                    .responses
                    .iter()
                    .map(|one| outcome(one.name, one.error_code, one.error_message))
                    .collect()
            })
        })
    }

    /// Grows a topic to `count` partitions in all.
    pub fn create_partitions(&mut self, name: &str, count: i32, effect: Effect) -> Result<(), ClientError> {
        let outcomes: Vec<Outcome> = self.persist(|client| {
            let request = CreatePartitionsRequest {
                topics: vec![CreatePartitionsTopic {
                    name,
                    count,
                    assignments: None,
                }],
                timeout_ms: ADMIN_TIMEOUT_MS,
                validate_only: effect == Effect::None,
            };
            client.ask(To::Anyone, request, |answer| {
                answer
                    .results
                    .iter()
                    .map(|one| outcome(Some(one.name), one.error_code, one.error_message))
                    .collect()
            })
        })?;
        all_well(&outcomes)
    }

    /// Sets keys of a topic's configuration (`None` takes a key back to its default) and leaves the others alone.
    pub fn alter_topic(
        &mut self,
        name: &str,
        changes: &[(String, Option<String>)],
        effect: Effect,
    ) -> Result<(), ClientError> {
        let outcomes: Vec<Outcome> = self.persist(|client| {
            let configs = changes.iter().map(|(key, value)| AlterableConfig {
                name: key,
                config_operation: if value.is_some() {
                    OPERATION_SET
                } else {
                    OPERATION_DELETE
                },
                value: value.as_deref(),
            });
            let resource = AlterConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: name,
                configs: configs.collect(),
            };
            let request = IncrementalAlterConfigsRequest {
                resources: vec![resource],
                validate_only: effect == Effect::None,
            };
            client.ask(To::Anyone, request, |answer| {
                let described = answer.responses.iter();
                described
                    .map(|one| outcome(Some(one.resource_name), one.error_code, one.error_message))
                    .collect()
            })
        })?;
        all_well(&outcomes)
    }

    /// Deletes the records below an offset of each partition. For each, where it begins now and 0, or the code of why
    /// nothing was deleted.
    pub fn delete_records(
        &mut self,
        topic: &str,
        before: &BTreeMap<i32, i64>,
    ) -> Result<BTreeMap<i32, (i64, i16)>, ClientError> {
        self.persist(|client| {
            let leaders = client.topic_once(topic, Missing::Fail)?.by_leader();
            let mut outcomes = BTreeMap::new();
            for (leader, partitions) in leaders {
                let partitions = partitions.into_iter().filter_map(|partition_index| {
                    Some(DeleteRecordsPartition {
                        partition_index,
                        offset: *before.get(&partition_index)?,
                    })
                });
                let partitions: Vec<_> = partitions.collect();
                if partitions.is_empty() {
                    continue;
                }
                let request = DeleteRecordsRequest {
                    topics: vec![DeleteRecordsTopic {
                        name: topic,
                        partitions,
                    }],
                    timeout_ms: ADMIN_TIMEOUT_MS,
                };
                outcomes.extend(client.ask(To::Node(leader), request, |answer| {
                    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
                    partitions
                        .map(|one| (one.partition_index, (one.low_watermark, one.error_code)))
                        .collect::<Vec<_>>()
                })?);
            }
            Ok(outcomes)
        })
    }

    /// Every key of a topic's configuration.
    pub fn topic_config(&mut self, name: &str) -> Result<Vec<TopicConfig>, ClientError> {
        let results: Vec<(Outcome, Vec<TopicConfig>)> = self.persist(|client| {
            let resource = DescribeConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: name,
                configuration_keys: None,
            };
            let request = DescribeConfigsRequest {
                resources: vec![resource],
                ..DescribeConfigsRequest::default()
            };
            client.ask(To::Anyone, request, |answer| {
                let results = answer.results.iter().map(|one| {
                    let keys = one.configs.iter().map(|config| TopicConfig {
                        name: config.name.to_owned(),
                        value: config.value.map(str::to_owned),
                        source: config.config_source,
                    });
                    (
                        outcome(Some(one.resource_name), one.error_code, one.error_message),
                        keys.collect(),
                    )
                });
                results.collect()
            })
        })?;
        results
            .iter()
            .try_for_each(|(outcome, _)| all_well(std::slice::from_ref(outcome)))?;
        Ok(results.into_iter().flat_map(|(_, keys)| keys).collect())
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic<'_> {
    CreatableTopic {
        name: &topic.name,
        num_partitions: topic.partitions.unwrap_or(BROKER_DEFAULT),
        replication_factor: REPLICATION_DEFAULT,
        assignments: Vec::new(),
        configs: topic
            .config
            .iter()
            .map(|(name, value)| CreatableTopicConfig {
                name,
                value: Some(value),
            })
            .collect(),
    }
}

fn outcome(name: Option<&str>, code: i16, message: Option<&str>) -> Outcome {
    Outcome {
        name: name.unwrap_or_default().to_owned(),
        code,
        message: message.map(str::to_owned),
    }
}

fn all_well(outcomes: &[Outcome]) -> Result<(), ClientError> {
    outcomes
        .iter()
        .try_for_each(|one| ClientError::check(&one.name, one.code, one.message.as_deref()))
}

/// Lets the broker choose.
const BROKER_DEFAULT: i32 = -1;
const REPLICATION_DEFAULT: i16 = -1;

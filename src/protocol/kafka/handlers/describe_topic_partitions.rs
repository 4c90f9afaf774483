//! DescribeTopicPartitions: topics and partitions in order of name and index, a page at a time.
//!
//! A page holds at most as many partitions as the client asks for, never more than [`PARTITIONS_MAX`]; when it is full, the
//! cursor says where the next one begins. The topics asked for are sorted and taken once each. All topics: none that
//! cannot be described appears. As in Kafka, a cursor at a topic that is not among those asked for is refused.

use std::collections::BTreeSet;

use super::{log_of, wire_count, wire_epoch};
use crate::broker::image::Image;
use crate::broker::topic::{Topic, check_name, is_internal};
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsTopic,
    DescribedPartition, DescribedTopic, TopicPartitionsCursor,
};
use crate::shard::Shard;

/// Most partitions of a page: Kafka's `max.request.partition.size.limit`.
const PARTITIONS_MAX: u32 = 2000;

/// Memory an answer takes for a partition, encoded and not.
const PARTITION_RESERVE_BYTES: usize = 256;

/// And for a topic.
const TOPIC_RESERVE_BYTES: usize = 512;

/// Answers one page.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: DescribeTopicPartitionsRequest<'_> = call.decode()?;
    if let Err(code) = check_cursor(&request) {
        call.count_error();
        return Ok(call.answer(refuse(&request, code)));
    }
    let image = call.shard.image();
    let limit = u32::try_from(request.response_partition_limit)
        .unwrap_or(0)
        .clamp(1, PARTITIONS_MAX);
    let partitions = usize::try_from(limit).unwrap_or(usize::MAX);
    let topics = if request.topics.is_empty() {
        partitions.min(image.topics().len())
    } else {
        request.topics.len()
    };
    let reserve = partitions * PARTITION_RESERVE_BYTES + topics.saturating_mul(TOPIC_RESERVE_BYTES);
    let held = call.reserve(reserve).await;
    let page = Page {
        shard: &call.shard,
        image: &image,
    };
    let response = page.fill(&request, limit);
    Ok(call.answer_holding(response, held))
}

/// A cursor must stand at a topic of the request, and at a partition that could be.
fn check_cursor(request: &DescribeTopicPartitionsRequest<'_>) -> Result<(), ErrorCode> {
    let Some(cursor) = &request.cursor else {
        return Ok(());
    };
    let named = |topic: &_| name_of(topic) == cursor.topic_name;
    let stands = request.topics.is_empty() || request.topics.iter().any(named);
    if stands && cursor.partition_index >= 0 {
        Ok(())
    } else {
        Err(ErrorCode::InvalidRequest)
    }
}

/// The one thing a request says of a topic.
const fn name_of<'a>(topic: &DescribeTopicPartitionsTopic<'a>) -> &'a str {
    topic.name
}

fn refuse<'a>(
    request: &DescribeTopicPartitionsRequest<'a>,
    code: ErrorCode,
) -> DescribeTopicPartitionsResponse<'a> {
    let names: BTreeSet<&str> = request.topics.iter().map(name_of).collect();
    DescribeTopicPartitionsResponse {
        topics: names.into_iter().map(|name| failed(name, code)).collect(),
        ..DescribeTopicPartitionsResponse::default()
    }
}

fn failed(name: &str, code: ErrorCode) -> DescribedTopic<'_> {
    DescribedTopic {
        error_code: code.code(),
        name: Some(name),
        ..DescribedTopic::default()
    }
}

/// What a page is made from.
struct Page<'a> {
    shard: &'a Shard,
    image: &'a Image,
}

impl<'a> Page<'a> {
    fn fill(
        &self,
        request: &DescribeTopicPartitionsRequest<'a>,
        limit: u32,
    ) -> DescribeTopicPartitionsResponse<'a> {
        let (first, start) = match &request.cursor {
            Some(cursor) => (
                cursor.topic_name,
                u32::try_from(cursor.partition_index).unwrap_or(0),
            ),
            None => ("", 0),
        };
        let names: BTreeSet<&'a str> = if request.topics.is_empty() {
            self.image.topics().map(|topic| &*topic.name).collect()
        } else {
            request.topics.iter().map(name_of).collect()
        };
        let mut response = DescribeTopicPartitionsResponse::default();
        let mut left = limit;
        for &name in names.range(first..) {
            if left == 0 {
                response.next_cursor = Some(cursor(name, 0));
                break;
            }
            let Some(topic) = self.image.topic(name) else {
                let code = check_name(name).map_or(ErrorCode::InvalidTopicException, |()| {
                    ErrorCode::UnknownTopicOrPartition
                });
                // The cursor's topic may have gone since; nobody asked for it by name.
                if !request.topics.is_empty() {
                    response.topics.push(failed(name, code));
                }
                continue;
            };
            let start = if name == first { start } else { 0 };
            let end = topic.partitions.min(start.saturating_add(left));
            left -= end.saturating_sub(start);
            response.topics.push(self.describe(topic, start..end));
            if end < topic.partitions {
                response.next_cursor = Some(cursor(name, end));
                break;
            }
        }
        response
    }

    fn describe(&self, topic: &'a Topic, partitions: std::ops::Range<u32>) -> DescribedTopic<'a> {
        DescribedTopic {
            name: Some(&topic.name),
            topic_id: topic.id,
            is_internal: is_internal(&topic.name),
            partitions: partitions.map(|index| self.partition(topic, index)).collect(),
            ..DescribedTopic::default()
        }
    }

    fn partition(&self, topic: &Topic, index: u32) -> DescribedPartition {
        let partition_index = wire_count(index);
        let Some(log) = log_of(topic, partition_index) else {
            return DescribedPartition::default();
        };
        let leader = self.shard.cluster().leader_node(log).id;
        DescribedPartition {
            partition_index,
            leader_id: leader,
            leader_epoch: wire_epoch(self.shard.leader_epoch(log)),
            replica_nodes: vec![leader],
            isr_nodes: vec![leader],
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            ..DescribedPartition::default()
        }
    }
}

fn cursor(topic_name: &str, partition: u32) -> TopicPartitionsCursor<'_> {
    TopicPartitionsCursor {
        topic_name,
        partition_index: wire_count(partition),
    }
}

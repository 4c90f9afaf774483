//! DescribeProducers: the idempotent producers that logs remember. A partition named twice is answered once.

use std::collections::BTreeSet;

use super::find_log;
use crate::broker::producer_state::PRODUCERS_MAX;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    DescribeProducersPartitionResponse, DescribeProducersRequest, DescribeProducersResponse,
    DescribeProducersTopicResponse, ProducerState,
};
use crate::shard::request::ProducerReport;

/// Memory the largest answer for one partition takes, on its way through the ring, decoded and encoded.
const PARTITION_RESERVE_BYTES: usize = PRODUCERS_MAX * 112;

/// Answers each partition for itself.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: DescribeProducersRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let named = request.topics.iter().flat_map(|topic| {
        topic
            .partition_indexes
            .iter()
            .map(move |index| (topic.name, *index))
    });
    let named: BTreeSet<(&str, i32)> = named.collect();
    let logs: Vec<_> = named
        .iter()
        .map(|(name, index)| find_log(&image, name, *index))
        .collect();
    let known: Vec<_> = logs.iter().flatten().copied().collect();
    let held = call
        .reserve(known.len().saturating_mul(PARTITION_RESERVE_BYTES))
        .await;
    let mut producers = call.shard.producers(known).await.into_iter();
    let mut topics: Vec<DescribeProducersTopicResponse<'_>> = Vec::new();
    let mut failed = false;
    for ((name, partition_index), log) in std::iter::zip(named, logs) {
        let found = log.and_then(|_| producers.next().flatten());
        failed |= found.is_none();
        let partition = partition_response(partition_index, found);
        match topics.last_mut().filter(|topic| topic.name == name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(DescribeProducersTopicResponse {
                name,
                partitions: vec![partition],
            }),
        }
    }
    if failed {
        call.count_error();
    }
    let response = DescribeProducersResponse {
        throttle_time_ms: 0,
        topics,
    };
    Ok(call.answer_holding(response, held))
}

fn partition_response(
    partition_index: i32,
    found: Option<Vec<ProducerReport>>,
) -> DescribeProducersPartitionResponse<'static> {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let (error_code, error_message) = match found {
        Some(_) => (0, None),
        None => (unknown.code(), Some(unknown.message())),
    };
    DescribeProducersPartitionResponse {
        partition_index,
        error_code,
        error_message,
        active_producers: found.unwrap_or_default().iter().map(state).collect(),
    }
}

/// Without transactions there is no coordinator whose epoch could be told.
fn state(report: &ProducerReport) -> ProducerState {
    ProducerState {
        producer_id: report.id.get(),
        producer_epoch: i32::from(report.epoch.get()),
        last_sequence: report.last_sequence,
        last_timestamp: report.used.get(),
        coordinator_epoch: -1,
        ..ProducerState::default()
    }
}

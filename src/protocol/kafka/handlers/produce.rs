//! Produce: batches in, base offsets out. The hot path.
//!
//! **Two stages.** [`begin`] checks every batch and has the good ones appended (or handed to their owners), in order;
//! the connection's reader awaits it. The future it returns waits until they are durable and makes the answer.
//!
//! **The checks**, in Kafka's order, each with its code: acks (21, whole request), transactions (53, whole request:
//! there are none yet), topic and partition (3), and then [`check_batch`] for what is inside.
//!
//! **Cost.** A request of one partition allocates the part list the shard takes, the boxed second stage and the
//! answer. Topic names are not copied: the frame is decoded a second time for the answer, in about 100 ns.
//!
//! **acks = 0** has no answer at all; any fault closes the connection so that the client looks for the cause.

use std::future::ready;

use smallvec::SmallVec;

use super::{log_of, wire_offset};
use crate::base::stages::StageTimes;
use crate::batch::Encoding;
use crate::batch::attributes::{Compression, TimestampType};
use crate::batch::kafka::{KafkaBatch, MAGIC_V2};
use crate::broker::image::Image;
use crate::broker::topic::TopicSettings;
use crate::protocol::kafka::call::{Answer, Call, Outcome, PendingAnswer};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::map;
use crate::protocol::kafka::messages::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
    TopicProduceResponse,
};
use crate::runtime::clock;
use crate::shard::request::{ProducePart, Produced};
use crate::shard::stages::ProduceTrail;
use crate::shard::{PendingProduce, count};

/// First version whose clients know zstd.
const ZSTD_SINCE: i16 = 7;

/// Partitions of a request whose fate is kept without an allocation.
const FATES_INLINE: usize = 4;

/// What became of one partition at the first stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Handed to its log, whose shard counts it.
    Sent,
    /// Refused.
    Refused(Refusal),
}

/// By partition, in the order of the request.
type Fates = SmallVec<[Fate; FATES_INLINE]>;

/// Why a batch is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Refusal {
    code: ErrorCode,
    /// For people; `None` where the code says it all.
    message: Option<&'static str>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}

/// The first stage. See the module.
pub(in crate::protocol::kafka) async fn begin(call: Call) -> PendingAnswer {
    count(&call.shard.probe().produce_requests, 1);
    let (parts, fates, acks) = match plan(&call) {
        Ok(plan) => plan,
        Err(error) => {
            tracing::debug!(%error, "malformed Produce");
            call.count_error();
            return Box::pin(ready(Answer::Close("malformed request")));
        }
    };
    let frame = std::sync::Arc::clone(&call.frame);
    let pending = if parts.is_empty() {
        None
    } else {
        Some(call.shard.produce(frame, parts).await)
    };
    let trail = ProduceTrail {
        arrival: call.arrival,
        parsed: pending
            .as_ref()
            .map_or(call.arrival.complete, PendingProduce::parsed),
    };
    if pending.is_some() {
        call.shard.probe().stages.parsed(&trail);
    }
    // Allocates: the second stage waits in the queue of its connection.
    Box::pin(finish(call, pending, fates, acks, trail))
}

/// Checks everything that can be checked without the logs.
fn plan(call: &Call) -> Result<(Vec<ProducePart>, Fates, i16), crate::protocol::kafka::wire::DecodeError> {
    let request: ProduceRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let whole = refuse_whole(&request);
    let mut parts = Vec::with_capacity(1);
    let mut fates = Fates::new();
    for topic in &request.topic_data {
        for partition in &topic.partition_data {
            let fate = match whole {
                Some(code) => Err(code.into()),
                None => check_partition(&image, topic, partition, call.version),
            };
            fates.push(match fate {
                Ok((log, batch)) => {
                    parts.push(ProducePart {
                        log,
                        batch: range_in(&call.frame, batch.bytes()),
                        encoding: Encoding::Kafka,
                    });
                    Fate::Sent
                }
                Err(refusal) => Fate::Refused(refusal),
            });
        }
    }
    Ok((parts, fates, request.acks))
}

/// The fault that fails every partition of the request, if there is one.
fn refuse_whole(request: &ProduceRequest<'_>) -> Option<ErrorCode> {
    if !(-1..=1).contains(&request.acks) {
        return Some(ErrorCode::InvalidRequiredAcks);
    }
    let transactional = request.transactional_id.is_some()
        || request
            .topic_data
            .iter()
            .flat_map(|topic| &topic.partition_data)
            .any(|partition| partition.records.is_some_and(is_transactional));
    transactional.then_some(ErrorCode::TransactionalIdAuthorizationFailed)
}

/// Whether the bytes begin like a batch of a transaction. Anything malformed is judged later.
fn is_transactional(records: &[u8]) -> bool {
    KafkaBatch::parse(records).is_ok_and(|batch| batch.attributes().is_transactional())
}

fn check_partition<'a>(
    image: &Image,
    topic: &TopicProduceData<'a>,
    partition: &PartitionProduceData<'a>,
    version: i16,
) -> Result<(crate::base::LogId, KafkaBatch<'a>), Refusal> {
    let found = image
        .topic(topic.name)
        .and_then(|found| Some((log_of(found, partition.index)?, &found.settings)));
    let Some((log, settings)) = found else {
        return Err(ErrorCode::UnknownTopicOrPartition.into());
    };
    check_batch(partition.records, version, settings).map(|batch| (log, batch))
}

/// Judges one partition's records, in Kafka's order: framing (87, 2), zstd for old clients (76), base offset (87),
/// size (10, 18), checksum (2), meaning (87, 76), timestamp type (32).
///
/// # Errors
/// The first fault.
fn check_batch<'a>(
    records: Option<&'a [u8]>,
    version: i16,
    settings: &TopicSettings,
) -> Result<KafkaBatch<'a>, Refusal> {
    let refuse = |code, message| Refusal {
        code,
        message: Some(message),
    };
    let records = records.filter(|records| !records.is_empty());
    let Some(records) = records else {
        return Err(refuse(ErrorCode::InvalidRecord, "a partition without records"));
    };
    debug_assert_eq!(MAGIC_V2, 2, "every version from 3 on carries format 2 only");
    let refuse_batch = |error| Refusal::from(map::batch_error(error));
    let batch = KafkaBatch::parse(records).map_err(refuse_batch)?;
    if version < ZSTD_SINCE && batch.attributes().compression() == Ok(Compression::Zstd) {
        let message = "zstd needs Produce version 7 or later";
        return Err(refuse(ErrorCode::UnsupportedCompressionType, message));
    }
    if batch.base_offset() != 0 {
        return Err(refuse(
            ErrorCode::InvalidRecord,
            "the base offset of a new batch is 0",
        ));
    }
    if batch.total_bytes() > settings.max_message_bytes {
        return Err(refuse(
            ErrorCode::MessageTooLarge,
            "the batch exceeds max.message.bytes",
        ));
    }
    if u64::from(batch.total_bytes()) > settings.log.segment_bytes {
        return Err(refuse(
            ErrorCode::RecordListTooLarge,
            "the batch exceeds segment.bytes",
        ));
    }
    batch.verify_crc().map_err(refuse_batch)?;
    batch.check_produced().map_err(refuse_batch)?;
    if batch.attributes().timestamp_type() == TimestampType::LogAppendTime {
        let message = "producers may not set the timestamp type to LogAppendTime";
        return Err(refuse(ErrorCode::InvalidTimestamp, message));
    }
    Ok(batch)
}

/// Where `part`, which borrows from `frame`, lies in it.
fn range_in(frame: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let start = part.as_ptr().addr() - frame.as_ptr().addr();
    start..start + part.len()
}

/// The second stage: waits for the logs and answers.
async fn finish(
    call: Call,
    pending: Option<PendingProduce>,
    fates: Fates,
    acks: i16,
    trail: ProduceTrail,
) -> Answer {
    let results = match pending {
        Some(pending) => pending.finish().await,
        None => Vec::new(),
    };
    let mut results = results.into_iter();
    let outcomes: SmallVec<[Result<Produced, Refusal>; FATES_INLINE]> = fates
        .into_iter()
        .map(|fate| match fate {
            Fate::Refused(refusal) => Err(refusal),
            // One result for each part, in order; were one missing, its batch would not be acknowledged.
            Fate::Sent => match results.next() {
                Some(Ok(produced)) => Ok(produced),
                Some(Err(error)) => Err(map::produce_error(error).into()),
                None => Err(ErrorCode::UnknownServerError.into()),
            },
        })
        .collect();
    let failed = outcomes.iter().any(Result::is_err);
    if failed {
        call.count_error();
    }
    match (acks, failed) {
        (0, true) => Answer::Close("a batch of a Produce without acks failed"),
        (0, false) => Answer::Silent,
        _ => answer(&call, &outcomes, &trail).unwrap_or(Answer::Close("malformed request")),
    }
}

fn answer(call: &Call, outcomes: &[Result<Produced, Refusal>], trail: &ProduceTrail) -> Outcome {
    let request: ProduceRequest<'_> = call.decode()?;
    let produced = outcomes.iter().flatten();
    let handoff = trail.handoff(produced.clone());
    let asks = StageTimes::is_asked(request.stages_layout);
    let stages = asks.then(|| trail.times(produced, clock::now())).flatten();
    let mut outcomes = outcomes.iter();
    let mut partition = |data: &PartitionProduceData<'_>| {
        let missing = Err(ErrorCode::UnknownServerError.into());
        partition_response(data.index, outcomes.next().unwrap_or(&missing))
    };
    let responses = request
        .topic_data
        .iter()
        .map(|topic| TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: topic.partition_data.iter().map(&mut partition).collect(),
        })
        .collect();
    let response = ProduceResponse {
        responses,
        stages,
        ..ProduceResponse::default()
    };
    Ok(call.answer(response).ending(handoff))
}

fn partition_response(index: i32, outcome: &Result<Produced, Refusal>) -> PartitionProduceResponse<'static> {
    match outcome {
        Ok(produced) => PartitionProduceResponse {
            index,
            base_offset: wire_offset(produced.base_offset),
            log_start_offset: wire_offset(produced.log_start),
            ..PartitionProduceResponse::default()
        },
        Err(refusal) => PartitionProduceResponse {
            index,
            error_code: refusal.code.code(),
            base_offset: -1,
            error_message: Some(refusal.message.unwrap_or_else(|| refusal.code.message())),
            ..PartitionProduceResponse::default()
        },
    }
}

#[cfg(test)]
mod tests;

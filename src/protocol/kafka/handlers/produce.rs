//! Produce: batches in, base offsets out. The hot path.
//!
//! **Two stages.** [`begin`] checks every batch and has the good ones appended (or handed to their owners), in order;
//! the connection's reader awaits it. The future it returns waits until they are durable and makes the answer.
//!
//! **The checks**, in Kafka's order, each with its code: acks (21, whole request), transactions (53, whole request:
//! there are none yet), topic and partition (3, or 100 for an id), and then [`check_batch`] for what is inside.
//!
//! **Rewriting.** A topic may store with a codec of its own; batches that came with another are made anew in a frame beside
//! the client's (`records`), and handed to the logs with it. Topics that leave the codec to producers pay nothing.
//!
//! **Cost.** A request of one partition allocates the part list the shard takes, the boxed second stage and the
//! answer. Topic names are not copied: the frame is decoded a second time for the answer, in about 100 ns.
//!
//! **acks = 0** has no answer at all; any fault closes the connection so that the client looks for the cause.

mod check;
mod records;

use std::future::ready;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{log_of, wire_offset};
use crate::base::stages::StageTimes;
use crate::base::{LogId, Timestamp};
use crate::batch::Encoding;
use crate::batch::kafka::KafkaBatch;
use crate::broker::admission::RecordFault;
use crate::broker::image::Image;
use crate::protocol::kafka::call::{Answer, Call, Outcome, PendingAnswer};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::map;
use crate::protocol::kafka::messages::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use crate::runtime::clock;
use crate::runtime::local::Permit;
use crate::shard::request::{ProduceError, ProducePart, Produced};
use crate::shard::stages::ProduceTrail;
use crate::shard::{PendingProduce, count};
use check::{Passed, Terms, check_batch};
use records::Rewrites;

/// First version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 13;

/// Partitions of a request whose fate is kept without an allocation.
const FATES_INLINE: usize = 4;

/// What became of one partition at the first stage.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fate {
    /// Handed to its log, whose shard counts it.
    Sent,
    /// Compressed anew and handed to its log.
    Rewritten,
    /// Refused.
    Refused(Refusal),
}

/// By partition, in the order of the request.
type Fates = SmallVec<[Fate; FATES_INLINE]>;

/// Why a batch is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Refusal {
    code: ErrorCode,
    /// For people; `None` where the code says it all.
    message: Option<&'static str>,
    /// The records at fault by their index, where single records are.
    records: Vec<(i32, RecordFault)>,
}

impl Refusal {
    const fn new(code: ErrorCode, message: &'static str) -> Self {
        Self {
            code,
            message: Some(message),
            records: Vec::new(),
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
            records: Vec::new(),
        }
    }
}

/// What the first stage came to.
struct Plan<'c> {
    /// Batches in the client's frame.
    parts: Vec<ProducePart>,
    /// Batches in a frame of their own.
    rewritten: Vec<ProducePart>,
    rewrites: Rewrites<'c>,
    fates: Fates,
    acks: i16,
}

/// Batches on their way to their logs.
struct Pending {
    sent: Option<PendingProduce>,
    rewritten: Option<PendingProduce>,
    /// The memory of the rewritten batches, held until their logs have them.
    held: Vec<Permit>,
}

/// The first stage. See the module.
pub(in crate::protocol::kafka) async fn begin(call: Call) -> PendingAnswer {
    count(&call.shard.probe().produce_requests, 1);
    let plan = match plan(&call).await {
        Ok(plan) => plan,
        Err(error) => {
            tracing::debug!(%error, "malformed Produce");
            call.count_error();
            return Box::pin(ready(Answer::Close("malformed request")));
        }
    };
    let (fates, acks) = (plan.fates, plan.acks);
    let sent = match plan.parts {
        parts if parts.is_empty() => None,
        parts => Some(call.shard.produce(Arc::clone(&call.frame), parts).await),
    };
    let (rewritten, held) = match plan.rewritten {
        parts if parts.is_empty() => (None, Vec::new()),
        parts => {
            let (frame, held) = plan.rewrites.into_parts();
            (Some(call.shard.produce(Arc::new(frame), parts).await), held)
        }
    };
    let trail = ProduceTrail {
        arrival: call.arrival,
        parsed: sent
            .as_ref()
            .or(rewritten.as_ref())
            .map_or(call.arrival.complete, PendingProduce::parsed),
    };
    if sent.is_some() || rewritten.is_some() {
        call.shard.probe().stages.parsed(&trail);
    }
    let pending = Pending {
        sent,
        rewritten,
        held,
    };
    // Allocates: the second stage waits in the queue of its connection.
    Box::pin(finish(call, pending, fates, acks, trail))
}

/// Checks everything that can be checked without the logs. Batches that have to be opened may open to a thousand times their
/// size, so others get their turn in between.
async fn plan(call: &Call) -> Result<Plan<'_>, crate::protocol::kafka::wire::DecodeError> {
    let request: ProduceRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let whole = refuse_whole(&request);
    let terms = Terms {
        version: call.version,
        acks: request.acks,
        now: call.shard.time_for_stamps(),
    };
    let mut plan = Plan {
        parts: Vec::with_capacity(1),
        rewritten: Vec::new(),
        rewrites: Rewrites::new(call.shard.response_budget()),
        fates: Fates::new(),
        acks: request.acks,
    };
    for topic in &request.topic_data {
        for partition in &topic.partition_data {
            let fate = match whole {
                Some(code) => Err(code.into()),
                None => check_partition(&image, topic, partition, terms, &mut plan.rewrites),
            };
            let part = |log, batch| ProducePart {
                log,
                batch,
                encoding: Encoding::Kafka,
            };
            plan.fates.push(match fate {
                Ok((log, Passed::AsSent(batch))) => {
                    plan.parts.push(part(log, range_in(&call.frame, batch.bytes())));
                    Fate::Sent
                }
                Ok((log, Passed::Rewritten(range))) => {
                    plan.rewritten.push(part(log, range));
                    Fate::Rewritten
                }
                Err(refusal) => Fate::Refused(refusal),
            });
            plan.rewrites.give_way().await;
        }
    }
    Ok(plan)
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
    terms: Terms,
    rewrites: &mut Rewrites<'_>,
) -> Result<(LogId, Passed<'a>), Refusal> {
    let found = if terms.version < TOPIC_IDS_SINCE {
        image.topic(topic.name)
    } else {
        let found = image.topic_by_id(topic.topic_id);
        Some(found.ok_or(ErrorCode::UnknownTopicId)?)
    };
    let found = found.and_then(|found| Some((log_of(found, partition.index)?, found)));
    let Some((log, found)) = found else {
        return Err(ErrorCode::UnknownTopicOrPartition.into());
    };
    check_batch(partition.records, found, terms, rewrites).map(|passed| (log, passed))
}

/// Where `part`, which borrows from `frame`, lies in it.
fn range_in(frame: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let start = part.as_ptr().addr() - frame.as_ptr().addr();
    start..start + part.len()
}

/// The second stage: waits for the logs and answers.
async fn finish(call: Call, pending: Pending, fates: Fates, acks: i16, trail: ProduceTrail) -> Answer {
    let mut sent = results_of(pending.sent).await;
    let mut rewritten = results_of(pending.rewritten).await;
    drop(pending.held);
    // One result for each part, in order; were one missing, its batch would not be acknowledged.
    let outcome = |result: Option<Result<Produced, ProduceError>>| match result {
        Some(Ok(produced)) => Ok(produced),
        Some(Err(error)) => Err(map::produce_error(error).into()),
        None => Err(ErrorCode::UnknownServerError.into()),
    };
    let outcomes: SmallVec<[Result<Produced, Refusal>; FATES_INLINE]> = fates
        .into_iter()
        .map(|fate| match fate {
            Fate::Refused(refusal) => Err(refusal),
            Fate::Sent => outcome(sent.next()),
            Fate::Rewritten => outcome(rewritten.next()),
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

/// What became of the batches of one frame, in their order.
async fn results_of(pending: Option<PendingProduce>) -> std::vec::IntoIter<Result<Produced, ProduceError>> {
    match pending {
        Some(pending) => pending.finish().await.into_iter(),
        None => Vec::new().into_iter(),
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
            log_append_time_ms: produced.append_time.map_or(-1, Timestamp::get),
            log_start_offset: wire_offset(produced.log_start),
            ..PartitionProduceResponse::default()
        },
        Err(refusal) => PartitionProduceResponse {
            index,
            error_code: refusal.code.code(),
            base_offset: -1,
            record_errors: refusal.records.iter().map(record_error).collect(),
            error_message: Some(refusal.message.unwrap_or_else(|| refusal.code.message())),
            ..PartitionProduceResponse::default()
        },
    }
}

fn record_error((index, fault): &(i32, RecordFault)) -> BatchIndexAndErrorMessage<'static> {
    BatchIndexAndErrorMessage {
        batch_index: *index,
        batch_index_error_message: Some(fault.message()),
    }
}

#[cfg(test)]
mod tests;

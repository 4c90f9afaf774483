//! Produce: batches in, base offsets out. The hot path.
//!
//! **Two stages.** [`begin`] checks every batch and has the good ones appended (or handed to their owners), in order; the
//! connection's reader awaits it. The future it queues waits until they are as safe as their topics promise.
//!
//! **The checks of one batch**, once, on arrival, in this order: header checksum and form (a run that cannot be walked
//! refuses the whole request), topic and partition, encoding and the fields that are the broker's, size, payload checksum,
//! structure of the archive, record count and timestamps against the records, and what the topic asks of its records
//! ([`RecordRules`], the same for every door). Nothing is looked at again before a disk gave the bytes back.
//!
//! Absent: `compression.type`. A native batch is stored as it came; the codecs are for Kafka's batches.

use std::ops::Range;
use std::rc::Rc;

use smallvec::SmallVec;

use super::{Connection, Refusal, Request};
use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::batch::{Attributes, BatchHeader, Contents, Encoding, HEADER_BYTES};
use crate::broker::admission::{RecordRules, enough_replicas};
use crate::broker::image::Image;
use crate::broker::topic::{TopicSettings, is_internal};
use crate::protocol::native::batches::{Batch, BatchError};
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::map;
use crate::protocol::native::messages::{Acks, Produce, Produced, ProducedEntry};
use crate::protocol::native::outbox::Answer;
use crate::runtime::clock;
use crate::runtime::local::Permit;
use crate::shard::request::ProducePart;
use crate::shard::stages::ProduceTrail;
use crate::shard::{PendingProduce, count};

/// Batches of a request whose fate is kept without an allocation.
const FATES_INLINE: usize = 4;

/// By batch, in the order of the request: why it was refused, `None` when it was handed to its log.
type Fates = SmallVec<[Option<ErrorCode>; FATES_INLINE]>;

/// What the request comes to.
struct Plan {
    parts: Vec<ProducePart>,
    fates: Fates,
    acks: Acks,
    stages: bool,
}

/// The first stage. See the module.
pub(super) async fn begin(connection: &Rc<Connection>, request: Request, memory: Permit) {
    let probe = connection.shard.probe();
    count(&probe.produce_requests, 1);
    let correlation = request.head.correlation;
    let plan = match plan(
        &request,
        &connection.shard.image(),
        connection.shard.time_for_stamps(),
    ) {
        Ok(plan) => plan,
        Err(refusal) => {
            let answer = refusal.answer(connection, correlation);
            connection.outbox.answer_now(answer, memory);
            return;
        }
    };
    let pending = if plan.parts.is_empty() {
        None
    } else {
        let frame = std::sync::Arc::clone(&request.memory);
        Some(connection.shard.produce(frame, plan.parts).await)
    };
    let trail = ProduceTrail {
        arrival: request.arrival,
        parsed: pending
            .as_ref()
            .map_or(request.arrival.complete, PendingProduce::parsed),
    };
    if pending.is_some() {
        probe.stages.parsed(&trail);
    }
    let finish = Finish {
        connection: Rc::clone(connection),
        correlation,
        fates: plan.fates,
        acks: plan.acks,
        stages: plan.stages,
        trail,
    };
    // Allocates: the second stage waits in the queue of its connection.
    connection.outbox.answer(Box::pin(finish.run(pending)), memory);
}

/// Checks everything that can be checked without the logs.
fn plan(request: &Request, image: &Image, now: Timestamp) -> Result<Plan, Refusal> {
    let frame = request.frame();
    let produce = Produce::decode(&frame)?;
    let mut plan = Plan {
        parts: Vec::with_capacity(1),
        fates: Fates::new(),
        acks: produce.acks,
        stages: produce.stages,
    };
    let mut found = 0;
    for batch in produce.batches {
        let batch = batch.map_err(|error: BatchError| {
            Refusal::new(ErrorCode::InvalidBatch, format!("batch {found}: {error}"))
        })?;
        found += 1;
        if found > produce.batch_count {
            break;
        }
        let fate = check(&batch, image, produce.acks, now);
        plan.fates.push(fate.err());
        if fate.is_ok() {
            plan.parts.push(ProducePart {
                log: batch.header.log,
                batch: range_in(&request.memory, &batch),
                encoding: Encoding::Rkyv,
            });
        }
    }
    if found != produce.batch_count {
        let text = format!("{} batches are announced, others are there", produce.batch_count);
        return Err(Refusal::new(ErrorCode::Malformed, text));
    }
    Ok(plan)
}

/// Where header and payload of a batch lie in its frame; the padding is made anew.
fn range_in(memory: &[u8], batch: &Batch<'_>) -> Range<usize> {
    let start = batch.frame.as_ptr().addr() - memory.as_ptr().addr();
    start..start + HEADER_BYTES + batch.payload.len()
}

/// Judges one batch.
///
/// # Errors
/// The first fault.
fn check(batch: &Batch<'_>, image: &Image, acks: Acks, now: Timestamp) -> Result<(), ErrorCode> {
    let log = batch.header.log;
    let topic = image
        .topic_by_id(log.topic)
        .filter(|topic| log.partition.get() < topic.partitions)
        .ok_or(ErrorCode::UnknownPartition)?;
    if is_internal(&topic.name) {
        return Err(ErrorCode::InvalidTopic);
    }
    if acks == Acks::Durable && !enough_replicas(&topic.settings) {
        return Err(ErrorCode::NotEnoughReplicas);
    }
    check_header(&batch.header)?;
    check_size(batch, &topic.settings)?;
    batch.verify().map_err(|_| ErrorCode::CorruptBatch)?;
    check_records(batch, RecordRules::of(&topic.settings, now))
}

/// What the broker says is not the client's to say, and what native batches do not have is not there.
fn check_header(header: &BatchHeader) -> Result<(), ErrorCode> {
    let unplaced = header.base_offset == Offset::ZERO
        && header.durable_end == Offset::ZERO
        && header.leader_epoch == LeaderEpoch::ZERO
        && header.append_time == Timestamp::ZERO
        && header.contents == Contents::AsAppended
        && header.delete_horizon.is_none();
    let plain = header.encoding == Encoding::Rkyv && header.attributes == Attributes::default();
    let producer = header
        .producer
        .is_none_or(|producer| producer.epoch.get() >= 0 && producer.base_sequence >= 0);
    if unplaced && plain && producer {
        Ok(())
    } else {
        Err(ErrorCode::InvalidBatch)
    }
}

fn check_size(batch: &Batch<'_>, settings: &TopicSettings) -> Result<(), ErrorCode> {
    let bytes = (HEADER_BYTES + batch.payload.len()) as u64;
    if bytes > u64::from(settings.max_message_bytes) || bytes > settings.log.segment_bytes {
        return Err(ErrorCode::BatchTooLarge);
    }
    Ok(())
}

/// Structure, and what the header says of the records.
fn check_records(batch: &Batch<'_>, rules: RecordRules) -> Result<(), ErrorCode> {
    let header = &batch.header;
    let view = batch.records().map_err(|_| ErrorCode::InvalidBatch)?;
    let first = view.get(0).map(|record| record.timestamp);
    let agrees = u32::try_from(view.len()) == Ok(header.record_count)
        && first == Some(header.first_timestamp)
        && view.max_timestamp() == header.max_timestamp;
    let taken = || {
        let mut records = (0..view.len()).filter_map(|index| view.get(index));
        rules.take_latest(header.max_timestamp)
            && (!rules.need_records()
                || records.all(|record| rules.judge(record.key.is_some(), record.timestamp).is_none()))
    };
    if agrees && taken() {
        Ok(())
    } else {
        Err(ErrorCode::InvalidBatch)
    }
}

/// The second stage.
struct Finish {
    connection: Rc<Connection>,
    correlation: u64,
    fates: Fates,
    acks: Acks,
    stages: bool,
    trail: ProduceTrail,
}

impl Finish {
    async fn run(self, pending: Option<PendingProduce>) -> Answer {
        let results = match pending {
            Some(pending) => pending.finish().await,
            None => Vec::new(),
        };
        let produced = results.iter().flatten();
        let handoff = self.trail.handoff(produced.clone());
        let stages = self
            .stages
            .then(|| self.trail.times(produced, clock::now()))
            .flatten();
        let mut results = results.iter();
        let mut entry = |fate: &Option<ErrorCode>| match fate {
            Some(code) => ProducedEntry::refused(*code),
            // One result for each part, in order; were one missing, its batch would not be acknowledged.
            None => match results.next() {
                Some(Ok(produced)) => ProducedEntry::safe(produced.base_offset, produced.log_start),
                Some(Err(error)) => ProducedEntry::refused(map::produce_error(*error)),
                None => ProducedEntry::refused(ErrorCode::Internal),
            },
        };
        let entries: SmallVec<[ProducedEntry; FATES_INLINE]> = self.fates.iter().map(&mut entry).collect();
        if entries.iter().any(|entry| entry.error != 0) {
            self.connection.count_error();
        }
        if self.acks == Acks::None {
            return Answer::default();
        }
        let mut frame = Vec::new();
        Produced::encode(&mut frame, self.correlation, entries.into_iter(), stages)
            .expect("the bounds of a request keep its answer small");
        Answer {
            handoff: Some(handoff),
            ..Answer::of(frame)
        }
    }
}

#[cfg(test)]
mod tests;

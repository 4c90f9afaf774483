//! Fetch: batches out, waiting for them if the client wants.
//!
//! **The loop.** Read everything asked for; if it is less than `min_bytes` and there is time, wait until one of the
//! logs moves past what was seen ([`crate::shard::Shard::watch`], no polling), and read again. The wait ends early when
//! a request that is not a Fetch queues up behind this one, when the broker stops and when the client leaves.
//!
//! **Memory.** Response bytes are reserved before they are read and held until they are written; while waiting nothing
//! is held. Fetches that one connection sends ahead are read one after the other, each when its answer is next to leave
//! (why: `Outbox`). The first batch of an answer is sent whole even when it exceeds every limit (KIP-74), or a consumer could
//! never pass it.
//!
//! **Sessions** are declined by answering session id 0; a request that continues one is told that it is gone.
//! **Transactions** do not exist yet: the last stable offset is the high watermark and nothing is aborted.

use std::time::Duration;

use futures_lite::future::or;

use super::{log_of, wire_offset};
use crate::base::stages::StageTimes;
use crate::base::{LogId, Offset};
use crate::batch::attributes::Compression;
use crate::broker::topic::{StoredCompression, Topic};
use crate::protocol::kafka::call::{Answer, Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::map;
use crate::protocol::kafka::messages::{
    FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::protocol::kafka::wire::Records;
use crate::runtime::local::Permit;
use crate::runtime::{clock, executor};
use crate::shard::count;
use crate::shard::request::{Bounds, PartRead, ReadLimits, ReadPart};
use crate::shard::stages::{Handoff, ReadTrail};
use crate::storage::read::ReadFormat;

/// First version whose clients know zstd.
const ZSTD_SINCE: i16 = 10;

/// Most bytes of one answer, whatever the client asks for; Kafka's `fetch.max.bytes`.
const FETCH_BYTES_MAX: usize = 55 << 20;

/// One answer takes at most this part of the response budget, so that a few large ones do not take turns.
const BUDGET_SHARE: usize = 4;

/// Longest wait, whatever the client asks for: a peer that vanished without a word holds its place no longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Pause before reading again for a client that wants more than the first byte: it bounds how often the same bytes
/// are read while they trickle in.
const REREAD_PAUSE: Duration = Duration::from_millis(10);

/// The isolation level that wants to know about aborted transactions.
const READ_COMMITTED: i8 = 1;

/// One partition of the request.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// To be read; the next part in order.
    Read(LogId),
    /// Refused before reading.
    Refused(ErrorCode),
}

/// What the request comes to.
struct Plan {
    /// By partition, in the order of the request.
    targets: Vec<Target>,
    parts: Vec<ReadPart>,
    limits: ReadLimits,
    /// Bytes to reserve for reading them.
    reserve: usize,
}

/// Answers a Fetch, now or when there is something to say.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    count(&call.shard.probe().fetch_requests, 1);
    let request: FetchRequest<'_> = call.decode()?;
    // 0 opens a session and -1 declines one; anything else continues a session we never gave.
    if request.session_epoch > 0 {
        call.count_error();
        return Ok(call.answer(FetchResponse {
            error_code: ErrorCode::FetchSessionIdNotFound.code(),
            ..FetchResponse::default()
        }));
    }
    let plan = plan(&call, &request);
    let found = read(&call, &request, &plan).await;
    Ok(answer(&call, &request, &plan, found))
}

fn plan(call: &Call, request: &FetchRequest<'_>) -> Plan {
    let image = call.shard.image();
    let mut targets = Vec::new();
    let mut parts = Vec::new();
    let (mut wanted, mut largest_batch) = (0usize, 0usize);
    for topic in &request.topics {
        let found = image.topic(topic.topic);
        for partition in &topic.partitions {
            let log = found.and_then(|found| log_of(found, partition.partition));
            let target = match found {
                Some(found) if call.version < ZSTD_SINCE && stores_zstd(found) => {
                    Target::Refused(ErrorCode::UnsupportedCompressionType)
                }
                _ => target(log, partition),
            };
            if let (Target::Read(log), Some(found), Ok(offset)) =
                (target, found, u64::try_from(partition.fetch_offset))
            {
                let max_bytes = usize::try_from(partition.partition_max_bytes).unwrap_or(0);
                wanted = wanted.saturating_add(max_bytes);
                largest_batch =
                    largest_batch.max(usize::try_from(found.settings.max_message_bytes).unwrap_or(0));
                parts.push(ReadPart {
                    log,
                    offset: Offset::new(offset),
                    max_bytes,
                });
            }
            targets.push(target);
        }
    }
    let share = call.shard.response_budget().limit() / BUDGET_SHARE;
    let max_bytes = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(FETCH_BYTES_MAX)
        .min(share);
    Plan {
        targets,
        parts,
        limits: ReadLimits {
            max_bytes,
            oversized_first: true,
            format: ReadFormat::Kafka,
        },
        // The first batch may exceed `max_bytes`; the topic bounds by how much.
        reserve: wanted.min(max_bytes).max(largest_batch.min(share)),
    }
}

/// Whether the broker itself compresses what the topic stores with zstd.
fn stores_zstd(topic: &Topic) -> bool {
    matches!(
        topic.settings.compression,
        StoredCompression::Broker {
            codec: Compression::Zstd,
            ..
        }
    )
}

fn target(log: Option<LogId>, partition: &FetchPartition) -> Target {
    match log {
        None => Target::Refused(ErrorCode::UnknownTopicOrPartition),
        Some(_) if partition.fetch_offset < 0 => Target::Refused(ErrorCode::OffsetOutOfRange),
        Some(log) => Target::Read(log),
    }
}

/// What reading came to.
#[derive(Default)]
struct Found {
    /// By partition read, in the order of the request.
    reads: Vec<PartRead>,
    held: Option<Permit>,
    /// `None` where there was nothing to read.
    trail: Option<ReadTrail>,
}

/// Reads until there is enough, something to report, or no more time.
async fn read(call: &Call, request: &FetchRequest<'_>, plan: &Plan) -> Found {
    if plan.parts.is_empty() {
        return Found::default();
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let min_bytes = usize::try_from(request.min_bytes)
        .unwrap_or(0)
        .min(plan.limits.max_bytes);
    let refused = plan
        .targets
        .iter()
        .any(|target| matches!(target, Target::Refused(_)));
    let asked = call.arrival.complete;
    let mut waited_ns = 0;
    loop {
        let mut held = call.reserve(plan.reserve).await;
        // Allocates: the shard takes the parts, which may cross to other cores, and this loop may need them again.
        let reads = call.shard.read(plan.parts.clone(), plan.limits).await;
        let bytes: usize = reads
            .iter()
            .filter_map(|read| read.records.as_ref().ok())
            .map(Vec::len)
            .sum();
        let failed = refused
            || std::iter::zip(partitions_read(request, plan), &reads).any(|(p, read)| is_fault(p, read));
        let found = clock::now();
        let passed = found.since(asked);
        if failed || bytes >= min_bytes || passed >= wait || call.outbox.is_hurried(call.sequence) {
            held.shrink_to(bytes);
            let trail = ReadTrail {
                asked,
                waited_ns,
                found,
            };
            return Found {
                reads,
                held: Some(held),
                trail: Some(trail),
            };
        }
        let seen: Vec<_> = std::iter::zip(&plan.parts, &reads)
            .map(|(part, read)| seen(part, read))
            .collect();
        drop((reads, held));
        wait_for_more(call, &seen, wait.saturating_sub(passed)).await;
        if min_bytes > 1 && !call.outbox.is_hurried(call.sequence) {
            executor::sleep(REREAD_PAUSE.min(wait.saturating_sub(clock::now().since(asked)))).await;
        }
        waited_ns += clock::now().ns_since(found);
    }
}

/// The partitions of the request that were read, in the order of the reads.
fn partitions_read<'a>(
    request: &'a FetchRequest<'_>,
    plan: &'a Plan,
) -> impl Iterator<Item = &'a FetchPartition> {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    std::iter::zip(partitions, &plan.targets)
        .filter(|(_, target)| matches!(target, Target::Read(_)))
        .map(|(partition, _)| partition)
}

/// Whether this read is an error to report at once.
fn is_fault(partition: &FetchPartition, read: &PartRead) -> bool {
    let fenced = |bounds: Bounds| map::fence(partition.current_leader_epoch, bounds.epoch).is_some();
    read.records.is_err() || read.bounds.is_none_or(fenced)
}

/// The log and the end of what this read could see of it.
fn seen(part: &ReadPart, read: &PartRead) -> (LogId, Offset) {
    let high_watermark = read.bounds.map_or(part.offset, |bounds| bounds.high_watermark);
    (part.log, part.offset.max(high_watermark))
}

/// Waits until one of the logs moves, time is up, or nobody wants to wait any longer.
async fn wait_for_more(call: &Call, seen: &[(LogId, Offset)], limit: Duration) {
    let moved = async {
        let watch = call.shard.watch(seen).await;
        watch.fired().await;
    };
    // A time-out is as good a reason to look again as any.
    let _timed_out = executor::timeout(limit, or(moved, call.outbox.hurried(call.sequence))).await;
}

fn answer(call: &Call, request: &FetchRequest<'_>, plan: &Plan, found: Found) -> Answer {
    let mut targets = plan.targets.iter();
    let mut reads = found.reads.into_iter();
    let mut failed = false;
    let mut bytes = 0;
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let outcome = match targets.next() {
                Some(Target::Read(_)) => reads.next().map_or(Err(ErrorCode::UnknownServerError), |read| {
                    records_of(partition, read)
                }),
                Some(Target::Refused(code)) => Err(*code),
                None => Err(ErrorCode::UnknownServerError),
            };
            failed |= outcome.is_err();
            bytes += outcome.as_ref().map_or(0, |(records, _)| records.len());
            partitions.push(partition_data(request, partition, outcome));
        }
        responses.push(FetchableTopicResponse {
            topic: topic.topic,
            topic_id: topic.topic_id,
            partitions,
        });
    }
    if failed {
        call.count_error();
    }
    count(
        &call.shard.probe().bytes_fetched,
        u64::try_from(bytes).unwrap_or(0),
    );
    let asks = StageTimes::is_asked(request.stages_layout);
    let response = FetchResponse {
        responses,
        stages: found
            .trail
            .filter(|_| asks)
            .map(|trail| trail.times(clock::now())),
        ..FetchResponse::default()
    };
    let answer = match found.held {
        Some(held) => call.answer_holding(response, held),
        None => call.answer(response),
    };
    match found.trail {
        // An answer without records found nothing and sends nothing.
        Some(trail) if bytes > 0 => {
            call.shard.probe().stages.found(&trail);
            answer.ending(Handoff::Found(trail.found))
        }
        _ => answer,
    }
}

/// The records of one partition, unless the client's epoch forbids them.
fn records_of(partition: &FetchPartition, read: PartRead) -> Result<(Vec<u8>, Bounds), ErrorCode> {
    let bounds = read.bounds.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if let Some(fenced) = map::fence(partition.current_leader_epoch, bounds.epoch) {
        return Err(fenced);
    }
    // What producers compressed with zstd goes to old clients too, as from Kafka: it refuses them only where the topic
    // itself is configured for zstd (KIP-110).
    let records = read.records.map_err(map::read_failure)?;
    Ok((records, bounds))
}

fn partition_data(
    request: &FetchRequest<'_>,
    partition: &FetchPartition,
    outcome: Result<(Vec<u8>, Bounds), ErrorCode>,
) -> PartitionData<'static> {
    let partition_index = partition.partition;
    match outcome {
        Ok((records, bounds)) => PartitionData {
            partition_index,
            high_watermark: wire_offset(bounds.high_watermark),
            last_stable_offset: wire_offset(bounds.high_watermark),
            log_start_offset: wire_offset(bounds.log_start),
            aborted_transactions: (request.isolation_level == READ_COMMITTED).then(Vec::new),
            records: Records::Chunk(records),
            ..PartitionData::default()
        },
        Err(code) => PartitionData {
            partition_index,
            error_code: code.code(),
            high_watermark: -1,
            ..PartitionData::default()
        },
    }
}

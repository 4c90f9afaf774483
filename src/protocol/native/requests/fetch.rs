//! Fetch: stored batches, as many as asked for and there.
//!
//! A fetch that finds less than its `min_bytes` waits: it holds no memory and no ring credit meanwhile, only a watch. The
//! wait ends with records, an error, its time, or a later request on the connection that is no fetch.

use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::or;

use super::{Connection, Refusal, Request};
use crate::base::{LogId, Offset};
use crate::broker::image::Image;
use crate::protocol::native::frame::Kind;
use crate::protocol::native::map;
use crate::protocol::native::messages::{Fetch, FetchedEntry, encode_fetched_before};
use crate::protocol::native::outbox::Answer;
use crate::runtime::local::Permit;
use crate::runtime::{clock, executor};
use crate::shard::count;
use crate::shard::request::{PartRead, ReadLimits, ReadPart};
use crate::shard::stages::{Handoff, ReadTrail};
use crate::storage::read::ReadFormat;

/// Most bytes of one answer, whatever the client asks for.
const FETCH_BYTES_MAX: usize = 64 << 20;

/// One answer takes at most this share of the shard's response memory: one in this many bytes.
pub(super) const BUDGET_SHARE: usize = 4;

/// Longest wait, whatever the client asks for.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Pause before looking again for a fetch that wants more than a first record, so that records that trickle in are not read
/// again for each.
const REREAD_PAUSE: Duration = Duration::from_millis(10);

/// What was read and the memory it holds.
struct Found {
    reads: Vec<PartRead>,
    held: Permit,
    trail: ReadTrail,
}

pub(super) async fn handle(connection: Rc<Connection>, request: Request) -> Result<Answer, Refusal> {
    let shard = &connection.shard;
    count(&shard.probe().fetch_requests, 1);
    let frame = request.frame();
    let fetch = Fetch::decode(&frame)?;
    let parts: Vec<ReadPart> = fetch
        .entries
        .iter()
        .map(|entry| ReadPart {
            log: entry.log(),
            offset: Offset::new(entry.offset),
            max_bytes: entry.max_bytes as usize,
            last_epoch: None,
        })
        .collect();
    let share = shard.response_budget().limit() / BUDGET_SHARE;
    let limits = ReadLimits {
        max_bytes: (fetch.head.max_bytes as usize).min(FETCH_BYTES_MAX).min(share),
        oversized_first: true,
        format: ReadFormat::Frames,
    };
    let logs = parts.iter().map(|part| part.log);
    let largest = largest_batch(&shard.image(), logs).min(share);
    let wanted = parts
        .iter()
        .map(|part| part.max_bytes)
        .fold(0, usize::saturating_add);
    let reserve = wanted.min(limits.max_bytes).max(largest);
    let wait = Duration::from_millis(fetch.head.max_wait_ms.into()).min(WAIT_MAX);
    let min_bytes = (fetch.head.min_bytes as usize).min(limits.max_bytes);
    let found = read(&connection, &request, &parts, limits, reserve, min_bytes, wait).await;
    answer(&connection, request.head.correlation, &parts, found)
}

/// The largest batch any of `logs` may hold, stored.
pub(in crate::protocol::native) fn largest_batch(image: &Image, logs: impl Iterator<Item = LogId>) -> usize {
    let largest = logs
        .filter_map(|log| image.topic_by_id(log.topic))
        .map(|topic| topic.settings.max_message_bytes)
        .max();
    crate::batch::HEADER_BYTES + crate::batch::FRAME_ALIGN + largest.unwrap_or(0) as usize
}

/// Bytes of records in `reads`.
fn bytes_of(reads: &[PartRead]) -> usize {
    reads.iter().flat_map(|read| &read.records).map(Vec::len).sum()
}

/// Reads until there is enough, something to report, or no more time.
async fn read(
    connection: &Connection,
    request: &Request,
    parts: &[ReadPart],
    limits: ReadLimits,
    reserve: usize,
    min_bytes: usize,
    wait: Duration,
) -> Found {
    let asked = request.arrival.complete;
    let mut waited_ns = 0;
    loop {
        let mut held = connection.reserve(reserve).await;
        // Allocates: the shard takes the parts, which may cross to other cores, and this loop may need them again.
        let reads = connection.shard.read(parts.to_vec(), limits).await;
        let bytes = bytes_of(&reads);
        let failed = reads.iter().any(|read| read.records.is_err());
        let found = clock::now();
        let passed = found.since(asked);
        let hurried = connection.outbox.is_hurried(request.sequence);
        if failed || bytes >= min_bytes || passed >= wait || hurried {
            held.shrink_to(bytes);
            let trail = ReadTrail {
                asked,
                waited_ns,
                found,
            };
            return Found { reads, held, trail };
        }
        let seen = seen(parts, &reads);
        drop((reads, held));
        let moved = async { connection.shard.watch(&seen).await.fired().await };
        let hurried = connection.outbox.hurried(request.sequence);
        // A time-out is as good a reason to look again as any.
        let _timed_out = executor::timeout(wait.saturating_sub(passed), or(moved, hurried)).await;
        if min_bytes > 1 && !connection.outbox.is_hurried(request.sequence) {
            executor::sleep(REREAD_PAUSE.min(wait.saturating_sub(clock::now().since(asked)))).await;
        }
        waited_ns += clock::now().ns_since(found);
    }
}

/// Each log and the end of what these reads could see of it.
fn seen(parts: &[ReadPart], reads: &[PartRead]) -> Vec<(LogId, Offset)> {
    let end = |part: &ReadPart, read: &PartRead| {
        let high_watermark = read.bounds.map_or(part.offset, |bounds| bounds.high_watermark);
        (part.log, part.offset.max(high_watermark))
    };
    std::iter::zip(parts, reads)
        .map(|(part, read)| end(part, read))
        .collect()
}

/// What the wire says of one partition that was read.
pub(in crate::protocol::native) fn entry_of(log: LogId, read: &PartRead) -> FetchedEntry {
    let bounds = read.bounds.unwrap_or_default();
    let (bytes, error) = match &read.records {
        Ok(records) => (records.len(), 0),
        Err(failure) => (0, map::read_failure(*failure).code()),
    };
    FetchedEntry {
        topic_id: log.topic.to_bytes(),
        partition: log.partition.get(),
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        log_start: bounds.log_start.get(),
        high_watermark: bounds.high_watermark.get(),
        leader_epoch: bounds.epoch.get(),
        error,
    }
}

fn answer(
    connection: &Connection,
    correlation: u64,
    parts: &[ReadPart],
    found: Found,
) -> Result<Answer, Refusal> {
    let probe = connection.shard.probe();
    let entries: Vec<FetchedEntry> = std::iter::zip(parts, &found.reads)
        .map(|(part, read)| entry_of(part.log, read))
        .collect();
    if entries.iter().any(|entry| entry.error != 0) {
        connection.count_error();
    }
    let mut frame = Vec::new();
    encode_fetched_before(&mut frame, Kind::Fetched, correlation, &entries)?;
    let bytes = bytes_of(&found.reads);
    count(&probe.bytes_fetched, bytes as u64);
    // An answer without records found nothing and sends nothing.
    let handoff = (bytes > 0).then(|| {
        probe.stages.found(&found.trail);
        Handoff::Found(found.trail.found)
    });
    Ok(Answer {
        batches: found.reads.into_iter().flat_map(|read| read.records).collect(),
        held: vec![found.held],
        handoff,
        ..Answer::of(frame)
    })
}

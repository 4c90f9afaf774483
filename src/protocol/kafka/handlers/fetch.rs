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
//! **Sessions**: what to fetch comes from the request or from its session, and the session leaves out what it has told
//! ([`crate::protocol::kafka::fetch_session`]).
//! **Topics** go by name until version 12 and by id from version 13 on. An id nobody has is answered with
//! `UNKNOWN_TOPIC_ID` for each partition; since logs are found by topic id, a name never leads to another topic's log and
//! `INCONSISTENT_TOPIC_ID` cannot happen.
//! **Transactions** do not exist yet: the last stable offset is the high watermark and nothing is aborted.

mod answer;
mod plan;

use std::time::Duration;

use futures_lite::future::or;

use crate::base::{LogId, Offset};
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::fetch_session::Begun;
use crate::protocol::kafka::map;
use crate::protocol::kafka::messages::{FetchRequest, FetchResponse};
use crate::runtime::local::Permit;
use crate::runtime::{clock, executor};
use crate::shard::count;
use crate::shard::request::{Bounds, PartRead, ReadPart};
use crate::shard::stages::ReadTrail;
use plan::{Ask, Plan};

/// Longest wait, whatever the client asks for: a peer that vanished without a word holds its place no longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Pause before reading again for a client that wants more than the first byte: it bounds how often the same bytes
/// are read while they trickle in.
const REREAD_PAUSE: Duration = Duration::from_millis(10);

/// The isolation level that wants to know about aborted transactions.
const READ_COMMITTED: i8 = 1;

/// Answers a Fetch, now or when there is something to say.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    count(&call.shard.probe().fetch_requests, 1);
    let request: FetchRequest<'_> = call.decode()?;
    let served = match plan::begin_session(&call, &request) {
        Ok(begun) => Served { call: &call, begun },
        Err(code) => {
            call.count_error();
            return Ok(call.answer(FetchResponse {
                error_code: code.code(),
                ..FetchResponse::default()
            }));
        }
    };
    let begun = &served.begun;
    let plan = match begun {
        Begun::Incremental(_, asks) => {
            let wanted = asks.iter().map(|(topic, position)| (topic.key(), *position));
            plan::plan(&call, &request, wanted)
        }
        Begun::Sessionless | Begun::Full => plan::plan(&call, &request, plan::wanted(&request, call.version)),
    };
    let found = read(&call, &request, &plan).await;
    Ok(answer::answer(&call, &request, begun, &plan, found))
}

/// A request its sessions know of until this is dropped.
struct Served<'a> {
    call: &'a Call,
    begun: Begun,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.call.fetch_sessions.borrow_mut().end(&self.begun);
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
async fn read(call: &Call, request: &FetchRequest<'_>, plan: &Plan<'_>) -> Found {
    if plan.parts.is_empty() {
        return Found::default();
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let min_bytes = usize::try_from(request.min_bytes)
        .unwrap_or(0)
        .min(plan.limits.max_bytes);
    let refused = plan.has_refused();
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
            || std::iter::zip(plan.asks_read(), &reads).any(|(ask, read)| is_worth_telling(ask, read));
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

/// Whether this read is an error, or a place where logs part, to report at once.
fn is_worth_telling(ask: &Ask<'_>, read: &PartRead) -> bool {
    let fenced = |bounds: Bounds| map::fence(ask.position.current_leader_epoch, bounds.epoch).is_some();
    read.records.is_err() || read.diverging.is_some() || read.bounds.is_none_or(fenced)
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

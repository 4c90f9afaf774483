//! Memory for requests and answers when there is too little of it: who waits in line, who waits outside, who must go.
//!
//! **Promise.** A peer that stops in the middle of a frame, or does not read its answers, does not keep memory from others
//! that want it: where somebody waits, a stalled frame is given up after a moment instead of after the configured time, and
//! so is an answer that does not leave (see `delivery`). And it does not stand in the line before them: a frame joins the
//! line when its bytes have arrived (as many as the kernel keeps for us), an answer when what was sent before it has
//! arrived at its peer. So the line moves at the speed of memory, not at that of the slowest peer.
//!
//! **Invariant.** Who finds memory at once pays nothing for any of this: the rules begin where a budget is exhausted.
//! One shard's thread.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use super::delivery::within;
use crate::runtime::executor;
use crate::runtime::local::{Budget, Permit};
use crate::runtime::net::Stream;
use crate::shard::RequestBudget;

/// Bytes of a frame that must have arrived before it waits for memory in line: what a socket's buffer holds without growing.
const ARRIVED_BYTES_MAX: usize = 64 * 1024;

/// Time a frame has that keeps memory from others, plus the time its bytes take at [`PRESSED_BYTES_PER_MS`].
const PRESSED_GRACE: Duration = Duration::from_secs(1);

/// About 8 MiB/s: a frame of a megabyte has an eighth of a second more.
const PRESSED_BYTES_PER_MS: usize = 8 * 1024;

/// How often a frame that is late looks whether somebody wants its memory.
const PRESSURE_LOOK: Duration = Duration::from_millis(100);

/// Bytes that may be under way to a peer that waits in line for more.
const UNDER_WAY_BYTES_MAX: usize = 64 * 1024;

/// How often a peer that has more under way is looked at, and how long it is, before it may wait in line like any other (whose
/// answer then does not leave, and is given up).
const UNDER_WAY_LOOK: Duration = Duration::from_millis(20);
/// See [`UNDER_WAY_LOOK`].
const UNDER_WAY_PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `bytes` of memory that could not be had at once, for a frame of which `missing` bytes have not been read.
/// `None` if these do not arrive within `limit`.
pub(in crate::protocol) async fn for_frame(
    stream: &Stream,
    budget: &RequestBudget,
    bytes: usize,
    missing: usize,
    limit: Duration,
) -> Option<Permit> {
    if missing > 0 {
        // A broken socket is found out by whoever reads it next.
        let _arrived = within(limit, stream.wait_for_bytes(missing.min(ARRIVED_BYTES_MAX))).await?;
    }
    Some(budget.acquire(bytes).await)
}

/// Waits for the `size` bytes of a frame whose memory is held: for `limit`, or, when somebody wants memory, for as long as a
/// peer needs that sends. `None` when that has passed.
pub(in crate::protocol) async fn frame_in_time<T>(
    limit: Duration,
    size: usize,
    budget: &RequestBudget,
    body: impl Future<Output = T>,
) -> Option<T> {
    let mut body = pin!(body);
    let needed_ms = u64::try_from(size / PRESSED_BYTES_PER_MS).unwrap_or(u64::MAX);
    let mut passed = limit.min(PRESSED_GRACE.saturating_add(Duration::from_millis(needed_ms)));
    if let Some(done) = within(passed, body.as_mut()).await {
        return Some(done);
    }
    while passed < limit && !budget.is_wanted() {
        if let Some(done) = executor::timeout(PRESSURE_LOOK, body.as_mut()).await {
            return Some(done);
        }
        passed += PRESSURE_LOOK;
    }
    None
}

/// Waits for `bytes` of memory for an answer to the peer of `stream`, unless `is_closed` says that the connection is given up:
/// what nobody reads is made without delay and dropped.
pub(in crate::protocol) async fn for_answer(
    stream: &Stream,
    budget: &Budget,
    bytes: usize,
    is_closed: impl Fn() -> bool,
) -> Permit {
    if let Some(permit) = budget.try_acquire(bytes) {
        return permit;
    }
    let mut waited = Duration::ZERO;
    while stream.bytes_under_way() > UNDER_WAY_BYTES_MAX && waited < UNDER_WAY_PATIENCE && !is_closed() {
        executor::sleep(UNDER_WAY_LOOK).await;
        waited += UNDER_WAY_LOOK;
    }
    budget.acquire(bytes).await
}

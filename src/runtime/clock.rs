//! The one place that reads a clock.
//!
//! Deadlines and time-outs use [`Mono`], which never steps; records and retention use wall time
//! ([`wall_ms`]), which may. Everything that decides something takes `now` as an argument, so tests and the
//! simulator can turn the hands themselves.

use crate::base::Timestamp;
use std::time::Duration;

/// A monotonic instant: time since an arbitrary origin in the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Mono(Duration);

impl Mono {
    /// The instant `delay` after this one, saturating.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }

    /// Time from `earlier` to this instant, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Reads the monotonic clock.
#[must_use]
pub fn now() -> Mono {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Mono(Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    ))
}

/// Reads the wall clock in milliseconds since the Unix epoch (zero before 1970).
#[must_use]
pub fn wall_ms() -> Timestamp {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Timestamp::new(
        time.tv_sec
            .saturating_mul(1000)
            .saturating_add(time.tv_nsec / 1_000_000)
            .max(0),
    )
}

/// Blocks the calling thread. For start-up only: a sleeping shard stalls every client it serves.
pub fn block_for(duration: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place the rest of the crate is kept from"
    )]
    std::thread::sleep(duration);
}

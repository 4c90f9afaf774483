//! The run's clock: nanoseconds since the run began, the same for all workers.

use crate::runtime::clock::{Mono, now};

/// A clock that reads 0 at its origin. Copies of it agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunClock {
    origin: Mono,
}

impl RunClock {
    /// A clock that begins now.
    #[must_use]
    pub(super) fn start() -> Self {
        Self { origin: now() }
    }

    /// Nanoseconds since the origin; a run is shorter than the 584 years this counts.
    #[must_use]
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(now().since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

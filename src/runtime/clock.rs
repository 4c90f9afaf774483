//! The one place that reads a clock.
//!
//! Deadlines and time-outs use [`Mono`], which never steps; records and retention use wall time
//! ([`wall_ms`]), which may. Everything that decides something takes `now` as an argument, so tests and the
//! simulator can turn the hands themselves.

use crate::base::Timestamp;
use crate::base::histogram::whole_ns;
use std::time::Duration;

/// A monotonic instant: nanoseconds since an origin that all threads of the machine share, so that an instant may cross
/// threads and be compared there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Mono(u64);

impl Mono {
    /// The instant `delay` after this one, saturating.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(whole_ns(delay)))
    }

    /// Time from `earlier` to this instant, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.ns_since(earlier))
    }

    /// As [`since`](Self::since), in nanoseconds and without a division.
    #[must_use]
    pub const fn ns_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
impl Mono {
    /// The instant so many nanoseconds after the origin.
    pub(crate) const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }
}

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Reads the monotonic clock: through the vDSO, about 20 ns, no system call where the kernel trusts the processor's counter.
#[must_use]
pub fn now() -> Mono {
    #[cfg(test)]
    if let Some(world) = super::sim::here() {
        return world.now();
    }
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Mono(seconds * NS_PER_SECOND + u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Reads the wall clock in milliseconds since the Unix epoch (zero before 1970).
#[must_use]
pub fn wall_ms() -> Timestamp {
    #[cfg(test)]
    if let Some(world) = super::sim::here() {
        return world.wall();
    }
    // Through the C library, where tests put another clock; as quick as the vDSO, which it uses.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place the rest of the crate is kept from"
    )]
    let now = std::time::SystemTime::now();
    let since = now
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Blocks the calling thread. For start-up only: a sleeping shard stalls every client it serves.
pub fn block_for(duration: Duration) {
    #[cfg(test)]
    if let Some(world) = super::sim::here() {
        return world.pass(duration);
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place the rest of the crate is kept from"
    )]
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_of_two_threads_are_of_one_clock() {
        let before = now();
        let there = std::thread::scope(|scope| scope.spawn(now).join().unwrap());
        let after = now();
        assert!(before <= there && there <= after);
        assert_eq!(
            after.ns_since(before),
            u64::try_from(after.since(before).as_nanos()).unwrap()
        );
    }

    #[test]
    fn instants_saturate_at_both_ends() {
        let now = now();
        assert_eq!(Mono::default().since(now), Duration::ZERO);
        assert!(now.after(Duration::MAX) > now);
        assert_eq!(now.after(Duration::from_nanos(5)).ns_since(now), 5);
    }
}

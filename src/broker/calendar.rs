//! What time it is for things that are deleted when they are old, when the clock is not to be believed at once.
//!
//! A wall clock may step: set wrong at boot, corrected later, or the other way round. Deleting a week of records because the clock
//! went ten years ahead cannot be undone; waiting an hour can. So:
//!
//! - **Forward**, by more than a minute: ages go on from the time before the step for [`BELIEVED_AFTER`]; then the clock is
//!   believed. The same at a start, where the newest record of the log says what time it was and the gap is more than
//!   a day: a long rest and a wrong clock look alike.
//! - **Backward**: ages follow at once, since nothing is deleted too early by that. For as long, records may be stamped as late as
//!   the clock before the step allowed: producers' clocks did not step.
//!
//! A step back takes back a step forward that is not believed yet, and the other way round. What is measured against is the
//! monotonic clock, which stands still while the machine sleeps: a sleep is a step forward, and costs an hour's patience. Pure.

use crate::base::Timestamp;
use std::time::Duration;

/// Smaller steps are corrections, and believed.
const STEP_MIN: Duration = Duration::from_secs(60);

/// A start this long after the newest record takes it for a step.
const GAP_MIN: Duration = Duration::from_secs(24 * 3600);

/// How long a step is not believed: time for somebody to see the warning.
pub const BELIEVED_AFTER: Duration = Duration::from_secs(3600);

/// A step of the clock that was noticed, or the end of the patience with one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// By so many milliseconds.
    Forward(i64),
    /// By so many milliseconds.
    Backward(i64),
    /// The clock is believed again.
    Believed,
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Calendar {
    wall_ms: i64,
    mono_ms: i64,
    /// How far the clock is ahead of what ages are counted by.
    ahead_ms: i64,
    /// How far it is behind what stamps are judged by.
    behind_ms: i64,
    /// Monotonic time of the last step.
    stepped_at: i64,
}

impl Calendar {
    /// At a start, where the newest record was appended at `newest`.
    #[must_use]
    pub fn new(wall: Timestamp, mono_ms: u64, newest: Option<Timestamp>) -> Self {
        let mono_ms = signed(mono_ms);
        let gap = newest.map_or(0, |newest| wall.get().saturating_sub(newest.get()));
        Self {
            wall_ms: wall.get(),
            mono_ms,
            ahead_ms: if gap > millis(GAP_MIN) { gap } else { 0 },
            behind_ms: 0,
            stepped_at: mono_ms,
        }
    }

    /// Takes the clocks' readings.
    pub fn read(&mut self, wall: Timestamp, mono_ms: u64) -> Option<Notice> {
        let mono_ms = signed(mono_ms);
        let passed = mono_ms.saturating_sub(self.mono_ms);
        let step = wall.get().saturating_sub(self.wall_ms).saturating_sub(passed);
        (self.wall_ms, self.mono_ms) = (wall.get(), mono_ms);
        if step > millis(STEP_MIN) {
            (self.behind_ms, self.ahead_ms) = taken_back(step, self.behind_ms, self.ahead_ms);
            self.stepped_at = mono_ms;
            return Some(Notice::Forward(step));
        }
        if step < -millis(STEP_MIN) {
            let step = step.saturating_neg();
            (self.ahead_ms, self.behind_ms) = taken_back(step, self.ahead_ms, self.behind_ms);
            self.stepped_at = mono_ms;
            return Some(Notice::Backward(step));
        }
        let doubts = self.ahead_ms > 0 || self.behind_ms > 0;
        if doubts && mono_ms.saturating_sub(self.stepped_at) >= millis(BELIEVED_AFTER) {
            (self.ahead_ms, self.behind_ms) = (0, 0);
            return Some(Notice::Believed);
        }
        None
    }

    /// The time by which things are old.
    #[must_use]
    pub const fn for_ages(&self) -> Timestamp {
        Timestamp::new(self.wall_ms.saturating_sub(self.ahead_ms))
    }

    /// How far [`for_ages`](Self::for_ages) is behind the clock, in milliseconds.
    #[must_use]
    pub const fn ahead_ms(&self) -> i64 {
        self.ahead_ms
    }

    /// What is added to the clock where stamps are judged, in milliseconds.
    #[must_use]
    pub const fn behind_ms(&self) -> i64 {
        self.behind_ms
    }
}

/// A step that first takes back what is owed the other way; what is owed then, both ways.
const fn taken_back(step: i64, against: i64, along: i64) -> (i64, i64) {
    let back = if step < against { step } else { against };
    (against - back, along.saturating_add(step - back))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn signed(mono_ms: u64) -> i64 {
    i64::try_from(mono_ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_YEARS: i64 = 10 * 365 * 24 * 3600 * 1000;
    const HOUR: i64 = 3600 * 1000;
    const NOW: i64 = 1_790_000_000_000;

    struct Clocks {
        calendar: Calendar,
        wall: i64,
        mono: i64,
    }

    impl Clocks {
        fn started(newest: Option<i64>) -> Self {
            Self {
                calendar: Calendar::new(Timestamp::new(NOW), 1000, newest.map(Timestamp::new)),
                wall: NOW,
                mono: 1000,
            }
        }

        /// Time passes, and the clock steps by `step` beside.
        fn pass(&mut self, ms: i64, step: i64) -> Option<Notice> {
            self.mono += ms;
            self.wall += ms + step;
            let mono = u64::try_from(self.mono).unwrap();
            self.calendar.read(Timestamp::new(self.wall), mono)
        }

        fn age_clock(&self) -> i64 {
            self.calendar.for_ages().get()
        }
    }

    #[test]
    fn a_clock_that_runs_is_followed_and_so_are_small_corrections() {
        let mut clocks = Clocks::started(Some(NOW - HOUR));
        for step in [0, 5000, -5000, 59_000, -59_000] {
            assert_eq!(clocks.pass(10_000, step), None);
            assert_eq!(clocks.age_clock(), clocks.wall);
            assert_eq!(clocks.calendar.behind_ms(), 0);
        }
    }

    #[test]
    fn a_step_forward_is_believed_after_an_hour() {
        let mut clocks = Clocks::started(None);
        assert_eq!(clocks.pass(1000, TEN_YEARS), Some(Notice::Forward(TEN_YEARS)));
        assert_eq!(clocks.age_clock(), NOW + 1000);
        assert_eq!(clocks.pass(HOUR - 1, 0), None);
        assert_eq!(clocks.age_clock(), NOW + HOUR + 999);
        assert_eq!(clocks.pass(1, 0), Some(Notice::Believed));
        assert_eq!(clocks.age_clock(), clocks.wall);
    }

    #[test]
    fn a_step_back_takes_back_a_step_forward() {
        let mut clocks = Clocks::started(None);
        clocks.pass(1000, TEN_YEARS);
        assert_eq!(clocks.pass(1000, -TEN_YEARS), Some(Notice::Backward(TEN_YEARS)));
        assert_eq!((clocks.age_clock(), clocks.calendar.behind_ms()), (NOW + 2000, 0));
        assert_eq!(clocks.pass(2 * HOUR, 0), None);
    }

    #[test]
    fn ages_follow_a_step_back_at_once_and_stamps_may_be_as_late_as_before() {
        let mut clocks = Clocks::started(None);
        assert_eq!(clocks.pass(1000, -TEN_YEARS), Some(Notice::Backward(TEN_YEARS)));
        assert_eq!(clocks.age_clock(), NOW + 1000 - TEN_YEARS);
        assert_eq!(clocks.calendar.behind_ms(), TEN_YEARS);
        assert_eq!(clocks.pass(HOUR, 0), Some(Notice::Believed));
        assert_eq!(clocks.calendar.behind_ms(), 0);
    }

    #[test]
    fn a_start_long_after_the_newest_record_is_not_believed_at_once() {
        for (gap, held) in [
            (HOUR, 0),
            (25 * HOUR, 25 * HOUR),
            (TEN_YEARS, TEN_YEARS),
            (-TEN_YEARS, 0),
        ] {
            let mut clocks = Clocks::started(Some(NOW - gap));
            assert_eq!(clocks.calendar.ahead_ms(), held, "{gap}");
            assert_eq!(clocks.pass(HOUR, 0).is_some(), held > 0);
            assert_eq!(clocks.calendar.ahead_ms(), 0);
        }
        assert_eq!(Clocks::started(None).calendar.ahead_ms(), 0);
    }
}

//! What a worker counts, second by second.
//!
//! Each message is recorded once, into the histograms of the running second; seconds are added up later, by somebody
//! who has the time. What is **measured** are messages meant to be sent in the measured part of the run, whenever their
//! answer came: one that was due before the end and answered late counts, with all its lateness. Warm-up seconds are
//! recorded as well, for the live line, and leave no trace in the result.
//!
//! A recorder belongs to its worker's thread; finished [`Interval`]s are sent away.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::result::new_histogram;

/// The four distributions of every run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Measure {
    /// Acknowledged - intended.
    Response,
    /// Acknowledged - actually sent.
    Service,
    /// Actually sent - intended.
    Delay,
    /// Received - intended.
    E2e,
}

impl Measure {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Response, Self::Service, Self::Delay, Self::E2e];

    /// Its name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Service => "service",
            Self::Delay => "delay",
            Self::E2e => "e2e",
        }
    }
}

/// Plain counts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Messages whose sending began.
    pub sent: u64,
    /// Messages acknowledged.
    pub acked: u64,
    /// Their bytes, keys included.
    pub acked_bytes: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Messages refused.
    pub errors: u64,
    /// Messages received, by all groups.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Messages the generator itself sent late.
    pub late: u64,
}

impl Counts {
    /// Adds `other`.
    pub const fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.acked_bytes += other.acked_bytes;
        self.batches += other.batches;
        self.errors += other.errors;
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.late += other.late;
    }
}

/// The histograms of an interval, by [`Measure`].
#[derive(Clone, Debug)]
pub struct Histograms([Histogram<u64>; 4]);

impl Default for Histograms {
    fn default() -> Self {
        Self([(); 4].map(|()| new_histogram()))
    }
}

impl Histograms {
    /// One of them.
    #[must_use]
    pub const fn of(&self, measure: Measure) -> &Histogram<u64> {
        &self.0[measure as usize]
    }

    /// Counts `number` values of `ns`.
    pub fn record(&mut self, measure: Measure, ns: u64, number: u64) {
        self.0[measure as usize].saturating_record_n(ns, number);
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            if !theirs.is_empty() {
                mine.add(theirs).expect("all have the same shape");
            }
        }
    }
}

/// One second of one worker.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// Its number; see [`Timing::interval`].
    pub number: u64,
    /// What was counted.
    pub counts: Counts,
    /// What was recorded.
    pub histograms: Histograms,
}

/// The parts of a run, in nanoseconds of the run's clock, which starts with the warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// First of the measured part.
    pub measured_ns: u64,
    /// End of the measured part.
    pub end_ns: u64,
}

/// Nanoseconds of an interval.
pub const INTERVAL_NS: u64 = 1_000_000_000;

impl Timing {
    /// The number of the interval that holds `now`. A boundary lies at the beginning of the measured part and at its end:
    /// the warm-up's last interval may be short, and so may the measured part's.
    #[must_use]
    pub fn interval(&self, now_ns: u64) -> u64 {
        let (warm, measured) = (self.warm_intervals(), self.measured_intervals());
        if now_ns < self.measured_ns {
            now_ns / INTERVAL_NS
        } else if now_ns < self.end_ns {
            warm + (now_ns - self.measured_ns) / INTERVAL_NS
        } else {
            warm + measured + (now_ns - self.end_ns) / INTERVAL_NS
        }
    }

    /// Intervals of the warm-up.
    #[must_use]
    pub const fn warm_intervals(&self) -> u64 {
        self.measured_ns.div_ceil(INTERVAL_NS)
    }

    /// Intervals of the measured part.
    #[must_use]
    pub const fn measured_intervals(&self) -> u64 {
        (self.end_ns - self.measured_ns).div_ceil(INTERVAL_NS)
    }

    /// When interval `number` begins and how long it lasts.
    #[must_use]
    pub fn bounds(&self, number: u64) -> (u64, u64) {
        let (warm, measured) = (self.warm_intervals(), self.measured_intervals());
        let (start, limit) = if number < warm {
            (number * INTERVAL_NS, self.measured_ns)
        } else if number < warm + measured {
            (self.measured_ns + (number - warm) * INTERVAL_NS, self.end_ns)
        } else {
            (self.end_ns + (number - warm - measured) * INTERVAL_NS, u64::MAX)
        };
        (start, INTERVAL_NS.min(limit - start))
    }

    /// Whether interval `number` belongs to the measured part.
    #[must_use]
    pub fn is_measured(&self, number: u64) -> bool {
        (self.warm_intervals()..self.warm_intervals() + self.measured_intervals()).contains(&number)
    }
}

/// Records for one worker.
#[derive(Debug)]
pub struct Recorder {
    timing: Timing,
    /// The running second.
    pub current: Interval,
    /// First nanosecond behind it.
    boundary_ns: u64,
    /// Messages meant to be sent before this are not recorded: 0 during the warm-up.
    counts_from_ns: u64,
    /// The broker's own stages, measured part only.
    pub stages: BTreeMap<&'static str, Histogram<u64>>,
    /// Messages acknowledged since the beginning.
    pub acked_total: u64,
}

impl Recorder {
    /// At the beginning of a run.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        let mut recorder = Self {
            timing,
            current: Interval::default(),
            boundary_ns: 0,
            counts_from_ns: 0,
            stages: BTreeMap::new(),
            acked_total: 0,
        };
        recorder.begin(0);
        recorder
    }

    /// When the running second ends.
    #[must_use]
    pub const fn boundary_ns(&self) -> u64 {
        self.boundary_ns
    }

    /// Ends the running second if `now` is behind it, and gives it away.
    pub fn turn(&mut self, now_ns: u64) -> Option<Interval> {
        (now_ns >= self.boundary_ns).then(|| {
            let finished = std::mem::take(&mut self.current);
            self.begin(now_ns);
            finished
        })
    }

    fn begin(&mut self, now_ns: u64) {
        self.current.number = self.timing.interval(now_ns);
        let (start, length) = self.timing.bounds(self.current.number);
        self.boundary_ns = start + length;
        self.counts_from_ns = if now_ns < self.timing.measured_ns {
            0
        } else {
            self.timing.measured_ns
        };
    }

    /// Whether a message meant to be sent at `intended_ns` is to be recorded now.
    #[must_use]
    pub const fn counts(&self, intended_ns: u64) -> bool {
        intended_ns >= self.counts_from_ns
    }

    /// Records the acknowledgement, at `now`, of messages sent at `sent` and meant to be sent at `intended` (ascending).
    pub fn acked(&mut self, intended: &[u64], sent_ns: u64, now_ns: u64) {
        let first = intended.partition_point(|one| *one < self.counts_from_ns);
        let measured = &intended[first..];
        let histograms = &mut self.current.histograms;
        let number = measured.len() as u64;
        if number > 0 {
            histograms.record(Measure::Service, now_ns.saturating_sub(sent_ns), number);
        }
        for same in measured.chunk_by(|one, next| one == next) {
            histograms.record(
                Measure::Response,
                now_ns.saturating_sub(same[0]),
                same.len() as u64,
            );
        }
    }

    /// Records that messages meant to be sent at `intended` (ascending) are sent at `now`.
    pub fn sent(&mut self, intended: &[u64], now_ns: u64) {
        self.current.counts.sent += intended.len() as u64;
        let first = intended.partition_point(|one| *one < self.counts_from_ns);
        for same in intended[first..].chunk_by(|one, next| one == next) {
            let delay_ns = now_ns.saturating_sub(same[0]);
            self.current
                .histograms
                .record(Measure::Delay, delay_ns, same.len() as u64);
        }
    }

    /// Records a message that was due at `intended` and is still not sent at `now`, when the run gives up.
    pub fn unsent(&mut self, intended_ns: u64, now_ns: u64) {
        if self.counts(intended_ns) {
            let waited_ns = now_ns.saturating_sub(intended_ns);
            self.current.histograms.record(Measure::Response, waited_ns, 1);
            self.current.histograms.record(Measure::Delay, waited_ns, 1);
        }
    }

    /// Records a message that arrived at `now`.
    pub fn received(&mut self, intended_ns: u64, now_ns: u64) {
        if self.counts(intended_ns) {
            let e2e_ns = now_ns.saturating_sub(intended_ns);
            self.current.histograms.record(Measure::E2e, e2e_ns, 1);
        }
    }

    /// Records the broker's stage times for a batch of `number` messages.
    pub fn staged(&mut self, stages: &[(&'static str, u32)], intended_ns: u64, number: u64) {
        if self.current.number < self.timing.warm_intervals() || !self.counts(intended_ns) {
            return;
        }
        for (name, ns) in stages {
            let histogram = self.stages.entry(name).or_insert_with(new_histogram);
            histogram.saturating_record_n(u64::from(*ns), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const TIMING: Timing = Timing {
        measured_ns: 1_500 * MS,
        end_ns: 3_700 * MS,
    };

    #[test]
    fn intervals_are_cut_at_the_edges_of_the_measured_part() {
        let bounds: Vec<_> = (0..7).map(|number| TIMING.bounds(number)).collect();
        let ms = |(start, length)| (start / MS, length / MS);
        assert_eq!(
            bounds.into_iter().map(ms).collect::<Vec<_>>(),
            [
                (0, 1000),
                (1000, 500),
                (1500, 1000),
                (2500, 1000),
                (3500, 200),
                (3700, 1000),
                (4700, 1000)
            ]
        );
        for number in 0..7 {
            let (start, length) = TIMING.bounds(number);
            assert_eq!(TIMING.interval(start), number);
            assert_eq!(TIMING.interval(start + length - 1), number);
            assert_eq!(TIMING.is_measured(number), (2..5).contains(&number));
        }
    }

    #[test]
    fn messages_of_the_warm_up_are_not_measured_however_late_their_answer() {
        let mut recorder = Recorder::new(TIMING);
        recorder.acked(&[100 * MS], 100 * MS, 900 * MS);
        let warm = recorder.turn(1_000 * MS).unwrap();
        assert_eq!((warm.number, warm.histograms.of(Measure::Response).len()), (0, 1));
        assert!(recorder.turn(1_400 * MS).is_none());
        recorder.turn(1_600 * MS).unwrap();
        recorder.acked(&[1_400 * MS, 1_500 * MS, 1_550 * MS], 1_560 * MS, 1_600 * MS);
        recorder.sent(&[1_400 * MS, 1_500 * MS], 1_560 * MS);
        recorder.received(1_499 * MS, 1_600 * MS);
        recorder.staged(&[("durable", 5)], 1_400 * MS, 1);
        let measured = recorder.turn(2_500 * MS).unwrap();
        let of = |measure| measured.histograms.of(measure).len();
        assert_eq!(measured.number, 2);
        assert_eq!(Measure::ALL.map(of), [2, 2, 1, 0]);
        assert_eq!(measured.counts.sent, 2);
        assert!(recorder.stages.is_empty());
    }
}

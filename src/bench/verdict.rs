//! Whether a run can be believed.
//!
//! [`judge`] is a pure function of what was counted. A reason in [`Verdict::invalid`] means that the figures say something
//! about the generator, the machine or a broken run, not about the broker at the stated load; a warning is
//! something to know. Every bound is named here.

use super::result::{Point, Totals, Verdict};

/// A message is late when its sending began this much after the moment it was due and the window was open: then the
/// generator was at fault. A fifth of a scheduler's slice; what is lost below it shows in the `delay` distribution.
pub const LATE_NS: u64 = 1_000_000;
/// Share of the target rate that must be acknowledged.
const ACHIEVED_MIN: f64 = 0.99;
/// Share of sends that may be late.
const LATE_MAX: f64 = 0.01;
/// Share of a core the busiest worker may use.
const CLIENT_CPU_MAX: f64 = 0.9;
/// From here on it is worth a warning.
const CLIENT_CPU_NOTICEABLE: f64 = 0.7;
/// The medians of the first and the last quarter may differ by this factor.
const STEADY_FACTOR: u64 = 2;
/// Medians below this, in nanoseconds, differ by any factor without a meaning.
const STEADY_FLOOR_NS: u64 = 200_000;
/// Seconds a run must have for its steadiness to be judged.
const STEADY_POINTS_MIN: usize = 8;
/// Clock sources that are read without a system call.
const FAST_CLOCKS: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

/// What [`judge`] looks at besides the totals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Messages whose sending began, in the measured part.
    pub sent: u64,
    /// Length of the measured part.
    pub seconds: f64,
    /// One for each second of it.
    pub series: &'a [Point],
    /// Messages that were sent and not answered, or due and not sent, when the run gave up waiting.
    pub unanswered: u64,
    /// What ended the run before its time.
    pub broken: Option<&'a str>,
    /// The first refusal's reason.
    pub refusal: Option<&'a str>,
    /// Whether the generator was told to stop itself in the middle.
    pub stalled: bool,
    /// The clock the kernel uses; a slow one costs a system call for every look.
    pub clock_source: Option<&'a str>,
    /// Consumers that found no partition to read.
    pub idle_consumers: usize,
}

/// Judges a run.
#[must_use]
pub fn judge(totals: &Totals, facts: &Facts<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    broken_run(totals, facts, &mut verdict.invalid);
    missed_rate(totals, facts, &mut verdict.invalid);
    generator(totals, facts, &mut verdict);
    unsteady(facts.series, &mut verdict.invalid);
    if facts.stalled {
        let reason =
            "the generator stopped itself in the middle (--inject-stall): a self-test, no measurement";
        verdict.invalid.push(reason.to_owned());
    }
    if let Some(source) = facts.clock_source.filter(|source| !FAST_CLOCKS.contains(source)) {
        verdict.warnings.push(format!(
            "the clock source is {source}: every look at the clock is a system call"
        ));
    }
    if facts.idle_consumers > 0 {
        verdict.warnings.push(format!(
            "{} consumers have no partition to read",
            facts.idle_consumers
        ));
    }
    verdict.valid = verdict.invalid.is_empty();
    verdict
}

fn broken_run(totals: &Totals, facts: &Facts<'_>, invalid: &mut Vec<String>) {
    if let Some(reason) = facts.broken {
        invalid.push(format!("the run ended early: {reason}"));
    }
    if totals.errors > 0 {
        let reason = facts.refusal.unwrap_or("no reason given");
        invalid.push(format!(
            "{} messages were refused; the first: {reason}",
            totals.errors
        ));
    }
    if facts.unanswered > 0 {
        invalid.push(format!("{} messages were not answered in time", facts.unanswered));
    }
    let lost = [
        (totals.missing, "were acknowledged and never received"),
        (totals.duplicates, "were received twice"),
        (totals.reordered, "were received out of order"),
    ];
    for (count, what) in lost.iter().filter(|(count, _)| *count > 0) {
        invalid.push(format!("{count} messages {what}"));
    }
    if totals.acked == 0 && totals.received == 0 && facts.broken.is_none() {
        invalid.push("nothing was measured".to_owned());
    }
}

fn missed_rate(totals: &Totals, facts: &Facts<'_>, invalid: &mut Vec<String>) {
    if totals.target_rate <= 0.0 || facts.seconds <= 0.0 {
        return;
    }
    let share = totals.acked as f64 / facts.seconds / totals.target_rate;
    if share < ACHIEVED_MIN {
        let percent = share * 100.0;
        invalid.push(format!(
            "missed the rate: {percent:.1} % of the target was acknowledged"
        ));
    }
}

fn generator(totals: &Totals, facts: &Facts<'_>, verdict: &mut Verdict) {
    let late = totals.late_sends as f64 / facts.sent.max(1) as f64;
    if late > LATE_MAX {
        let percent = late * 100.0;
        verdict.invalid.push(format!(
            "late sends: {percent:.1} % began later than they could have"
        ));
    }
    let percent = totals.client_cpu * 100.0;
    if totals.client_cpu > CLIENT_CPU_MAX {
        if totals.target_rate > 0.0 {
            verdict.invalid.push(format!(
                "client saturated: a worker used {percent:.0} % of its core"
            ));
        } else {
            let warning =
                format!("a worker used {percent:.0} % of its core: the throughput may be the client's limit");
            verdict.warnings.push(warning);
        }
    } else if totals.client_cpu > CLIENT_CPU_NOTICEABLE {
        verdict.warnings.push(format!(
            "a worker used {percent:.0} % of its core: some of the latency is the client's"
        ));
    }
}

fn unsteady(series: &[Point], invalid: &mut Vec<String>) {
    if series.len() < STEADY_POINTS_MIN {
        return;
    }
    let quarter = series.len() / 4;
    let (first, last) = (
        median(&series[..quarter]),
        median(&series[series.len() - quarter..]),
    );
    let (low, high) = (first.min(last), first.max(last));
    if high > STEADY_FLOOR_NS && high > low.saturating_mul(STEADY_FACTOR) {
        let (first, last) = (super::text::latency(first), super::text::latency(last));
        invalid.push(format!(
            "not steady: the median went from {first} to {last}; warm up longer"
        ));
    }
}

fn median(points: &[Point]) -> u64 {
    let mut medians: Vec<u64> = points.iter().map(|point| point.p50).collect();
    medians.sort_unstable();
    medians.get(medians.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minute at 1000 a second that went well.
    fn good() -> (Totals, Vec<Point>) {
        let totals = Totals {
            target_rate: 1000.0,
            acked: 60_000,
            received: 60_000,
            client_cpu: 0.3,
            ..Totals::default()
        };
        let point = Point {
            p50: 300_000,
            ..Point::default()
        };
        (totals, vec![point; 60])
    }

    fn facts(series: &[Point]) -> Facts<'_> {
        Facts {
            sent: 60_000,
            seconds: 60.0,
            series,
            clock_source: Some("tsc"),
            ..Facts::default()
        }
    }

    /// The one reason or warning that a change to the good run brings.
    fn check(change: impl FnOnce(&mut Totals, &mut Vec<Point>, &mut Facts<'_>), expected: &str) {
        let (mut totals, mut series) = good();
        let mut changed = facts(&[]);
        change(&mut totals, &mut series, &mut changed);
        changed.series = &series;
        let verdict = judge(&totals, &changed);
        let said: Vec<_> = verdict.invalid.iter().chain(&verdict.warnings).collect();
        assert_eq!(verdict.valid, verdict.invalid.is_empty());
        assert!(
            said.len() == 1 && said[0].starts_with(expected),
            "{expected}: {verdict:?}"
        );
    }

    #[test]
    fn a_good_run_is_valid() {
        let (totals, series) = good();
        let verdict = judge(&totals, &facts(&series));
        assert!(verdict.valid && verdict.warnings.is_empty(), "{verdict:?}");
    }

    #[test]
    fn each_fault_is_named() {
        check(|totals, _, _| totals.acked = 59_300, "missed the rate: 98.8 %");
        check(|totals, _, _| totals.late_sends = 601, "late sends: 1.0 %");
        check(
            |totals, _, _| totals.client_cpu = 0.91,
            "client saturated: a worker used 91 %",
        );
        check(|totals, _, _| totals.client_cpu = 0.71, "a worker used 71 %");
        check(
            |totals, _, facts| (totals.errors, facts.refusal) = (5, Some("no")),
            "5 messages were refused; the first: no",
        );
        check(
            |totals, _, _| totals.missing = 1,
            "1 messages were acknowledged and never received",
        );
        check(
            |totals, _, _| totals.duplicates = 2,
            "2 messages were received twice",
        );
        check(
            |totals, _, _| totals.reordered = 3,
            "3 messages were received out of order",
        );
        check(|_, _, facts| facts.unanswered = 4, "4 messages were not answered");
        check(
            |_, _, facts| facts.broken = Some("gone"),
            "the run ended early: gone",
        );
        check(|_, _, facts| facts.stalled = true, "the generator stopped itself");
        check(
            |_, _, facts| facts.clock_source = Some("hpet"),
            "the clock source is hpet",
        );
        check(
            |_, _, facts| facts.idle_consumers = 2,
            "2 consumers have no partition",
        );
    }

    #[test]
    fn a_run_that_drifts_is_not_steady() {
        check(
            |_, series, _| series[..15].iter_mut().for_each(|point| point.p50 = 700_000),
            "not steady: the median went from 700us to 300us",
        );
        check(
            |_, series, _| series[45..].iter_mut().for_each(|point| point.p50 = 601_000),
            "not steady",
        );
    }

    #[test]
    fn throughput_runs_have_no_rate_to_miss_and_may_use_the_whole_client() {
        check(
            |totals, _, _| (totals.target_rate, totals.acked, totals.client_cpu) = (0.0, 5, 1.0),
            "a worker used 100 % of its core: the throughput may be",
        );
    }

    #[test]
    fn a_run_of_nothing_is_nothing() {
        check(
            |totals, _, _| (totals.target_rate, totals.acked, totals.received) = (0.0, 0, 0),
            "nothing was measured",
        );
    }
}

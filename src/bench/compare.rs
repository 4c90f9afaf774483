//! Two sides of runs against each other: ratios of rates and percentiles, and whether they may be compared at all.
//!
//! A side is one run or its repeats. Each metric is taken per run; the side's figure is the median over its runs, with
//! the smallest and largest beside it, so that a ratio inside the spread shows as one. Beside that stands the same
//! percentile of all the side's histograms merged, which one bad repeat cannot hide from. Percentiles themselves are
//! never averaged.
//!
//! Runs that are invalid, and facts in which the machines differ, are reported first: a ratio of such runs may be
//! wrong by any amount. Pure functions of results; nothing is read or written here.

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;

use super::environment;
use super::result::{BadHistogram, RunResult, new_histogram};

/// What came of comparing B to A.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// No run of either side is invalid.
    pub all_valid: bool,
    /// Reasons not to believe it, one line each: invalid runs, and whatever was not asked for alike.
    pub doubts: Vec<String>,
    /// Facts in which the environments differ, with A's and B's value. A side's own runs differing is listed too.
    pub differences: Vec<Difference>,
    /// One row for each metric both sides have.
    pub rows: Vec<Row>,
}

/// A fact that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its name.
    pub fact: String,
    /// In A.
    pub a: Value,
    /// In B.
    pub b: Value,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// A rate.
    Higher,
    /// A latency.
    Lower,
}

/// One metric.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Such as `response p99`.
    pub metric: String,
    /// Which way is better.
    pub better: Better,
    /// Of A: messages per second, or nanoseconds.
    pub a: Spread,
    /// Of B.
    pub b: Spread,
    /// B's median by A's.
    pub ratio: f64,
    /// The same of the merged histograms, for latencies.
    pub merged_ratio: Option<f64>,
    /// By how much B is worse, as a share of A; negative if it is better.
    pub worse_by: f64,
    /// The ranges of the repeats overlap, so the difference may be chance. Not said of single runs.
    pub overlap: bool,
}

/// A metric over repeats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// The percentiles that are compared.
pub const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];
/// The distributions that are compared.
pub const DISTRIBUTIONS: [&str; 3] = ["response", "service", "e2e"];
/// A percentile needs this many values beyond it, or it is one accident; rows without them are left out.
pub const TAIL_MIN: f64 = 5.0;

impl Comparison {
    /// Compares the runs of `b` to those of `a`, each at least one.
    ///
    /// # Errors
    /// When a result's histogram cannot be read.
    pub fn of(a: &[RunResult], b: &[RunResult]) -> Result<Self, BadHistogram> {
        let mut rows = Vec::new();
        rate_row(&mut rows, "acknowledged/s", [a, b], |run| run.totals.acked);
        rate_row(&mut rows, "received/s", [a, b], |run| run.totals.received);
        for name in DISTRIBUTIONS {
            latency_rows(&mut rows, name, [a, b])?;
        }
        Ok(Self {
            all_valid: a.iter().chain(b).all(|run| run.verdict.valid),
            doubts: doubts(a, b),
            differences: differences(a, b),
            rows,
        })
    }

    /// The metrics in which B is worse than A by more than `limit` (0.05 for five percent).
    pub fn worse_than(&self, limit: f64) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.worse_by > limit)
    }
}

fn doubts(a: &[RunResult], b: &[RunResult]) -> Vec<String> {
    let mut doubts = Vec::new();
    for (side, runs) in [("A", a), ("B", b)] {
        for (index, run) in runs.iter().enumerate().filter(|(_, run)| !run.verdict.valid) {
            let reasons = if run.verdict.invalid.is_empty() {
                "no reason given".to_owned()
            } else {
                run.verdict.invalid.join("; ")
            };
            doubts.push(format!("INVALID RUN {side}[{index}] {}: {reasons}", run.name));
        }
        if runs.iter().any(|run| run.environment.is_empty()) {
            doubts.push(format!("{side} has a run that does not say where it was made"));
        }
    }
    let all = || a.iter().chain(b);
    let mut differ = |what: &str, of: fn(&RunResult) -> String| {
        let mut values: Vec<String> = all().map(of).collect();
        values.sort();
        values.dedup();
        if values.len() > 1 {
            doubts.push(format!("{what} differs: {}", values.join(", ")));
        }
    };
    differ("kind", |run| run.kind.clone());
    differ("durability", |run| run.durability.clone());
    differ("target rate", |run| format!("{}/s", run.totals.target_rate));
    for key in ["size", "partitions", "producers", "consumers", "acks"] {
        let mut values: Vec<String> = all()
            .filter_map(|run| run.spec.get(key).map(ToString::to_string))
            .collect();
        values.sort();
        values.dedup();
        if values.len() > 1 {
            doubts.push(format!("{key} differs: {}", values.join(", ")));
        }
    }
    doubts
}

/// The first run of A against every other run: repeats are expected to share a machine.
fn differences(a: &[RunResult], b: &[RunResult]) -> Vec<Difference> {
    let Some(first) = a.first() else {
        return Vec::new();
    };
    let mut found: Vec<Difference> = Vec::new();
    for run in a.iter().skip(1).chain(b) {
        for (fact, a, b) in environment::differences(&first.environment, &run.environment) {
            let difference = Difference { fact, a, b };
            if !found.iter().any(|known| known.fact == difference.fact) {
                found.push(difference);
            }
        }
    }
    found.sort_by(|left, right| left.fact.cmp(&right.fact));
    found
}

#[expect(clippy::cast_precision_loss, reason = "a count of 53 bits is precise enough")]
fn rate_row(rows: &mut Vec<Row>, metric: &str, sides: [&[RunResult]; 2], count: fn(&RunResult) -> u64) {
    let rates = |runs: &[RunResult]| -> Option<Vec<f64>> {
        let rate = |run: &RunResult| (run.seconds > 0.0).then(|| count(run) as f64 / run.seconds);
        runs.iter()
            .map(|run| rate(run).filter(|rate| *rate > 0.0))
            .collect()
    };
    let [a, b] = sides.map(rates);
    rows.extend(row(metric.to_owned(), Better::Higher, [a, b], None));
}

fn latency_rows(rows: &mut Vec<Row>, name: &str, sides: [&[RunResult]; 2]) -> Result<(), BadHistogram> {
    let histograms = |runs: &[RunResult]| -> Result<Option<Vec<Histogram<u64>>>, BadHistogram> {
        runs.iter()
            .map(|run| {
                run.latency
                    .get(name)
                    .map(|distribution| distribution.to_histogram())
            })
            .map(Option::transpose)
            .collect()
    };
    let (Some(a), Some(b)) = (histograms(sides[0])?, histograms(sides[1])?) else {
        return Ok(());
    };
    let [all_a, all_b] = [&a, &b].map(|side| merged(side));
    for (label, quantile) in PERCENTILES {
        let values = |side: &[Histogram<u64>]| -> Option<Vec<f64>> {
            side.iter().map(|histogram| value(histogram, quantile)).collect()
        };
        let merged_ratio = value(&all_b, quantile)
            .zip(value(&all_a, quantile))
            .map(|(b, a)| b / a);
        let metric = format!("{name} {label}");
        rows.extend(row(metric, Better::Lower, [values(&a), values(&b)], merged_ratio));
    }
    Ok(())
}

/// All values of several histograms.
#[must_use]
pub fn merged(histograms: &[Histogram<u64>]) -> Histogram<u64> {
    histograms.iter().fold(new_histogram(), |mut all, histogram| {
        all += histogram;
        all
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of 53 bits are precise enough"
)]
fn value(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    let beyond = histogram.len() as f64 * (1.0 - quantile);
    // A ratio to nothing is nothing.
    (beyond >= TAIL_MIN).then(|| histogram.value_at_quantile(quantile).max(1) as f64)
}

fn row(
    metric: String,
    better: Better,
    [a, b]: [Option<Vec<f64>>; 2],
    merged_ratio: Option<f64>,
) -> Option<Row> {
    let (a, b) = (Spread::of(a?)?, Spread::of(b?)?);
    let ratio = b.median / a.median;
    Some(Row {
        metric,
        better,
        a,
        b,
        ratio,
        merged_ratio,
        worse_by: match better {
            Better::Higher => 1.0 - ratio,
            Better::Lower => ratio - 1.0,
        },
        overlap: a.min < a.max && b.min < b.max && a.min <= b.max && b.min <= a.max,
    })
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self { median, min, max })
    }

    /// How far the repeats lie apart, as a share of the median.
    #[must_use]
    pub fn width(&self) -> f64 {
        (self.max - self.min) / self.median
    }
}

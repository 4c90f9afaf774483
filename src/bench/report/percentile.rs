//! How latencies are distributed: percentile plots and cumulative shares, all runs overlaid.
//!
//! The percentile axis is logarithmic in 1/(1-p), so that each nine takes the same space and the tail, where systems
//! differ, is what one sees.

use hdrhistogram::Histogram;

use super::plot::{Axis, Curve, Plot, Stroke};
use super::scale::Scale;
use super::words::{digits, real, real_len, time};
use crate::bench::result::{BadHistogram, RunResult};

/// One point of a percentile plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PercentilePoint {
    /// 1/(1-p): 1 for the smallest value, 100 for the 99th percentile.
    pub inverse: f64,
    /// Nanoseconds.
    pub ns: u64,
}

/// Points of each factor of ten.
const POINTS_PER_DECADE: f64 = 40.0;

/// The percentile plot of `histogram`: from the smallest value to the one percentile that the largest stands for, and
/// no further: beyond it there is nothing to know. Empty for an empty histogram.
#[must_use]
pub fn percentile_points(histogram: &Histogram<u64>) -> Vec<PercentilePoint> {
    let count = real(histogram.len());
    if histogram.is_empty() {
        return Vec::new();
    }
    let mut points = Vec::new();
    let mut step = 0_u64;
    loop {
        let inverse = 10_f64.powf(real(step) / POINTS_PER_DECADE);
        if inverse >= count {
            break;
        }
        let ns = histogram.value_at_quantile(1.0 - 1.0 / inverse);
        points.push(PercentilePoint { inverse, ns });
        step += 1;
    }
    points.push(PercentilePoint {
        inverse: count,
        ns: histogram.max(),
    });
    points
}

/// The charts for response (with service dashed) and end to end.
pub(super) fn figures(runs: &[RunResult]) -> Result<String, BadHistogram> {
    let mut out = String::new();
    let sets: [(&str, &str, &[&str]); 2] = [
        (
            "Response time by percentile",
            "From the intended send to the acknowledgement. Dashed: service time, from the actual send; a gap between the two is time messages waited to be sent.",
            &["response", "service"],
        ),
        (
            "End-to-end latency by percentile",
            "From the intended send to the consumer.",
            &["e2e"],
        ),
    ];
    let mut inner = String::new();
    for (title, note, names) in sets {
        let found = found(runs, names)?;
        if !found.is_empty() {
            inner.push_str(&by_percentile(title, note, &found).figure());
        }
    }
    for (title, name) in [
        ("Response time, cumulative", "response"),
        ("End-to-end latency, cumulative", "e2e"),
    ] {
        let found = found(runs, &[name])?;
        if !found.is_empty() {
            inner.push_str(&cumulative(title, &found).figure());
        }
    }
    if !inner.is_empty() {
        out.push_str("<h2>Distributions</h2>\n");
        out.push_str(&inner);
    }
    Ok(out)
}

struct Found {
    name: String,
    color: usize,
    stroke: Stroke,
    histogram: Histogram<u64>,
}

fn found(runs: &[RunResult], names: &[&str]) -> Result<Vec<Found>, BadHistogram> {
    let mut all = Vec::new();
    for (color, run) in runs.iter().enumerate() {
        for (index, name) in names.iter().enumerate() {
            let Some(distribution) = run.latency.get(*name).filter(|found| found.count > 0) else {
                continue;
            };
            let label = if names.len() == 1 {
                run.name.clone()
            } else {
                format!("{} {name}", run.name)
            };
            all.push(Found {
                name: label,
                color,
                stroke: if index == 0 { Stroke::Solid } else { Stroke::Dashed },
                histogram: distribution.to_histogram()?,
            });
        }
    }
    Ok(all)
}

fn by_percentile(title: &str, note: &str, found: &[Found]) -> Plot {
    let curves: Vec<Curve> = found
        .iter()
        .map(|found| {
            let points = percentile_points(&found.histogram);
            let points = points
                .iter()
                .map(|point| (point.inverse, real(point.ns)))
                .collect();
            Curve {
                stroke: found.stroke,
                ..Curve::line(found.name.clone(), found.color, points)
            }
        })
        .collect();
    let most = found
        .iter()
        .map(|found| real(found.histogram.len()))
        .fold(10.0, f64::max);
    let decades = most.log10().ceil();
    let x = Scale::Log {
        from: 1.0,
        to: 10_f64.powf(decades),
    };
    let ticks = (0..=20_i32)
        .map(|nines| (10_f64.powi(nines), nines))
        .take_while(|(inverse, _)| *inverse <= most * 1.001)
        .map(|(inverse, nines)| (inverse, percent(nines)))
        .collect();
    Plot {
        title: title.to_owned(),
        note: note.to_owned(),
        x: Axis {
            label: "percentile, each nine the same width",
            scale: x,
            ticks,
        },
        y: Axis::new("latency", Scale::log_over(values(&curves)), time),
        curves,
        marks: Vec::new(),
    }
}

/// The name of the percentile with so many nines.
fn percent(nines: i32) -> String {
    match nines {
        0 => "min".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(usize::try_from(more - 2).unwrap_or(0))),
    }
}

fn values(curves: &[Curve]) -> impl Iterator<Item = f64> {
    curves
        .iter()
        .flat_map(|curve| curve.points.iter().map(|(_, y)| *y))
}

fn cumulative(title: &str, found: &[Found]) -> Plot {
    let curves: Vec<Curve> = found
        .iter()
        .map(|found| {
            let points = (0..=CUMULATIVE_POINTS)
                .map(|index| real_len(index) / real_len(CUMULATIVE_POINTS))
                // The last thousandth belongs to the percentile plot; here it would squeeze the rest.
                .filter(|share| *share <= CUMULATIVE_MAX)
                .map(|share| (real(found.histogram.value_at_quantile(share)), share * 100.0))
                .collect();
            Curve::line(found.name.clone(), found.color, points)
        })
        .collect();
    let xs = curves
        .iter()
        .flat_map(|curve| curve.points.iter().map(|(x, _)| *x));
    let x = Scale::log_over(xs);
    let y = Scale::Linear { from: 0.0, to: 100.0 };
    Plot {
        title: title.to_owned(),
        note: String::new(),
        x: Axis::new("latency", x, time),
        y: Axis::new("share of messages at most this late", y, |share| {
            format!("{} %", digits(share))
        }),
        curves,
        marks: Vec::new(),
    }
}

const CUMULATIVE_POINTS: usize = 500;
const CUMULATIVE_MAX: f64 = 0.999;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::result::new_histogram;

    #[test]
    fn the_points_of_a_known_histogram_are_its_percentiles() {
        let mut histogram = new_histogram();
        for value in 1..=1000_u64 {
            histogram.record(value).unwrap();
        }
        let points = percentile_points(&histogram);
        assert_eq!(points.first(), Some(&PercentilePoint { inverse: 1.0, ns: 1 }));
        assert_eq!(
            points.last(),
            Some(&PercentilePoint {
                inverse: 1000.0,
                ns: 1000
            })
        );
        let near = |inverse: f64| {
            let point = points
                .iter()
                .find(|point| (point.inverse / inverse - 1.0).abs() < 1e-9);
            point.map(|point| point.ns)
        };
        assert_eq!([near(10.0), near(100.0)], [Some(900), Some(990)]);
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].inverse < pair[1].inverse && pair[0].ns <= pair[1].ns)
        );
        assert_eq!(percentile_points(&new_histogram()), []);
    }

    #[test]
    fn percentiles_are_named_as_people_write_them() {
        let names: Vec<String> = (0..=5).map(percent).collect();
        assert_eq!(names, ["min", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]);
    }
}

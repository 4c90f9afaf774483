//! What happened when: latency, rates and backlog over the seconds of a run.

use super::plot::{Axis, Curve, Plot, Stroke};
use super::scale::Scale;
use super::words::{count, digits, real, time};
use crate::bench::result::{Point, RunResult};

pub(super) fn figures(runs: &[RunResult]) -> String {
    let shown: Vec<(usize, &RunResult)> = runs
        .iter()
        .enumerate()
        .filter(|(_, run)| run.series.len() > 1)
        .collect();
    if shown.is_empty() {
        return String::new();
    }
    let mut out = "<h2>Over time</h2>\n".to_owned();
    let all = shown.iter().flat_map(|(_, run)| &run.series);
    let ends = all.flat_map(|point| [point.p50, point.p99, point.p999, point.max].map(real));
    let y = Scale::log_over(ends);
    for (_, run) in &shown {
        out.push_str(&latency(run, y).figure());
    }
    for (_, run) in &shown {
        out.push_str(&rates(run).figure());
    }
    if shown
        .iter()
        .any(|(_, run)| run.series.iter().any(|point| point.backlog > 0))
    {
        out.push_str(&backlog(&shown).figure());
    }
    out
}

type CountOf = fn(&Point) -> u64;

/// A figure of each second, in the middle of it.
fn over(run: &RunResult, of: impl Fn(&Point) -> u64) -> Vec<(f64, f64)> {
    let middles = run.spans().into_iter().map(|(from, to)| f64::midpoint(from, to));
    middles
        .zip(run.series.iter().map(|point| real(of(point))))
        .collect()
}

/// What was counted in each second, as a rate.
fn rate(run: &RunResult, of: CountOf) -> Vec<(f64, f64)> {
    let lengths = run.spans().into_iter().map(|(from, to)| to - from);
    over(run, of)
        .into_iter()
        .zip(lengths)
        .map(|((at, counted), length)| (at, counted / length))
        .collect()
}

fn seconds(runs: impl Iterator<Item = f64>) -> Axis {
    let end = runs.fold(0.0, f64::max);
    Axis::new("seconds", Scale::exactly_to(end), digits)
}

fn end(run: &RunResult) -> f64 {
    run.spans().last().map_or(0.0, |(_, to)| *to)
}

/// `y` is shared by all runs, so that they can be compared at a glance.
fn latency(run: &RunResult, y: Scale) -> Plot {
    let curves = vec![
        Curve::line("p50", 0, over(run, |point| point.p50)),
        Curve::line("p99", 1, over(run, |point| point.p99)),
        Curve::line("p99.9", 2, over(run, |point| point.p999)),
        Curve {
            stroke: Stroke::Dashed,
            ..Curve::line("max", 3, over(run, |point| point.max))
        },
    ];
    let y = Axis::new("latency", y, time);
    Plot {
        title: format!("Latency in each second: {}", run.name),
        note: String::new(),
        x: seconds(std::iter::once(end(run))),
        y,
        curves,
        marks: Vec::new(),
    }
}

fn rates(run: &RunResult) -> Plot {
    let mut curves = Vec::new();
    let all: [(&str, CountOf, Stroke); 3] = [
        ("sent", |point| point.sent, Stroke::Dashed),
        ("acknowledged", |point| point.acked, Stroke::Solid),
        ("received", |point| point.received, Stroke::Solid),
    ];
    for (color, (name, of, stroke)) in all.into_iter().enumerate() {
        let points = rate(run, of);
        if points.iter().any(|(_, y)| *y > 0.0) {
            curves.push(Curve {
                stroke,
                ..Curve::line(name, color, points)
            });
        }
    }
    let most = curves
        .iter()
        .flat_map(|curve| curve.points.iter().map(|(_, y)| *y))
        .fold(0.0, f64::max);
    Plot {
        title: format!("Messages in each second: {}", run.name),
        note: String::new(),
        x: seconds(std::iter::once(end(run))),
        y: Axis::new("messages per second", Scale::linear_to(most), count),
        curves,
        marks: Vec::new(),
    }
}

fn backlog(runs: &[(usize, &RunResult)]) -> Plot {
    let curves: Vec<Curve> = runs
        .iter()
        .map(|(color, run)| Curve::line(run.name.clone(), *color, over(run, |point| point.backlog)))
        .collect();
    let most = curves
        .iter()
        .flat_map(|curve| curve.points.iter().map(|(_, y)| *y))
        .fold(0.0, f64::max);
    Plot {
        title: "Backlog".to_owned(),
        note: "Messages acknowledged and not yet received.".to_owned(),
        x: seconds(runs.iter().map(|(_, run)| end(run))),
        y: Axis::new("messages", Scale::linear_to(most), count),
        curves,
        marks: Vec::new(),
    }
}

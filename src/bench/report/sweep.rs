//! Throughput against latency, with the knee: the highest rate that kept the objective.

use super::plot::{Axis, Curve, Dot, Fill, Mark, Plot, Stroke};
use super::scale::Scale;
use super::words::{count, real, time};
use crate::bench::result::{Distribution, Sweep, SweepStep};

type Percentile = fn(&Distribution) -> u64;

pub(super) fn figures(sweeps: &[Sweep]) -> String {
    if sweeps.iter().all(|sweep| sweep.steps.is_empty()) {
        return String::new();
    }
    let mut out = "<h2>Throughput against latency</h2>\n".to_owned();
    for (name, title) in [("response", "Response time"), ("e2e", "End-to-end latency")] {
        let measured = |step: &SweepStep| step.latency.get(name).is_some_and(|found| found.count > 0);
        if sweeps.iter().any(|sweep| sweep.steps.iter().any(measured)) {
            out.push_str(&plot(sweeps, name, title).figure());
        }
    }
    out
}

fn plot(sweeps: &[Sweep], name: &str, title: &str) -> Plot {
    let single = sweeps.len() == 1;
    let mut curves = Vec::new();
    let mut marks = Vec::new();
    for (index, sweep) in sweeps.iter().enumerate() {
        let percentiles: &[(&str, Percentile)] = if single {
            &[
                ("p50", |found| found.p50),
                ("p99", |found| found.p99),
                ("p99.9", |found| found.p999),
            ]
        } else {
            &[("p99", |found| found.p99)]
        };
        for (number, (label, of)) in percentiles.iter().enumerate() {
            let (color, label) = if single {
                (number, (*label).to_owned())
            } else {
                (index, format!("{} {label}", sweep.name))
            };
            curves.push(curve(sweep, name, (color, label), *of));
        }
        marks.extend(knee(sweep, single));
    }
    if let Some(sweep) = sweeps.iter().find(|sweep| sweep.objective_ns > 0) {
        marks.push(Mark::Horizontal {
            at: real(sweep.objective_ns),
            text: format!("objective {}", sweep.objective),
        });
    }
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let limits = sweeps.iter().map(|sweep| real(sweep.objective_ns));
    let y = Scale::log_over(points().map(|(_, y)| *y).chain(limits));
    let x = Scale::linear_to(points().map(|(x, _)| *x).fold(0.0, f64::max));
    Plot {
        title: title.to_owned(),
        note:
            "Each dot is a run at one rate, placed at the rate it achieved; a dot says what it was asked for. Hollow: invalid."
                .to_owned(),
        x: Axis::new("achieved, messages per second", x, count),
        y: Axis::new("latency", y, time),
        curves,
        marks,
    }
}

fn curve(sweep: &Sweep, name: &str, (color, label): (usize, String), of: Percentile) -> Curve {
    let found = |step: &SweepStep| step.latency.get(name).filter(|found| found.count > 0).map(of);
    let steps: Vec<(&SweepStep, u64)> = sweep
        .steps
        .iter()
        .filter_map(|step| Some((step, found(step)?)))
        .collect();
    let dots = steps.iter().map(|(step, ns)| {
        let state = if step.verdict.valid {
            String::new()
        } else {
            format!(", INVALID: {}", step.verdict.invalid.join("; "))
        };
        let text = format!(
            "{label} {} at {}/s of {}/s{state}",
            time(real(*ns)),
            count(step.achieved_rate),
            count(step.target_rate)
        );
        Dot {
            at: (step.achieved_rate, real(*ns)),
            text,
            fill: if step.verdict.valid {
                Fill::Full
            } else {
                Fill::Hollow
            },
        }
    });
    Curve {
        stroke: Stroke::Solid,
        dots: dots.collect(),
        points: steps
            .iter()
            .map(|(step, ns)| (step.achieved_rate, real(*ns)))
            .collect(),
        name: label,
        color,
    }
}

fn knee(sweep: &Sweep, single: bool) -> Option<Mark> {
    let step = sweep.steps.get(sweep.knee?)?;
    let whose = if single {
        String::new()
    } else {
        format!("{}: ", sweep.name)
    };
    Some(Mark::Vertical {
        at: step.achieved_rate,
        text: format!("{whose}knee {}/s", count(step.achieved_rate)),
    })
}

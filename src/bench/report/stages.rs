//! Where the broker spent a request's time: one bar for each stage, each beginning where the one before ended.
//!
//! Bars are means, because means of stages add up to the mean of the whole and percentiles do not; the thin line goes to
//! the stage's 99th percentile.

use super::plot::{WIDTH, figure, open_svg, push, tick};
use super::scale::Scale;
use super::words::{count, escape, real, real_len, time};
use crate::bench::result::{Distribution, RunResult};

/// The prefix of stages in a result.
const PREFIX: &str = "stage.";
/// The order in which a produced batch, then a read, goes through them; others come after, by name.
const PRODUCE: [&str; 8] = [
    "receive", "parse", "route", "append", "submit", "durable", "visible", "answer",
];
const READ: [&str; 3] = ["wait", "find", "send"];

const LEFT: f64 = 110.0;
const RIGHT: f64 = 330.0;
const ROW: f64 = 28.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

pub(super) fn figures(runs: &[RunResult]) -> String {
    let mut out = String::new();
    for run in runs {
        let all: Vec<(&str, &Distribution)> = run
            .latency
            .iter()
            .filter_map(|(name, found)| Some((name.strip_prefix(PREFIX)?, found)))
            .filter(|(_, found)| found.count > 0)
            .collect();
        let is_read = |name: &str| READ.contains(&name);
        let (mut reads, mut produces): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(name, _)| is_read(name));
        produces.sort_by_key(|(name, _)| order(&PRODUCE, name));
        reads.sort_by_key(|(name, _)| order(&READ, name));
        for (what, stages) in [("produce", produces), ("read", reads)] {
            if !stages.is_empty() {
                out.push_str(&waterfall(&format!("Stages of a {what}: {}", run.name), &stages));
            }
        }
    }
    if out.is_empty() {
        return out;
    }
    format!("<h2>Inside the broker</h2>\n{out}")
}

fn order(known: &[&str], name: &str) -> usize {
    known
        .iter()
        .position(|stage| *stage == name)
        .unwrap_or(known.len())
}

fn waterfall(title: &str, stages: &[(&str, &Distribution)]) -> String {
    let whole: f64 = stages.iter().map(|(_, stage)| stage.mean).sum();
    let mut reach = whole;
    let mut begins = 0.0;
    for (_, stage) in stages {
        reach = reach.max(begins + real(stage.p99));
        begins += stage.mean;
    }
    let scale = Scale::linear_to(reach);
    let height = TOP + BOTTOM + ROW * real_len(stages.len());
    let mut svg = open_svg(height, title);
    let width = WIDTH - LEFT - RIGHT;
    let x = |value: f64| LEFT + scale.place(value) * width;
    let bottom = height - BOTTOM;
    for value in scale.ticks().into_iter().step_by(2) {
        let at = x(value);
        push(
            &mut svg,
            format_args!("<line class=g y1={TOP} y2={bottom} x1={at:.1} x2={at:.1} />"),
        );
        tick(&mut svg, (at, bottom + 17.0), "middle", &time(value));
    }
    let mut begins = 0.0;
    for (row, (name, stage)) in stages.iter().enumerate() {
        bar(&mut svg, (row, name), stage, (begins, x(begins)), &x);
        begins += stage.mean;
    }
    svg.push_str("</svg>");
    let batches = stages.iter().map(|(_, stage)| stage.count).max().unwrap_or(0);
    let note = format!(
        "Means add up to {}; the thin line reaches the stage's p99. {} measured.",
        time(whole),
        count(real(batches))
    );
    figure(title, &note, &svg, "")
}

fn bar(
    svg: &mut String,
    (row, name): (usize, &str),
    stage: &Distribution,
    (begins, left): (f64, f64),
    x: &dyn Fn(f64) -> f64,
) {
    let top = TOP + ROW * real_len(row);
    let middle = top + ROW / 2.0;
    let right = x(begins + stage.mean);
    let tail = x(begins + real(stage.p99));
    let color = row % super::plot::COLORS;
    push(
        svg,
        format_args!(
            "<text class=t x={} y={:.1} text-anchor=end>{}</text>",
            LEFT - 10.0,
            middle + 4.0,
            escape(name)
        ),
    );
    push(
        svg,
        format_args!(
            "<line class=\"w c{color}\" x1={left:.1} x2={tail:.1} y1={middle:.1} y2={middle:.1} /><rect class=\"b f{color}\" x={left:.1} y={:.1} width={:.1} height={:.1} rx=2 />",
            top + 5.0,
            (right - left).max(1.5),
            ROW - 10.0
        ),
    );
    let text = format!(
        "mean {} · p50 {} · p99 {} · p99.9 {}",
        time(stage.mean),
        time(real(stage.p50)),
        time(real(stage.p99)),
        time(real(stage.p999))
    );
    push(
        svg,
        format_args!(
            "<text class=t x={:.1} y={:.1}>{text}</text>",
            WIDTH - RIGHT + 16.0,
            middle + 4.0
        ),
    );
}

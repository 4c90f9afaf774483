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
/// Room above the bars for the names of the columns.
const TOP: f64 = 24.0;
const BOTTOM: f64 = 26.0;

type Stage<'a> = (&'a str, &'a Distribution);

/// The stages of a run that `wanted` names, in order.
fn stages_of<'a>(run: &'a RunResult, wanted: impl Fn(&str) -> bool, known: &[&str]) -> Vec<Stage<'a>> {
    let all = run.latency.iter();
    let mut stages: Vec<Stage<'_>> = all
        .filter_map(|(name, found)| Some((name.strip_prefix(PREFIX)?, found)))
        .filter(|(name, found)| found.count > 0 && wanted(name))
        .collect();
    stages.sort_by_key(|(name, _)| order(known, name));
    stages
}

pub(super) fn figures(runs: &[RunResult]) -> String {
    let is_read = |name: &str| READ.contains(&name);
    let mut out = draw("produce", runs, &|run| {
        stages_of(run, |name| !is_read(name), &PRODUCE)
    });
    out.push_str(&draw("read", runs, &|run| stages_of(run, is_read, &READ)));
    if out.is_empty() {
        return out;
    }
    format!("<h2>Inside the broker</h2>\n{out}")
}

/// One figure for each run that has such stages, all to the same scale.
fn draw<'a>(what: &str, runs: &'a [RunResult], of: &dyn Fn(&'a RunResult) -> Vec<Stage<'a>>) -> String {
    let all: Vec<(&str, Vec<Stage<'_>>)> = runs.iter().map(|run| (run.name.as_str(), of(run))).collect();
    let scale = Scale::linear_to(all.iter().map(|(_, stages)| reach(stages)).fold(0.0, f64::max));
    let shown = all.iter().filter(|(_, stages)| !stages.is_empty());
    shown
        .map(|(name, stages)| waterfall(&format!("Stages of a {what}: {name}"), stages, scale))
        .collect()
}

fn order(known: &[&str], name: &str) -> usize {
    known
        .iter()
        .position(|stage| *stage == name)
        .unwrap_or(known.len())
}

/// How far right the bars and their lines go, in nanoseconds.
fn reach(stages: &[Stage<'_>]) -> f64 {
    let (mut reach, mut begins) = (0.0_f64, 0.0);
    for (_, stage) in stages {
        reach = reach.max(begins + real(stage.p99));
        begins += stage.mean;
    }
    reach.max(begins)
}

fn waterfall(title: &str, stages: &[Stage<'_>], scale: Scale) -> String {
    let whole: f64 = stages.iter().map(|(_, stage)| stage.mean).sum();
    let height = TOP + BOTTOM + ROW * real_len(stages.len());
    let mut svg = open_svg(height, title);
    for (column, name) in COLUMNS.into_iter().enumerate() {
        tick(&mut svg, (column_end(column), TOP - 10.0), "end", name);
    }
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
    let figures = [stage.mean, real(stage.p50), real(stage.p99), real(stage.p999)];
    for (column, value) in figures.into_iter().enumerate() {
        tick(svg, (column_end(column), middle + 4.0), "end", &time(value));
    }
}

/// What stands behind each bar.
const COLUMNS: [&str; 4] = ["mean", "p50", "p99", "p99.9"];

/// Where the text of a column ends.
fn column_end(column: usize) -> f64 {
    WIDTH - 4.0 - real_len(COLUMNS.len() - 1 - column) * COLUMN
}

const COLUMN: f64 = 78.0;

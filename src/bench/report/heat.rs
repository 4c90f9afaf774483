//! Latency heat maps: time across, latency up, darker where more messages were.
//!
//! Shows what percentiles over time hide: two humps, periodic stalls, a band that slowly rises. Drawn only for runs that
//! kept the histograms of their seconds.

use hdrhistogram::Histogram;

use super::plot::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, figure, labels, open_svg, push, tick};
use super::scale::Scale;
use super::words::{count, digits, escape, real, real_len, time};
use crate::bench::result::{BadHistogram, RunResult, decode_histogram, new_histogram};

/// Columns at most; longer runs share a column among seconds.
const COLUMNS_MAX: usize = 160;
/// Rows, evenly spread over the logarithm of latency.
const ROWS: usize = 36;

pub(super) fn figures(runs: &[RunResult]) -> Result<String, BadHistogram> {
    let mut out = String::new();
    for run in runs {
        let kept = |name: &str| run.series.iter().any(|point| point.intervals.contains_key(name));
        if let Some((name, what)) = [("e2e", "End-to-end latency"), ("response", "Response time")]
            .into_iter()
            .find(|(name, _)| kept(name))
        {
            let columns = columns(run, name)?;
            out.push_str(&draw(&format!("{what}, each second: {}", run.name), &columns));
        }
    }
    Ok(out)
}

/// A stretch of time and what was recorded in it.
struct Column {
    from: f64,
    to: f64,
    histogram: Histogram<u64>,
}

fn columns(run: &RunResult, name: &str) -> Result<Vec<Column>, BadHistogram> {
    let share = run.series.len().div_ceil(COLUMNS_MAX).max(1);
    let spans = run.spans();
    let mut columns = Vec::new();
    for (seconds, spans) in run.series.chunks(share).zip(spans.chunks(share)) {
        let mut histogram = new_histogram();
        for point in seconds {
            if let Some(text) = point.intervals.get(name) {
                histogram += decode_histogram(text)?;
            }
        }
        if let (Some((from, _)), Some((_, to))) = (spans.first(), spans.last()) {
            columns.push(Column {
                from: *from,
                to: *to,
                histogram,
            });
        }
    }
    Ok(columns)
}

fn draw(title: &str, columns: &[Column]) -> String {
    let end = columns.last().map_or(1.0, |column| column.to);
    let (x, y) = (Scale::exactly_to(end), range(columns));
    let mut svg = open_svg(HEIGHT, title);
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let cells: Vec<Vec<u64>> = columns.iter().map(|column| rows(&column.histogram, y)).collect();
    let most = cells.iter().flatten().copied().max().unwrap_or(1).max(2);
    let step = height / real_len(ROWS);
    for (column, cells) in columns.iter().zip(&cells) {
        let left = LEFT + x.place(column.from) * width;
        let across = LEFT + x.place(column.to) * width - left;
        for (row, cell) in cells.iter().enumerate().filter(|(_, cell)| **cell > 0) {
            let top = TOP + height - real_len(row + 1) * step;
            // A single message is still seen; the scale is logarithmic because tails are thousands of times thinner.
            let shade = 0.12 + 0.88 * real(*cell).ln() / real(most).ln();
            push(
                &mut svg,
                format_args!(
                    "<rect class=h x={left:.1} y={top:.1} width={across:.2} height={step:.2} fill-opacity={shade:.2}><title>{}</title></rect>",
                    escape(&format!(
                        "{} messages at {}",
                        count(real(*cell)),
                        time(row_start(y, row))
                    ))
                ),
            );
        }
    }
    for value in y.ticks() {
        let at = TOP + height * (1.0 - y.place(value));
        push(
            &mut svg,
            format_args!(
                "<line class=g x1={LEFT} x2={} y1={at:.1} y2={at:.1} />",
                WIDTH - RIGHT
            ),
        );
        tick(&mut svg, (LEFT - 8.0, at + 4.0), "end", &time(value));
    }
    for value in x.ticks() {
        tick(
            &mut svg,
            (LEFT + x.place(value) * width, HEIGHT - BOTTOM + 17.0),
            "middle",
            &digits(value),
        );
    }
    labels(&mut svg, HEIGHT, "seconds", "latency");
    svg.push_str("</svg>");
    let note = "Darker: more messages, on a logarithmic scale.";
    figure(title, note, &svg, "")
}

fn range(columns: &[Column]) -> Scale {
    let recorded = || {
        columns
            .iter()
            .map(|column| &column.histogram)
            .filter(|histogram| !histogram.is_empty())
    };
    let ends = recorded().flat_map(|histogram| [real(histogram.min()), real(histogram.max())]);
    Scale::log_over(ends)
}

/// The value at which a row begins.
fn row_start(y: Scale, row: usize) -> f64 {
    match y {
        Scale::Log { from, to } => from * (to / from).powf(real_len(row) / real_len(ROWS)),
        Scale::Linear { from, to } => from + (to - from) * real_len(row) / real_len(ROWS),
    }
}

fn rows(histogram: &Histogram<u64>, y: Scale) -> Vec<u64> {
    let mut rows = vec![0; ROWS];
    for step in histogram.iter_recorded() {
        let place = y.place(real(step.value_iterated_to()));
        // Rows are few: counting up is simpler than a cast.
        let row = (1..ROWS)
            .take_while(|row| real_len(*row) / real_len(ROWS) <= place)
            .count();
        rows[row] += step.count_since_last_iteration();
    }
    rows
}

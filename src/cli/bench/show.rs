//! What a run says while it runs and when it is over.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde_json::json;

use crate::bench::engine::{Live, Phase};
use crate::bench::record::Measure;
use crate::bench::result::{Distribution, RunResult};
use crate::bench::text::{bytes_rate, count, latency};
use crate::cli::args::OutputFormat;
use crate::cli::{CliError, Streams};

/// Says how the last second went: a line for people on stderr, or an object on stdout.
pub(super) fn live(live: &Live<'_>, output: OutputFormat, streams: &mut Streams<'_>) -> io::Result<()> {
    match output {
        OutputFormat::Json => {
            let object = live_object(live);
            writeln!(streams.out, "{object}")?;
            streams.out.flush()
        }
        OutputFormat::Table => {
            let line = live_line(live);
            // On a terminal one line is written over and over; its end clears what was longer.
            let (before, after) = if io::stderr().is_terminal() {
                ("\r", "\x1b[K")
            } else {
                ("", "\n")
            };
            let ended = if before.is_empty() || live.phase != Phase::Drain {
                ""
            } else {
                "\n"
            };
            write!(streams.err, "{before}{line}{after}{ended}")?;
            streams.err.flush()
        }
    }
}

fn live_line(live: &Live<'_>) -> String {
    let per_second = |number: u64| number as f64 / live.seconds;
    let counts = &live.counts;
    let phase = match live.phase {
        Phase::WarmUp => " (warm-up)",
        Phase::Measured => "",
        Phase::Drain => " (waiting)",
    };
    let mut line = format!("t={:.0}s{phase}", live.t);
    if counts.sent > 0 || counts.acked > 0 {
        let (acked, bytes) = (
            count(per_second(counts.acked)),
            bytes_rate(per_second(counts.acked_bytes)),
        );
        line += &format!(
            "  send {}/s  ack {acked}/s {bytes}",
            count(per_second(counts.sent))
        );
    }
    if counts.received > 0 {
        let bytes = bytes_rate(per_second(counts.received_bytes));
        line += &format!(
            "  recv {}/s {bytes}  lag {}",
            count(per_second(counts.received)),
            live.backlog
        );
    }
    let shown = [Measure::E2e, Measure::Response, Measure::Service];
    if let Some(measure) = shown
        .into_iter()
        .find(|measure| !live.histograms.of(*measure).is_empty())
    {
        let histogram = live.histograms.of(measure);
        let at = |quantile| latency(histogram.value_at_quantile(quantile));
        let (p50, p99, p999, max) = (at(0.5), at(0.99), at(0.999), latency(histogram.max()));
        line += &format!(" | {} p50 {p50} p99 {p99} p99.9 {p999} max {max}", measure.name());
    }
    if counts.errors > 0 {
        line += &format!(" | {} refused", counts.errors);
    }
    line
}

fn live_object(live: &Live<'_>) -> serde_json::Value {
    let counts = &live.counts;
    let mut object = json!({
        "t": live.t,
        "phase": match live.phase {
            Phase::WarmUp => "warm-up",
            Phase::Measured => "measured",
            Phase::Drain => "drain",
        },
        "sent": counts.sent,
        "acked": counts.acked,
        "received": counts.received,
        "errors": counts.errors,
        "backlog": live.backlog,
    });
    for measure in Measure::ALL {
        let histogram = live.histograms.of(measure);
        if !histogram.is_empty() {
            let at = |quantile| histogram.value_at_quantile(quantile);
            object[measure.name()] =
                json!({"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": histogram.max()});
        }
    }
    object
}

/// Says what a run was.
pub(super) fn run(result: &RunResult, output: OutputFormat, out: &mut dyn Write) -> Result<(), CliError> {
    match output {
        OutputFormat::Json => writeln!(out, "{}", json!(result))?,
        OutputFormat::Table => table(result, out)?,
    }
    Ok(())
}

fn table(result: &RunResult, out: &mut dyn Write) -> io::Result<()> {
    let totals = &result.totals;
    let seconds = if result.seconds > 0.0 { result.seconds } else { 1.0 };
    let (messages, bytes) = match result.kind.as_str() {
        "consume" => (totals.received, totals.received_bytes),
        _ => (totals.acked, totals.acked_bytes),
    };
    let loop_kind = match result.kind.as_str() {
        "consume" => "catch-up read",
        _ if totals.target_rate > 0.0 => "open loop, response time",
        _ => "closed loop",
    };
    writeln!(
        out,
        "{} over {} ({loop_kind})   {messages} msgs in {seconds:.1}s  {}/s  {}  errors {}  late sends {:.2}%",
        result.name,
        result.protocol,
        count(messages as f64 / seconds),
        bytes_rate(bytes as f64 / seconds),
        totals.errors,
        totals.late_sends as f64 * 100.0 / messages.max(1) as f64,
    )?;
    distributions(result, out)?;
    let broker = totals
        .broker_cpu
        .map_or_else(String::new, |cores| format!(" | broker {cores:.2} cores"));
    writeln!(
        out,
        "durability {} | client {:.0}% of a core{broker} | batches {} of {:.1} messages",
        result.durability,
        totals.client_cpu * 100.0,
        totals.batches,
        totals.acked as f64 / totals.batches.max(1) as f64,
    )?;
    verdict(result, out)
}

fn distributions(result: &RunResult, out: &mut dyn Write) -> io::Result<()> {
    let heads = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let width = result
        .latency
        .keys()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .max("produce".len());
    writeln!(
        out,
        "{:width$} {}",
        "",
        heads.map(|head| format!("{head:>8}")).join("")
    )?;
    let shown = [
        ("response", "produce"),
        ("e2e", "e2e"),
        ("service", "service"),
        ("delay", "delay"),
    ];
    let stages = result
        .latency
        .keys()
        .filter(|name| name.starts_with("stage."))
        .map(|name| (name.as_str(), name.as_str()));
    for (name, title) in shown.into_iter().chain(stages) {
        let Some(one) = result.latency.get(name) else {
            continue;
        };
        let title = if result.kind == "consume" && name == "service" {
            "gap"
        } else {
            title
        };
        let Distribution {
            min,
            p50,
            p90,
            p99,
            p999,
            p9999,
            max,
            ..
        } = one;
        let values = [min, p50, p90, p99, p999, p9999, max].map(|ns| format!("{:>8}", latency(*ns)));
        writeln!(out, "{title:width$} {}", values.join(""))?;
    }
    Ok(())
}

fn verdict(result: &RunResult, out: &mut dyn Write) -> io::Result<()> {
    for warning in &result.verdict.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    for reason in &result.verdict.invalid {
        writeln!(out, "INVALID: {reason}")?;
    }
    if result.verdict.valid {
        writeln!(out, "valid")?;
    }
    Ok(())
}

/// By what runs are ordered: the p99 of the response time, or of what there is; for throughput the throughput.
pub(super) fn headline(result: &RunResult) -> u64 {
    if result.totals.target_rate <= 0.0 {
        return result.totals.acked.max(result.totals.received);
    }
    result
        .latency
        .get("response")
        .or_else(|| result.latency.get("e2e"))
        .map_or(0, |one| one.p99)
}

/// Says how far repeats lie apart; they come in the order of [`headline`].
pub(super) fn spread<'a>(
    results: impl Iterator<Item = &'a RunResult>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let results: Vec<_> = results.collect();
    for name in ["response", "e2e"] {
        let mut values: Vec<_> = results
            .iter()
            .filter_map(|one| one.latency.get(name))
            .map(|one| one.p99)
            .collect();
        values.sort_unstable();
        if let (Some(low), Some(high)) = (values.first(), values.last()) {
            let median = values[(values.len() - 1) / 2];
            let runs = values.len();
            let (low, high, median) = (latency(*low), latency(*high), latency(median));
            writeln!(
                out,
                "{runs} runs: {name} p99 median {median}, from {low} to {high}"
            )?;
        }
    }
    Ok(())
}

/// Says which files were written.
pub(super) fn files(directory: Option<&Path>, names: &[&str], err: &mut dyn Write) -> Result<(), CliError> {
    if let Some(directory) = directory {
        writeln!(err, "wrote {}: {}", directory.display(), names.join(" "))?;
    }
    Ok(())
}

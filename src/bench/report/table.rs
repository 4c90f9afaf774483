//! The parts of a report that are words and tables: verdicts, summary, settings, machine.

use serde_json::Value;

use super::Report;
use super::plot::push;
use super::words::{bytes, count, digits, escape, real, real_len, time};
use crate::bench::environment::{Environment, UNKNOWN};
use crate::bench::floor::{Driver, Floor};
use crate::bench::result::{Distribution, RunResult, Verdict};

/// Whether each run can be believed, first thing on the page.
pub(super) fn verdicts(report: &Report) -> String {
    let mut out = String::new();
    for run in &report.runs {
        out.push_str(&verdict(&run.name, &run.verdict, run.environment.is_empty()));
    }
    for sweep in &report.sweeps {
        let broken = sweep.steps.iter().filter(|step| !step.verdict.valid).count();
        if broken > 0 {
            push(
                &mut out,
                format_args!(
                    "<div class=\"v warn\"><b>{}</b> {broken} of {} rates are invalid; the dots say why</div>",
                    escape(&sweep.name),
                    sweep.steps.len()
                ),
            );
        }
    }
    out
}

fn verdict(name: &str, verdict: &Verdict, nowhere: bool) -> String {
    let (class, word) = if verdict.valid {
        ("ok", "valid")
    } else {
        ("bad", "INVALID")
    };
    let mut out = format!("<div class=\"v {class}\"><b>{}</b> {word}", escape(name));
    let mut lines: Vec<&str> = verdict.invalid.iter().map(String::as_str).collect();
    if nowhere {
        lines.push("it does not say where it was made");
    }
    let warnings = verdict
        .warnings
        .iter()
        .map(|warning| format!("warning: {warning}"));
    let all = lines.into_iter().map(str::to_owned).chain(warnings);
    let items: String = all.map(|line| format!("<li>{}</li>", escape(&line))).collect();
    if !items.is_empty() {
        push(&mut out, format_args!("<ul>{items}</ul>"));
    }
    out.push_str("</div>\n");
    out
}

/// One line for each distribution of each run.
pub(super) fn summary(runs: &[RunResult]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let mut out = "<h2>Summary</h2><div class=s><table><thead><tr><th>run<th>protocol<th>durability<th class=r>asked<th class=r>acknowledged<th class=r>received<th>latency<th class=r>p50<th class=r>p99<th class=r>p99.9<th class=r>p99.99<th class=r>max</thead><tbody>".to_owned();
    for (index, run) in runs.iter().enumerate() {
        let shown = ["response", "service", "e2e"]
            .into_iter()
            .filter_map(|name| Some((name, run.latency.get(name)?)))
            .filter(|(_, found)| found.count > 0);
        for (row, (name, found)) in shown.enumerate() {
            let head = if row == 0 {
                head(index, run)
            } else {
                "<td><td><td><td><td><td>".to_owned()
            };
            push(
                &mut out,
                format_args!("<tr>{head}<td>{name}{}", percentiles(found)),
            );
        }
    }
    out.push_str("</tbody></table></div>\n");
    out
}

fn head(index: usize, run: &RunResult) -> String {
    let rate = |number: u64| count(real(number) / run.seconds.max(f64::MIN_POSITIVE));
    let asked = if run.totals.target_rate > 0.0 {
        format!("{}/s", count(run.totals.target_rate))
    } else {
        "as many as possible".to_owned()
    };
    let received = if run.totals.received > 0 {
        format!("{}/s", rate(run.totals.received))
    } else {
        String::new()
    };
    format!(
        "<td><span class=\"k f{}\"></span><b>{}</b><td>{}<td>{}<td class=r>{asked}<td class=r>{}/s<br><small>{}/s</small><td class=r>{received}",
        index % super::plot::COLORS,
        escape(&run.name),
        escape(&run.protocol),
        escape(&run.durability),
        rate(run.totals.acked),
        bytes(real(run.totals.acked_bytes) / run.seconds.max(f64::MIN_POSITIVE)),
    )
}

fn percentiles(found: &Distribution) -> String {
    [found.p50, found.p99, found.p999, found.p9999, found.max]
        .map(|ns| format!("<td class=r>{}", time(real(ns))))
        .concat()
}

/// What the machine does without a broker.
pub(super) fn floor(floor: &Floor) -> String {
    let mut out = "<h2>The machine's floor</h2><div class=s><table><thead><tr><th>what<th class=r>p50<th class=r>p99<th class=r>p99.9<th class=r>rate</thead><tbody>".to_owned();
    let mut row = |what: String, found: Option<&Distribution>, rate: String| {
        let shown = found.map_or_else(
            || "<td><td><td>".to_owned(),
            |found| {
                [found.p50, found.p99, found.p999]
                    .map(|ns| format!("<td class=r>{}", time(real(ns))))
                    .concat()
            },
        );
        push(&mut out, format_args!("<tr><td>{what}{shown}<td class=r>{rate}"));
    };
    let one = &floor.one_in_flight;
    row(
        "<b>one in flight: request, durable block, answer</b>".to_owned(),
        Some(&one.whole),
        String::new(),
    );
    row(
        "its round trip alone".to_owned(),
        Some(&one.round_trip),
        String::new(),
    );
    row(
        "its durable write alone".to_owned(),
        Some(&one.write),
        String::new(),
    );
    for trip in &floor.round_trips {
        let what = format!("TCP round trip, {}", bytes(real_len(trip.request_bytes)));
        row(what, Some(&trip.latency), String::new());
    }
    for write in &floor.durable {
        let driver = match write.driver {
            Driver::Ring => "io_uring",
            Driver::Threads => "threads",
        };
        let what = format!(
            "durable write, {} × {}, {driver}",
            bytes(real_len(write.bytes)),
            write.depth
        );
        row(
            what,
            Some(&write.latency),
            format!("{}/s", bytes(write.bytes_per_second)),
        );
    }
    for append in &floor.appends {
        let what = format!("append + fdatasync, {}", bytes(real_len(append.bytes)));
        row(what, Some(&append.latency), String::new());
    }
    for receive in &floor.receive {
        let rate = format!("{}/s per core", bytes(receive.bytes_per_cpu_second));
        row(format!("one core: {}", escape(&receive.what)), None, rate);
    }
    for memory in &floor.memory {
        let what = format!(
            "{} of {}",
            escape(&memory.what),
            bytes(real_len(memory.working_set))
        );
        row(what, None, format!("{}/s", bytes(memory.bytes_per_second)));
    }
    let disk = &floor.sequential;
    row(
        "sequential write".to_owned(),
        None,
        format!("{}/s", bytes(disk.write_bytes_per_second)),
    );
    row(
        "sequential read".to_owned(),
        None,
        format!("{}/s", bytes(disk.read_bytes_per_second)),
    );
    out.push_str("</tbody></table></div>\n");
    out
}

/// What was asked for.
pub(super) fn settings(runs: &[RunResult]) -> String {
    let specs: Vec<(&str, &Environment)> = runs.iter().map(|run| (run.name.as_str(), &run.spec)).collect();
    facts("Settings", &specs)
}

/// Where it was made.
pub(super) fn environments(report: &Report) -> String {
    let runs = report
        .runs
        .iter()
        .map(|run| (run.name.as_str(), &run.environment));
    let sweeps = report
        .sweeps
        .iter()
        .map(|sweep| (sweep.name.as_str(), &sweep.environment));
    let floor = report.floor.iter().map(|floor| ("floor", &floor.environment));
    facts(
        "Environment",
        &runs.chain(sweeps).chain(floor).collect::<Vec<_>>(),
    )
}

/// Facts of several sources: one column if all agree, else one for each.
fn facts(title: &str, sources: &[(&str, &Environment)]) -> String {
    let mut names: Vec<&String> = sources.iter().flat_map(|(_, facts)| facts.keys()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return String::new();
    }
    let unknown = Value::String(UNKNOWN.to_owned());
    let mut rows = String::new();
    for name in names {
        let values: Vec<String> = sources
            .iter()
            .map(|(_, facts)| shown(facts.get(name).unwrap_or(&unknown)))
            .collect();
        let name = escape(name);
        match values.split_first() {
            Some((first, rest)) if rest.iter().all(|value| value == first) => {
                push(
                    &mut rows,
                    format_args!("<tr><th>{name}<td colspan={}>{first}", values.len()),
                );
            }
            _ => {
                let cells: String = values.iter().map(|value| format!("<td>{value}")).collect();
                push(&mut rows, format_args!("<tr class=differs><th>{name}{cells}"));
            }
        }
    }
    let heads: String = sources
        .iter()
        .map(|(name, _)| format!("<th>{}", escape(name)))
        .collect();
    let head = if sources.len() > 1 {
        format!("<thead><tr><th>{heads}</thead>")
    } else {
        String::new()
    };
    format!("<h2>{title}</h2><div class=s><table class=facts>{head}<tbody>{rows}</tbody></table></div>\n")
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => escape(text),
        Value::Number(number) => match number.as_f64() {
            Some(real) if real.fract() != 0.0 => digits(real),
            Some(real) if number.is_f64() => format!("{real:.0}"),
            _ => number.to_string(),
        },
        Value::Null => "-".to_owned(),
        other => escape(&other.to_string()),
    }
}

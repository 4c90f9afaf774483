//! A result under the OpenMessaging Benchmark's names and in its units.
//!
//! Publish and end-to-end latencies are milliseconds, publish delay is microseconds. Arrays have one element for each
//! of our seconds; that benchmark samples every ten, and its charts label their x axis accordingly. Where a second's
//! histogram was not kept the element is left out; a latency the run did not measure at all is zeros, as it writes
//! them for a run without consumers.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::bench::result::{BadHistogram, RunResult, decode_histogram, new_histogram};

/// The file in a run's directory.
pub const OMB_FILE: &str = "omb.json";

/// The percentiles it names, by name.
const PERCENTILES: [(&str, f64); 7] = [
    ("50pct", 0.5),
    ("75pct", 0.75),
    ("95pct", 0.95),
    ("99pct", 0.99),
    ("999pct", 0.999),
    ("9999pct", 0.9999),
    ("99999pct", 0.99999),
];

/// Its latencies: its name, ours, and how many nanoseconds its unit has.
const LATENCIES: [(&str, &str, f64); 3] = [
    ("publishLatency", "service", 1e6),
    ("publishDelayLatency", "delay", 1e3),
    ("endToEndLatency", "e2e", 1e6),
];

/// Steps of each halving of the distance to 100 % in the quantile maps.
const STEPS_PER_HALF: u32 = 5;

/// The name that benchmark would give the file.
#[must_use]
pub fn file_name(run: &RunResult) -> String {
    let plain = |text: String| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    let [workload, driver] = [workload(run), driver(run)].map(plain);
    format!("{workload}-{driver}-{}.json", run.started_ms)
}

/// `run` as that benchmark's result.
///
/// # Errors
/// When a histogram of the run cannot be read.
pub fn result_json(run: &RunResult) -> Result<Value, BadHistogram> {
    let mut out = Map::new();
    let topics = number(run, "topics").max(1);
    out.insert("workload".to_owned(), json!(workload(run)));
    out.insert("driver".to_owned(), json!(driver(run)));
    out.insert("messageSize".to_owned(), json!(number(run, "size")));
    out.insert("topics".to_owned(), json!(topics));
    out.insert("partitions".to_owned(), json!(number(run, "partitions")));
    out.insert(
        "producersPerTopic".to_owned(),
        json!(number(run, "producers").div_ceil(topics)),
    );
    out.insert(
        "consumersPerTopic".to_owned(),
        json!(number(run, "consumers").div_ceil(topics)),
    );
    rates(run, &mut out);
    for (theirs, ours, unit) in LATENCIES {
        latency(run, (theirs, ours, unit), &mut out)?;
    }
    Ok(Value::Object(out))
}

fn text(run: &RunResult, key: &str) -> Option<String> {
    run.spec
        .get(key)?
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn workload(run: &RunResult) -> String {
    text(run, "workload").unwrap_or_else(|| run.name.clone())
}

fn driver(run: &RunResult) -> String {
    text(run, "driver").unwrap_or_else(|| run.protocol.clone())
}

fn number(run: &RunResult, key: &str) -> u64 {
    run.spec.get(key).and_then(Value::as_u64).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a count of 53 bits is precise enough")]
fn rates(run: &RunResult, out: &mut Map<String, Value>) {
    // Errors are counted for the whole run only: their mean stands for each second.
    let errors = run.totals.errors as f64 / run.seconds.max(1.0);
    let (mut publish, mut consume, mut failed, mut backlog) = (vec![], vec![], vec![], vec![]);
    for (point, (from, to)) in run.series.iter().zip(run.spans()) {
        let seconds = to - from;
        publish.push(json!(point.acked as f64 / seconds));
        consume.push(json!(point.received as f64 / seconds));
        failed.push(json!(errors));
        backlog.push(json!(point.backlog));
    }
    out.insert("publishRate".to_owned(), Value::Array(publish));
    out.insert("publishErrorRate".to_owned(), Value::Array(failed));
    out.insert("consumeRate".to_owned(), Value::Array(consume));
    out.insert("backlog".to_owned(), Value::Array(backlog));
}

fn latency(
    run: &RunResult,
    (theirs, ours, unit): (&str, &str, f64),
    out: &mut Map<String, Value>,
) -> Result<(), BadHistogram> {
    let measured = run.latency.get(ours);
    let mut seconds = Vec::new();
    for point in &run.series {
        match point.intervals.get(ours) {
            Some(text) => seconds.push(decode_histogram(text)?),
            None if measured.is_none() => seconds.push(new_histogram()),
            None => {}
        }
    }
    let whole = measured.map_or_else(|| Ok(new_histogram()), |found| found.to_histogram())?;
    let capital = format!("{}{}", theirs[..1].to_ascii_uppercase(), &theirs[1..]);
    for (suffix, value) in figures() {
        let each = seconds.iter().map(|second| json!(value(second) / unit)).collect();
        out.insert(format!("{theirs}{suffix}"), Value::Array(each));
        out.insert(
            format!("aggregated{capital}{suffix}"),
            json!(value(&whole) / unit),
        );
    }
    out.insert(format!("aggregated{capital}Quantiles"), quantiles(&whole, unit));
    Ok(())
}

type Figure = Box<dyn Fn(&Histogram<u64>) -> f64>;

/// The suffixes of its names, and what they mean, in nanoseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of 53 bits are precise enough"
)]
fn figures() -> Vec<(&'static str, Figure)> {
    let mut all: Vec<(&'static str, Figure)> = vec![
        ("Avg", Box::new(Histogram::mean)),
        ("Max", Box::new(|histogram| histogram.max() as f64)),
    ];
    for (name, quantile) in PERCENTILES {
        all.push((
            name,
            Box::new(move |histogram| histogram.value_at_quantile(quantile) as f64),
        ));
    }
    all
}

/// Percentile to value, as its histograms iterate: finer toward the end.
#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of 53 bits are precise enough"
)]
fn quantiles(histogram: &Histogram<u64>, unit: f64) -> Value {
    let steps = histogram.iter_quantiles(STEPS_PER_HALF);
    let pairs = steps.map(|step| {
        let percentile = step.quantile_iterated_to() * 100.0;
        (
            percentile.to_string(),
            json!(step.value_iterated_to() as f64 / unit),
        )
    });
    Value::Object(pairs.collect())
}

//! `corelog bench` against a real broker: runs that account for every message, and a stall that cannot hide.
//!
//! The generator and the broker are both the binary that cargo built, as two processes. What is asserted are counts, and
//! latencies only against a stall far longer than anything a busy machine does by itself.

#![expect(
    clippy::disallowed_methods,
    reason = "a test has clocks, threads and patience of its own"
)]

#[expect(
    clippy::allow_attributes,
    reason = "which helpers stay unused differs from program to program"
)]
#[allow(dead_code, reason = "each test program uses some of the shared helpers")]
#[path = "support/support.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Output};

use corelog::bench::result::{RunResult, Sweep};

use support::broker::{Advertise, Broker, Options, binary};

fn broker() -> Broker {
    Broker::start(Options::new(2, Advertise::PerCore).set("log.segment_bytes=4MiB"))
}

/// Runs `corelog bench` against `broker`, with results in `out`.
fn bench(broker: &Broker, out: &Path, arguments: &[&str]) -> Output {
    bench_at(broker, &broker.kafka().to_string(), out, arguments)
}

/// The same, at one of the broker's doors.
fn bench_at(broker: &Broker, door: &str, out: &Path, arguments: &[&str]) -> Output {
    let (verb, options) = arguments.split_first().expect("a verb");
    let mut command = Command::new(binary());
    command
        .args(["bench", verb])
        .args(options)
        .args(["--bootstrap", door])
        .args(["--broker-pid", &broker.pid().as_raw_nonzero().to_string()])
        .arg("--out")
        .arg(out);
    let output = command.output().expect("the generator runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    output
}

/// Nothing lost, doubled, out of order or refused.
fn assert_whole(result: &RunResult) {
    let totals = &result.totals;
    let wrong = (totals.missing, totals.duplicates, totals.reordered, totals.errors);
    assert_eq!(wrong, (0, 0, 0, 0), "{:?}", result.verdict);
}

#[test]
fn an_end_to_end_run_accounts_for_every_message_and_leaves_its_files() {
    let broker = broker();
    let out = broker.home().join("e2e");
    let output = bench(
        &broker,
        &out,
        &[
            "e2e",
            "--rate",
            "2k",
            "--size",
            "200B",
            "-p",
            "3",
            "--producers",
            "2",
            "--consumers",
            "2",
            "--fanout",
            "2",
            "--duration",
            "2s",
            "--warmup",
            "500ms",
            "--keys",
            "round-robin",
            "--arrival",
            "poisson",
            "--idempotent",
            "--durability",
            "fsync",
            "--name",
            "black box",
        ],
    );
    let result = RunResult::read(&out).expect("a result");
    assert_whole(&result);
    assert_eq!((result.kind.as_str(), result.protocol.as_str()), ("e2e", "kafka"));
    assert_eq!(
        (result.name.as_str(), result.durability.as_str()),
        ("black box", "fsync")
    );
    let messages = result.latency["response"].count;
    assert!((3_000..5_000).contains(&messages), "{messages} of about 4000");
    assert_eq!(
        result.latency["e2e"].count,
        2 * messages,
        "each group reads everything"
    );
    assert!(result.totals.broker_cpu.is_some_and(|cores| cores > 0.0));
    assert!(!result.environment.is_empty());
    for file in [
        "latency.hlog",
        "produce.hgrm",
        "e2e.hgrm",
        "timeseries.csv",
        "env.json",
        "omb.json",
        "report.html",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let table = String::from_utf8(output.stdout).expect("text");
    for word in ["produce", "e2e", "p99.99", "durability fsync"] {
        assert!(table.contains(word), "{table}");
    }
    let topics = Command::new(binary())
        .args([
            "topic",
            "list",
            "-o",
            "json",
            "--brokers",
            &broker.kafka().to_string(),
        ])
        .output()
        .expect("the topics are listed");
    assert_eq!(
        String::from_utf8_lossy(&topics.stdout).trim(),
        "[]",
        "the run's topics are gone"
    );
}

#[test]
fn an_injected_stall_shows_where_it_must_and_nowhere_else() {
    let broker = broker();
    let out = broker.home().join("stall");
    let arguments = [
        "produce",
        "--rate",
        "1k",
        "--size",
        "100B",
        "--duration",
        "2s",
        "--warmup",
        "0s",
        "--inject-stall",
        "800ms",
    ];
    bench(&broker, &out, &arguments);
    let result = RunResult::read(&out).expect("a result");
    let [response, service] =
        ["response", "service"].map(|name| result.latency[name].to_histogram().expect("whole"));
    // Four tenths of the messages were due in the stall, so the 80th percentile waited about half of it.
    let stalled = 300_000_000;
    assert!(
        response.value_at_quantile(0.8) > stalled,
        "{}",
        response.value_at_quantile(0.8)
    );
    assert!(
        service.value_at_quantile(0.8) < stalled / 2,
        "{}",
        service.value_at_quantile(0.8)
    );
    assert_eq!(response.len(), 2_000, "every message that was due is recorded");
    assert!(!result.verdict.valid, "a self-test is no measurement");
}

#[test]
fn a_topic_that_was_filled_is_read_whole() {
    let broker = broker();
    let out = broker.home().join("consume");
    bench(
        &broker,
        &out,
        &[
            "consume",
            "--fill",
            "2MiB",
            "--size",
            "1KiB",
            "-p",
            "2",
            "--fanout",
            "2",
            "--batch-bytes",
            "32KiB",
        ],
    );
    let result = RunResult::read(&out).expect("a result");
    assert_whole(&result);
    assert_eq!(result.totals.received, 2 * 2_048);
}

#[test]
fn a_sweep_climbs_until_the_objective_breaks() {
    let broker = broker();
    let out = broker.home().join("sweep");
    // Nothing is answered in a nanosecond, and everything within an hour.
    for (slo, knee) in [("p50<1us", None), ("max<60m", Some(true))] {
        let arguments = [
            "sweep",
            "--rate",
            "100..200",
            "--steps",
            "2",
            "--slo",
            slo,
            "--duration",
            "1s",
            "--warmup",
            "0s",
            "--size",
            "100B",
        ];
        bench(&broker, &out, &arguments);
        let sweep = Sweep::read(&out).expect("a sweep");
        assert_eq!(sweep.objective, slo);
        match knee {
            None => assert_eq!((sweep.steps.len(), sweep.knee), (1, None)),
            // A busy machine may make a step invalid; the ladder begins where it was told to.
            Some(_) => assert_eq!(sweep.steps[0].target_rate.round(), 100.0),
        }
    }
}

#[test]
fn output_for_programs_is_one_object_a_line() {
    let broker = broker();
    let arguments = [
        "e2e",
        "--rate",
        "500",
        "--size",
        "100B",
        "--duration",
        "2s",
        "--warmup",
        "0s",
        "-o",
        "json",
        "--acks",
        "all",
    ];
    let output = bench(&broker, &broker.home().join("json"), &arguments);
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let (last, seconds) = lines.split_last().expect("lines");
    assert_eq!(last["kind"], "e2e");
    assert!(
        seconds.len() >= 2 && seconds.iter().all(|line| line["t"].is_number()),
        "{text}"
    );
}

#[test]
fn the_native_protocol_accounts_for_every_message_and_tells_its_stages() {
    let broker = broker();
    let out = broker.home().join("native");
    let native = broker.native().to_string();
    let arguments = [
        "e2e",
        "--proto",
        "native",
        "--rate",
        "2k",
        "--size",
        "200B",
        "-p",
        "3",
        "--producers",
        "2",
        "--consumers",
        "2",
        "--duration",
        "2s",
        "--warmup",
        "500ms",
        "--stages",
        "--idempotent",
    ];
    bench_at(&broker, &native, &out, &arguments);
    let result = RunResult::read(&out).expect("a result");
    assert_whole(&result);
    assert_eq!(result.protocol, "native");
    assert_eq!(result.latency["e2e"].count, result.latency["response"].count);
    assert!(
        result.latency.keys().any(|name| name.starts_with("stage.")),
        "{:?}",
        result.latency.keys()
    );
}

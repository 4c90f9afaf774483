//! What the laboratory makes of results: comparisons, pages, and the OpenMessaging Benchmark's files, from hand-made runs.
//!
//! Runs are made from a formula, not measured, so that every figure is known. The page of everything is left in the
//! target's scratch directory: whoever changes a chart opens it and looks.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corelog::bench::compare::{Comparison, Row};
use corelog::bench::floor::{Driver, DurableWrite, FLOOR_FILE, Floor, OneInFlight, RoundTrip};
use corelog::bench::omb::{
    Acknowledged, Idempotent, KeyDistributor, OmbError, OmbRun, Overrides, file_name, result_json,
};
use corelog::bench::report::{Report, ReportError};
use corelog::bench::result::{
    Distribution, Point, ResultError, RunResult, SCHEMA_VERSION, Sweep, SweepStep, Totals, Verdict,
    encode_histogram, new_histogram, read_runs, write_json,
};
use hdrhistogram::Histogram;
use serde_json::json;

/// Seconds of a hand-made run.
const SECONDS: u64 = 30;
/// Messages of each second.
const PER_SECOND: u64 = 2_000;

/// A latency like real ones: a body around `median_ns`, one in 200 several times as long, now and then a stall.
fn latency(median_ns: u64, second: u64, message: u64) -> u64 {
    let spread = (message * 7_919 + second * 104_729) % 1_000;
    let body = median_ns * (700 + spread * 6 / 10) / 1_000;
    match message {
        _ if message.is_multiple_of(199) => body * (3 + spread % 5),
        _ if second % 10 == 7 && message.is_multiple_of(1_000) => body * 40,
        _ => body,
    }
}

fn second(median_ns: u64, second: u64) -> Histogram<u64> {
    let mut histogram = new_histogram();
    for message in 1..=PER_SECOND {
        histogram.record(latency(median_ns, second, message)).unwrap();
    }
    histogram
}

/// A valid run of both sides whose response time is around `median_ns`.
fn run(name: &str, median_ns: u64) -> RunResult {
    let kinds = [("response", 100), ("service", 90), ("delay", 4), ("e2e", 120)];
    let mut run = RunResult {
        schema: SCHEMA_VERSION,
        kind: "e2e".to_owned(),
        name: name.to_owned(),
        protocol: "native".to_owned(),
        spec: [
            ("rate", json!(2000.0)),
            ("size", json!(1024)),
            ("topics", json!(1)),
            ("partitions", json!(16)),
            ("producers", json!(4)),
            ("consumers", json!(4)),
            ("acks", json!("all")),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into(),
        started_ms: 1_700_000_000_000,
        seconds: SECONDS as f64,
        durability: "fsync".to_owned(),
        totals: Totals {
            target_rate: 2000.0,
            acked: SECONDS * PER_SECOND,
            acked_bytes: SECONDS * PER_SECOND * 1024,
            batches: SECONDS * 500,
            received: SECONDS * PER_SECOND,
            received_bytes: SECONDS * PER_SECOND * 1024,
            client_cpu: 0.3,
            ..Totals::default()
        },
        latency: Default::default(),
        series: Vec::new(),
        verdict: Verdict {
            valid: true,
            ..Verdict::default()
        },
        environment: [
            ("kernel.release", json!("6.18")),
            ("cpu.model", json!("A Processor")),
            ("disk.filesystem", json!("ext4")),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into(),
    };
    for (kind, percent) in kinds {
        let mut whole = new_histogram();
        for t in 1..=SECONDS {
            whole += second(median_ns * percent / 100, t);
        }
        run.latency.insert(kind.to_owned(), Distribution::of(&whole));
    }
    for (stage, percent) in [
        ("receive", 2),
        ("parse", 4),
        ("route", 1),
        ("append", 3),
        ("submit", 6),
        ("durable", 55),
        ("answer", 5),
    ] {
        let times = second(median_ns * percent / 100, 1);
        run.latency
            .insert(format!("stage.{stage}"), Distribution::of(&times));
    }
    for t in 1..=SECONDS {
        let histogram = second(median_ns, t);
        let intervals = kinds.map(|(kind, percent)| {
            (
                kind.to_owned(),
                encode_histogram(&second(median_ns * percent / 100, t)),
            )
        });
        run.series.push(Point {
            t: (t - 1) as f64,
            sent: PER_SECOND + 3,
            acked: PER_SECOND,
            received: PER_SECOND - t % 3,
            acked_bytes: PER_SECOND * 1024,
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
            backlog: 20 + t % 7,
            intervals: intervals.into(),
        });
    }
    run
}

fn row<'a>(comparison: &'a Comparison, metric: &str) -> &'a Row {
    comparison
        .rows
        .iter()
        .find(|row| row.metric == metric)
        .expect(metric)
}

#[test]
fn twice_the_latency_is_a_ratio_of_two() {
    let (a, b) = (run("a", 100_000), run("b", 200_000));
    let comparison = Comparison::of(std::slice::from_ref(&a), std::slice::from_ref(&b)).unwrap();
    for metric in [
        "response p50",
        "response p99",
        "response p99.9",
        "service p50",
        "e2e p99",
    ] {
        let row = row(&comparison, metric);
        assert!((row.ratio - 2.0).abs() < 0.01, "{metric} {}", row.ratio);
        assert!((row.merged_ratio.unwrap() - 2.0).abs() < 0.01);
    }
    assert!((row(&comparison, "acknowledged/s").ratio - 1.0).abs() < 1e-9);
    assert!(comparison.all_valid && comparison.doubts.is_empty() && comparison.differences.is_empty());
    assert!(comparison.worse_than(0.5).any(|row| row.metric == "response p50"));
    assert_eq!(comparison.worse_than(1.1).count(), 0);
    let back = Comparison::of(&[b], &[a]).unwrap();
    assert_eq!(back.worse_than(0.01).count(), 0, "better is never over the limit");
}

#[test]
fn percentiles_without_enough_values_behind_them_are_left_out() {
    let comparison = Comparison::of(&[run("a", 1_000)], &[run("b", 1_000)]).unwrap();
    assert!(comparison.rows.iter().any(|row| row.metric == "response p99.99"));
    let mut few = run("few", 1_000);
    for found in few.latency.values_mut() {
        *found = Distribution::of(&second(1_000, 1));
    }
    let comparison = Comparison::of(&[few], &[run("b", 1_000)]).unwrap();
    let metrics: Vec<&str> = comparison.rows.iter().map(|row| row.metric.as_str()).collect();
    assert!(
        metrics.contains(&"response p99") && !metrics.contains(&"response p99.99"),
        "{metrics:?}"
    );
}

#[test]
fn repeats_give_a_median_and_a_spread() {
    let a = [90_000, 100_000, 150_000].map(|median| run("a", median));
    let b = [110_000, 120_000, 130_000].map(|median| run("b", median));
    let comparison = Comparison::of(&a, &b).unwrap();
    let p50 = row(&comparison, "response p50");
    assert!((p50.ratio - 1.2).abs() < 0.01, "{}", p50.ratio);
    assert!(p50.a.min < p50.a.median && p50.a.median < p50.a.max);
    assert!(p50.overlap);
    let far = [400_000, 410_000].map(|median| run("far", median));
    assert!(!row(&Comparison::of(&a, &far).unwrap(), "response p50").overlap);
}

#[test]
fn what_makes_a_comparison_worthless_is_said() {
    let (a, mut b) = (run("a", 100_000), run("b", 100_000));
    b.verdict.valid = false;
    b.verdict.invalid = vec!["late sends 3 %".to_owned()];
    b.durability = "page cache".to_owned();
    b.spec.insert("size".to_owned(), json!(100));
    b.environment.insert("disk.filesystem".to_owned(), json!("xfs"));
    let comparison = Comparison::of(&[a], &[b]).unwrap();
    assert!(!comparison.all_valid);
    let all = comparison.doubts.join("\n");
    for said in [
        "INVALID RUN B[0] b: late sends 3 %",
        "durability differs: fsync, page cache",
        "size differs",
    ] {
        assert!(all.contains(said), "{said} not in {all}");
    }
    let facts: Vec<&str> = comparison
        .differences
        .iter()
        .map(|difference| difference.fact.as_str())
        .collect();
    assert_eq!(facts, ["disk.filesystem"]);
}

#[test]
fn runs_are_found_alone_and_as_repeats_and_newer_ones_are_refused() {
    let home = tempfile::tempdir().unwrap();
    assert!(matches!(read_runs(home.path()), Err(ResultError::Missing(_))));
    for repeat in ["2", "1", "3"] {
        run(repeat, 1_000).write(&home.path().join(repeat)).unwrap();
    }
    let names: Vec<String> = read_runs(home.path())
        .unwrap()
        .into_iter()
        .map(|run| run.name)
        .collect();
    assert_eq!(names, ["1", "2", "3"]);
    assert_eq!(read_runs(&home.path().join("2")).unwrap().len(), 1);

    let file = home.path().join("2/result.json");
    let mut value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    value["schema"] = json!(SCHEMA_VERSION + 1);
    fs::write(&file, value.to_string()).unwrap();
    let error = read_runs(home.path()).unwrap_err();
    assert!(matches!(error, ResultError::Newer { .. }), "{error}");
    assert!(error.to_string().contains("newer"), "{error}");
}

fn sweep() -> Sweep {
    let steps = (1..=10_u64).map(|step| {
        let rate = step as f64 * 20_000.0;
        let achieved = if step > 8 { 165_000.0 + rate / 50.0 } else { rate };
        let median = 90_000
            + if step > 7 {
                60_000 * (step - 6).pow(3)
            } else {
                step * 3_000
            };
        SweepStep {
            target_rate: rate,
            achieved_rate: achieved,
            achieved_bytes_rate: achieved * 1024.0,
            latency: [("response".to_owned(), Distribution::of(&second(median, step)))].into(),
            met: step < 8,
            verdict: Verdict {
                valid: step <= 8,
                invalid: if step > 8 {
                    vec!["missed rate".to_owned()]
                } else {
                    vec![]
                },
                warnings: vec![],
            },
            ..SweepStep::default()
        }
    });
    Sweep {
        schema: SCHEMA_VERSION,
        name: "native sweep".to_owned(),
        protocol: "native".to_owned(),
        objective: "p99.9<2ms".to_owned(),
        objective_ns: 2_000_000,
        durability: "fsync".to_owned(),
        steps: steps.collect(),
        knee: Some(6),
        ..Sweep::default()
    }
}

fn floor() -> Floor {
    let found = |median| Distribution::of(&second(median, 3));
    Floor {
        schema: SCHEMA_VERSION,
        one_in_flight: OneInFlight {
            request_bytes: 200,
            write_bytes: 4096,
            round_trip: found(20_000),
            write: found(60_000),
            sum: found(80_000),
            whole: found(82_000),
        },
        round_trips: vec![RoundTrip {
            request_bytes: 100,
            latency: found(20_000),
        }],
        durable: vec![DurableWrite {
            driver: Driver::Ring,
            bytes: 4096,
            depth: 4,
            latency: found(90_000),
            bytes_per_second: 180e6,
            writes_per_second: 44e3,
        }],
        ..Floor::default()
    }
}

/// Where the page of everything is left.
fn gallery() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-report")
}

#[test]
fn the_page_shows_everything_and_loads_nothing() {
    let home = gallery();
    let mut broken = run("kafka <door>", 180_000);
    broken.protocol = "kafka".to_owned();
    broken.verdict = Verdict {
        valid: false,
        invalid: vec!["late sends 3.2 % (bound 1 %)".to_owned()],
        warnings: vec!["client core 1 is 94 % busy".to_owned()],
    };
    broken
        .environment
        .insert("disk.filesystem".to_owned(), json!("xfs"));
    run("native", 110_000).write(&home.join("native")).unwrap();
    broken.write(&home.join("kafka")).unwrap();
    sweep().write(&home.join("sweep")).unwrap();
    write_json(&home.join("floor"), FLOOR_FILE, &floor()).unwrap();
    let directories = ["native", "kafka", "sweep", "floor"].map(|name| home.join(name));
    let html = Report::read(&directories).unwrap().html().unwrap();
    fs::write(home.join("report.html"), &html).unwrap();

    for shown in [
        "Response time by percentile",
        "99.99 %",
        "End-to-end latency by percentile",
        "Response time, cumulative",
        "Latency in each second: native",
        "Backlog",
        "knee 140k/s",
        "objective p99.9&lt;2ms",
        "Stages of a produce: native",
        "The machine&#39;s floor",
        "INVALID",
        "late sends 3.2 %",
        "class=differs",
        "kafka &lt;door&gt;",
    ] {
        assert!(
            html.contains(shown) || html.contains(&shown.replace("&#39;", "'")),
            "{shown} is not shown"
        );
    }
    for loaded in ["http:", "https:", "src=", "@import", "<door>", "NaN", "inf"] {
        assert!(!html.contains(loaded), "{loaded} is on the page");
    }
    let count = |what: &str| html.matches(what).count();
    assert_eq!(count("<svg"), count("</svg>"));
    assert_eq!(count("<figure"), count("</figure>"));
}

#[test]
fn a_run_that_measured_little_has_a_page_too() {
    let home = tempfile::tempdir().unwrap();
    let mut little = run("little", 5_000);
    little.series.clear();
    little.latency.retain(|name, _| name == "response");
    little.environment.clear();
    little.write(home.path()).unwrap();
    let html = Report::read(&[home.path().to_owned()]).unwrap().html().unwrap();
    assert!(html.contains("does not say where it was made") && !html.contains("Backlog"));
    let nowhere = tempfile::tempdir().unwrap();
    let none = Report::read(&[nowhere.path().to_owned()]);
    assert!(matches!(none, Err(ReportError::Nothing(_))));
}

#[test]
fn a_result_under_the_other_benchmarks_names_is_stable() {
    let mut little = run("one producer", 1_000_000);
    little.spec.insert("workload".to_owned(), json!("simple"));
    little.series.truncate(2);
    assert_eq!(file_name(&little), "simple-native-1700000000000.json");
    let value = result_json(&little).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/omb.json");
    let text = format!("{value:#}\n");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(
        text,
        fs::read_to_string(&golden).unwrap(),
        "UPDATE_EXPECT=1 rewrites the golden file"
    );

    let number = |name: &str| value[name].as_f64().expect(name);
    let within = |name: &str, low: f64, high: f64| {
        assert!((low..=high).contains(&number(name)), "{name} {}", number(name));
    };
    // The service time is around 0.9 ms and the delay around 40 us: milliseconds and microseconds.
    within("aggregatedPublishLatency50pct", 0.7, 1.1);
    within("aggregatedPublishDelayLatency50pct", 30.0, 50.0);
    within("aggregatedEndToEndLatency50pct", 1.0, 1.4);
    assert_eq!(value["publishLatency99pct"].as_array().map(Vec::len), Some(2));
}

#[test]
fn without_consumers_the_other_benchmark_writes_zeros() {
    let mut produce = run("produce", 1_000);
    produce.latency.remove("e2e");
    for point in &mut produce.series {
        point.intervals.remove("e2e");
    }
    let value = result_json(&produce).unwrap();
    assert_eq!(
        value["endToEndLatency95pct"],
        json!(vec![0.0; usize::try_from(SECONDS).unwrap()])
    );
}

const WORKLOAD: &str = "
name: Eight partitions, half a kilobyte   # a comment
topics: 2
partitionsPerTopic: 8
keyDistributor: \"KEY_ROUND_ROBIN\"
messageSize: 512
payloadFile: \"payload/half-kb.data\"
useRandomizedPayloads: true
randomBytesRatio: 0.5
randomizedPayloadPoolSize: 500
subscriptionsPerTopic: 3
consumerPerSubscription: 2
producersPerTopic: 4
producerRate: 50000
consumerBacklogSizeGB: 0
testDurationMinutes: 15
favouriteColour: blue
";

const DRIVER: &str = "
name: Durable
driverClass: some.benchmark.Driver
replicationFactor: 3
topicConfig: |
  retention.bytes=1000000
  flush.messages = 1
commonConfig: |
  bootstrap.servers=127.0.0.1:9092
producerConfig: |
  # a comment
  acks=all
  linger.ms=1
  batch.size=131072
  enable.idempotence=true
  compression.type=lz4
consumerConfig: |
  auto.offset.reset=earliest
  max.partition.fetch.bytes=131072
";

#[test]
fn a_workload_and_its_driver_become_a_run() {
    let overrides = Overrides {
        duration: Some(Duration::from_secs(30)),
        warmup: None,
    };
    let run = OmbRun::parse(WORKLOAD, Some(DRIVER), overrides).unwrap();
    let warnings = run.warnings.join("\n");
    for said in [
        "favouriteColour",
        "replicationFactor 3",
        "commonConfig",
        "compression.type=lz4",
    ] {
        assert!(warnings.contains(said), "{said} not in {warnings}");
    }
    assert_eq!(run.warnings.len(), 4, "{warnings}");
    let expected = OmbRun {
        name: "Eight partitions, half a kilobyte".to_owned(),
        driver: "Durable".to_owned(),
        topics: 2,
        partitions: 8,
        keys: KeyDistributor::RoundRobin,
        message_bytes: 512,
        producers: 8,
        subscriptions: 3,
        consumers: 4,
        rate: 50_000.0,
        duration: Duration::from_secs(30),
        warmup: Duration::from_secs(60),
        acknowledged: Acknowledged::Always,
        linger: Duration::from_millis(1),
        batch_bytes: 131_072,
        in_flight: 5,
        idempotent: Idempotent::Yes,
        topic_settings: vec![
            ("retention.bytes".to_owned(), "1000000".to_owned()),
            ("flush.messages".to_owned(), "1".to_owned()),
        ],
        fetch_bytes: 131_072,
        fetch_wait: Duration::from_millis(500),
        warnings: run.warnings.clone(),
    };
    assert_eq!(run, expected);
}

#[test]
fn a_workload_that_makes_no_sense_is_refused_by_name() {
    let parse = |text: &str| OmbRun::parse(text, None, Overrides::default());
    let minutes = OmbRun::parse(WORKLOAD, None, Overrides::default()).unwrap();
    assert_eq!(minutes.duration, Duration::from_secs(15 * 60));
    assert_eq!(
        parse("messageSize: 100"),
        Err(OmbError::Missing("testDurationMinutes"))
    );
    assert_eq!(
        parse("testDurationMinutes: 1"),
        Err(OmbError::Missing("messageSize"))
    );
    assert_eq!(parse("just words"), Err(OmbError::NoMapping));
    assert!(matches!(parse("a: [1, 2"), Err(OmbError::Syntax(_))));
    for wrong in [
        "messageSize: large",
        "messageSize: [1]",
        "messageSize: 1\ntopics: 99999999",
        "messageSize: 1\nproducerRate: -5",
        "messageSize: 1\nkeyDistributor: SOMETIMES",
        "messageSize: 1\ntestDurationMinutes: -1",
        "messageSize: 1\ntestDurationMinutes: .inf",
    ] {
        let error = parse(wrong).unwrap_err();
        assert!(matches!(error, OmbError::Value { .. }), "{wrong}: {error}");
    }
}

/// Exit code, stdout and stderr of `corelog bench` with these arguments.
fn bench(arguments: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = corelog::cli::Streams {
        input: &mut std::io::empty(),
        out: &mut out,
        err: &mut err,
    };
    let arguments = ["corelog", "bench"].iter().chain(arguments).map(Into::into);
    let code = corelog::cli::run_with(arguments, &mut streams);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}

#[test]
fn a_script_learns_from_the_exit_code_whether_it_got_worse() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    run("a", 100_000).write(&home.path().join("a")).unwrap();
    run("b", 120_000).write(&home.path().join("b")).unwrap();
    let mut invalid = run("c", 100_000);
    invalid.verdict.valid = false;
    invalid.write(&home.path().join("c")).unwrap();
    let (a, b, c) = (path("a"), path("b"), path("c"));

    let (code, out, _) = bench(&["compare", &a, &b]);
    assert_eq!(code, 0);
    assert!(out.contains("response p99") && out.contains("1.20"), "{out}");
    let (code, _, err) = bench(&["compare", &a, &b, "--fail-over", "5%"]);
    assert_eq!(code, 1);
    assert!(err.contains("response p99 by 20.0%"), "{err}");
    assert_eq!(bench(&["compare", &a, &b, "--fail-over", "30%"]).0, 0);
    assert_eq!(bench(&["compare", &b, &a, "--fail-over", "5%"]).0, 0);
    let (code, out, err) = bench(&["compare", &a, &c, "--fail-over", "5%"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("INVALID RUN B[0]") && err.contains("proves nothing"),
        "{out}{err}"
    );
    assert_eq!(bench(&["compare", &a, &b, "--fail-over", "much"]).0, 2);
    assert_eq!(bench(&["compare", &a, &path("none")]).0, 1);
}

#[test]
fn a_short_floor_is_printed_and_kept() {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let directory = home.path().to_str().unwrap();
    let arguments = [
        "floor",
        "--dir",
        directory,
        "--out",
        directory,
        "--sizes",
        "4KiB,64KiB",
        "--depths",
        "1,2",
        "--requests",
        "100B",
        "--duration",
        "5ms",
        "--file-size",
        "1MiB",
    ];
    let (code, out, err) = bench(&arguments);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("durable write, io_uring") && out.contains("sequential read"),
        "{out}"
    );
    let floor: Floor = corelog::bench::result::read_judged(&home.path().join(FLOOR_FILE)).unwrap();
    assert_eq!(floor.durable.len(), 8);
    assert!(floor.one_in_flight.whole.p50 > 0 && floor.sequential.write_bytes_per_second > 0.0);
    assert!(floor.environment.contains_key("disk.filesystem"));
    let (code, _, err) = bench(&["report", directory]);
    assert_eq!(code, 0, "{err}");
    assert!(
        fs::read_to_string(home.path().join("report.html"))
            .unwrap()
            .contains("TCP round trip")
    );
}

//! Stage times as a client sees them, on a real socket, against its own clock and against what the admin port says.
//!
//! The frames are written by hand from the tables in `base::stages` and ARCHITECTURE.md, so that broker and test share no
//! code but the names: the question is a tagged field of a flexible request, the answer one of 32 bytes.

#![expect(
    clippy::disallowed_methods,
    reason = "a test has clocks and patience of its own"
)]

#[expect(
    clippy::allow_attributes,
    reason = "which helpers stay unused differs from program to program"
)]
#[allow(dead_code, reason = "each test program uses some of the shared helpers")]
#[path = "support/support.rs"]
mod support;

use std::time::{Duration, Instant};

use support::broker::{Advertise, Broker, Options};
use support::wire::{self, Answer, Connection, FETCH, Fields, METADATA, PRODUCE};

const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
const CREATE_TOPICS: i16 = 19;
/// The tag of question and answer, 10 000, as an unsigned varint.
const TAG: [u8; 2] = [0x90, 0x4e];
const TOPIC: &str = "staged";
const DURABLE: u8 = 1;
const RELAXED: u8 = 2;
const READ: u8 = 3;

/// A request's last byte is an empty tag section; a question takes its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    None,
    Asked,
}

impl Question {
    fn tags(self) -> Vec<u8> {
        match self {
            Self::None => vec![0],
            Self::Asked => [&[1], &TAG[..], &[1, 1]].concat(),
        }
    }
}

/// What an answer told.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    path: u8,
    stages: [Duration; 7],
}

impl Told {
    fn total(&self) -> Duration {
        self.stages.iter().sum()
    }
}

/// A flexible request: header version 2 has a tag section of its own.
fn flexible(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    wire::request(api, version, 7, &[&[0], body].concat())
}

fn compact(out: &mut Vec<u8>, bytes: &[u8]) {
    unsigned(out, bytes.len() + 1);
    out.extend(bytes);
}

fn unsigned(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

fn produce(partitions: i32, question: Question) -> Vec<u8> {
    // No transaction, acks=all, a time-out, one topic.
    let mut body = vec![0];
    body.extend((-1_i16).to_be_bytes());
    body.extend(10_000_i32.to_be_bytes());
    body.push(2);
    compact(&mut body, TOPIC.as_bytes());
    unsigned(
        &mut body,
        usize::try_from(partitions).expect("few partitions") + 1,
    );
    for partition in 0..partitions {
        body.extend(partition.to_be_bytes());
        compact(&mut body, &wire::batch_of(b"value"));
        body.push(0);
    }
    body.push(0);
    body.extend(question.tags());
    flexible(PRODUCE, PRODUCE_VERSION, &body)
}

fn fetch(offset: i64, wait_ms: i32, question: Question) -> Vec<u8> {
    let mut body = Vec::new();
    for field in [-1, wait_ms, 1, 1 << 20] {
        body.extend(field.to_be_bytes());
    }
    // Isolation, no session, one topic, one partition, no epochs.
    body.push(0);
    body.extend(0_i32.to_be_bytes());
    body.extend((-1_i32).to_be_bytes());
    body.push(2);
    compact(&mut body, TOPIC.as_bytes());
    body.push(2);
    body.extend(0_i32.to_be_bytes());
    body.extend((-1_i32).to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend((-1_i32).to_be_bytes());
    body.extend((-1_i64).to_be_bytes());
    body.extend((1_i32 << 20).to_be_bytes());
    body.extend([0, 0]);
    // Nothing forgotten, no rack.
    body.extend([1, 1]);
    body.extend(question.tags());
    flexible(FETCH, FETCH_VERSION, &body)
}

/// Sends one request; its answer, and the round trip.
fn ask(client: &mut Connection, frame: &[u8]) -> (Vec<u8>, Duration) {
    let sent = Instant::now();
    client.send(frame).expect("a request is sent");
    match client.read().expect("an answer") {
        Answer::Frame(answer) => (answer, sent.elapsed()),
        Answer::Closed => panic!("the broker closed"),
    }
}

/// The stage times at the end of an answer. What precedes them is the same bytes as without.
fn told(answer: &[u8]) -> Told {
    let (_, ending) = answer.split_at(answer.len() - 36);
    assert_eq!(
        ending[..4],
        [1, TAG[0], TAG[1], 32],
        "one field of that tag: {answer:?}"
    );
    let times = &ending[4..];
    assert_eq!((times[0], &times[2..4]), (1, &[0, 0][..]), "layout 1");
    let mut stages = times[4..]
        .chunks(4)
        .map(|ns| u32::from_le_bytes(ns.try_into().expect("four bytes")));
    Told {
        path: times[1],
        stages: [(); 7].map(|()| Duration::from_nanos(stages.next().expect("seven stages").into())),
    }
}

fn broker(shards: u16) -> (Broker, Connection) {
    let broker = Broker::start(Options::new(shards, Advertise::Single));
    let client = Connection::open(broker.kafka()).expect("a connection");
    (broker, client)
}

/// Creates the topic by CreateTopics version 0.
fn create(client: &mut Connection, partitions: i32, configs: &[(&str, &str)]) {
    let mut body = 1_i32.to_be_bytes().to_vec();
    wire::string(&mut body, TOPIC.as_bytes());
    body.extend(partitions.to_be_bytes());
    body.extend(1_i16.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(i32::try_from(configs.len()).expect("few").to_be_bytes());
    for (name, value) in configs {
        wire::string(&mut body, name.as_bytes());
        wire::string(&mut body, value.as_bytes());
    }
    body.extend(10_000_i32.to_be_bytes());
    let version = 2;
    body.push(0);
    let answer = client.call(CREATE_TOPICS, version, &body).expect("an answer");
    let mut fields = Fields(&answer);
    fields.take(8).expect("throttle time and a count");
    fields.string().expect("the name");
    assert_eq!(fields.i16(), Some(0), "the topic is created");
    // Metadata answers when it is everywhere.
    client
        .call(METADATA, 4, &wire::metadata_body(TOPIC))
        .expect("metadata");
}

#[test]
fn a_producer_that_asks_is_told_where_its_round_trip_went() {
    let (_broker, mut client) = broker(1);
    create(&mut client, 1, &[]);
    for _ in 0..20 {
        let (answer, round_trip) = ask(&mut client, &produce(1, Question::Asked));
        let told = told(&answer);
        assert_eq!(told.path, DURABLE);
        assert!(told.total() <= round_trip, "{told:?} within {round_trip:?}");
        let [_, parse, route, append, _, durable, answer] = told.stages;
        for (stage, took) in [
            ("parse", parse),
            ("append", append),
            ("durable", durable),
            ("answer", answer),
        ] {
            assert!(took > Duration::ZERO, "{stage} of {told:?}");
        }
        assert_eq!(route, Duration::ZERO, "the only shard owns the partition");
        assert!(durable > append, "a device takes longer than a copy: {told:?}");
    }
}

#[test]
fn whoever_does_not_ask_gets_the_same_bytes_without_them() {
    let (_broker, mut client) = broker(1);
    create(&mut client, 1, &[]);
    let (with, _) = ask(&mut client, &produce(1, Question::Asked));
    let (without, _) = ask(&mut client, &produce(1, Question::None));
    // The base offset, one record apart, is all that differs before the tag sections.
    assert_eq!(with.len(), without.len() + 35);
    assert_eq!(without.last(), Some(&0), "an empty tag section");
    let differing = std::iter::zip(&with[..with.len() - 36], &without).filter(|(one, other)| one != other);
    assert_eq!(differing.collect::<Vec<_>>(), [(&0, &1)]);
    let (with, _) = ask(&mut client, &fetch(0, 0, Question::Asked));
    let (without, _) = ask(&mut client, &fetch(0, 0, Question::None));
    assert_eq!(with[..with.len() - 36], without[..without.len() - 1]);
}

#[test]
fn a_batch_that_crosses_cores_has_a_route() {
    let (broker, mut client) = broker(2);
    // So many partitions that no shard owns them all: 2^-30 against.
    create(&mut client, 32, &[]);
    let (answer, round_trip) = ask(&mut client, &produce(32, Question::Asked));
    let told = told(&answer);
    assert!(told.total() <= round_trip, "{told:?} within {round_trip:?}");
    assert!(told.stages[5] > Duration::ZERO);
    let ledger = ledger(&broker);
    assert_eq!(count(&ledger["merged"], "route"), 32);
    let shards = ledger["shards"].as_array().expect("shards");
    let route_ns = |shard: &serde_json::Value| row(&shard["stages"], "route")["sum_ns"].as_u64();
    assert!(
        shards.iter().any(|shard| route_ns(shard) > Some(0)),
        "some batches were routed: {shards:?}"
    );
}

#[test]
fn a_relaxed_topic_is_told_that_nothing_waited_for_the_device() {
    let (broker, mut client) = broker(1);
    create(&mut client, 1, &[("corelog.durability", "relaxed")]);
    let (answer, round_trip) = ask(&mut client, &produce(1, Question::Asked));
    let told = told(&answer);
    assert_eq!(told.path, RELAXED);
    assert!(told.total() <= round_trip && told.total() > Duration::ZERO);
    let ledger = ledger(&broker);
    assert_eq!(count(&ledger["merged"], "visible"), 1);
    assert_eq!(count(&ledger["merged"], "durable"), 0);
}

#[test]
fn a_reader_that_asks_learns_waiting_from_finding() {
    let (mut broker, mut client) = broker(1);
    create(&mut client, 1, &[]);
    let mut reader = Connection::open(broker.kafka()).expect("a connection");
    let sent = Instant::now();
    reader
        .send(&fetch(0, 20_000, Question::Asked))
        .expect("a long poll");
    broker.wait_until("the poll begins", |broker| {
        let (_, metrics) = broker.admin_get("/metrics").expect("metrics");
        metrics.contains("corelog_fetch_requests_total{shard=\"0\"} 1\n")
    });
    ask(&mut client, &produce(1, Question::None));
    let Answer::Frame(answer) = reader.read().expect("the records") else {
        panic!("the broker closed");
    };
    let round_trip = sent.elapsed();
    let told = told(&answer);
    assert_eq!(told.path, READ);
    assert!(told.total() <= round_trip, "{told:?} within {round_trip:?}");
    let [wait, find, send, ..] = told.stages;
    for (stage, took) in [("wait", wait), ("find", find), ("send", send)] {
        assert!(took > Duration::ZERO, "{stage} of {told:?}");
    }
    assert_eq!(told.stages[3..], [Duration::ZERO; 4]);
    let ledger = ledger(&broker);
    assert_eq!(count(&ledger["merged"], "find"), 1);
}

#[test]
fn the_ledger_counts_each_batch_once_and_matches_the_metrics() {
    const BATCHES: u64 = 50;
    let (broker, mut client) = broker(1);
    create(&mut client, 1, &[]);
    for _ in 0..BATCHES {
        ask(&mut client, &produce(1, Question::None));
    }
    let ledger = ledger(&broker);
    for stage in ["receive", "parse", "route", "append", "submit", "durable"] {
        assert_eq!(count(&ledger["merged"], stage), BATCHES, "{stage}");
    }
    let durable = row(&ledger["merged"], "durable");
    let (p50, p99, max) = ["p50_us", "p99_us", "max_us"]
        .map(|name| durable[name].as_f64().expect(name))
        .into();
    assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{durable}");
    let buckets = durable["buckets"].as_array().expect("buckets");
    let in_buckets: u64 = buckets
        .iter()
        .map(|bucket| bucket[1].as_u64().expect("a count"))
        .sum();
    assert_eq!(in_buckets, BATCHES);
    let (_, metrics) = broker.admin_get("/metrics").expect("metrics");
    let line = format!("corelog_stage_seconds_count{{shard=\"0\",stage=\"durable\"}} {BATCHES}");
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

fn ledger(broker: &Broker) -> serde_json::Value {
    let (status, body) = broker.admin_get("/v1/stages").expect("the ledger");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn row<'a>(rows: &'a serde_json::Value, stage: &str) -> &'a serde_json::Value {
    let mut rows = rows.as_array().expect("stages").iter();
    rows.find(|row| row["stage"] == stage)
        .expect("every stage is there")
}

fn count(rows: &serde_json::Value, stage: &str) -> u64 {
    row(rows, stage)["count"].as_u64().expect("a count")
}

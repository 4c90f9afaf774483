//! Real clients, unmodified, against a real broker: every number of shards, both ways to advertise them.
//!
//! Each test starts one broker and lets four clients loose on it: kcat with the librdkafka of Debian 12,
//! confluent-kafka with a current one, kafka-python, and rskafka. What each of them shows is written at the top
//! of its program in `tests/clients/`; the Rust client's part is below. A client's failure does not hide the
//! next one's. The Python programs and kcat come from `scripts/setup-test-env`; without them the tests fail.

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

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use rskafka::chrono::{TimeZone, Utc};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use support::broker::{Advertise, Broker, Options, binary};
use support::programs;

/// The programs of `tests/clients`.
const PROGRAMS: [&str; 3] = [
    "kcat_program.py",
    "confluent_program.py",
    "kafka_python_program.py",
];
/// How long the Rust client, which retries for ever by itself, may take for its part.
const RUST_CLIENT_BOUND: Duration = Duration::from_secs(60);
/// What the Rust client sends in one call.
const BATCH: usize = 100;

#[test]
fn one_shard_per_core() {
    clients_are_served(Options::new(1, Advertise::PerCore));
}

#[test]
fn one_shard_single() {
    clients_are_served(Options::new(1, Advertise::Single));
}

#[test]
fn two_shards_per_core() {
    clients_are_served(Options::new(2, Advertise::PerCore));
}

#[test]
fn two_shards_single() {
    clients_are_served(Options::new(2, Advertise::Single));
}

#[test]
fn four_shards_per_core() {
    clients_are_served(Options::new(4, Advertise::PerCore));
}

#[test]
fn four_shards_single() {
    clients_are_served(Options::new(4, Advertise::Single));
}

/// What was acknowledged under one number of shards is read under another, after a kill and after a stop.
#[test]
fn records_survive_a_change_of_shard_count() {
    let mut broker = Broker::start(Options::new(1, Advertise::PerCore));
    block_on(async {
        let client = connect(broker.kafka()).await?;
        create(&client, "moving", 8).await?;
        for partition in 0..8 {
            produce(
                &partition_of(&client, "moving", partition).await?,
                Compression::NoCompression,
                BATCH,
            )
            .await?;
        }
        Ok(())
    })
    .expect("records are produced");
    for (shards, advertise) in [
        (4, Advertise::PerCore),
        (2, Advertise::Single),
        (1, Advertise::PerCore),
    ] {
        if shards == 2 {
            assert!(
                broker.terminate().success(),
                "a graceful stop exits with success\n{}",
                broker.said()
            );
        } else {
            broker.kill();
        }
        broker.reconfigure(|options| (options.shards, options.advertise) = (shards, advertise));
        broker.spawn();
        broker.wait_ready();
        block_on(async {
            let client = connect(broker.kafka()).await?;
            for partition in 0..8 {
                read_back(&partition_of(&client, "moving", partition).await?, 0, BATCH).await?;
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("with {shards} shards, {advertise:?}: {failure}"));
    }
}

/// The main job, as the acceptance script does it with a small file of its own.
#[test]
fn shipped_log_lines_come_back_identical() {
    for advertise in ["per-core", "single"] {
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/accept-logs"));
        script.env("CORELOG", binary()).env("ADVERTISE", advertise);
        programs::run(script).expect("the acceptance script is content");
    }
}

fn clients_are_served(options: Options) {
    programs::require_kcat();
    let mut broker = Broker::start(options);
    let address = broker.kafka().to_string();
    let count = broker.options().advertised_brokers().to_string();
    let mut failures = Vec::new();
    for program in PROGRAMS {
        let mut command = programs::client_program(program);
        command.args([address.as_str(), "--broker-count", count.as_str()]);
        failures.extend(programs::run(command).err());
    }
    failures.extend(block_on(rust_client(broker.kafka())).err());
    assert!(
        failures.is_empty(),
        "{:?}\n{}",
        broker.options(),
        failures.join("\n")
    );
    assert!(broker.terminate().success(), "a graceful stop exits with success");
}

/// Runs the Rust client's part to its end or its bound.
fn block_on(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let bounded = tokio::time::timeout(RUST_CLIENT_BOUND, work).await;
        bounded.unwrap_or_else(|_| Err(format!("rskafka: not done within {RUST_CLIENT_BOUND:?}")))
    })
}

async fn rust_client(address: SocketAddr) -> Result<(), String> {
    let client = connect(address).await?;
    let codecs = [
        ("none", Compression::NoCompression),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("zstd", Compression::Zstd),
    ];
    for (name, codec) in codecs {
        let topic = format!("rskafka-{name}");
        create(&client, &topic, 2).await?;
        for partition in 0..2 {
            let partition = partition_of(&client, &topic, partition).await?;
            produce(&partition, codec, BATCH).await?;
            read_back(&partition, 0, BATCH).await?;
            read_back(&partition, 42, BATCH).await?;
        }
    }
    let topics = client.list_topics().await.map_err(said("list topics"))?;
    let found = topics
        .iter()
        .find(|topic| topic.name == "rskafka-zstd")
        .ok_or("rskafka-zstd is not listed")?;
    if found.partitions.iter().copied().collect::<Vec<_>>() != [0, 1] {
        return Err(format!("rskafka-zstd has the partitions {:?}", found.partitions));
    }
    let controller = client.controller_client().map_err(said("controller"))?;
    controller
        .delete_topic("rskafka-none", 5_000)
        .await
        .map_err(said("delete topic"))?;
    let topics = client.list_topics().await.map_err(said("list topics"))?;
    if topics.iter().any(|topic| topic.name == "rskafka-none") {
        return Err("rskafka-none is listed after its deletion".to_owned());
    }
    Ok(())
}

async fn connect(address: SocketAddr) -> Result<Client, String> {
    ClientBuilder::new(vec![address.to_string()])
        .build()
        .await
        .map_err(said("connect"))
}

async fn create(client: &Client, topic: &str, partitions: i32) -> Result<(), String> {
    let controller = client.controller_client().map_err(said("controller"))?;
    controller
        .create_topic(topic, partitions, 1, 5_000)
        .await
        .map_err(said("create topic"))
}

async fn partition_of(client: &Client, topic: &str, partition: i32) -> Result<PartitionClient, String> {
    client
        .partition_client(topic, partition, UnknownTopicHandling::Retry)
        .await
        .map_err(said("find the leader"))
}

/// The record that belongs at an offset.
fn record_at(offset: usize) -> Record {
    let millis = 1_600_000_000_000 + i64::try_from(offset).expect("a small offset");
    Record {
        key: offset
            .is_multiple_of(2)
            .then(|| format!("key {offset}").into_bytes()),
        value: Some(format!("value {offset:>60}").into_bytes()),
        headers: [("offset".to_owned(), offset.to_string().into_bytes())].into(),
        timestamp: Utc.timestamp_millis_opt(millis).single().expect("a time"),
    }
}

async fn produce(partition: &PartitionClient, codec: Compression, count: usize) -> Result<(), String> {
    let records = (0..count).map(record_at).collect();
    let offsets = partition.produce(records, codec).await.map_err(said("produce"))?;
    let dense: Vec<i64> = (0..).take(count).collect();
    if offsets != dense {
        return Err(format!("rskafka: offsets {offsets:?} for {count} first records"));
    }
    Ok(())
}

/// Reads `[from, end)` and compares every record; the high watermark must be `end`.
async fn read_back(partition: &PartitionClient, from: usize, end: usize) -> Result<(), String> {
    let latest = partition
        .get_offset(OffsetAt::Latest)
        .await
        .map_err(said("latest offset"))?;
    if usize::try_from(latest) != Ok(end) {
        return Err(format!("rskafka: latest offset {latest}, expected {end}"));
    }
    let mut next = from;
    while next < end {
        let offset = i64::try_from(next).expect("a small offset");
        let (records, _) = partition
            .fetch_records(offset, 1..1 << 20, 500)
            .await
            .map_err(said("fetch"))?;
        if records.is_empty() {
            return Err(format!("rskafka: nothing at offset {next} of {end}"));
        }
        for got in records {
            if usize::try_from(got.offset) != Ok(next) || got.record != record_at(next) {
                return Err(format!(
                    "rskafka: {got:?} at offset {next}, expected {:?}",
                    record_at(next)
                ));
            }
            next += 1;
        }
    }
    Ok(())
}

/// Turns a client's error into words that name the step.
fn said<E: std::fmt::Display>(step: &'static str) -> impl Fn(E) -> String {
    move |error| format!("rskafka: {step}: {error}")
}

//! The native client library against a real broker: nothing lost, nothing twice, everything in order, across kills; what
//! one protocol writes the other reads; and the asynchronous front like the blocking one.
//!
//! The client is the crate's own, used through its public door only. The broker is a process that the tests kill as a
//! power cut would. The Kafka side of the exchange is `corelog produce` and `corelog consume`, which speak Kafka and
//! nothing else, and kcat.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]
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
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use corelog::client::{
    Acks, Client, Consumer, ConsumerConfig, Delivery, Error, ErrorCode, NewRecord, OutOfRange, Position,
    Producer, ProducerConfig, RecordHeader, Start, asynchronous,
};
use support::broker::{Advertise, Broker, Options, binary};
use support::programs;

const TOPIC: &str = "t";
/// How long a test waits for records that must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// One wait for a push.
const POLL: Duration = Duration::from_millis(200);

struct Bench {
    broker: Broker,
    client: Client,
}

impl Bench {
    fn start(shards: u16, advertise: Advertise, partitions: u32) -> Self {
        let broker = Broker::start(Options::new(shards, advertise));
        let mut client = Client::connect(&broker.native().to_string()).unwrap();
        client.create_topic(TOPIC, partitions, &[]).unwrap();
        Self { broker, client }
    }

    fn producer(&self) -> Producer {
        self.client.producer(ProducerConfig::default()).unwrap()
    }

    fn consumer(&self, start: Start) -> Consumer {
        let mut consumer = self.client.consumer(ConsumerConfig::default()).unwrap();
        consumer.subscribe(TOPIC, None, start).unwrap();
        consumer
    }

    fn corelog(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new(binary())
            .args(arguments)
            .args(["--brokers", &self.broker.kafka().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "corelog {arguments:?}: {}",
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What a consumer saw, in the order it saw it: offset and value by partition.
type Seen = BTreeMap<u32, Vec<(u64, String)>>;

/// Reads until `count` records were seen.
fn read(consumer: &mut Consumer, count: usize) -> Seen {
    let (mut seen, mut left) = (Seen::new(), count);
    let deadline = Instant::now() + PATIENCE;
    while left > 0 {
        assert!(
            Instant::now() < deadline,
            "{left} of {count} records did not come"
        );
        let Some(batches) = consumer.poll(POLL).unwrap() else {
            continue;
        };
        for record in batches.records() {
            let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
            seen.entry(record.partition)
                .or_default()
                .push((record.offset, value));
            left = left.checked_sub(1).expect("no more records than were sent");
        }
    }
    seen
}

/// Offsets must be dense from 0.
fn assert_dense(seen: &Seen) {
    for (partition, records) in seen {
        for (expected, (offset, value)) in (0_u64..).zip(records) {
            assert_eq!(*offset, expected, "partition {partition}, {value}");
        }
    }
}

fn values(seen: &Seen, partition: u32) -> Vec<&str> {
    seen.get(&partition)
        .into_iter()
        .flatten()
        .map(|(_, value)| value.as_str())
        .collect()
}

#[test]
fn kills_lose_nothing_repeat_nothing_and_keep_the_order() {
    const RECORDS: usize = 100_000;
    const PARTITIONS: u32 = 4;
    let mut bench = Bench::start(2, Advertise::PerCore, PARTITIONS);
    let mut producer = bench
        .client
        .producer(ProducerConfig {
            batch_bytes: 16 << 10,
            ..ProducerConfig::default()
        })
        .unwrap();
    let mut last: Vec<Option<Delivery>> = vec![None; PARTITIONS as usize];
    for index in 0..RECORDS {
        if [RECORDS / 4, RECORDS / 2].contains(&index) {
            bench.broker.kill();
            bench.broker.spawn();
        }
        let partition = u32::try_from(index).unwrap() % PARTITIONS;
        let value = index.to_string();
        let record = NewRecord::to(TOPIC).value(value.as_bytes()).partition(partition);
        last[partition as usize] = Some(producer.send(&record).unwrap());
    }
    producer.flush().unwrap();
    bench.broker.wait_ready();
    let seen = read(&mut bench.consumer(Start::Earliest), RECORDS);
    assert_dense(&seen);
    for partition in 0..PARTITIONS {
        let sent = (0..RECORDS).filter(|index| u32::try_from(*index).unwrap() % PARTITIONS == partition);
        let sent: Vec<String> = sent.map(|index| index.to_string()).collect();
        assert!(
            values(&seen, partition) == sent,
            "partition {partition} is not what was sent"
        );
        let delivered = last[partition as usize]
            .take()
            .unwrap()
            .outcome()
            .unwrap()
            .unwrap();
        assert_eq!(
            delivered.offset,
            seen[&partition].last().map(|(offset, _)| *offset)
        );
    }
}

#[test]
fn a_consumer_goes_on_where_it_was_after_a_kill() {
    const ROUNDS: usize = 3;
    const EACH: usize = 2_000;
    let mut bench = Bench::start(2, Advertise::PerCore, 2);
    let mut producer = bench.producer();
    let mut consumer = bench.consumer(Start::Earliest);
    let mut seen = Seen::new();
    for round in 0..ROUNDS {
        for index in 0..EACH {
            let value = format!("{round} {index}");
            let record = NewRecord::to(TOPIC).key(value.as_bytes()).value(value.as_bytes());
            producer.send(&record).unwrap();
        }
        producer.flush().unwrap();
        for (partition, records) in read(&mut consumer, EACH) {
            seen.entry(partition).or_default().extend(records);
        }
        bench.broker.kill();
        bench.broker.spawn();
        bench.broker.wait_ready();
    }
    assert_dense(&seen);
    assert_eq!(
        consumer
            .poll(POLL)
            .unwrap()
            .map(|batches| batches.records().count()),
        None
    );
}

#[test]
fn a_consumer_reads_while_a_producer_writes() {
    const RECORDS: usize = 20_000;
    for advertise in [Advertise::PerCore, Advertise::Single] {
        let bench = Bench::start(2, advertise, 3);
        let mut producer = bench.producer();
        let writer = std::thread::spawn(move || {
            for index in 0..RECORDS {
                let value = index.to_string();
                let record = NewRecord::to(TOPIC).key(value.as_bytes()).value(value.as_bytes());
                producer.send(&record).unwrap();
            }
            producer.close().unwrap();
        });
        let seen = read(&mut bench.consumer(Start::Earliest), RECORDS);
        writer.join().unwrap();
        assert_dense(&seen);
        for records in seen.values() {
            let numbers: Vec<usize> = records.iter().map(|(_, value)| value.parse().unwrap()).collect();
            assert!(numbers.is_sorted(), "records of one producer arrive in its order");
        }
    }
}

#[test]
fn views_show_keys_headers_nulls_and_times() {
    let bench = Bench::start(1, Advertise::PerCore, 1);
    let headers = [
        RecordHeader::new("one", b"1"),
        RecordHeader {
            key: b"none",
            value: None,
        },
        RecordHeader::new("empty", b""),
    ];
    let mut producer = bench.producer();
    let records = [
        NewRecord::to(TOPIC)
            .key(b"k")
            .value(b"v")
            .timestamp(1_000)
            .headers(&headers),
        NewRecord::to(TOPIC).key(b"").value(b"").timestamp(2_000),
        NewRecord::to(TOPIC).timestamp(1_700_000_000_000),
    ];
    records
        .iter()
        .for_each(|record| drop(producer.send(record).unwrap()));
    producer.flush().unwrap();

    let mut consumer = bench.consumer(Start::Earliest);
    let deadline = Instant::now() + PATIENCE;
    let mut seen = 0;
    while seen < records.len() {
        assert!(Instant::now() < deadline, "the records did not come");
        let Some(batches) = consumer.poll(POLL).unwrap() else {
            continue;
        };
        for record in batches.records() {
            assert_eq!((record.topic, record.offset), (TOPIC, seen as u64));
            match seen {
                0 => {
                    assert_eq!((record.key, record.value), (Some(&b"k"[..]), Some(&b"v"[..])));
                    assert_eq!(record.headers.collect::<Vec<_>>(), headers);
                    assert_eq!(record.timestamp.get(), 1_000);
                }
                1 => assert_eq!((record.key, record.value), (Some(&b""[..]), Some(&b""[..]))),
                _ => {
                    assert_eq!((record.key, record.value), (None, None));
                    assert_eq!(record.timestamp.get(), 1_700_000_000_000);
                }
            }
            seen += 1;
        }
    }
}

#[test]
fn what_kafka_clients_write_native_clients_read() {
    let bench = Bench::start(2, Advertise::PerCore, 1);
    let mut sent = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let lines: Vec<String> = (0..200).map(|index| format!("{codec} {index}")).collect();
        bench.corelog(&["produce", TOPIC, "-z", codec], &(lines.join("\n") + "\n"));
        sent.extend(lines);
    }
    programs::require_kcat();
    let mut kcat = Command::new("kcat")
        .args([
            "-P",
            "-t",
            TOPIC,
            "-K",
            ":",
            "-H",
            "from=kcat",
            "-b",
            &bench.broker.kafka().to_string(),
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    kcat.stdin.take().unwrap().write_all(b"key:by kcat\n").unwrap();
    assert!(kcat.wait().unwrap().success());
    sent.push("by kcat".to_owned());

    let seen = read(&mut bench.consumer(Start::Earliest), sent.len());
    assert_dense(&seen);
    assert_eq!(values(&seen, 0), sent);
    let mut client = bench.client;
    let last = u64::try_from(sent.len()).unwrap() - 1;
    let batches = client.fetch(TOPIC, Position::new(0, last)).unwrap();
    let record = batches.records().next().unwrap();
    assert_eq!(record.key, Some(&b"key"[..]));
    assert_eq!(
        record.headers.collect::<Vec<_>>(),
        [RecordHeader::new("from", b"kcat")]
    );
}

#[test]
fn what_native_clients_write_kafka_clients_read() {
    let bench = Bench::start(2, Advertise::PerCore, 1);
    let mut producer = bench.producer();
    let sent: Vec<String> = (0..1_000).map(|index| format!("record {index}")).collect();
    for value in &sent {
        producer
            .send(&NewRecord::to(TOPIC).key(b"k").value(value.as_bytes()))
            .unwrap();
    }
    producer.flush().unwrap();
    let printed = bench.corelog(&["consume", TOPIC, "-o", "start", "-e", "-f", "%k=%v\n"], "");
    let expected: String = sent.iter().map(|value| format!("k={value}\n")).collect();
    assert!(printed == expected, "corelog consume printed something else");
}

#[test]
fn without_acknowledgements_records_arrive_all_the_same() {
    const RECORDS: usize = 5_000;
    let bench = Bench::start(1, Advertise::PerCore, 1);
    let config = ProducerConfig {
        acks: Acks::None,
        ..ProducerConfig::default()
    };
    let mut producer = bench.client.producer(config).unwrap();
    let sent: Vec<String> = (0..RECORDS).map(|index| index.to_string()).collect();
    for value in &sent {
        let delivery = producer
            .send(&NewRecord::to(TOPIC).value(value.as_bytes()))
            .unwrap();
        drop(delivery);
    }
    producer.flush().unwrap();
    let seen = read(&mut bench.consumer(Start::Earliest), RECORDS);
    assert_eq!(values(&seen, 0), sent);
}

#[test]
fn topics_are_made_described_searched_and_deleted() {
    let mut bench = Bench::start(2, Advertise::PerCore, 3);
    let client = &mut bench.client;
    let again = client.create_topic(TOPIC, 3, &[]).unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::TopicExists));
    client
        .create_topic("relaxed", 1, &[("corelog.durability", "relaxed")])
        .unwrap();
    assert!(client.describe_topic("relaxed").unwrap().unwrap().relaxed);
    let described = client.describe_topic(TOPIC).unwrap().unwrap();
    assert_eq!((described.leaders.len(), described.relaxed), (3, false));
    assert_eq!(client.topics().unwrap().len(), 2);
    assert_eq!(client.describe_topic("nowhere").unwrap(), None);

    let mut producer = client.producer(ProducerConfig::default()).unwrap();
    for time in [1_000, 2_000, 3_000] {
        producer
            .send(&NewRecord::to(TOPIC).partition(1).value(b"x").timestamp(time))
            .unwrap();
        producer.flush().unwrap();
    }
    let mut offset = |start| client.offset(TOPIC, 1, start).unwrap();
    assert_eq!(offset(Start::Earliest), Some(0));
    assert_eq!(offset(Start::Latest), Some(3));
    assert_eq!(offset(Start::Time(1_500)), Some(1));
    assert_eq!(offset(Start::Time(9_000)), None);

    client.delete_topic(TOPIC).unwrap();
    assert_eq!(client.describe_topic(TOPIC).unwrap(), None);
    let gone = client.delete_topic(TOPIC).unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UnknownTopic));
}

#[test]
fn consumers_begin_anywhere_and_jump() {
    let bench = Bench::start(1, Advertise::PerCore, 1);
    let mut producer = bench.producer();
    for index in 0..100_i64 {
        let value = index.to_string();
        producer
            .send(
                &NewRecord::to(TOPIC)
                    .value(value.as_bytes())
                    .timestamp(1_000 + index),
            )
            .unwrap();
    }
    producer.flush().unwrap();

    let mut consumer = bench.consumer(Start::Time(1_090));
    assert_eq!(values(&read(&mut consumer, 10), 0)[0], "90");
    consumer.seek(TOPIC, 0, Start::Offset(40)).unwrap();
    assert_eq!(values(&read(&mut consumer, 60), 0)[0], "40");
    assert_eq!(consumer.position(TOPIC, 0).unwrap(), Some(100));

    consumer.seek(TOPIC, 0, Start::Offset(5_000)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        assert!(
            Instant::now() < deadline,
            "nobody minds an offset that is not there"
        );
        if let Err(error) = consumer.poll(POLL) {
            break error;
        }
    };
    assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
    consumer.seek(TOPIC, 0, Start::Latest).unwrap();
    assert!(consumer.poll(POLL).unwrap().is_none());
    producer.send(&NewRecord::to(TOPIC).value(b"new")).unwrap();
    producer.flush().unwrap();
    assert_eq!(values(&read(&mut consumer, 1), 0), ["new"]);

    let config = ConsumerConfig {
        out_of_range: OutOfRange::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = bench.client.consumer(config).unwrap();
    consumer.subscribe(TOPIC, None, Start::Offset(5_000)).unwrap();
    assert_eq!(values(&read(&mut consumer, 101), 0)[0], "0");
}

#[test]
fn small_credit_slows_and_never_stops() {
    const RECORDS: usize = 2_000;
    let bench = Bench::start(1, Advertise::PerCore, 2);
    let mut producer = bench.producer();
    let filler = "x".repeat(500);
    for index in 0..RECORDS {
        let value = format!("{index} {filler}");
        producer
            .send(&NewRecord::to(TOPIC).key(value.as_bytes()).value(value.as_bytes()))
            .unwrap();
    }
    producer.flush().unwrap();
    let config = ConsumerConfig {
        credit_bytes: 4096,
        push_bytes: 4096,
        ..ConsumerConfig::default()
    };
    let mut consumer = bench.client.consumer(config).unwrap();
    consumer.subscribe(TOPIC, None, Start::Earliest).unwrap();
    assert_dense(&read(&mut consumer, RECORDS));
}

#[test]
fn nobody_there_is_said_in_time() {
    let config = corelog::client::ClientConfig {
        connect_timeout: Duration::from_millis(300),
        ..corelog::client::ClientConfig::default()
    };
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = Client::connect_with(&address.to_string(), config).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn the_asynchronous_front_does_the_same() {
    const RECORDS: usize = 10_000;
    let mut broker = Broker::start(Options::new(2, Advertise::PerCore));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = asynchronous::Client::connect(&broker.native().to_string())
            .await
            .unwrap();
        client.create_topic(TOPIC, 2, &[]).await.unwrap();
        let mut producer = client.producer(ProducerConfig::default()).unwrap();
        let mut consumer = client.consumer(ConsumerConfig::default()).unwrap();
        consumer.subscribe(TOPIC, None, Start::Earliest).await.unwrap();
        let produce = async {
            for index in 0..RECORDS {
                if index == RECORDS / 2 {
                    broker.kill();
                    broker.spawn();
                }
                let value = index.to_string();
                let record = NewRecord::to(TOPIC).key(value.as_bytes()).value(value.as_bytes());
                producer.send(&record).await.unwrap();
            }
            producer.flush().await.unwrap();
        };
        let consume = async {
            let mut seen = Seen::new();
            let mut left = RECORDS;
            while left > 0 {
                let Some(batches) = consumer.poll(Duration::from_secs(1)).await.unwrap() else {
                    continue;
                };
                for record in batches.records() {
                    let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                    seen.entry(record.partition)
                        .or_default()
                        .push((record.offset, value));
                    left -= 1;
                }
            }
            seen
        };
        let both = async { tokio::join!(produce, consume).1 };
        let seen = tokio::time::timeout(PATIENCE, both)
            .await
            .expect("all records come in time");
        assert_dense(&seen);
        let mut numbers: Vec<usize> = seen
            .values()
            .flatten()
            .map(|(_, value)| value.parse().unwrap())
            .collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..RECORDS), "every record is there once");

        let batches = client.fetch(TOPIC, Position::new(0, 3)).await.unwrap();
        assert_eq!(batches.records().next().unwrap().offset, 3);
    });
}

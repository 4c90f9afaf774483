//! `kill -9` at random moments under load: what was acknowledged stays, and what was seen does not change.
//!
//! Two idempotent producers and a reader, each a process of its own on confluent-kafka, work through the whole
//! test while the broker is killed and started again, some of the time killed once more while it recovers. After
//! every round the newest stretch of every partition is read with another client and judged by
//! `corelog::proof::history`; in the end everything is read from offset zero. A kill leaves the page cache, so this
//! finds faults of state and order, not missing syncs: those are the power-loss test's.
//!
//! This is the view of other people's clients. [`prove`] is that of the crate's own, with many more kinds of load, aimed
//! kills and power cuts.
//!
//! `CORELOG_KILL_ROUNDS` sets the number of rounds (25), `CORELOG_SEED` the choices.

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

#[path = "kill_loop/prove.rs"]
mod prove;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corelog::proof::history::{History, Partition, Place, Value};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};
use support::broker::{Advertise, Broker, Options};
use support::programs::{self, Worker};
use support::seed::Seed;

const ROUNDS: u64 = 25;
const TOPIC: &str = "kill-loop";
const PARTITIONS: i32 = 6;
/// One codec for each producer.
const PRODUCERS: [&str; 2] = ["none", "zstd"];
/// From readiness to the kill.
const ALIVE_MS: std::ops::Range<u64> = 50..800;
/// From the start of the process to a kill inside recovery, in every fourth round or so.
const RECOVERING_MS: std::ops::Range<u64> = 0..50;
/// How many offsets before the stretch that is new are read again after each round.
const READ_AGAIN: u64 = 200;
/// Fewer acknowledgements than this for each round, and the load was not one.
const ACKED_PER_ROUND_MIN: u64 = 20;
/// One read of the newest stretch of every partition, or of everything.
const READ_BOUND: Duration = Duration::from_secs(60);

#[test]
fn acknowledged_records_survive_kills_once_in_order_and_unchanged() {
    let rounds =
        std::env::var("CORELOG_KILL_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number of rounds"));
    let mut seed = Seed::announced("kill_loop");
    let began = Instant::now();
    let mut broker = Broker::start(Options::new(2, Advertise::PerCore));
    let mut load = Load::start(&broker);
    let mut history = History::default();

    let mut read_up_to = BTreeMap::new();
    for round in 0..rounds {
        // Random time for the load to be under way is this test's subject, not a way to wait for something.
        std::thread::sleep(Duration::from_millis(seed.within(ALIVE_MS)));
        broker.kill();
        broker.spawn();
        if seed.within(0..4) == 0 {
            std::thread::sleep(Duration::from_millis(seed.within(RECOVERING_MS)));
            broker.kill();
            broker.spawn();
        }
        broker.wait_ready();

        load.observe(&mut history);
        let from = read_up_to
            .iter()
            .map(|(p, end): (&Partition, &u64)| (*p, end.saturating_sub(READ_AGAIN)))
            .collect();
        read_up_to = read_logs(broker.kafka(), &from, &mut history);
        let broken = history.check(&from);
        assert!(broken.is_empty(), "round {round}: {}\n{}", broken, broker.said());
        load.assert_running();
    }

    let attempted = load.finish(&mut history);
    for (producer, count) in &attempted {
        history.attempted(*producer, *count);
    }
    read_logs(broker.kafka(), &BTreeMap::new(), &mut history);
    let broken = history.check_all();
    assert!(broken.is_empty(), "in the end: {}\n{}", broken, broker.said());
    let acked = history.acked_count();
    eprintln!(
        "kill_loop: {rounds} rounds, {acked} records acknowledged, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert!(
        acked >= rounds * ACKED_PER_ROUND_MIN,
        "only {acked} records were acknowledged in {rounds} rounds: no load"
    );
    assert_eq!(
        acked,
        attempted.values().sum::<u64>(),
        "every attempted record was acknowledged in the end"
    );
    assert!(broker.terminate().success(), "a graceful stop exits with success");
}

/// The producers, the reader and the files they write down what happens to them in.
struct Load {
    producers: Vec<(Worker, Journal)>,
    reader: (Worker, Journal),
}

impl Load {
    fn start(broker: &Broker) -> Self {
        let (address, partitions) = (broker.kafka().to_string(), PARTITIONS.to_string());
        let mut create = programs::client_program("create_topic.py");
        // Small segments, so that kills also fall into rolls.
        create.args([address.as_str(), TOPIC, &partitions, "segment.bytes=1048576"]);
        programs::run(create).expect("the topic is created");

        let producer = |(number, codec): (usize, &&str)| {
            let journal = Journal::new(broker.home().join(format!("acks-{number}")));
            let mut program = programs::client_program("producer_loop.py");
            program
                .args([address.as_str(), TOPIC, &partitions, &number.to_string(), codec])
                .arg(&journal.path);
            (Worker::spawn("a producer", &mut program), journal)
        };
        let producers = PRODUCERS.iter().enumerate().map(producer).collect();
        let journal = Journal::new(broker.home().join("seen"));
        let mut program = programs::client_program("consumer_loop.py");
        program
            .args([address.as_str(), TOPIC, &partitions])
            .arg(&journal.path);
        Self {
            producers,
            reader: (Worker::spawn("the reader", &mut program), journal),
        }
    }

    fn assert_running(&mut self) {
        self.producers
            .iter_mut()
            .for_each(|(worker, _)| worker.assert_running());
        self.reader.0.assert_running();
    }

    /// Notes what the programs have written down since the last call.
    fn observe(&mut self, history: &mut History) {
        for (_, journal) in &mut self.producers {
            journal.lines(|line| note(line, history, History::acked));
        }
        self.reader.1.lines(|line| note(line, history, History::seen));
    }

    /// Lets the programs come to their end, notes the rest, and gives how many values each producer attempted.
    fn finish(self, history: &mut History) -> BTreeMap<u32, u64> {
        let mut attempted = BTreeMap::new();
        for (number, (worker, mut journal)) in (0_u32..).zip(self.producers) {
            worker.finish(Duration::from_secs(90));
            journal.lines(|line| match line.strip_prefix("attempted ") {
                Some(count) => {
                    attempted.insert(number, count.parse().expect("a number of attempts"));
                }
                None => note(line, history, History::acked),
            });
        }
        let (worker, mut journal) = self.reader;
        worker.finish(Duration::from_secs(30));
        journal.lines(|line| note(line, history, History::seen));
        attempted
    }
}

/// Takes a journal's line `partition offset value` apart.
fn note(line: &str, history: &mut History, observe: fn(&mut History, Place, Value)) {
    assert!(!line.starts_with("failed"), "a client was let down: {line}");
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().unwrap_or_else(|| panic!("a journal's line: {line}"));
    let partition = part().parse().expect("a partition");
    let offset = part().parse().expect("an offset");
    let place = Place::new(partition, offset);
    match Value::parse(part().as_bytes()) {
        Some(value) => observe(history, place, value),
        None => history.alien(place, line.as_bytes()),
    }
}

/// A growing file of lines, read piece by piece.
struct Journal {
    path: PathBuf,
    position: u64,
}

impl Journal {
    const fn new(path: PathBuf) -> Self {
        Self { path, position: 0 }
    }

    /// Hands out the whole lines that are new.
    fn lines(&mut self, mut take: impl FnMut(&str)) {
        let text = read_from(&self.path, self.position);
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        self.position += u64::try_from(whole).expect("a length");
        text[..whole].lines().for_each(&mut take);
    }
}

fn read_from(path: &Path, position: u64) -> String {
    // A program that has only just been started may not have made its file yet.
    let Ok(mut file) = File::options().read(true).open(path) else {
        return String::new();
    };
    file.seek(SeekFrom::Start(position))
        .expect("a place in the journal");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("the journal is text");
    text
}

/// Reads every partition from the given offset (zero where none is given) to its end, and gives the ends.
fn read_logs(
    address: SocketAddr,
    from: &BTreeMap<Partition, u64>,
    history: &mut History,
) -> BTreeMap<Partition, u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut ends = BTreeMap::new();
    runtime.block_on(async {
        let reads = async {
            let client = ClientBuilder::new(vec![address.to_string()])
                .build()
                .await
                .expect("a client");
            for number in 0..PARTITIONS {
                let key = Partition(number.unsigned_abs().into());
                let start = from.get(&key).copied().unwrap_or(0);
                let partition = client
                    .partition_client(TOPIC, number, UnknownTopicHandling::Retry)
                    .await;
                let partition = partition.expect("a leader");
                let end = unsigned(partition.get_offset(OffsetAt::Latest).await.expect("the end"));
                let (mut next, mut records) = (start, Vec::new());
                while next < end {
                    let offset = i64::try_from(next).expect("an offset");
                    let (found, _) = partition
                        .fetch_records(offset, 1..4 << 20, 200)
                        .await
                        .expect("records");
                    assert!(
                        !found.is_empty(),
                        "partition {number} gives nothing at {next}, below its end {end}"
                    );
                    // The load goes on: what came after the end was asked for is for the next read.
                    for got in found.into_iter().filter(|got| unsigned(got.offset) < end) {
                        let bytes = got.record.value.expect("a value");
                        let value = Value::parse(&bytes);
                        records.push((unsigned(got.offset), value.expect("a value that somebody sent")));
                    }
                    next = records.last().map_or(next, |(offset, _)| offset + 1);
                }
                history.read(key, start, end, records);
                ends.insert(key, end);
            }
        };
        tokio::time::timeout(READ_BOUND, reads)
            .await
            .expect("the logs are read in time");
    });
    ends
}

fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).expect("an offset is not negative")
}

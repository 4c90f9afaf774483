//! Members come, go, die and freeze while the broker is killed under them, and nothing is lost.
//!
//! For groups of either protocol. Workers ([`group_worker.py`], confluent-kafka) write down each record they process before they commit it. For as long as
//! `CORELOG_CHURN_SECONDS` says, something befalls one of them, or the broker, every second or two, at random from a printed
//! seed (`CORELOG_SEED`). An observer asks for the committed offsets all the time: they never go back, never vanish, never
//! lie beyond what was produced. At the end two workers catch up, and every record there is has been processed at least once.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use crate::member::{committed, try_connect};
use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{Client, LATEST, batch};
use crate::support::programs;
use crate::support::seed::Seed;
use crate::support::wire::{self, Connection, PRODUCE};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

const GROUP: &str = "churned";
const TOPIC: &str = "topic";
const PARTITIONS: i32 = 6;
const WORKERS_MAX: usize = 5;
/// Longer than a worker's session.
const FREEZE: Duration = Duration::from_secs(9);
/// How long the last two workers may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(90);
/// Records of one produce request.
const BATCH: usize = 5;
const BATCH_RECORDS: i64 = 5;

struct Worker {
    child: Child,
    thaw: Option<Instant>,
}

impl Worker {
    fn signal(&self, signal: Signal) {
        // It may have ended by itself, which the test finds out at its end.
        kill_process(Pid::from_child(&self.child), signal).ok();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

struct Crew {
    brokers: String,
    protocol: &'static str,
    home: PathBuf,
    hired: usize,
    workers: Vec<Worker>,
}

impl Crew {
    fn hire(&mut self) {
        let journal = self.home.join(format!("journal-{}", self.hired));
        self.hired += 1;
        let mut command = programs::client_program("group_worker.py");
        command
            .args([self.brokers.as_str(), GROUP, TOPIC])
            .arg(journal)
            .arg(self.protocol)
            .stdout(Stdio::null())
            .stderr(
                std::fs::File::create(self.home.join(format!("said-{}", self.hired - 1))).expect("a file"),
            );
        let child = command.spawn().expect("a worker starts");
        self.workers.push(Worker { child, thaw: None });
    }

    fn thaw_due(&mut self) {
        for worker in &mut self.workers {
            if worker.thaw.is_some_and(|at| at <= Instant::now()) {
                worker.thaw = None;
                worker.signal(Signal::CONT);
            }
        }
    }

    /// Everything any worker ever processed.
    fn processed(&self) -> HashSet<(i32, i64)> {
        let mut done = HashSet::new();
        for journal in 0..self.hired {
            let path = self.home.join(format!("journal-{journal}"));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            // The last line of a killed worker may be half a line.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            done.extend(whole.lines().filter_map(|line| {
                let (partition, offset) = line.split_once(' ')?;
                Some((partition.parse().ok()?, offset.parse().ok()?))
            }));
        }
        done
    }
}

/// Produces a few records again and again; what was tried counts as the most there can be.
fn produce(address: SocketAddr, tried: &[AtomicI64], stop: &AtomicBool) {
    let mut connection: Option<Connection> = None;
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let partition = next % tried.len();
        next += 1;
        tried[partition].fetch_add(BATCH_RECORDS, Ordering::SeqCst);
        let connected = connection.take().or_else(|| Connection::open(address).ok());
        if let Some(mut connected) = connected {
            let request = produce_to(i32::try_from(partition).unwrap());
            if connected.call(PRODUCE, 3, &request).is_ok() {
                connection = Some(connected);
            }
        }
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// Produce version 3 of a batch to a partition.
fn produce_to(partition: i32) -> Vec<u8> {
    let mut body = (-1_i16).to_be_bytes().to_vec();
    body.extend((-1_i16).to_be_bytes());
    body.extend(10_000_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    wire::string(&mut body, TOPIC.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    wire::bytes(&mut body, &batch(&[b"work"; BATCH]));
    body
}

/// Watches the committed offsets; gives how often it saw them.
fn observe(address: SocketAddr, tried: &[AtomicI64], stop: &AtomicBool) -> u64 {
    let mut last = vec![-1; tried.len()];
    let mut seen = 0;
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(30));
        let fresh = || try_connect(address, GROUP).ok();
        let Some(mut connected) = connection.take().or_else(fresh) else {
            continue;
        };
        for partition in 0..tried.len() {
            let index = i32::try_from(partition).unwrap();
            let Ok((error, offset)) = committed(&mut connected, GROUP, TOPIC, index) else {
                break;
            };
            if error != 0 {
                continue;
            }
            let most = tried[partition].load(Ordering::SeqCst);
            assert!(
                offset >= last[partition],
                "partition {partition} went from {} to {offset}",
                last[partition]
            );
            assert!(
                offset <= most,
                "partition {partition} is committed to {offset}, beyond {most}"
            );
            last[partition] = offset;
            seen += 1;
            if index == PARTITIONS - 1 {
                connection = Some(connected);
                break;
            }
        }
    }
    seen
}

#[test]
fn nothing_is_lost_under_churn() {
    churn("classic");
}

#[test]
fn nothing_is_lost_under_churn_of_the_newer_protocol() {
    churn("consumer");
}

fn churn(protocol: &'static str) {
    let seconds = std::env::var("CORELOG_CHURN_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(25);
    let mut seed = Seed::announced("churn");
    let options = Options::new(2, Advertise::PerCore)
        .set("group.initial_rebalance_delay=200ms")
        .set("group.consumer_session_timeout=6s")
        .set("group.consumer_heartbeat_interval=500ms");
    let mut broker = Broker::start(options);
    Client::connect(broker.kafka()).create(TOPIC, PARTITIONS, &[]);
    let tried: Arc<Vec<AtomicI64>> = Arc::new((0..PARTITIONS).map(|_| AtomicI64::new(0)).collect());
    let (produced, observed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let address = broker.kafka();
    let producer = std::thread::spawn({
        let (tried, stop) = (Arc::clone(&tried), Arc::clone(&produced));
        move || produce(address, &tried, &stop)
    });
    let observer = std::thread::spawn({
        let (tried, stop) = (Arc::clone(&tried), Arc::clone(&observed));
        move || observe(address, &tried, &stop)
    });
    let mut crew = Crew {
        brokers: address.to_string(),
        protocol,
        home: broker.home().to_owned(),
        hired: 0,
        workers: Vec::new(),
    };
    crew.hire();
    crew.hire();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(500 + seed.within(0..1500)));
        crew.thaw_due();
        befall(&mut crew, &mut broker, &mut seed);
        assert!(!observer.is_finished(), "the observer saw something wrong");
    }
    // Peace: two fresh workers, nobody frozen, nothing new to do.
    produced.store(true, Ordering::Relaxed);
    producer.join().expect("the producer ends");
    crew.workers.clear();
    crew.hire();
    crew.hire();
    let mut client = Client::connect(address);
    let ends: Vec<i64> = (0..PARTITIONS)
        .map(|partition| client.list(TOPIC, partition, LATEST).offset)
        .collect();
    let deadline = Instant::now() + CATCH_UP;
    let all = || -> HashSet<(i32, i64)> {
        let partitions = (0..PARTITIONS).zip(&ends);
        partitions
            .flat_map(|(partition, end)| (0..*end).map(move |offset| (partition, offset)))
            .collect()
    };
    while !all().is_subset(&crew.processed()) {
        let missing = all().difference(&crew.processed()).count();
        assert!(
            Instant::now() < deadline,
            "{missing} of {} records were not processed\n{}",
            all().len(),
            broker.said()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    observed.store(true, Ordering::Relaxed);
    let seen = observer
        .join()
        .expect("committed offsets never go back, vanish or lie beyond the end");
    eprintln!(
        "{} records, {} workers, {seen} looks at committed offsets",
        all().len(),
        crew.hired
    );
    drop(crew);
    assert!(broker.terminate().success(), "a graceful stop exits with success");
}

fn befall(crew: &mut Crew, broker: &mut Broker, seed: &mut Seed) {
    let crowd = crew.workers.len();
    let chosen = usize::try_from(seed.within(0..crowd.max(1) as u64)).unwrap();
    match seed.within(0..10) {
        0..3 if crowd < WORKERS_MAX => crew.hire(),
        3..5 if crowd > 1 => {
            let mut leaver = crew.workers.remove(chosen);
            leaver.signal(Signal::CONT);
            leaver.signal(Signal::TERM);
            // It leaves at its leisure; whoever does not leave in time is killed.
            for _ in 0..100 {
                if leaver.child.try_wait().expect("a worker's state").is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        5..6 if crowd > 1 => drop(crew.workers.remove(chosen)),
        6..8 if crowd > 1 => {
            let worker = &mut crew.workers[chosen];
            worker.thaw = Some(Instant::now() + FREEZE);
            worker.signal(Signal::STOP);
        }
        8 => {
            broker.kill();
            broker.spawn();
            broker.wait_ready();
        }
        _ => {}
    }
}

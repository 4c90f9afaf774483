//! Signals: a graceful stop, a stop that is told twice, and a process that is frozen now and then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{self, Client, Ledger, NONE};
use crate::support::seed::Seed;

/// The exit status after a second signal during a stop.
const EXIT_SECOND_SIGNAL: i32 = 130;
/// What the broker says after it recovered by scanning.
const RECOVERED: &str = "recovered after an unclean stop";

/// What a start says, beyond what was said before.
fn start_says(broker: &mut Broker) -> String {
    let before = broker.said().len();
    broker.spawn();
    broker.wait_ready();
    // The closing line moves; only what came in front of it counts.
    broker
        .said()
        .split_off(before.saturating_sub("--- end ---".len()))
}

#[test]
fn a_graceful_stop_leaves_a_marker_and_the_next_start_scans_nothing() {
    let mut broker = Broker::start(Options::new(2, Advertise::Single));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("stopped", 3, &[]);
    for round in 0..60 {
        ledger.produce(&mut client, "stopped", round % 3, 2000);
    }
    let marker = broker.data_dir().join("clean-stop");
    assert!(!marker.exists(), "no marker while the broker runs");
    assert_eq!(broker.terminate().code(), Some(0));
    assert!(marker.exists(), "a marker after a graceful stop");
    let said = start_says(&mut broker);
    assert!(!said.contains(RECOVERED), "a clean start scans nothing\n{said}");
    assert!(!marker.exists(), "the marker goes before anything is appended");
    let mut client = Client::connect(broker.kafka());
    ledger.check(&mut client);
    assert_eq!(ledger.produce(&mut client, "stopped", 0, 10), 20);

    // The same start after a kill does scan, and says so: the absence above means something.
    broker.kill();
    assert!(!marker.exists(), "a kill leaves no marker");
    let said = start_says(&mut broker);
    assert!(said.contains(RECOVERED), "an unclean start scans\n{said}");
    ledger.check(&mut Client::connect(broker.kafka()));
    assert_eq!(broker.terminate().code(), Some(0));
}

/// Connections of one shard append to partitions of another while both stop; several rounds, since which of them is
/// done first is chance.
#[test]
fn a_graceful_stop_keeps_what_it_acknowledged() {
    const ROUNDS: usize = 4;
    const PARTITIONS: i32 = 24;

    let mut broker = Broker::start(Options::new(2, Advertise::PerCore));
    // The first shard's own port: the second has no connection to wait for, and is done at once.
    let address = SocketAddr::new(broker.kafka().ip(), broker.kafka().port() + 1);
    let mut ledger = Ledger::default();
    Client::connect(address).create("busy", PARTITIONS, &[]);
    for round in 0..ROUNDS {
        let producers: Vec<_> = (0..PARTITIONS)
            .map(|partition| std::thread::spawn(move || produce_until_closed(address, partition, round)))
            .collect();
        let mut client = Client::connect(address);
        let ends = (0..PARTITIONS).map(|partition| client.list("busy", partition, client::LATEST).offset);
        for (partition, before) in (0..).zip(ends.collect::<Vec<_>>()) {
            client.until(
                "the producers are under way",
                |client| client.list("busy", partition, client::LATEST).offset,
                |end| *end > before + 10,
            );
        }
        assert_eq!(broker.terminate().code(), Some(0));
        for (partition, producer) in (0..).zip(producers) {
            for (offset, value) in producer.join().expect("a producer ends") {
                ledger.acked("busy", partition, offset, &[value]);
            }
        }
        assert!(broker.data_dir().join("clean-stop").exists());
        broker.spawn();
        broker.wait_ready();
        ledger.check(&mut Client::connect(address));
    }
    assert_eq!(broker.terminate().code(), Some(0));
}

/// Produces to one partition, one batch after another, until the broker will not; what it took.
fn produce_until_closed(address: SocketAddr, partition: i32, round: usize) -> Vec<(i64, String)> {
    let mut client = Client::connect(address);
    let mut taken = Vec::new();
    loop {
        let value = format!("round {round}, producer {partition}, value {:06}", taken.len());
        match client.produce("busy", partition, &client::batch(&[&value])) {
            Ok((NONE, offset)) => taken.push((offset, value)),
            _refused_or_closed => return taken,
        }
    }
}

#[test]
fn a_second_signal_ends_a_blocked_stop_at_once() {
    let mut broker = Broker::start(Options::new(1, Advertise::Single));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("blocked", 1, &[]);
    for _ in 0..64 {
        ledger.produce(&mut client, "blocked", 0, 200 << 10);
    }
    // A consumer that asks for far more than sockets hold and reads none of it.
    let mut deaf = Client::connect(broker.kafka());
    for _ in 0..16 {
        deaf.fetch_later("blocked", 0, 0).expect("a fetch is sent");
    }
    broker.signal(Signal::TERM);
    broker.wait_until("the stop begins", |broker| {
        broker.said().contains("a second signal stops at once")
    });
    assert!(broker.exited().is_none(), "the stop waits for the consumer");
    broker.signal(Signal::TERM);
    let status = broker.wait_exit();
    assert_eq!(status.code(), Some(EXIT_SECOND_SIGNAL), "{status}");
    assert!(
        !broker.data_dir().join("clean-stop").exists(),
        "a stop cut short is not clean"
    );
    drop(deaf);
    broker.spawn();
    broker.wait_ready();
    ledger.check(&mut Client::connect(broker.kafka()));
    assert!(broker.terminate().success());
}

#[test]
fn a_consumer_that_never_reads_delays_a_stop_by_its_grace_only() {
    let mut broker = Broker::start(Options::new(1, Advertise::Single));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("blocked", 1, &[]);
    for _ in 0..64 {
        ledger.produce(&mut client, "blocked", 0, 200 << 10);
    }
    let mut deaf = Client::connect(broker.kafka());
    for _ in 0..16 {
        deaf.fetch_later("blocked", 0, 0).expect("a fetch is sent");
    }
    assert_eq!(broker.terminate().code(), Some(0));
    assert!(broker.data_dir().join("clean-stop").exists());
}

/// The runtime can park with work to do when its thread was descheduled at the wrong moment (notes on the runtime,
/// fault D2). Pulses of SIGSTOP provoke it; without the guards a round trip then hangs until something unrelated
/// happens, and with one quiet client nothing does.
#[test]
fn a_process_frozen_now_and_then_never_forgets_its_only_client() {
    const PULSES: u64 = 25;
    const FROZEN: Duration = Duration::from_millis(120);
    /// More whole pulses than this within one round trip, and it was not the pulses that held it.
    const PULSES_PER_ROUND_TRIP_MAX: u64 = 4;

    let mut seed = Seed::announced("a_process_frozen_now_and_then_never_forgets_its_only_client");
    let mut broker = Broker::start(Options::new(1, Advertise::Single));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("frozen", 1, &[]);
    let pid = broker.pid();
    let (pulses, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, ended) = (Arc::clone(&pulses), Arc::clone(&done));
    let pulser = std::thread::spawn(move || {
        for _ in 0..PULSES {
            std::thread::sleep(Duration::from_micros(seed.within(1_000..60_000)));
            kill_process(pid, Signal::STOP).expect("the broker stops");
            std::thread::sleep(FROZEN);
            kill_process(pid, Signal::CONT).expect("the broker goes on");
            counted.fetch_add(1, Ordering::Relaxed);
        }
        ended.store(true, Ordering::Relaxed);
    });
    let watchdog = Instant::now() + Duration::from_secs(60);
    let mut slowest = 0;
    let mut round_trips = 0;
    while !done.load(Ordering::Relaxed) {
        let before = pulses.load(Ordering::Relaxed);
        ledger.produce(&mut client, "frozen", 0, 100);
        slowest = slowest.max(pulses.load(Ordering::Relaxed) - before);
        round_trips += 1;
        assert!(Instant::now() < watchdog, "{round_trips} round trips in a minute");
    }
    pulser.join().expect("the pulses end");
    assert!(
        slowest <= PULSES_PER_ROUND_TRIP_MAX,
        "one round trip took {slowest} pulses"
    );
    assert!(
        round_trips > PULSES,
        "{round_trips} round trips beside {PULSES} pulses"
    );
    ledger.check(&mut client);
    assert!(broker.terminate().success());
}

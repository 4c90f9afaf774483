//! A disk that answers no more, for a while: what does not need it goes on, memory stays within its budget, and when the
//! disk is back everybody who waited has an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corelog::proof::fault_disk::{FaultDisk, FileSystem};

use super::eio::fault_disk;
use crate::member;
use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{self, Client, Ledger, NONE};
use crate::support::wire::{self, Connection};

const TOPIC: &str = "events";
const GROUP: &str = "group";
const FLOODS: i32 = 5;
/// Batches of each flood; all floods together are a good deal more than the broker's memory.
const BATCHES: usize = 16;
const BATCH: usize = 400 << 10;
/// What the broker may use, and what the process is beside that: code, threads, the allocator's slack.
const BUDGET: &str = "24MiB";
const RESIDENT_MAX: u64 = (24 + 64) << 20;
/// A disk that answers in an hour answers never.
const NEVER: Duration = Duration::from_secs(3600);

/// A disk that does not answer until this is dropped, which a test that fails does, too: nobody can end a process that waits
/// for its disk.
struct Hang<'a>(&'a FaultDisk);

impl<'a> Hang<'a> {
    fn begin(disk: &'a FaultDisk) -> Self {
        disk.set_delay(NEVER);
        Self(disk)
    }
}

impl Drop for Hang<'_> {
    fn drop(&mut self) {
        self.0.set_delay(Duration::ZERO);
    }
}

/// Sends batches to its partition without waiting for an answer, then reads the answers: offsets and values.
fn flood(address: SocketAddr, partition: i32, sent: &AtomicUsize) -> Vec<(i64, Vec<u8>)> {
    let mut client = Client::connect(address);
    let value = |number: usize| {
        let mut value = format!("flood {partition} {number:04} ").into_bytes();
        value.resize(BATCH, b'f');
        value
    };
    // Sending blocks once the broker does not read any more; the answers come when it does.
    client.connection().set_patience(Duration::from_secs(60));
    for number in 0..BATCHES {
        client.produce_later(TOPIC, partition, &client::batch(&[value(number)]));
        sent.fetch_add(1, Ordering::Relaxed);
    }
    let answers = (0..BATCHES).map(|number| match client.produced_later() {
        Ok(Some((NONE, offset))) => (offset, value(number)),
        other => panic!("batch {number} to partition {partition} waited for {other:?}"),
    });
    answers.collect()
}

/// Returns when the number has stood still for a while.
fn wait_until_still(number: &AtomicUsize) {
    let mut before = usize::MAX;
    loop {
        let now = number.load(Ordering::Relaxed);
        if now == before && now > 0 {
            return;
        }
        before = now;
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_disk_that_hangs_holds_up_what_needs_it_and_nothing_else() {
    let disk = fault_disk(FileSystem::Ext4);
    let mut options = Options::new(1, Advertise::Single)
        .data_in(&disk.path().join("data"))
        .set("log.segment_bytes=8MiB")
        .set("log.max_message_bytes=512KiB")
        .set("log.pool_segments=1")
        .set("log.min_free_bytes=0");
    options.memory = BUDGET;
    let mut broker = Broker::start(options);
    let address = broker.kafka();
    let mut client = Client::connect(address);
    let mut ledger = Ledger::default();
    client.create(TOPIC, FLOODS, &[]);
    for partition in 0..FLOODS {
        ledger.produce(&mut client, TOPIC, partition, 300);
    }
    let mut coordinator = member::connect(address, GROUP);
    let joined = member::join(&mut coordinator, GROUP, "");
    let shares = [(joined.member.clone(), b"all".to_vec())];
    let (error, _) = member::sync(
        &mut coordinator,
        GROUP,
        joined.generation,
        &joined.member,
        &shares,
    );
    assert_eq!(error, NONE);

    let hang = Hang::begin(&disk);
    let sent = Arc::new(AtomicUsize::new(0));
    let floods: Vec<_> = (0..FLOODS)
        .map(|partition| {
            let sent = Arc::clone(&sent);
            std::thread::spawn(move || flood(address, partition, &sent))
        })
        .collect();
    // The control thread waits for the disk, too.
    let creating = std::thread::spawn(move || Client::connect(address).try_create("late", 1, &[]));
    wait_until_still(&sent);
    assert!(
        floods.iter().all(|flood| !flood.is_finished()),
        "nothing is acknowledged"
    );

    // Others: metadata, what is in memory, heartbeats, new connections.
    let mut other = Connection::open(address).expect("a new connection");
    for _ in 0..20 {
        other
            .call(wire::METADATA, 4, &wire::metadata_body(TOPIC))
            .expect("metadata");
        let beat = member::heartbeat(&mut coordinator, GROUP, joined.generation, &joined.member);
        assert_eq!(beat, NONE, "the member is alive");
    }
    ledger.check(&mut client);
    let resident = broker.peak_resident_bytes();
    assert!(
        resident < RESIDENT_MAX,
        "{resident} bytes with a budget of {BUDGET}"
    );

    drop(hang);
    for (partition, flood) in (0..).zip(floods) {
        for (offset, value) in flood.join().expect("a flood that ends") {
            ledger.acked(TOPIC, partition, offset, &[value]);
        }
    }
    let created = creating.join().expect("the creation ends");
    assert_eq!(created.expect("an answer to it"), NONE);
    ledger.check(&mut client);
    assert!(broker.terminate().success());
}

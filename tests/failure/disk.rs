//! A disk without room, and a disk that fails.
//!
//! Running out of space is a state that passes: produce is refused, everything else goes on, and nobody has to
//! restart anything. A failed write or sync is the end of the process, with a status of its own.

use std::time::Duration;

use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{self, Client, KAFKA_STORAGE_ERROR, Ledger, NONE};
use crate::support::disk::Disk;

const MIB: u64 = 1 << 20;
/// Values as large as this fill a disk in a few hundred requests.
const LARGE: usize = 64 << 10;
/// The exit status after a failed write or sync.
const EXIT_DISK_FAILED: i32 = 74;

/// One shard, since a full disk is noticed by each shard for itself when it needs a segment.
fn small_segments(disk: &Disk, min_free: &str) -> Options {
    Options::new(1, Advertise::Single)
        .data_in(&disk.path().join("data"))
        .set("log.segment_bytes=1MiB")
        .set("log.max_message_bytes=512KiB")
        .set("log.pool_segments=1")
        .set(&format!("log.min_free_bytes={min_free}"))
}

/// Produces until the broker refuses; what it refuses with. Everything it took is written down.
fn produce_until_refused(client: &mut Client, ledger: &mut Ledger, topic: &str) -> i16 {
    client.until(
        "produce is refused",
        |client| {
            let value = ledger.value(LARGE);
            let (error, offset) = client
                .produce(topic, 0, &client::batch(&[&value]))
                .expect("an answer to Produce");
            if error == NONE {
                ledger.acked(topic, 0, offset, &[value]);
            }
            error
        },
        |error| *error != NONE,
    )
}

/// Produces until a batch needs a segment that cannot be had; that batch, which waits, and the connection with it.
/// Everything before it is written down.
fn produce_until_stuck(client: &mut Client, ledger: &mut Ledger, topic: &str) -> Vec<u8> {
    client.connection().set_patience(Duration::from_secs(2));
    let waiting = (0..64).find_map(|_| {
        let value = ledger.value(LARGE);
        client.produce_later(topic, 0, &client::batch(&[&value]));
        match client.produced_later() {
            Ok(Some((NONE, offset))) => {
                ledger.acked(topic, 0, offset, &[value]);
                None
            }
            Ok(refused) => panic!("the batch that finds no room is refused: {refused:?}"),
            Err(_waits) => Some(value),
        }
    });
    client.connection().set_patience(Duration::from_secs(20));
    waiting.expect("64 batches of 64 KiB need more than the space reserved before")
}

#[test]
fn below_the_floor_produce_is_refused_and_a_deleted_topic_lets_it_resume() {
    let disk = Disk::ext4(96);
    let mut options = small_segments(&disk, "24MiB");
    options.shards = 2;
    let mut broker = Broker::start(options);
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("kept", 2, &[]);
    client.create("ballast", 1, &[]);
    for _ in 0..20 {
        ledger.produce(&mut client, "kept", 0, LARGE);
        ledger.produce(&mut client, "kept", 1, 100);
    }
    for _ in 0..192 {
        ledger.produce(&mut client, "ballast", 0, LARGE);
    }

    let filler = disk.fill_to(20 * MIB);
    let refused = produce_until_refused(&mut client, &mut ledger, "kept");
    assert_eq!(refused, KAFKA_STORAGE_ERROR);
    ledger.check(&mut client);
    let (status, why) = broker.admin_get("/readyz").expect("the admin door answers");
    assert_eq!((status, why.contains("free space")), (503, true), "{why}");

    // Twelve mebibytes come back with the topic, which is more than the floor lacks.
    assert_eq!(client.delete("ballast"), NONE);
    ledger.forget("ballast");
    client.until(
        "produce is taken again",
        |client| {
            let value = ledger.value(100);
            let answer = client.produce("kept", 1, &client::batch(&[&value]));
            let (error, offset) = answer.expect("an answer to Produce");
            if error == NONE {
                ledger.acked("kept", 1, offset, &[value]);
            }
            error
        },
        |error| *error == NONE,
    );
    ledger.check(&mut client);
    assert!(matches!(broker.admin_get("/readyz"), Some((200, _))));
    assert!(broker.terminate().success());
    drop(filler);
}

#[test]
fn on_a_disk_without_a_block_nothing_is_lost_and_freed_space_is_noticed() {
    let disk = Disk::ext4(96);
    let mut broker = Broker::start(small_segments(&disk, "0"));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("full", 1, &[]);
    client.create("other", 1, &[]);
    for _ in 0..20 {
        ledger.produce(&mut client, "full", 0, LARGE);
    }
    ledger.produce(&mut client, "other", 0, 100);

    let filler = disk.fill();
    let mut stuck = Client::connect(broker.kafka());
    let waiting = produce_until_stuck(&mut stuck, &mut ledger, "full");
    let refused = produce_until_refused(&mut client, &mut ledger, "other");
    assert_eq!(refused, KAFKA_STORAGE_ERROR);
    ledger.check(&mut client);

    drop(filler);
    match stuck.produced_later().expect("an answer once there is room") {
        Some((NONE, offset)) => ledger.acked("full", 0, offset, &[waiting]),
        other => panic!("the batch that waited is not taken: {other:?}"),
    }
    client.until(
        "produce is taken again",
        |client| {
            let value = ledger.value(LARGE);
            let answer = client.produce("other", 0, &client::batch(&[&value]));
            let (error, offset) = answer.expect("an answer to Produce");
            if error == NONE {
                ledger.acked("other", 0, offset, &[value]);
            }
            error
        },
        |error| *error == NONE,
    );
    ledger.check(&mut client);

    // Full once more, and killed there.
    let filler = disk.fill();
    for _ in 0..40 {
        let value = ledger.value(LARGE);
        stuck.produce_later("full", 0, &client::batch(&[&value]));
        stuck.connection().set_patience(Duration::from_secs(1));
        match stuck.produced_later() {
            Ok(Some((NONE, offset))) => ledger.acked("full", 0, offset, &[value]),
            _refused_or_waiting => break,
        }
    }
    broker.kill();
    drop(filler);
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    ledger.check(&mut client);
    ledger.produce(&mut client, "full", 0, LARGE);
    ledger.check(&mut client);
    assert!(broker.terminate().success());
}

#[test]
fn deleting_the_topic_that_waits_for_room_ends_the_shortage_it_caused() {
    let disk = Disk::ext4(96);
    let mut broker = Broker::start(small_segments(&disk, "0"));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("waits", 1, &[]);
    client.create("serves", 1, &[]);
    ledger.produce(&mut client, "serves", 0, 100);
    // All but what a change of metadata takes.
    let filler = disk.fill_to(256 << 10);
    let mut stuck = Client::connect(broker.kafka());
    produce_until_stuck(&mut stuck, &mut ledger, "waits");
    client.until(
        "produce is refused while a segment cannot be had",
        |client| {
            let answer = client.produce("serves", 0, &client::batch(&["small"]));
            answer.expect("an answer to Produce").0
        },
        |error| *error == KAFKA_STORAGE_ERROR,
    );
    assert_eq!(client.delete("waits"), NONE);
    ledger.forget("waits");
    let answer = stuck.produced_later().expect("an answer");
    assert!(
        matches!(answer, Some((error, _)) if error != NONE),
        "a batch of a deleted topic is not taken: {answer:?}"
    );
    client.until(
        "produce that has its space is taken again",
        |client| {
            let answer = client.produce("serves", 0, &client::batch(&["small"]));
            answer.expect("an answer to Produce").0
        },
        |error| *error == NONE,
    );
    drop(filler);
    assert!(broker.terminate().success());
}

#[test]
fn a_stop_does_not_wait_for_room() {
    let disk = Disk::ext4(96);
    let mut broker = Broker::start(small_segments(&disk, "0"));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("serves", 1, &[]);
    client.create("waits", 1, &[]);
    ledger.produce(&mut client, "serves", 0, 100);
    let filler = disk.fill_to(256 << 10);
    let mut stuck = Client::connect(broker.kafka());
    produce_until_stuck(&mut stuck, &mut ledger, "waits");
    broker.wait_until("a batch waits", |broker| {
        broker.said().contains("the disk is full")
    });
    assert_eq!(broker.terminate().code(), Some(0));
    drop(filler);
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    ledger.check(&mut client);
    ledger.produce(&mut client, "waits", 0, 100);
    ledger.check(&mut client);
    assert!(broker.terminate().success());
}

#[test]
fn a_failed_disk_ends_the_process_and_nothing_acknowledged_is_missing() {
    let mut disk = Disk::ext4(96);
    let mut options = small_segments(&disk, "4MiB");
    options.shards = 2;
    let mut broker = Broker::start(options);
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("failing", 2, &[]);
    for _ in 0..30 {
        ledger.produce(&mut client, "failing", 0, 5000);
        ledger.produce(&mut client, "failing", 1, 5000);
    }
    let address = broker.kafka();
    // A producer that never pauses, so that the disk fails under its write.
    let producer = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        let mut taken = Vec::new();
        loop {
            let value = format!("busy {:06}", taken.len());
            match client.produce("failing", 1, &client::batch(&[&value])) {
                Ok((NONE, offset)) => taken.push((offset, value)),
                Ok((error, _)) => return (taken, Some(error)),
                Err(_closed) => return (taken, None),
            }
        }
    });
    client.until(
        "the producer is under way",
        |client| client.list("failing", 1, client::LATEST).offset,
        |end| *end > 60,
    );
    disk.fail();
    let status = broker.wait_exit();
    assert_eq!(status.code(), Some(EXIT_DISK_FAILED), "{status}");
    let (taken, last) = producer.join().expect("the producer ends");
    assert!(
        last.is_none_or(|error| error == KAFKA_STORAGE_ERROR),
        "a failed disk is a storage error, not {last:?}"
    );
    for (offset, value) in taken {
        ledger.acked("failing", 1, offset, &[value]);
    }

    disk.remount();
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    ledger.check(&mut client);
    ledger.produce(&mut client, "failing", 0, 100);
    ledger.produce(&mut client, "failing", 1, 100);
    ledger.check(&mut client);
    assert!(broker.terminate().success());
}

//! Old records go, and what stays knows where it is.

use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{Client, EARLIEST, LATEST, Ledger, NONE, OFFSET_OUT_OF_RANGE};
use crate::support::disk::files_below;

fn broker() -> Broker {
    Broker::start(Options::new(2, Advertise::Single).set("log.retention_check_interval=200ms"))
}

#[test]
fn size_retention_moves_the_start_and_gives_files_back() {
    let mut broker = broker();
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create(
        "bounded",
        1,
        &[("segment.bytes", "65536"), ("retention.bytes", "200000")],
    );
    for _ in 0..300 {
        ledger.produce(&mut client, "bounded", 0, 4000);
    }
    client.until(
        "the log start moves",
        |client| client.list("bounded", 0, EARLIEST).offset,
        |start| *start > 150,
    );
    let old = client.fetch("bounded", 0, 0);
    assert_eq!((old.error, old.records.len()), (OFFSET_OUT_OF_RANGE, 0));
    let partition = broker.data_dir().join("topics/bounded/0");
    // 200000 bytes are at most four segments of 64 KiB, and one more is being written.
    client.until(
        "files go",
        |_| files_below(&partition, ".log"),
        |files| *files <= 5,
    );
    let before = client.list("bounded", 0, EARLIEST).offset;

    // Nothing more is removed while the rest is looked at.
    broker.kill();
    broker.reconfigure(|options| options.settings = vec!["log.retention_check_interval=1h".to_owned()]);
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    let now = client.list("bounded", 0, EARLIEST).offset;
    assert!(now >= before, "what was removed stays so: {before}, {now}");
    assert!(
        300 - now >= 200_000 / 4500,
        "no more goes than is asked for: the log starts at {now}"
    );
    assert_eq!(client.list("bounded", 0, LATEST).offset, 300, "the end stays");
    ledger.forget_below("bounded", 0, now);
    ledger.check(&mut client);
    assert!(broker.terminate().success());
}

#[test]
fn a_log_whose_records_all_expired_keeps_its_end_and_epoch_across_kills() {
    let mut broker = broker();
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create(
        "short",
        1,
        &[("segment.bytes", "65536"), ("retention.ms", "1000")],
    );
    for _ in 0..50 {
        ledger.produce(&mut client, "short", 0, 4000);
    }
    for (end, round) in [(50, 0), (51, 1)] {
        client.until(
            "everything expires",
            |client| client.list("short", 0, EARLIEST).offset,
            |start| *start == end,
        );
        let before = client.list("short", 0, LATEST);
        assert_eq!((before.error, before.offset), (NONE, end));
        let old = client.fetch("short", 0, end - 1);
        assert_eq!(old.error, OFFSET_OUT_OF_RANGE);
        if round == 0 {
            broker.kill();
        } else {
            assert!(broker.terminate().success());
        }
        broker.spawn();
        broker.wait_ready();
        client = Client::connect(broker.kafka());
        let after = client.list("short", 0, LATEST);
        assert_eq!(after.offset, end, "the end stays though no record is left");
        assert!(
            after.epoch >= before.epoch,
            "the epoch never goes back: {before:?}, {after:?}"
        );
        assert_eq!(ledger.produce(&mut client, "short", 0, 10), end);
    }
    assert!(broker.terminate().success());
}

#[test]
fn a_deleted_topic_takes_its_files_along_and_its_name_starts_anew() {
    let mut broker = broker();
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("again", 2, &[]);
    let first = client.topic_id("again");
    for round in 0..20 {
        ledger.produce(&mut client, "again", round % 2, 1000);
    }
    assert_eq!(client.delete("again"), NONE);
    let data = broker.data_dir();
    assert!(
        !data.join("topics/again").exists(),
        "an answered deletion leaves no directory"
    );
    client.until(
        "the files go",
        |_| files_below(&data.join("trash"), ".log"),
        |left| *left == 0,
    );
    ledger.forget("again");

    client.create("again", 2, &[]);
    let second = client.topic_id("again");
    assert_ne!(first, second, "a new topic has an id of its own");
    assert_eq!(client.list("again", 0, LATEST).offset, 0);
    assert_eq!(ledger.produce(&mut client, "again", 0, 1000), 0);
    ledger.check(&mut client);
    broker.kill();
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    assert_eq!(client.topic_id("again"), second);
    assert_eq!(
        client.list("again", 1, LATEST).offset,
        0,
        "the old records stay gone"
    );
    ledger.check(&mut client);
    assert!(broker.terminate().success());
}

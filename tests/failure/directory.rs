//! The data directory goes away, or cannot be written, or lacks a part.

use std::process::Command;

use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{Client, KAFKA_STORAGE_ERROR, Ledger, NONE};
use crate::support::disk::Disk;

/// The exit status after the disk failed, and of a start that cannot succeed.
const EXIT_DISK_FAILED: i32 = 74;
const EXIT_REFUSED: i32 = 1;

/// A start that must fail, and why it says that it did.
pub(crate) fn refusal(broker: &mut Broker) -> String {
    refusal_with(broker, EXIT_REFUSED)
}

fn refusal_with(broker: &mut Broker, expected: i32) -> String {
    broker.spawn();
    let status = broker.wait_exit();
    let said = broker.said();
    assert_eq!(status.code(), Some(expected), "{said}");
    assert!(!said.contains("panicked"), "a refusal is not a panic\n{said}");
    said
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.expect("a program").success(), "{program} {arguments:?}");
}

#[test]
fn a_directory_that_vanishes_ends_the_process_before_it_acknowledges_into_nowhere() {
    let mut broker = Broker::start(Options::new(2, Advertise::PerCore));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("kept", 2, &[]);
    for partition in [0, 1, 0, 1] {
        ledger.produce(&mut client, "kept", partition, 1000);
    }
    let elsewhere = broker.home().join("elsewhere");
    std::fs::rename(broker.data_dir(), &elsewhere).expect("the directory moves");
    assert_eq!(broker.wait_exit().code(), Some(EXIT_DISK_FAILED));
    assert!(
        broker.said().contains("removed or unmounted"),
        "{}",
        broker.said()
    );

    std::fs::rename(&elsewhere, broker.data_dir()).expect("the directory comes back");
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    ledger.check(&mut client);
    ledger.produce(&mut client, "kept", 0, 1000);
    assert!(broker.terminate().success());
}

#[test]
fn a_read_only_file_system_is_named_and_once_writable_serves_again() {
    let disk = Disk::ext4(64);
    let options = Options::new(1, Advertise::Single)
        .data_in(&disk.path().join("data"))
        .set("log.min_free_bytes=4MiB");
    let mut broker = Broker::start(options);
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("kept", 1, &[]);
    ledger.produce(&mut client, "kept", 0, 1000);
    assert!(broker.terminate().success());

    let mount = disk.path();
    run(
        "mount",
        &["-o".as_ref(), "remount,ro".as_ref(), mount.as_os_str()],
    );
    let said = refusal_with(&mut broker, EXIT_DISK_FAILED);
    assert!(said.contains("Read-only file system"), "{said}");
    run(
        "mount",
        &["-o".as_ref(), "remount,rw".as_ref(), mount.as_os_str()],
    );
    broker.spawn();
    broker.wait_ready();
    ledger.check(&mut Client::connect(broker.kafka()));

    // Made unwritable under a broker that serves: the next segment cannot be had, and that is final.
    let partition = broker.data_dir().join("topics/kept/0");
    run("chattr", &["+i".as_ref(), partition.as_os_str()]);
    let mut client = Client::connect(broker.kafka());
    let status = loop {
        let value = ledger.value(60_000);
        match client.produce("kept", 0, &crate::support::client::batch(&[&value])) {
            Ok((NONE, offset)) => ledger.acked("kept", 0, offset, &[value]),
            Ok((error, _)) => {
                assert_eq!(error, KAFKA_STORAGE_ERROR);
                break broker.wait_exit();
            }
            Err(_closed) => break broker.wait_exit(),
        }
    };
    run("chattr", &["-i".as_ref(), partition.as_os_str()]);
    assert_eq!(status.code(), Some(EXIT_DISK_FAILED));
    broker.spawn();
    broker.wait_ready();
    ledger.check(&mut Client::connect(broker.kafka()));
    assert!(broker.terminate().success());
}

#[test]
fn a_topic_without_its_directory_and_an_unreadable_segment_are_refused_by_name() {
    let mut broker = Broker::start(Options::new(1, Advertise::Single));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("kept", 2, &[]);
    ledger.produce(&mut client, "kept", 0, 1000);
    ledger.produce(&mut client, "kept", 1, 1000);
    broker.kill();

    let partition = broker.data_dir().join("topics/kept/1");
    let away = broker.home().join("away");
    std::fs::rename(&partition, &away).expect("a directory moves");
    let said = refusal(&mut broker);
    assert!(said.contains("topics/kept/1 is missing"), "{said}");
    std::fs::rename(&away, &partition).expect("a directory comes back");

    // Root reads everything, so what cannot be read is a segment that is no file.
    let segment = partition.join(format!("{:020}.log", 0));
    std::fs::rename(&segment, &away).expect("a segment moves");
    std::fs::create_dir(&segment).expect("a directory in its place");
    let said = refusal_with(&mut broker, EXIT_DISK_FAILED);
    assert!(said.contains("kept/1/00000000000000000000.log"), "{said}");
    std::fs::remove_dir(&segment).expect("the directory goes");
    std::fs::rename(&away, &segment).expect("a segment comes back");

    broker.spawn();
    broker.wait_ready();
    ledger.check(&mut Client::connect(broker.kafka()));
    assert!(broker.terminate().success());
}

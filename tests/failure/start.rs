//! Starts that cannot succeed say why and what to do, and disturb nobody.

use std::process::ExitStatus;

use crate::support::broker::{Advertise, Broker, IoUring, Options};
use crate::support::client::{Client, Ledger};
use crate::support::disk::Disk;

/// Everything but the right to read and write any file: no more lockable memory than the limit says, and none of
/// the other rights of root.
const UNPRIVILEGED: [&str; 4] = [
    "setpriv",
    "--inh-caps=-all",
    "--bounding-set=-all,+dac_override,+dac_read_search",
    "--",
];

fn options() -> Options {
    Options::new(1, Advertise::Single)
}

fn launched_by(launcher: &[&str]) -> Options {
    let mut options = options();
    options.launcher = launcher.iter().map(|word| (*word).to_owned()).collect();
    options
}

/// A start that must fail: how it ended, and what was said.
fn refusal(broker: &mut Broker) -> (ExitStatus, String) {
    broker.spawn();
    let status = broker.wait_exit();
    let said = broker.said();
    assert!(!status.success(), "the start succeeds\n{said}");
    assert!(!said.contains("panicked"), "a refusal is not a panic\n{said}");
    (status, said)
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "nothing about {word:?} in\n{said}");
    }
}

#[test]
fn a_second_broker_on_the_same_data_is_refused_and_the_first_serves_on() {
    let mut first = Broker::start(options());
    let mut client = Client::connect(first.kafka());
    let mut ledger = Ledger::default();
    client.create("mine", 1, &[]);
    ledger.produce(&mut client, "mine", 0, 100);

    let holder = first.pid().as_raw_nonzero().to_string();
    let mut second = Broker::prepare(options().data_in(&first.data_dir()));
    let (_, said) = refusal(&mut second);
    assert_says(&said, &["another broker uses this data directory", &holder]);
    // With the very same ports as well: the lock speaks first, since SO_REUSEPORT would let both listen.
    second.listen_where(&first);
    let (_, said) = refusal(&mut second);
    assert_says(&said, &["another broker uses this data directory"]);

    ledger.produce(&mut client, "mine", 0, 100);
    ledger.check(&mut Client::connect(first.kafka()));
    assert!(first.terminate().success());
}

#[test]
fn a_taken_port_is_refused_and_its_owner_serves_on() {
    for advertise in [Advertise::Single, Advertise::PerCore] {
        let mut first = Broker::start(Options::new(1, advertise));
        let mut client = Client::connect(first.kafka());
        let mut ledger = Ledger::default();
        client.create("mine", 1, &[]);
        let mut second = Broker::prepare(Options::new(1, advertise));
        second.listen_where(&first);
        let (_, said) = refusal(&mut second);
        assert_says(&said, &["cannot listen on", "in use"]);
        // Connections would go to either if the kernel let both listen.
        for _ in 0..10 {
            ledger.produce(&mut Client::connect(first.kafka()), "mine", 0, 10);
        }
        assert!(first.terminate().success());
    }
}

#[test]
fn a_seccomp_filter_is_named_with_its_remedy() {
    let mut options = options();
    options.io_uring = IoUring::Denied;
    let (_, said) = refusal(&mut Broker::prepare(options));
    assert_says(&said, &["io_uring_setup", "seccomp", "--security-opt seccomp="]);
}

#[test]
fn too_little_lockable_memory_is_named_with_its_remedy() {
    let limit = ["prlimit", "--memlock=65536:65536", "--"];
    let launcher = [&limit[..], &UNPRIVILEGED].concat();
    let (_, said) = refusal(&mut Broker::prepare(launched_by(&launcher)));
    assert_says(&said, &["64 KiB", "ulimit -l", "memlock"]);
}

#[test]
fn an_unprivileged_broker_serves_with_the_usual_eight_mebibytes_of_lockable_memory() {
    let limit = ["prlimit", "--memlock=8388608:8388608", "--"];
    let mut options = launched_by(&[&limit[..], &UNPRIVILEGED].concat());
    options.shards = 2;
    let mut broker = Broker::start(options);
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("plain", 4, &[]);
    for round in 0..40 {
        ledger.produce(&mut client, "plain", round % 4, 1000);
    }
    ledger.check(&mut client);
    assert!(broker.terminate().success());
}

#[test]
fn a_file_system_without_direct_io_is_named() {
    // tmpfs can do direct I/O on new kernels; ramfs never could.
    let disk = Disk::without_direct_io();
    let mut broker = Broker::prepare(options().data_in(&disk.path().join("data")));
    let (_, said) = refusal(&mut broker);
    assert_says(&said, &["ramfs", "does not support direct I/O", "--data-dir"]);
}

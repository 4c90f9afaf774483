//! A disk that fails, operation by operation: which file the error meets does not matter. What writes or syncs and fails is
//! the end of the process, with status 74 and one line that says what could not be done; a read that fails is an answer.
//! On the fault disk (`corelog::proof::fault_disk`), so that one chosen request fails and the power is cut right after.
//!
//! In every case: nobody is told that something is stored which is not; after the cut and a restart everything that was
//! acknowledged is there.

use std::path::PathBuf;

use corelog::proof::fault_disk::{CutMode, FaultDisk, FaultDiskOptions, FileSystem, Target};

use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{self, Client, KAFKA_STORAGE_ERROR, Ledger, NONE};
use crate::support::seed::Seed;

/// The exit status after the disk failed.
const EXIT_DISK_FAILED: i32 = 74;
/// Values as large as this fill a segment of one mebibyte in a few.
const LARGE: usize = 64 << 10;
/// More than any segment takes.
const ENOUGH: usize = 64;
const TOPIC: &str = "events";
/// For ever.
const ALWAYS: u64 = u64::MAX;

pub(crate) fn fault_disk(file_system: FileSystem) -> FaultDisk {
    let mut options = FaultDiskOptions::new(file_system);
    options.parent = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    FaultDisk::create(&options).expect("a fault disk (this test needs root)")
}

/// A broker on a fault disk, its one client and what that was told.
struct Stage {
    client: Client,
    ledger: Ledger,
    broker: Broker,
    disk: FaultDisk,
    seed: Seed,
}

impl Stage {
    fn set(file_system: FileSystem) -> Self {
        let disk = fault_disk(file_system);
        // One shard: on a disk that drops its cache, another shard's flush may succeed before anybody knows.
        let options = Options::new(1, Advertise::Single)
            .data_in(&disk.path().join("data"))
            .set("log.segment_bytes=1MiB")
            .set("log.max_message_bytes=512KiB")
            .set("log.pool_segments=1")
            .set("log.min_free_bytes=0");
        let broker = Broker::start(options);
        let mut client = Client::connect(broker.kafka());
        let mut ledger = Ledger::default();
        client.create(TOPIC, 2, &[]);
        for partition in [0, 1] {
            for _ in 0..3 {
                ledger.produce(&mut client, TOPIC, partition, 300);
            }
        }
        Self {
            client,
            ledger,
            broker,
            disk,
            seed: Seed::announced("eio"),
        }
    }

    /// Produces until an answer is no acknowledgement, or there is none; the error.
    fn produce_until_refused(&mut self, length: usize) -> Option<i16> {
        for _ in 0..ENOUGH {
            let value = self.ledger.value(length);
            match self.client.produce(TOPIC, 0, &client::batch(&[&value])) {
                Ok((NONE, offset)) => self.ledger.acked(TOPIC, 0, offset, &[value]),
                Ok((error, _)) => return Some(error),
                Err(_closed) => return None,
            }
        }
        // The process ends all the same, or the case fails there.
        None
    }

    /// The process ends as documented and says `why`.
    fn ends(&mut self, case: &str, why: &str) {
        let status = self.broker.wait_exit();
        let said = self.broker.said();
        assert_eq!(status.code(), Some(EXIT_DISK_FAILED), "{case}: {status}\n{said}");
        let last = said.lines().rev().find(|line| line.contains("cannot "));
        assert!(
            last.is_some_and(|line| line.contains(why)),
            "{case}: {last:?} does not say {why:?}"
        );
    }

    /// The power goes and comes, the broker starts, and what was acknowledged is there.
    fn comes_back(&mut self, case: &str) {
        assert!(self.disk.all_struck(), "{case}: the error met nothing");
        self.cut_and_mount();
        self.starts();
        self.ledger.check(&mut self.client);
        for partition in [0, 1] {
            self.ledger.produce(&mut self.client, TOPIC, partition, 300);
        }
    }

    fn starts(&mut self) {
        self.broker.spawn();
        self.broker.wait_ready();
        self.client = Client::connect(self.broker.kafka());
    }

    fn cut_and_mount(&mut self) {
        self.disk.cut_power(self.seed.next(), CutMode::Random);
        self.disk.restore_power().expect("the file system comes back");
    }
}

fn text(text: &str) -> Target {
    Target::Containing(text.as_bytes().to_vec())
}

/// A storage error or a closed connection, and nothing else.
fn is_refusal(error: Option<i16>) -> bool {
    error.is_none_or(|error| error == KAFKA_STORAGE_ERROR)
}

/// What writes and syncs, and how it is made to.
fn writes_and_syncs_that_fail_are_the_end(file_system: FileSystem) {
    let mut stage = Stage::set(file_system);

    for (case, value) in [
        ("a write of records", "doomed by a write"),
        ("their flush", "doomed by a flush"),
    ] {
        match case {
            "their flush" => stage.disk.fail_flushes(text(value), 1),
            _ => stage.disk.fail_writes(text(value), 1),
        }
        let answer = stage.client.produce(TOPIC, 1, &client::batch(&[value]));
        assert!(is_refusal(answer.ok().map(|(error, _)| error)), "{case}");
        stage.ends(case, "cannot write");
        stage.comes_back(case);
    }

    for (case, topic) in [("a write of metadata", "by-write"), ("its flush", "by-flush")] {
        let key = text(&format!("topics/{topic}"));
        match case {
            "its flush" => stage.disk.fail_flushes(key, 1),
            _ => stage.disk.fail_writes(key, 1),
        }
        let answer = stage.client.try_create(topic, 1, &[]);
        assert!(
            answer.is_err() || answer.is_ok_and(|error| error != NONE),
            "{case}"
        );
        stage.ends(case, "cannot append to the journal");
        stage.comes_back(case);
    }

    for (case, target) in [("a write of an index file", "CLX1"), ("its flush", "CLX1")] {
        match case {
            "its flush" => stage.disk.fail_flushes(text(target), 1),
            _ => stage.disk.fail_writes(text(target), 1),
        }
        assert!(is_refusal(stage.produce_until_refused(LARGE)), "{case}");
        stage.ends(case, "cannot write an index file");
        stage.comes_back(case);
    }

    let case = "filling a segment for the pool";
    stage.disk.fail_writes(Target::Zeros, 1);
    assert!(is_refusal(stage.produce_until_refused(LARGE)), "{case}");
    stage.ends(case, "cannot fill a segment");
    stage.comes_back(case);

    let case = "a checkpoint";
    stage.disk.fail_writes(text("CLK1"), 1);
    let answer = stage.client.delete_records(TOPIC, 1, 2);
    assert!(is_refusal(answer.ok()), "{case}");
    stage.ends(case, "cannot write the checkpoint");
    stage.comes_back(case);

    let case = "the marker of a clean stop";
    stage.disk.fail_writes(text("CLM1"), 1);
    stage.broker.signal(rustix::process::Signal::TERM);
    stage.ends(case, "cannot");
    stage.comes_back(case);
}

#[test]
fn writes_and_syncs_that_fail_are_the_end_on_ext4() {
    writes_and_syncs_that_fail_are_the_end(FileSystem::Ext4);
}

#[test]
fn writes_and_syncs_that_fail_are_the_end_on_xfs() {
    writes_and_syncs_that_fail_are_the_end(FileSystem::Xfs);
}

#[test]
fn a_read_that_fails_is_an_answer_and_nothing_else() {
    let mut stage = Stage::set(FileSystem::Ext4);
    // What a broker recovered is not in its memory.
    stage.broker.kill();
    stage.cut_and_mount();
    stage.starts();
    stage.disk.fail_reads(text("value 000000000001 "), 2);
    for _ in 0..2 {
        assert_eq!(stage.client.fetch(TOPIC, 0, 0).error, KAFKA_STORAGE_ERROR);
    }
    assert!(stage.disk.all_struck());
    assert_eq!(stage.client.fetch(TOPIC, 1, 0).error, NONE);
    stage.ledger.check(&mut stage.client);
    stage.ledger.produce(&mut stage.client, TOPIC, 0, 300);
    assert!(stage.broker.terminate().success());
}

#[test]
fn starts_on_a_disk_that_goes_on_failing_end_each_time_and_the_first_good_one_has_everything() {
    let mut stage = Stage::set(FileSystem::Ext4);
    stage.disk.fail_writes(Target::Any, ALWAYS);
    stage.disk.fail_flushes(Target::Any, ALWAYS);
    assert!(is_refusal(stage.produce_until_refused(300)));
    stage.ends("every write", "cannot write");
    for start in 1..=3 {
        stage.broker.spawn();
        stage.ends(&format!("start {start} on a disk that takes nothing"), "cannot ");
    }
    stage.cut_and_mount();
    stage.disk.fail_reads(text("CLG1"), ALWAYS);
    for start in 1..=2 {
        stage.broker.spawn();
        stage.ends(
            &format!("start {start} on a disk that cannot read its segments"),
            "cannot start",
        );
    }
    stage.disk.fail_nothing();
    stage.comes_back("the disk works again");
    assert!(stage.broker.terminate().success());
}

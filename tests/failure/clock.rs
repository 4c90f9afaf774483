//! A wall clock that steps by ten years, under a broker that serves and across restarts.
//!
//! The clock is libfaketime's: it says what a file says. The monotonic clock runs on.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{self, Client, EARLIEST, Ledger, Stamp};

/// Where Debian puts it, by architecture.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];
const TEN_YEARS: &str = "+3650d";
const TEN_YEARS_BACK: &str = "-3650d";
/// Rounds of retention that must not delete anything.
const SOME_ROUNDS: Duration = Duration::from_millis(600);

struct Clock(PathBuf);

impl Clock {
    fn step(&self, to: &str) {
        // By rename, so that nobody reads half of it.
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{to}\n")).expect("a time");
        std::fs::rename(&new, &self.0).expect("a time");
    }
}

fn broker(home: &tempfile::TempDir) -> (Broker, Clock) {
    let library = LIBRARIES.into_iter().find(|path| PathBuf::from(path).exists());
    let library = library.expect("libfaketime is installed (scripts/setup-test-env)");
    let clock = Clock(home.path().join("time"));
    clock.step("+0");
    let mut options = Options::new(1, Advertise::Single)
        .set("log.segment_bytes=1MiB")
        .set("log.max_message_bytes=512KiB")
        .set("log.retention_check_interval=50ms")
        .set("group.offsets_retention_check_interval=50ms");
    let path = clock.0.display();
    options.launcher = vec![
        "env".to_owned(),
        format!("LD_PRELOAD={library}"),
        format!("FAKETIME_TIMESTAMP_FILE={path}"),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "NO_FAKE_STAT=1".to_owned(),
    ];
    (Broker::start(options), clock)
}

#[test]
fn ten_years_either_way_delete_nothing_and_forget_nobody() {
    let home = tempfile::tempdir().expect("a directory");
    let (mut broker, clock) = broker(&home);
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create("kept", 1, &[]);
    let (id, epoch) = client.init_producer();
    let stamp = Stamp {
        id,
        epoch,
        sequence: 0,
    };
    let first = ledger.value(100);
    let stamped = client::stamped_batch(stamp, &[&first]);
    let offset = client.produce_ok("kept", 0, &stamped);
    ledger.acked("kept", 0, offset, &[first]);
    // Several segments, so that there is something to delete.
    for _ in 0..60 {
        ledger.produce(&mut client, "kept", 0, 60_000);
    }
    assert_eq!(client.commit("readers", "kept", 0, 7), 0);

    let holds = |client: &mut Client, ledger: &mut Ledger| {
        std::thread::sleep(SOME_ROUNDS);
        assert_eq!(client.list("kept", 0, EARLIEST).offset, 0, "nothing is deleted");
        assert_eq!(client.committed("readers", "kept", 0), 7, "offsets are kept");
        assert_eq!(
            client.produce_ok("kept", 0, &stamped),
            offset,
            "the producer is remembered"
        );
        ledger.produce(client, "kept", 0, 100);
        ledger.check(client);
    };
    clock.step(TEN_YEARS);
    broker.wait_until("the step is noticed", |broker| {
        broker.said().contains("far ahead")
    });
    assert!(broker.metric("corelog_clock_doubt_seconds") > Some(9 * 365 * 24 * 3600));
    holds(&mut client, &mut ledger);
    clock.step("+0");
    broker.wait_until("so is the way back", |broker| broker.said().contains("went back"));
    holds(&mut client, &mut ledger);
    assert_eq!(broker.metric("corelog_clock_doubt_seconds"), Some(0));
    // Producers' clocks stand ten years in the future of this one.
    clock.step(TEN_YEARS_BACK);
    broker.wait_until("a step into the past is noticed", |broker| {
        broker.said().matches("went back").count() == 2
    });
    holds(&mut client, &mut ledger);

    // A crash and a start in the past, and a stop and a start in the future.
    broker.kill();
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    ledger.check(&mut client);
    assert!(broker.terminate().success());
    clock.step(TEN_YEARS);
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    holds(&mut client, &mut ledger);
    assert!(broker.terminate().success());
}

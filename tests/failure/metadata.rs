//! Small files that say what the large ones are: the metadata journal and snapshot, the clean-stop marker, leftovers.

use std::path::Path;

use crate::directory::refusal;
use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{Client, Ledger};

/// A stopped broker with a few topics, and what they hold.
fn stopped() -> (Broker, Ledger) {
    let mut broker = Broker::start(Options::new(1, Advertise::Single));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    for topic in ["first", "second", "third"] {
        client.create(topic, 1, &[]);
        ledger.produce(&mut client, topic, 0, 100);
    }
    assert!(broker.terminate().success());
    (broker, ledger)
}

fn serves(broker: &mut Broker, ledger: &mut Ledger) {
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    ledger.check(&mut client);
    ledger.produce(&mut client, "second", 0, 100);
    assert!(broker.terminate().success());
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("a file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("the file is written");
}

#[test]
fn a_torn_end_of_the_metadata_journal_is_cut_and_rot_in_it_is_refused_by_file_and_byte() {
    let (mut broker, mut ledger) = stopped();
    let journal = broker.data_dir().join("meta/journal");
    // A commit of which the length, the checksum and a few bytes reached the disk.
    change(&journal, |bytes| {
        bytes.extend([200, 0, 0, 0, 1, 2, 3, 4, 9, 9, 9])
    });
    serves(&mut broker, &mut ledger);

    let sound = std::fs::read(&journal).expect("the journal");
    change(&journal, |bytes| bytes[60] ^= 1);
    let said = refusal(&mut broker);
    assert!(said.contains("meta/journal is damaged at byte"), "{said}");
    std::fs::write(&journal, &sound).expect("the journal is mended");

    let snapshot = broker.data_dir().join("meta/snapshot");
    std::fs::write(&snapshot, b"CLOGMETS and then nothing of the kind").expect("a snapshot");
    let said = refusal(&mut broker);
    assert!(said.contains("meta/snapshot is damaged at byte"), "{said}");
    std::fs::remove_file(&snapshot).expect("the snapshot goes");
    serves(&mut broker, &mut ledger);
}

#[test]
fn a_marker_that_is_not_one_costs_a_scan_and_leftovers_are_swept() {
    let (mut broker, mut ledger) = stopped();
    let marker = broker.data_dir().join("clean-stop");
    change(&marker, |bytes| bytes[20] ^= 1);
    serves(&mut broker, &mut ledger);
    std::fs::write(&marker, b"").expect("an empty marker");
    let partition = broker.data_dir().join("topics/first/0");
    let leftovers = [format!("{:020}.idx.new", 0), "checkpoint.new".to_owned()];
    for name in &leftovers {
        std::fs::write(partition.join(name), b"half").expect("a leftover");
    }
    serves(&mut broker, &mut ledger);
    for name in &leftovers {
        assert!(!partition.join(name).exists(), "{name} is swept");
    }
}

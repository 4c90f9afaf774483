//! Bits that turn over on a disk while nobody looks.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{Client, KAFKA_STORAGE_ERROR, Ledger, NONE};

const RECORDS: i64 = 100;
const VALUE: usize = 4000;
/// A place inside the records of the first segment, far from its first and last frame.
const ROTTEN_BYTE: u64 = 20_000;

fn flip_a_bit(segment: &Path, position: u64) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(segment)
        .expect("a segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).expect("a byte of it");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, position).expect("the byte goes back");
    file.sync_all().expect("it is on the disk");
}

/// Where the frames of a segment begin, as far as they begin with what the first one begins with.
fn frames(segment: &Path) -> Vec<u64> {
    let bytes = std::fs::read(segment).expect("a segment");
    let alike = |at: &usize| bytes[*at..].starts_with(&bytes[..4]);
    let positions = (0..bytes.len()).step_by(16).filter(alike);
    positions
        .map(|at| u64::try_from(at).expect("a small file"))
        .collect()
}

/// A counter of all shards.
fn metric(broker: &Broker, name: &str) -> u64 {
    let (_, text) = broker.admin_get("/metrics").expect("the admin door answers");
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with('{')
            .then(|| rest.rsplit(' ').next()?.parse::<u64>().ok())?
    });
    values.sum()
}

/// The offsets that are refused; every other one is read, and is what was acknowledged.
fn refused(client: &mut Client, topic: &str) -> Vec<i64> {
    let refused: Vec<i64> = (0..RECORDS)
        .filter(|offset| match client.fetch(topic, 0, *offset) {
            fetched if fetched.error == KAFKA_STORAGE_ERROR => true,
            fetched => {
                let first = fetched.records.first().map(|(offset, _)| *offset);
                assert_eq!((fetched.error, first), (NONE, Some(*offset)));
                false
            }
        })
        .collect();
    refused
}

#[test]
fn the_scrub_finds_a_turned_bit_before_any_reader_and_no_start_forgets_it() {
    let options = Options::new(2, Advertise::Single).set("scrub.interval=0s");
    let mut broker = Broker::start(options);
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    for topic in ["rots", "keeps"] {
        client.create(topic, 1, &[("segment.bytes", "65536")]);
        for _ in 0..RECORDS {
            ledger.produce(&mut client, topic, 0, VALUE);
        }
    }
    assert!(broker.terminate().success());
    flip_a_bit(
        &broker.data_dir().join("topics/rots/0/00000000000000000000.log"),
        ROTTEN_BYTE,
    );

    broker.reconfigure(|options| {
        options.settings = ["scrub.interval=100ms", "scrub.bytes_per_second=-1"]
            .map(str::to_owned)
            .to_vec();
    });
    broker.spawn();
    broker.wait_ready();
    broker.wait_until("both shards went over their logs three times", |broker| {
        metric(broker, "corelog_scrub_passes_total") >= 6
    });
    assert_eq!(metric(&broker, "corelog_scrub_damaged_total"), 1, "found once");
    assert_eq!(metric(&broker, "corelog_damaged_partitions"), 1);
    assert_eq!(
        metric(&broker, "corelog_damaged_reads_total"),
        0,
        "nobody read it"
    );
    let said = broker.said();
    assert_eq!(said.matches("the scrub found").count(), 1, "{said}");
    let mut client = Client::connect(broker.kafka());
    let damaged = refused(&mut client, "rots");
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert!(
        said.contains("rots") && said.contains(&format!("{}", damaged[0])),
        "{said}"
    );
    assert_eq!(
        metric(&broker, "corelog_damaged_reads_total"),
        0,
        "refused before a byte is read"
    );
    ledger.forget("rots");
    ledger.check(&mut client);

    // Without a scrub, after a clean stop and after a kill.
    for clean in [true, false] {
        if clean {
            assert!(broker.terminate().success());
            broker.reconfigure(|options| options.settings = vec!["scrub.interval=0s".to_owned()]);
        } else {
            broker.kill();
        }
        broker.spawn();
        broker.wait_ready();
        let mut client = Client::connect(broker.kafka());
        assert_eq!(refused(&mut client, "rots"), damaged);
        assert_eq!(metric(&broker, "corelog_scrub_bytes_total"), 0, "off is off");
        ledger.check(&mut client);
    }
    assert!(broker.terminate().success());
}

/// Of many frames between two entries of the index one loses its header, and with it the way to those behind it. The first
/// reader is refused that frame and no other, and so is everybody after it.
#[test]
fn a_reader_who_meets_damage_first_loses_no_sound_record_behind_it() {
    let options = Options::new(2, Advertise::Single).set("scrub.interval=0s");
    let mut broker = Broker::start(options);
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    for (topic, segment_bytes) in [("sealed", "16384"), ("active", "1048576")] {
        client.create(topic, 1, &[("segment.bytes", segment_bytes)]);
        for _ in 0..RECORDS {
            ledger.produce(&mut client, topic, 0, 200);
        }
    }
    assert!(broker.terminate().success());
    // Of the active segment the last but one, behind which a way to the end of the file leads over nothing.
    let spoilt = [("sealed", 12), ("active", 98)];
    for (topic, spoilt) in spoilt {
        let segment = broker
            .data_dir()
            .join(format!("topics/{topic}/0/00000000000000000000.log"));
        let header = frames(&segment)[spoilt];
        flip_a_bit(&segment, header + 20);
    }
    for start in ["after a clean stop", "after another", "after a kill"] {
        broker.spawn();
        broker.wait_ready();
        let mut client = Client::connect(broker.kafka());
        for (topic, spoilt) in spoilt {
            let spoilt = i64::try_from(spoilt).expect("a small number");
            assert_eq!(refused(&mut client, topic), [spoilt], "{topic}, {start}");
        }
        assert_eq!(metric(&broker, "corelog_damaged_partitions"), 2, "{start}");
        assert_eq!(metric(&broker, "corelog_scrub_bytes_total"), 0);
        if start == "after another" {
            broker.kill();
        } else {
            assert!(broker.terminate().success());
        }
    }
}

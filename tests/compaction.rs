//! Compaction and DeleteRecords against the real binary: under load, with a reader that begins at offset zero over and over,
//! and with `kill -9` while the cleaner works.
//!
//! A compacted topic must be, at any moment and after any kill, what the rules allow: of each key the last record (a
//! tombstone may be gone, and then nothing older of its key is there), nothing that was not appended, every record at the
//! offset it got, offsets rising. A kill leaves the page cache; what a power cut may leave of a swap is tested in
//! `storage/compaction/tests.rs`, state by state.
//!
//! `CORELOG_KILL_ROUNDS` sets the number of rounds (10), `CORELOG_SEED` the choices.

#![expect(
    clippy::disallowed_methods,
    reason = "a test has clocks, threads and patience of its own"
)]
#![expect(
    clippy::disallowed_types,
    reason = "readers and writer of a test share what was acknowledged"
)]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

#[expect(
    clippy::allow_attributes,
    reason = "which helpers stay unused differs from program to program"
)]
#[allow(dead_code, reason = "each test program uses some of the shared helpers")]
#[path = "support/support.rs"]
mod support;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corelog::base::Timestamp;
use corelog::batch::kafka::{KafkaBatch, KafkaBatchBuilder, Records};
use corelog::batch::{Compression, RecordHeader};
use corelog::client::{ConsumerConfig, Start};
use support::broker::{Advertise, Broker, Options};
use support::client::{Client, EARLIEST, LATEST, NONE, OFFSET_OUT_OF_RANGE};
use support::disk::files_below;
use support::seed::Seed;
use support::wire::{self, Connection, Fields};

const TOPIC: &str = "compacted";
const KEYS: u64 = 40;
const ROUNDS: u64 = 10;
const BATCHES_PER_ROUND: u64 = 120;
const DELETE_RECORDS: i16 = 21;
const POLICY_VIOLATION: i16 = 44;
/// `delete.retention.ms` of the topic.
const TOMBSTONES_STAY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Plain {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: i64,
}

/// What was acknowledged, by offset.
type Appended = Arc<Mutex<HashMap<i64, Plain>>>;

fn options() -> Options {
    // Two shards behind one port: half of what is asked crosses to the other.
    Options::new(2, Advertise::Single)
        .set("compaction.check_interval=30ms")
        .set("log.retention_check_interval=100ms")
        // Slow enough that many a kill comes in the middle of a group.
        .set("compaction.bytes_per_second=8MiB")
}

/// The records of whole batches with their offsets, and the offset behind the last batch.
fn records_of(mut bytes: &[u8]) -> (Vec<(i64, Plain)>, Option<i64>) {
    let (mut records, mut next) = (Vec::new(), None);
    while bytes.len() > 12 {
        let length = i32::from_be_bytes(bytes[8..12].try_into().unwrap());
        let Some((first, rest)) = bytes.split_at_checked(12 + usize::try_from(length).unwrap()) else {
            break;
        };
        bytes = rest;
        let batch = KafkaBatch::parse(first).unwrap();
        batch.verify_crc().unwrap();
        assert!(
            next.is_none_or(|next| next == batch.base_offset()),
            "batches tile the offsets"
        );
        let section = batch.uncompressed(1 << 24).unwrap();
        for record in Records::new(&section, u32::try_from(batch.record_count()).unwrap()) {
            let record = record.unwrap();
            records.push((
                batch.base_offset() + i64::from(record.offset_delta),
                Plain {
                    key: record.key.unwrap_or_default().to_vec(),
                    value: record.value.map(<[u8]>::to_vec),
                    timestamp: batch.base_timestamp().get() + record.timestamp_delta,
                },
            ));
        }
        next = Some(batch.base_offset() + i64::from(batch.last_offset_delta()) + 1);
    }
    (records, next)
}

/// Everything from `from` to `end`; an error when the connection or the broker fails.
fn read(
    connection: &mut Connection,
    topic: &str,
    from: i64,
    end: i64,
) -> Result<BTreeMap<i64, Plain>, String> {
    let (mut all, mut next) = (BTreeMap::new(), from);
    while next < end {
        let (error, bytes) = connection
            .fetch(topic, next)
            .map_err(|error| format!("gone: {error}"))?;
        assert_eq!(error, NONE, "fetching from {next}");
        let (records, behind) = records_of(&bytes);
        for (offset, record) in records.into_iter().filter(|(offset, _)| *offset >= next) {
            assert!(
                all.last_key_value().is_none_or(|(last, _)| *last < offset),
                "offsets rise"
            );
            all.insert(offset, record);
        }
        next = behind.ok_or_else(|| format!("nothing at {next}"))?.max(next + 1);
    }
    Ok(all)
}

/// Appends one batch of random updates and tombstones.
fn append(client: &mut Client, seed: &mut Seed, appended: &Appended) {
    // Not zstd, the last, which the old Produce version of this client may not carry.
    let codec = Compression::ALL[usize::try_from(seed.within(0..4)).unwrap()];
    let now = 1_700_000_000_000;
    let records: Vec<Plain> = (0..=seed.within(0..8))
        .map(|_| Plain {
            key: format!("key-{}", seed.within(0..KEYS)).into_bytes(),
            value: (seed.within(0..5) > 0).then(|| {
                let length = seed.within(10..900);
                seed.bytes(length)
            }),
            timestamp: now + i64::try_from(seed.within(0..1000)).unwrap(),
        })
        .collect();
    let mut builder = KafkaBatchBuilder::new();
    for record in &records {
        let header = RecordHeader {
            key: b"h",
            value: None,
        };
        let time = Timestamp::new(record.timestamp);
        builder.push(Some(&record.key), record.value.as_deref(), time, [header]);
    }
    let batch = builder.build(codec, None).unwrap();
    // Held over the request, so that a reader never sees a record that is not noted.
    let mut appended = appended.lock().unwrap();
    let base = client.produce_ok(TOPIC, 0, &batch);
    for (offset, record) in (base..).zip(records) {
        appended.insert(offset, record);
    }
}

/// What is there is allowed by the rules.
fn judge(found: &BTreeMap<i64, Plain>, appended: &HashMap<i64, Plain>, end: i64) {
    for (offset, record) in found {
        assert_eq!(appended.get(offset), Some(record), "offset {offset}");
    }
    let mut last: HashMap<&[u8], i64> = HashMap::new();
    for (offset, record) in appended {
        let known = last.entry(&record.key).or_insert(*offset);
        *known = (*known).max(*offset);
    }
    // What came after the read may have replaced what it was to find.
    for (key, offset) in last.into_iter().filter(|(_, offset)| *offset < end) {
        let record = &appended[&offset];
        let there = found.contains_key(&offset);
        let older = found.values().any(|found| found.key == key);
        let name = String::from_utf8_lossy(key);
        assert!(
            there || record.value.is_none(),
            "the last record of {name}, at {offset}, is gone"
        );
        assert!(
            there || !older,
            "the tombstone of {name} is gone and older records are not"
        );
    }
}

/// Reads everything from zero over and over until told to stop; gives the number of whole reads.
fn reader(address: SocketAddr, appended: Appended, stop: Arc<AtomicBool>, reads: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::open(address) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let end = appended.lock().unwrap().keys().max().map_or(0, |last| last + 1);
            let began = Instant::now();
            let Ok(found) = read(&mut connection, TOPIC, 0, end) else {
                break;
            };
            if began.elapsed() >= TOMBSTONES_STAY {
                // Too slow to be owed the tombstone of every older record it saw.
                continue;
            }
            judge(&found, &appended.lock().unwrap(), end);
            reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the client library reads up to the last of `wanted`, beginning in the middle of a gap the second time.
fn read_natively(broker: &Broker, wanted: &BTreeMap<i64, Plain>) -> BTreeMap<i64, Plain> {
    let client = corelog::client::Client::connect(&broker.native().to_string()).unwrap();
    let last = *wanted.last_key_value().unwrap().0;
    let mut seen = BTreeMap::new();
    for begin in [0, wanted.first_key_value().unwrap().0 / 2] {
        let mut consumer = client.consumer(ConsumerConfig::default()).unwrap();
        let start = Start::Offset(u64::try_from(begin).unwrap());
        consumer.subscribe(TOPIC, None, start).unwrap();
        let deadline = Instant::now() + PATIENCE;
        seen = BTreeMap::new();
        while !seen.contains_key(&last) {
            assert!(
                Instant::now() < deadline,
                "{} records and not the last",
                seen.len()
            );
            let Some(batches) = consumer.poll(Duration::from_millis(200)).unwrap() else {
                continue;
            };
            for record in batches.records() {
                let plain = Plain {
                    key: record.key.unwrap_or_default().to_vec(),
                    value: record.value.map(<[u8]>::to_vec),
                    timestamp: record.timestamp.get(),
                };
                seen.insert(i64::try_from(record.offset).unwrap(), plain);
            }
        }
        assert_eq!(seen.len(), wanted.len(), "from {begin}");
    }
    seen
}

fn metric(broker: &Broker, name: &str) -> u64 {
    let (_, text) = broker.admin_get("/metrics").unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn a_compacted_topic_is_its_last_values_under_load_and_kills_and_readers_never_notice() {
    let rounds =
        std::env::var("CORELOG_KILL_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number of rounds"));
    let mut seed = Seed::announced("compaction");
    let mut broker = Broker::start(options());
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "65536"),
        ("min.cleanable.dirty.ratio", "0.1"),
        ("delete.retention.ms", "1000"),
    ];
    let mut client = Client::connect(broker.kafka());
    client.create(TOPIC, 1, &configs);
    let appended = Appended::default();
    append(&mut client, &mut seed, &appended);
    let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let reading = {
        let (address, appended) = (broker.kafka(), Arc::clone(&appended));
        let (stop, reads) = (Arc::clone(&stop), Arc::clone(&reads));
        std::thread::spawn(move || reader(address, appended, stop, reads))
    };
    let mut passes = 0;
    for round in 0..rounds {
        for _ in 0..BATCHES_PER_ROUND {
            append(&mut client, &mut seed, &appended);
        }
        // Random time for the cleaner to be under way is this test's subject, not a way to wait for something.
        std::thread::sleep(Duration::from_millis(seed.within(0..150)));
        passes += metric(&broker, "corelog_compaction_passes_total");
        broker.kill();
        broker.spawn();
        broker.wait_ready();
        client = Client::connect(broker.kafka());
        let end = client.list(TOPIC, 0, LATEST).offset;
        let found = read(client.connection(), TOPIC, 0, end).unwrap();
        judge(&found, &appended.lock().unwrap(), end);
        assert_eq!(
            client.list(TOPIC, 0, EARLIEST).offset,
            0,
            "round {round}: nothing moves the start"
        );
        assert!(
            !reading.is_finished(),
            "the reader met an error:\n{}",
            broker.said()
        );
    }
    let total = appended.lock().unwrap().len();
    let deadline = Instant::now() + PATIENCE;
    let mut left = usize::MAX;
    // What is left are the last values and what the last segments hold.
    while left > total / 3 {
        assert!(
            Instant::now() < deadline,
            "{left} of {total} records are left\n{}",
            broker.said()
        );
        append(&mut client, &mut seed, &appended);
        let end = client.list(TOPIC, 0, LATEST).offset;
        left = read(client.connection(), TOPIC, 0, end).unwrap().len();
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    reading.join().expect("the reader never noticed");
    assert!(passes > 0, "the cleaner worked between kills");
    assert!(reads.load(Ordering::Relaxed) > rounds, "the reader read");
    assert!(broker.terminate().success(), "a graceful stop exits with success");
    // From here on nothing changes.
    broker.reconfigure(|options| options.settings = vec!["compaction.check_interval=1h".to_owned()]);
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    let end = client.list(TOPIC, 0, LATEST).offset;
    let found = read(client.connection(), TOPIC, 0, end).unwrap();
    judge(&found, &appended.lock().unwrap(), end);
    assert_eq!(
        read_natively(&broker, &found),
        found,
        "the native client sees the same"
    );
    eprintln!(
        "compaction: {rounds} kills, {passes} passes, {total} records, {left} left, {} reads",
        reads.load(Ordering::Relaxed)
    );
}

/// One partition's answer to DeleteRecords: low watermark and error code.
fn delete_records(client: &mut Client, topic: &str, offset: i64) -> (i64, i16) {
    let mut body = 1_i32.to_be_bytes().to_vec();
    wire::string(&mut body, topic.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend(10_000_i32.to_be_bytes());
    let answer = client.connection().call(DELETE_RECORDS, 1, &body).unwrap();
    let mut fields = Fields(&answer);
    fields.take(8).unwrap();
    fields.string().unwrap();
    fields.take(8).unwrap();
    (fields.i64().unwrap(), fields.i16().unwrap())
}

#[test]
fn deleted_records_stay_deleted_across_kills_and_their_files_go() {
    let mut broker = Broker::start(options());
    let mut client = Client::connect(broker.kafka());
    client.create("trimmed", 1, &[("segment.bytes", "65536")]);
    for n in 0..100_u8 {
        client.produce_ok(
            "trimmed",
            0,
            &support::client::batch(&[vec![n; 4000], vec![n; 10]]),
        );
    }
    let files = broker.data_dir().join("topics/trimmed/0");
    let before = files_below(&files, ".log");
    assert_eq!(
        delete_records(&mut client, "trimmed", 201),
        (-1, OFFSET_OUT_OF_RANGE)
    );
    assert_eq!(
        delete_records(&mut client, "trimmed", -2),
        (-1, OFFSET_OUT_OF_RANGE)
    );
    for (to, start) in [(101, 101), (50, 101), (0, 101), (151, 151)] {
        assert_eq!(delete_records(&mut client, "trimmed", to), (start, NONE));
        for _ in 0..2 {
            assert_eq!(client.fetch("trimmed", 0, start - 1).error, OFFSET_OUT_OF_RANGE);
            let found = client.fetch("trimmed", 0, start);
            assert_eq!(
                (found.error, found.records[0].0),
                (NONE, start),
                "in the middle of a batch"
            );
            assert_eq!(client.list("trimmed", 0, EARLIEST).offset, start);
            assert_eq!(client.list("trimmed", 0, LATEST).offset, 200);
            broker.kill();
            broker.spawn();
            broker.wait_ready();
            client = Client::connect(broker.kafka());
        }
    }
    assert!(files_below(&files, ".log") < before, "whole segments go");
    assert_eq!(delete_records(&mut client, "trimmed", -1), (200, NONE));
    assert_eq!(client.list("trimmed", 0, EARLIEST).offset, 200);
    assert_eq!(
        client.produce_ok("trimmed", 0, &support::client::batch(&[b"next"])),
        200
    );
    assert!(broker.terminate().success());
    broker.spawn();
    broker.wait_ready();
    client = Client::connect(broker.kafka());
    assert_eq!(client.read_all("trimmed", 0, 200).len(), 1);
    assert_eq!(client.list("trimmed", 0, EARLIEST).offset, 200);
    client.create("kept", 1, &[("cleanup.policy", "compact")]);
    assert_eq!(delete_records(&mut client, "kept", 0), (-1, POLICY_VIOLATION));
}

#[test]
fn segments_roll_by_age() {
    let broker = Broker::start(options());
    let mut client = Client::connect(broker.kafka());
    client.create("aging", 1, &[("segment.ms", "300"), ("segment.bytes", "65536")]);
    let files = broker.data_dir().join("topics/aging/0");
    for wanted in 2..4 {
        client.produce_ok("aging", 0, &support::client::batch(&[b"one"]));
        client.until(
            "a segment is sealed",
            |_| files_below(&files, ".log"),
            |files| *files == wanted,
        );
    }
}

#[test]
fn both_policies_together_compact_what_retention_leaves() {
    let broker = Broker::start(options());
    let mut seed = Seed::announced("both_policies");
    let mut client = Client::connect(broker.kafka());
    let configs = [
        ("cleanup.policy", "compact,delete"),
        ("segment.bytes", "16384"),
        ("min.cleanable.dirty.ratio", "0.1"),
        ("retention.bytes", "10000"),
    ];
    client.create(TOPIC, 1, &configs);
    let appended = Appended::default();
    let deadline = Instant::now() + PATIENCE;
    loop {
        append(&mut client, &mut seed, &appended);
        let (start, end) = (
            client.list(TOPIC, 0, EARLIEST).offset,
            client.list(TOPIC, 0, LATEST).offset,
        );
        let compacted = metric(&broker, "corelog_compaction_removed_records_total") > 100;
        if compacted && start > 0 {
            assert!(start < end);
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{compacted} [{start}, {end})\n{}",
            broker.said()
        );
    }
}

/// Swaps as often as can be, and readers that are in the middle of a segment when it is replaced.
#[test]
fn readers_do_not_notice_that_a_segment_was_replaced_under_them() {
    let broker = Broker::start(
        Options::new(2, Advertise::Single)
            .set("compaction.check_interval=1ms")
            .set("compaction.bytes_per_second=-1"),
    );
    let mut seed = Seed::announced("replaced_under_readers");
    let mut client = Client::connect(broker.kafka());
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "16384"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("corelog.durability", "relaxed"),
        ("flush.ms", "10"),
    ];
    client.create(TOPIC, 1, &configs);
    let appended = Appended::default();
    append(&mut client, &mut seed, &appended);
    let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (address, appended) = (broker.kafka(), Arc::clone(&appended));
            let (stop, reads) = (Arc::clone(&stop), Arc::clone(&reads));
            std::thread::spawn(move || reader(address, appended, stop, reads))
        })
        .collect();
    let (deadline, mut passes) = (Instant::now() + PATIENCE, 0);
    let enough = Instant::now() + LOOK_FOR;
    // A quick machine sees many passes in that time, a loaded one a few.
    while passes < PASSES_MIN || Instant::now() < enough {
        for _ in 0..50 {
            append(&mut client, &mut seed, &appended);
        }
        passes = metric(&broker, "corelog_compaction_passes_total");
        let alive = readers.iter().all(|reader| !reader.is_finished());
        assert!(alive, "a reader met an error:\n{}", broker.said());
        assert!(Instant::now() < deadline, "{passes} passes\n{}", broker.said());
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().expect("the reader never noticed");
    }
}

/// Readers beside the cleaner, and passes they live through.
const READERS: usize = 6;
const PASSES_MIN: u64 = 3;
const LOOK_FOR: Duration = Duration::from_secs(5);

//! Real images, written frame by frame as the shard would, then damaged by hand.

use std::path::{Path, PathBuf};

use super::super::tests::corelog;
use crate::base::{LeaderEpoch, LogId, Offset, PartitionId, Timestamp, TopicId, crc32c};
use crate::batch::{BatchHeader, Compression, HEADER_BYTES, KafkaBatch, KafkaBatchBuilder, Placement, kafka};
use crate::broker::meta_store::{LocalMetaStore, MetaStore as _, Txn};
use crate::runtime::buffer::BLOCK_BYTES;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::index::{IndexEntry, SegmentIndex, SegmentSummary};
use crate::storage::layout::{DataDir, index_name, segment_name};
use crate::storage::marker::{self, CleanEnd};

const SEGMENT_BYTES: usize = 64 * 1024;
const RECORDS: u32 = 3;

fn log() -> LogId {
    LogId {
        topic: TopicId::new([7; 16]),
        partition: PartitionId::new(0),
    }
}

/// A frame of [`RECORDS`] records at `base`, built when the log was durable up to `durable`.
fn frame(log: LogId, base: u64, durable: u64) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    for n in 0..RECORDS {
        let value = format!("record {}", base + u64::from(n));
        builder.push(
            Some(b"k"),
            Some(value.as_bytes()),
            Timestamp::new(1000 + i64::from(n)),
            [],
        );
    }
    let mut batch = builder.build(Compression::Lz4, None).unwrap();
    let placement = Placement {
        log,
        base_offset: Offset::new(base),
        leader_epoch: LeaderEpoch::new(1),
        durable_end: Offset::new(durable),
        append_time: Timestamp::new(5000),
    };
    let header = BatchHeader::for_kafka(&KafkaBatch::parse(&batch).unwrap(), &placement);
    kafka::patch(&mut batch, placement.base_offset, placement.leader_epoch);
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(&batch);
    bytes.resize(header.frame_len(), 0);
    bytes
}

/// `count` frames from `base`, each built when the one before it was durable, and where each begins.
fn segment(base: u64, count: u64) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut starts) = (Vec::new(), Vec::new());
    for n in 0..count {
        starts.push(bytes.len());
        let offset = base + n * u64::from(RECORDS);
        bytes.extend_from_slice(&frame(log(), offset, offset));
    }
    bytes.resize(SEGMENT_BYTES, 0);
    (bytes, starts)
}

struct Image {
    home: tempfile::TempDir,
}

impl Image {
    fn new() -> Self {
        let image = Self {
            home: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(image.partition()).unwrap();
        std::fs::write(image.data().lock(), "1\n").unwrap();
        image
    }

    fn data(&self) -> DataDir {
        DataDir::new(self.home.path())
    }

    fn partition(&self) -> PathBuf {
        self.data().partition("hello", PartitionId::new(0))
    }

    fn put(&self, base: u64, bytes: &[u8]) -> PathBuf {
        let path = self.partition().join(segment_name(Offset::new(base)));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn put_index(&self, base: u64, end: u64) {
        let summary = SegmentSummary {
            log: log(),
            base: Offset::new(base),
            end: Offset::new(end),
            end_position: 0,
            first_append_time: Timestamp::ZERO,
            last_append_time: Timestamp::ZERO,
            max_timestamp: Timestamp::ZERO,
            index: SegmentIndex::default(),
            epochs: Vec::new(),
            producers: Vec::new(),
        };
        let path = self.partition().join(index_name(Offset::new(base)));
        std::fs::write(path, summary.encode()).unwrap();
    }

    /// Exit code and the one row.
    fn verify(&self) -> (u8, serde_json::Value) {
        let (code, out, err) = run(&["log", "verify", "-o", "json"], self.home.path());
        let rows: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        (code, rows[0].clone())
    }
}

fn run(arguments: &[&str], path: &Path) -> (u8, String, String) {
    let mut arguments = arguments.to_vec();
    arguments.push(path.to_str().unwrap());
    corelog(&arguments, "")
}

#[test]
fn a_sound_log_is_counted() {
    let image = Image::new();
    image.put(0, &segment(0, 4).0);
    image.put(12, &segment(12, 2).0);
    image.put_index(0, 12);
    let (code, row) = image.verify();
    assert_eq!(code, 0, "{row}");
    let expected = serde_json::json!({
        "log": "hello/0", "segments": 2, "frames": 6, "records": 18, "start": 0, "end": 18, "torn": 0,
        "damaged": null, "indexes": "1 ok, 1 missing", "status": "ok",
    });
    assert_eq!(row, expected);
}

#[test]
fn a_torn_tail_is_no_damage_and_stays_as_it_is() {
    let image = Image::new();
    let (mut bytes, starts) = segment(0, 4);
    bytes[starts[3] + 200..].fill(0);
    let path = image.put(0, &bytes);
    let (code, row) = image.verify();
    assert_eq!(
        (code, &row["status"], &row["end"]),
        (0, &"torn tail".into(), &9.into()),
        "{row}"
    );
    assert!(row["torn"].as_u64() > Some(0), "{row}");
    assert_eq!(std::fs::read(path).unwrap(), bytes);
}

#[test]
fn a_flipped_bit_below_the_durable_end_is_damage() {
    for at in [0, 1, 2] {
        let image = Image::new();
        let (mut bytes, starts) = segment(0, 4);
        bytes[starts[at] + 150] ^= 1;
        image.put(0, &bytes);
        let (code, row) = image.verify();
        let range = format!("{}..{}", at * 3, at * 3 + 3);
        assert_eq!((code, &row["damaged"]), (1, &range.into()), "{row}");
        assert_eq!((&row["frames"], &row["end"]), (&3.into(), &12.into()));
    }
}

#[test]
fn a_lost_header_of_the_first_frame_is_damage_without_any_index() {
    let image = Image::new();
    let (mut bytes, _) = segment(0, 4);
    bytes[..64].fill(0);
    image.put(0, &bytes);
    let (code, row) = image.verify();
    assert_eq!((code, &row["damaged"]), (1, &"0..3".into()), "{row}");
}

#[test]
fn an_index_or_a_clean_stop_proves_the_last_frame() {
    let lost_tail = |image: &Image| {
        let (mut bytes, starts) = segment(0, 4);
        bytes[starts[3]..].fill(0);
        image.put(0, &bytes);
    };
    let image = Image::new();
    lost_tail(&image);
    assert_eq!(image.verify().0, 0);
    image.put_index(0, 12);
    let (code, row) = image.verify();
    assert_eq!((code, &row["damaged"]), (1, &"9..12".into()), "{row}");

    let image = Image::new();
    lost_tail(&image);
    let end = CleanEnd {
        log: log(),
        end: Offset::new(12),
        epoch: LeaderEpoch::new(1),
        damaged: false,
    };
    marker::write(&image.data().marker(), &[end]).unwrap();
    let (code, row) = image.verify();
    assert_eq!((code, &row["damaged"]), (1, &"9..12".into()), "{row}");
    assert!(image.data().marker().exists(), "looking takes nothing away");
}

#[test]
fn stale_frames_and_empty_files_are_nothing() {
    let image = Image::new();
    let mut bytes = segment(0, 2).0;
    let stale = LogId {
        topic: TopicId::new([9; 16]),
        ..log()
    };
    let old = frame(stale, 6, 6);
    bytes[BLOCK_BYTES..BLOCK_BYTES + old.len()].copy_from_slice(&old);
    image.put(0, &bytes);
    image.put(6, &vec![0; SEGMENT_BYTES]);
    let (code, row) = image.verify();
    assert_eq!(
        (code, &row["status"], &row["end"]),
        (0, &"ok".into(), &6.into()),
        "{row}"
    );
}

#[test]
fn a_directory_in_use_is_refused() {
    let image = Image::new();
    let path = image.put(0, &segment(0, 1).0);
    let lock = std::fs::File::open(image.data().lock()).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    for (command, path) in [("verify", image.home.path()), ("dump", &path)] {
        let (code, out, err) = run(&["log", command], path);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains("process 1"), "{err}");
    }
}

#[test]
fn what_is_no_log_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let other = home.path().join("notes.txt");
    std::fs::write(&other, "hi").unwrap();
    for path in [home.path(), &other, &home.path().join("missing")] {
        let (code, out, err) = run(&["log", "verify"], path);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
    }
}

#[test]
fn frames_are_dumped_with_their_records() {
    let image = Image::new();
    let path = image.put(0, &segment(0, 3).0);
    let (code, out, _) = run(&["log", "dump", "--records", "-o", "json", "-n", "2"], &path);
    let frames: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, frames.as_array().map(Vec::len)), (0, Some(2)), "{out}");
    assert_eq!(frames[1]["base_offset"], 3);
    assert_eq!(
        (&frames[1]["codec"], &frames[1]["crc_ok"]),
        (&"lz4".into(), &true.into())
    );
    let expected = serde_json::json!({
        "offset": 4, "timestamp": 1001, "key": "k", "value": "record 4", "headers_count": 0,
    });
    assert_eq!(frames[1]["records"][1], expected);

    let (code, out, _) = run(&["log", "dump", "--records"], &image.partition());
    assert_eq!(code, 0);
    assert_eq!(out.lines().count(), 1 + 3 * 4, "{out}");
    assert!(out.contains("0..3") && out.contains("\"record 8\""), "{out}");
}

#[test]
fn a_dump_shows_damage_and_goes_on_behind_it() {
    let image = Image::new();
    let (mut bytes, starts) = segment(0, 4);
    bytes[starts[1] + 150] ^= 1;
    bytes[starts[2]..starts[2] + 8].fill(0);
    let path = image.put(0, &bytes);
    let (_, out, _) = run(&["log", "dump", "-o", "json"], &path);
    let frames: serde_json::Value = serde_json::from_str(&out).unwrap();
    let seen: Vec<(u64, bool)> = frames
        .as_array()
        .unwrap()
        .iter()
        .map(|frame| {
            (
                frame["base_offset"].as_u64().unwrap(),
                frame["crc_ok"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(seen, [(0, true), (3, false), (9, true)]);
}

#[test]
fn a_segment_without_frames_is_an_empty_list() {
    let image = Image::new();
    let path = image.put(0, &vec![0; SEGMENT_BYTES]);
    let (code, out, _) = run(&["log", "dump", "-o", "json"], &path);
    assert_eq!((code, out.as_str()), (0, "[]\n"));
}

/// A data directory with metadata, whose one topic is the image's.
fn with_metadata(image: &Image) {
    let mut store = LocalMetaStore::open(&image.data().meta()).unwrap();
    let id = uuid::Uuid::from_bytes(log().topic.to_bytes());
    let record = serde_json::json!({ "id": id, "partitions": 1, "configs": {} });
    store
        .commit(Txn::new().put("topics/hello", record.to_string()))
        .unwrap();
}

impl Image {
    /// Exit code, and offset, severity and text of each finding.
    fn verify_deep(&self) -> (u8, Vec<(Option<u64>, String, String)>) {
        let (code, out, err) = run(&["log", "verify", "--deep", "-o", "json"], self.home.path());
        let both: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let findings = both["findings"].as_array().unwrap().iter().map(|one| {
            assert!(one["where"].is_string(), "{one}");
            (one["offset"].as_u64(), text(&one["severity"]), text(&one["what"]))
        });
        (code, findings.collect())
    }

    /// As [`verify_deep`](Self::verify_deep), where exactly one thing is found.
    fn one_finding(&self) -> (u8, Option<u64>, String) {
        let (code, findings) = self.verify_deep();
        let [(offset, _, what)] = findings.as_slice() else {
            panic!("{code}: {findings:?}");
        };
        (code, *offset, what.clone())
    }
}

#[test]
fn a_sound_directory_has_nothing_to_be_found_however_deep() {
    let image = Image::new();
    with_metadata(&image);
    image.put(0, &segment(0, 4).0);
    image.put(12, &segment(12, 2).0);
    assert_eq!(image.verify_deep(), (0, Vec::new()));
}

#[test]
fn a_bit_that_turned_anywhere_in_a_sealed_segment_is_an_error_at_its_offset() {
    // Frames up to the last block, so that no block is without one.
    let frame_bytes = frame(log(), 0, 0).len();
    let count = u64::try_from(SEGMENT_BYTES / frame_bytes).unwrap();
    let (sound, starts) = segment(0, count);
    let end = count * u64::from(RECORDS);
    let image = Image::new();
    with_metadata(&image);
    image.put(end, &segment(end, 2).0);
    image.put(0, &sound);
    assert_eq!(image.verify_deep(), (0, Vec::new()));
    let mut state = 7_usize;
    for block in 0..SEGMENT_BYTES / BLOCK_BYTES {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
        let at = block * BLOCK_BYTES + (state >> 7) % BLOCK_BYTES;
        let hit = starts.partition_point(|start| *start <= at) - 1;
        let header = BatchHeader::decode(&sound[starts[hit]..]).unwrap();
        let within = at - starts[hit];
        // Padding says nothing; the bit goes into the payload's last byte instead.
        let at = starts[hit] + within.min(HEADER_BYTES + header.payload_len as usize - 1);
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (state % 8);
        image.put(0, &bytes);
        let (code, findings) = image.verify_deep();
        let offset = header.base_offset.get();
        let found = findings
            .iter()
            .any(|(at, severity, _)| *at == Some(offset) && severity == "error");
        assert!(code == 1 && found, "byte {at}, offset {offset}: {findings:?}");
    }
}

/// A frame whose sums are right and whose batch is not what it says.
fn unsound_frame(change: impl FnOnce(&mut Vec<u8>, &mut BatchHeader)) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    for value in [b"one", b"two"] {
        builder.push(None, Some(value), Timestamp::new(1), []);
    }
    let mut batch = builder.build(Compression::None, None).unwrap();
    let placement = Placement {
        log: log(),
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::new(1),
        durable_end: Offset::ZERO,
        append_time: Timestamp::new(5000),
    };
    let mut header = BatchHeader::for_kafka(&KafkaBatch::parse(&batch).unwrap(), &placement);
    kafka::patch(&mut batch, placement.base_offset, placement.leader_epoch);
    change(&mut batch, &mut header);
    let sum = crc32c(&batch[kafka::SUMMED_FROM..]);
    batch[17..kafka::SUMMED_FROM].copy_from_slice(&sum.to_be_bytes());
    header.payload_crc = sum;
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(&batch);
    bytes.resize(SEGMENT_BYTES, 0);
    bytes
}

#[test]
fn a_batch_whose_sums_hold_and_whose_records_do_not_is_an_error() {
    type Change = fn(&mut Vec<u8>, &mut BatchHeader);
    let changes: [(Change, &str); 4] = [
        // The offset delta of the second record, behind the header, a record of 10 bytes, a length, attributes and a time.
        (
            |batch, _| batch[61 + 10 + 3] = 10,
            "record 1 has the offset delta 5",
        ),
        (|batch, _| batch[61] = 0x7e, "record 0:"),
        (|batch, _| batch[22] |= 1, "attributes"),
        (|_, header| header.durable_end = Offset::new(9), "durable up to 9"),
    ];
    for (change, expected) in changes {
        let image = Image::new();
        with_metadata(&image);
        image.put(0, &unsound_frame(change));
        let (code, offset, what) = image.one_finding();
        assert_eq!((code, offset), (1, Some(0)), "{what}");
        assert!(what.contains(expected), "{what}, not {expected}");
    }
}

#[test]
fn what_stands_beside_the_frames_is_held_against_them() {
    let image = Image::new();
    with_metadata(&image);
    image.put(0, &segment(0, 4).0);
    image.put(12, &segment(12, 2).0);
    let file = |name: &str| image.partition().join(name);

    // An index that names no entry and no epoch, and one whose entry points beside the frames.
    let mut summary = SegmentSummary {
        log: log(),
        base: Offset::ZERO,
        end: Offset::new(12),
        end_position: 4 * frame(log(), 0, 0).len() as u64,
        first_append_time: Timestamp::new(5000),
        last_append_time: Timestamp::new(5000),
        max_timestamp: Timestamp::new(1002),
        index: SegmentIndex::default(),
        epochs: vec![(LeaderEpoch::new(1), Offset::ZERO)],
        producers: Vec::new(),
    };
    let index = file(&index_name(Offset::ZERO));
    std::fs::write(&index, summary.encode()).unwrap();
    assert_eq!(image.verify_deep(), (0, Vec::new()));
    summary.index.push(IndexEntry {
        relative_offset: 3,
        position: 64,
        max_timestamp_before: 2000,
    });
    std::fs::write(&index, summary.encode()).unwrap();
    assert!(image.one_finding().2.contains("index entry of byte 64"));
    summary.index = SegmentIndex::default();
    summary.producers = vec![9, 9];
    std::fs::write(&index, summary.encode()).unwrap();
    assert!(image.one_finding().2.contains("producers"));
    std::fs::remove_file(&index).unwrap();

    let checkpoint = |log, start| Checkpoint {
        log,
        start: Offset::new(start),
        first_dirty: Offset::ZERO,
        delete_horizon: None,
    };
    let other = LogId {
        partition: PartitionId::new(5),
        ..log()
    };
    for (found, expected) in [
        (checkpoint(log(), 99), "starts at 99"),
        (checkpoint(other, 0), "checkpoint is of"),
    ] {
        std::fs::write(file("checkpoint"), found.encode()).unwrap();
        let (code, _, what) = image.one_finding();
        assert!(code == 1 && what.contains(expected), "{what}");
    }
    std::fs::remove_file(file("checkpoint")).unwrap();

    let end = CleanEnd {
        log: log(),
        end: Offset::new(17),
        epoch: LeaderEpoch::new(1),
        damaged: false,
    };
    marker::write(&image.data().marker(), &[end]).unwrap();
    assert!(image.one_finding().2.contains("ends at 17"));
}

#[test]
fn leftovers_are_notes_and_a_lost_directory_is_an_error() {
    let image = Image::new();
    with_metadata(&image);
    image.put(0, &segment(0, 2).0);
    let stranger = image.data().topic("stranger").join("0");
    std::fs::create_dir_all(stranger).unwrap();
    std::fs::create_dir_all(image.data().trash().join("gone")).unwrap();
    std::fs::write(image.partition().join("00000000000000000000.idx.new"), "x").unwrap();
    let (code, findings) = image.verify_deep();
    let notes: Vec<&str> = findings
        .iter()
        .map(|(_, severity, _)| severity.as_str())
        .collect();
    assert_eq!((code, notes), (0, vec!["note"; 3]), "{findings:?}");

    std::fs::remove_dir_all(image.partition()).unwrap();
    let (code, findings) = image.verify_deep();
    let lost = findings
        .iter()
        .any(|(_, severity, what)| severity == "error" && what.contains("missing"));
    assert!(code == 1 && lost, "{findings:?}");

    std::fs::write(image.data().meta().join("journal"), "not a journal").unwrap();
    let (code, findings) = image.verify_deep();
    assert!(
        code == 1 && findings.iter().any(|(_, _, what)| what.contains("damaged")),
        "{findings:?}"
    );
}

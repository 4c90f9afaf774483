//! Real images, written frame by frame as the shard would, then damaged by hand.

use std::path::{Path, PathBuf};

use super::super::tests::corelog;
use crate::base::{LeaderEpoch, LogId, Offset, PartitionId, Timestamp, TopicId};
use crate::batch::{BatchHeader, Compression, KafkaBatch, KafkaBatchBuilder, Placement, kafka};
use crate::runtime::buffer::BLOCK_BYTES;
use crate::storage::index::{SegmentIndex, SegmentSummary};
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

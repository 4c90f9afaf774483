//! The stored formats of this room, byte for byte. A difference here is a change of format: it wants a new version and a
//! reader for the old one, not `UPDATE_EXPECT=1`. What a frame's bytes are is `tests/batch_golden.rs`'s to hold.

use super::checkpoint::Checkpoint;
use super::index::SegmentSummary;
use super::log::{Durability, Log};
use super::marker::{self, CleanEnd};
use super::recovery;
use super::segment::SEGMENT_BYTES_MIN;
use super::testing::{Disk, append, arena, batch, config, log_id, settle};
use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::runtime::buffer::BLOCK_BYTES;
use expect_test::{ExpectFile, expect_file};
use std::fmt::Write as _;

const NOW: i64 = 1_700_000_000_000;

/// Sixteen bytes a line with their position; lines of zeros are left out.
fn dump(bytes: &[u8]) -> String {
    let mut text = format!("{} bytes\n", bytes.len());
    for (at, line) in bytes.chunks(16).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            write!(text, "{:>6} ", at * 16).unwrap();
            for byte in line {
                write!(text, " {byte:02x}").unwrap();
            }
            text.push('\n');
        }
    }
    text
}

/// The bytes a golden file shows, so that old files are read and not only new ones compared.
fn parse(text: &str) -> Vec<u8> {
    let mut lines = text.lines();
    let len = lines.next().unwrap().strip_suffix(" bytes").unwrap();
    let mut bytes = vec![0; len.parse().unwrap()];
    for line in lines {
        let mut words = line.split_whitespace();
        let at: usize = words.next().unwrap().parse().unwrap();
        for (byte, word) in bytes[at..].iter_mut().zip(words) {
            *byte = u8::from_str_radix(word, 16).unwrap();
        }
    }
    bytes
}

fn hold(bytes: &[u8], golden: &ExpectFile) -> Vec<u8> {
    golden.assert_eq(&dump(bytes));
    let golden = parse(&golden.data());
    assert_eq!(golden, bytes, "the golden file says the same bytes");
    golden
}

/// Two frames, a restart, so padding to the block, and one frame of the next epoch.
#[test]
fn a_segment_of_version_1() {
    let (arena, config) = (arena(), config(SEGMENT_BYTES_MIN, Durability::Durable));
    let directory = tempfile::tempdir_in("target").unwrap();
    let mut disk = Disk::default();
    let mut log = Log::empty(log_id(1), config);
    for fill in 1..3 {
        append(&mut log, &arena, &batch(2, 20, fill, NOW), NOW + 1);
    }
    settle(&mut log, &mut disk);
    disk.store(directory.path());
    (log, _) = recovery::open(directory.path(), log.id(), config, None, &mut ()).unwrap();
    append(&mut log, &arena, &batch(1, 20, 3, NOW + 5), NOW + 6);
    settle(&mut log, &mut disk);
    let golden = expect_file!["../../tests/golden/segment_v1.txt"];
    let bytes = hold(&disk.segments[&0].durable, &golden);
    std::fs::write(directory.path().join("00000000000000000000.log"), bytes).unwrap();
    let (log, report) = recovery::open(directory.path(), log.id(), config, None, &mut ()).unwrap();
    assert_eq!((log.next(), report.scanned_frames), (Offset::new(5), 3));
    assert_eq!(
        log.epoch_end(LeaderEpoch::ZERO),
        Some((LeaderEpoch::ZERO, Offset::new(4)))
    );
}

#[test]
fn an_index_of_version_1() {
    let (arena, config) = (arena(), config(SEGMENT_BYTES_MIN, Durability::Durable));
    let mut disk = Disk::default();
    let mut log = Log::empty(log_id(1), config);
    for fill in 1..5 {
        let at = NOW + 10 * i64::from(fill);
        append(&mut log, &arena, &batch(2, 1_000, fill, at), at + 1);
    }
    log.seal_active(|| b"producers".to_vec());
    settle(&mut log, &mut disk);
    let bytes = hold(
        &disk.indexes[&0],
        &expect_file!["../../tests/golden/segment_index_v1.txt"],
    );
    let read = SegmentSummary::decode(&bytes).unwrap();
    assert_eq!((read.base, read.end), (Offset::ZERO, Offset::new(8)));
    assert_eq!(read.index.entries().len(), 4);
    assert_eq!(read.producers, b"producers");
    assert_eq!(read.max_timestamp, Timestamp::new(NOW + 41));
}

#[test]
fn a_clean_stop_marker_of_version_1() {
    let ends: Vec<_> = (1..3u8)
        .map(|n| CleanEnd {
            log: log_id(n),
            end: Offset::new(0x1234 + u64::from(n)),
            epoch: LeaderEpoch::new(u32::from(n) + 6),
            damaged: n == 2,
        })
        .collect();
    let golden = expect_file!["../../tests/golden/clean_stop_v1.txt"];
    let bytes = hold(&marker::encode(&ends), &golden);
    assert_eq!(marker::decode(&bytes), Some(ends));
}

#[test]
fn a_checkpoint_of_version_1() {
    let checkpoint = Checkpoint {
        log: log_id(1),
        start: Offset::new(0x1234),
        first_dirty: Offset::new(0x5678),
        delete_horizon: Some(Timestamp::new(NOW)),
    };
    let golden = expect_file!["../../tests/golden/checkpoint_v1.txt"];
    let bytes = hold(&checkpoint.encode(), &golden);
    assert_eq!(Checkpoint::decode(&bytes), Some(checkpoint));
}

#[test]
fn sizes_that_files_depend_on() {
    expect_test::expect![
        "block 4096, segments 16384 to 2147483648, ladder [1048576, 16777216, 1099511627776]"
    ]
    .assert_eq(&format!(
        "block {BLOCK_BYTES}, segments {SEGMENT_BYTES_MIN} to {}, ladder {:?}",
        super::segment::SEGMENT_BYTES_MAX,
        super::segment::SEGMENT_LADDER,
    ));
}

//! Hand-made directories and what opening them gives. Each row is one state a crash, a rotten sector or a person can leave.
//!
//! The standard directory is one segment of 16 KiB with five frames of 272 bytes, one record each, offsets 0 to 4, epoch 0;
//! every frame but the first says that the one before it was durable.

use super::*;
use crate::base::Timestamp;
use crate::runtime::buffer::Arena;
use crate::storage::log::{Durability, ReadStart};
use crate::storage::read::Walked;
use crate::storage::segment::SEGMENT_BYTES_MIN;
use crate::storage::testing::{self, Disk, append, arena, batch, config, index, log_id, read, settle};
use expect_test::expect;
use std::fmt::Write as _;

const NOW: i64 = 1_700_000_000_000;
const FRAME: usize = 272;
const FRAMES: usize = 5;

/// A log on the model disk, its batches as a reader gets them, and a directory to open it from.
struct Bench {
    log: Log,
    disk: Disk,
    arena: Arena,
    stored: Vec<Vec<u8>>,
    directory: tempfile::TempDir,
}

/// Records what recovery tells the producer state.
#[derive(Default)]
struct Calls(Vec<String>);

impl FrameVisitor for Calls {
    fn restore(&mut self, snapshot: &[u8]) {
        self.0.push(format!("restore {snapshot:?}"));
    }
    fn frame(&mut self, header: &BatchHeader) {
        self.0.push(format!("frame {}", header.base_offset));
    }
    fn snapshot(&self) -> Vec<u8> {
        vec![u8::try_from(self.0.len()).unwrap()]
    }
}

impl Bench {
    fn empty() -> Self {
        Self {
            log: Log::empty(log_id(1), config(SEGMENT_BYTES_MIN, Durability::Durable)),
            disk: Disk::default(),
            arena: arena(),
            stored: Vec::new(),
            directory: tempfile::tempdir_in("target").unwrap(),
        }
    }

    fn standard() -> Self {
        let mut bench = Self::empty();
        bench.add(FRAMES);
        bench
    }

    /// Appends `count` frames, each made durable before the next.
    fn add(&mut self, count: usize) {
        for _ in 0..count {
            self.add_one(66);
        }
    }

    fn add_one(&mut self, value_bytes: usize) {
        let fill = u8::try_from(self.stored.len() % 250 + 1).unwrap();
        let (_, stored) = append(&mut self.log, &self.arena, &batch(1, value_bytes, fill, NOW), NOW);
        self.stored.push(stored);
        settle(&mut self.log, &mut self.disk);
    }

    fn bytes(&mut self, base: u64) -> &mut Vec<u8> {
        &mut self.disk.segments.get_mut(&base).unwrap().durable
    }

    /// Opens what the disk holds and goes on with it.
    fn open(&mut self, clean: Option<CleanEnd>) -> Report {
        self.open_with(clean, &mut ())
    }

    fn open_with(&mut self, clean: Option<CleanEnd>, visitor: &mut dyn FrameVisitor) -> Report {
        self.disk.store(self.directory.path());
        let (id, config) = (self.log.id(), self.log.config());
        let (log, report) = open(self.directory.path(), id, config, clean, visitor).unwrap();
        self.disk.load(self.directory.path());
        self.log = log;
        report
    }

    fn clean_end(&self) -> CleanEnd {
        CleanEnd {
            log: self.log.id(),
            end: self.log.next(),
            epoch: self.log.epoch(),
            damaged: self.log.has_damaged_segments(),
        }
    }

    fn stop_cleanly(&mut self) -> CleanEnd {
        if let Some(summary) = self.log.active_summary(vec![99]) {
            index(&mut self.log, &mut self.disk, &summary);
        }
        self.clean_end()
    }

    /// Every offset is either damaged or reads as what was appended there. Damage is given in the answer.
    fn describe(&self) -> String {
        let log = &self.log;
        for offset in log.start().get()..log.next().get() {
            let offset = Offset::new(offset);
            match log.read_start(offset) {
                Err(_) => assert!(log.damaged().iter().any(|range| range.contains(&offset))),
                Ok(ReadStart::End) => panic!("{offset} is below the end"),
                Ok(_) => {
                    let (ended, bytes) = read(log, &self.disk, &self.arena, offset);
                    assert_eq!(ended, Walked::Done, "offset {offset}");
                    let want = &self.stored[usize::try_from(offset.get()).unwrap()];
                    assert!(bytes.starts_with(want), "offset {offset} reads as something else");
                }
            }
        }
        let files: Vec<_> = self.disk.segments.keys().collect();
        format!(
            "[{}, {}) epoch {} damaged {:?} files {files:?}",
            log.start(),
            log.next(),
            log.epoch(),
            log.damaged()
        )
    }
}

/// Flips a bit.
fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}

#[test]
fn the_last_frame_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    for tear in ["zeros", "garbage", "file ends"] {
        let mut bench = Bench::standard();
        let (whole, stored) = (bench.bytes(0).clone(), bench.stored.clone());
        for at in (FRAMES - 1) * FRAME..FRAMES * FRAME {
            let bytes = bench.bytes(0);
            bytes.clone_from(&whole);
            match tear {
                "zeros" => bytes[at..FRAMES * FRAME].fill(0),
                "garbage" => bytes[at..FRAMES * FRAME].fill(0xc5),
                // Whole blocks are what a direct reader can see.
                _ => bytes.truncate(at),
            }
            bench.disk.indexes.clear();
            bench.stored.clone_from(&stored);
            bench.open(None);
            let kept = bench.log.next().get();
            match tear {
                "file ends" => assert_eq!(kept, 0, "{tear} at {at}"),
                // What is missing may be padding, which says nothing.
                _ => assert!(
                    kept == 4 || (kept == 5 && at > FRAMES * FRAME - 16),
                    "{tear} at {at}: {kept}"
                ),
            }
            assert_eq!(bench.log.damaged(), [], "{tear} at {at}");
            bench.describe();
            bench.stored.truncate(usize::try_from(kept).unwrap());
            if at % 16 == 0 {
                bench.add(2);
                bench.describe();
                bench.open(None);
                assert_eq!(bench.log.next().get(), kept + 2, "{tear} at {at}");
                bench.describe();
            }
        }
    }
}

#[test]
fn a_flipped_bit_below_the_durable_end_damages_its_frame_and_no_other() {
    let mut bench = Bench::standard();
    let whole = bench.bytes(0).clone();
    let payload_end = FRAME - bench.padding();
    for byte in FRAME..2 * FRAME {
        bench.bytes(0).clone_from(&whole);
        flip(bench.bytes(0), byte * 8 + byte % 8);
        bench.disk.indexes.clear();
        bench.open(None);
        assert_eq!(bench.log.next(), Offset::new(5), "byte {byte}");
        let padding = byte >= FRAME + payload_end;
        let damaged = bench.log.damaged() == [Offset::new(1)..Offset::new(2)];
        assert!(damaged != padding, "byte {byte}: {:?}", bench.log.damaged());
        bench.describe();
    }
}

#[test]
fn a_flipped_bit_above_every_durable_end_cuts_the_log_there() {
    let mut bench = Bench::standard();
    let whole = bench.bytes(0).clone();
    let payload_end = FRAME - bench.padding();
    for byte in 4 * FRAME..4 * FRAME + payload_end {
        bench.bytes(0).clone_from(&whole);
        flip(bench.bytes(0), byte * 8 + byte % 8);
        bench.disk.indexes.clear();
        bench.open(None);
        assert_eq!((bench.log.next(), bench.log.damaged()), (Offset::new(4), &[][..]));
    }
}

impl Bench {
    /// A frame as it was written at `offset` in `epoch` before a crash cut it off.
    fn stale_frame(offset: u64, epoch: u32) -> Vec<u8> {
        let mut payload = batch(1, 66, 200, NOW);
        let placement = crate::batch::Placement {
            log: log_id(1),
            base_offset: Offset::new(offset),
            leader_epoch: LeaderEpoch::new(epoch),
            durable_end: Offset::new(5),
            append_time: Timestamp::new(NOW),
        };
        let header = BatchHeader::for_kafka(&crate::batch::KafkaBatch::parse(&payload).unwrap(), &placement);
        crate::batch::kafka::patch(&mut payload, header.base_offset, header.leader_epoch);
        let mut frame = [&header.encode()[..], &payload].concat();
        frame.resize(header.frame_len(), 0);
        frame
    }

    /// Zeros at the end of every frame.
    fn padding(&self) -> usize {
        let header = BatchHeader::decode(&self.disk.segments[&0].durable).unwrap();
        assert_eq!(header.frame_len(), FRAME);
        FRAME - crate::batch::HEADER_BYTES - header.payload_len as usize
    }
}

/// One row of the table: what was done to the standard directory, and what came of it.
fn row(table: &mut String, name: &str, prepare: impl FnOnce(&mut Bench) -> Option<CleanEnd>) -> Bench {
    let mut bench = Bench::standard();
    let clean = prepare(&mut bench);
    let report = bench.open(clean);
    let first = bench.describe();
    writeln!(
        table,
        "{name}\n    {first}\n    clean {} scanned {} frames {}",
        report.clean, report.scanned_segments, report.scanned_frames
    )
    .unwrap();
    // Once more, as after a crash right behind recovery: only the epoch moves on.
    bench.open(None);
    let (cut, _) = first.split_once(" epoch").unwrap();
    assert!(bench.describe().starts_with(cut), "{name}: {}", bench.describe());
    bench
}

#[test]
fn what_is_found_decides_what_is_opened() {
    let mut table = String::new();
    let t = &mut table;
    row(t, "untouched", |_| None);
    row(t, "no directory", |bench| {
        bench.disk.segments.clear();
        None
    });
    row(t, "an empty file", |bench| {
        bench.bytes(0).clear();
        None
    });
    row(t, "nothing but zeros", |bench| {
        bench.bytes(0).fill(0);
        None
    });
    row(t, "clean", |bench| Some(bench.stop_cleanly()));
    row(t, "clean, index lost", |bench| {
        let clean = bench.stop_cleanly();
        bench.disk.indexes.clear();
        Some(clean)
    });
    row(t, "clean, index damaged", |bench| {
        let clean = bench.stop_cleanly();
        flip(bench.disk.indexes.get_mut(&0).unwrap(), 333);
        Some(clean)
    });
    row(t, "clean, marker names another end", |bench| {
        let clean = bench.stop_cleanly();
        Some(CleanEnd {
            end: Offset::new(4),
            ..clean
        })
    });
    row(t, "index of a clean stop long ago", |bench| {
        bench.stop_cleanly();
        bench.add(2);
        None
    });
    row(t, "index of a clean stop names a second epoch", |bench| {
        bench.open(None);
        bench.add(1);
        bench.stop_cleanly();
        bench.add(1);
        None
    });
    row(t, "two segments, first index lost", |bench| {
        bench.log.seal_active(|| vec![7]);
        bench.add(2);
        bench.disk.indexes.clear();
        None
    });
    row(t, "two segments, first ends torn, second empty", |bench| {
        bench.log.roll_active(Vec::new);
        settle(&mut bench.log, &mut bench.disk);
        bench.disk.indexes.clear();
        bench.bytes(0)[4 * FRAME + 100..].fill(0);
        None
    });
    row(t, "two segments, first ends torn, second has frames", |bench| {
        bench.log.seal_active(Vec::new);
        bench.add(2);
        bench.disk.indexes.clear();
        bench.bytes(0)[4 * FRAME + 100..].fill(0);
        None
    });
    row(t, "two segments, both rotten where they meet", |bench| {
        bench.log.seal_active(Vec::new);
        bench.add(3);
        bench.disk.indexes.clear();
        bench.bytes(0)[4 * FRAME..].fill(0);
        bench.bytes(5)[..FRAME].fill(0);
        None
    });
    row(t, "three segments, the middle one missing", |bench| {
        bench.log.seal_active(Vec::new);
        bench.add(2);
        bench.log.seal_active(Vec::new);
        bench.add(2);
        bench.disk.segments.remove(&5);
        bench.disk.indexes.remove(&5);
        None
    });
    row(t, "whole frames behind a torn one", |bench| {
        for _ in 0..3 {
            append(&mut bench.log, &bench.arena, &batch(1, 66, 200, NOW), NOW);
        }
        settle(&mut bench.log, &mut bench.disk);
        bench.bytes(0)[5 * FRAME + 150] ^= 1;
        None
    });
    row(t, "a recycled file of another log", |bench| {
        let header = BatchHeader::decode(bench.bytes(0)).unwrap();
        let stale = BatchHeader {
            log: log_id(2),
            base_offset: Offset::new(5),
            ..header
        };
        bench.bytes(0)[FRAMES * FRAME..][..128].copy_from_slice(&stale.encode());
        None
    });
    row(t, "a recycled file of this log, older offsets", |bench| {
        let old = bench.bytes(0)[..3 * FRAME].to_vec();
        bench.bytes(0)[FRAMES * FRAME..][..3 * FRAME].copy_from_slice(&old);
        None
    });
    expect![[r#"
        untouched
            [0, 5) epoch 1 damaged [] files [0]
            clean false scanned 1 frames 5
        no directory
            [0, 0) epoch 0 damaged [] files []
            clean false scanned 0 frames 0
        an empty file
            [0, 0) epoch 1 damaged [] files [0]
            clean false scanned 1 frames 0
        nothing but zeros
            [0, 0) epoch 1 damaged [] files [0]
            clean false scanned 1 frames 0
        clean
            [0, 5) epoch 0 damaged [] files [0]
            clean true scanned 0 frames 0
        clean, index lost
            [0, 5) epoch 1 damaged [] files [0]
            clean false scanned 1 frames 5
        clean, index damaged
            [0, 5) epoch 1 damaged [] files [0]
            clean false scanned 1 frames 5
        clean, marker names another end
            [0, 5) epoch 1 damaged [] files [0]
            clean false scanned 1 frames 5
        index of a clean stop long ago
            [0, 7) epoch 1 damaged [] files [0]
            clean false scanned 1 frames 7
        index of a clean stop names a second epoch
            [0, 7) epoch 2 damaged [] files [0]
            clean false scanned 1 frames 7
        two segments, first index lost
            [0, 7) epoch 1 damaged [] files [0, 5]
            clean false scanned 2 frames 7
        two segments, first ends torn, second empty
            [0, 5) epoch 1 damaged [4..5] files [0, 5]
            clean false scanned 2 frames 4
        two segments, first ends torn, second has frames
            [0, 7) epoch 1 damaged [4..5] files [0, 5]
            clean false scanned 2 frames 6
        two segments, both rotten where they meet
            [0, 8) epoch 1 damaged [4..5, 5..6] files [0, 5]
            clean false scanned 2 frames 6
        three segments, the middle one missing
            [0, 9) epoch 1 damaged [5..7] files [0, 7]
            clean false scanned 2 frames 7
        whole frames behind a torn one
            [0, 5) epoch 1 damaged [] files [0]
            clean false scanned 1 frames 5
        a recycled file of another log
            [0, 5) epoch 1 damaged [] files [0]
            clean false scanned 1 frames 5
        a recycled file of this log, older offsets
            [0, 5) epoch 1 damaged [] files [0]
            clean false scanned 1 frames 5
    "#]]
    .assert_eq(&table);
}

#[test]
fn a_whole_frame_behind_a_torn_one_is_no_successor_of_what_takes_its_place() {
    let mut bench = Bench::standard();
    // A new term, of which no trusted frame will tell: its first frame is torn, and the one behind it whole.
    bench.open(None);
    for _ in 0..2 {
        append(&mut bench.log, &bench.arena, &batch(1, 66, 200, NOW), NOW);
    }
    settle(&mut bench.log, &mut bench.disk);
    bench.bytes(0)[4096 + 150] ^= 1;
    bench.disk.indexes.clear();
    for _ in 0..3 {
        bench.open(None);
        assert_eq!(bench.log.next(), Offset::new(5));
        bench.disk.indexes.clear();
    }
    // It ends exactly where the whole one begins, which has the right offset.
    bench.add(1);
    let stale = BatchHeader::decode(&bench.bytes(0)[4096 + FRAME..]);
    assert!(stale.is_err(), "a write covers its block");
    let old = Bench::stale_frame(6, 1);
    bench.bytes(0)[4096 + FRAME..4096 + 2 * FRAME].copy_from_slice(&old);
    bench.open(None);
    assert_eq!(bench.log.next(), Offset::new(6));
    bench.describe();
}

#[test]
fn a_reader_does_not_follow_the_header_of_a_torn_frame() {
    let mut bench = Bench::standard();
    append(&mut bench.log, &bench.arena, &batch(1, 6_000, 200, NOW), NOW);
    settle(&mut bench.log, &mut bench.disk);
    // The first sectors of the frame were written, the rest was not.
    bench.bytes(0)[4096..].fill(0);
    bench.open(None);
    bench.add(2);
    assert_eq!(bench.log.next(), Offset::new(7));
    while bench.log.evict() {}
    bench.describe();
}

#[test]
fn every_restart_pads_to_a_block_and_every_record_stays_readable() {
    let mut bench = Bench::standard();
    for round in 0..6 {
        if round % 2 == 0 {
            bench.open(None);
        } else {
            let clean = bench.stop_cleanly();
            assert!(bench.open(Some(clean)).clean);
        }
        assert_eq!(bench.log.segments().next_back().unwrap().chain.end() % 4096, 0);
        bench.add(2);
        while bench.log.evict() {}
        bench.describe();
    }
    assert_eq!(bench.log.next(), Offset::new(17));
}

#[test]
fn damage_is_found_again_at_every_start_and_leaves_when_retention_does() {
    let mut bench = Bench::standard();
    flip(bench.bytes(0), (FRAME + 140) * 8);
    bench.disk.indexes.clear();
    bench.open(None);
    let damage = [Offset::new(1)..Offset::new(2)];
    assert_eq!(bench.log.damaged(), damage);
    bench.add(1);
    bench.log.seal_active(Vec::new);
    bench.add(1);
    for _ in 0..2 {
        let clean = bench.stop_cleanly();
        assert!(clean.damaged);
        assert!(!bench.open(Some(clean)).clean);
        assert_eq!(bench.log.damaged(), damage);
        bench.describe();
    }
    bench.log.seal_active(Vec::new);
    bench.add(1);
    assert!(testing::retire_front(&mut bench.log).is_some());
    assert_eq!(bench.log.damaged(), []);
}

/// Frames that left in one write say nothing of each other; the marker of a clean stop does.
#[test]
fn damage_in_the_last_write_is_none_of_a_torn_tail_after_a_clean_stop() {
    let mut bench = Bench::standard();
    for fill in [77, 78] {
        let (_, stored) = append(&mut bench.log, &bench.arena, &batch(1, 66, fill, NOW), NOW);
        bench.stored.push(stored);
    }
    settle(&mut bench.log, &mut bench.disk);
    let clean = bench.stop_cleanly();
    flip(bench.bytes(0), (FRAMES * FRAME + 20) * 8);
    let damage = Offset::new(5)..Offset::new(6);
    assert!(bench.log.mark_damaged(damage.clone()), "as a reader would");
    let marked = bench.clean_end();
    assert!(marked.damaged);
    for clean in [marked, clean] {
        bench.disk.indexes.clear();
        bench.open(Some(clean));
        assert_eq!(bench.log.damaged(), std::slice::from_ref(&damage));
        assert!(bench.describe().starts_with("[0, 7)"), "{}", bench.describe());
    }
    // The very last one, too. What is appended next takes an offset of its own.
    flip(bench.bytes(0), ((FRAMES + 1) * FRAME + 20) * 8);
    let last = bench.clean_end();
    bench.open(Some(last));
    assert_eq!(bench.log.damaged(), [Offset::new(5)..Offset::new(7)]);
    bench.add(1);
    bench.open(None);
    assert!(
        bench.describe().starts_with("[0, 8) epoch 3 damaged [5..7]"),
        "{}",
        bench.describe()
    );
}

#[test]
fn epochs_only_grow_whatever_is_lost() {
    let mut bench = Bench::standard();
    let mut epoch = bench.log.epoch();
    for round in 0..4 {
        bench.open(None);
        assert!(bench.log.epoch() > epoch, "round {round}");
        epoch = bench.log.epoch();
        if round == 1 {
            // A frame of this epoch was in flight and is lost whole.
            append(&mut bench.log, &bench.arena, &batch(1, 66, 200, NOW), NOW);
        }
    }
    let clean = bench.stop_cleanly();
    bench.open(Some(clean));
    assert_eq!(bench.log.epoch(), epoch, "a clean start is the same term");
    bench.open(None);
    assert!(bench.log.epoch() > epoch);
}

#[test]
fn producers_are_restored_from_the_newest_index_and_fed_the_frames_behind_it() {
    let mut bench = Bench::standard();
    bench.log.seal_active(|| vec![55]);
    bench.add(2);
    let mut calls = Calls::default();
    bench.open_with(None, &mut calls);
    assert_eq!(calls.0, ["restore [55]", "frame 5", "frame 6"]);
    assert!(
        testing::retire_front(&mut bench.log).is_none(),
        "nothing says what the index of the older segment does"
    );
    // But the note of that start carries the state at the segment's base, should the older one be gone.
    bench.disk.retire(Offset::ZERO);
    let mut calls = Calls::default();
    bench.open_with(None, &mut calls);
    assert_eq!(calls.0, ["restore [1]", "frame 5", "frame 6"]);
    let clean = bench.stop_cleanly();
    let mut calls = Calls::default();
    bench.open_with(Some(clean), &mut calls);
    assert_eq!(calls.0, ["restore [99]"]);
    // Crash after crash: what the clean stop knew counts, and the frames behind it.
    bench.add(1);
    for _ in 0..3 {
        let mut calls = Calls::default();
        bench.open_with(None, &mut calls);
        assert_eq!(calls.0, ["restore [99]", "frame 7"]);
    }
}

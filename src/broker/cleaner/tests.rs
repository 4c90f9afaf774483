//! Plans over logs made by hand. Segments here hold one frame of about 200 bytes and two offsets each.

use super::*;
use crate::base::{LeaderEpoch, LogId, PartitionId, TopicId};
use crate::storage::index::{SegmentIndex, SegmentSummary};
use crate::storage::log::{Durability, LogConfig, LogImage};
use std::time::Duration;

const NOW: Timestamp = Timestamp::new(1_000_000);

fn id() -> LogId {
    LogId {
        topic: TopicId::new([1; 16]),
        partition: PartitionId::new(0),
    }
}

/// Sealed segments of two offsets, one per append time, and an active one.
fn log(times: &[i64]) -> Log {
    let segment = |n: usize, time: i64| {
        let base = n as u64 * 2;
        let summary = SegmentSummary {
            log: id(),
            base: Offset::new(base),
            end: Offset::new(base + 2),
            end_position: 4096,
            first_append_time: Timestamp::new(time),
            last_append_time: Timestamp::new(time),
            max_timestamp: Timestamp::new(time),
            index: SegmentIndex::default(),
            epochs: Vec::new(),
            producers: Vec::new(),
        };
        Segment::opened(summary, None, 16_384)
    };
    let mut segments: Vec<Segment> = times.iter().enumerate().map(|(n, t)| segment(n, *t)).collect();
    segments.push(segment(times.len(), NOW.get()));
    let sealed = segments.len() - 1;
    for one in &mut segments[..sealed] {
        one.sealed = true;
        one.index_written = true;
    }
    let config = LogConfig {
        segment_bytes: 16_384,
        index_interval_bytes: 4096,
        durability: Durability::Durable,
        timestamp_type: crate::batch::TimestampType::CreateTime,
    };
    let image = LogImage {
        segments,
        epochs: vec![(LeaderEpoch::ZERO, Offset::ZERO)],
        ..LogImage::default()
    };
    Log::opened(id(), config, image)
}

fn settings() -> CompactionSettings {
    CompactionSettings::default()
}

#[test]
fn a_pass_is_due_when_enough_is_dirty_and_reaches_to_the_active_segment() {
    let mut log = log(&[1, 2, 3, 4]);
    let due = plan(&log, &settings(), NOW).unwrap();
    assert_eq!(
        (due.first_dirty, due.end, due.dirty),
        (Offset::ZERO, Offset::new(8), Ratio::ONE)
    );
    assert_eq!(dirty_bytes(&log), 5 * 4096, "the active segment waits, too");
    log.cleaned(Offset::new(4), None);
    assert_eq!(plan(&log, &settings(), NOW).unwrap().dirty, Ratio::HALF);
    log.cleaned(Offset::new(6), None);
    assert_eq!(plan(&log, &settings(), NOW), None, "a quarter is not worth it");
    log.cleaned(Offset::new(8), None);
    let eager = CompactionSettings {
        min_dirty: Ratio::parse("0").unwrap(),
        ..settings()
    };
    assert_eq!(plan(&log, &eager, NOW), None, "nothing is dirty");
}

#[test]
fn young_records_wait_and_old_ones_do_not_wait_for_ever() {
    let log = log(&[1, 2, NOW.get() - 10, NOW.get() - 5]);
    let lag = CompactionSettings {
        min_lag: Duration::from_millis(11),
        ..settings()
    };
    assert_eq!(plan(&log, &lag, NOW).unwrap().end, Offset::new(4));
    let mut clean = self::log(&[1, 2, 3, 4]);
    clean.cleaned(Offset::new(6), None);
    let impatient = CompactionSettings {
        max_lag: Duration::from_millis(500),
        ..settings()
    };
    assert!(plan(&clean, &impatient, NOW).is_some());
    assert_eq!(plan(&clean, &impatient, Timestamp::new(400)), None);
}

#[test]
fn tombstones_whose_time_came_are_worth_a_pass() {
    let mut log = log(&[1, 2]);
    log.cleaned(Offset::new(4), Some(NOW));
    assert_eq!(plan(&log, &settings(), NOW), None);
    let later = Timestamp::new(NOW.get() + 1);
    assert_eq!(plan(&log, &settings(), later).unwrap().end, Offset::new(4));
}

#[test]
fn nothing_is_planned_before_its_index_is_written() {
    let mut log = log(&[1]);
    log.roll_active(Vec::new);
    assert_eq!(
        plan(&log, &settings(), NOW).unwrap().end,
        Offset::new(2),
        "one sealed segment"
    );
    assert_eq!(groups(&log, Offset::new(4), 1 << 20).len(), 1);
}

#[test]
fn groups_are_adjacent_and_fit_a_segment() {
    let log = log(&[1, 2, 3, 4, 5]);
    let found = |end, bytes| {
        let groups = groups(&log, Offset::new(end), bytes);
        let shape: Vec<_> = groups
            .iter()
            .map(|g| (g.base.get(), g.end.get(), g.last.get()))
            .collect();
        shape
    };
    assert_eq!(found(10, 2 * 4096), [(0, 4, 2), (4, 8, 6), (8, 10, 8)]);
    assert_eq!(found(10, 1 << 20), [(0, 10, 8)]);
    assert_eq!(
        found(3, 1 << 20),
        [(0, 4, 2)],
        "the segment that holds the end is whole"
    );
    assert_eq!(found(10, 0).len(), 5);
    assert!(found(0, 1 << 20).is_empty());
}

//! When a log is worth a pass of the cleaner, how far the pass goes, and in which groups it writes.
//!
//! Pure: a log, its topic's settings and the clock give a [`Plan`], or nothing to do. The shard's cleaner asks for every
//! compacted log it owns and works on the one whose plan weighs most.
//!
//! ```text
//!  log start      first dirty                      end          active
//!   | cleaned before   |   learned, then all below `end` is   |   too young, or
//!   |                  |   written again                      |   still written to
//! ```
//! A segment may be cleaned once it is sealed, durable and has its index, its successor has a file, and its last record was
//! appended at least `min.compaction.lag.ms` ago by the broker's clock. The cleanable part is a prefix of the log; damaged
//! segments in it are stepped over. A pass is due when at least `min.cleanable.dirty.ratio` of it is dirty, when a dirty
//! record waits longer than `max.compaction.lag.ms`, or when tombstones that were cleaned before may leave.

use super::cleanup::{CompactionSettings, Ratio};
use crate::base::{Offset, Timestamp};
use crate::batch::kafka::Span;
use crate::storage::log::Log;
use crate::storage::segment::Segment;

/// A pass that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Everything below was cleaned.
    pub first_dirty: Offset,
    /// Everything below may be cleaned.
    pub end: Offset,
    /// How dirty the cleanable part is.
    pub dirty: Ratio,
}

/// Adjacent segments that become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// First offset of the first.
    pub base: Offset,
    /// One past the last offset of the last.
    pub end: Offset,
    /// First offset of the last.
    pub last: Offset,
}

/// The part of a log that may be cleaned.
struct Cleanable {
    end: Offset,
    clean_bytes: u64,
    dirty_bytes: u64,
    oldest_dirty: Option<Timestamp>,
}

/// Bytes of a log that wait to be cleaned, whether or not they may be yet.
#[must_use]
pub fn dirty_bytes(log: &Log) -> u64 {
    let first_dirty = log.first_dirty();
    log.segments()
        .map(|segment| dirty_part(segment, first_dirty))
        .sum()
}

/// The pass that is due over `log` now, if any.
#[must_use]
pub fn plan(log: &Log, settings: &CompactionSettings, now: Timestamp) -> Option<Plan> {
    let first_dirty = log.first_dirty();
    let part = cleanable(log, settings, now);
    let dirty = Ratio::of(
        part.dirty_bytes,
        part.dirty_bytes.saturating_add(part.clean_bytes),
    );
    let dirty_enough = part.dirty_bytes > 0 && dirty >= settings.min_dirty;
    let overdue = part
        .oldest_dirty
        .is_some_and(|oldest| now.age_of(oldest) > settings.max_lag);
    let tombstones = log.delete_horizon().is_some_and(|horizon| horizon < now);
    (part.end > log.start() && (dirty_enough || overdue || tombstones)).then_some(Plan {
        first_dirty,
        end: part.end,
        dirty,
    })
}

/// The groups of segments that hold offsets below `end`: adjacent ones while they fit a segment of `segment_bytes`, so that
/// segments that lost most of their records become few.
#[must_use]
pub fn groups(log: &Log, end: Offset, segment_bytes: u64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut bytes = 0;
    for segment in settled(log).take_while(|segment| segment.base < end) {
        if segment.damaged {
            continue;
        }
        let size = segment.chain.end();
        let joins = groups.last_mut().filter(|group| {
            group.end == segment.base
                && size.saturating_add(bytes) <= segment_bytes
                && segment.end.get() - group.base.get() <= Span::MAX
        });
        match joins {
            Some(group) => {
                (group.end, group.last) = (segment.end, segment.base);
                bytes += size;
            }
            None => {
                groups.push(Group {
                    base: segment.base,
                    end: segment.end,
                    last: segment.base,
                });
                bytes = size;
            }
        }
    }
    groups
}

fn cleanable(log: &Log, settings: &CompactionSettings, now: Timestamp) -> Cleanable {
    let first_dirty = log.first_dirty();
    let mut part = Cleanable {
        end: log.start(),
        clean_bytes: 0,
        dirty_bytes: 0,
        oldest_dirty: None,
    };
    for segment in settled(log) {
        if now.age_of(segment.last_append_time) < settings.min_lag {
            break;
        }
        let dirty = dirty_part(segment, first_dirty);
        part.end = segment.end;
        part.dirty_bytes += dirty;
        part.clean_bytes += segment.chain.end() - dirty;
        if dirty > 0 {
            part.oldest_dirty.get_or_insert(segment.first_append_time);
        }
    }
    part
}

/// The prefix of segments that will not change any more, damaged ones among them, and that have a successor with a file.
fn settled(log: &Log) -> impl Iterator<Item = &Segment> {
    let with_next = log.segments().zip(log.segments().skip(1));
    let settled = with_next.take_while(|(segment, next)| {
        (segment.is_settled() || (segment.sealed && segment.damaged)) && next.on_disk
    });
    settled.map(|(segment, _)| segment)
}

/// Bytes of the frames of `segment` from `first_dirty` on, as far as its index tells.
fn dirty_part(segment: &Segment, first_dirty: Offset) -> u64 {
    if segment.end <= first_dirty || segment.is_empty() {
        return 0;
    }
    let relative = first_dirty.get().saturating_sub(segment.base.get());
    let (_, position) = segment.index.floor(u32::try_from(relative).unwrap_or(u32::MAX));
    segment.chain.end().saturating_sub(position.into())
}

#[cfg(test)]
mod tests;

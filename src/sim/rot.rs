//! Rot: a bit of a frame turns, in the cache and on the medium alike.
//!
//! Only frames that a later frame of the same file says were durable: of the last ones nothing on the disk tells rot from a
//! torn end, so a log may cut them (`storage::recovery`). Only topics of the load, whose number is their key in the book,
//! and not what the cleaner rewrites.

use std::ops::Range;
use std::path::Path;

use super::book::TopicKey;
use super::broker::DATA_DIR;
use crate::batch::BatchHeader;
use crate::runtime::buffer::BLOCK_BYTES;
use crate::runtime::sim::World;

/// A frame of a segment.
struct Frame {
    position: usize,
    len: usize,
    header: BatchHeader,
}

/// Turns a bit of some frame; gives its log and its offsets, or nothing where no file has a frame to turn it in.
pub(super) fn rot(world: &World, choice: u64) -> Option<((TopicKey, i32), Range<u64>)> {
    let pick = |shift: u32, len: usize| {
        usize::try_from((choice >> shift) % u64::try_from(len).unwrap_or(1)).unwrap_or(0)
    };
    let files = world.disk().files();
    let logs: Vec<_> = files
        .iter()
        .filter_map(|(path, _)| Some((path, log_of(path)?)))
        .collect();
    if logs.is_empty() {
        return None;
    }
    let (path, key) = logs[pick(0, logs.len())];
    let frames = frames_of(&world.disk().bytes(path)?);
    let told = frames.iter().map(|frame| frame.header.durable_end).max()?;
    let mature: Vec<&Frame> = frames
        .iter()
        .filter(|frame| frame.header.end_offset() <= told)
        .collect();
    if mature.is_empty() {
        return None;
    }
    let frame = mature[pick(16, mature.len())];
    let bit = u8::try_from((choice >> 40) % 8).unwrap_or(0);
    world
        .disk()
        .flip_bit(path, frame.position + pick(24, frame.len), bit);
    let header = &frame.header;
    Some((key, header.base_offset.get()..header.end_offset().get()))
}

/// The log a segment file belongs to, if it is one of the load's.
fn log_of(path: &Path) -> Option<(TopicKey, i32)> {
    let inner = path.strip_prefix(DATA_DIR).ok()?.strip_prefix("topics").ok()?;
    let mut parts = inner.iter();
    let topic = parts.next()?.to_str()?.strip_prefix("topic-")?.parse().ok()?;
    let partition = parts.next()?.to_str()?.parse().ok()?;
    parts.next()?.to_str()?.strip_suffix(".log")?;
    Some((topic, partition))
}

/// The frames of a segment, as far as they follow one another.
fn frames_of(bytes: &[u8]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut position = 0;
    while let Some(rest) = bytes.get(position..) {
        let follows = |header: &BatchHeader| {
            frames.last().is_none_or(|before| {
                before.header.log == header.log && before.header.end_offset() == header.base_offset
            })
        };
        match BatchHeader::decode(rest).ok().filter(follows) {
            Some(header) => {
                let len = header.frame_len();
                frames.push(Frame {
                    position,
                    len: len.min(rest.len()),
                    header,
                });
                position += len;
            }
            // After a restart frames go on at the next block.
            None if !position.is_multiple_of(BLOCK_BYTES) => {
                position = position.next_multiple_of(BLOCK_BYTES)
            }
            None => break,
        }
    }
    frames
}

//! Rot: a bit of a frame turns, or a block is where another should be, in the cache and on the medium alike.
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

impl Frame {
    fn offsets(&self) -> Range<u64> {
        self.header.base_offset.get()..self.header.end_offset().get()
    }
}

/// A log and offsets of it.
pub(super) type Part = ((TopicKey, i32), Range<u64>);

/// Turns a bit of some frame; gives what that damages: nothing where no file has a frame to turn it in.
pub(super) fn turn_a_bit(world: &World, choice: u64) -> Option<Part> {
    let files = world.disk().files();
    let logs: Vec<_> = files
        .iter()
        .filter_map(|(path, _)| Some((path, log_of(path)?)))
        .collect();
    if logs.is_empty() {
        return None;
    }
    let (path, key) = logs[pick(choice, 0, logs.len())];
    let frames = frames_of(&world.disk().bytes(path)?);
    let told = frames.iter().map(|frame| frame.header.durable_end).max()?;
    let mature: Vec<&Frame> = frames
        .iter()
        .filter(|frame| frame.header.end_offset() <= told)
        .collect();
    if mature.is_empty() {
        return None;
    }
    let frame = mature[pick(choice, 16, mature.len())];
    let bit = u8::try_from((choice >> 40) % 8).unwrap_or(0);
    world
        .disk()
        .flip_bit(path, frame.position + pick(choice, 24, frame.len), bit);
    Some((key, frame.offsets()))
}

/// A block of a segment and the frames that are in it, whole or not.
struct Block<'a> {
    path: &'a Path,
    at: usize,
    key: (TopicKey, i32),
    offsets: Range<u64>,
}

/// Puts a block in the place of another, of the same log or not, and leaves zeros behind; gives what that damages.
pub(super) fn misplace_a_block(world: &World, choice: u64) -> Option<[Part; 2]> {
    let files = world.disk().files();
    let mut blocks = Vec::new();
    for (path, _) in &files {
        let (Some(key), Some(bytes)) = (log_of(path), world.disk().bytes(path)) else {
            continue;
        };
        let frames = frames_of(&bytes);
        for at in (0..bytes.len() / BLOCK_BYTES).map(|block| block * BLOCK_BYTES) {
            let inside = |frame: &Frame| frame.position < at + BLOCK_BYTES && at < frame.position + frame.len;
            let hit = frames.iter().filter(|frame| inside(frame)).map(Frame::offsets);
            let Some(offsets) = hit.reduce(|all, one| all.start..one.end) else {
                continue;
            };
            let others = frames.iter().filter(|frame| !inside(frame));
            if others.map(|frame| frame.header.durable_end.get()).max() >= Some(offsets.end) {
                blocks.push(Block {
                    path,
                    at,
                    key,
                    offsets,
                });
            }
        }
    }
    if blocks.len() < 2 {
        return None;
    }
    let meant = blocks.swap_remove(pick(choice, 0, blocks.len()));
    // In the same file one of the two may be all that says the other was durable.
    blocks.retain(|block| block.path != meant.path);
    if blocks.is_empty() {
        return None;
    }
    let other = blocks.swap_remove(pick(choice, 16, blocks.len()));
    world
        .disk()
        .misplace((meant.path, meant.at), (other.path, other.at));
    Some([(meant.key, meant.offsets), (other.key, other.offsets)])
}

fn pick(choice: u64, shift: u32, len: usize) -> usize {
    usize::try_from((choice >> shift) % u64::try_from(len).unwrap_or(1)).unwrap_or(0)
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

//! Walking frames in a window of bytes, and gathering their payloads for a reader.
//!
//! The same walk serves the tail in memory and cold bytes just read from the disk; only cold bytes are summed again,
//! because memory was summed on arrival and a disk may lie. One copy is made here, from the window into the reader's
//! buffer: Kafka readers get payloads without headers and padding, native readers whole frames without the gaps between
//! them, and the buffer may leave for another core while the window stays.

use super::chain::Chain;
use super::log::WalkStart;
use crate::base::{LogId, Offset};
use crate::batch::header::MAGIC;
use crate::batch::records::{RecordsView, aligned_copy, to_kafka};
use crate::batch::{BatchHeader, Encoding, HEADER_BYTES, verify_payload};
use crate::runtime::buffer::align_up;
use std::ops::ControlFlow;

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walked {
    /// The visitor stopped it, or its limit was reached.
    Done,
    /// The window ends before the frame at `position` does; it needs `len` bytes from there.
    Needs {
        /// Position of the frame.
        position: u64,
        /// Its base offset.
        offset: Offset,
        /// Bytes needed from `position`.
        len: usize,
    },
    /// The bytes at the frame of `offset` are not that frame.
    Corrupt {
        /// The offset that cannot be read.
        offset: Offset,
    },
}

/// Visits the frames of `log` in `chain` from `from` to its limit.
pub fn walk(
    chain: &Chain,
    log: LogId,
    from: WalkStart,
    mut visit: impl FnMut(&BatchHeader, u64) -> ControlFlow<Walked>,
) -> Walked {
    let (mut position, mut offset) = (from.position, from.offset);
    while offset < from.limit {
        let mut bytes = [0; HEADER_BYTES];
        if !chain.copy_to(position, &mut bytes) {
            return Walked::Needs {
                position,
                offset,
                len: HEADER_BYTES,
            };
        }
        let header = BatchHeader::decode(&bytes)
            .ok()
            .filter(|h| h.log == log && h.base_offset == offset);
        let Some(header) = header else {
            // After a restart appending goes on at the next block; what precedes it is padding. A torn frame may have
            // left its beginning there, so the test is where the next frame is, not what the padding holds.
            let next = align_up(position);
            if next == position {
                return Walked::Corrupt { offset };
            }
            position = next;
            continue;
        };
        if let ControlFlow::Break(end) = visit(&header, position) {
            return end;
        }
        position += header.frame_len() as u64;
        offset = header.end_offset();
    }
    Walked::Done
}

/// What a reader gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadFormat {
    /// Kafka record batches; native batches are translated.
    Kafka,
    /// Stored frames as they are, header and padding included, whatever they hold. What lies between frames is left out.
    Frames,
}

/// What a reader wants.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// First record wanted; the batch that contains it is included whole.
    pub offset: Offset,
    /// Stop before exceeding this many bytes.
    pub max_bytes: usize,
    /// The first batch may exceed them (KIP-74), so that a large batch cannot block a reader for ever.
    pub oversized_first: bool,
    /// Sum the payloads again: the bytes come from the disk.
    pub verify: bool,
    /// What to gather.
    pub format: ReadFormat,
}

/// Appends to `out` the batches from `want.offset` on, in the format wanted. Returns how the walk ended and the offset to go on from.
pub fn gather(chain: &Chain, log: LogId, from: WalkStart, want: Want, out: &mut Vec<u8>) -> (Walked, Offset) {
    let mut next = want.offset;
    let ended = walk(chain, log, from, |header, position| {
        if header.end_offset() <= want.offset {
            return ControlFlow::Continue(());
        }
        if header.base_offset < want.offset && !out.is_empty() {
            // The segment was replaced by a cleaned one since the batches in front were gathered, and this frame covers
            // some of their offsets, too. Whoever asks for what follows gets it as the first.
            return ControlFlow::Break(Walked::Done);
        }
        let payload_len = header.payload_len as usize;
        let (skip, wanted) = match want.format {
            ReadFormat::Kafka => (HEADER_BYTES, payload_len),
            ReadFormat::Frames => (0, header.frame_len()),
        };
        if out.len() + wanted > want.max_bytes && !(want.oversized_first && out.is_empty()) {
            return ControlFlow::Break(Walked::Done);
        }
        if !chain.holds(position, skip + wanted) {
            return ControlFlow::Break(Walked::Needs {
                position,
                offset: header.base_offset,
                len: header.frame_len(),
            });
        }
        let at = out.len();
        let held = chain.extend_vec(position + skip as u64, wanted, out);
        debug_assert!(held, "the window was just asked");
        let payload_at = at + HEADER_BYTES - skip;
        if want.verify && verify_payload(header, &out[payload_at..payload_at + payload_len]).is_err() {
            out.truncate(at);
            return ControlFlow::Break(Walked::Corrupt {
                offset: header.base_offset,
            });
        }
        if want.format == ReadFormat::Kafka && header.encoding == Encoding::Rkyv {
            let native = aligned_copy(&out.split_off(at));
            let translated = RecordsView::parse(&native)
                .ok()
                .and_then(|view| to_kafka(header, &view).ok());
            let Some(translated) = translated else {
                return ControlFlow::Break(Walked::Corrupt {
                    offset: header.base_offset,
                });
            };
            out.extend_from_slice(&translated);
        }
        next = header.end_offset();
        ControlFlow::Continue(())
    });
    (ended, next)
}

/// Whether `bytes` begin like a frame, before anything is summed.
#[must_use]
pub fn begins_like_a_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

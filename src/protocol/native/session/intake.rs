//! Received bytes that belong to no frame yet, and the frames taken out of them, each at a 16-aligned address of its own.
//!
//! **Why a buffer per frame.** A produce frame is shared with the shards that append from it and lives until it is answered;
//! its batches are read in place, which wants them aligned. Memory is reserved before [`Intake::take`] is called. One shard's
//! thread.

use std::io;

use crate::protocol::native::frame::FRAME_ALIGN;
use crate::runtime::net::{Stream, Want};

/// Bytes read ahead of a frame: small requests need one read, and pipelined ones share it.
const READ_AHEAD_BYTES: usize = 8192;

/// See the module.
pub(super) struct Intake {
    buffer: Vec<u8>,
    start: usize,
}

impl Intake {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::with_capacity(READ_AHEAD_BYTES),
            start: 0,
        }
    }

    /// Bytes at hand.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads some bytes behind those at hand, which are fewer than a head, so there is room. Given up, it leaves nothing at
    /// hand.
    pub(super) async fn fill(&mut self, stream: &Stream) -> io::Result<usize> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.drain(..std::mem::take(&mut self.start));
        let (read, buffer) = stream.read(buffer, READ_AHEAD_BYTES, Want::Some).await;
        self.buffer = buffer;
        read
    }

    /// Takes one frame of `length` bytes, reading what is missing of it: the bytes and where in them the frame starts, at an
    /// aligned address. `None` when the stream ends first.
    pub(super) async fn take(
        &mut self,
        stream: &Stream,
        length: usize,
    ) -> io::Result<Option<(Vec<u8>, usize)>> {
        let mut frame: Vec<u8> = Vec::with_capacity(length + FRAME_ALIGN);
        let start = frame.as_ptr().addr().next_multiple_of(FRAME_ALIGN) - frame.as_ptr().addr();
        frame.resize(start, 0);
        let at_hand = self.buffered().len().min(length);
        frame.extend_from_slice(&self.buffered()[..at_hand]);
        self.start += at_hand;
        let end = start + length;
        while frame.len() < end {
            let missing = end - frame.len();
            let (read, filled) = stream.read(frame, missing, Want::All).await;
            frame = filled;
            if read? == 0 {
                return Ok(None);
            }
        }
        Ok(Some((frame, start)))
    }
}

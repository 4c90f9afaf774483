//! Judging the bytes of a segment after a crash: frames, torn tail, or rot.
//!
//! The scan walks frame by frame, checking everything: checksums of header and payload, identity of the log, exact offset,
//! epoch that does not go back. Where a frame fails, one question decides: **was this offset ever durable?** Every frame
//! carries the durable end of the log when it was built. If any later valid frame says the log was durable beyond the
//! failing offset, or the caller knows it (a later segment holds records), acknowledged data is damaged: the range up to
//! the next valid frame is reported and the scan goes on behind it. If nothing says so, the failing bytes were never
//! acknowledged: a torn tail, and the log ends there.
//!
//! Zeros of a fresh file and stale frames of a recycled one fail by identity, offset or epoch and are never taken for
//! frames. The search behind a failing frame looks at every 16-byte step up to the end of the file: slower than guessing, but
//! only an unclean start pays it, and a guess could cut acknowledged data.
//!
//! **What cannot be told:** damage inside the very last write, after which nothing was written and no clean stop told where the
//! log ends, looks like a torn tail.

use super::index::SegmentIndex;
use super::segment::note_in_index;
use crate::base::{LeaderEpoch, LogId, Offset, Timestamp};
use crate::batch::{BatchHeader, FRAME_ALIGN, HEADER_BYTES, verify_payload};
use crate::runtime::buffer::{AlignedBuffer, BLOCK_BYTES, align_down, align_up};
use std::io;
use std::ops::Range;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// A file of frames that can be read at block-aligned positions.
pub trait FrameSource {
    /// Size in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` from `position`, both whole blocks inside the file.
    ///
    /// # Errors
    /// The device's.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl FrameSource for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(position).map_err(io::Error::other)?;
        let bytes = self
            .get(start..start + buffer.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// What is known before scanning a segment.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// Whose frames count.
    pub log: LogId,
    /// First offset of the segment.
    pub base: Offset,
    /// Epoch of the last frame before this segment.
    pub epoch: LeaderEpoch,
    /// Where the next segment begins, if there is one. The log was durable up to there, and frames beyond are left over from
    /// before a crash cut them off.
    pub limit: Option<Offset>,
    /// The log was durable up to here at least, whatever its frames say: an index file or a clean stop does.
    pub durable: Offset,
    /// Log bytes per index entry.
    pub index_interval_bytes: u64,
}

/// What a scan found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    /// One past the last trusted offset.
    pub end: Offset,
    /// One past the last trusted frame's bytes.
    pub end_position: u64,
    /// Clocks and timestamps of the frames.
    pub first_append_time: Timestamp,
    /// See `first_append_time`.
    pub last_append_time: Timestamp,
    /// See `first_append_time`; `i64::MIN` without frames.
    pub max_timestamp: Timestamp,
    /// The index, as if written while appending.
    pub index: SegmentIndex,
    /// Epochs that begin here.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Epoch of the last frame, or what was expected.
    pub epoch: LeaderEpoch,
    /// Largest epoch of any whole frame, those behind a torn one included. The log must not be led with it again: such a
    /// frame could be taken for the successor of one that is appended in place of the torn one.
    pub epoch_seen: LeaderEpoch,
    /// Damaged ranges of acknowledged offsets.
    pub damaged: Vec<Range<Offset>>,
    /// Frames trusted.
    pub frames: u64,
}

/// Scans `source`; `visit` sees every trusted frame in order, with its position.
///
/// # Errors
/// Only the device's.
pub fn scan(
    source: &dyn FrameSource,
    expect: Expect,
    visit: &mut dyn FnMut(&BatchHeader, u64),
) -> io::Result<Scan> {
    let mut window = Window::new(source);
    let mut found = Scan {
        end: expect.base,
        end_position: 0,
        first_append_time: Timestamp::ZERO,
        last_append_time: Timestamp::ZERO,
        max_timestamp: Timestamp::new(i64::MIN),
        index: SegmentIndex::default(),
        epochs: Vec::new(),
        epoch: expect.epoch,
        epoch_seen: expect.epoch,
        damaged: Vec::new(),
        frames: 0,
    };
    let proven_end = expect.limit.unwrap_or(expect.durable).max(expect.base);
    let mut position = 0;
    loop {
        let next = Next {
            log: expect.log,
            offset: found.end,
            limit: expect.limit,
            epoch: found.epoch,
        };
        if let Some((at, header)) = next.at_or_padded(&mut window, position)? {
            found.take(&header, at, expect, visit);
            position = found.end_position;
            continue;
        }
        let Some(behind) = next.search(&mut window, position)? else {
            if found.end < proven_end {
                found.damaged.push(found.end..proven_end);
                found.end = proven_end;
            }
            return Ok(found);
        };
        found.epoch_seen = found.epoch_seen.max(behind.epoch_seen);
        if behind.proven_end.max(proven_end) <= found.end {
            return Ok(found);
        }
        found.damaged.push(found.end..behind.header.base_offset);
        found.take(&behind.header, behind.position, expect, visit);
        position = found.end_position;
    }
}

impl Scan {
    fn take(
        &mut self,
        header: &BatchHeader,
        at: u64,
        expect: Expect,
        visit: &mut dyn FnMut(&BatchHeader, u64),
    ) {
        if self.frames == 0 {
            self.first_append_time = header.append_time;
        }
        let interval = if self
            .damaged
            .last()
            .is_some_and(|range| range.end == header.base_offset)
        {
            // A reader behind the damage must find a place to start there.
            0
        } else {
            expect.index_interval_bytes
        };
        note_in_index(
            &mut self.index,
            expect.base,
            header,
            at,
            self.max_timestamp,
            interval,
        );
        if header.leader_epoch != self.epoch || (self.frames == 0 && self.epochs.is_empty()) {
            self.epochs.push((header.leader_epoch, header.base_offset));
        }
        self.epoch = header.leader_epoch;
        self.epoch_seen = self.epoch_seen.max(header.leader_epoch);
        self.last_append_time = header.append_time;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.end = header.end_offset();
        self.end_position = at + header.frame_len() as u64;
        self.frames += 1;
        visit(header, at);
    }
}

/// The frame that must come next.
#[derive(Clone, Copy)]
struct Next {
    log: LogId,
    offset: Offset,
    limit: Option<Offset>,
    epoch: LeaderEpoch,
}

/// The first valid frame behind a failing one, and the strongest claim of durability behind it.
struct Behind {
    position: u64,
    header: BatchHeader,
    proven_end: Offset,
    epoch_seen: LeaderEpoch,
}

impl Next {
    fn at_or_padded(self, window: &mut Window<'_>, position: u64) -> io::Result<Option<(u64, BatchHeader)>> {
        for at in [position, align_up(position)] {
            if let Some(header) = self
                .valid_at(window, at)?
                .filter(|header| header.base_offset == self.offset)
            {
                return Ok(Some((at, header)));
            }
        }
        Ok(None)
    }

    /// A frame of this log at `position` that passes every check but the exact offset.
    fn valid_at(self, window: &mut Window<'_>, position: u64) -> io::Result<Option<BatchHeader>> {
        let Some(bytes) = window.bytes(position, HEADER_BYTES)? else {
            return Ok(None);
        };
        let Ok(header) = BatchHeader::decode(bytes) else {
            return Ok(None);
        };
        if header.log != self.log || header.leader_epoch < self.epoch || header.base_offset < self.offset {
            return Ok(None);
        }
        if self.limit.is_some_and(|limit| header.end_offset() > limit) {
            return Ok(None);
        }
        let start = position + HEADER_BYTES as u64;
        let Some(payload) = window.bytes(start, header.payload_len as usize)? else {
            return Ok(None);
        };
        Ok(verify_payload(&header, payload).is_ok().then_some(header))
    }

    fn search(self, window: &mut Window<'_>, position: u64) -> io::Result<Option<Behind>> {
        let mut behind: Option<Behind> = None;
        let mut at = position;
        while let Some(candidate) = window.find_magic(at)? {
            at = candidate + FRAME_ALIGN as u64;
            let Some(header) = self.valid_at(window, candidate)? else {
                continue;
            };
            if header.base_offset == self.offset {
                continue;
            }
            at = candidate + header.frame_len() as u64;
            let found = behind.get_or_insert(Behind {
                position: candidate,
                header,
                proven_end: header.durable_end,
                epoch_seen: header.leader_epoch,
            });
            found.proven_end = found.proven_end.max(header.durable_end);
            found.epoch_seen = found.epoch_seen.max(header.leader_epoch);
            if header.base_offset < found.header.end_offset() {
                // Written later, in place of the one found before, which a crash cut off.
                (found.position, found.header) = (candidate, header);
            }
            if header.durable_end > self.offset {
                break;
            }
        }
        Ok(behind)
    }
}

/// A sliding view of a file of frames, for those who walk it.
pub struct Window<'a> {
    source: &'a dyn FrameSource,
    buffer: AlignedBuffer,
    start: u64,
    end: u64,
}

impl std::fmt::Debug for Window<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window")
            .field("start", &self.start)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<'a> Window<'a> {
    /// A view of `source`; nothing is read yet.
    #[must_use]
    pub fn new(source: &'a dyn FrameSource) -> Self {
        Self {
            source,
            buffer: AlignedBuffer::zeroed(WINDOW_BYTES),
            start: 0,
            end: 0,
        }
    }

    /// The bytes `[position, position + len)`; `None` when the file ends before. A length read from a damaged header can
    /// make the buffer grow to the size of the file, never beyond.
    ///
    /// # Errors
    /// The device's.
    pub fn bytes(&mut self, position: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let until = position + len as u64;
        if until > align_down(self.source.len()) {
            return Ok(None);
        }
        if position < self.start || until > self.end {
            self.fill(position, len)?;
        }
        let start = usize::try_from(position - self.start).expect("inside the window");
        Ok(Some(&self.buffer[start..start + len]))
    }

    fn fill(&mut self, position: u64, len: usize) -> io::Result<()> {
        let start = align_down(position);
        let need = align_up(position + len as u64) - start;
        let end = (start + need.max(WINDOW_BYTES as u64)).min(align_down(self.source.len()));
        let bytes = usize::try_from(end - start).map_err(io::Error::other)?;
        if self.buffer.len() < bytes {
            self.buffer = AlignedBuffer::zeroed(bytes);
        }
        self.source.read_at(start, &mut self.buffer[..bytes])?;
        (self.start, self.end) = (start, end);
        Ok(())
    }

    /// The first place at or after `position`, in frame steps, that begins like a frame.
    ///
    /// # Errors
    /// The device's.
    pub fn find_magic(&mut self, position: u64) -> io::Result<Option<u64>> {
        let mut at = position.next_multiple_of(FRAME_ALIGN as u64);
        loop {
            let left = align_down(self.source.len()).saturating_sub(at);
            if left < HEADER_BYTES as u64 {
                return Ok(None);
            }
            let len =
                usize::try_from(left.min((WINDOW_BYTES - BLOCK_BYTES) as u64)).map_err(io::Error::other)?;
            let Some(bytes) = self.bytes(at, len)? else {
                return Ok(None);
            };
            if let Some(step) = bytes
                .chunks(FRAME_ALIGN)
                .position(super::read::begins_like_a_frame)
            {
                return Ok(Some(at + (step * FRAME_ALIGN) as u64));
            }
            at += len.next_multiple_of(FRAME_ALIGN) as u64;
        }
    }
}

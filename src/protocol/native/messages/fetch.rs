//! Fetch: stored batches from any number of partitions, once. A push of a subscription has the layout of its answer.
//!
//! The answer has one entry per partition asked for, in their order, and behind the control part the stored batches of
//! each entry back to back, `bytes` of them per entry. The first batch of an entry may begin before the offset asked
//! for: the reader skips. One batch may exceed the bounds when it is the first found, so that it cannot block a reader
//! for ever. Any thread.

use super::{count_of, open, put_table, take_table};
use crate::base::{LogId, PartitionId, TopicId};
use crate::protocol::native::batches::Batches;
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::{FRAME_ALIGN, Frame, FrameError, FrameWriter, Kind};
use crate::protocol::native::pod::{DecodeError, Table, pod};

/// Partitions one request may name.
pub const FETCH_ENTRIES_MAX: u32 = 4096;

pod! {
    /// The fixed part of a request.
    FetchHead 16 {
        /// Partitions.
        0 entry_count: u32,
        /// Stop before exceeding this over all partitions.
        4 max_bytes: u32,
        /// Answer at once when this much is there.
        8 min_bytes: u32,
        /// Otherwise wait this long for it, in milliseconds. A later request on the connection ends the wait.
        12 max_wait_ms: u32,
        reserved 0
    }

    /// One partition of a request.
    FetchEntry 32 {
        /// Its topic.
        0 topic_id: [u8; 16],
        /// Its number.
        16 partition: u32,
        /// Stop before exceeding this.
        20 max_bytes: u32,
        /// First record wanted.
        24 offset: u64,
        reserved 0
    }

    /// One partition of an answer or a push.
    FetchedEntry 48 {
        /// Its topic.
        0 topic_id: [u8; 16],
        /// Its number.
        16 partition: u32,
        /// Bytes of its batches in this frame.
        20 bytes: u32,
        /// First readable offset of the log.
        24 log_start: u64,
        /// Everything below may be read.
        32 high_watermark: u64,
        /// Epoch of the leader.
        40 leader_epoch: u32,
        /// Why there are no batches, or 0. In a push: why there will be no more from this partition.
        44 error: u16,
        reserved 2
    }
}

impl FetchEntry {
    /// The log it names.
    #[must_use]
    pub const fn log(&self) -> LogId {
        LogId {
            topic: TopicId::new(self.topic_id),
            partition: PartitionId::new(self.partition),
        }
    }
}

impl FetchedEntry {
    /// The log it names.
    #[must_use]
    pub const fn log(&self) -> LogId {
        LogId {
            topic: TopicId::new(self.topic_id),
            partition: PartitionId::new(self.partition),
        }
    }

    /// Why there are no batches.
    #[must_use]
    pub fn error(&self) -> Option<ErrorCode> {
        ErrorCode::carried(self.error)
    }
}

/// Appends a fetch request to `out`; `head.entry_count` is set here.
///
/// # Errors
/// `TooLarge` for more entries than any broker accepts.
pub fn encode_fetch(
    out: &mut Vec<u8>,
    correlation: u64,
    head: &FetchHead,
    entries: &[FetchEntry],
) -> Result<(), FrameError> {
    let mut writer = FrameWriter::begin(out, Kind::Fetch, correlation);
    writer.pod(&FetchHead {
        entry_count: count_of(entries.len()),
        ..*head
    });
    entries.iter().for_each(|entry| writer.pod(entry));
    writer.finish()
}

/// A received request.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    /// Bounds over all partitions.
    pub head: FetchHead,
    /// The partitions.
    pub entries: Table<'a, FetchEntry>,
}

impl<'a> Fetch<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Fetch, 0)?;
        let head: FetchHead = reader.pod()?;
        let entries = reader.table(head.entry_count, FETCH_ENTRIES_MAX)?;
        reader.finish()?;
        Ok(Self { head, entries })
    }
}

/// Appends head and control part of an answer (`Fetched`) or a `Push` to `out`. The batches, as many bytes as the entries
/// say, are to be sent right behind.
///
/// # Errors
/// `TooLarge`; nothing was appended.
pub fn encode_fetched_before(
    out: &mut Vec<u8>,
    kind: Kind,
    correlation: u64,
    entries: &[FetchedEntry],
) -> Result<(), FrameError> {
    let following = entries.iter().map(|entry| entry.bytes as usize).sum();
    let mut writer = FrameWriter::begin(out, kind, correlation);
    put_table(&mut writer, entries);
    writer.finish_before(following)
}

/// A received answer or push.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// The partitions.
    pub entries: Table<'a, FetchedEntry>,
    batches: &'a [u8],
}

impl<'a> Fetched<'a> {
    /// Reads a `Fetched` or a `Push`.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let kind = match frame.head.kind {
            Kind::Push => Kind::Push,
            _ => Kind::Fetched,
        };
        let mut reader = open(frame, kind, 0)?;
        let entries = take_table::<FetchedEntry>(&mut reader, FETCH_ENTRIES_MAX)?;
        reader.finish()?;
        let mut left = frame.batches.len();
        for entry in entries.iter() {
            let bytes = entry.bytes as usize;
            left = left.checked_sub(bytes).ok_or(DecodeError::Truncated)?;
            if !bytes.is_multiple_of(FRAME_ALIGN) {
                return Err(DecodeError::Truncated);
            }
        }
        if left > 0 {
            return Err(DecodeError::Trailing);
        }
        Ok(Self {
            entries,
            batches: frame.batches,
        })
    }

    /// Each partition with its batches.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = (FetchedEntry, Batches<'a>)> + use<'a> {
        let mut rest = self.batches;
        self.entries.iter().map(move |entry| {
            let (batches, behind) = rest.split_at(entry.bytes as usize);
            rest = behind;
            (entry, Batches::new(batches))
        })
    }
}

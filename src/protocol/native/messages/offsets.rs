//! Where logs begin, where they end, and where they are at a time. Any thread.

use super::{open, put_table, take_table};
use crate::base::{LogId, Offset, PartitionId, Timestamp, TopicId};
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::{Frame, FrameError, FrameWriter, Kind};
use crate::protocol::native::pod::{DecodeError, Table, pod};

/// Partitions one request may name.
pub const OFFSETS_ENTRIES_MAX: u32 = 4096;

/// What stands for "no such record".
const NOT_FOUND: u64 = u64::MAX;

pod! {
    /// One partition of a request.
    OffsetsEntry 32 {
        /// Its topic.
        0 topic_id: [u8; 16],
        /// Its number.
        16 partition: u32,
        /// 0: earliest. 1: latest (one past the last readable). 2: the first record at or after `timestamp`.
        20 query: u32,
        /// Milliseconds since 1970; 0 unless `query` is 2.
        24 timestamp: i64,
        reserved 0
    }

    /// One partition of an answer.
    OffsetsAnswerEntry 24 {
        /// The offset; all bits set when there is no such record.
        0 offset: u64,
        /// The record's timestamp, for a query by time; else -1.
        8 timestamp: i64,
        /// Epoch of the leader.
        16 leader_epoch: u32,
        /// Why there is no answer, or 0.
        20 error: u16,
        reserved 2
    }
}

/// What to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Query {
    /// First readable offset.
    Earliest,
    /// One past the last readable offset.
    Latest,
    /// First record at or after a time.
    AtTime(Timestamp),
}

impl OffsetsEntry {
    /// An entry for `log`.
    #[must_use]
    pub const fn new(log: LogId, query: Query) -> Self {
        let (query, timestamp) = match query {
            Query::Earliest => (0, 0),
            Query::Latest => (1, 0),
            Query::AtTime(timestamp) => (2, timestamp.get()),
        };
        Self {
            topic_id: log.topic.to_bytes(),
            partition: log.partition.get(),
            query,
            timestamp,
        }
    }

    /// The log it names.
    #[must_use]
    pub const fn log(&self) -> LogId {
        LogId {
            topic: TopicId::new(self.topic_id),
            partition: PartitionId::new(self.partition),
        }
    }

    /// What it asks; `None` for a choice this version does not know.
    #[must_use]
    pub const fn question(&self) -> Option<Query> {
        match self.query {
            0 => Some(Query::Earliest),
            1 => Some(Query::Latest),
            2 => Some(Query::AtTime(Timestamp::new(self.timestamp))),
            _ => None,
        }
    }
}

impl OffsetsAnswerEntry {
    /// The answer to an entry: an offset, with the record's time if it was asked for by time; or nothing.
    #[must_use]
    pub fn found(found: Option<(Offset, Option<Timestamp>)>, leader_epoch: u32) -> Self {
        let (offset, timestamp) = found.map_or((NOT_FOUND, None), |(offset, time)| (offset.get(), time));
        Self {
            offset,
            timestamp: timestamp.map_or(-1, Timestamp::get),
            leader_epoch,
            error: 0,
        }
    }

    /// An entry that cannot be answered.
    #[must_use]
    pub const fn refused(code: ErrorCode) -> Self {
        Self {
            offset: NOT_FOUND,
            timestamp: -1,
            leader_epoch: 0,
            error: code.code(),
        }
    }

    /// The offset; `None` when there is no such record.
    ///
    /// # Errors
    /// Why the partition was not answered.
    pub fn outcome(&self) -> Result<Option<Offset>, ErrorCode> {
        match ErrorCode::carried(self.error) {
            Some(code) => Err(code),
            None => Ok((self.offset != NOT_FOUND).then(|| Offset::new(self.offset))),
        }
    }
}

/// A received request.
#[derive(Clone, Copy, Debug)]
pub struct Offsets<'a> {
    /// The partitions.
    pub entries: Table<'a, OffsetsEntry>,
}

impl<'a> Offsets<'a> {
    /// Appends a request to `out`.
    ///
    /// # Errors
    /// `TooLarge` for more entries than any broker accepts.
    pub fn encode(out: &mut Vec<u8>, correlation: u64, entries: &[OffsetsEntry]) -> Result<(), FrameError> {
        let mut writer = FrameWriter::begin(out, Kind::Offsets, correlation);
        put_table(&mut writer, entries);
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Offsets, 0)?;
        let entries = take_table::<OffsetsEntry>(&mut reader, OFFSETS_ENTRIES_MAX)?;
        reader.finish()?;
        if entries.iter().any(|entry| entry.question().is_none()) {
            return Err(DecodeError::Unknown);
        }
        Ok(Self { entries })
    }
}

/// A received answer.
#[derive(Clone, Copy, Debug)]
pub struct OffsetsAnswer<'a> {
    /// One per partition asked for, in their order.
    pub entries: Table<'a, OffsetsAnswerEntry>,
}

impl<'a> OffsetsAnswer<'a> {
    /// Appends an answer to `out`.
    ///
    /// # Errors
    /// Never in practice: the bounds of a request keep its answer small.
    pub fn encode(
        out: &mut Vec<u8>,
        correlation: u64,
        entries: &[OffsetsAnswerEntry],
    ) -> Result<(), FrameError> {
        let mut writer = FrameWriter::begin(out, Kind::OffsetsAnswer, correlation);
        put_table(&mut writer, entries);
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::OffsetsAnswer, 0)?;
        let entries = take_table(&mut reader, OFFSETS_ENTRIES_MAX)?;
        reader.finish()?;
        Ok(Self { entries })
    }
}

//! Subscribe: batches pushed as soon as they are readable, as far as the client's credit goes.
//!
//! The correlation of the request is the subscription's number, unique on its connection while it lasts; answer, pushes,
//! credit, unsubscribe and the end carry it. Credit counts whole push frames, head and all. The broker pushes while
//! credit is left; one push may overdraw it by at most one batch, because a first batch larger than what is left must get
//! through. `Credit` adds. Positions are the client's to keep: after a reconnect it subscribes from where it is.
//!
//! A partition that cannot be read any more is pushed once more with its error, and the rest goes on; when none is left,
//! or the client unsubscribes, or the broker stops, `SubscriptionEnded` is the last frame of the subscription. Any thread.

use super::{count_of, open, put_table, take_table};
use crate::base::{LogId, PartitionId, TopicId};
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::{Frame, FrameError, FrameWriter, Kind};
use crate::protocol::native::pod::{DecodeError, Table, pod};

/// Subscriptions of one connection.
pub const SUBSCRIPTIONS_MAX: u32 = 64;

/// Partitions of one subscription.
pub const SUBSCRIBE_ENTRIES_MAX: u32 = 4096;

/// Most credit a subscription may hold, in bytes.
pub const CREDIT_BYTES_MAX: u64 = 1 << 30;

/// Most bytes of batches in one push, unless a single batch is larger.
pub const PUSH_BYTES_MAX: u32 = 4 << 20;

pod! {
    /// The fixed part of a request.
    SubscribeHead 16 {
        /// Bytes that may be pushed before more credit comes; at most [`CREDIT_BYTES_MAX`], at least 1.
        0 credit_bytes: u64,
        /// Partitions.
        8 entry_count: u32,
        /// Stop one push before exceeding this; 0 for the broker's bound.
        12 push_bytes: u32,
        reserved 0
    }

    /// One partition of a request.
    SubscribeEntry 32 {
        /// Its topic.
        0 topic_id: [u8; 16],
        /// Its number.
        16 partition: u32,
        /// 0: from `offset`. 1: from the earliest record. 2: from the end.
        20 from: u32,
        /// First record wanted, if `from` is 0; else 0.
        24 offset: u64,
        reserved 0
    }

    /// One partition of an answer.
    SubscribedEntry 32 {
        /// Where pushes begin.
        0 offset: u64,
        /// First readable offset of the log.
        8 log_start: u64,
        /// Everything below may be read now.
        16 high_watermark: u64,
        /// Why nothing of it will be pushed, or 0.
        24 error: u16,
        reserved 6
    }

    /// The whole of a credit frame.
    CreditHead 16 {
        /// Bytes to add.
        0 bytes: u64,
        reserved 8
    }
}

/// Where a subscription begins in a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// At this offset.
    Offset(u64),
    /// At the first record there is.
    Earliest,
    /// Behind the last record there is.
    Latest,
}

impl SubscribeEntry {
    /// An entry for `log`.
    #[must_use]
    pub const fn new(log: LogId, from: From) -> Self {
        let (from, offset) = match from {
            From::Offset(offset) => (0, offset),
            From::Earliest => (1, 0),
            From::Latest => (2, 0),
        };
        Self {
            topic_id: log.topic.to_bytes(),
            partition: log.partition.get(),
            from,
            offset,
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

    /// Where to begin; `None` for a choice this version does not know.
    #[must_use]
    pub const fn start(&self) -> Option<From> {
        match self.from {
            0 => Some(From::Offset(self.offset)),
            1 => Some(From::Earliest),
            2 => Some(From::Latest),
            _ => None,
        }
    }
}

/// A received request.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe<'a> {
    /// Its number.
    pub subscription: u64,
    /// Bytes that may be pushed before more credit comes.
    pub credit_bytes: u64,
    /// Stop one push before exceeding this; 0 for the broker's bound.
    pub push_bytes: u32,
    /// The partitions.
    pub entries: Table<'a, SubscribeEntry>,
}

impl<'a> Subscribe<'a> {
    /// Appends a request to `out`.
    ///
    /// # Errors
    /// `TooLarge` for more entries than any broker accepts.
    pub fn encode(
        out: &mut Vec<u8>,
        subscription: u64,
        credit_bytes: u64,
        push_bytes: u32,
        entries: &[SubscribeEntry],
    ) -> Result<(), FrameError> {
        let mut writer = FrameWriter::begin(out, Kind::Subscribe, subscription);
        writer.pod(&SubscribeHead {
            credit_bytes,
            entry_count: count_of(entries.len()),
            push_bytes,
        });
        entries.iter().for_each(|entry| writer.pod(entry));
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Subscribe, 0)?;
        let head: SubscribeHead = reader.pod()?;
        let entries = reader.table::<SubscribeEntry>(head.entry_count, SUBSCRIBE_ENTRIES_MAX)?;
        reader.finish()?;
        if entries.iter().any(|entry| entry.start().is_none()) {
            return Err(DecodeError::Unknown);
        }
        Ok(Self {
            subscription: frame.head.correlation,
            credit_bytes: head.credit_bytes,
            push_bytes: head.push_bytes,
            entries,
        })
    }
}

impl SubscribedEntry {
    /// Why nothing of it will be pushed.
    #[must_use]
    pub fn error(&self) -> Option<ErrorCode> {
        ErrorCode::carried(self.error)
    }
}

/// A received answer.
#[derive(Clone, Copy, Debug)]
pub struct Subscribed<'a> {
    /// One per partition asked for, in their order.
    pub entries: Table<'a, SubscribedEntry>,
}

impl<'a> Subscribed<'a> {
    /// Appends an answer to `out`.
    ///
    /// # Errors
    /// Never in practice: the bounds of a request keep its answer small.
    pub fn encode(
        out: &mut Vec<u8>,
        subscription: u64,
        entries: &[SubscribedEntry],
    ) -> Result<(), FrameError> {
        let mut writer = FrameWriter::begin(out, Kind::Subscribed, subscription);
        put_table(&mut writer, entries);
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Subscribed, 0)?;
        let entries = take_table(&mut reader, SUBSCRIBE_ENTRIES_MAX)?;
        reader.finish()?;
        Ok(Self { entries })
    }
}

/// More may be pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credit {
    /// Which subscription.
    pub subscription: u64,
    /// Bytes to add.
    pub bytes: u64,
}

impl Credit {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let mut writer = FrameWriter::begin(out, Kind::Credit, self.subscription);
        writer.pod(&CreditHead { bytes: self.bytes });
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'_>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Credit, 0)?;
        let head: CreditHead = reader.pod()?;
        reader.finish()?;
        Ok(Self {
            subscription: frame.head.correlation,
            bytes: head.bytes,
        })
    }
}

/// No more pushes, please. Its control part is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe {
    /// Which subscription.
    pub subscription: u64,
}

impl Unsubscribe {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        FrameWriter::begin(out, Kind::Unsubscribe, self.subscription).finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'_>) -> Result<Self, DecodeError> {
        open(frame, Kind::Unsubscribe, 0)?.finish()?;
        Ok(Self {
            subscription: frame.head.correlation,
        })
    }
}

/// The last frame of a subscription. Its control part is empty, its error is in the head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscriptionEnded {
    /// Which subscription.
    pub subscription: u64,
    /// Why, if the client did not ask for it.
    pub error: Option<ErrorCode>,
}

impl SubscriptionEnded {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let writer = FrameWriter::begin(out, Kind::SubscriptionEnded, self.subscription);
        match self.error {
            Some(code) => writer.with_error(code).finish(),
            None => writer.finish(),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'_>) -> Result<Self, DecodeError> {
        open(frame, Kind::SubscriptionEnded, 0)?.finish()?;
        Ok(Self {
            subscription: frame.head.correlation,
            error: frame.head.error(),
        })
    }
}

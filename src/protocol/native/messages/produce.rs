//! Produce: batches to append, any number of partitions in one frame.
//!
//! Each batch names its log in its own header, so the request's control part is a count and its choices are flags. The
//! answer has one entry per batch, in their order, and leaves in the order of the requests. With [`Acks::None`] there is
//! no answer at all, not even for a refused batch. Batches of one partition are appended in the order they were sent. Any
//! thread.

use super::open;
use crate::base::stages::StageTimes;
use crate::base::{LogId, Offset};
use crate::batch::records::RecordsError;
use crate::batch::{ProducerInfo, RecordsBuilder};
use crate::protocol::native::batches::{Batches, append_batch};
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::{Frame, FrameError, FrameWriter, Kind};
use crate::protocol::native::pod::{DecodeError, Table, pod};

/// Batches one request may carry.
pub const PRODUCE_BATCHES_MAX: u32 = 4096;

/// Flag of a request: no answer.
const ACKS_NONE: u16 = 1;

/// Flag of a request: say how long each stage took. Flag of an answer: it does.
const STAGES: u16 = 2;

pod! {
    /// The fixed part of a request.
    ProduceHead 16 {
        /// Batches in the frame.
        0 batch_count: u32,
        reserved 12
    }

    /// The fixed part of an answer.
    ProducedHead 8 {
        /// Entries; behind them the 32 bytes of the stage times, if the answer has them.
        0 batch_count: u32,
        reserved 4
    }

    /// What one batch came to.
    ProducedEntry 24 {
        /// Offset of its first record; of the original for a batch sent again.
        0 base_offset: u64,
        /// First readable offset of its log.
        8 log_start: u64,
        /// Why it was not appended, or 0.
        16 error: u16,
        reserved 6
    }

}

/// When a produce is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Acks {
    /// Never.
    None,
    /// When the batches are as safe as their topics promise: on the disk, unless a topic is relaxed.
    #[default]
    Durable,
}

/// A received request.
#[derive(Clone, Debug)]
pub struct Produce<'a> {
    /// When it is answered.
    pub acks: Acks,
    /// Whether the answer is to say how long each stage took.
    pub stages: bool,
    /// Batches it announces; the receiver checks that they are there.
    pub batch_count: u32,
    /// The batches.
    pub batches: Batches<'a>,
}

impl<'a> Produce<'a> {
    /// Reads it; batches are not looked at.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Produce, ACKS_NONE | STAGES)?;
        let head: ProduceHead = reader.pod()?;
        reader.finish()?;
        if head.batch_count > PRODUCE_BATCHES_MAX {
            return Err(DecodeError::TooMany {
                found: head.batch_count,
                max: PRODUCE_BATCHES_MAX,
            });
        }
        let acks = match frame.head.flags & ACKS_NONE {
            0 => Acks::Durable,
            _ => Acks::None,
        };
        Ok(Self {
            acks,
            stages: frame.head.flags & STAGES != 0,
            batch_count: head.batch_count,
            batches: Batches::new(frame.batches),
        })
    }
}

/// Builds one produce frame in a buffer.
#[derive(Debug)]
pub struct ProduceWriter<'v> {
    frame: FrameWriter<'v>,
    batch_count: u32,
}

impl<'v> ProduceWriter<'v> {
    /// Begins the frame behind what `out` holds.
    #[must_use]
    pub fn begin(out: &'v mut Vec<u8>, correlation: u64, acks: Acks) -> Self {
        let flags = match acks {
            Acks::None => ACKS_NONE,
            Acks::Durable => 0,
        };
        Self::with_flags(out, correlation, flags)
    }

    /// As [`Self::begin`] with [`Acks::Durable`], asking for the time of each stage.
    #[must_use]
    pub fn begin_with_stages(out: &'v mut Vec<u8>, correlation: u64) -> Self {
        Self::with_flags(out, correlation, STAGES)
    }

    fn with_flags(out: &'v mut Vec<u8>, correlation: u64, flags: u16) -> Self {
        let mut frame = FrameWriter::begin(out, Kind::Produce, correlation).with_flags(flags);
        frame.pod(&ProduceHead::default());
        Self {
            frame,
            batch_count: 0,
        }
    }

    /// Adds the records of `builder` as one batch for `log`.
    ///
    /// # Errors
    /// `Empty` or `TooLarge`; the frame is then as it was.
    pub fn batch(
        &mut self,
        log: LogId,
        producer: Option<ProducerInfo>,
        builder: &mut RecordsBuilder,
    ) -> Result<(), RecordsError> {
        append_batch(self.frame.batches(), log, producer, builder)?;
        self.batch_count += 1;
        Ok(())
    }

    /// Adds a batch that was built before ([`append_batch`]); its length must be a multiple of 16.
    pub fn encoded(&mut self, batch: &[u8]) {
        self.frame.batches().extend_from_slice(batch);
        self.batch_count += 1;
    }

    /// Batches so far.
    #[must_use]
    pub const fn batch_count(&self) -> u32 {
        self.batch_count
    }

    /// Bytes of the frame so far.
    #[must_use]
    pub const fn frame_len(&self) -> usize {
        self.frame.len()
    }

    /// Completes the frame.
    ///
    /// # Errors
    /// `TooLarge`; the buffer is then as it was before.
    pub fn finish(mut self) -> Result<(), FrameError> {
        let batch_count = self.batch_count;
        self.frame.replace_first(&ProduceHead { batch_count });
        self.frame.finish()
    }
}

impl ProducedEntry {
    /// A batch that is safe.
    #[must_use]
    pub const fn safe(base_offset: Offset, log_start: Offset) -> Self {
        Self {
            base_offset: base_offset.get(),
            log_start: log_start.get(),
            error: 0,
        }
    }

    /// A batch that was refused.
    #[must_use]
    pub const fn refused(code: ErrorCode) -> Self {
        Self {
            base_offset: 0,
            log_start: 0,
            error: code.code(),
        }
    }

    /// Offset of the first record, or why there is none.
    ///
    /// # Errors
    /// Why the batch was refused.
    pub fn outcome(&self) -> Result<Offset, ErrorCode> {
        match ErrorCode::carried(self.error) {
            None => Ok(Offset::new(self.base_offset)),
            Some(code) => Err(code),
        }
    }
}

/// A received answer.
#[derive(Clone, Copy, Debug)]
pub struct Produced<'a> {
    /// One per batch, in their order.
    pub entries: Table<'a, ProducedEntry>,
    /// Where the time of the batch that was safe last went, if that was asked for and a batch was accepted.
    pub stages: Option<StageTimes>,
}

impl<'a> Produced<'a> {
    /// Appends an answer to `out`.
    ///
    /// # Errors
    /// Never in practice: the bounds of a request keep its answer small.
    pub fn encode(
        out: &mut Vec<u8>,
        correlation: u64,
        entries: impl ExactSizeIterator<Item = ProducedEntry>,
        stages: Option<StageTimes>,
    ) -> Result<(), FrameError> {
        let flags = if stages.is_some() { STAGES } else { 0 };
        let mut writer = FrameWriter::begin(out, Kind::Produced, correlation).with_flags(flags);
        writer.pod(&ProducedHead {
            batch_count: super::count_of(entries.len()),
        });
        entries.for_each(|entry| writer.pod(&entry));
        if let Some(stages) = stages {
            writer.bytes(&stages.to_bytes());
        }
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'a>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::Produced, STAGES)?;
        let head: ProducedHead = reader.pod()?;
        let entries = reader.table(head.batch_count, PRODUCE_BATCHES_MAX)?;
        let stages = match frame.head.flags & STAGES {
            0 => None,
            _ => Some(StageTimes::from_bytes(reader.bytes(StageTimes::BYTES)?).ok_or(DecodeError::Unknown)?),
        };
        reader.finish()?;
        Ok(Self { entries, stages })
    }
}

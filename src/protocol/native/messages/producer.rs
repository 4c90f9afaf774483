//! An identity for an idempotent producer.
//!
//! The broker never gives the same id twice. The producer numbers the records of each partition from 0, puts id, epoch
//! and the first number into every batch header, and may then send a batch again without its being appended twice. Any
//! thread.

use super::open;
use crate::base::{ProducerEpoch, ProducerId};
use crate::protocol::native::frame::{Frame, FrameError, FrameWriter, Kind};
use crate::protocol::native::pod::{DecodeError, pod};

pod! {
    /// The whole of the answer.
    ProducerReadyHead 16 {
        /// The id.
        0 producer_id: i64,
        /// Its generation.
        8 producer_epoch: i16,
        reserved 6
    }
}

/// See the module. Its control part is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InitProducer;

impl InitProducer {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn encode(out: &mut Vec<u8>, correlation: u64) -> Result<(), FrameError> {
        FrameWriter::begin(out, Kind::InitProducer, correlation).finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'_>) -> Result<Self, DecodeError> {
        open(frame, Kind::InitProducer, 0)?.finish()?;
        Ok(Self)
    }
}

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerReady {
    /// The id.
    pub id: ProducerId,
    /// Its generation.
    pub epoch: ProducerEpoch,
}

impl ProducerReady {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn encode(&self, out: &mut Vec<u8>, correlation: u64) -> Result<(), FrameError> {
        let mut writer = FrameWriter::begin(out, Kind::ProducerReady, correlation);
        writer.pod(&ProducerReadyHead {
            producer_id: self.id.get(),
            producer_epoch: self.epoch.get(),
        });
        writer.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(frame: &Frame<'_>) -> Result<Self, DecodeError> {
        let mut reader = open(frame, Kind::ProducerReady, 0)?;
        let head: ProducerReadyHead = reader.pod()?;
        reader.finish()?;
        Ok(Self {
            id: ProducerId::new(head.producer_id),
            epoch: ProducerEpoch::new(head.producer_epoch),
        })
    }
}

//! Stored batches inside frames: a client's way to build them and to read them.
//!
//! A batch on the wire is a batch on the disk: 128 bytes of [`BatchHeader`], the payload, zeros to a multiple of 16. A
//! producer leaves what is the broker's to say at zero (base offset, leader epoch, durable end, append time); the broker
//! fills it in and changes nothing else. A consumer gets the stored bytes and checks both checksums itself.
//!
//! **Promise.** [`Batches`] never reads past what it was given, ends at the first batch that is cut short, and copies
//! nothing. No I/O, no clock, any thread.

use thiserror::Error;

use crate::base::{LogId, crc32c};
use crate::batch::records::RecordsError;
use crate::batch::{
    Attributes, BatchHeader, Contents, Encoding, FRAME_ALIGN, HEADER_BYTES, HeaderError, PayloadError,
    ProducerInfo, RecordsBuilder, RecordsView, verify_payload,
};

/// One stored batch, borrowed. Its header passed its checksum.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// What it says about itself.
    pub header: BatchHeader,
    /// The whole frame: header, payload, padding.
    pub frame: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

/// Why bytes are not a batch, or a batch cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BatchError {
    /// No header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The batch ends behind the bytes at hand.
    #[error("the batch needs {needed} bytes, {found} are left")]
    Truncated {
        /// Bytes of the batch.
        needed: usize,
        /// Bytes at hand.
        found: usize,
    },
    /// The payload is damaged.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The payload is not what its encoding demands.
    #[error(transparent)]
    View(#[from] crate::batch::records::ViewError),
    /// The payload is a Kafka batch, which has no native view.
    #[error("the batch is in Kafka's encoding")]
    Encoding,
}

impl<'a> Batch<'a> {
    /// Reads the batch at the start of `bytes`, which may go on behind it.
    ///
    /// # Errors
    /// `Header` or `Truncated`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::decode(bytes)?;
        let (needed, found) = (header.frame_len(), bytes.len());
        let frame = bytes
            .get(..needed)
            .ok_or(BatchError::Truncated { needed, found })?;
        Ok(Self {
            header,
            frame,
            payload: &frame[HEADER_BYTES..HEADER_BYTES + header.payload_len as usize],
        })
    }

    /// Checks the payload against its checksum.
    ///
    /// # Errors
    /// See [`PayloadError`].
    pub fn verify(&self) -> Result<(), PayloadError> {
        verify_payload(&self.header, self.payload)
    }

    /// The records of a native batch, read in place. The frame must lie at a 16-aligned address.
    ///
    /// # Errors
    /// `Encoding` for a Kafka batch, `View` for a payload that is not a native batch.
    pub fn records(&self) -> Result<RecordsView<'a>, BatchError> {
        match self.header.encoding {
            Encoding::Rkyv => Ok(RecordsView::parse(self.payload)?),
            Encoding::Kafka => Err(BatchError::Encoding),
        }
    }
}

/// The batches in a run of stored frames. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// Begins at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not looked at yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = Batch::parse(self.rest);
        self.rest = batch
            .as_ref()
            .map_or(&[], |batch| &self.rest[batch.frame.len()..]);
        Some(batch)
    }
}

/// Appends the records of `builder` to `out` as one batch for `log`, ready to be produced. Returns its bytes. The builder
/// keeps its records; clear it to begin the next batch.
///
/// # Errors
/// `Empty` or `TooLarge`; `out` is then as it was.
pub fn append_batch(
    out: &mut Vec<u8>,
    log: LogId,
    producer: Option<ProducerInfo>,
    builder: &mut RecordsBuilder,
) -> Result<usize, RecordsError> {
    let start = out.len();
    let payload_at = start + HEADER_BYTES;
    let (first_timestamp, max_timestamp) = builder.times().ok_or(RecordsError::Empty)?;
    out.resize(payload_at + builder.payload_bytes_max(), 0);
    let payload_len = match builder.finish_into(&mut out[payload_at..]) {
        Ok(bytes) => bytes,
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    };
    out.truncate(payload_at + payload_len);
    let too_large = RecordsError::TooLarge { bytes: payload_len };
    let header = BatchHeader {
        log,
        encoding: Encoding::Rkyv,
        attributes: Attributes::default(),
        base_offset: Default::default(),
        record_count: u32::try_from(builder.len()).map_err(|_| too_large)?,
        leader_epoch: Default::default(),
        durable_end: Default::default(),
        first_timestamp,
        max_timestamp,
        append_time: Default::default(),
        producer,
        payload_len: u32::try_from(payload_len).map_err(|_| too_large)?,
        payload_crc: crc32c(&out[payload_at..]),
        contents: Contents::AsAppended,
        delete_horizon: None,
    };
    out[start..payload_at].copy_from_slice(&header.encode());
    let frame_len = (out.len() - start).next_multiple_of(FRAME_ALIGN);
    out.resize(start + frame_len, 0);
    Ok(frame_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
    use crate::batch::records::aligned_copy;

    fn log() -> LogId {
        LogId {
            topic: TopicId::new([7; 16]),
            partition: PartitionId::new(3),
        }
    }

    fn two_batches() -> Vec<u8> {
        let mut builder = RecordsBuilder::new();
        let mut out = Vec::new();
        let producer = ProducerInfo {
            id: ProducerId::new(4),
            epoch: ProducerEpoch::new(1),
            base_sequence: 10,
        };
        for (value, time) in [("one", 5), ("two", 3)] {
            builder
                .push(None, Some(value.as_bytes()), Timestamp::new(time), [])
                .unwrap();
            append_batch(&mut out, log(), Some(producer), &mut builder).unwrap();
        }
        out
    }

    #[test]
    fn batches_read_back_in_place() {
        let bytes = aligned_copy(&two_batches());
        let batches: Vec<Batch<'_>> = Batches::new(&bytes).map(Result::unwrap).collect();
        let counts: Vec<u32> = batches.iter().map(|batch| batch.header.record_count).collect();
        assert_eq!(counts, [1, 2]);
        for batch in &batches {
            assert_eq!(batch.verify(), Ok(()));
            let view = batch.records().unwrap();
            assert_eq!(view.get(0).unwrap().value, Some(&b"one"[..]));
            assert_eq!(batch.header.first_timestamp, Timestamp::new(5));
            assert_eq!(batch.header.max_timestamp, view.max_timestamp());
        }
    }

    #[test]
    fn a_batch_cut_short_ends_the_run() {
        let bytes = two_batches();
        let mut batches = Batches::new(&bytes[..bytes.len() - 16]);
        assert!(batches.next().unwrap().is_ok());
        assert!(matches!(batches.next(), Some(Err(BatchError::Truncated { .. }))));
        assert!(batches.next().is_none());
    }

    #[test]
    fn an_empty_builder_leaves_no_trace() {
        let mut out = vec![1, 2, 3];
        let error = append_batch(&mut out, log(), None, &mut RecordsBuilder::new());
        assert_eq!((error, out.len()), (Err(RecordsError::Empty), 3));
    }
}

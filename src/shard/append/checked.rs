//! A batch as its door left it: checked, not yet placed, in either encoding.
//!
//! The doors checked everything an outsider may get wrong, so reading the bytes again cannot fail and costs one look at a
//! header. What the append path asks of a batch is the same for both encodings; what it does with the bytes is the log's
//! business. The shard's thread; borrows the client's frame.

use crate::base::Timestamp;
use crate::batch::{BatchHeader, Encoding, HEADER_BYTES, KafkaBatch, ProducerInfo};
use crate::runtime::buffer::Arena;
use crate::storage::log::{AppendError, Appended, Log};

/// See the module.
#[derive(Debug)]
pub(super) enum CheckedBatch<'a> {
    /// A client's record batch.
    Kafka(KafkaBatch<'a>),
    /// A native batch: the header as the client made it, and the payload.
    Native(BatchHeader, &'a [u8]),
}

impl<'a> CheckedBatch<'a> {
    /// Reads the bytes a door checked.
    pub(super) fn of(bytes: &'a [u8], encoding: Encoding) -> Self {
        match encoding {
            Encoding::Kafka => Self::Kafka(KafkaBatch::parse(bytes).expect("the door parsed this batch")),
            Encoding::Rkyv => {
                let header = BatchHeader::decode(bytes).expect("the door decoded this header");
                Self::Native(header, &bytes[HEADER_BYTES..])
            }
        }
    }

    pub(super) fn record_count(&self) -> u32 {
        match self {
            Self::Kafka(batch) => u32::try_from(batch.record_count()).expect("the door checked the count"),
            Self::Native(header, _) => header.record_count,
        }
    }

    pub(super) fn producer(&self) -> Option<ProducerInfo> {
        match self {
            Self::Kafka(batch) => batch.producer(),
            Self::Native(header, _) => header.producer,
        }
    }

    pub(super) fn max_timestamp(&self) -> Timestamp {
        match self {
            Self::Kafka(batch) => batch.max_timestamp(),
            Self::Native(header, _) => header.max_timestamp,
        }
    }

    /// Bytes the client sent for it.
    pub(super) fn total_bytes(&self) -> u64 {
        match self {
            Self::Kafka(batch) => u64::from(batch.total_bytes()),
            Self::Native(header, _) => HEADER_BYTES as u64 + u64::from(header.payload_len),
        }
    }

    pub(super) fn append(
        &self,
        log: &mut Log,
        now: Timestamp,
        arena: &Arena,
        producers: impl FnOnce() -> Vec<u8>,
    ) -> Result<Appended, AppendError> {
        match self {
            Self::Kafka(batch) => log.append(batch, now, arena, producers),
            Self::Native(header, payload) => log.append_native(header, payload, now, arena, producers),
        }
    }
}

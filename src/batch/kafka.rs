//! A view of Kafka's `RecordBatch` v2, the bytes a Kafka producer sends and a log keeps as they came.
//!
//! ```text
//! at   bytes field                   (big-endian, signed but for crc)
//!   0   8    base offset             patched by the broker, outside the checksum
//!   8   4    batch length            bytes after this field
//!  12   4    partition leader epoch  patched by the broker, outside the checksum
//!  16   1    magic                   2
//!  17   4    crc                     CRC32C of byte 21 to the end
//!  21   2    attributes              see `batch::attributes`
//!  23   4    last offset delta       record count - 1
//!  27   8    base timestamp          ms
//!  35   8    max timestamp           ms
//!  43   8    producer id             -1 none
//!  51   2    producer epoch
//!  53   4    base sequence
//!  57   4    record count
//!  61        records, compressed as one piece if the attributes say so
//! ```
//!
//! The broker reads the 61 header bytes and sums the rest; it does not open the records. The checks come in
//! three steps because Kafka answers a damaged batch (the client retries) differently from a wrong one (it does
//! not), and decides in this order: [`KafkaBatch::parse`] (framing), the caller's own size limit and
//! base offset rule, [`KafkaBatch::verify_crc`], [`KafkaBatch::check_produced`] (meaning). Each error variant
//! stands for one row of that table; mapping it to a code is the protocol's business.
//!
//! Counts are believed only within reason ([`COMPRESSED_RECORDS_MAX`], [`RECORD_BYTES_MIN`]): offsets are handed
//! out by the count, so a lie there would burn the offset space.

mod builder;
mod cleaned;
mod recompress;
mod record;

use std::borrow::Cow;

use thiserror::Error;

pub use builder::{BuildError, KafkaBatchBuilder};
pub use cleaned::{NO_TIMESTAMP, RewriteError, Span, gap, rewrite};
pub use recompress::recompressed;
pub use record::{Record, RecordError, RecordHeaders, Records};
#[cfg(feature = "server")]
pub(crate) use record::{put_varint, varint_bytes};

use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, crc32c, crc32c_combine};
use crate::batch::attributes::{Attributes, Compression, TimestampType};
use crate::batch::compression::{self, DecompressError};
use crate::batch::header::ProducerInfo;

/// Bytes in front of the records.
pub const KAFKA_HEADER_BYTES: usize = 61;

/// The only magic accepted: the format of Kafka 0.11 and later.
pub const MAGIC_V2: i8 = 2;

/// The checksum covers everything from here on.
pub const SUMMED_FROM: usize = 21;

/// The smallest record an uncompressed batch can hold: length, attributes, two deltas, null key, null value
/// and a header count of one byte each.
pub const RECORD_BYTES_MIN: usize = 7;

/// The most records a compressed batch may claim, whose size says little about its count. librdkafka allows
/// its users a million in a batch (`batch.num.messages`); no client is known to allow more.
pub const COMPRESSED_RECORDS_MAX: u32 = 1 << 20;

/// Why bytes are not a batch a producer may append.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum KafkaBatchError {
    /// The bytes end before the batch does (or there are none).
    #[error("the batch needs {needed} bytes, found {found}")]
    Truncated {
        /// Bytes the batch needs, as far as that can be told.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// The length field is below that of any message format.
    #[error("batch length {found} is below any message format's")]
    Length {
        /// The length field.
        found: i32,
    },
    /// Bytes follow the first batch.
    #[error("{extra} bytes follow the batch")]
    MoreThanOneBatch {
        /// How many.
        extra: usize,
    },
    /// Not format 2. 0 and 1 are retired formats; other values are nonsense.
    #[error("magic {found} is not 2")]
    Magic {
        /// The magic byte.
        found: i8,
    },
    /// The batch is complete but smaller than a header.
    #[error("a batch of {found} bytes is smaller than its header")]
    TooShort {
        /// Bytes of the batch.
        found: usize,
    },
    /// The bytes are damaged.
    #[error("batch checksum is {expected:08x}, its bytes sum to {found:08x}")]
    Checksum {
        /// Sum recorded.
        expected: u32,
        /// Sum of the bytes.
        found: u32,
    },
    /// A batch without records.
    #[error("record count {found} is not positive")]
    RecordCount {
        /// The count field.
        found: i32,
    },
    /// Last offset delta and record count disagree.
    #[error("last offset delta {last_offset_delta} does not fit {record_count} records")]
    LastOffsetDelta {
        /// The delta field.
        last_offset_delta: i32,
        /// The count field.
        record_count: i32,
    },
    /// More records than the bytes can hold, or than a compressed batch may claim.
    #[error("{record_count} records cannot be in {records_bytes} bytes")]
    RecordCountImplausible {
        /// The count field.
        record_count: i32,
        /// Bytes of the records section.
        records_bytes: usize,
    },
    /// Only a broker writes control batches.
    #[error("a client may not write a control batch")]
    Control,
    /// An idempotent producer must number its records.
    #[error("producer {producer_id} sent base sequence {base_sequence}")]
    Sequence {
        /// The producer id.
        producer_id: i64,
        /// The negative sequence.
        base_sequence: i32,
    },
    /// Compression ids 5 to 7 are not defined.
    #[error("compression id {id} is not known")]
    UnknownCompression {
        /// The id.
        id: u8,
    },
}

/// Why the records of a batch could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The codec is not defined.
    #[error(transparent)]
    Batch(#[from] KafkaBatchError),
    /// The codec refused the bytes, or they grew past the bound.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
}

/// Exactly one framed batch, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct KafkaBatch<'a> {
    bytes: &'a [u8],
    header: &'a [u8; KAFKA_HEADER_BYTES],
}

impl<'a> KafkaBatch<'a> {
    /// Frames `bytes` as exactly one v2 batch. Neither sums it nor judges what its header says.
    ///
    /// # Errors
    /// `Truncated`, `Length`, `MoreThanOneBatch`, `Magic` or `TooShort`, in that order.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, KafkaBatchError> {
        let found = bytes.len();
        let Some(prefix) = bytes.first_chunk::<SUMMED_FROM>() else {
            return Err(KafkaBatchError::Truncated {
                needed: KAFKA_HEADER_BYTES,
                found,
            });
        };
        let prefix = Prefix::read(prefix);
        let length = usize::try_from(prefix.batch_length).unwrap_or(0);
        if length < MESSAGE_BYTES_MIN {
            return Err(KafkaBatchError::Length {
                found: prefix.batch_length,
            });
        }
        let needed = length + LENGTH_END;
        if needed > found {
            return Err(KafkaBatchError::Truncated { needed, found });
        }
        if prefix.magic != MAGIC_V2 {
            return Err(KafkaBatchError::Magic { found: prefix.magic });
        }
        if needed < found {
            return Err(KafkaBatchError::MoreThanOneBatch {
                extra: found - needed,
            });
        }
        let header = bytes.first_chunk().ok_or(KafkaBatchError::TooShort { found })?;
        Ok(Self { bytes, header })
    }

    /// Sums the batch: the one pass over a produced byte.
    ///
    /// # Errors
    /// `Checksum`.
    pub fn verify_crc(&self) -> Result<(), KafkaBatchError> {
        let (expected, found) = (self.crc(), crc32c(&self.bytes[SUMMED_FROM..]));
        if expected == found {
            Ok(())
        } else {
            Err(KafkaBatchError::Checksum { expected, found })
        }
    }

    /// Judges what a client's batch says about itself. Call it after [`Self::verify_crc`], or damage will be
    /// taken for a mistake of the client's. The base offset is not judged: stored batches have one.
    ///
    /// # Errors
    /// `RecordCount`, `LastOffsetDelta`, `Control`, `Sequence`, `UnknownCompression` or
    /// `RecordCountImplausible`, in that order.
    pub fn check_produced(&self) -> Result<(), KafkaBatchError> {
        let record_count = self.record_count();
        if record_count <= 0 {
            return Err(KafkaBatchError::RecordCount { found: record_count });
        }
        let last_offset_delta = self.last_offset_delta();
        if last_offset_delta != record_count - 1 {
            return Err(KafkaBatchError::LastOffsetDelta {
                last_offset_delta,
                record_count,
            });
        }
        if self.attributes().is_control() {
            return Err(KafkaBatchError::Control);
        }
        let (producer_id, base_sequence) = (self.producer_id(), self.base_sequence());
        if producer_id >= 0 && base_sequence < 0 {
            return Err(KafkaBatchError::Sequence {
                producer_id,
                base_sequence,
            });
        }
        self.check_count_is_plausible()
    }

    fn check_count_is_plausible(&self) -> Result<(), KafkaBatchError> {
        let codec = self
            .attributes()
            .compression()
            .map_err(|id| KafkaBatchError::UnknownCompression { id })?;
        let records_bytes = self.records_section().len();
        let most = match codec {
            Compression::None => records_bytes / RECORD_BYTES_MIN,
            _ => COMPRESSED_RECORDS_MAX as usize,
        };
        let record_count = self.record_count();
        if usize::try_from(record_count).is_ok_and(|count| count <= most) {
            return Ok(());
        }
        Err(KafkaBatchError::RecordCountImplausible {
            record_count,
            records_bytes,
        })
    }

    /// All bytes of the batch.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the batch, header included.
    #[must_use]
    pub fn total_bytes(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("parse framed it by a positive i32 plus 12")
    }

    /// The records, still compressed if the attributes say so.
    #[must_use]
    pub fn records_section(&self) -> &'a [u8] {
        &self.bytes[KAFKA_HEADER_BYTES..]
    }

    /// The records section, uncompressed: borrowed if it was never compressed, else at most `output_bytes_max`.
    /// Read it with [`Records::new`] and the record count.
    ///
    /// # Errors
    /// See [`compression::decompress`]; an undefined codec is `UnknownCompression`.
    pub fn uncompressed(&self, output_bytes_max: usize) -> Result<Cow<'a, [u8]>, OpenError> {
        let codec = self
            .attributes()
            .compression()
            .map_err(|id| KafkaBatchError::UnknownCompression { id })?;
        Ok(compression::decompress(
            codec,
            self.records_section(),
            output_bytes_max,
        )?)
    }

    /// Offset of the first record: 0 from a producer, the log's once patched.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field::<0, 8>())
    }

    /// Epoch of the leader that appended it; whatever the client liked before it was patched.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.field::<12, 4>())
    }

    /// The checksum recorded in the batch.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.field::<17, 4>())
    }

    /// Compression, timestamp type, transactional, control.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        Attributes::from_bits(u16::from_be_bytes(self.field::<21, 2>()))
    }

    /// Offset of the last record (inclusive) minus the base offset.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field::<23, 4>())
    }

    /// Timestamp the records' deltas count from.
    #[must_use]
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp::new(i64::from_be_bytes(self.field::<27, 8>()))
    }

    /// Largest timestamp, as the client says.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp::new(i64::from_be_bytes(self.field::<35, 8>()))
    }

    /// The producer id as sent; negative means none.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.field::<43, 8>())
    }

    /// The producer epoch as sent.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.field::<51, 2>())
    }

    /// Sequence of the first record as sent; negative means none.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.field::<53, 4>())
    }

    /// The idempotent producer, if the batch names one.
    #[must_use]
    pub fn producer(&self) -> Option<ProducerInfo> {
        (self.producer_id() >= 0).then(|| ProducerInfo {
            id: ProducerId::new(self.producer_id()),
            epoch: ProducerEpoch::new(self.producer_epoch()),
            base_sequence: self.base_sequence(),
        })
    }

    /// Number of records, as the client says.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.field::<57, 4>())
    }

    fn field<const AT: usize, const BYTES: usize>(&self) -> [u8; BYTES] {
        const { assert!(AT + BYTES <= KAFKA_HEADER_BYTES) }
        *self.header[AT..]
            .first_chunk()
            .expect("asserted to lie inside the header")
    }
}

/// Writes the assigned base offset and the leader's epoch into a batch, in place. Both lie outside the
/// checksum, so the batch stays valid and nothing is summed again.
///
/// # Panics
/// If `bytes` is shorter than the two fields: the caller patches what [`KafkaBatch::parse`] accepted.
pub fn patch(bytes: &mut [u8], base_offset: Offset, epoch: LeaderEpoch) {
    assert!(
        bytes.len() >= KAFKA_HEADER_BYTES,
        "patching {} bytes that are no batch",
        bytes.len()
    );
    bytes[..8].copy_from_slice(&base_offset.get().to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.get().to_be_bytes());
}

/// Gives every record of a batch the broker's time, in place: sets the timestamp type and the max timestamp, for
/// topics with `message.timestamp.type=LogAppendTime`. `header` is the batch's, `records_bytes` the length of what follows
/// it. Returns the new checksum.
///
/// Both fields lie inside the checksum. Its sum is linear, so the new one follows from the old one and the changed 22
/// bytes; the records are not read again and their damage, if any, stays visible.
pub fn stamp_append_time(
    header: &mut [u8; KAFKA_HEADER_BYTES],
    records_bytes: usize,
    time: Timestamp,
) -> u32 {
    let unchanged = KAFKA_HEADER_BYTES - MAX_TIMESTAMP_END + records_bytes;
    let unchanged = u64::try_from(unchanged).expect("a batch is shorter than 2^32 bytes");
    let sum = u32::from_be_bytes([header[17], header[18], header[19], header[20]]);
    // Appending the same tail to two heads differs by their sums alone: take the old head out, put the new in.
    let tail_sum = crc32c_combine(crc32c(&header[SUMMED_FROM..MAX_TIMESTAMP_END]), sum, unchanged);
    let attributes = Attributes::from_bits(u16::from_be_bytes([header[21], header[22]]));
    let attributes = attributes.with_timestamp_type(TimestampType::LogAppendTime);
    header[21..23].copy_from_slice(&attributes.bits().to_be_bytes());
    header[35..MAX_TIMESTAMP_END].copy_from_slice(&time.get().to_be_bytes());
    let sum = crc32c_combine(
        crc32c(&header[SUMMED_FROM..MAX_TIMESTAMP_END]),
        tail_sum,
        unchanged,
    );
    header[17..SUMMED_FROM].copy_from_slice(&sum.to_be_bytes());
    sum
}

/// The 21 bytes that Kafka's checksum does not cover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::batch) struct Prefix {
    pub(in crate::batch) base_offset: i64,
    pub(in crate::batch) batch_length: i32,
    pub(in crate::batch) leader_epoch: i32,
    pub(in crate::batch) magic: i8,
    pub(in crate::batch) crc: u32,
}

impl Prefix {
    pub(in crate::batch) fn read(bytes: &[u8; SUMMED_FROM]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, magic, q, r, s, t] = *bytes;
        Self {
            base_offset: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            batch_length: i32::from_be_bytes([i, j, k, l]),
            leader_epoch: i32::from_be_bytes([m, n, o, p]),
            magic: i8::from_be_bytes([magic]),
            crc: u32::from_be_bytes([q, r, s, t]),
        }
    }
}

/// Where the fields end that a broker's time changes.
const MAX_TIMESTAMP_END: usize = 43;

/// Where the bytes that the length field counts begin.
const LENGTH_END: usize = 12;

/// Kafka's oldest message format has 14 bytes of overhead; a smaller length field is nonsense in any format.
const MESSAGE_BYTES_MIN: usize = 14;

#[cfg(test)]
mod tests;

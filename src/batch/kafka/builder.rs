//! Builds Kafka batches: for our own producer, for tests, and for Kafka readers of native batches.
//!
//! Records are encoded as they are pushed, in the layout of [`super::record`], so a batch costs one growing
//! buffer plus, when compressed, the packed copy. The result has base offset 0 and epoch -1 as a producer sends
//! it; a broker patches both.

use thiserror::Error;

use crate::base::Timestamp;
use crate::base::crc32c;
use crate::batch::attributes::{Attributes, Compression, TimestampType};
use crate::batch::compression;
use crate::batch::header::ProducerInfo;
use crate::batch::kafka::record::{put_varint, varint_bytes};
use crate::batch::kafka::{self, KAFKA_HEADER_BYTES, SUMMED_FROM};
use crate::batch::record::RecordHeader;

/// Why a batch cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BuildError {
    /// A batch holds at least one record.
    #[error("a batch holds at least one record")]
    Empty,
    /// The length field is an i32.
    #[error("{bytes} bytes do not fit a batch")]
    TooLarge {
        /// Bytes of the records, before or after compression.
        bytes: usize,
    },
}

/// A batch being filled.
#[derive(Clone, Debug, Default)]
pub struct KafkaBatchBuilder {
    section: Vec<u8>,
    count: usize,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Option<Timestamp>,
    /// The max timestamp that was given.
    given_max: Option<Timestamp>,
    attributes: Attributes,
}

impl KafkaBatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the attribute bits other than compression, which [`Self::build`] sets.
    #[must_use]
    pub const fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Sets the base timestamp, and a max timestamp below which the batch's will not be, instead of taking both
    /// from the records alone. Where the attributes say that the broker stamped the batch, the max timestamp is that stamp and
    /// stands whatever the records say.
    #[must_use]
    pub const fn with_timestamps(mut self, base: Timestamp, max: Timestamp) -> Self {
        self.base_timestamp = Some(base);
        self.max_timestamp = Some(max);
        self.given_max = Some(max);
        self
    }

    /// Adds a record with the next offset delta.
    pub fn push<'h>(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: impl IntoIterator<Item = RecordHeader<'h>, IntoIter: Clone>,
    ) {
        let base = *self.base_timestamp.get_or_insert(timestamp);
        self.max_timestamp = Some(self.max_timestamp.map_or(timestamp, |max| max.max(timestamp)));
        let timestamp_delta = timestamp.get().wrapping_sub(base.get());
        let offset_delta = wide(self.count);
        let headers = headers.into_iter();
        let header_count = wide(headers.clone().count());
        let body_bytes = 1
            + varint_bytes(timestamp_delta)
            + varint_bytes(offset_delta)
            + nullable_bytes(key)
            + nullable_bytes(value)
            + varint_bytes(header_count)
            + headers
                .clone()
                .map(|one| nullable_bytes(Some(one.key)) + nullable_bytes(one.value))
                .sum::<usize>();
        put_varint(&mut self.section, wide(body_bytes));
        self.section.push(0);
        put_varint(&mut self.section, timestamp_delta);
        put_varint(&mut self.section, offset_delta);
        put_nullable(&mut self.section, key);
        put_nullable(&mut self.section, value);
        put_varint(&mut self.section, header_count);
        for header in headers {
            put_nullable(&mut self.section, Some(header.key));
            put_nullable(&mut self.section, header.value);
        }
        self.count += 1;
    }

    /// Records pushed so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes the batch would have uncompressed.
    #[must_use]
    pub const fn uncompressed_bytes(&self) -> usize {
        KAFKA_HEADER_BYTES + self.section.len()
    }

    /// Closes the batch: compresses, writes the header, sums.
    ///
    /// # Errors
    /// `Empty` or `TooLarge`; the builder is spent either way.
    pub fn build(self, codec: Compression, producer: Option<ProducerInfo>) -> Result<Vec<u8>, BuildError> {
        let (Some(base_timestamp), Some(max_timestamp)) = (self.base_timestamp, self.max_timestamp) else {
            return Err(BuildError::Empty);
        };
        let max_timestamp = match (self.attributes.timestamp_type(), self.given_max) {
            (TimestampType::LogAppendTime, Some(stamp)) => stamp,
            _ => max_timestamp,
        };
        let too_large = BuildError::TooLarge {
            bytes: self.section.len(),
        };
        let uncompressed_bytes = i32::try_from(self.uncompressed_bytes()).map_err(|_| too_large)?;
        // A record takes at least seven bytes, so a section that fits an i32 has a count that does.
        let count = i32::try_from(self.count).map_err(|_| too_large)?;
        if count == 0 {
            return Err(BuildError::Empty);
        }
        let attributes = self.attributes.with_compression(codec);
        let mut batch = Vec::with_capacity(uncompressed_bytes.cast_unsigned() as usize);
        batch.extend_from_slice(&[0; SUMMED_FROM]);
        batch.extend_from_slice(&attributes.bits().to_be_bytes());
        batch.extend_from_slice(&(count - 1).to_be_bytes());
        batch.extend_from_slice(&base_timestamp.get().to_be_bytes());
        batch.extend_from_slice(&max_timestamp.get().to_be_bytes());
        batch.extend_from_slice(&producer.map_or(-1, |one| one.id.get()).to_be_bytes());
        batch.extend_from_slice(&producer.map_or(-1, |one| one.epoch.get()).to_be_bytes());
        batch.extend_from_slice(&producer.map_or(-1, |one| one.base_sequence).to_be_bytes());
        batch.extend_from_slice(&count.to_be_bytes());
        match codec {
            Compression::None => batch.extend_from_slice(&self.section),
            _ => batch.extend_from_slice(&compression::compress(codec, &self.section)),
        }
        seal(&mut batch)?;
        Ok(batch)
    }
}

/// Fills the 21 bytes in front of the checksummed part, but for the base offset.
pub(super) fn seal(batch: &mut [u8]) -> Result<(), BuildError> {
    let too_large = BuildError::TooLarge { bytes: batch.len() };
    let length = i32::try_from(batch.len() - kafka::LENGTH_END).map_err(|_| too_large)?;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    batch[16..17].copy_from_slice(&kafka::MAGIC_V2.to_be_bytes());
    let sum = crc32c(&batch[SUMMED_FROM..]);
    batch[17..SUMMED_FROM].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

fn put_nullable(into: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(into, bytes.map_or(-1, |bytes| wide(bytes.len())));
    into.extend_from_slice(bytes.unwrap_or_default());
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_bytes(wide(bytes.len())) + bytes.len())
}

fn wide(count: usize) -> i64 {
    i64::try_from(count).expect("no slice is longer than isize::MAX")
}

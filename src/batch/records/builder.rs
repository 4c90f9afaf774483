//! Builds a native payload: tables and blob grow as records are pushed, and one pass archives them.
//!
//! A table that would say the same of every record is never started; the first record that needs one fills it
//! for those before it. [`RecordsBuilder::finish_into`] writes straight into the caller's buffer, so a client
//! that owns a DMA or socket buffer copies the blob once.

use rkyv::api::high;
use rkyv::rancor::Failure;
use rkyv::ser::writer::Buffer;
use rkyv::util::AlignedVec;
use thiserror::Error;

use crate::base::{Timestamp, crc32c};
use crate::batch::attributes::Attributes;
use crate::batch::header::{BatchHeader, Contents, Encoding, FRAME_ALIGN, Placement, ProducerInfo};
use crate::batch::record::RecordHeader;
use crate::batch::records::{NULL, NULL_BITS, ROOT_ALIGN, ROOT_BYTES, WireRecords};

/// Why a payload cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RecordsError {
    /// A batch holds at least one record.
    #[error("a batch holds at least one record")]
    Empty,
    /// Distances inside an archive are i32.
    #[error("{bytes} bytes do not fit a native batch")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
    },
    /// The caller's buffer is smaller than the payload; [`RecordsBuilder::payload_bytes_max`] is always enough.
    #[error("the payload needs {needed} bytes, the buffer has {found}")]
    BufferTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
}

/// A native batch being filled. May be reused after [`Self::clear`].
#[derive(Clone, Debug, Default)]
pub struct RecordsBuilder {
    blob: Vec<u8>,
    ends: Vec<u32>,
    timestamps: Vec<i64>,
    key_lens: Vec<u32>,
    header_lens: Vec<u32>,
    null_values: Vec<u32>,
}

impl RecordsBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// `TooLarge` if the batch could not hold it; the batch stays as it was.
    pub fn push<'h>(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: impl IntoIterator<Item = RecordHeader<'h>>,
    ) -> Result<(), RecordsError> {
        let (index, start) = (self.ends.len(), self.blob.len());
        self.blob.extend_from_slice(key.unwrap_or_default());
        self.blob.extend_from_slice(value.unwrap_or_default());
        let headers_start = self.blob.len();
        for header in headers {
            put_header(&mut self.blob, header);
        }
        let Some(end) = u32::try_from(self.blob.len())
            .ok()
            .filter(|end| *end <= BLOB_BYTES_MAX)
        else {
            let bytes = self.blob.len();
            self.blob.truncate(start);
            return Err(RecordsError::TooLarge { bytes });
        };
        // All lengths below are parts of a blob that fits u32.
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(NULL);
        put_sparse(
            &mut self.key_lens,
            index,
            key.map_or(NULL, |key| length(key.len())),
            NULL,
        );
        put_sparse(
            &mut self.header_lens,
            index,
            length(self.blob.len() - headers_start),
            0,
        );
        if value.is_none() {
            self.null_values.resize(index / NULL_BITS + 1, 0);
            self.null_values[index / NULL_BITS] |= 1 << (index % NULL_BITS);
        }
        self.timestamps.push(timestamp.get());
        self.ends.push(end);
        Ok(())
    }

    /// Records pushed so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Timestamp of the first record, and the largest of all; `None` while there is no record.
    #[must_use]
    pub fn times(&self) -> Option<(Timestamp, Timestamp)> {
        let first = self.timestamps.first()?;
        let max = self.timestamps.iter().max()?;
        Some((Timestamp::new(*first), Timestamp::new(*max)))
    }

    /// An upper bound of [`Self::finish`]'s bytes for what was pushed so far, about 8 bytes a record too high at worst.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        let words = 3 * self.ends.len()
            + self.key_lens.len()
            + self.header_lens.len()
            + self.ends.len().div_ceil(NULL_BITS);
        words * size_of::<u32>() + self.blob.len() + ROOT_ALIGN + ROOT_BYTES
    }

    /// Forgets all records and keeps the memory.
    pub fn clear(&mut self) {
        self.blob.clear();
        self.ends.clear();
        self.timestamps.clear();
        self.key_lens.clear();
        self.header_lens.clear();
        self.null_values.clear();
    }

    /// Archives the batch into an aligned buffer of its own.
    ///
    /// # Errors
    /// `Empty` or `TooLarge`.
    pub fn finish(&mut self) -> Result<AlignedVec<FRAME_ALIGN>, RecordsError> {
        let mut payload = AlignedVec::with_capacity(self.payload_bytes_max());
        payload.resize(self.payload_bytes_max(), 0);
        let bytes = self.finish_into(&mut payload)?;
        payload.resize(bytes, 0);
        Ok(payload)
    }

    /// Archives the batch at the start of `buffer` and returns the payload's length. The buffer needs no
    /// alignment to be written, but a reader will want it 16-aligned.
    ///
    /// # Errors
    /// `Empty`, `TooLarge` or `BufferTooSmall`; the buffer is then untouched.
    pub fn finish_into(&mut self, buffer: &mut [u8]) -> Result<usize, RecordsError> {
        let Some(&base_timestamp) = self.timestamps.iter().min() else {
            return Err(RecordsError::Empty);
        };
        let (times_low, times_high) = split_times(&self.timestamps, base_timestamp);
        if !self.null_values.is_empty() {
            self.null_values.resize(self.ends.len().div_ceil(NULL_BITS), 0);
        }
        let wire = WireRecords {
            base_timestamp,
            ends: &self.ends,
            times_low: &times_low,
            times_high: &times_high,
            key_lens: &self.key_lens,
            header_lens: &self.header_lens,
            null_values: &self.null_values,
            blob: &self.blob,
        };
        let (needed, found) = (wire.archived_bytes(), buffer.len());
        if i32::try_from(needed).is_err() {
            return Err(RecordsError::TooLarge { bytes: needed });
        }
        let room = buffer
            .get_mut(..needed)
            .ok_or(RecordsError::BufferTooSmall { needed, found })?;
        let written = high::to_bytes_in::<_, Failure>(&wire, Buffer::from(room))
            .expect("the room is exactly what the archive takes");
        assert_eq!(
            written.len(),
            needed,
            "the archived size must follow from the tables"
        );
        Ok(needed)
    }
}

impl WireRecords<'_> {
    const fn archived_bytes(&self) -> usize {
        let words = self.ends.len()
            + self.times_low.len()
            + self.times_high.len()
            + self.key_lens.len()
            + self.header_lens.len()
            + self.null_values.len();
        (words * size_of::<u32>() + self.blob.len()).next_multiple_of(ROOT_ALIGN) + ROOT_BYTES
    }
}

impl BatchHeader {
    /// The header for a native payload stored at `placement`; its checksum is taken here, over all of it.
    ///
    /// `view` must be of `payload`.
    #[must_use]
    pub fn for_records(
        view: &super::RecordsView<'_>,
        payload: &[u8],
        attributes: Attributes,
        producer: Option<ProducerInfo>,
        placement: &Placement,
    ) -> Self {
        Self {
            log: placement.log,
            encoding: Encoding::Rkyv,
            attributes,
            base_offset: placement.base_offset,
            record_count: u32::try_from(view.len()).expect("the archive counts its records in a u32"),
            leader_epoch: placement.leader_epoch,
            durable_end: placement.durable_end,
            first_timestamp: view
                .get(0)
                .map_or_else(|| view.base_timestamp(), |first| first.timestamp),
            max_timestamp: view.max_timestamp(),
            append_time: placement.append_time,
            producer,
            payload_len: u32::try_from(payload.len()).expect("distances inside the archive are i32"),
            payload_crc: crc32c(payload),
            contents: Contents::AsAppended,
            delete_horizon: None,
        }
    }
}

/// Sets element `index` of a table that is absent while every element is `usual`.
fn put_sparse(table: &mut Vec<u32>, index: usize, value: u32, usual: u32) {
    if value == usual && table.is_empty() {
        return;
    }
    table.resize(index, usual);
    table.push(value);
}

/// Timestamps as unsigned distances from the earliest, halved so that the upper half can be left out.
fn split_times(timestamps: &[i64], base: i64) -> (Vec<u32>, Vec<u32>) {
    let latest = timestamps.iter().max().map_or(0, |latest| latest.abs_diff(base));
    let low = if latest == 0 {
        Vec::new()
    } else {
        halves(timestamps, base, 0)
    };
    let high = if latest >> 32 == 0 {
        Vec::new()
    } else {
        halves(timestamps, base, 32)
    };
    (low, high)
}

fn halves(timestamps: &[i64], base: i64, shift: u32) -> Vec<u32> {
    let half = |time: &i64| u32::try_from(time.abs_diff(base) >> shift & u64::from(u32::MAX));
    timestamps
        .iter()
        .map(|time| half(time).expect("masked to 32 bits"))
        .collect()
}

fn put_header(blob: &mut Vec<u8>, header: RecordHeader<'_>) {
    // A part longer than u32 makes the blob too large, and `push` then drops the record with its headers.
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(NULL);
    blob.extend_from_slice(&length(header.key).to_le_bytes());
    blob.extend_from_slice(&header.value.map_or(NULL, length).to_le_bytes());
    blob.extend_from_slice(header.key);
    blob.extend_from_slice(header.value.unwrap_or_default());
}

/// Distances inside an archive are i32; tables and root share them with the blob.
const BLOB_BYTES_MAX: u32 = i32::MAX.cast_unsigned();

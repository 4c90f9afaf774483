//! The native payload: an archived batch of records, built by a client once and read in place by everyone.
//!
//! ```text
//! payload = tables | blob | zeros to a multiple of 8 | root (64 bytes, the last of the payload)
//!
//! root, at the payload's end; little-endian            tables, n = number of records
//!  at bytes field
//!   0   8   base_timestamp  i64, ms; the earliest
//!   8   8   ends            -> u32[n]           end of record i in the blob
//!  16   8   times_low       -> u32[n] or u32[0]  low half of timestamp - base_timestamp
//!  24   8   times_high      -> u32[n] or u32[0]  high half
//!  32   8   key_lens        -> u32[n] or u32[0]  bytes of key; 0xffff_ffff null
//!  40   8   header_lens     -> u32[n] or u32[0]  bytes of headers
//!  48   8   null_values     -> u32[(n + 31) / 32] or u32[0], bit i of word i / 32: the value is null
//!  56   8   blob            -> u8[]
//!
//! `->` is { i32 distance in bytes from this field to the table, u32 number of elements }.
//! record i = blob[ends[i - 1] .. ends[i]] = key | value | headers      (ends[-1] is 0)
//! headers  = repeated { u32 key bytes, u32 value bytes or 0xffff_ffff null, key, value }
//! ```
//!
//! An absent table (no elements) says the same of every record: no time after the base, null key, no headers,
//! no null value. So a record costs 4 bytes of tables, 8 with a timestamp of its own, 12 with a key too, against
//! 48 for an archived `Vec` of records; checking the archive's structure does not depend on `n`.
//!
//! [`RecordsView::parse`] checks everything once, on arrival: rkyv checks that tables lie inside the payload, do
//! not overlap and are aligned; one pass over `ends` (and over tables that are present) checks that every slice
//! that will ever be taken lies inside the blob. After that reading record `i` is arithmetic and cannot fail.
//! Content is the frame's checksum's business, not this file's.
//!
//! Payloads start at addresses that are multiples of 16; `parse` demands it, because archived integers are read
//! in place. Frames and DMA buffers are aligned anyway; [`aligned_copy`] is for bytes that are not. Absent:
//! compression (native links are fast and CPU is what they save) and offsets (a record's is its index plus the
//! frame's base offset).

mod builder;

use rkyv::api::low;
use rkyv::boxed::ArchivedBox;
use rkyv::rancor::Failure;
use rkyv::rend::u32_le;
use rkyv::util::AlignedVec;
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};
use thiserror::Error;

pub use builder::{RecordsBuilder, RecordsError};

use crate::base::Timestamp;
use crate::batch::attributes::Compression;
use crate::batch::header::{BatchHeader, FRAME_ALIGN};
use crate::batch::kafka::{self, BuildError, KafkaBatchBuilder};
use crate::batch::record::RecordHeader;

/// Why bytes are not a native batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ViewError {
    /// The payload does not start at a multiple of [`FRAME_ALIGN`]: a bug of the caller's, not bad bytes.
    #[error("a native payload must be {FRAME_ALIGN}-aligned in memory")]
    Misaligned,
    /// A table does not lie inside the payload, or overlaps another.
    #[error("the archive's tables do not fit the payload")]
    Structure,
    /// A batch holds at least one record.
    #[error("a batch holds at least one record")]
    Empty,
    /// A table that is neither absent nor as long as there are records.
    #[error("a table has {found} elements for {record_count} records")]
    TableLength {
        /// Elements of the table.
        found: usize,
        /// Records in the batch.
        record_count: usize,
    },
    /// The ends do not ascend to the end of the blob.
    #[error("record {index} does not lie inside the blob, behind the one before it")]
    Ends {
        /// Index of the record; the record count if the blob is longer than the last end.
        index: usize,
    },
    /// Key, value and headers of a record do not add up to its bytes.
    #[error("the parts of record {index} do not add up to its bytes")]
    Parts {
        /// Index of the record.
        index: usize,
    },
}

/// A checked native batch, borrowed.
#[derive(Clone, Copy)]
pub struct RecordsView<'a> {
    wire: &'a ArchivedWireRecords<'a>,
}

impl std::fmt::Debug for RecordsView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordsView")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<'a> RecordsView<'a> {
    /// Checks a payload (without the frame's padding) completely.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub fn parse(payload: &'a [u8]) -> Result<Self, ViewError> {
        if !payload.as_ptr().addr().is_multiple_of(FRAME_ALIGN) {
            return Err(ViewError::Misaligned);
        }
        let wire =
            low::access::<ArchivedWireRecords<'_>, Failure>(payload).map_err(|_| ViewError::Structure)?;
        let view = Self { wire };
        view.check_tables()?;
        check_ends(&wire.ends, wire.blob.len())?;
        view.check_parts()?;
        Ok(view)
    }

    /// Number of records, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wire.ends.len()
    }

    /// Never: a batch holds at least one record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wire.ends.is_empty()
    }

    /// Record `index`, or `None` past the last. Neither copies nor checks.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<RecordRef<'a>> {
        let wire = self.wire;
        let end = at(&wire.ends, index)? as usize;
        let start = index
            .checked_sub(1)
            .map_or(0, |before| wire.ends[before].to_native() as usize);
        let bytes = &wire.blob[start..end];
        let key_len = at(&wire.key_lens, index).unwrap_or(NULL);
        let (key, rest) = match key_len {
            NULL => (None, bytes),
            _ => {
                let (key, rest) = bytes.split_at(key_len as usize);
                (Some(key), rest)
            }
        };
        let header_len = at(&wire.header_lens, index).unwrap_or(0) as usize;
        let (value, headers) = rest.split_at(rest.len() - header_len);
        Some(RecordRef {
            timestamp: self.timestamp(index),
            key,
            value: (!self.value_is_null(index)).then_some(value),
            headers: HeaderIter { rest: headers },
        })
    }

    /// All records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'a>> + use<'a> {
        let view = *self;
        (0..self.len()).map(move |index| view.get(index).expect("the index is below the length"))
    }

    /// The earliest timestamp of the batch.
    #[must_use]
    pub const fn base_timestamp(&self) -> Timestamp {
        Timestamp::new(self.wire.base_timestamp.to_native())
    }

    /// The latest timestamp of the batch; one pass over the times, if there are any.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        let times = (0..self.wire.times_low.len()).map(|index| self.timestamp(index));
        times.max().unwrap_or_else(|| self.base_timestamp())
    }

    fn timestamp(&self, index: usize) -> Timestamp {
        let low = u64::from(at(&self.wire.times_low, index).unwrap_or(0));
        let high = u64::from(at(&self.wire.times_high, index).unwrap_or(0));
        Timestamp::new(
            self.wire
                .base_timestamp
                .to_native()
                .wrapping_add_unsigned(high << 32 | low),
        )
    }

    fn value_is_null(&self, index: usize) -> bool {
        at(&self.wire.null_values, index / NULL_BITS).is_some_and(|word| word >> (index % NULL_BITS) & 1 == 1)
    }

    fn check_tables(&self) -> Result<(), ViewError> {
        let (wire, record_count) = (self.wire, self.len());
        if record_count == 0 {
            return Err(ViewError::Empty);
        }
        let expected = [
            (wire.times_low.len(), record_count),
            (wire.times_high.len(), record_count),
            (wire.key_lens.len(), record_count),
            (wire.header_lens.len(), record_count),
            (wire.null_values.len(), record_count.div_ceil(NULL_BITS)),
        ];
        match expected.iter().find(|(found, full)| *found != 0 && found != full) {
            Some(&(found, _)) => Err(ViewError::TableLength { found, record_count }),
            None => Ok(()),
        }
    }

    /// The second pass, only for batches with keys, headers or null values.
    fn check_parts(&self) -> Result<(), ViewError> {
        let wire = self.wire;
        if wire.key_lens.is_empty() && wire.header_lens.is_empty() && wire.null_values.is_empty() {
            return Ok(());
        }
        let mut start = 0;
        for (index, end) in wire.ends.iter().enumerate() {
            let end = end.to_native();
            if !self.parts_add_up(index, &wire.blob[start as usize..end as usize]) {
                return Err(ViewError::Parts { index });
            }
            start = end;
        }
        Ok(())
    }

    fn parts_add_up(&self, index: usize, bytes: &[u8]) -> bool {
        let key_bytes = match at(&self.wire.key_lens, index) {
            None | Some(NULL) => 0,
            Some(length) => length as usize,
        };
        let header_bytes = at(&self.wire.header_lens, index).unwrap_or(0) as usize;
        let Some(value_bytes) = bytes
            .len()
            .checked_sub(key_bytes)
            .and_then(|rest| rest.checked_sub(header_bytes))
        else {
            return false;
        };
        (value_bytes == 0 || !self.value_is_null(index))
            && headers_are_whole(&bytes[bytes.len() - header_bytes..])
    }
}

/// One record, borrowed from the payload.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// The record's own time.
    pub timestamp: Timestamp,
    /// The key; `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null, a tombstone in compacted topics.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: HeaderIter<'a>,
}

/// The headers of one record, already checked.
#[derive(Clone, Copy, Debug)]
pub struct HeaderIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = split_header(self.rest)?;
        self.rest = rest;
        Some(header)
    }
}

/// A copy of `payload` that [`RecordsView::parse`] accepts whatever the alignment of the original.
#[must_use]
pub fn aligned_copy(payload: &[u8]) -> AlignedVec<FRAME_ALIGN> {
    let mut copy = AlignedVec::with_capacity(payload.len());
    copy.extend_from_slice(payload);
    copy
}

/// The same batch for a reader that speaks Kafka: same offsets, epoch, timestamps, producer and attributes, not
/// compressed.
///
/// # Errors
/// `TooLarge` when the records, which Kafka encodes a little differently, no longer fit a batch.
pub fn to_kafka(header: &BatchHeader, view: &RecordsView<'_>) -> Result<Vec<u8>, BuildError> {
    let mut builder = KafkaBatchBuilder::new()
        .with_attributes(header.attributes)
        .with_timestamps(header.first_timestamp, header.max_timestamp);
    for record in view.iter() {
        builder.push(record.key, record.value, record.timestamp, record.headers);
    }
    let mut batch = builder.build(Compression::None, header.producer)?;
    kafka::patch(&mut batch, header.base_offset, header.leader_epoch);
    Ok(batch)
}

/// Ends must not descend and must close the blob; the one pass every batch pays for.
fn check_ends(ends: &[u32_le], blob_bytes: usize) -> Result<(), ViewError> {
    // No early exit in the common case: the whole table is one vectorisable comparison.
    let ascending = ends.is_sorted_by_key(|end| end.to_native());
    let last = ends.last().map_or(0, |end| end.to_native()) as usize;
    if ascending && last == blob_bytes {
        return Ok(());
    }
    let mut start = 0;
    let bad = ends.iter().position(|end| {
        let (before, end) = (start, end.to_native());
        start = end;
        end < before || end as usize > blob_bytes
    });
    Err(ViewError::Ends {
        index: bad.unwrap_or(ends.len()),
    })
}

fn headers_are_whole(mut rest: &[u8]) -> bool {
    while let Some((_, behind)) = split_header(rest) {
        rest = behind;
    }
    rest.is_empty()
}

fn split_header(bytes: &[u8]) -> Option<(RecordHeader<'_>, &[u8])> {
    let (key_len, rest) = bytes.split_first_chunk()?;
    let (value_len, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
    let (value, rest) = match u32::from_le_bytes(*value_len) {
        NULL => (None, rest),
        length => {
            let (value, rest) = rest.split_at_checked(length as usize)?;
            (Some(value), rest)
        }
    };
    Some((RecordHeader { key, value }, rest))
}

fn at(table: &[u32_le], index: usize) -> Option<u32> {
    table.get(index).map(|one| one.to_native())
}

/// The archive. Field order is the format: tables are written in it, and the root lists them in it.
#[derive(Archive, Serialize)]
struct WireRecords<'a> {
    base_timestamp: i64,
    #[rkyv(with = InlineAsBox)]
    ends: &'a [u32],
    #[rkyv(with = InlineAsBox)]
    times_low: &'a [u32],
    #[rkyv(with = InlineAsBox)]
    times_high: &'a [u32],
    #[rkyv(with = InlineAsBox)]
    key_lens: &'a [u32],
    #[rkyv(with = InlineAsBox)]
    header_lens: &'a [u32],
    #[rkyv(with = InlineAsBox)]
    null_values: &'a [u32],
    #[rkyv(with = InlineAsBox)]
    blob: &'a [u8],
}

/// Bytes of the root.
const ROOT_BYTES: usize = 64;

/// Alignment of the root.
const ROOT_ALIGN: usize = 8;

/// The length that stands for null.
const NULL: u32 = u32::MAX;

/// Records per word of the null table.
const NULL_BITS: usize = 32;

const _: () = {
    assert!(size_of::<ArchivedBox<[u32_le]>>() == 8);
    assert!(size_of::<ArchivedWireRecords<'_>>() == ROOT_BYTES);
    assert!(align_of::<ArchivedWireRecords<'_>>() == ROOT_ALIGN);
    assert!(FRAME_ALIGN.is_multiple_of(ROOT_ALIGN));
};

#[cfg(test)]
mod tests;

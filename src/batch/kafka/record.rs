//! The records inside a Kafka batch, once the records section is uncompressed.
//!
//! ```text
//! length           varint    bytes of the record after this field
//! attributes       i8        unused
//! timestamp delta  varlong   from the batch's base timestamp
//! offset delta     varint    from the batch's base offset
//! key length       varint    -1 null, then the key
//! value length     varint    -1 null, then the value
//! header count     varint    then per header: key length, key, value length (-1 null), value
//! ```
//!
//! Varints are zigzag LEB128. Every length is compared with the bytes left in its record, and the record with
//! those left in the section, before anything is sliced; nothing is copied and nothing is allocated. A record
//! is checked completely, its headers included, before it is yielded.

use thiserror::Error;

use crate::batch::record::RecordHeader;

/// Why a records section is not what its batch header promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RecordError {
    /// A field runs past the end of its record, or a record past the section.
    #[error("a field runs past the end of its record")]
    Truncated,
    /// A varint is longer than its type allows.
    #[error("a varint does not fit its type")]
    Varint,
    /// A length below -1, or -1 where null is not allowed.
    #[error("length {found} is negative")]
    NegativeLength {
        /// The length.
        found: i32,
    },
    /// A record has bytes behind its last field, or the section behind its last record.
    #[error("{extra} bytes follow the last field")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
}

/// One record, borrowed from the section.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Added to the batch's base offset.
    pub offset_delta: i32,
    /// Added to the batch's base timestamp, in milliseconds; wraps like the client's arithmetic.
    pub timestamp_delta: i64,
    /// The key; `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null, a tombstone in compacted topics.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: RecordHeaders<'a>,
    /// The attributes byte, which nobody uses.
    pub(in crate::batch) attributes: u8,
    /// Key, value and headers as they are encoded.
    pub(in crate::batch) body: &'a [u8],
}

/// The headers of one record, already checked.
#[derive(Clone, Copy, Debug)]
pub struct RecordHeaders<'a> {
    rest: Cursor<'a>,
    left: u32,
}

impl RecordHeaders<'_> {
    /// Headers not yet yielded.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.left as usize
    }

    /// Whether none is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.rest.header().ok()
    }
}

/// Reads `count` records from an uncompressed section. After an error it yields nothing more; bytes behind the
/// last record are an error in its place.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: Cursor<'a>,
    left: u32,
    ended: bool,
}

impl<'a> Records<'a> {
    /// Starts at the first record of `section`.
    #[must_use]
    pub const fn new(section: &'a [u8], count: u32) -> Self {
        Self {
            rest: Cursor(section),
            left: count,
            ended: false,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.left == 0 {
            self.ended = true;
            return self.rest.end().err().map(Err);
        }
        self.left -= 1;
        let record = self.rest.record();
        self.ended = record.is_err();
        Some(record)
    }
}

/// The bytes not yet read.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn record(&mut self) -> Result<Record<'a>, RecordError> {
        let length = self.varint()?;
        let mut record = Self(self.take(length)?);
        let attributes = record.take(1)?[0];
        let timestamp_delta = record.varlong()?;
        let offset_delta = record.varint()?;
        let body = record.0;
        let (key, value) = (record.nullable()?, record.nullable()?);
        let headers = record.headers()?;
        record.end()?;
        Ok(Record {
            offset_delta,
            timestamp_delta,
            key,
            value,
            headers,
            attributes,
            body,
        })
    }

    fn headers(&mut self) -> Result<RecordHeaders<'a>, RecordError> {
        let found = self.varint()?;
        let left = u32::try_from(found).map_err(|_| RecordError::NegativeLength { found })?;
        let headers = RecordHeaders { rest: *self, left };
        // A header takes two bytes, so a lying count runs into `Truncated` after at most that many turns.
        for _ in 0..left {
            self.header()?;
        }
        Ok(headers)
    }

    fn header(&mut self) -> Result<RecordHeader<'a>, RecordError> {
        let length = self.varint()?;
        let key = self.take(length)?;
        Ok(RecordHeader {
            key,
            value: self.nullable()?,
        })
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        match self.varint()? {
            -1 => Ok(None),
            length => self.take(length).map(Some),
        }
    }

    fn take(&mut self, length: i32) -> Result<&'a [u8], RecordError> {
        let bytes = usize::try_from(length).map_err(|_| RecordError::NegativeLength { found: length })?;
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<i32, RecordError> {
        let raw = u32::try_from(self.leb128(VARINT_BYTES_MAX)?).map_err(|_| RecordError::Varint)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn varlong(&mut self) -> Result<i64, RecordError> {
        let raw = self.leb128(VARLONG_BYTES_MAX)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn leb128(&mut self, bytes_max: usize) -> Result<u64, RecordError> {
        let mut value = 0_u64;
        for (index, &byte) in self.0.iter().take(bytes_max).enumerate() {
            let (group, shift) = (u64::from(byte & 0x7f), 7 * index);
            let placed = group << shift;
            if placed >> shift != group {
                return Err(RecordError::Varint);
            }
            value |= placed;
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.0.len() < bytes_max {
            RecordError::Truncated
        } else {
            RecordError::Varint
        })
    }

    const fn end(&self) -> Result<(), RecordError> {
        match self.0.len() {
            0 => Ok(()),
            extra => Err(RecordError::TrailingBytes { extra }),
        }
    }
}

/// Appends `value` as a zigzag varint; the same bytes whether the field is a varint or a varlong.
pub(crate) fn put_varint(into: &mut Vec<u8>, value: i64) {
    let mut raw = (value << 1 ^ value >> 63).cast_unsigned();
    while raw > 0x7f {
        into.push(raw.to_le_bytes()[0] | 0x80);
        raw >>= 7;
    }
    into.push(raw.to_le_bytes()[0]);
}

/// Bytes [`put_varint`] writes.
pub(crate) const fn varint_bytes(value: i64) -> usize {
    let raw = (value << 1 ^ value >> 63).cast_unsigned();
    (u64::BITS - (raw | 1).leading_zeros()).div_ceil(7) as usize
}

const VARINT_BYTES_MAX: usize = 5;
const VARLONG_BYTES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_round_trip(value in any::<i64>(), narrow in any::<i32>()) {
            for value in [value, i64::from(narrow), i64::MIN, i64::MAX, 0, -1] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, value);
                prop_assert_eq!(bytes.len(), varint_bytes(value));
                prop_assert_eq!(Cursor(&bytes).varlong(), Ok(value));
                prop_assert_eq!(Cursor(&bytes).varint().ok(), i32::try_from(value).ok());
            }
        }

        #[test]
        fn hostile_sections_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in any::<u32>()) {
            for (index, record) in Records::new(&bytes, count).enumerate() {
                prop_assert!(index <= bytes.len());
                if let Ok(record) = record {
                    prop_assert_eq!(record.headers.count(), record.headers.len());
                }
            }
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert_eq!(Cursor(&[0xff; 11]).varlong(), Err(RecordError::Varint));
        assert_eq!(
            Cursor(&[0xff, 0xff, 0xff, 0xff, 0x1f]).varint(),
            Err(RecordError::Varint)
        );
        assert_eq!(Cursor(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint(), Ok(i32::MIN));
        assert_eq!(Cursor(&[0xff, 0xff]).varint(), Err(RecordError::Truncated));
    }

    #[test]
    fn bytes_behind_the_last_record_are_reported() {
        let section = [12, 0, 0, 0, 1, 1, 0, 9, 9];
        let mut records = Records::new(&section, 1);
        assert!(records.next().is_some_and(|record| record.is_ok()));
        assert_eq!(
            records.next().map(Result::err),
            Some(Some(RecordError::TrailingBytes { extra: 2 }))
        );
        assert!(records.next().is_none());
    }
}

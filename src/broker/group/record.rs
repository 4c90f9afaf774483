//! Records of the internal topic `__consumer_offsets`: what they are, and how their bytes are read and written.
//!
//! The layout is Kafka's, so that tools which read that topic understand ours: big-endian, every key and every value opens
//! with an `i16` version. The version of a key says what kind of record it is; its strings have an `i16` length.
//! Values come in two dialects: the older ones (offset commits, classic groups) use fixed-width lengths, the ones of the
//! next-generation protocol use compact lengths (`count + 1` as an unsigned varint, 0 for null) and end every structure
//! with tagged fields.
//!
//! ```text
//! key:    i16 kind | string (i16 length, bytes) ...
//! value:  i16 version | fields ...
//! tags:   uvarint count | count x ( uvarint tag | uvarint size | size bytes )
//! ```
//!
//! [`RecordReader`] borrows, checks every length against the bytes that are left before anything is reserved, and never
//! panics: what it reads may be a topic that was damaged or written by a later version. Unknown tagged fields are skipped.
//! [`RecordWriter`] grows a vector; the callers bound what they write ([`STRING_BYTES_MAX`] is what every door enforces).
//!
//! Absent: what the records mean. Each state machine encodes and applies its own.

use crate::base::TopicId;

/// Longest string in a record, in bytes: the widest length an `i16` holds. Every door refuses longer ones.
pub const STRING_BYTES_MAX: usize = 0x7fff;

/// Key version of an offset commit of the time before version 1; read like [`KEY_OFFSET_COMMIT`].
pub const KEY_OFFSET_COMMIT_OLD: i16 = 0;
/// Key version of an offset commit.
pub const KEY_OFFSET_COMMIT: i16 = 1;
/// Key version of a classic group.
pub const KEY_CLASSIC_GROUP: i16 = 2;
/// Key version of a consumer group's epoch.
pub const KEY_CONSUMER_GROUP: i16 = 3;
/// Key version of the topics a consumer group saw; deprecated, read past and never written.
pub const KEY_CONSUMER_TOPICS: i16 = 4;
/// Key version of what a consumer group's member asked for.
pub const KEY_CONSUMER_MEMBER: i16 = 5;
/// Key version of the epoch of a consumer group's target assignment.
pub const KEY_CONSUMER_TARGET_EPOCH: i16 = 6;
/// Key version of one member's target assignment.
pub const KEY_CONSUMER_TARGET_MEMBER: i16 = 7;
/// Key version of what one member owns now.
pub const KEY_CONSUMER_CURRENT: i16 = 8;
/// Key version of a resolved regular expression.
pub const KEY_CONSUMER_REGEX: i16 = 16;

/// One change: the newest value of a key counts, no value deletes the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupRecord {
    /// What changed.
    pub key: Vec<u8>,
    /// What it is now; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl GroupRecord {
    /// A record that deletes `key`.
    #[must_use]
    pub const fn tombstone(key: Vec<u8>) -> Self {
        Self { key, value: None }
    }

    /// A record that sets `key` to `value`.
    #[must_use]
    pub const fn put(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self {
            key,
            value: Some(value),
        }
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the record claims to have.
    #[error("the record is incomplete")]
    Incomplete,
    /// A version that is not known here.
    #[error("the record has version {0}")]
    Version(i16),
    /// A value that no record holds.
    #[error("the record has a bad {0}")]
    Invalid(&'static str),
}

/// Reads the fields of a record in order.
#[derive(Clone, Copy, Debug)]
pub struct RecordReader<'a> {
    rest: &'a [u8],
}

impl<'a> RecordReader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`].
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(RecordError::Incomplete)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(RecordError::Incomplete)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// An 8-bit integer.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`].
    pub fn i8(&mut self) -> Result<i8, RecordError> {
        self.array().map(i8::from_be_bytes)
    }

    /// A 16-bit integer.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`].
    pub fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    /// A 32-bit integer.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`].
    pub fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    /// A 64-bit integer.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`].
    pub fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A topic id.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`].
    pub fn topic_id(&mut self) -> Result<TopicId, RecordError> {
        self.array().map(TopicId::new)
    }

    /// An unsigned varint of at most 32 bits.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`], or [`RecordError::Invalid`] for a longer one.
    pub fn uvarint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u64;
        for shift in [0u32, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| RecordError::Invalid("varint"));
            }
        }
        Err(RecordError::Invalid("varint"))
    }

    /// A string with an `i16` length.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`], or [`RecordError::Invalid`] for null or bytes that are not UTF-8.
    pub fn string(&mut self) -> Result<&'a str, RecordError> {
        self.nullable_string()?.ok_or(RecordError::Invalid("null string"))
    }

    /// A string with an `i16` length, -1 for null.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`], or [`RecordError::Invalid`] for bytes that are not UTF-8.
    pub fn nullable_string(&mut self) -> Result<Option<&'a str>, RecordError> {
        match self.i16()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| RecordError::Invalid("string length"))?;
                self.text(length).map(Some)
            }
        }
    }

    /// Bytes with an `i32` length.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`], or [`RecordError::Invalid`] for a negative length.
    pub fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let length = usize::try_from(self.i32()?).map_err(|_| RecordError::Invalid("bytes length"))?;
        self.take(length)
    }

    /// Bytes with an `i32` length, -1 for null.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`], or [`RecordError::Invalid`] for another negative length.
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        let mut ahead = *self;
        if ahead.i32()? == -1 {
            *self = ahead;
            return Ok(None);
        }
        self.bytes().map(Some)
    }

    /// The number of elements of an array with an `i32` length, each of which takes at least `element_bytes_min` bytes:
    /// no more than can be there, so it may be reserved.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`], or [`RecordError::Invalid`] for a negative length.
    pub fn count(&mut self, element_bytes_min: usize) -> Result<usize, RecordError> {
        let count = usize::try_from(self.i32()?).map_err(|_| RecordError::Invalid("array length"))?;
        self.fits(count, element_bytes_min)
    }

    /// A string with a compact length.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`], or [`RecordError::Invalid`] for null or bytes that are not UTF-8.
    pub fn compact_string(&mut self) -> Result<&'a str, RecordError> {
        self.compact_nullable_string()?
            .ok_or(RecordError::Invalid("null string"))
    }

    /// A string with a compact length, or null.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`], or [`RecordError::Invalid`] for bytes that are not UTF-8.
    pub fn compact_nullable_string(&mut self) -> Result<Option<&'a str>, RecordError> {
        match self.compact_length()? {
            None => Ok(None),
            Some(length) => self.text(length).map(Some),
        }
    }

    /// The number of elements of a compact array; see [`RecordReader::count`]. Null counts as empty.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`], or [`RecordError::Invalid`].
    pub fn compact_count(&mut self, element_bytes_min: usize) -> Result<usize, RecordError> {
        let count = self.compact_length()?.unwrap_or(0);
        self.fits(count, element_bytes_min)
    }

    /// Tagged fields: `on_field` is told each one's tag and bytes.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`], or what `on_field` finds.
    pub fn tags(
        &mut self,
        mut on_field: impl FnMut(u32, Self) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = usize::try_from(self.uvarint()?).map_err(|_| RecordError::Invalid("tag size"))?;
            on_field(tag, RecordReader::new(self.take(size)?))?;
        }
        Ok(())
    }

    /// Reads past tagged fields.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`].
    pub fn skip_tags(&mut self) -> Result<(), RecordError> {
        self.tags(|_, _| Ok(()))
    }

    fn compact_length(&mut self) -> Result<Option<usize>, RecordError> {
        match self.uvarint()?.checked_sub(1) {
            None => Ok(None),
            Some(length) => usize::try_from(length)
                .map(Some)
                .map_err(|_| RecordError::Invalid("compact length")),
        }
    }

    fn fits(&self, count: usize, element_bytes_min: usize) -> Result<usize, RecordError> {
        if count > self.rest.len() / element_bytes_min.max(1) {
            return Err(RecordError::Incomplete);
        }
        Ok(count)
    }

    fn text(&mut self, length: usize) -> Result<&'a str, RecordError> {
        str::from_utf8(self.take(length)?).map_err(|_| RecordError::Invalid("string (not UTF-8)"))
    }
}

/// Writes the fields of a record in order.
#[derive(Clone, Debug, Default)]
pub struct RecordWriter {
    bytes: Vec<u8>,
}

impl RecordWriter {
    /// Starts a key or value with its version.
    #[must_use]
    pub fn new(version: i16) -> Self {
        Self::default().i16(version)
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// An 8-bit integer.
    #[must_use]
    pub fn i8(self, value: i8) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A 16-bit integer.
    #[must_use]
    pub fn i16(self, value: i16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A 32-bit integer.
    #[must_use]
    pub fn i32(self, value: i32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A 64-bit integer.
    #[must_use]
    pub fn i64(self, value: i64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A topic id.
    #[must_use]
    pub fn topic_id(self, id: TopicId) -> Self {
        self.raw(&id.to_bytes())
    }

    /// An unsigned varint.
    #[must_use]
    pub fn uvarint(mut self, mut value: u32) -> Self {
        loop {
            let low = u8::try_from(value & 0x7f).expect("seven bits fit a byte");
            value >>= 7;
            if value == 0 {
                self.bytes.push(low);
                return self;
            }
            self.bytes.push(low | 0x80);
        }
    }

    /// A string with an `i16` length, of at most [`STRING_BYTES_MAX`] bytes.
    #[must_use]
    pub fn string(self, text: &str) -> Self {
        let length = i16::try_from(text.len()).expect("every door bounds strings to STRING_BYTES_MAX");
        self.i16(length).raw(text.as_bytes())
    }

    /// A string with an `i16` length, -1 for `None`.
    #[must_use]
    pub fn nullable_string(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.string(text),
            None => self.i16(-1),
        }
    }

    /// Bytes with an `i32` length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// Bytes with an `i32` length, -1 for `None`.
    #[must_use]
    pub fn nullable_bytes(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.i32(-1),
        }
    }

    /// The `i32` length of an array.
    #[must_use]
    pub fn count(self, count: usize) -> Self {
        self.i32(i32::try_from(count).expect("a record is far below 2 GiB"))
    }

    /// A string with a compact length.
    #[must_use]
    pub fn compact_string(self, text: &str) -> Self {
        self.compact_count(text.len()).raw(text.as_bytes())
    }

    /// A string with a compact length, or null.
    #[must_use]
    pub fn compact_nullable_string(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.compact_string(text),
            None => self.uvarint(0),
        }
    }

    /// The length of a compact array.
    #[must_use]
    pub fn compact_count(self, count: usize) -> Self {
        let count = u32::try_from(count)
            .ok()
            .and_then(|count| count.checked_add(1))
            .expect("a record is far below 4 GiB");
        self.uvarint(count)
    }

    /// No tagged fields.
    #[must_use]
    pub fn no_tags(self) -> Self {
        self.uvarint(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_big_endian_with_kafkas_lengths() {
        let bytes = RecordWriter::new(1)
            .string("ab")
            .nullable_string(None)
            .compact_string("ab")
            .compact_nullable_string(None)
            .compact_count(2)
            .i32(7)
            .uvarint(300)
            .no_tags()
            .finish();
        assert_eq!(
            bytes,
            [
                0, 1, 0, 2, b'a', b'b', 0xff, 0xff, 3, b'a', b'b', 0, 3, 0, 0, 0, 7, 0xac, 0x02, 0
            ]
        );
    }

    #[test]
    fn a_length_beyond_the_bytes_reserves_nothing() {
        assert_eq!(
            RecordReader::new(&[0x7f, 0xff, 0xff, 0xff]).count(1),
            Err(RecordError::Incomplete)
        );
        assert_eq!(
            RecordReader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).compact_count(1),
            Err(RecordError::Incomplete)
        );
        assert_eq!(
            RecordReader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f]).uvarint(),
            Err(RecordError::Invalid("varint"))
        );
        assert_eq!(
            RecordReader::new(&[0xff, 0xfe]).nullable_string(),
            Err(RecordError::Invalid("string length"))
        );
    }

    #[test]
    fn unknown_tags_are_skipped() {
        let bytes = RecordWriter::default()
            .uvarint(2)
            .uvarint(0)
            .uvarint(8)
            .i64(9)
            .uvarint(5)
            .uvarint(1)
            .i8(1)
            .i8(42)
            .finish();
        let mut reader = RecordReader::new(&bytes);
        let mut seen = None;
        reader
            .tags(|tag, mut field| {
                if tag == 0 {
                    seen = Some(field.i64()?);
                }
                Ok(())
            })
            .unwrap();
        assert_eq!((seen, reader.i8()), (Some(9), Ok(42)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            text in ".{0,40}",
            bytes in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            small in any::<i8>(),
            long in any::<i64>(),
            varint in any::<u32>(),
        ) {
            let written = RecordWriter::new(3)
                .string(&text)
                .compact_string(&text)
                .nullable_bytes(bytes.as_deref())
                .i8(small)
                .i64(long)
                .uvarint(varint)
                .finish();
            let mut reader = RecordReader::new(&written);
            prop_assert_eq!(reader.i16(), Ok(3));
            prop_assert_eq!(reader.string(), Ok(text.as_str()));
            prop_assert_eq!(reader.compact_string(), Ok(text.as_str()));
            prop_assert_eq!(reader.nullable_bytes(), Ok(bytes.as_deref()));
            prop_assert_eq!(reader.i8(), Ok(small));
            prop_assert_eq!(reader.i64(), Ok(long));
            prop_assert_eq!(reader.uvarint(), Ok(varint));
            prop_assert_eq!(reader.remaining(), 0);
            for end in 0..written.len() {
                let mut cut = RecordReader::new(&written[..end]);
                let all = cut.i16().and_then(|_| {
                    cut.string()?;
                    cut.compact_string()?;
                    cut.nullable_bytes()?;
                    cut.i8()?;
                    cut.i64()?;
                    cut.uvarint()
                });
                prop_assert!(all.is_err(), "cut at {}", end);
            }
        }
    }
}

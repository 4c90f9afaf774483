//! [`Writer`]: builds one message, and leaves big record chunks where they are.
//!
//! Promise: methods never fail and never panic. What the protocol cannot express (an over-long string) is
//! remembered, and [`Writer::finish`] reports the first such fault instead of handing out wrong bytes.
//!
//! **Shape of the output.** `chunks[0] chunks[1] ..`, to be sent in order, for instance by one vectored write:
//!
//! ```text
//! | size (framed only) | header, fields .. | records, spliced as given | fields .. | records .. | fields |
//! `------------- one chunk ---------------'`------ one chunk ---------'`--------'
//! ```
//!
//! Any thread; absent: a pool of output buffers (the caller may bring one with [`Writer::with_buffer`]).

use super::{EncodeError, FRAME_SIZE_BYTES, Format, LENGTH_MAX, SPLICE_BYTES_MIN, STRING_BYTES_MAX};

/// Builds the bytes of one message.
#[derive(Debug, Default)]
pub struct Writer {
    /// Finished chunks, in order.
    chunks: Vec<Vec<u8>>,
    /// Sum of the lengths of `chunks`.
    chunks_len: usize,
    /// The chunk being written.
    tail: Vec<u8>,
    /// Whether the first four bytes are kept for the frame's size.
    framed: bool,
    fault: Option<EncodeError>,
}

/// A finished message: chunks to be sent in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    chunks: Vec<Vec<u8>>,
    total_len: usize,
}

impl Encoded {
    /// Bytes of all chunks together, the frame's size field included if there is one.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.total_len
    }

    /// The chunks in order. None is empty.
    #[must_use]
    pub fn chunks(&self) -> &[Vec<u8>] {
        &self.chunks
    }

    /// The chunks in order, by value: buffers can go back to where they came from once sent.
    #[must_use]
    pub fn into_chunks(self) -> Vec<Vec<u8>> {
        self.chunks
    }

    /// All bytes in one vector; copies unless there is a single chunk. For clients and tests.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        let mut chunks = self.chunks.into_iter();
        let mut bytes = chunks.next().unwrap_or_default();
        for chunk in chunks {
            bytes.extend_from_slice(&chunk);
        }
        bytes
    }
}

impl Writer {
    /// A writer without a frame size in front.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer whose output starts with the frame's four-byte size, filled in by [`Self::finish`].
    #[must_use]
    pub fn framed() -> Self {
        Self::framed_with_buffer(Vec::new())
    }

    /// As [`Self::new`], writing into `buffer`, which is cleared first.
    #[must_use]
    pub fn with_buffer(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self {
            tail: buffer,
            ..Self::default()
        }
    }

    /// As [`Self::framed`], writing into `buffer`, which is cleared first.
    #[must_use]
    pub fn framed_with_buffer(buffer: Vec<u8>) -> Self {
        let mut writer = Self::with_buffer(buffer);
        writer.tail.extend_from_slice(&[0; FRAME_SIZE_BYTES]);
        writer.framed = true;
        writer
    }

    /// Bytes written so far, the frame's size field included if there is one.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.chunks_len + self.tail.len()
    }

    /// Ends the message and fills in the frame size.
    ///
    /// # Errors
    /// The first thing that could not be expressed, or a frame above [`LENGTH_MAX`].
    pub fn finish(mut self) -> Result<Encoded, EncodeError> {
        let total_len = self.total_len();
        if self.framed {
            let size = self.length(total_len - FRAME_SIZE_BYTES);
            let first = self.chunks.first_mut().unwrap_or(&mut self.tail);
            if let Some(place) = first.first_chunk_mut::<FRAME_SIZE_BYTES>() {
                *place = size.to_be_bytes();
            }
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !self.tail.is_empty() {
            self.chunks.push(self.tail);
        }
        Ok(Encoded {
            chunks: self.chunks,
            total_len,
        })
    }

    /// Notes a fault for [`Self::finish`]; the first one is kept.
    pub const fn fail(&mut self, fault: EncodeError) {
        if self.fault.is_none() {
            self.fault = Some(fault);
        }
    }

    /// Raw bytes, copied.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Raw bytes, moved: a chunk of [`SPLICE_BYTES_MIN`] or more becomes part of the output as it is.
    pub fn splice(&mut self, bytes: Vec<u8>) {
        if bytes.len() < SPLICE_BYTES_MIN {
            self.raw(&bytes);
            return;
        }
        let before = std::mem::take(&mut self.tail);
        if !before.is_empty() {
            self.chunks_len += before.len();
            self.chunks.push(before);
        }
        self.chunks_len += bytes.len();
        self.chunks.push(bytes);
    }

    /// One signed byte.
    #[inline]
    pub fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    /// A big-endian `i16`.
    #[inline]
    pub fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    /// A big-endian `i32`.
    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    /// A big-endian `i64`.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// A boolean, one byte.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.i8(i8::from(value));
    }

    /// An unsigned LEB128 integer, one to five bytes.
    #[inline]
    pub fn uvarint(&mut self, mut value: u32) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                // The value was below 128, so its lowest byte has no continuation bit.
                return self.raw(&[low & 0x7f]);
            }
            self.raw(&[low | 0x80]);
        }
    }

    /// A string; null becomes the empty string where the format has no null.
    pub fn string(&mut self, value: Option<&str>, format: Format) {
        let value = match value {
            None if format.nullable => return self.null(NullWidth::I16, format),
            value => value.unwrap_or_default(),
        };
        if value.len() > STRING_BYTES_MAX {
            self.fail(EncodeError::TooLong {
                length: value.len(),
                max: STRING_BYTES_MAX,
            });
            return;
        }
        if format.flexible {
            self.length_compact(value.len());
        } else {
            let length = i16::try_from(value.len()).expect("bounded by STRING_BYTES_MAX just above");
            self.i16(length);
        }
        self.raw(value.as_bytes());
    }

    /// A byte field, copied; null becomes empty where the format has no null.
    pub fn bytes(&mut self, value: Option<&[u8]>, format: Format) {
        match value {
            None if format.nullable => self.null(NullWidth::I32, format),
            value => {
                let value = value.unwrap_or_default();
                self.bytes_length(value.len(), format);
                self.raw(value);
            }
        }
    }

    /// The length in front of a byte field whose bytes the caller writes next.
    pub fn bytes_length(&mut self, length: usize, format: Format) {
        self.count(Some(length), format);
    }

    /// The element count in front of an array; null becomes 0 where the format has no null.
    pub fn count(&mut self, count: Option<usize>, format: Format) {
        match count {
            None if format.nullable => self.null(NullWidth::I32, format),
            count if format.flexible => self.length_compact(count.unwrap_or(0)),
            count => {
                let length = self.length(count.unwrap_or(0));
                self.i32(length);
            }
        }
    }

    /// One tagged field: its tag, its size and what `content` writes.
    pub fn tagged(&mut self, tag: u32, content: impl FnOnce(&mut Self)) {
        let mut inside = Self::new();
        content(&mut inside);
        match inside.finish() {
            Ok(encoded) => {
                self.uvarint(tag);
                let size = self.length(encoded.total_len());
                self.uvarint(size.unsigned_abs());
                encoded
                    .into_chunks()
                    .into_iter()
                    .for_each(|chunk| self.splice(chunk));
            }
            Err(fault) => self.fail(fault),
        }
    }

    fn null(&mut self, width: NullWidth, format: Format) {
        match width {
            _ if format.flexible => self.uvarint(0),
            NullWidth::I16 => self.i16(-1),
            NullWidth::I32 => self.i32(-1),
        }
    }

    fn length_compact(&mut self, length: usize) {
        let length = self.length(length);
        self.uvarint(length.unsigned_abs() + 1);
    }

    /// A length as the wire's `i32`; a fault and zero if it does not fit.
    fn length(&mut self, length: usize) -> i32 {
        i32::try_from(length).unwrap_or_else(|_| {
            self.fail(EncodeError::TooLong {
                length,
                max: LENGTH_MAX,
            });
            0
        })
    }
}

/// How wide a null is before flexible versions.
#[derive(Clone, Copy)]
enum NullWidth {
    I16,
    I32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::kafka::wire::Reader;

    const CLASSIC: Format = Format {
        version: 0,
        flexible: false,
        nullable: true,
    };
    const FLEXIBLE: Format = Format {
        version: 0,
        flexible: true,
        nullable: true,
    };

    #[test]
    fn varints_survive_the_round_trip() {
        for value in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            2_097_151,
            2_097_152,
            1 << 28,
            u32::MAX,
        ] {
            let mut writer = Writer::new();
            writer.uvarint(value);
            let bytes = writer.finish().unwrap().into_vec();
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.uvarint(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn the_frame_size_counts_spliced_chunks() {
        let mut writer = Writer::framed();
        writer.i32(7);
        writer.splice(vec![1; SPLICE_BYTES_MIN]);
        writer.splice(vec![2; SPLICE_BYTES_MIN - 1]);
        writer.i8(3);
        let encoded = writer.finish().unwrap();
        assert_eq!(
            encoded.chunks().iter().map(Vec::len).collect::<Vec<_>>(),
            [8, 16_384, 16_384]
        );
        let total_len = encoded.total_len();
        let bytes = encoded.into_vec();
        assert_eq!(bytes.len(), total_len);
        assert_eq!(
            Reader::new(&bytes).i32(),
            Ok(i32::try_from(total_len - 4).unwrap())
        );
    }

    #[test]
    fn a_spliced_chunk_is_moved_not_copied() {
        let big = vec![9; SPLICE_BYTES_MIN];
        let address = big.as_ptr();
        let mut writer = Writer::new();
        writer.splice(big);
        let chunks = writer.finish().unwrap().into_chunks();
        assert_eq!(chunks.first().map(|chunk| chunk.as_ptr()), Some(address));
    }

    #[test]
    fn null_without_a_null_becomes_empty() {
        for (format, expected) in [
            (CLASSIC, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..]),
            (
                Format {
                    nullable: false,
                    ..CLASSIC
                },
                &[0, 0, 0, 0, 0, 0],
            ),
            (FLEXIBLE, &[0, 0]),
            (
                Format {
                    nullable: false,
                    ..FLEXIBLE
                },
                &[1, 1],
            ),
        ] {
            let mut writer = Writer::new();
            writer.string(None, format);
            writer.bytes(None, format);
            assert_eq!(writer.finish().unwrap().into_vec(), expected, "{format:?}");
        }
    }

    #[test]
    fn an_over_long_string_is_reported_at_the_end() {
        let mut writer = Writer::new();
        writer.string(Some(&"x".repeat(STRING_BYTES_MAX + 1)), FLEXIBLE);
        writer.i32(1);
        assert_eq!(
            writer.finish(),
            Err(EncodeError::TooLong {
                length: STRING_BYTES_MAX + 1,
                max: STRING_BYTES_MAX
            })
        );
    }
}

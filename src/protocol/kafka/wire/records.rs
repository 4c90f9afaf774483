//! [`Records`]: the record bytes of one fetched partition, borrowed or handed over.
//!
//! Promise: never null on the wire. Kafka allows null here, but clients read -1 as a bad size, so "no records"
//! is length 0; null from a peer reads as no records. Owned chunks of [`super::SPLICE_BYTES_MIN`] or more
//! reach the socket without a copy. Any thread; absent: what is inside the batches.

use std::fmt;

use super::{DecodeError, Format, Reader, Wire, Writer};

/// Record batches of one partition, in order, as bytes.
#[derive(Clone)]
pub enum Records<'a> {
    /// Borrowed from a received frame; copied when encoded.
    Borrowed(&'a [u8]),
    /// One chunk, moved when encoded.
    Chunk(Vec<u8>),
    /// Several chunks that follow one another, each moved when encoded.
    Chunks(Vec<Vec<u8>>),
}

impl<'a> Records<'a> {
    /// No records.
    pub const EMPTY: Self = Self::Borrowed(&[]);

    /// Bytes of all chunks together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in order, chunk by chunk.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (one, many) = match self {
            Self::Borrowed(bytes) => (Some(*bytes), [].as_slice()),
            Self::Chunk(bytes) => (Some(bytes.as_slice()), [].as_slice()),
            Self::Chunks(chunks) => (None, chunks.as_slice()),
        };
        one.into_iter().chain(many.iter().map(Vec::as_slice))
    }
}

impl Default for Records<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<'a> From<&'a [u8]> for Records<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl From<Vec<u8>> for Records<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Chunk(bytes)
    }
}

impl From<Vec<Vec<u8>>> for Records<'_> {
    fn from(chunks: Vec<Vec<u8>>) -> Self {
        Self::Chunks(chunks)
    }
}

/// Equal bytes are equal records, however they are cut.
impl PartialEq for Records<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.slices().flatten().eq(other.slices().flatten())
    }
}

impl fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Records").field(&self.len()).finish()
    }
}

impl<'a> Wire<'a> for Records<'a> {
    fn bytes_min(format: Format) -> usize {
        <&[u8]>::bytes_min(format)
    }

    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        Ok(Self::Borrowed(reader.bytes(format)?.unwrap_or_default()))
    }

    fn write(self, writer: &mut Writer, format: Format) {
        writer.bytes_length(self.len(), format);
        match self {
            Self::Borrowed(bytes) => writer.raw(bytes),
            Self::Chunk(bytes) => writer.splice(bytes),
            Self::Chunks(chunks) => chunks.into_iter().for_each(|chunk| writer.splice(chunk)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSIC: Format = Format {
        version: 0,
        flexible: false,
        nullable: true,
    };

    #[test]
    fn no_records_are_length_zero_even_where_null_is_allowed() {
        let mut writer = Writer::new();
        Records::EMPTY.write(&mut writer, CLASSIC);
        assert_eq!(writer.finish().unwrap().into_vec(), [0, 0, 0, 0]);
    }

    #[test]
    fn null_from_a_peer_reads_as_no_records() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff]);
        assert_eq!(Records::read(&mut reader, CLASSIC), Ok(Records::EMPTY));
    }

    #[test]
    fn chunks_equal_their_concatenation() {
        let cut = Records::from(vec![vec![1, 2], vec![], vec![3]]);
        assert_eq!(cut, Records::from(&[1, 2, 3][..]));
        assert_ne!(cut, Records::from(vec![1, 2, 4]));
    }
}

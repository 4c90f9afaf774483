//! [`Wire`]: how a Rust type lies on the wire in a given [`Format`].
//!
//! Promise: `read` accepts exactly what `write` produces (and what Kafka's own clients produce) for the same
//! format, and checks counts before it reserves. Implemented here for the primitive types; the structures get
//! theirs from the macro in `messages`. Any thread; absent: anything that outlives a message.

use smallvec::{Array, SmallVec};

use super::{DecodeError, Reader, Writer};
use crate::base::TopicId;

/// What a field needs to know to be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The API's version.
    pub version: i16,
    /// Whether that version is flexible: compact lengths, tagged fields.
    pub flexible: bool,
    /// Whether this field may be null in this version.
    pub nullable: bool,
}

impl Format {
    /// The same version, for a field that may or may not be null.
    #[must_use]
    pub const fn with_nullable(self, nullable: bool) -> Self {
        Self { nullable, ..self }
    }
}

/// A type with a place on the wire.
pub trait Wire<'a>: Sized {
    /// Fewest bytes a value can take; at least 1. Array counts are checked against it.
    fn bytes_min(format: Format) -> usize;

    /// Reads one value.
    ///
    /// # Errors
    /// When the bytes are not such a value; the reader's position is then unspecified.
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError>;

    /// Writes the value; faults are kept by the writer. Takes the value because big record chunks are moved
    /// into the output.
    fn write(self, writer: &mut Writer, format: Format);
}

macro_rules! fixed {
    ($($name:ident: $ty:ty, $bytes:literal;)*) => {$(
        impl Wire<'_> for $ty {
            #[inline]
            fn bytes_min(_: Format) -> usize {
                $bytes
            }

            #[inline]
            fn read(reader: &mut Reader<'_>, _: Format) -> Result<Self, DecodeError> {
                reader.$name()
            }

            #[inline]
            fn write(self, writer: &mut Writer, _: Format) {
                writer.$name(self);
            }
        }
    )*};
}

fixed! {
    bool: bool, 1;
    i8: i8, 1;
    i16: i16, 2;
    i32: i32, 4;
    i64: i64, 8;
}

impl Wire<'_> for TopicId {
    fn bytes_min(_: Format) -> usize {
        16
    }

    fn read(reader: &mut Reader<'_>, _: Format) -> Result<Self, DecodeError> {
        reader.array().map(Self::new)
    }

    fn write(self, writer: &mut Writer, _: Format) {
        writer.raw(&self.to_bytes());
    }
}

/// The length field alone, compact or of `classic` bytes.
const fn length_bytes(format: Format, classic: usize) -> usize {
    if format.flexible { 1 } else { classic }
}

/// A null that this version of the field allows, or the error.
fn null<T>(format: Format) -> Result<Option<T>, DecodeError> {
    if format.nullable {
        Ok(None)
    } else {
        Err(DecodeError::UnexpectedNull)
    }
}

impl<'a> Wire<'a> for &'a str {
    fn bytes_min(format: Format) -> usize {
        length_bytes(format, 2)
    }

    #[inline]
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        reader.string(format)?.ok_or(DecodeError::UnexpectedNull)
    }

    fn write(self, writer: &mut Writer, format: Format) {
        writer.string(Some(self), format);
    }
}

impl<'a> Wire<'a> for Option<&'a str> {
    fn bytes_min(format: Format) -> usize {
        length_bytes(format, 2)
    }

    #[inline]
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        reader
            .string(format)?
            .map_or_else(|| null(format), |string| Ok(Some(string)))
    }

    fn write(self, writer: &mut Writer, format: Format) {
        writer.string(self, format);
    }
}

impl<'a> Wire<'a> for &'a [u8] {
    fn bytes_min(format: Format) -> usize {
        length_bytes(format, 4)
    }

    #[inline]
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        reader.bytes(format)?.ok_or(DecodeError::UnexpectedNull)
    }

    fn write(self, writer: &mut Writer, format: Format) {
        writer.bytes(Some(self), format);
    }
}

impl<'a> Wire<'a> for Option<&'a [u8]> {
    fn bytes_min(format: Format) -> usize {
        length_bytes(format, 4)
    }

    #[inline]
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        reader
            .bytes(format)?
            .map_or_else(|| null(format), |bytes| Ok(Some(bytes)))
    }

    fn write(self, writer: &mut Writer, format: Format) {
        writer.bytes(self, format);
    }
}

/// A structure of fields, as opposed to a primitive: one that may be null has a byte in front that says so.
pub trait Structure {}

/// Leads a structure that is there.
const PRESENT: i8 = 1;
/// Stands for one that is not; any negative number means the same.
const ABSENT: i8 = -1;

impl<'a, T: Wire<'a> + Structure> Wire<'a> for Option<T> {
    fn bytes_min(_: Format) -> usize {
        1
    }

    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        if reader.i8()? < 0 {
            null(format)
        } else {
            T::read(reader, element(format)).map(Some)
        }
    }

    fn write(self, writer: &mut Writer, format: Format) {
        match self {
            Some(structure) => {
                writer.i8(PRESENT);
                structure.write(writer, element(format));
            }
            None => writer.i8(ABSENT),
        }
    }
}

/// Elements themselves are never null.
const fn element(format: Format) -> Format {
    format.with_nullable(false)
}

impl<'a, T: Wire<'a>> Wire<'a> for Vec<T> {
    fn bytes_min(format: Format) -> usize {
        length_bytes(format, 4)
    }

    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        let count = reader.count(format, T::bytes_min(element(format)))?;
        read_vec(reader, count.ok_or(DecodeError::UnexpectedNull)?, format)
    }

    fn write(self, writer: &mut Writer, format: Format) {
        writer.count(Some(self.len()), format);
        self.into_iter()
            .for_each(|item| item.write(writer, element(format)));
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<Vec<T>> {
    fn bytes_min(format: Format) -> usize {
        length_bytes(format, 4)
    }

    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        match reader.count(format, T::bytes_min(element(format)))? {
            Some(count) => read_vec(reader, count, format).map(Some),
            None => null(format),
        }
    }

    fn write(self, writer: &mut Writer, format: Format) {
        match self {
            Some(items) => items.write(writer, format),
            None => writer.count(None, format),
        }
    }
}

/// `count` comes from [`Reader::count`], so reserving for it is safe.
fn read_vec<'a, T: Wire<'a>>(
    reader: &mut Reader<'a>,
    count: usize,
    format: Format,
) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(T::read(reader, element(format))?);
    }
    Ok(items)
}

impl<'a, A: Array> Wire<'a> for SmallVec<A>
where
    A::Item: Wire<'a>,
{
    fn bytes_min(format: Format) -> usize {
        length_bytes(format, 4)
    }

    #[inline]
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        let count = reader.count(format, A::Item::bytes_min(element(format)))?;
        let count = count.ok_or(DecodeError::UnexpectedNull)?;
        let mut items = Self::with_capacity(count);
        for _ in 0..count {
            items.push(A::Item::read(reader, element(format))?);
        }
        Ok(items)
    }

    fn write(self, writer: &mut Writer, format: Format) {
        writer.count(Some(self.len()), format);
        self.into_iter()
            .for_each(|item| item.write(writer, element(format)));
    }
}

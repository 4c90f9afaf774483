//! Fixed-layout archives: how a struct of integers becomes bytes of a frame and comes back.
//!
//! The technique is that of the stored batch header: each struct is an rkyv archive of plain little-endian integers at
//! the offsets its declaration names (held still by compile-time assertions), so its bytes are a table that any language
//! can read. A struct is archived into, and read from, an aligned local of its exact size: bytes from outside may lie
//! anywhere, nothing is allocated, and the compiler turns the copy into plain loads.
//!
//! **Promise.** [`ControlReader`] never reads past the control part, never believes a count before the table it counts
//! is there, and demands zero where the layout says zero, so that later versions can give those bytes a meaning. Any
//! thread; no state.

use std::marker::PhantomData;

use thiserror::Error;

/// Why a control part cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// Another kind of frame than the one asked for.
    #[error("the frame is of another kind")]
    Kind,
    /// A struct or table ends behind the control part.
    #[error("the control part ends early")]
    Truncated,
    /// More elements than this end accepts.
    #[error("{found} elements, at most {max} are accepted")]
    TooMany {
        /// Elements announced.
        found: u32,
        /// The bound.
        max: u32,
    },
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Text,
    /// Bytes that are zero in this version are not.
    #[error("reserved bytes are not zero")]
    Reserved,
    /// A flag or an enumeration has a value this version does not know.
    #[error("an unknown flag or choice")]
    Unknown,
    /// Bytes behind what the frame's kind has.
    #[error("bytes are left over")]
    Trailing,
}

/// A struct with a fixed layout.
pub trait Pod: Copy {
    /// Its size on the wire.
    const BYTES: usize;

    /// Appends its bytes.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it from the start of `bytes`, which need not be aligned and may be longer.
    ///
    /// # Errors
    /// `Truncated` or `Reserved`.
    fn read(bytes: &[u8]) -> Result<Self, DecodeError>;
}

/// A table of fixed entries inside a frame, read entry by entry where it lies.
pub struct Table<'a, T> {
    bytes: &'a [u8],
    entry: PhantomData<T>,
}

impl<T> Clone for Table<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Table<'_, T> {}

impl<T: Pod> std::fmt::Debug for Table<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("len", &self.len()).finish()
    }
}

impl<'a, T: Pod> Table<'a, T> {
    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() / T::BYTES
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Entry `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<T> {
        T::read(self.bytes.get(index.checked_mul(T::BYTES)?..)?).ok()
    }

    /// All entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + use<'a, T> {
        self.bytes
            .chunks_exact(T::BYTES)
            .map(|entry| T::read(entry).expect("the table's entries were read once when it was decoded"))
    }
}

/// Reads a control part from front to back.
#[derive(Clone, Debug)]
pub struct ControlReader<'a> {
    rest: &'a [u8],
}

impl<'a> ControlReader<'a> {
    /// Begins at the start of `control`.
    #[must_use]
    pub const fn new(control: &'a [u8]) -> Self {
        Self { rest: control }
    }

    /// The next struct.
    ///
    /// # Errors
    /// `Truncated` or `Reserved`.
    pub fn pod<T: Pod>(&mut self) -> Result<T, DecodeError> {
        T::read(self.bytes(T::BYTES)?)
    }

    /// The next `count` entries, at most `max`. Every entry is checked here; none can fail later.
    ///
    /// # Errors
    /// `TooMany`, `Truncated` or `Reserved`.
    pub fn table<T: Pod>(&mut self, count: u32, max: u32) -> Result<Table<'a, T>, DecodeError> {
        if count > max {
            return Err(DecodeError::TooMany { found: count, max });
        }
        let bytes = (count as usize)
            .checked_mul(T::BYTES)
            .ok_or(DecodeError::Truncated)?;
        let bytes = self.bytes(bytes)?;
        for entry in bytes.chunks_exact(T::BYTES) {
            T::read(entry)?;
        }
        Ok(Table {
            bytes,
            entry: PhantomData,
        })
    }

    /// The next `len` bytes as text.
    ///
    /// # Errors
    /// `Truncated` or `Text`.
    pub fn text(&mut self, len: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(len)?).map_err(|_| DecodeError::Text)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Ends the reading: what is left must be the padding.
    ///
    /// # Errors
    /// `Trailing` for too many bytes, `Reserved` for padding that is not zero.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.len() >= super::frame::FRAME_ALIGN {
            return Err(DecodeError::Trailing);
        }
        if self.rest.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Reserved);
        }
        Ok(())
    }
}

/// From an archived field to the integer it is.
pub(super) trait Native<T> {
    fn native(&self) -> T;
}

macro_rules! native {
    ($($archived:ty => $int:ty),*) => {
        $(impl Native<$int> for $archived {
            #[inline]
            fn native(&self) -> $int {
                self.to_native()
            }
        })*
    };
}

native!(
    rkyv::rend::u16_le => u16, rkyv::rend::u32_le => u32, rkyv::rend::u64_le => u64,
    rkyv::rend::i16_le => i16, rkyv::rend::i32_le => i32, rkyv::rend::i64_le => i64
);

impl Native<Self> for u8 {
    #[inline]
    fn native(&self) -> Self {
        *self
    }
}

impl<const N: usize> Native<Self> for [u8; N] {
    #[inline]
    fn native(&self) -> Self {
        *self
    }
}

/// Archived integers of 8 bytes are read from 8-aligned addresses.
#[repr(align(16))]
pub(super) struct Aligned<const N: usize>(pub(super) [u8; N]);

/// Declares structs and their layout: `offset field: type`, then how many zero bytes close it (`0` for none).
macro_rules! pod {
    ($($(#[$doc:meta])* $name:ident $bytes:literal {
        $($(#[$field_doc:meta])* $at:literal $field:ident: $ty:ty,)*
        reserved $reserved:literal
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $ty,)*
            }

            const _: () = {
                #[derive(rkyv::Archive, rkyv::Serialize)]
                struct Wire {
                    $($field: $ty,)*
                    reserved: [u8; $reserved],
                }

                $(assert!(std::mem::offset_of!(ArchivedWire, $field) == $at);)*
                assert!(0 $(+ size_of::<$ty>())* + $reserved == $bytes);
                assert!(size_of::<ArchivedWire>() == $bytes);

                impl $crate::protocol::native::pod::Pod for $name {
                    const BYTES: usize = $bytes;

                    fn put(&self, out: &mut Vec<u8>) {
                        let wire = Wire { $($field: self.$field,)* reserved: [0; $reserved] };
                        let mut bytes = [0; $bytes];
                        rkyv::api::low::to_bytes_in_with_alloc::<_, _, rkyv::rancor::Failure>(
                            &wire,
                            rkyv::ser::writer::Buffer::from(&mut bytes),
                            rkyv::ser::allocator::SubAllocator::new(&mut []),
                        )
                        .expect("the archived size is asserted to be the size of this buffer");
                        out.extend_from_slice(&bytes);
                    }

                    fn read(bytes: &[u8]) -> Result<Self, $crate::protocol::native::pod::DecodeError> {
                        use $crate::protocol::native::pod::{Aligned, DecodeError, Native};
                        let bytes = bytes.first_chunk::<$bytes>().ok_or(DecodeError::Truncated)?;
                        let aligned = Aligned(*bytes);
                        let wire = rkyv::api::low::access::<ArchivedWire, rkyv::rancor::Failure>(&aligned.0)
                            .expect("plain integers in an aligned buffer of their exact size are always valid");
                        if wire.reserved != [0; $reserved] {
                            return Err(DecodeError::Reserved);
                        }
                        Ok(Self { $($field: wire.$field.native(),)* })
                    }
                }
            };
        )*
    };
}

pub(super) use pod;

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro declares public structs")]
mod tests {
    use super::*;

    pod! {
        /// A sample.
        Sample 16 {
            /// First.
            0 first: u64,
            /// Second.
            8 second: u16,
            reserved 6
        }
    }

    #[test]
    fn a_struct_is_the_bytes_its_declaration_names() {
        let mut bytes = Vec::new();
        let sample = Sample {
            first: 0x0102,
            second: 0x0304,
        };
        sample.put(&mut bytes);
        assert_eq!(bytes, [2, 1, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Sample::read(&bytes), Ok(sample));
        assert_eq!(Sample::read(&bytes[..15]), Err(DecodeError::Truncated));
        bytes[10] = 1;
        assert_eq!(Sample::read(&bytes), Err(DecodeError::Reserved));
    }

    #[test]
    fn a_count_is_not_believed_before_its_table_is_there() {
        let bytes = [0; 32];
        let mut reader = ControlReader::new(&bytes);
        assert_eq!(reader.table::<Sample>(3, 10).err(), Some(DecodeError::Truncated));
        assert_eq!(
            reader.table::<Sample>(11, 10).err(),
            Some(DecodeError::TooMany { found: 11, max: 10 })
        );
        assert_eq!(
            reader.table::<Sample>(u32::MAX, u32::MAX).err(),
            Some(DecodeError::Truncated)
        );
        assert_eq!(reader.table::<Sample>(2, 2).map(|table| table.len()), Ok(2));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn what_is_left_must_be_padding() {
        assert_eq!(ControlReader::new(&[0; 15]).finish(), Ok(()));
        assert_eq!(ControlReader::new(&[0; 16]).finish(), Err(DecodeError::Trailing));
        assert_eq!(ControlReader::new(&[0, 1]).finish(), Err(DecodeError::Reserved));
    }
}

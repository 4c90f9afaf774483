//! [`Reader`]: a cursor over one frame that cannot leave it.
//!
//! Promise: each method either consumes exactly what it returns or fails and says what was missing; after a
//! failure the position is unspecified and the message is given up. No method allocates.
//! Any thread; absent: incremental decoding (the server hands over whole frames).

use super::{DecodeError, ELEMENTS_MAX, Format, STRING_BYTES_MAX};

/// A bounded cursor over one message.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    elements_left: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` with the usual element budget, [`ELEMENTS_MAX`].
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self::with_elements_max(bytes, ELEMENTS_MAX)
    }

    /// Reads `bytes`, allowing at most `elements_max` array elements in all.
    #[must_use]
    pub const fn with_elements_max(bytes: &'a [u8], elements_max: usize) -> Self {
        Self {
            rest: bytes,
            elements_left: elements_max,
        }
    }

    /// Bytes not yet read.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Everything not yet read, without consuming it.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends the message: an error if bytes are left over.
    pub const fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes {
                left: self.rest.len(),
            })
        }
    }

    /// The next `N` bytes by value.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            return Err(DecodeError::Truncated {
                needed: N,
                left: self.rest.len(),
            });
        };
        self.rest = tail;
        Ok(*head)
    }

    /// The next `length` bytes, borrowed.
    #[inline]
    pub fn slice(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, tail)) = self.rest.split_at_checked(length) else {
            return Err(DecodeError::Truncated {
                needed: length,
                left: self.rest.len(),
            });
        };
        self.rest = tail;
        Ok(head)
    }

    /// One signed byte.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.array().map(i8::from_be_bytes)
    }

    /// A big-endian `i16`.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    /// A big-endian `i32`.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// A big-endian `i64`.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A boolean: any byte but zero is true, as in Kafka.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        self.i8().map(|byte| byte != 0)
    }

    /// An unsigned LEB128 integer of at most 32 bits, hence at most five bytes.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let [first] = self.array()?;
        if first < 0x80 {
            return Ok(u32::from(first));
        }
        self.uvarint_rest(u32::from(first & 0x7f))
    }

    fn uvarint_rest(&mut self, first: u32) -> Result<u32, DecodeError> {
        let mut value = first;
        for shift in [7, 14, 21, 28] {
            let [byte] = self.array()?;
            // Only four bits fit above bit 28.
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::VarintOverflow);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintOverflow)
    }

    /// A string, `None` if null.
    #[inline]
    pub fn string(&mut self, format: Format) -> Result<Option<&'a str>, DecodeError> {
        let length = if format.flexible {
            self.length_compact()?
        } else {
            self.length_i16()?
        };
        let Some(length) = length else { return Ok(None) };
        if length > STRING_BYTES_MAX {
            return Err(DecodeError::InvalidLength {
                length: length_fact(length),
            });
        }
        match std::str::from_utf8(self.slice(length)?) {
            Ok(string) => Ok(Some(string)),
            Err(error) => Err(DecodeError::InvalidUtf8 {
                valid_up_to: error.valid_up_to(),
            }),
        }
    }

    /// A byte field, `None` if null.
    #[inline]
    pub fn bytes(&mut self, format: Format) -> Result<Option<&'a [u8]>, DecodeError> {
        let length = if format.flexible {
            self.length_compact()?
        } else {
            self.length_i32()?
        };
        length.map(|length| self.slice(length)).transpose()
    }

    /// The element count of an array, `None` if null. The caller may reserve room for that many elements:
    /// `count * element_bytes_min` bytes are really there and the element budget has been charged.
    #[inline]
    pub fn count(&mut self, format: Format, element_bytes_min: usize) -> Result<Option<usize>, DecodeError> {
        let count = if format.flexible {
            self.length_compact()?
        } else {
            self.length_i32()?
        };
        let Some(count) = count else { return Ok(None) };
        self.check_count(count, element_bytes_min)?;
        let Some(elements_left) = self.elements_left.checked_sub(count) else {
            return Err(DecodeError::TooManyElements {
                count,
                left: self.elements_left,
            });
        };
        self.elements_left = elements_left;
        Ok(Some(count))
    }

    /// Number of tagged fields that follow. Each takes at least a tag and a size.
    #[inline]
    pub fn tag_count(&mut self) -> Result<usize, DecodeError> {
        let count = widen(self.uvarint()?);
        self.check_count(count, 2)?;
        Ok(count)
    }

    /// Skips a whole section of tagged fields.
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.tag_count()? {
            let _tag = self.uvarint()?;
            let size = widen(self.uvarint()?);
            self.slice(size)?;
        }
        Ok(())
    }

    /// Narrows the reader to the next `uvarint` bytes, a tagged field; returns what follows for [`Self::leave`].
    pub fn enter(&mut self) -> Result<&'a [u8], DecodeError> {
        let size = widen(self.uvarint()?);
        let inside = self.slice(size)?;
        Ok(std::mem::replace(&mut self.rest, inside))
    }

    /// Ends what [`Self::enter`] began: an error unless the tagged field was read to its end.
    pub const fn leave(&mut self, outside: &'a [u8]) -> Result<(), DecodeError> {
        let result = self.finish();
        self.rest = outside;
        result
    }

    /// Ends what [`Self::enter`] began without reading the rest of the field: an unknown tag.
    pub const fn abandon(&mut self, outside: &'a [u8]) {
        self.rest = outside;
    }

    #[inline]
    const fn check_count(&self, count: usize, element_bytes_min: usize) -> Result<(), DecodeError> {
        // An element of no bytes would let a small frame claim any count; no type has one, but hold to it.
        let needed = if element_bytes_min == 0 {
            Some(count)
        } else {
            count.checked_mul(element_bytes_min)
        };
        match needed {
            Some(needed) if needed <= self.rest.len() => Ok(()),
            _ => Err(DecodeError::InvalidCount {
                count,
                left: self.rest.len(),
            }),
        }
    }

    #[inline]
    fn length_i16(&mut self) -> Result<Option<usize>, DecodeError> {
        let length = self.i16()?;
        signed_length(i64::from(length))
    }

    #[inline]
    fn length_i32(&mut self) -> Result<Option<usize>, DecodeError> {
        let length = self.i32()?;
        signed_length(i64::from(length))
    }

    #[inline]
    fn length_compact(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(widen(self.uvarint()?).checked_sub(1))
    }
}

/// -1 is null; anything else below zero is an error.
#[inline]
fn signed_length(length: i64) -> Result<Option<usize>, DecodeError> {
    match usize::try_from(length) {
        Ok(length) => Ok(Some(length)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(DecodeError::InvalidLength { length }),
    }
}

/// `u32` to `usize`: lossless on every platform the broker runs on.
#[inline]
fn widen(value: u32) -> usize {
    const { assert!(usize::BITS >= u32::BITS) }
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn length_fact(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn varints_are_read_up_to_32_bits_and_no_further() {
        for (bytes, expected) in [
            (&[0x00][..], Ok(0)),
            (&[0x7f], Ok(127)),
            (&[0x80, 0x01], Ok(128)),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Ok(u32::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], Err(DecodeError::VarintOverflow)),
            (
                &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
                Err(DecodeError::VarintOverflow),
            ),
            (&[0x80], Err(DecodeError::Truncated { needed: 1, left: 0 })),
        ] {
            assert_eq!(Reader::new(bytes).uvarint(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn null_is_told_from_empty_and_from_nonsense() {
        assert_eq!(Reader::new(&[0xff, 0xff]).string(CLASSIC), Ok(None));
        assert_eq!(Reader::new(&[0, 0]).string(CLASSIC), Ok(Some("")));
        assert_eq!(
            Reader::new(&[0xff, 0xfe]).string(CLASSIC),
            Err(DecodeError::InvalidLength { length: -2 })
        );
        assert_eq!(Reader::new(&[0]).string(FLEXIBLE), Ok(None));
        assert_eq!(Reader::new(&[1]).string(FLEXIBLE), Ok(Some("")));
        assert_eq!(
            Reader::new(&[0x80, 0, 0, 0]).bytes(CLASSIC),
            Err(DecodeError::InvalidLength {
                length: i64::from(i32::MIN)
            })
        );
    }

    #[test]
    fn strings_must_be_utf8_and_within_kafkas_limit() {
        assert_eq!(
            Reader::new(&[0, 2, b'a', 0xff]).string(CLASSIC),
            Err(DecodeError::InvalidUtf8 { valid_up_to: 1 })
        );
        // 0x8001 - 1 = 32768, one more than an i16 can say.
        let mut long = vec![0x81, 0x80, 0x02];
        long.resize(40_000, b'x');
        assert_eq!(
            Reader::new(&long).string(FLEXIBLE),
            Err(DecodeError::InvalidLength { length: 32_768 })
        );
    }

    #[test]
    fn a_count_must_fit_the_bytes_left() {
        let claim = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(
            Reader::new(&claim).count(CLASSIC, 4),
            Err(DecodeError::InvalidCount {
                count: 0x7fff_ffff,
                left: 4
            })
        );
        assert_eq!(
            Reader::new(&[0, 0, 0, 1, 0, 0, 0, 0]).count(CLASSIC, 4),
            Ok(Some(1))
        );
        assert_eq!(
            Reader::new(&[0, 0, 0, 1, 0, 0, 0]).count(CLASSIC, 4),
            Err(DecodeError::InvalidCount { count: 1, left: 3 })
        );
    }

    #[test]
    fn the_element_budget_covers_all_arrays_together() {
        let mut reader = Reader::with_elements_max(&[0, 0, 0, 2, 0, 0, 0, 2, 1, 1], 3);
        assert_eq!(reader.count(CLASSIC, 1), Ok(Some(2)));
        assert_eq!(
            reader.count(CLASSIC, 1),
            Err(DecodeError::TooManyElements { count: 2, left: 1 })
        );
    }

    #[test]
    fn a_tagged_field_must_be_read_to_its_end() {
        let mut reader = Reader::new(&[2, 7, 7, 9]);
        let outside = reader.enter().unwrap();
        assert_eq!(reader.remaining(), 2);
        assert_eq!(reader.leave(outside), Err(DecodeError::TrailingBytes { left: 2 }));
        assert_eq!(reader.rest(), &[9]);
    }

    #[test]
    fn unknown_tags_are_skipped_within_bounds() {
        let mut reader = Reader::new(&[1, 5, 2, 8, 8, 42]);
        reader.skip_tags().unwrap();
        assert_eq!(reader.rest(), &[42]);
        assert_eq!(
            Reader::new(&[1, 5, 9, 8]).skip_tags(),
            Err(DecodeError::Truncated { needed: 9, left: 1 })
        );
    }
}

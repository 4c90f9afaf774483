//! Kafka's primitive types under hard bounds.
//!
//! **Promise.** [`Reader`] never reads past its slice, never reserves memory for something the bytes cannot
//! hold, and never panics; each failure is a [`DecodeError`] with its facts. [`Writer`] never fails in the
//! middle: the first thing it could not express is kept and reported by [`Writer::finish`].
//!
//! **Invariants.**
//! 1. An array is refused unless `count * smallest_element <= bytes_left` and the message's element budget
//!    ([`ELEMENTS_MAX`]) still covers it; only then is room reserved. So decoding `n` bytes of request
//!    takes at most 42 `n` bytes of memory (OffsetFetch: groups of 3 bytes become 64, topics of 3 become 56,
//!    partitions of 4 stay 4; other requests take less, as do responses), and never more than `ELEMENTS_MAX`
//!    elements.
//! 2. Nothing recurses on input: nesting is the nesting of Rust types.
//! 3. Strings and byte fields borrow from the frame (`'a`); nothing is copied on decode.
//!
//! **The types.** Integers are big-endian. Until an API's flexible version a string is `i16 length | bytes`, a
//! byte field and an array `i32 length | ..`, null is -1. From it on, all three are `uvarint(length + 1) | ..`,
//! null is 0, and every structure ends with `uvarint(count) | (uvarint tag, uvarint size, bytes)*`.
//!
//! Any thread may use this; it has no state of its own. Absent: signed varints, which only records use.
#![deny(clippy::indexing_slicing)]

mod field;
mod reader;
mod records;
mod writer;

use crate::protocol::kafka::api::ApiKey;

pub use field::{Format, Structure, Wire};
pub use reader::Reader;
pub use records::Records;
pub use writer::{Encoded, Writer};

/// Most array elements one message may hold, all arrays together.
///
/// A metadata answer for 100 000 partitions of three replicas needs about 700 000; the largest element takes
/// some 150 bytes in memory, so the worst frame costs about 150 MiB.
pub const ELEMENTS_MAX: usize = 1 << 20;

/// Longest string the protocol allows, in bytes; Kafka holds compact strings to the same limit.
pub const STRING_BYTES_MAX: usize = 0x7fff;

/// Longest frame, array or byte field the protocol can express: its lengths are `i32`.
pub const LENGTH_MAX: usize = 0x7fff_ffff;

/// Record chunks at least this long are spliced into the output instead of being copied.
///
/// Copying 16 KiB takes about 0.4 us, which is what one more entry in the output vector costs.
pub const SPLICE_BYTES_MIN: usize = 16 * 1024;

/// Bytes of the size field in front of every frame.
pub const FRAME_SIZE_BYTES: usize = 4;

/// Why bytes are not the message they claim to be. The peer is at fault; answer if possible, then close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field needs more bytes than the frame has.
    #[error("truncated: {needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes left in the frame.
        left: usize,
    },
    /// A length below -1, or longer than the protocol allows for its type.
    #[error("invalid length {length}")]
    InvalidLength {
        /// The length as claimed.
        length: i64,
    },
    /// An array (or tag section) claims more elements than the bytes left could hold.
    #[error("{count} elements claimed, {left} bytes left")]
    InvalidCount {
        /// The count as claimed.
        count: usize,
        /// Bytes left in the frame.
        left: usize,
    },
    /// The message holds more elements than [`ELEMENTS_MAX`] (or the budget given to the reader).
    #[error("{count} more elements claimed, {left} of the budget left")]
    TooManyElements {
        /// The count as claimed.
        count: usize,
        /// Elements the budget still allowed.
        left: usize,
    },
    /// A string is not UTF-8.
    #[error("invalid UTF-8 after {valid_up_to} bytes of a string")]
    InvalidUtf8 {
        /// Length of the valid beginning, in bytes.
        valid_up_to: usize,
    },
    /// An unsigned varint does not end within five bytes or exceeds 32 bits.
    #[error("unsigned varint exceeds 32 bits")]
    VarintOverflow,
    /// Null where this version of the field has no null.
    #[error("null in a field that cannot be null")]
    UnexpectedNull,
    /// Bytes remain after the end of the message or of a tagged field.
    #[error("{left} bytes left over")]
    TrailingBytes {
        /// How many.
        left: usize,
    },
    /// The version is outside what this codec speaks.
    #[error("{api:?} has no version {version} here")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
    },
}

/// Why a message cannot be expressed on the wire. We are at fault, or a peer asked for something too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A string, byte field, array or frame is longer than its length field can say.
    #[error("{length} exceeds the protocol's limit of {max}")]
    TooLong {
        /// Actual length, in bytes or elements.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The version is outside what this codec speaks.
    #[error("{api:?} has no version {version} here")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
    },
}

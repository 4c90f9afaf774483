//! Where one request frame ends: a decision over the bytes at hand, without I/O.
//!
//! ```text
//! | size i32 | api key i16 | version i16 | correlation id i32 | client id .. | body .. |
//! '- needed -'- needed too: it decides how much memory the request may take
//! ```
//!
//! **Promise.** Nothing is reserved for a frame before its size and API passed [`next_frame`], and what is reserved
//! then ([`FrameHead::reserve_bytes`]) covers the frame and everything its decoder can make of it. Any thread.

use crate::protocol::kafka::api::ApiKey;
use crate::protocol::kafka::wire::FRAME_SIZE_BYTES;

/// The smallest request: key, version, correlation id and the length of a client id.
pub(crate) const HEADER_BYTES_MIN: usize = 10;

/// Bytes needed before a frame can be judged: its size and its API key.
pub(crate) const HEAD_BYTES: usize = FRAME_SIZE_BYTES + 2;

/// Largest frame of any request but Produce. A Fetch of 100 000 partitions takes about 3 MB.
pub(crate) const PLAIN_FRAME_BYTES_MAX: usize = 8 << 20;

/// Most bytes of memory the decoder makes of one byte of request; see `wire`.
const DECODE_FACTOR_MAX: usize = 42;

/// What a Produce request takes beside its frame: its records are borrowed.
const PRODUCE_RESERVE_BYTES: usize = 1024;

/// The beginning of a frame, judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameHead {
    /// Bytes that follow the size field.
    pub(crate) size: usize,
    /// Whose they are, as sent.
    pub(crate) api_key: i16,
}

impl FrameHead {
    /// Bytes to reserve before the rest is read.
    pub(crate) const fn reserve_bytes(self) -> usize {
        let beside = if self.api_key == ApiKey::Produce.key() {
            PRODUCE_RESERVE_BYTES
        } else {
            self.size.saturating_mul(DECODE_FACTOR_MAX)
        };
        self.size.saturating_add(beside)
    }
}

/// What the bytes at hand are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// Not enough to judge: come back with this many bytes in all.
    Incomplete {
        /// How many.
        needed: usize,
    },
    /// A frame begins here.
    Begins(FrameHead),
}

/// Why the connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum FrameFault {
    /// Negative, zero, or too small for a header.
    #[error("frame size {0} is too small for a request")]
    TooSmall(i32),
    /// Above the limit for its API.
    #[error("frame size {size} exceeds {limit}")]
    TooLarge {
        /// The size field.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

/// Judges the frame that begins at the start of `buffered`.
///
/// # Errors
/// [`FrameFault`]; a hopeless size is noticed as soon as its four bytes are there.
pub(crate) fn next_frame(buffered: &[u8], frame_bytes_max: usize) -> Result<Framing, FrameFault> {
    let Some((size, rest)) = buffered.split_first_chunk::<FRAME_SIZE_BYTES>() else {
        return Ok(Framing::Incomplete {
            needed: FRAME_SIZE_BYTES,
        });
    };
    let claimed = i32::from_be_bytes(*size);
    let size = usize::try_from(claimed)
        .ok()
        .filter(|size| *size >= HEADER_BYTES_MIN)
        .ok_or(FrameFault::TooSmall(claimed))?;
    check_size(size, frame_bytes_max)?;
    let Some(key) = rest.first_chunk() else {
        return Ok(Framing::Incomplete { needed: HEAD_BYTES });
    };
    let api_key = i16::from_be_bytes(*key);
    if api_key != ApiKey::Produce.key() {
        check_size(size, PLAIN_FRAME_BYTES_MAX)?;
    }
    Ok(Framing::Begins(FrameHead { size, api_key }))
}

const fn check_size(size: usize, limit: usize) -> Result<(), FrameFault> {
    if size > limit {
        return Err(FrameFault::TooLarge { size, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 100 << 20;

    fn head(size: i32, key: i16) -> Vec<u8> {
        [&size.to_be_bytes()[..], &key.to_be_bytes()].concat()
    }

    #[test]
    fn it_asks_for_the_size_then_for_the_key() {
        let bytes = head(20, 3);
        for have in 0..FRAME_SIZE_BYTES {
            assert_eq!(
                next_frame(&bytes[..have], MAX),
                Ok(Framing::Incomplete { needed: 4 })
            );
        }
        for have in FRAME_SIZE_BYTES..HEAD_BYTES {
            assert_eq!(
                next_frame(&bytes[..have], MAX),
                Ok(Framing::Incomplete { needed: 6 })
            );
        }
        let begins = Framing::Begins(FrameHead { size: 20, api_key: 3 });
        assert_eq!(next_frame(&bytes, MAX), Ok(begins));
    }

    #[test]
    fn hopeless_sizes_are_refused_from_four_bytes() {
        for size in [i32::MIN, -1, 0, 1, 9] {
            assert_eq!(
                next_frame(&size.to_be_bytes(), MAX),
                Err(FrameFault::TooSmall(size))
            );
        }
        assert!(matches!(
            next_frame(&i32::MAX.to_be_bytes(), MAX),
            Err(FrameFault::TooLarge { .. })
        ));
        // What an HTTP client sends.
        assert!(next_frame(b"GET / HTTP/1.1", MAX).is_err());
    }

    #[test]
    fn only_produce_may_fill_a_large_frame() {
        let size = 9 << 20;
        assert!(next_frame(&head(size, 0), MAX).is_ok());
        assert!(next_frame(&head(size, 3), MAX).is_err());
    }

    #[test]
    fn produce_reserves_its_frame_and_others_what_decoding_makes_of_it() {
        let reserve = |api_key| FrameHead { size: 1000, api_key }.reserve_bytes();
        assert_eq!(reserve(0), 2024);
        assert_eq!(reserve(3), 43_000);
    }
}

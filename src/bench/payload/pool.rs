//! The values and keys of one worker's messages, made once and stamped in place.
//!
//! A request takes a run of neighbouring slots ([`Pool::stamp`]), the protocol copies them into its output, and the slots
//! are free again: one copy a message, no allocation. Small requests walk through a few slots that stay in the cache.

use super::{Message, Stamp};
use crate::base::random::Random;

/// Slots that small requests take turns with; enough bytes that neighbours differ, few enough to stay in the cache.
const HOT_BYTES: usize = 64 * 1024;

/// Keys there are; as many as the OpenMessaging Benchmark uses.
pub const KEYS: usize = 10_000;

/// Bytes of a key: as many hexadecimal digits.
pub const KEY_BYTES: usize = 8;

/// The pool.
#[derive(Debug)]
pub struct Pool {
    bytes: Vec<u8>,
    value_bytes: usize,
    slots: usize,
    hot: usize,
    cursor: usize,
    keys: Vec<[u8; KEY_BYTES]>,
}

impl Pool {
    /// A pool of values of `value_bytes`, for requests of up to `messages` messages.
    #[must_use]
    pub fn new(value_bytes: usize, messages: usize, mut random: Random) -> Self {
        let hot = (HOT_BYTES / value_bytes.max(1)).max(1);
        let slots = messages.max(hot).max(1);
        let mut bytes = vec![0; slots * value_bytes];
        if value_bytes > 0 {
            for value in bytes.chunks_mut(value_bytes) {
                // The front is random, the rest zeros: half random as a whole, the stamp coming on top.
                random.fill(&mut value[..value_bytes.div_ceil(2)]);
            }
        }
        let keys = (0..KEYS).map(|number| {
            let mut key = [0; KEY_BYTES];
            for (place, digit) in key.iter_mut().rev().enumerate() {
                *digit = HEX[number >> (4 * place) & 0xf];
            }
            key
        });
        Self {
            bytes,
            value_bytes,
            slots,
            hot,
            cursor: 0,
            keys: keys.collect(),
        }
    }

    /// Most messages a request may take.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// Takes `count` neighbouring slots, at most [`Self::slots`], and returns the first.
    pub const fn take(&mut self, count: usize) -> usize {
        let limit = if count > self.hot { self.slots } else { self.hot };
        if self.cursor + count > limit {
            self.cursor = 0;
        }
        let first = self.cursor;
        self.cursor += count;
        first
    }

    /// Stamps the value in `slot`.
    pub fn stamp(&mut self, slot: usize, stamp: &Stamp) {
        let start = slot * self.value_bytes;
        stamp.write(&mut self.bytes[start..start + self.value_bytes]);
    }

    /// The value in `slot`, with the key of number `key`, if there is one.
    #[must_use]
    pub fn message(&self, slot: usize, key: Option<usize>) -> Message<'_> {
        let start = slot * self.value_bytes;
        Message {
            key: key.map(|number| self.keys[number % KEYS].as_slice()),
            value: &self.bytes[start..start + self.value_bytes],
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_take_slots_in_turn_and_never_past_the_end() {
        let mut pool = Pool::new(64 * 1024, 10, Random::new(1, 1));
        assert_eq!(pool.slots(), 10);
        assert_eq!((pool.take(1), pool.take(1)), (0, 0), "one hot slot");
        assert_eq!((pool.take(4), pool.take(4)), (1, 5));
        assert_eq!(pool.take(10), 0);
    }

    #[test]
    fn values_are_half_random_and_keys_are_digits() {
        let mut pool = Pool::new(1000, 1, Random::new(1, 1));
        let stamp = Stamp {
            run: 1,
            intended_ns: 2,
            producer: 3,
            sequence: 4,
        };
        pool.stamp(1, &stamp);
        let message = pool.message(1, Some(0x1f));
        assert_eq!(message.key, Some(b"0000001f".as_slice()));
        assert_eq!(Stamp::read(message.value), Some(stamp));
        let zeros = message.value[500..].iter().filter(|byte| **byte == 0).count();
        assert_eq!(zeros, 500);
        let zeros = message.value[28..500].iter().filter(|byte| **byte == 0).count();
        assert!(zeros < 20, "{zeros} zeros in the random half");
        assert_ne!(pool.message(2, None).value, pool.message(3, None).value);
    }
}

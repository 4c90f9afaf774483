//! The last offset of each key of the uncleaned part of a log, in bounded memory.
//!
//! Keys are not kept: 128 bits of a keyed hash stand for them, so that a slot is 24 bytes whatever the key. The hash keys
//! are drawn anew for each map; nobody outside can make two keys collide, and by chance two of a million do so once in
//! 10^26 passes. The table is allocated at once, no larger than the bound and than the records can fill.

use crate::base::Offset;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Bytes of one key in the map.
pub const SLOT_BYTES: usize = size_of::<Slot>();

/// The fewest slots a map has.
const SLOTS_MIN: usize = 64;

/// No offset, for an empty slot; offsets end at `i64::MAX`.
const EMPTY: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct Slot {
    hash: (u64, u64),
    offset: u64,
}

/// See the module.
pub struct KeyMap {
    slots: Box<[Slot]>,
    used: usize,
    hashers: [RandomState; 2],
}

impl std::fmt::Debug for KeyMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyMap")
            .field("used", &self.used)
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

/// The map has no room for another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl KeyMap {
    /// A map for the keys of at most `records` records, in at most about `memory_bytes`.
    #[must_use]
    pub fn new(memory_bytes: usize, records: u64) -> Self {
        // A power of two, so that a place is found by a mask; not above the bound.
        let bound = (memory_bytes / SLOT_BYTES).max(SLOTS_MIN);
        let bound = (bound + 1).next_power_of_two() / 2;
        let wanted = usize::try_from(records.saturating_mul(2)).unwrap_or(usize::MAX);
        let slots = wanted.clamp(SLOTS_MIN, bound).next_power_of_two().min(bound);
        let empty = Slot {
            hash: (0, 0),
            offset: EMPTY,
        };
        Self {
            slots: vec![empty; slots].into(),
            used: 0,
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    /// Keys in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.used
    }

    /// Whether it holds no key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Notes that `key` has a record at `offset`; offsets of a key rise.
    ///
    /// # Errors
    /// [`Full`] when the key is new and there is no room; nothing changes then.
    pub fn note(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        let hash = self.hash(key);
        let at = self.find(hash);
        if self.slots[at].offset == EMPTY {
            // A quarter stays free, so that chains stay short.
            if self.used >= self.slots.len() / 4 * 3 {
                return Err(Full);
            }
            self.used += 1;
        }
        self.slots[at] = Slot {
            hash,
            offset: offset.get(),
        };
        Ok(())
    }

    /// The last offset noted for `key`.
    #[must_use]
    pub fn latest(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slots[self.find(self.hash(key))];
        (slot.offset != EMPTY).then(|| Offset::new(slot.offset))
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        let one = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write(key);
            hasher.finish()
        };
        (one(&self.hashers[0]), one(&self.hashers[1]))
    }

    /// The slot of `hash`, or the empty one where it belongs.
    fn find(&self, hash: (u64, u64)) -> usize {
        let mask = self.slots.len() - 1;
        // Truncation is meant: any bits will do.
        let mut at = usize::try_from(hash.0 & u64::from(u32::MAX)).unwrap_or(0) & mask;
        while self.slots[at].offset != EMPTY && self.slots[at].hash != hash {
            at = (at + 1) & mask;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::HashMap;

    #[test]
    fn the_bound_on_memory_holds_and_known_keys_always_fit() {
        for memory in [0, 1, 5_000, 100_000] {
            let mut map = KeyMap::new(memory, u64::MAX);
            assert!(map.slots.len() * SLOT_BYTES <= memory.max(SLOTS_MIN * SLOT_BYTES));
            let mut noted = 0_u64;
            while map.note(&noted.to_le_bytes(), Offset::new(noted)).is_ok() {
                noted += 1;
            }
            assert_eq!(map.len() as u64, noted);
            assert!(noted >= SLOTS_MIN as u64 / 2);
            assert_eq!(map.latest(&noted.to_le_bytes()), None);
            for key in 0..noted {
                map.note(&key.to_le_bytes(), Offset::new(key + noted)).unwrap();
                assert_eq!(map.latest(&key.to_le_bytes()), Some(Offset::new(key + noted)));
            }
        }
    }

    #[test]
    fn few_records_take_little() {
        assert_eq!(KeyMap::new(16 << 20, 10).slots.len(), SLOTS_MIN);
        assert!(KeyMap::new(16 << 20, 1 << 40).slots.len() * SLOT_BYTES <= 16 << 20);
    }

    proptest::proptest! {
        #[test]
        fn it_answers_like_a_map(keys in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..4), 0..300)) {
            let mut map = KeyMap::new(1 << 20, keys.len() as u64);
            let mut naive = HashMap::default();
            for (offset, key) in keys.iter().enumerate() {
                map.note(key, Offset::new(offset as u64)).unwrap();
                naive.insert(key.clone(), Offset::new(offset as u64));
            }
            for (key, offset) in &naive {
                proptest::prop_assert_eq!(map.latest(key), Some(*offset));
            }
            proptest::prop_assert_eq!(map.len(), naive.len());
        }
    }
}

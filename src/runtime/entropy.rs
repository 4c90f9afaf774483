//! Random numbers that nobody outside should foretell: names, ids, seeds.
//!
//! From the kernel; in a simulated world (`runtime::sim`, unit tests only) from its dice.

use std::hash::{BuildHasher, RandomState};
use uuid::Uuid;

/// A random UUID (version 4).
#[must_use]
pub fn uuid() -> Uuid {
    #[cfg(test)]
    if let Some(world) = super::sim::here() {
        let bits = u128::from(world.entropy()) << 64 | u128::from(world.entropy());
        return uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
    }
    Uuid::new_v4()
}

/// A random number.
#[must_use]
pub fn number() -> u64 {
    #[cfg(test)]
    if let Some(world) = super::sim::here() {
        return world.entropy();
    }
    // The keys of a hash map's hasher are the kernel's randomness.
    RandomState::new().hash_one(0_u8)
}

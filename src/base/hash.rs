//! The hash tables of whatever runs inside a broker.
//!
//! The standard library's, with its random keys: clients choose many of the keys, so nobody may know how they hash. In unit
//! tests with fixed keys, so that a simulated run can be repeated to the last step. Make them with `default()`.

#[cfg(not(test))]
use std::hash::RandomState as Keys;

#[cfg(test)]
type Keys = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// A hash map.
pub type HashMap<K, V> = std::collections::HashMap<K, V, Keys>;

/// A hash set.
pub type HashSet<T> = std::collections::HashSet<T, Keys>;

//! Topics: their names, and what they are to every shard.
//!
//! The keys of their configuration are in `keys`, what it comes to in `settings`. Kafka's names, rules and
//! defaults; a value that would promise something we do not keep is refused.

mod keys;
mod settings;

pub use keys::{ConfigKey, KEYS, Listing, behind, key_of};
pub use settings::{StoredCompression, TimestampBounds, TopicDefaults, TopicSettings, settings};

use crate::base::TopicId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Kafka's limit on topic names, in bytes.
pub const NAME_BYTES_MAX: usize = 249;

/// Most partitions a topic may have.
pub const PARTITIONS_MAX: u32 = 100_000;

/// Why a topic name or configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopicError {
    /// The name breaks Kafka's rules.
    #[error("topic name {0:?} is not valid: use 1 to 249 of [a-zA-Z0-9._-], not \".\" or \"..\"")]
    Name(String),
    /// No such key.
    #[error("unknown topic config {0:?}")]
    UnknownKey(String),
    /// The value is not one the key takes.
    #[error("invalid value {value:?} for {key}: {expected}")]
    Value {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// Two values that cannot go together.
    #[error("min.compaction.lag.ms ({min}) is more than max.compaction.lag.ms ({max})")]
    Lags {
        /// The shorter time, which is the longer.
        min: i64,
        /// The longer one.
        max: i64,
    },
}

/// Checks a topic name against Kafka's rules, which also make it a safe directory name.
///
/// # Errors
/// [`TopicError::Name`].
pub fn check_name(name: &str) -> Result<(), TopicError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name == "."
        || name == ".."
        || !name.bytes().all(legal)
    {
        return Err(TopicError::Name(name.to_owned()));
    }
    Ok(())
}

/// Names of the topics the broker keeps its own state in.
const INTERNAL: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// Whether the broker alone writes, alters and deletes the topic of that name. Clients may read it.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// What two names must not share: Kafka's metrics write a dot as an underscore, so names that differ in these alone would be
/// one. `None` for a name that has neither and collides with nobody.
#[must_use]
pub fn shape(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

/// Checks all that a topic would set.
///
/// # Errors
/// [`TopicError`] for the first key or value that is not acceptable.
pub fn check_overrides(overrides: &BTreeMap<String, String>) -> Result<(), TopicError> {
    for (name, value) in overrides {
        let key = key_of(name).ok_or_else(|| TopicError::UnknownKey(name.clone()))?;
        key.domain.check(value).map_err(|expected| TopicError::Value {
            key: name.clone(),
            value: value.clone(),
            expected,
        })?;
    }
    let lag = |name: &str| overrides.get(name).and_then(|value| value.trim().parse().ok());
    let min: i64 = lag("min.compaction.lag.ms").unwrap_or(0);
    let max: i64 = lag("max.compaction.lag.ms").unwrap_or(i64::MAX);
    if min > max {
        return Err(TopicError::Lags { min, max });
    }
    Ok(())
}

/// A topic as every shard sees it. Immutable; a change makes a new one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub id: TopicId,
    /// Partitions `0..partitions`.
    pub partitions: u32,
    /// What was set explicitly.
    pub overrides: BTreeMap<String, String>,
    /// What that comes to.
    pub settings: TopicSettings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A.b_c-9", &"x".repeat(249)] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", &"x".repeat(250)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_differ_in_dots_and_underscores_have_one_shape() {
        assert_eq!(shape("a.b_c"), shape("a_b.c"));
        assert_ne!(shape("a.b"), shape("a.c"));
        assert_eq!(shape("a-b"), None);
    }

    #[test]
    fn what_would_promise_too_much_is_refused() {
        for pairs in [
            &[("cleanup.policy", "shrink")][..],
            &[("min.insync.replicas", "0")],
            &[("remote.storage.enable", "true")],
            &[("segment.bytes", "1")],
            &[("nope", "1")],
            &[("min.compaction.lag.ms", "5"), ("max.compaction.lag.ms", "4")],
        ] {
            let overrides = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert!(check_overrides(&overrides).is_err(), "{pairs:?}");
        }
    }
}

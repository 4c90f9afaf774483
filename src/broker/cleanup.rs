//! How a topic's old records leave: what `cleanup.policy` and the keys of compaction come to.
//!
//! Plain values, parsed from the texts that [`super::topic`] accepted; retention and the cleaner of the owning shard obey
//! them. Absent: how either works.

use std::time::Duration;

/// What `cleanup.policy` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CleanupPolicy {
    /// Nothing leaves, except what DeleteRecords removes.
    Keep,
    /// Old segments are removed, by age and by size.
    #[default]
    Delete,
    /// Of each key only the last record stays.
    Compact,
    /// Both.
    CompactAndDelete,
}

impl CleanupPolicy {
    /// Reads Kafka's text: a list of `delete` and `compact` in any order, or nothing. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mut compacts, mut deletes) = (false, false);
        if text.trim().is_empty() {
            return Some(Self::Keep);
        }
        for word in text.split(',') {
            match word.trim() {
                "compact" => compacts = true,
                "delete" => deletes = true,
                _ => return None,
            }
        }
        Some(match (compacts, deletes) {
            (true, true) => Self::CompactAndDelete,
            (true, false) => Self::Compact,
            _ => Self::Delete,
        })
    }

    /// Whether retention applies.
    #[must_use]
    pub const fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::CompactAndDelete)
    }

    /// Whether the cleaner applies, and records must have keys.
    #[must_use]
    pub const fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }
}

/// A share of one, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ratio(u32);

impl Ratio {
    /// All of it.
    pub const ONE: Self = Self(1_000_000);

    /// Kafka's default of `min.cleanable.dirty.ratio`.
    pub const HALF: Self = Self(500_000);

    /// Reads a number from 0 to 1; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value: f64 = text.trim().parse().ok()?;
        if !(0.0..=1.0).contains(&value) {
            return None;
        }
        // Six digits of the decimal text; going through the text avoids a lossy cast.
        let digits = format!("{value:.6}");
        let (whole, fraction) = digits.split_once('.')?;
        Some(Self(
            whole.parse::<u32>().ok()? * Self::ONE.0 + fraction.parse::<u32>().ok()?,
        ))
    }

    /// The share `part` has of `whole`; of nothing it is none.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Self {
        let millionths = u128::from(part.min(whole)) * u128::from(Self::ONE.0);
        let millionths = millionths.checked_div(u128::from(whole)).unwrap_or(0);
        Self(u32::try_from(millionths).unwrap_or(Self::ONE.0))
    }
}

/// When the cleaner may and must work on a log, and how long tombstones stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompactionSettings {
    /// Records younger than this, by the broker's clock, are left alone.
    pub min_lag: Duration,
    /// Records older than this must become cleanable: the active segment is rolled for them.
    pub max_lag: Duration,
    /// Share of a log that must be uncleaned before it is worth a pass.
    pub min_dirty: Ratio,
    /// How long a tombstone stays readable after it was first cleaned.
    pub delete_retention: Duration,
}

impl Default for CompactionSettings {
    fn default() -> Self {
        Self {
            min_lag: Duration::ZERO,
            max_lag: FOREVER,
            min_dirty: Ratio::HALF,
            delete_retention: Duration::from_secs(24 * 3600),
        }
    }
}

/// Kafka's "never": 2^63 - 1 milliseconds.
pub const FOREVER: Duration = Duration::from_millis(i64::MAX.cast_unsigned());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_lists_in_any_order() {
        for (text, policy) in [
            ("", CleanupPolicy::Keep),
            ("delete", CleanupPolicy::Delete),
            (" compact", CleanupPolicy::Compact),
            ("compact,delete", CleanupPolicy::CompactAndDelete),
            ("delete, compact", CleanupPolicy::CompactAndDelete),
            ("delete,delete", CleanupPolicy::Delete),
        ] {
            assert_eq!(CleanupPolicy::parse(text), Some(policy), "{text:?}");
        }
        for bad in ["none", "compact;delete", "compact,", ","] {
            assert_eq!(CleanupPolicy::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn ratios_keep_six_digits() {
        assert_eq!(Ratio::parse("0.5"), Some(Ratio::HALF));
        assert_eq!(Ratio::parse("1"), Some(Ratio::ONE));
        assert_eq!(Ratio::parse("0.000001"), Some(Ratio(1)));
        assert_eq!(Ratio::parse("1.1"), None);
        assert_eq!(Ratio::parse("NaN"), None);
        assert_eq!(Ratio::of(1, 2), Ratio::HALF);
        assert_eq!(Ratio::of(5, 0), Ratio(0));
        assert_eq!(Ratio::of(u64::MAX, u64::MAX), Ratio::ONE);
    }
}

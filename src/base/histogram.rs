//! [`Histogram`]: how long things took, in buckets that grow with the value.
//!
//! **Promise.** Any time from 0 ns to [`Histogram::MAX_NS`] falls into a bucket at most 1/32 wider than its lower bound
//! (exact below 64 ns), longer ones into the last. Recording is a handful of instructions and never allocates. Two
//! histograms add up, and the later of two snapshots minus the earlier is the interval between them.
//!
//! **Layout.** Buckets come in runs of 32 of equal width; each run is twice as wide as the one before:
//!
//! ```text
//! bucket   0 ..  63   one nanosecond each: 0, 1, .. 63
//! bucket  64 ..  95   2 ns each: 64-65, 66-67, .. 126-127
//! bucket  96 .. 127   4 ns each: 128-131, .. 252-255
//! ...                 width 2^(bucket / 32 - 1)
//! bucket 992 .. 1023  2^30 ns each, up to 2^36 - 1 ns (68.7 s)
//! ```
//!
//! Any thread owns its own; nothing here is shared. Absent: units other than nanoseconds, and time itself.

use std::time::Duration;

/// Equal parts of each power of two, as a power of two.
const PARTS_BITS: u32 = 5;
const PARTS: usize = 1 << PARTS_BITS;

/// Below this every nanosecond has a bucket of its own.
const LINEAR_MASK: u64 = (1 << (PARTS_BITS + 1)) - 1;

/// First power of two that is too long.
const MAX_BITS: u32 = 36;

/// Number of buckets.
const BUCKETS: usize = PARTS * (MAX_BITS as usize - PARTS_BITS as usize + 1);

/// What [`Histogram::quantile_ns`] counts in.
pub const QUANTILE_PARTS: u64 = 10_000;

/// See the module. About 8 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            sum_ns: 0,
            max_ns: 0,
        }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("sum_ns", &self.sum_ns)
            .field("max_ns", &self.max_ns)
            .finish_non_exhaustive()
    }
}

impl Histogram {
    /// Longest time told apart; longer ones count as this in the buckets, but not in sum and maximum.
    pub const MAX_NS: u64 = (1 << MAX_BITS) - 1;

    /// Adds one time.
    #[inline]
    pub fn record(&mut self, took_ns: u64) {
        self.record_many(took_ns, 1);
    }

    /// Adds one time for each of `count` things that took it together.
    #[inline]
    pub fn record_many(&mut self, took_ns: u64, count: u64) {
        self.counts[bucket(took_ns)] += count;
        self.sum_ns = self.sum_ns.saturating_add(took_ns.saturating_mul(count));
        if count > 0 {
            self.max_ns = self.max_ns.max(took_ns);
        }
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all times, in ns, saturating.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The mean in ns, zero if nothing was recorded.
    #[must_use]
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count()).unwrap_or(0)
    }

    /// The longest time in ns, exact unless this is the difference of two snapshots.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The time in ns that `parts` of [`QUANTILE_PARTS`] do not exceed (9 990 is p99.9), as the upper bound of its bucket and
    /// never above the maximum; zero if nothing was recorded.
    #[must_use]
    pub fn quantile_ns(&self, parts: u64) -> u64 {
        let wanted = u128::from(self.count()) * u128::from(parts.min(QUANTILE_PARTS));
        let rank = wanted.div_ceil(u128::from(QUANTILE_PARTS)).max(1);
        let mut seen = 0_u128;
        for (upper_ns, count) in self.buckets() {
            seen += u128::from(count);
            if seen >= rank {
                return upper_ns.min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// The buckets that hold anything, ascending: the longest time of each in ns, and how many fell into it.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let all = self.counts.iter().enumerate();
        all.filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| (upper_ns(bucket), *count))
    }

    /// A histogram from what [`buckets`](Self::buckets), [`sum_ns`](Self::sum_ns) and [`max_ns`](Self::max_ns) gave.
    #[must_use]
    pub fn from_parts(buckets: impl IntoIterator<Item = (u64, u64)>, sum_ns: u64, max_ns: u64) -> Self {
        let mut made = Self::default();
        for (upper_ns, count) in buckets {
            made.counts[bucket(upper_ns)] += count;
        }
        made.sum_ns = sum_ns;
        made.max_ns = max_ns;
        made
    }

    /// How many are at most `bound_ns`; exact where the bound is one of a bucket, such as a power of two less one.
    #[must_use]
    pub fn count_up_to(&self, bound_ns: u64) -> u64 {
        let all = self.buckets();
        all.take_while(|(upper_ns, _)| *upper_ns <= bound_ns)
            .map(|(_, count)| count)
            .sum()
    }

    /// Adds everything `other` has.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// What was recorded after the snapshot `earlier` of the same histogram. Its maximum is known to a bucket's width only.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut made = self.clone();
        for (mine, theirs) in made.counts.iter_mut().zip(earlier.counts.iter()) {
            *mine = mine.saturating_sub(*theirs);
        }
        made.sum_ns = self.sum_ns.saturating_sub(earlier.sum_ns);
        made.max_ns = match made.buckets().last() {
            None => 0,
            // The last bucket has no upper end.
            Some((Self::MAX_NS, _)) => self.max_ns,
            Some((upper_ns, _)) => upper_ns.min(self.max_ns),
        };
        made
    }
}

/// A duration in whole nanoseconds, saturating after 584 years.
#[must_use]
pub fn whole_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[inline]
fn bucket(ns: u64) -> usize {
    let ns = ns.min(Histogram::MAX_NS);
    // The highest bit of what is not linear decides the width.
    let shift = (ns | LINEAR_MASK).ilog2() - PARTS_BITS;
    let bucket = (u64::from(shift) << PARTS_BITS) + (ns >> shift);
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The longest time in `bucket`.
fn upper_ns(bucket: usize) -> u64 {
    let shift = (bucket / PARTS).saturating_sub(1);
    let part = u64::try_from(bucket - shift * PARTS).unwrap_or(u64::MAX);
    ((part + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_one_another_without_gap_or_overlap() {
        let mut next = 0;
        for at in 0..BUCKETS {
            assert_eq!(bucket(next), at, "{next} ns begins bucket {at}");
            assert_eq!(bucket(upper_ns(at)), at);
            next = upper_ns(at) + 1;
        }
        assert_eq!(next, Histogram::MAX_NS + 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_a_known_series() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ns(5_000), 0);
        (1..=1000).for_each(|us| histogram.record(us * 1000));
        for (parts, exact_ns) in [(5_000, 500_000), (9_000, 900_000), (9_900, 990_000)] {
            let found = histogram.quantile_ns(parts);
            assert!(
                (exact_ns..=exact_ns + exact_ns / 32).contains(&found),
                "{parts}: {found}"
            );
        }
        assert_eq!(histogram.quantile_ns(QUANTILE_PARTS), 1_000_000);
        assert_eq!(
            (histogram.count(), histogram.max_ns(), histogram.mean_ns()),
            (1000, 1_000_000, 500_500)
        );
    }

    #[test]
    fn counts_up_to_a_power_of_two_are_exact() {
        let mut histogram = Histogram::default();
        [1023, 1024, 1025, 5_000]
            .into_iter()
            .for_each(|ns| histogram.record(ns));
        assert_eq!(histogram.count_up_to(1023), 1);
        assert_eq!(histogram.count_up_to(2047), 3);
        assert_eq!(histogram.count_up_to(u64::MAX), 4);
    }

    #[test]
    fn many_at_once_are_as_many_one_by_one() {
        let (mut together, mut apart) = (Histogram::default(), Histogram::default());
        together.record_many(77_000, 3);
        together.record_many(1 << 40, 0);
        (0..3).for_each(|_| apart.record(77_000));
        assert_eq!(together, apart);
    }

    fn times() -> impl Strategy<Value = Vec<u64>> {
        let one = prop_oneof![0..100_u64, 0..10_000_000_u64, any::<u64>()];
        proptest::collection::vec(one, 0..60)
    }

    fn of(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        times.iter().for_each(|ns| histogram.record(*ns));
        histogram
    }

    proptest! {
        #[test]
        fn merging_equals_recording_everything_in_one(one in times(), other in times()) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(merged, of(&[one, other].concat()));
        }

        #[test]
        fn the_difference_of_snapshots_is_what_came_between(before in times(), after in times()) {
            let mut later = of(&before);
            after.iter().for_each(|ns| later.record(*ns));
            let between = later.since(&of(&before));
            prop_assert_eq!(between.buckets().collect::<Vec<_>>(), of(&after).buckets().collect::<Vec<_>>());
            prop_assert!(between.max_ns() >= of(&after).max_ns() || after.is_empty());
        }

        #[test]
        fn parts_make_the_histogram_again(times in times()) {
            let whole = of(&times);
            let again = Histogram::from_parts(whole.buckets(), whole.sum_ns(), whole.max_ns());
            prop_assert_eq!(again, whole);
        }

        #[test]
        fn a_quantile_is_at_most_a_bucket_above_the_exact_one(mut times in times(), parts in 1..=QUANTILE_PARTS) {
            prop_assume!(!times.is_empty());
            let found = of(&times).quantile_ns(parts);
            times.sort_unstable();
            let rank = (times.len() as u64 * parts).div_ceil(QUANTILE_PARTS).max(1);
            let exact = times[usize::try_from(rank).unwrap() - 1].min(Histogram::MAX_NS);
            prop_assert!(found >= exact && found <= exact + exact / 32, "{} for {}", found, exact);
        }
    }
}

//! A small seeded generator, so that a run can be repeated message by message.
//!
//! Promise: the same seed gives the same numbers for ever (SplitMix64: one 64-bit counter, well mixed, every value once
//! in 2^64). Fit for load, for faults and for tests; not for secrets. One per user (`stream`), so that none depends on how many
//! numbers another has drawn.

/// A generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of `seed` for one of many users: `stream` keeps theirs apart.
    #[must_use]
    pub const fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self::of_state(seed ^ stream.wrapping_mul(STREAM_STEP));
        // Neighbouring seeds must not give neighbouring first numbers.
        random.next();
        random
    }

    /// The generator whose counter stands at `state`: all there is to it, so that a printed number brings it back.
    #[must_use]
    pub const fn of_state(state: u64) -> Self {
        Self(state)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, which must not be 0; the bias of the multiplication is below `bound` / 2^64.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> u64::BITS).expect("it is below a usize")
    }

    /// A number in `(0, 1]`: never 0, so that its logarithm exists.
    pub fn unit(&mut self) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        ((self.next() >> 11) + 1) as f64 / STEPS
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(size_of::<u64>()) {
            let next = self.next().to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}

/// The counter's step: 2^64 divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Any odd number unrelated to the step.
const STREAM_STEP: u64 = 0xd134_2543_de82_ef95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_streams_differ() {
        let first = |seed, stream| Random::new(seed, stream).next();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(1, 3));
        assert_ne!(first(1, 2), first(2, 2));
    }

    #[test]
    fn units_are_spread_evenly() {
        let mut random = Random::new(42, 0);
        let units: Vec<f64> = (0..100_000).map(|_| random.unit()).collect();
        assert!(units.iter().all(|unit| *unit > 0.0 && *unit <= 1.0));
        let tenths = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|tenth| {
            let (above, upto) = (f64::from(tenth) / 10.0, f64::from(tenth + 1) / 10.0);
            units
                .iter()
                .filter(|unit| **unit > above && **unit <= upto)
                .count()
        });
        assert!(
            tenths.iter().all(|count| (9_500..10_500).contains(count)),
            "{tenths:?}"
        );
    }
}

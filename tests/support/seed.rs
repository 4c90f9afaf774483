//! Random choices that can be made again: a small generator and the seed it prints.
//!
//! The seed comes from the environment variable `CORELOG_SEED`, or else from the clock and the process. It is
//! printed where the test harness shows it when a test fails. Statistical quality is beside the point.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// xorshift64*: one word of state, never zero.
pub(crate) struct Seed(u64);

impl Seed {
    /// A generator for one test, its seed printed together with the test's name.
    pub(crate) fn announced(test: &str) -> Self {
        let given = std::env::var("CORELOG_SEED").ok();
        let seed = given.map_or_else(fresh, |text| text.parse().expect("CORELOG_SEED is a number"));
        eprintln!("{test}: CORELOG_SEED={seed}");
        Self(seed.max(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number of the range.
    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// That many bytes.
    pub(crate) fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

fn fresh() -> u64 {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |since| u64::from(since.subsec_nanos()));
    (u64::from(std::process::id()) << 32) | nanos
}

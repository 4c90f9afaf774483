//! How fast one core copies and sums, within its caches and beyond them.

use std::hint::black_box;
use std::time::Duration;

use super::{MemoryRate, per_second};
use crate::base::checksum::crc32c;
use crate::runtime::clock;

/// One working set that stays in a core's own cache, one that stays in none.
const WORKING_SETS: [usize; 2] = [64 << 10, 64 << 20];

/// Bytes handled between two looks at the clock.
const STRIDE: usize = 64 << 10;

pub(super) fn measure(duration: Duration) -> Vec<MemoryRate> {
    let mut rates = Vec::new();
    for working_set in WORKING_SETS {
        let source = vec![0x5a_u8; working_set];
        let mut target = vec![0_u8; working_set];
        let half = duration / 2;
        rates.push(MemoryRate {
            what: "memcpy".to_owned(),
            working_set,
            bytes_per_second: rate(working_set, half, |at| {
                target[at..at + STRIDE].copy_from_slice(&source[at..at + STRIDE]);
                black_box(&mut target);
            }),
        });
        rates.push(MemoryRate {
            what: "crc32c".to_owned(),
            working_set,
            bytes_per_second: rate(working_set, half, |at| {
                black_box(crc32c(black_box(&source[at..at + STRIDE])));
            }),
        });
    }
    rates
}

/// Strides through a working set again and again; the first round, which faults pages in, does not count.
fn rate(working_set: usize, duration: Duration, mut work: impl FnMut(usize)) -> f64 {
    (0..working_set).step_by(STRIDE).for_each(&mut work);
    let begun = clock::now();
    let mut bytes = 0;
    for at in (0..working_set).step_by(STRIDE).cycle() {
        work(at);
        bytes += STRIDE as u64;
        let took = clock::now().since(begun);
        if took >= duration {
            return per_second(bytes, took);
        }
    }
    0.0
}

//! A sparse table from `u64` to small plain things, for keys that come in dense stretches: offsets, sequences.
//!
//! Pages of [`PAGE`] entries in an ordered map: an entry costs its own size while keys are dense, and a lying key (an
//! offset near 2^64 that a broken broker made up) costs one page. Entries that were never touched are the default.

use std::collections::BTreeMap;
use std::ops::Range;

/// Entries of a page.
const PAGE: u64 = 256;

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Pages<T> {
    pages: BTreeMap<u64, Box<[T]>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
        }
    }
}

impl<T: Copy + Default> Pages<T> {
    /// The entry of `key`, the default if nobody wrote it.
    pub(super) fn at(&self, key: u64) -> T {
        self.pages
            .get(&(key / PAGE))
            .map_or_else(T::default, |page| page[slot(key)])
    }

    /// The entry of `key`, to be written.
    pub(super) fn entry(&mut self, key: u64) -> &mut T {
        let page = self
            .pages
            .entry(key / PAGE)
            .or_insert_with(|| (0..PAGE).map(|_| T::default()).collect());
        &mut page[slot(key)]
    }

    /// The entries of the keys in `range` that lie on a page somebody wrote to, in the order of keys.
    pub(super) fn range(&self, range: Range<u64>) -> impl Iterator<Item = (u64, T)> + '_ {
        let pages = self.pages.range(range.start / PAGE..);
        let end = range.end;
        pages
            .take_while(move |(page, _)| **page * PAGE < end)
            .flat_map(|(page, entries)| (page * PAGE..=page * PAGE + (PAGE - 1)).zip(entries.iter().copied()))
            .filter(move |(key, _)| range.contains(key))
    }
}

fn slot(key: u64) -> usize {
    usize::try_from(key % PAGE).expect("below the length of a page")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_far_apart_cost_a_page_each() {
        let mut table = Pages::<u32>::default();
        for key in [0, 1, PAGE, u64::MAX] {
            *table.entry(key) += 1;
        }
        assert_eq!(table.pages.len(), 3);
        assert_eq!((table.at(1), table.at(2), table.at(5 * PAGE)), (1, 0, 0));
        let written: Vec<u64> = table
            .range(1..u64::MAX)
            .filter(|(_, n)| *n > 0)
            .map(|(key, _)| key)
            .collect();
        assert_eq!(written, [1, PAGE]);
    }
}

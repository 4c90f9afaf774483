//! The bytes of a disk, kept in memory page by page; pages that were never written, or only with zeros, take none.
//!
//! Two images share the pages they have in common ([`Image::share`], and `clone`): what the disk holds for certain and
//! what it would answer to a read differ only in what was written since the last flush. Everything here is arithmetic on
//! a vector; offsets beyond the end are a caller's error and panic.

use std::ops::Range;
use std::sync::Arc;

/// What pages are shared and allocated by.
const PAGE: usize = 4096;

type Page = [u8; PAGE];

/// The content of a disk. Cloning costs a counter for each page, not the bytes.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pages: Vec<Option<Arc<Page>>>,
}

impl Image {
    /// `bytes` zeros, rounded up to whole pages.
    pub(super) fn zeros(bytes: u64) -> Self {
        Self {
            pages: vec![None; index(bytes).div_ceil(PAGE)],
        }
    }

    /// Copies what begins at `offset` into `out`.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        let mut at = index(offset);
        let mut out = out;
        while !out.is_empty() {
            let within = at % PAGE;
            let length = out.len().min(PAGE - within);
            let (piece, rest) = out.split_at_mut(length);
            match &self.pages[at / PAGE] {
                Some(page) => piece.copy_from_slice(&page[within..within + length]),
                None => piece.fill(0),
            }
            out = rest;
            at += length;
        }
    }

    /// Puts `data` at `offset`.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let mut at = index(offset);
        let mut data = data;
        while !data.is_empty() {
            let within = at % PAGE;
            let (piece, rest) = data.split_at(data.len().min(PAGE - within));
            let page = &mut self.pages[at / PAGE];
            // Zeros over nothing are nothing: a zero-filled file costs no memory.
            if page.is_some() || piece.iter().any(|byte| *byte != 0) {
                let page = page.get_or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(page)[within..within + piece.len()].copy_from_slice(piece);
            }
            data = rest;
            at += piece.len();
        }
    }

    /// Takes the pages that `range` touches from `other`, without copying them.
    pub(super) fn share(&mut self, other: &Self, range: Range<u64>) {
        let pages = index(range.start) / PAGE..index(range.end).div_ceil(PAGE);
        self.pages[pages.clone()].clone_from_slice(&other.pages[pages]);
    }

    /// Every offset at which `pattern`, which is not empty and not all zeros, begins.
    pub(super) fn find(&self, pattern: &[u8]) -> Vec<u64> {
        assert!(
            (1..=PAGE).contains(&pattern.len()) && pattern.iter().any(|byte| *byte != 0),
            "a pattern is at most a page, and not zeros, which are everywhere"
        );
        let mut found = Vec::new();
        let mut window = vec![0; PAGE + pattern.len() - 1];
        for (number, page) in self.pages.iter().enumerate() {
            // What begins in a page may end in the next, and a page of zeros may begin it only if the pattern does.
            let next = self.pages.get(number + 1).and_then(Option::as_ref);
            if page.is_none() && (next.is_none() || pattern[0] != 0) {
                continue;
            }
            let (head, tail) = window.split_at_mut(PAGE);
            match page {
                Some(page) => head.copy_from_slice(&page[..]),
                None => head.fill(0),
            }
            match next {
                Some(next) => tail.copy_from_slice(&next[..tail.len()]),
                None => tail.fill(0),
            }
            let base = u64::try_from(number * PAGE).expect("an offset fits");
            found.extend(positions(&window, pattern).map(|at| base + at));
        }
        found
    }
}

/// Where `pattern` begins in `bytes`.
pub(super) fn positions<'a>(bytes: &'a [u8], pattern: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
    let starts = bytes.iter().zip(0_u64..).filter(|(byte, _)| **byte == pattern[0]);
    starts
        .map(|(_, at)| at)
        .filter(move |at| bytes[index(*at)..].starts_with(pattern))
}

/// A byte count or an offset of something that is in memory.
pub(super) fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("it is in memory, so it fits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn reads_give_what_was_written_last_and_zeros_elsewhere() {
        let mut image = Image::zeros(40_000);
        let mut model = vec![0; image.pages.len() * PAGE];
        let mut random = Random::new(7, 0);
        for _ in 0..300 {
            let offset = random.below(model.len());
            let mut data = vec![0; random.below(9000.min(model.len() - offset) + 1)];
            if random.below(3) > 0 {
                random.fill(&mut data);
            }
            image.write(u64::try_from(offset).unwrap(), &data);
            model[offset..offset + data.len()].copy_from_slice(&data);
            let from = random.below(model.len());
            let mut read = vec![1; random.below(model.len() - from + 1)];
            image.read(u64::try_from(from).unwrap(), &mut read);
            assert_eq!(read, model[from..from + read.len()]);
        }
    }

    #[test]
    fn a_shared_page_is_copied_when_one_side_changes_it() {
        let mut current = Image::zeros(3 * 4096);
        let mut durable = current.clone();
        current.write(4000, &[1; 200]);
        durable.share(&current, 4000..4200);
        current.write(4095, &[2; 2]);
        let mut read = [0; 4];
        durable.read(4094, &mut read);
        assert_eq!(read, [1; 4]);
        current.read(4094, &mut read);
        assert_eq!(read, [1, 2, 2, 1]);
    }

    #[test]
    fn a_pattern_is_found_across_pages_and_zeros_cost_nothing() {
        let mut image = Image::zeros(1 << 30);
        image.write(512 << 20, &vec![0; 1 << 20]);
        assert!(image.pages.iter().all(Option::is_none));
        image.write(8190, b"needle");
        image.write(100, b"needless");
        image.write(20_480, b"\x01");
        assert_eq!(image.find(b"needle"), [100, 8190]);
        assert_eq!(image.find(b"\0\x01"), [20_479]);
    }
}

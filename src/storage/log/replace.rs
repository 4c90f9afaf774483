//! Putting a cleaned segment in the place of those it was made of, while readers go on.

use super::{Log, Retired};
use crate::base::Offset;
use crate::runtime::disk::File;
use crate::storage::index::SegmentSummary;
use crate::storage::segment::Segment;

/// Tells a segment from the one it took the place of: positions in the one mean nothing in the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Edition(u64);

impl Log {
    /// Whether the segments of `[base, end)` may be replaced: whole, sealed, durable and indexed, not damaged, and with a
    /// successor whose file is there, because the last file of a log is where recovery appends.
    #[must_use]
    pub fn is_replaceable(&self, base: Offset, end: Offset) -> bool {
        let first = self.segments.partition_point(|segment| segment.base < base);
        let after = self.segments.partition_point(|segment| segment.base < end);
        let group = self.segments.range(first..after);
        let whole = group.clone().next().is_some_and(|segment| segment.base == base)
            && group
                .clone()
                .next_back()
                .is_some_and(|segment| segment.end == end);
        let next = self.segments.get(after);
        whole && group.clone().all(Segment::is_settled) && next.is_some_and(|next| next.on_disk)
    }

    /// What the index file of `segment`, which is to replace those of its range, has to say.
    #[must_use]
    pub fn replacement_summary(&self, segment: &Segment, producers: Vec<u8>) -> SegmentSummary {
        self.summary(segment, producers)
    }

    /// Puts `segment` in the place of those of its range, which [`is_replaceable`](Self::is_replaceable) must allow, and
    /// gives them, oldest first. Readers use `file` until [`replaced`](Self::replaced) says that it has its name.
    pub fn replace(&mut self, mut segment: Segment, file: File) -> Vec<Retired> {
        assert!(
            self.is_replaceable(segment.base, segment.end),
            "asked before the new segment was committed"
        );
        self.editions += 1;
        segment.edition = Edition(self.editions);
        segment.file = Some(file);
        let first = self.segments.partition_point(|old| old.base < segment.base);
        let after = self.segments.partition_point(|old| old.base < segment.end);
        let old = self.segments.drain(first..after).map(|old| Retired {
            base: old.base,
            capacity: old.capacity,
        });
        let old = old.collect();
        self.segments.insert(first, segment);
        old
    }

    /// The file of the replacement at `base` has its name; readers open it as any other.
    pub fn replaced(&mut self, base: Offset) {
        if let Some(segment) = self.segment_mut(base) {
            segment.file = None;
        }
    }

    /// The edition of the segment at `base`, while there is one.
    #[must_use]
    pub fn edition(&self, base: Offset) -> Option<Edition> {
        let at = self.segments.partition_point(|segment| segment.base < base);
        let segment = self.segments.get(at).filter(|segment| segment.base == base);
        segment.map(|segment| segment.edition)
    }
}

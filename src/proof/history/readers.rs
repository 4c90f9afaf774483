//! What one reader got, in the order in which it got it: nothing left out, nothing twice, nothing backwards.
//!
//! A reader is judged against the offsets it was given one after the other. A jump forward is no fault by itself: offsets
//! may be missing for good reasons. It is one if somebody else knows a value in between, so jumps are kept and judged in
//! the end, when everything is known. Readers that were [assigned](Attachment::Assigned) their partitions are judged
//! within and between answers; those of a group ([`Attachment::Subscribed`]) within answers only, because a rebalance may
//! come between (what groups may leave out is `super::groups`' matter). Compacted logs have holes anywhere: there
//! only going back is a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::violation::{Findings, Violation, Within};
use super::{History, Log, Partition, Place, Value};

/// A reader, by a number of its owner's choice; a new one for each client process or object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reader(pub u64);

impl fmt::Display for Reader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "reader {}", self.0)
    }
}

/// How a reader came to its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// It chose them and keeps them.
    Assigned,
    /// A group gave them to it and may take them away.
    Subscribed,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// The offset each expects next.
    next: BTreeMap<(Reader, Partition), u64>,
    jumps: BTreeSet<Jump>,
}

/// Offsets `[from, to)` that a reader was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Jump {
    reader: Reader,
    partition: Partition,
    from: u64,
    to: u64,
    within: Within,
}

impl History {
    /// One answer that `reader` got, its records in their order.
    pub fn polled(
        &mut self,
        reader: Reader,
        attachment: Attachment,
        records: impl IntoIterator<Item = (Place, Value)>,
    ) {
        let mut begun = BTreeSet::new();
        for (place, value) in records {
            let within = if begun.insert(place.partition) {
                Within::Reader
            } else {
                Within::Answer
            };
            let expected = self
                .readers
                .next
                .insert((reader, place.partition), place.offset.saturating_add(1));
            self.seen(place, value);
            if let Some(expected) = expected
                && (within == Within::Answer || attachment == Attachment::Assigned)
            {
                self.step(reader, place, expected, within);
            }
        }
    }

    /// `reader` goes on somewhere else in `partition` by its own will: a seek, a reset, a rebalance.
    pub fn moved(&mut self, reader: Reader, partition: Partition) {
        self.readers.next.remove(&(reader, partition));
    }

    /// Judges where a reader got one record after another.
    fn step(&mut self, reader: Reader, at: Place, expected: u64, within: Within) {
        if at.offset < expected {
            self.found.push(Violation::PollBack {
                reader,
                at,
                expected,
                within,
            });
            return;
        }
        let log = self.logs.entry(at.partition).or_default();
        // What may have been deleted by now need not be given.
        let from = expected.max(log.trim_asked);
        if from < at.offset && log.keys.is_none() {
            self.readers.jumps.insert(Jump {
                reader,
                partition: at.partition,
                from,
                to: at.offset,
                within,
            });
        }
    }
}

impl Readers {
    /// Judges the jumps by what is known now.
    pub(super) fn check(&self, logs: &BTreeMap<Partition, Log>, found: &mut Findings) {
        for jump in &self.jumps {
            let log = logs.get(&jump.partition);
            let first = log.and_then(|log| log.known(jump.from..jump.to).next());
            if let Some((offset, slot)) = first {
                let partition = jump.partition;
                found.push(Violation::PollSkip {
                    reader: jump.reader,
                    skipped: (Place { partition, offset }, slot.value()),
                    from: jump.from,
                    to: jump.to,
                    within: jump.within,
                });
            }
        }
    }
}

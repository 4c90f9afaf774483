//! The judge of what clients saw: what was acknowledged is there, once, at its offset, in order, unchanged.
//!
//! Whoever drives a broker (the kill loops, `corelog prove`, the simulator) tells the [`History`] what happened, in the
//! order in which it learned of it: an **acknowledgement** (a producer was told that its value has this offset), a
//! **refusal** (it was told that the value was definitely not written), a **sight** (some reader saw this value at this
//! offset) and a **read** (everything from an offset to the end of a log). A send nobody tells about is one whose outcome
//! nobody knows: its value may be there or not. The history keeps the first value ever known at an offset, for ever;
//! whatever contradicts that, or a rule of [`Rule`], is a [`Violation`] with its witness.
//!
//! Nothing here waits, reads a clock or starts a thread, and nothing depends on hashes or addresses: the same
//! observations in the same order give the same findings. A record costs 24 bytes for its place, 24 for its send and 16
//! more if its times are known. Absent: the rules about transactions (aborted and precommitted reads, cycles, torn
//! transactions).
//!
//! [Readers](History::polled) and [groups](History::committed) are judged by what they were given one after the other.

mod groups;
mod pages;
mod readers;
mod registers;
mod value;
mod violation;

use std::collections::BTreeMap;

use groups::Groups;
use pages::Pages;
use readers::Readers;
use registers::Registers;

pub use groups::Group;
pub use readers::{Attachment, Reader};
pub use value::{Partition, Place, Value};
pub use violation::{Findings, KEPT, Rule, Source, Violation, Within};

/// Everything observed so far.
#[derive(Debug, Default)]
pub struct History {
    logs: BTreeMap<Partition, Log>,
    producers: BTreeMap<u32, Producer>,
    readers: Readers,
    groups: Groups,
    registers: Registers,
    acked: u64,
    found: Findings,
}

/// What is known of one partition.
#[derive(Debug, Default)]
struct Log {
    slots: Pages<Slot>,
    /// Behind the last acknowledged offset, and behind the last one seen.
    acked_end: u64,
    seen_end: u64,
    /// The end that the last read found.
    end: Option<u64>,
    /// When the send of an acknowledged record began and ended.
    spans: Pages<Span>,
    /// The highest start anybody asked for, and the highest that was granted.
    trim_asked: u64,
    trimmed: u64,
    /// Keys of each producer, if the log is compacted.
    keys: Option<u64>,
    /// Which read was the last.
    reads: u32,
}

/// When a send began and ended, by a clock that never goes back; `ended` of 0 for unknown.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    began: u64,
    ended: u64,
}

/// What is known of one offset: a value, if either flag is set.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    sequence: u64,
    producer: u32,
    sum: u32,
    acked: bool,
    seen: bool,
    /// Another value was there later.
    displaced: bool,
    /// The read that gave it last.
    read: u32,
}

impl Slot {
    const fn value(self) -> Value {
        Value {
            producer: self.producer,
            sequence: self.sequence,
            sum: self.sum,
        }
    }

    const fn source(self) -> Option<Source> {
        match (self.seen, self.acked) {
            (true, _) => Some(Source::Read),
            (false, true) => Some(Source::Acked),
            (false, false) => None,
        }
    }
}

/// What is known of one producer.
#[derive(Debug, Default)]
struct Producer {
    sends: Pages<Send>,
    /// How many sends it attempted at most.
    attempted: u64,
}

/// What is known of one send.
#[derive(Clone, Copy, Debug, Default)]
struct Send {
    /// Where its value was first seen or acknowledged: a partition and one more than the offset, 0 for nowhere.
    partition: u64,
    behind: u64,
    refused: bool,
    /// It was acknowledged, and nobody was told where.
    acked: bool,
}

impl History {
    /// `producer` began at most `count` sends so far; values beyond are nobody's ([`Rule::Phantom`]).
    pub fn attempted(&mut self, producer: u32, count: u64) {
        let known = self.producers.entry(producer).or_default();
        known.attempted = known.attempted.max(count);
    }

    /// A producer was told that `value` is durable at `place`.
    pub fn acked(&mut self, place: Place, value: Value) {
        let log = self.logs.entry(place.partition).or_default();
        log.acked_end = log.acked_end.max(place.offset.saturating_add(1));
        if self.settle(place, value, Source::Acked) {
            self.acked += 1;
        }
    }

    /// [`acked`](Self::acked), and the send began and ended at these times: ticks of one clock of the caller's that never
    /// goes back, whatever its unit; the judge compares them and no more. An end of 0 is one that nobody knows.
    pub fn acked_between(&mut self, place: Place, value: Value, began: u64, ended: u64) {
        self.acked(place, value);
        let log = self.logs.entry(place.partition).or_default();
        *log.spans.entry(place.offset) = Span { began, ended };
    }

    /// A producer was told that `value` is durable, but not where: a batch that it repeated and the broker remembered.
    pub fn acked_somewhere(&mut self, value: Value) {
        let producer = self.producers.entry(value.producer).or_default();
        producer.sends.entry(value.sequence).acked = true;
        self.acked += 1;
    }

    /// A producer was told that `value` was not written and never will be.
    pub fn refused(&mut self, value: Value) {
        let producer = self.producers.entry(value.producer).or_default();
        producer.sends.entry(value.sequence).refused = true;
    }

    /// Some reader saw `value` at `place`.
    pub fn seen(&mut self, place: Place, value: Value) {
        let log = self.logs.entry(place.partition).or_default();
        log.seen_end = log.seen_end.max(place.offset.saturating_add(1));
        self.settle(place, value, Source::Read);
    }

    /// Some reader saw something at `place` that no producer makes.
    pub fn alien(&mut self, place: Place, bytes: &[u8]) {
        let shown = &bytes[..bytes.len().min(ALIEN_BYTES_SHOWN)];
        self.found.push(Violation::Alien {
            at: place,
            bytes: String::from_utf8_lossy(shown).into_owned(),
        });
    }

    /// `partition` is compacted; the key of a value is its producer and its sequence modulo `keys`. Reads may leave out what
    /// a later record of the same key replaces ([`Rule::Compaction`]).
    pub fn compacted(&mut self, partition: Partition, keys: u64) {
        self.logs.entry(partition).or_default().keys = Some(keys.max(1));
    }

    /// Somebody asks the broker to delete everything below `before`: from now on it need not be readable.
    pub fn trim_begun(&mut self, partition: Partition, before: u64) {
        let log = self.logs.entry(partition).or_default();
        log.trim_asked = log.trim_asked.max(before);
    }

    /// Somebody was told that everything below `start` is deleted.
    pub fn trimmed(&mut self, partition: Partition, start: u64) {
        let log = self.logs.entry(partition).or_default();
        log.trimmed = log.trimmed.max(start);
        self.started_at(partition, start);
    }

    /// Somebody was told that the log begins at `start` ([`Rule::Trim`]).
    pub fn started_at(&mut self, partition: Partition, start: u64) {
        let log = self.logs.entry(partition).or_default();
        if start < log.trimmed || start > log.trim_asked {
            self.found.push(Violation::Trim {
                start: Place {
                    partition,
                    offset: start,
                },
                trimmed: log.trimmed,
                asked: log.trim_asked,
            });
        }
    }

    /// A read of `[from, end)` of a partition gave these records; `end` is where the log ended.
    pub fn read(
        &mut self,
        partition: Partition,
        from: u64,
        end: u64,
        records: impl IntoIterator<Item = (u64, Value)>,
    ) {
        let log = self.logs.entry(partition).or_default();
        log.reads = log.reads.saturating_add(1);
        log.end = Some(end);
        let (number, holes) = (log.reads, log.keys.is_some());
        let mut next = from;
        for (offset, value) in records {
            if offset < next || (offset > next && !holes) {
                self.gap(partition, next, offset);
            }
            next = offset.saturating_add(1);
            self.seen(Place { partition, offset }, value);
            let log = self.logs.entry(partition).or_default();
            log.slots.entry(offset).read = number;
        }
        if next < end && !holes {
            self.gap(partition, next, end);
        }
    }

    /// The log of a partition ends at `end`, and a reader that began behind the last acknowledgement has read up to there.
    pub fn ended_at(&mut self, partition: Partition, end: u64) {
        self.logs.entry(partition).or_default().end = Some(end);
    }

    /// How many acknowledged values are known.
    #[must_use]
    pub const fn acked_count(&self) -> u64 {
        self.acked
    }

    /// How many of the acknowledged values somebody read where they have to be.
    #[must_use]
    pub fn found_count(&self) -> u64 {
        let of = |log: &Log| {
            let found = log
                .slots
                .range(0..u64::MAX)
                .filter(|(_, slot)| slot.acked && slot.seen && !slot.displaced);
            u64::try_from(found.count()).expect("a count is a u64")
        };
        let unplaced = self.producers.values().map(|producer| {
            let found = producer.sends.range(0..producer.attempted);
            let found = found.filter(|(_, send)| send.acked && send.behind != 0);
            u64::try_from(found.count()).expect("a count is a u64")
        });
        self.logs.values().map(of).sum::<u64>() + unplaced.sum::<u64>()
    }

    /// The contradictions among what was told: what can be said before the logs are read.
    #[must_use]
    pub const fn so_far(&self) -> &Findings {
        &self.found
    }

    /// Judges every acknowledgement and every sight at or above `from` (zero where none is given) against what the logs
    /// hold now, as the last [`read`](Self::read) of each partition showed it, and gives every violation so far.
    ///
    /// Call it after reads that began after the last acknowledgement was noted.
    #[must_use]
    pub fn check(&self, from: &BTreeMap<Partition, u64>) -> Findings {
        let mut found = self.found.clone();
        for (&partition, log) in &self.logs {
            let start = from.get(&partition).copied().unwrap_or(0);
            log.check(partition, start.max(log.trim_asked), &mut found);
        }
        found
    }

    /// [`check`](Self::check) of everything from offset zero, with the order of each producer and of time, what each
    /// producer attempted, and what readers and groups left out.
    #[must_use]
    pub fn check_all(&self) -> Findings {
        let mut found = self.check(&BTreeMap::new());
        for (&partition, log) in &self.logs {
            self.check_senders(partition, log, &mut found);
            log.check_times(partition, &mut found);
        }
        for (&number, producer) in &self.producers {
            producer.check(number, &mut found);
        }
        self.readers.check(&self.logs, &mut found);
        self.groups.check(&self.logs, &mut found);
        found
    }

    /// Notes a value at a place, and says whether it is new from this source.
    fn settle(&mut self, place: Place, value: Value, source: Source) -> bool {
        let log = self.logs.entry(place.partition).or_default();
        let slot = log.slots.entry(place.offset);
        let before = *slot;
        if let Some(first) = before.source() {
            let there = before.value();
            if !there.same_send(value) || !there.same_bytes(value) {
                // If what was there before was acknowledged, it is lost.
                slot.displaced |= !there.same_send(value);
                self.found.push(Violation::Inconsistent {
                    at: place,
                    first: (first, there),
                    then: (source, value),
                });
                return false;
            }
        }
        *slot = Slot {
            sequence: value.sequence,
            producer: value.producer,
            sum: value.sum.max(before.sum),
            acked: before.acked || source == Source::Acked,
            seen: before.seen || source == Source::Read,
            displaced: before.displaced,
            read: before.read,
        };
        if before.source().is_none() {
            self.place_of(place, value);
        }
        match source {
            Source::Acked => !before.acked,
            Source::Read => !before.seen,
        }
    }

    /// Notes where a send's value is, which must be one place.
    fn place_of(&mut self, place: Place, value: Value) {
        let producer = self.producers.entry(value.producer).or_default();
        let send = producer.sends.entry(value.sequence);
        if send.behind != 0 {
            self.found.push(Violation::Duplicate {
                value,
                first: Place::new(send.partition, send.behind - 1),
                again: place,
            });
            return;
        }
        send.partition = place.partition.0;
        send.behind = place.offset.saturating_add(1);
    }

    fn gap(&mut self, partition: Partition, offset: u64, before: u64) {
        self.found.push(Violation::Gap {
            missing: Place { partition, offset },
            before,
        });
    }

    /// What only the senders' side tells: values nobody sent or that were refused, and the order of each producer.
    fn check_senders(&self, partition: Partition, log: &Log, found: &mut Findings) {
        let mut latest: BTreeMap<u32, (u64, Slot)> = BTreeMap::new();
        for (offset, slot) in log.slots.range(0..u64::MAX) {
            let (at, value) = (Place { partition, offset }, slot.value());
            if slot.source().is_none() {
                continue;
            }
            let producer = self.producers.get(&value.producer);
            if producer.is_none_or(|known| value.sequence >= known.attempted) {
                found.push(Violation::Phantom { at, value });
            }
            if slot.seen && producer.is_some_and(|known| known.sends.at(value.sequence).refused) {
                found.push(Violation::Refused { at, value });
            }
            let before = latest.insert(value.producer, (offset, slot));
            if let Some((offset, before)) = before.filter(|(_, before)| before.sequence > value.sequence) {
                let after = (Place { partition, offset }, before.value());
                found.push(if slot.acked && before.acked {
                    Violation::NonmonotonicSend { at, value, after }
                } else {
                    Violation::Disorder { at, value, after }
                });
            }
        }
    }
}

impl Producer {
    /// Values that were acknowledged nobody knows where, and are nowhere. A compacted log may have replaced one.
    fn check(&self, number: u32, found: &mut Findings) {
        for (sequence, send) in self.sends.range(0..u64::MAX) {
            if send.acked && send.behind == 0 {
                let value = Value::new(number, sequence);
                found.push(Violation::Missing { value });
            }
        }
    }
}

impl Log {
    /// What was acknowledged or seen in `[start, ..)` and is not there.
    fn check(&self, partition: Partition, start: u64, found: &mut Findings) {
        let at = |offset| Place { partition, offset };
        let end = self.end.unwrap_or(self.seen_end);
        if let Some(keys) = self.keys {
            self.check_compacted(partition, start, keys, found);
        }
        for (offset, slot) in self.slots.range(start..self.acked_end.max(self.seen_end)) {
            let value = slot.value();
            if slot.acked && offset >= end {
                let acked = at(offset);
                found.push(Violation::Unseen { acked, value, end });
            } else if slot.acked && (slot.displaced || !slot.seen && self.keys.is_none()) {
                found.push(Violation::LostWrite {
                    acked: at(offset),
                    value,
                    read_beyond: end - 1,
                });
            }
            if slot.seen && offset >= end {
                let seen = at(offset);
                found.push(Violation::Vanished { seen, value, end });
            }
        }
    }
}

impl Log {
    /// The values known in a range, in the order of offsets.
    fn known(&self, range: std::ops::Range<u64>) -> impl Iterator<Item = (u64, Slot)> + '_ {
        self.slots
            .range(range)
            .filter(|(_, slot)| slot.source().is_some())
    }

    /// The newest value of each key that is known below the end must be in the last read.
    fn check_compacted(&self, partition: Partition, start: u64, keys: u64, found: &mut Findings) {
        let mut latest: BTreeMap<(u32, u64), (u64, Slot)> = BTreeMap::new();
        for (offset, slot) in self.known(start..self.end.unwrap_or(0)) {
            latest.insert((slot.producer, slot.sequence % keys), (offset, slot));
        }
        for (offset, slot) in latest.into_values().filter(|(_, slot)| slot.read != self.reads) {
            let latest = (Place { partition, offset }, slot.value());
            found.push(Violation::Compaction { latest, keys });
        }
    }

    /// A send that began after another had ended lies behind it.
    fn check_times(&self, partition: Partition, found: &mut Findings) {
        let at = |offset| Place { partition, offset };
        // The latest begin among the records below, and where.
        let mut latest = (0, 0);
        for (offset, span) in self.spans.range(0..self.acked_end) {
            if span.ended != 0 && span.ended < latest.0 {
                found.push(Violation::RealTime {
                    ended: (at(offset), self.slots.at(offset).value()),
                    began_later: (at(latest.1), self.slots.at(latest.1).value()),
                });
            }
            latest = latest.max((span.began, offset));
        }
    }
}

/// Bytes of a foreign value that a witness shows.
const ALIEN_BYTES_SHOWN: usize = 80;

#[cfg(test)]
mod tests;

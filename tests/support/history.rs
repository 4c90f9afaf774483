//! The judge of what clients saw: what was acknowledged is there, once, at its offset, in order, unchanged.
//!
//! Values are unique: `producer:sequence:filling`, each producer counting its sequences up from zero over all
//! its partitions. The history takes three kinds of observation: an acknowledgement (a producer was told that
//! its value has this offset), a sight (some reader saw this value at this offset) and a read of a log's whole
//! stretch up to its end. It keeps the first value ever seen at an offset, for ever; whatever contradicts that,
//! or any rule below, is a [`Violation`] with its witness.
//!
//! The rules, for idempotent producers that never give up: an acknowledged value is at its offset (or its offset
//! is lost); no offset ever shows two values; a value is at one offset only; offsets are dense up to the end, and
//! an end never lies below what was seen; a producer's values in one partition come in the order it sent them; no
//! value is in the log that nobody attempted. Nothing here waits or reads a clock.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// A partition of the one topic under test.
pub(crate) type Partition = i32;

/// Where a value was seen or acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) partition: Partition,
    pub(crate) offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.partition, self.offset)
    }
}

/// One broken promise, with the facts that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A producer was told of this offset, and the log ends below it.
    Lost { acked: Place, value: String, end: u64 },
    /// A producer was told of this offset, and another value is there.
    Misplaced {
        acked: Place,
        value: String,
        found: String,
    },
    /// One offset, two values, at two times.
    Changed {
        at: Place,
        before: String,
        after: String,
    },
    /// One value, two offsets.
    Duplicate {
        value: String,
        first: Place,
        again: Place,
    },
    /// A read that should have held this offset did not.
    Gap { missing: Place, before: u64 },
    /// The log ends below something a reader saw.
    Vanished { seen: Place, value: String, end: u64 },
    /// A later offset holds an earlier value of the same producer.
    Disorder { at: Place, value: String, after: String },
    /// A value nobody sent.
    Phantom { at: Place, value: String },
}

/// Which producer, and its how-manyth value.
type Identity = (u32, u64);

/// Everything observed so far.
#[derive(Default)]
pub(crate) struct History {
    seen: BTreeMap<Place, String>,
    acked: BTreeMap<Place, String>,
    first_place: HashMap<Identity, Place>,
    ends: HashMap<Partition, u64>,
    violations: Vec<Violation>,
}

impl History {
    /// A producer was told that `value` is durable at `place`.
    pub(crate) fn acked(&mut self, place: Place, value: &str) {
        match self.acked.get(&place) {
            Some(before) if before != value => {
                self.violations.push(changed(place, before, value));
            }
            Some(_) => {}
            None => {
                self.acked.insert(place, value.to_owned());
            }
        }
    }

    /// Some reader saw `value` at `place`.
    pub(crate) fn seen(&mut self, place: Place, value: &str) {
        if let Some(before) = self.seen.get(&place) {
            if before != value {
                self.violations.push(changed(place, before, value));
            }
            return;
        }
        match identity(value) {
            None => self.violations.push(Violation::Phantom {
                at: place,
                value: value.to_owned(),
            }),
            Some(identity) => {
                let first = *self.first_place.entry(identity).or_insert(place);
                if first != place {
                    self.violations.push(Violation::Duplicate {
                        value: value.to_owned(),
                        first,
                        again: place,
                    });
                }
            }
        }
        self.seen.insert(place, value.to_owned());
    }

    /// A read of `[from, end)` of a partition gave these records; `end` is where the log ended.
    pub(crate) fn read(&mut self, partition: Partition, from: u64, end: u64, records: &[(u64, String)]) {
        let mut next = from;
        for (offset, value) in records {
            if *offset != next {
                self.violations.push(Violation::Gap {
                    missing: Place {
                        partition,
                        offset: next,
                    },
                    before: *offset,
                });
            }
            next = offset + 1;
            self.seen(
                Place {
                    partition,
                    offset: *offset,
                },
                value,
            );
        }
        if next < end {
            self.violations.push(Violation::Gap {
                missing: Place {
                    partition,
                    offset: next,
                },
                before: end,
            });
        }
        self.ends.insert(partition, end);
    }

    /// How many acknowledgements are known.
    pub(crate) fn acked_count(&self) -> usize {
        self.acked.len()
    }

    /// Judges every acknowledgement and every sight at or above `from` per partition against what the logs hold
    /// now, as the last [`read`](Self::read) of each partition showed it, and gives every violation so far.
    ///
    /// Call it after reads that began after the last acknowledgement was noted.
    pub(crate) fn check(&self, from: &HashMap<Partition, u64>) -> Vec<Violation> {
        let mut found = self.violations.clone();
        for (&partition, &end) in &self.ends {
            let start = Place {
                partition,
                offset: from.get(&partition).copied().unwrap_or(0),
            };
            let stop = Place {
                partition,
                offset: u64::MAX,
            };
            for (&acked, value) in self.acked.range(start..=stop) {
                match self.seen.get(&acked) {
                    _ if acked.offset >= end => {
                        found.push(Violation::Lost {
                            acked,
                            value: value.clone(),
                            end,
                        });
                    }
                    Some(there) if there == value => {}
                    Some(there) => found.push(Violation::Misplaced {
                        acked,
                        value: value.clone(),
                        found: there.clone(),
                    }),
                    None => found.push(Violation::Gap {
                        missing: acked,
                        before: end,
                    }),
                }
            }
            let above_end = Place {
                partition,
                offset: end,
            };
            for (&seen, value) in self.seen.range(above_end..=stop) {
                found.push(Violation::Vanished {
                    seen,
                    value: value.clone(),
                    end,
                });
            }
        }
        found
    }

    /// [`check`](Self::check) of everything from offset zero, with each producer's order, and with how many values
    /// each producer attempted, which bounds what may be in the logs.
    pub(crate) fn check_all(&self, attempted: &HashMap<u32, u64>) -> Vec<Violation> {
        let mut found = self.check(&HashMap::new());
        let mut latest: HashMap<(Partition, u32), (u64, &str)> = HashMap::new();
        for (&at, value) in &self.seen {
            let Some((producer, sequence)) = identity(value) else {
                continue;
            };
            if attempted.get(&producer).is_none_or(|&count| sequence >= count) {
                found.push(Violation::Phantom {
                    at,
                    value: value.clone(),
                });
            }
            let before = latest.insert((at.partition, producer), (sequence, value));
            if let Some((_, after)) = before.filter(|(earlier, _)| *earlier >= sequence) {
                found.push(Violation::Disorder {
                    at,
                    value: value.clone(),
                    after: after.to_owned(),
                });
            }
        }
        found
    }
}

fn changed(at: Place, before: &str, after: &str) -> Violation {
    Violation::Changed {
        at,
        before: before.to_owned(),
        after: after.to_owned(),
    }
}

/// The producer and sequence that a value names; nothing for a value that no producer of ours makes.
fn identity(value: &str) -> Option<Identity> {
    let mut parts = value.splitn(3, ':');
    let identity = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().map(|_| identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(partition: Partition, offset: u64) -> Place {
        Place { partition, offset }
    }

    fn read(history: &mut History, from: u64, end: u64, values: &[&str]) {
        let records: Vec<_> = (from..)
            .zip(values.iter().map(|value| (*value).to_owned()))
            .collect();
        history.read(0, from, end, &records);
    }

    fn all(history: &History) -> Vec<Violation> {
        history.check_all(&HashMap::from([(1, 100), (2, 100)]))
    }

    #[test]
    fn a_good_history_has_no_violation() {
        let mut history = History::default();
        history.acked(at(0, 0), "1:0:a");
        history.acked(at(0, 2), "1:4:c");
        history.seen(at(0, 1), "2:7:b");
        read(&mut history, 0, 3, &["1:0:a", "2:7:b", "1:4:c"]);
        read(&mut history, 1, 3, &["2:7:b", "1:4:c"]);
        assert_eq!(all(&history), []);
        assert_eq!(history.acked_count(), 2);
    }

    #[test]
    fn an_acknowledged_record_beyond_the_end_is_lost() {
        let mut history = History::default();
        history.acked(at(0, 1), "1:1:b");
        read(&mut history, 0, 1, &["1:0:a"]);
        assert_eq!(
            all(&history),
            [Violation::Lost {
                acked: at(0, 1),
                value: "1:1:b".into(),
                end: 1
            }]
        );
    }

    #[test]
    fn an_acknowledged_record_elsewhere_is_misplaced() {
        let mut history = History::default();
        history.acked(at(0, 0), "1:1:b");
        read(&mut history, 0, 2, &["1:0:a", "1:1:b"]);
        let found = Violation::Misplaced {
            acked: at(0, 0),
            value: "1:1:b".into(),
            found: "1:0:a".into(),
        };
        assert_eq!(all(&history), [found]);
    }

    #[test]
    fn an_offset_acknowledged_twice_with_two_values_has_changed() {
        let mut history = History::default();
        history.acked(at(0, 0), "1:0:a");
        history.acked(at(0, 0), "2:0:b");
        assert!(matches!(all(&history)[..], [Violation::Changed { .. }]));
    }

    #[test]
    fn a_value_that_a_reader_saw_may_not_change() {
        let mut history = History::default();
        history.seen(at(0, 0), "1:0:a");
        read(&mut history, 0, 1, &["1:0:A"]);
        let found = Violation::Changed {
            at: at(0, 0),
            before: "1:0:a".into(),
            after: "1:0:A".into(),
        };
        assert_eq!(all(&history), [found]);
    }

    #[test]
    fn a_value_at_two_offsets_is_a_duplicate() {
        let mut history = History::default();
        read(&mut history, 0, 3, &["1:0:a", "1:1:b", "1:0:a"]);
        let found = all(&history);
        let duplicate = Violation::Duplicate {
            value: "1:0:a".into(),
            first: at(0, 0),
            again: at(0, 2),
        };
        assert!(found.contains(&duplicate), "{found:?}");
    }

    #[test]
    fn a_missing_offset_is_a_gap() {
        let mut history = History::default();
        history.read(0, 0, 3, &[(0, "1:0:a".into()), (2, "1:1:b".into())]);
        assert_eq!(
            all(&history),
            [Violation::Gap {
                missing: at(0, 1),
                before: 2
            }]
        );
    }

    #[test]
    fn a_read_that_stops_before_the_end_is_a_gap() {
        let mut history = History::default();
        read(&mut history, 0, 2, &["1:0:a"]);
        assert_eq!(
            all(&history),
            [Violation::Gap {
                missing: at(0, 1),
                before: 2
            }]
        );
    }

    #[test]
    fn a_log_that_ends_below_what_was_seen_has_lost_it() {
        let mut history = History::default();
        history.seen(at(0, 1), "1:1:b");
        read(&mut history, 0, 1, &["1:0:a"]);
        assert_eq!(
            all(&history),
            [Violation::Vanished {
                seen: at(0, 1),
                value: "1:1:b".into(),
                end: 1
            }]
        );
    }

    #[test]
    fn a_producers_earlier_value_at_a_later_offset_is_disorder() {
        let mut history = History::default();
        read(&mut history, 0, 2, &["1:5:b", "1:3:a"]);
        let found = Violation::Disorder {
            at: at(0, 1),
            value: "1:3:a".into(),
            after: "1:5:b".into(),
        };
        assert_eq!(all(&history), [found]);
    }

    #[test]
    fn values_nobody_sent_are_phantoms() {
        for value in ["9:0:unknown producer", "1:100:never attempted", "garbage", "1:2"] {
            let mut history = History::default();
            read(&mut history, 0, 1, &[value]);
            let found = all(&history);
            assert_eq!(
                found,
                [Violation::Phantom {
                    at: at(0, 0),
                    value: value.into()
                }]
            );
        }
    }

    #[test]
    fn a_check_from_an_offset_leaves_what_lies_below_to_earlier_checks() {
        let mut history = History::default();
        history.acked(at(0, 0), "1:0:a");
        history.read(0, 1, 2, &[(1, "1:1:b".into())]);
        assert_eq!(history.check(&HashMap::from([(0, 1)])), []);
        assert_eq!(
            history.check(&HashMap::new()),
            [Violation::Gap {
                missing: at(0, 0),
                before: 2
            }]
        );
    }
}

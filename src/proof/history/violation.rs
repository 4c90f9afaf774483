//! A broken promise, the rule it breaks and the few facts that show it.
//!
//! A [`Violation`] prints as one sentence with every operation and offset of its minimal witness, so that a person can look
//! each of them up in the logs of the run. [`Findings`] counts all of them by rule and keeps the first [`KEPT`]: a
//! broker that lost a million records must not cost the judge a million sentences.

use std::collections::BTreeMap;
use std::fmt;

use super::groups::Group;
use super::readers::Reader;
use super::value::{Partition, Place, Value};

/// Violations that are kept with their witness; beyond, only counted.
pub const KEPT: usize = 1000;

/// What a violation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Some offset holds two different values.
    InconsistentOffsets,
    /// One send, other bytes.
    Changed,
    /// A value at two offsets.
    Duplicate,
    /// An acknowledged value below what was read that nobody can read.
    LostWrite,
    /// An acknowledged value beyond the end of the log.
    Unseen,
    /// A log that ends below what somebody read.
    Vanished,
    /// An offset missing among what a read gave.
    Gap,
    /// A value that nobody sent.
    Phantom,
    /// A value in the log whose producer was told that it was not written.
    Refused,
    /// A later offset holds an earlier value of a producer.
    Disorder,
    /// A producer's acknowledged sends to a partition got falling offsets.
    NonmonotonicSend,
    /// A send that began after another had finished got the lower offset.
    RealTime,
    /// A reader jumped over a record.
    PollSkip,
    /// A reader got a record again, or went back.
    NonmonotonicPoll,
    /// One answer left out a record in its middle.
    IntPollSkip,
    /// One answer gave a record twice or out of order.
    IntNonmonotonicPoll,
    /// A group's committed offset that went back, was forgotten, or that nobody committed.
    GroupOffset,
    /// A group's committed offset beyond the end of the log.
    GroupBeyondEnd,
    /// A group that commits after processing resumed behind records that none of its members processed.
    GroupSkip,
    /// A log's start that went back, or beyond what anybody asked to delete.
    Trim,
    /// A compacted log without the newest value of a key.
    Compaction,
    /// A setting that is neither what was last agreed nor what was asked for since.
    Register,
}

impl Rule {
    /// The rule's name, in the words of Jepsen's Kafka workload where it has one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::Changed => "changed",
            Self::Duplicate => "duplicate",
            Self::LostWrite => "lost-write",
            Self::Unseen => "unseen",
            Self::Vanished => "vanished",
            Self::Gap => "gap",
            Self::Phantom => "phantom",
            Self::Refused => "refused-but-written",
            Self::Disorder => "disorder",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::RealTime => "real-time-order",
            Self::PollSkip => "poll-skip",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::IntPollSkip => "int-poll-skip",
            Self::IntNonmonotonicPoll => "int-nonmonotonic-poll",
            Self::GroupOffset => "group-offset",
            Self::GroupBeyondEnd => "group-beyond-end",
            Self::GroupSkip => "group-skip",
            Self::Trim => "trim",
            Self::Compaction => "compaction",
            Self::Register => "register",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// How the judge learned of a value at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A producer was told.
    Acked,
    /// Somebody read it.
    Read,
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Acked => "acknowledged",
            Self::Read => "read",
        })
    }
}

/// Where in what a reader got two records follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Within {
    /// In one answer.
    Answer,
    /// One ends an answer, the other begins the next.
    Reader,
}

/// One broken promise, with the facts that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant's sentence in `Display` says what its fields are"
)]
pub enum Violation {
    /// [`Rule::InconsistentOffsets`], or [`Rule::Changed`] if both are the same send.
    Inconsistent {
        at: Place,
        first: (Source, Value),
        then: (Source, Value),
    },
    /// [`Rule::Duplicate`]
    Duplicate {
        value: Value,
        first: Place,
        again: Place,
    },
    /// [`Rule::LostWrite`]
    LostWrite {
        acked: Place,
        value: Value,
        read_beyond: u64,
    },
    /// [`Rule::LostWrite`], where nobody was told the offset.
    Missing { value: Value },
    /// [`Rule::Unseen`]
    Unseen { acked: Place, value: Value, end: u64 },
    /// [`Rule::Vanished`]
    Vanished { seen: Place, value: Value, end: u64 },
    /// [`Rule::Gap`]
    Gap { missing: Place, before: u64 },
    /// [`Rule::Phantom`]
    Phantom { at: Place, value: Value },
    /// [`Rule::Phantom`]: bytes that are no value of ours, as text.
    Alien { at: Place, bytes: String },
    /// [`Rule::Refused`]
    Refused { at: Place, value: Value },
    /// [`Rule::Disorder`]
    Disorder {
        at: Place,
        value: Value,
        after: (Place, Value),
    },
    /// [`Rule::NonmonotonicSend`]
    NonmonotonicSend {
        at: Place,
        value: Value,
        after: (Place, Value),
    },
    /// [`Rule::RealTime`]
    RealTime {
        ended: (Place, Value),
        began_later: (Place, Value),
    },
    /// [`Rule::PollSkip`], or [`Rule::IntPollSkip`] within an answer.
    PollSkip {
        reader: Reader,
        skipped: (Place, Value),
        from: u64,
        to: u64,
        within: Within,
    },
    /// [`Rule::NonmonotonicPoll`], or [`Rule::IntNonmonotonicPoll`] within an answer.
    PollBack {
        reader: Reader,
        at: Place,
        expected: u64,
        within: Within,
    },
    /// [`Rule::GroupOffset`]
    GroupOffset {
        group: Group,
        partition: Partition,
        committed: Option<u64>,
        attempted: Option<u64>,
        found: Option<u64>,
    },
    /// [`Rule::GroupBeyondEnd`]
    GroupBeyondEnd {
        group: Group,
        committed: Place,
        end: u64,
    },
    /// [`Rule::GroupSkip`]
    GroupSkip {
        group: Group,
        resumed: Place,
        skipped: (Place, Value),
    },
    /// [`Rule::Trim`]
    Trim { start: Place, trimmed: u64, asked: u64 },
    /// [`Rule::Compaction`]
    Compaction { latest: (Place, Value), keys: u64 },
    /// [`Rule::Register`]
    Register {
        name: String,
        agreed: String,
        asked: Vec<String>,
        found: String,
    },
}

impl Violation {
    /// The rule that is broken.
    #[must_use]
    pub fn rule(&self) -> Rule {
        match self {
            Self::Inconsistent { first, then, .. } if first.1.same_send(then.1) => Rule::Changed,
            Self::Inconsistent { .. } => Rule::InconsistentOffsets,
            Self::Duplicate { .. } => Rule::Duplicate,
            Self::LostWrite { .. } | Self::Missing { .. } => Rule::LostWrite,
            Self::Unseen { .. } => Rule::Unseen,
            Self::Vanished { .. } => Rule::Vanished,
            Self::Gap { .. } => Rule::Gap,
            Self::Phantom { .. } | Self::Alien { .. } => Rule::Phantom,
            Self::Refused { .. } => Rule::Refused,
            Self::Disorder { .. } => Rule::Disorder,
            Self::NonmonotonicSend { .. } => Rule::NonmonotonicSend,
            Self::RealTime { .. } => Rule::RealTime,
            Self::PollSkip { within, .. } => within.rule(Rule::IntPollSkip, Rule::PollSkip),
            Self::PollBack { within, .. } => within.rule(Rule::IntNonmonotonicPoll, Rule::NonmonotonicPoll),
            Self::GroupOffset { .. } => Rule::GroupOffset,
            Self::GroupBeyondEnd { .. } => Rule::GroupBeyondEnd,
            Self::GroupSkip { .. } => Rule::GroupSkip,
            Self::Trim { .. } => Rule::Trim,
            Self::Compaction { .. } => Rule::Compaction,
            Self::Register { .. } => Rule::Register,
        }
    }
}

impl Within {
    const fn rule(self, answer: Rule, reader: Rule) -> Rule {
        match self {
            Self::Answer => answer,
            Self::Reader => reader,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.rule())?;
        match self {
            Self::Inconsistent { at, first, then } => {
                write!(
                    out,
                    "{at} was {} as {}, then {} as {}",
                    first.0, first.1, then.0, then.1
                )
            }
            Self::Duplicate { value, first, again } => write!(out, "{value} is at {first} and at {again}"),
            Self::LostWrite {
                acked,
                value,
                read_beyond,
            } => write!(
                out,
                "{value} was acknowledged at {acked} and nobody can read it, though offset {read_beyond} was read"
            ),
            Self::Missing { value } => write!(out, "{value} was acknowledged and nobody can read it"),
            Self::Unseen { acked, value, end } => {
                write!(
                    out,
                    "{value} was acknowledged at {acked} and the log ends at {end}"
                )
            }
            Self::Vanished { seen, value, end } => {
                write!(out, "{value} was read at {seen} and the log now ends at {end}")
            }
            Self::Gap { missing, before } => {
                write!(out, "a read gave {before} where {missing} had to come")
            }
            Self::Phantom { at, value } => write!(out, "{value} is at {at} and nobody sent it"),
            Self::Alien { at, bytes } => write!(out, "at {at} is what nobody sends: {bytes:?}"),
            Self::Refused { at, value } => {
                write!(
                    out,
                    "{value} is at {at} and its producer was told that it was not written"
                )
            }
            Self::Disorder { at, value, after } | Self::NonmonotonicSend { at, value, after } => {
                write!(
                    out,
                    "{value} is at {at}, behind {} at {}, which was sent later",
                    after.1, after.0
                )
            }
            Self::RealTime { ended, began_later } => write!(
                out,
                "{} at {} was acknowledged before {} was sent, which is at {}",
                ended.1, ended.0, began_later.1, began_later.0
            ),
            Self::PollSkip {
                reader,
                skipped,
                from,
                to,
                ..
            } => write!(
                out,
                "{reader} got offset {to} where it expected {from} and left out {} at {}",
                skipped.1, skipped.0
            ),
            Self::PollBack {
                reader, at, expected, ..
            } => write!(out, "{reader} got {at} where it expected offset {expected}"),
            Self::GroupOffset {
                group,
                partition,
                committed,
                attempted,
                found,
            } => write!(
                out,
                "{group} committed {} in {partition}, attempted up to {}, and the broker says {}",
                offset_text(*committed),
                offset_text(*attempted),
                offset_text(*found)
            ),
            Self::GroupBeyondEnd {
                group,
                committed,
                end,
            } => write!(out, "{group} committed {committed} and the log ends at {end}"),
            Self::GroupSkip {
                group,
                resumed,
                skipped,
            } => write!(
                out,
                "{group} resumed at {resumed} and none of its members processed {} at {}",
                skipped.1, skipped.0
            ),
            Self::Trim {
                start,
                trimmed,
                asked,
            } => write!(
                out,
                "the log begins at {start}, was trimmed to {trimmed}, and nobody asked for more than {asked}"
            ),
            Self::Register {
                name,
                agreed,
                asked,
                found,
            } => write!(
                out,
                "{name} is {found:?}; it was agreed to be {agreed:?}, and {asked:?} was asked for since"
            ),
            Self::Compaction { latest, keys } => write!(
                out,
                "{} at {} is the newest of its key ({keys} keys a producer) and a read of the whole log did not give it",
                latest.1, latest.0
            ),
        }
    }
}

fn offset_text(offset: Option<u64>) -> String {
    offset.map_or_else(|| "nothing".to_owned(), |offset| offset.to_string())
}

/// Violations, counted by rule, the first of them kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    counts: BTreeMap<Rule, u64>,
    kept: Vec<Violation>,
}

impl Findings {
    pub(super) fn push(&mut self, violation: Violation) {
        *self.counts.entry(violation.rule()).or_default() += 1;
        if self.kept.len() < KEPT {
            self.kept.push(violation);
        }
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many violations there are of `rule`.
    #[must_use]
    pub fn count(&self, rule: Rule) -> u64 {
        self.counts.get(&rule).copied().unwrap_or(0)
    }

    /// How many there are of each rule that is broken.
    #[must_use]
    pub const fn counts(&self) -> &BTreeMap<Rule, u64> {
        &self.counts
    }

    /// The first [`KEPT`] violations, in the order in which they were found.
    #[must_use]
    pub fn kept(&self) -> &[Violation] {
        &self.kept
    }

    /// The first violation of each rule: what a person reads.
    #[must_use]
    pub fn witnesses(&self) -> Vec<&Violation> {
        let mut shown: Vec<&Violation> = Vec::new();
        for violation in &self.kept {
            if shown.iter().all(|before| before.rule() != violation.rule()) {
                shown.push(violation);
            }
        }
        shown
    }
}

impl fmt::Display for Findings {
    /// One line for each broken rule: how often, and the first witness.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut witnesses = self.witnesses();
        witnesses.sort_by_key(|violation| violation.rule());
        for violation in witnesses {
            writeln!(out, "{} x {violation}", self.count(violation.rule()))?;
        }
        Ok(())
    }
}

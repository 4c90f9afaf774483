//! What clients were told, and what contradicts it.
//!
//! Every record is made by one producer as its how-manyth ([`Mark`]); the mark determines every byte of it, so a record that
//! is read is compared as a whole. A [`LogStory`] is all that clients know of one partition of one topic: what was attempted,
//! what was acknowledged where, what was seen where, how far the log was said to reach. Whatever is told is checked against it
//! at once, which the order of everything makes possible here and nowhere else; [`LogStory::judge`] judges a read of the
//! whole log in the end, and asks the judge of all histories (`proof::history`) besides.
//!
//! The rules have names ([`Rule`]), which is how a canary says which of them has to catch it. Pure: no clock, no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::base::hash::HashMap;
use crate::proof::history::{History, Partition, Place, Value};

/// A record's identity: its producer, and its number among the records of that producer, from zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Mark {
    pub(super) producer: u32,
    pub(super) number: u32,
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}#{}", self.producer, self.number)
    }
}

/// Longest filling of a record, in bytes.
const FILLING_MAX: u32 = 700;

/// Keys of records in compacted topics.
const KEYS: u32 = 12;

impl Mark {
    pub(super) fn encode(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.producer.to_le_bytes());
        bytes[4..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (producer, number) = bytes.split_first_chunk()?;
        Some(Self {
            producer: u32::from_le_bytes(*producer),
            number: u32::from_le_bytes(number.try_into().ok()?),
        })
    }

    fn hash(self) -> u32 {
        let mixed = (self.producer.wrapping_mul(0x9e37_79b1) ^ self.number).wrapping_mul(0x85eb_ca6b);
        mixed ^ (mixed >> 15)
    }

    /// The key of the record: one of a few.
    pub(super) fn key(self) -> [u8; 2] {
        [b'k', b'a' + u8::try_from(self.hash() % KEYS).unwrap_or(0)]
    }

    /// The value of the record; a few have none and delete their key in a compacted topic.
    pub(super) fn value(self) -> Option<Vec<u8>> {
        let hash = self.hash();
        if (hash >> 8).is_multiple_of(16) {
            return None;
        }
        // Mostly short, some long.
        let len = (hash >> 12) % FILLING_MAX;
        let len = if (hash >> 4).is_multiple_of(4) {
            len
        } else {
            len % 60
        };
        let first = hash.to_le_bytes()[0];
        Some(
            (0..len)
                .map(|at| first.wrapping_add(at.to_le_bytes()[0]))
                .collect(),
        )
    }
}

/// A rule a broker has to keep.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rule {
    /// What was acknowledged is in the log.
    AckedIsThere,
    /// What was seen stays.
    SeenStays,
    /// An offset holds one record, for ever.
    OneRecordPerOffset,
    /// A record of an idempotent producer is in the log once.
    OnceOnly,
    /// Offsets are dense.
    Dense,
    /// Records of one producer are in the order it sent them.
    ProducerOrder,
    /// A record that was acknowledged before another was sent is in front of it.
    RealTimeOrder,
    /// Nothing is in the log that nobody sent, or not as it was sent.
    NothingElse,
    /// The end of a log that readers are told does not go back, and covers what was acknowledged.
    EndAdvances,
    /// A log starts where it was made to start.
    StartAdvances,
    /// Epochs of leaders and records do not go back.
    EpochAdvances,
    /// The next batch of a producer is accepted.
    SequenceContinues,
    /// In a compacted log the last record of each key survives.
    LastOfKeySurvives,
    /// Committed positions of a group do not go back, and nothing below them was left out.
    CommitsAdvance,
    /// A shard's own state is in order.
    StateInOrder,
    /// Answers make sense.
    AnswersMakeSense,
    /// What the disk was not made to damage can be read when all is well.
    AllIsReadable,
    /// When all is well, everything ends well within bounded time.
    Liveness,
    /// Nothing panics.
    NoPanic,
    /// One of those of `proof::history`, which judges the clients of real brokers, too.
    OfTheJudge,
}

/// A broken rule and what shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Violation {
    pub(super) rule: Rule,
    pub(super) witness: String,
}

/// How a log may lose records without breaking a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Nature {
    /// Only the last record of each key is kept.
    pub(super) compacted: bool,
    /// Acknowledged records may go in a crash.
    pub(super) relaxed: bool,
    /// Old records may go.
    pub(super) expires: bool,
}

/// What was known of a log when somebody asked something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Floor {
    crashes: u32,
    start: u64,
    end: u64,
}

impl Floor {
    /// The log starts here or later.
    pub(super) fn start(self) -> u64 {
        self.start
    }

    /// Everything below was there.
    pub(super) fn end(self) -> u64 {
        self.end
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct LogStory {
    name: String,
    nature: Nature,
    attempted: BTreeSet<Mark>,
    /// What is at an offset, as far as anybody was told.
    records: BTreeMap<u64, Mark>,
    places: HashMap<Mark, u64>,
    acked: BTreeSet<u64>,
    /// One past the last acknowledged offset.
    acked_end: u64,
    /// The furthest end a reader was told.
    end_told: u64,
    /// The furthest start anybody was told.
    start_promised: u64,
    /// The furthest start somebody has asked for; the log may start anywhere below.
    start_asked: u64,
    epoch_told: i32,
    /// Epoch of records by their first offset, as they were seen.
    epochs: BTreeMap<u64, i32>,
    /// Ranges that the disk was made to damage.
    damaged: Vec<std::ops::Range<u64>>,
    /// Producers may have been forgotten meanwhile, so that a batch may be there twice.
    forgetful: bool,
    crashes: u32,
}

impl LogStory {
    pub(super) fn new(name: String, nature: Nature) -> Self {
        Self {
            name,
            nature,
            attempted: BTreeSet::new(),
            records: BTreeMap::new(),
            places: HashMap::default(),
            acked: BTreeSet::new(),
            acked_end: 0,
            end_told: 0,
            start_promised: 0,
            start_asked: 0,
            epoch_told: 0,
            epochs: BTreeMap::new(),
            damaged: Vec::new(),
            forgetful: false,
            crashes: 0,
        }
    }

    /// Records that anybody was told of.
    pub(super) fn known(&self) -> usize {
        self.records.len()
    }

    /// Records that were acknowledged.
    pub(super) fn acked(&self) -> usize {
        self.acked.len()
    }

    /// What every reader must be able to read from now on, whatever happens.
    pub(super) fn floor(&self) -> Floor {
        Floor {
            crashes: self.crashes,
            start: self.start_promised,
            end: self.end_told.max(self.acked_end),
        }
    }

    /// Whether what was asked when this was the floor is told too late to count: a relaxed log crashed in between.
    fn is_late(&self, floor: Floor) -> bool {
        self.nature.relaxed && self.crashes != floor.crashes
    }

    fn broken(&self, rule: Rule, witness: impl fmt::Display) -> Violation {
        Violation {
            rule,
            witness: format!("{}: {witness}", self.name),
        }
    }

    /// A producer is about to send this.
    pub(super) fn attempt(&mut self, mark: Mark) {
        self.attempted.insert(mark);
    }

    /// A producer was told that these are at `base` and behind; when it first sent them, `floor` was the floor.
    pub(super) fn ack(&mut self, base: u64, marks: &[Mark], floor: Floor) -> Result<(), Violation> {
        if self.is_late(floor) {
            return Ok(());
        }
        if base < floor.end && !self.forgetful {
            let end = floor.end;
            let what = format!("{marks:?} at {base}, sent when everything below {end} was there already");
            return Err(self.broken(Rule::RealTimeOrder, what));
        }
        for (offset, mark) in (base..).zip(marks) {
            self.put(offset, *mark, "acknowledged")?;
            self.acked.insert(offset);
            self.acked_end = self.acked_end.max(offset + 1);
        }
        Ok(())
    }

    /// A reader saw this record; `epoch` is that of its batch; when it asked, `floor` was the floor.
    pub(super) fn see(&mut self, offset: u64, mark: Mark, epoch: i32, floor: Floor) -> Result<(), Violation> {
        if self.is_late(floor) {
            return Ok(());
        }
        self.put(offset, mark, "read")?;
        let before = self.epochs.range(..=offset).next_back().map(|(_, epoch)| *epoch);
        if before.is_some_and(|before| before > epoch) {
            let what = format!("offset {offset} is of epoch {epoch}, one before it of {before:?}");
            return Err(self.broken(Rule::EpochAdvances, what));
        }
        if before != Some(epoch) {
            self.epochs.insert(offset, epoch);
        }
        Ok(())
    }

    fn put(&mut self, offset: u64, mark: Mark, how: &str) -> Result<(), Violation> {
        match self.records.get(&offset) {
            Some(there) if *there == mark => return Ok(()),
            Some(there) => {
                let what = format!("offset {offset} held {there:?}, now {mark:?} was {how}");
                return Err(self.broken(Rule::OneRecordPerOffset, what));
            }
            None => {}
        }
        if !self.attempted.contains(&mark) {
            return Err(self.broken(
                Rule::NothingElse,
                format!("{mark:?} {how} at {offset}, never sent"),
            ));
        }
        if let Some(place) = self.places.get(&mark)
            && !self.forgetful
        {
            let what = format!("{mark:?} was at {place}, now {how} at {offset}");
            return Err(self.broken(Rule::OnceOnly, what));
        }
        let same = |(at, other): (&u64, &Mark)| (other.producer == mark.producer).then_some((*at, *other));
        // Far enough to see a neighbour, not so far that it costs.
        let before = self.records.range(..offset).rev().take(NEIGHBOURS).find_map(same);
        let after = self.records.range(offset..).take(NEIGHBOURS).find_map(same);
        let late = before
            .filter(|(_, other)| *other > mark)
            .or_else(|| after.filter(|(_, other)| *other < mark));
        if let Some((at, other)) = late.filter(|_| !self.forgetful) {
            let what = format!("{mark:?} {how} at {offset}, {other:?} is at {at}");
            return Err(self.broken(Rule::ProducerOrder, what));
        }
        self.records.insert(offset, mark);
        self.places.insert(mark, offset);
        Ok(())
    }

    /// A client was told where the log starts and ends; when it asked, `floor` was the floor.
    pub(super) fn bounds(&mut self, start: u64, end: u64, floor: Floor) -> Result<(), Violation> {
        if self.is_late(floor) {
            return Ok(());
        }
        let floor_start = floor.start;
        if end < floor.end && !self.is_damaged_above(end) {
            let floor = floor.end;
            let what = format!("ends at {end}, and everything below {floor} was there before");
            return Err(self.broken(Rule::EndAdvances, what));
        }
        if start < floor_start {
            let what = format!("starts at {start}, and started at {floor_start} before");
            return Err(self.broken(Rule::StartAdvances, what));
        }
        if start > self.start_asked && !self.nature.expires {
            let what = format!(
                "starts at {start}, nobody asked for more than {}",
                self.start_asked
            );
            return Err(self.broken(Rule::StartAdvances, what));
        }
        if start > end {
            return Err(self.broken(
                Rule::StartAdvances,
                format!("starts at {start} and ends at {end}"),
            ));
        }
        self.end_told = self.end_told.max(end);
        self.start_promised = self.start_promised.max(start);
        Ok(())
    }

    /// A client was told the leader's epoch; when it asked, the epoch was at least `before`.
    pub(super) fn lead(&mut self, epoch: i32, before: i32) -> Result<(), Violation> {
        if epoch < before {
            return Err(self.broken(
                Rule::EpochAdvances,
                format!("led with {epoch}, with {before} before"),
            ));
        }
        self.epoch_told = self.epoch_told.max(epoch);
        Ok(())
    }

    /// The latest epoch anybody was told the log is led with.
    pub(super) fn epoch(&self) -> i32 {
        self.epoch_told
    }

    /// Somebody asks for the log to start here.
    pub(super) fn ask_start(&mut self, start: u64) {
        self.start_asked = self.start_asked.max(start);
    }

    /// Somebody was told that the log starts here.
    pub(super) fn promise_start(&mut self, start: u64) {
        self.start_promised = self.start_promised.max(start);
    }

    /// The log may be missing these from now on.
    pub(super) fn damage(&mut self, range: std::ops::Range<u64>) {
        self.damaged.push(range);
    }

    /// Producers may be forgotten from now on.
    pub(super) fn forgets_producers(&mut self) {
        self.forgetful = true;
    }

    /// Whether the disk was made to damage this.
    pub(super) fn is_damaged(&self, offset: u64) -> bool {
        self.damaged.iter().any(|range| range.contains(&offset))
    }

    /// Where the damage at this offset ends, if there is some.
    pub(super) fn damage_end(&self, offset: u64) -> Option<u64> {
        let there = self.damaged.iter().filter(|range| range.contains(&offset));
        there.map(|range| range.end).max()
    }

    /// Whether the disk was made to damage any of it.
    pub(super) fn has_damage(&self) -> bool {
        !self.damaged.is_empty()
    }

    fn is_damaged_above(&self, end: u64) -> bool {
        self.damaged.iter().any(|range| range.end > end)
    }

    /// A crash: what is known of a relaxed log counts no more.
    pub(super) fn crash(&mut self) {
        if !self.nature.relaxed {
            return;
        }
        self.records.clear();
        self.places.clear();
        self.acked.clear();
        self.epochs.clear();
        self.acked_end = 0;
        self.end_told = 0;
        self.crashes += 1;
    }

    /// Judges a read of the whole log: from where it starts to where it ends, `found` in order. Ranges that could not be
    /// read are in `refused`.
    pub(super) fn judge(&self, start: u64, end: u64, found: &BTreeMap<u64, Mark>) -> Result<(), Violation> {
        let floor = self.floor().end;
        if end < floor && !self.is_damaged_above(end) {
            let what = format!("ends at {end}, known up to {floor}");
            let rule = if end < self.acked_end {
                Rule::AckedIsThere
            } else {
                Rule::SeenStays
            };
            return Err(self.broken(rule, what));
        }
        for (offset, mark) in self.records.range(start..) {
            if found.get(offset) == Some(mark) || self.is_damaged(*offset) {
                continue;
            }
            if self.nature.compacted && self.is_superseded(*offset, *mark) {
                continue;
            }
            let acked = self.acked.contains(offset);
            let rule = match (self.nature.compacted, acked) {
                (true, _) => Rule::LastOfKeySurvives,
                (false, true) => Rule::AckedIsThere,
                (false, false) => Rule::SeenStays,
            };
            return Err(self.broken(
                rule,
                format!("{mark:?} at {offset} is gone; the log is {start}..{end}"),
            ));
        }
        if !self.nature.compacted {
            let mut next = start;
            for offset in found.keys() {
                if *offset != next && !(next..*offset).all(|missing| self.is_damaged(missing)) {
                    return Err(self.broken(Rule::Dense, format!("nothing from {next} to {offset}")));
                }
                next = offset + 1;
            }
            if next < end && !(next..end).all(|missing| self.is_damaged(missing)) {
                return Err(self.broken(Rule::Dense, format!("nothing from {next} to the end {end}")));
            }
        }
        self.judge_by_all_rules(start, end, found)
    }

    /// Has the judge of all histories say what it finds, where nothing but a broken rule takes records away.
    fn judge_by_all_rules(&self, start: u64, end: u64, found: &BTreeMap<u64, Mark>) -> Result<(), Violation> {
        let Nature {
            compacted,
            relaxed,
            expires,
        } = self.nature;
        if compacted || relaxed || expires || self.forgetful || self.has_damage() {
            return Ok(());
        }
        let value = |mark: &Mark| Value::new(mark.producer, u64::from(mark.number));
        let log = Partition(0);
        let mut history = History::default();
        for mark in &self.attempted {
            history.attempted(mark.producer, u64::from(mark.number) + 1);
        }
        for offset in &self.acked {
            history.acked(Place::new(log.0, *offset), value(&self.records[offset]));
        }
        history.trim_begun(log, self.start_asked);
        history.read(
            log,
            start,
            end,
            found.iter().map(|(offset, mark)| (*offset, value(mark))),
        );
        let findings = history.check_all();
        if findings.is_empty() {
            Ok(())
        } else {
            Err(self.broken(Rule::OfTheJudge, findings))
        }
    }

    /// Whether a record of the same key is known behind this one, or the record deletes its key.
    fn is_superseded(&self, offset: u64, mark: Mark) -> bool {
        mark.value().is_none()
            || self
                .records
                .range(offset + 1..)
                .any(|(_, later)| later.key() == mark.key())
    }
}

/// Records around a new one that are compared with it.
const NEIGHBOURS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const DURABLE: Nature = Nature {
        compacted: false,
        relaxed: false,
        expires: false,
    };

    const START: Floor = Floor {
        crashes: 0,
        start: 0,
        end: 0,
    };

    fn mark(number: u32) -> Mark {
        Mark { producer: 1, number }
    }

    fn story(acked: u32) -> LogStory {
        let mut story = LogStory::new("t-0".to_owned(), DURABLE);
        (0..100).for_each(|number| story.attempt(mark(number)));
        let marks: Vec<Mark> = (0..acked).map(mark).collect();
        story.ack(0, &marks, Floor::default()).unwrap();
        story
    }

    fn whole(count: u32) -> BTreeMap<u64, Mark> {
        (0..count)
            .map(|number| (u64::from(number), mark(number)))
            .collect()
    }

    fn rule(outcome: Result<(), Violation>) -> Option<Rule> {
        outcome.err().map(|violation| violation.rule)
    }

    #[test]
    fn a_good_story_breaks_no_rule() {
        let mut story = story(3);
        story.see(3, mark(3), 0, story.floor()).unwrap();
        story.bounds(0, 4, story.floor()).unwrap();
        story.judge(0, 5, &whole(5)).unwrap();
    }

    #[test]
    fn each_bad_story_breaks_its_rule() {
        assert_eq!(rule(story(3).judge(0, 2, &whole(2))), Some(Rule::AckedIsThere));
        assert_eq!(
            rule(story(3).see(1, mark(9), 0, START)),
            Some(Rule::OneRecordPerOffset)
        );
        assert_eq!(rule(story(3).see(7, mark(1), 0, START)), Some(Rule::OnceOnly));
        assert_eq!(
            rule(story(3).see(5, mark(100), 0, START)),
            Some(Rule::NothingElse)
        );
        assert_eq!(
            rule(story(3).ack(3, &[mark(3)], story(4).floor())),
            Some(Rule::RealTimeOrder)
        );
        assert_eq!(
            rule(story(3).bounds(0, 2, story(3).floor())),
            Some(Rule::EndAdvances)
        );
        assert_eq!(rule(story(3).bounds(1, 3, START)), Some(Rule::StartAdvances));
        let mut seen = story(1);
        seen.see(1, mark(5), 3, START).unwrap();
        assert_eq!(rule(seen.see(2, mark(4), 3, START)), Some(Rule::ProducerOrder));
        assert_eq!(rule(seen.see(2, mark(6), 2, START)), Some(Rule::EpochAdvances));
        assert_eq!(rule(seen.judge(0, 1, &whole(1))), Some(Rule::SeenStays));
        let mut gap = whole(5);
        gap.remove(&3);
        assert_eq!(rule(story(3).judge(0, 5, &gap)), Some(Rule::Dense));
        assert_eq!(rule(story(3).judge(0, 6, &whole(5))), Some(Rule::Dense));
    }

    #[test]
    fn the_last_of_a_key_survives_compaction_and_others_may_go() {
        let compacted = Nature {
            compacted: true,
            ..DURABLE
        };
        let mut story = LogStory::new("t-0".to_owned(), compacted);
        let same: Vec<Mark> = (0..400)
            .map(mark)
            .filter(|one| one.value().is_some() && one.key() == mark(1).key())
            .take(3)
            .collect();
        same.iter().for_each(|one| story.attempt(*one));
        story.ack(0, &same, START).unwrap();
        let last = BTreeMap::from([(2, same[2])]);
        story.judge(0, 3, &last).unwrap();
        let first = BTreeMap::from([(0, same[0])]);
        assert_eq!(rule(story.judge(0, 3, &first)), Some(Rule::LastOfKeySurvives));
    }

    #[test]
    fn what_is_damaged_may_be_missing_and_nothing_else() {
        let mut story = story(5);
        story.damage(1..3);
        let mut found = whole(5);
        found.remove(&1);
        found.remove(&2);
        story.judge(0, 5, &found).unwrap();
        found.remove(&3);
        assert_eq!(rule(story.judge(0, 5, &found)), Some(Rule::AckedIsThere));
    }
}

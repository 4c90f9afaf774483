//! What consumer groups were told of their offsets, and what they left out.
//!
//! A group's offset in a partition is what was committed last: never less than the last commit it was told of, never
//! nothing once it was told of one (a broker that then answers "nothing" makes consumers begin anew), never what nobody
//! attempted to commit, and never beyond the end of the log. Members that commit only after they have processed may
//! process a record twice, and never leave one out: everything below the offset where the group resumes was processed.

use std::collections::BTreeMap;
use std::fmt;

use super::violation::{Findings, Violation};
use super::{History, Log, Partition, Place};

/// A consumer group, by a number of its owner's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u64);

impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "group {}", self.0)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<(Group, Partition), Progress>);

/// How far a group is in one partition.
#[derive(Debug, Default)]
struct Progress {
    /// The highest offset that a commit was attempted with, and the last the group was told is committed.
    attempted: Option<u64>,
    committed: Option<u64>,
    /// Where the group first began to read, and the highest offset where it resumed.
    began: Option<u64>,
    resumed: u64,
    /// Offsets that members processed: begin to end of stretches that do not touch.
    processed: BTreeMap<u64, u64>,
}

impl History {
    /// A member is about to commit that everything below `offset` is processed.
    pub fn commit_begun(&mut self, group: Group, partition: Partition, offset: u64) {
        let progress = self.groups.0.entry((group, partition)).or_default();
        progress.attempted = progress.attempted.max(Some(offset));
    }

    /// A member was told that `offset` is committed.
    pub fn committed(&mut self, group: Group, partition: Partition, offset: u64) {
        self.commit_begun(group, partition, offset);
        let progress = self.groups.0.entry((group, partition)).or_default();
        progress.committed = Some(offset);
    }

    /// The broker said what is committed; nobody was told of a commit between the question and the answer.
    pub fn commit_found(&mut self, group: Group, partition: Partition, found: Option<u64>) {
        let progress = self.groups.0.entry((group, partition)).or_default();
        if found < progress.committed || found > progress.attempted {
            self.found.push(Violation::GroupOffset {
                group,
                partition,
                committed: progress.committed,
                attempted: progress.attempted,
                found,
            });
        }
    }

    /// Somebody sets the group's offset to `offset` by hand, wherever it was.
    pub fn reset(&mut self, group: Group, partition: Partition, offset: u64) {
        let fresh = Progress {
            attempted: Some(offset),
            committed: Some(offset),
            ..Progress::default()
        };
        self.groups.0.insert((group, partition), fresh);
    }

    /// A member goes on in a partition it was given, at `offset`.
    pub fn resumed(&mut self, group: Group, partition: Partition, offset: u64) {
        let progress = self.groups.0.entry((group, partition)).or_default();
        progress.began.get_or_insert(offset);
        progress.resumed = progress.resumed.max(offset);
    }

    /// A member has processed the record at `offset`.
    pub fn processed(&mut self, group: Group, partition: Partition, offset: u64) {
        let progress = self.groups.0.entry((group, partition)).or_default();
        progress.process(offset);
    }
}

impl Progress {
    fn process(&mut self, offset: u64) {
        let behind = offset.saturating_add(1);
        let (mut start, mut end) = (offset, behind);
        if let Some((&before, &until)) = self.processed.range(..=offset).next_back()
            && until >= offset
        {
            (start, end) = (before, until.max(end));
        }
        if let Some(&until) = self.processed.get(&end) {
            self.processed.remove(&end);
            end = until;
        }
        self.processed.insert(start, end);
    }

    fn has_processed(&self, offset: u64) -> bool {
        let stretch = self.processed.range(..=offset).next_back();
        stretch.is_some_and(|(_, &end)| offset < end)
    }
}

impl Groups {
    /// Judges what groups left out, and their offsets against the logs' ends.
    pub(super) fn check(&self, logs: &BTreeMap<Partition, Log>, found: &mut Findings) {
        for (&(group, partition), progress) in &self.0 {
            let Some(log) = logs.get(&partition) else {
                continue;
            };
            let at = |offset| Place { partition, offset };
            if let (Some(offset), Some(end)) = (progress.committed, log.end)
                && offset > end
            {
                let committed = at(offset);
                found.push(Violation::GroupBeyondEnd {
                    group,
                    committed,
                    end,
                });
            }
            let from = progress.began.unwrap_or(0).max(log.trim_asked);
            let skipped = log
                .known(from..progress.resumed)
                .find(|(offset, _)| log.keys.is_none() && !progress.has_processed(*offset));
            if let Some((offset, slot)) = skipped {
                found.push(Violation::GroupSkip {
                    group,
                    resumed: at(progress.resumed),
                    skipped: (at(offset), slot.value()),
                });
            }
        }
    }
}

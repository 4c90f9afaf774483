//! What a broker is in the middle of when it is killed: the aim of kills, and the account of what they hit.
//!
//! A kill at a random time falls mostly into nothing special. So a cycle aims: it waits a little for its moment to come,
//! then kills. The account counts every moment that held when the kill was sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

/// Something a broker can be in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Batches wait for their acknowledgement: a group commit is under way.
    Committing,
    /// A log has just got a new segment.
    Rolling,
    /// The cleaner writes a segment, or swaps it in.
    Cleaning,
    /// A topic is being created.
    Creating,
    /// A topic is being deleted, or its files are on their way out.
    Deleting,
    /// A setting of a topic is being changed.
    Configuring,
    /// Records are being deleted from the start of a log.
    Trimming,
    /// The broker is starting: its recovery.
    Recovering,
}

impl Moment {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Committing,
        Self::Rolling,
        Self::Cleaning,
        Self::Creating,
        Self::Deleting,
        Self::Configuring,
        Self::Trimming,
        Self::Recovering,
    ];

    /// Its name in accounts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Committing => "group commit",
            Self::Rolling => "roll",
            Self::Cleaning => "compaction",
            Self::Creating => "topic creation",
            Self::Deleting => "topic deletion",
            Self::Configuring => "config change",
            Self::Trimming => "delete records",
            Self::Recovering => "recovery",
        }
    }

    /// A number for it, never 0.
    pub(super) fn code(self) -> u8 {
        let at = Self::ALL.iter().position(|moment| *moment == self);
        u8::try_from(at.expect("all moments are listed") + 1).expect("there are few moments")
    }

    /// The moment of a number.
    pub(super) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// How many kills fell into each moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Account(BTreeMap<Moment, u64>);

impl Account {
    /// One kill, and what it fell into.
    pub(super) fn count(&mut self, moments: impl IntoIterator<Item = Moment>) {
        for moment in moments {
            *self.0.entry(moment).or_default() += 1;
        }
    }

    /// How many kills fell into `moment`.
    #[must_use]
    pub fn of(&self, moment: Moment) -> u64 {
        self.0.get(&moment).copied().unwrap_or(0)
    }
}

/// What the files in `data_dir` say about what the broker is doing: `busy` is the topic to look at for rolls, `cleaned` the
/// one for the cleaner.
pub(super) fn in_files(data_dir: &Path, busy: &str, cleaned: &str) -> Vec<Moment> {
    let topics = data_dir.join("topics");
    let mut found = Vec::new();
    if partitions(&topics.join(busy)).any(|partition| changed_just_now(&partition)) {
        found.push(Moment::Rolling);
    }
    let cleaning = |partition: &std::path::PathBuf| {
        entries(partition).any(|file| {
            let extension = file.extension().unwrap_or_default();
            extension == "clean" || extension == "swap"
        })
    };
    if partitions(&topics.join(cleaned)).any(|partition| cleaning(&partition)) {
        found.push(Moment::Cleaning);
    }
    if entries(&data_dir.join("trash")).next().is_some() {
        found.push(Moment::Deleting);
    }
    found
}

/// A file came or went.
fn changed_just_now(directory: &Path) -> bool {
    let changed = std::fs::metadata(directory).and_then(|found| found.modified());
    let age = |at: SystemTime| at.elapsed().unwrap_or_default();
    changed.is_ok_and(|at| age(at) < JUST_NOW)
}

fn partitions(topic: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    entries(topic)
}

/// Nothing, if the directory is not there: files come and go while we look.
fn entries(directory: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let listed = std::fs::read_dir(directory).into_iter().flatten();
    listed.filter_map(|entry| Some(entry.ok()?.path()))
}

/// A roll takes a few milliseconds; file systems stamp with about that precision.
const JUST_NOW: Duration = Duration::from_millis(12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_of_one_moment_each() {
        for moment in Moment::ALL {
            assert_eq!(Moment::of_code(moment.code()), Some(moment));
        }
        assert_eq!(Moment::of_code(0), None);
        assert_eq!(Moment::of_code(200), None);
    }

    #[test]
    fn files_tell_what_is_under_way() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        assert_eq!(in_files(home.path(), "busy", "cleaned"), []);
        at("topics/cleaned/0/00000000000000000000.log");
        assert_eq!(in_files(home.path(), "busy", "cleaned"), []);
        at("topics/cleaned/0/00000000000000000000.clean");
        at("trash/some-topic/file");
        at("topics/busy/3/00000000000000000000.log");
        let found = in_files(home.path(), "busy", "cleaned");
        assert!(
            found.contains(&Moment::Cleaning) && found.contains(&Moment::Deleting),
            "{found:?}"
        );
    }
}

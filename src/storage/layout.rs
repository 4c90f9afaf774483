//! Names and places of files in the data directory. The drawing is in the room's essay.

use crate::base::{Offset, PartitionId, TopicId};
use std::path::{Path, PathBuf};

/// Suffix of segment files.
pub const SEGMENT_SUFFIX: &str = "log";
/// Suffix of index files.
pub const INDEX_SUFFIX: &str = "idx";
/// Suffix of a segment the cleaner is writing (`compaction::swap`).
pub const CLEAN_SUFFIX: &str = "clean";
/// Suffix of its index.
pub const CLEAN_INDEX_SUFFIX: &str = "cleanidx";
/// Suffix of a cleaned segment that is certain to take the place of others.
pub const SWAP_SUFFIX: &str = "swap";
/// Name of a partition's checkpoint file (`checkpoint`).
pub const CHECKPOINT_NAME: &str = "checkpoint";

/// The data directory and the places in it.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Names a directory; touches nothing.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The lock file.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("LOCK")
    }

    /// The clean-stop marker.
    #[must_use]
    pub fn marker(&self) -> PathBuf {
        self.0.join("clean-stop")
    }

    /// The metadata directory.
    #[must_use]
    pub fn meta(&self) -> PathBuf {
        self.0.join("meta")
    }

    /// The segment pool.
    #[must_use]
    pub fn pool(&self) -> PathBuf {
        self.0.join("pool")
    }

    /// All topics.
    #[must_use]
    pub fn topics(&self) -> PathBuf {
        self.0.join("topics")
    }

    /// One topic. Topic names are legal directory names by Kafka's rules (`broker::topic`).
    #[must_use]
    pub fn topic(&self, name: &str) -> PathBuf {
        self.topics().join(name)
    }

    /// One partition.
    #[must_use]
    pub fn partition(&self, topic: &str, partition: PartitionId) -> PathBuf {
        self.topic(topic).join(partition.to_string())
    }

    /// Where deleted topics wait for removal.
    #[must_use]
    pub fn trash(&self) -> PathBuf {
        self.0.join("trash")
    }

    /// Where one deleted topic waits for removal.
    #[must_use]
    pub fn trashed(&self, topic: TopicId) -> PathBuf {
        self.trash().join(topic.to_string())
    }
}

/// The directory a path's name is in.
#[must_use]
pub fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// Name of the segment that starts at `base`.
#[must_use]
pub fn segment_name(base: Offset) -> String {
    format!("{:020}.{SEGMENT_SUFFIX}", base.get())
}

/// Name of the index of the segment that starts at `base`.
#[must_use]
pub fn index_name(base: Offset) -> String {
    format!("{:020}.{INDEX_SUFFIX}", base.get())
}

/// Name of the segment that starts at `base` while the cleaner writes it.
#[must_use]
pub fn clean_name(base: Offset) -> String {
    format!("{:020}.{CLEAN_SUFFIX}", base.get())
}

/// Name of its index.
#[must_use]
pub fn clean_index_name(base: Offset) -> String {
    format!("{:020}.{CLEAN_INDEX_SUFFIX}", base.get())
}

/// Name of the segment that starts at `base` once it is certain to take the place of others.
#[must_use]
pub fn swap_name(base: Offset) -> String {
    format!("{:020}.{SWAP_SUFFIX}", base.get())
}

/// The base offset a segment file's name states, if it is one.
#[must_use]
pub fn parse_segment_name(name: &str) -> Option<Offset> {
    parse_name(name, SEGMENT_SUFFIX)
}

/// The base offset that the name of a file of this `suffix` states, if it is one.
#[must_use]
pub fn parse_name(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?.strip_suffix('.')?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(())?;
    digits.parse().ok().map(Offset::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_round_trip_and_nothing_else_parses() {
        let name = segment_name(Offset::new(42));
        assert_eq!(name, "00000000000000000042.log");
        assert_eq!(parse_segment_name(&name), Some(Offset::new(42)));
        for other in [
            "42.log",
            "00000000000000000042.idx",
            "0000000000000000004x.log",
            "99999999999999999999.log",
            ".log",
        ] {
            assert_eq!(parse_segment_name(other), None, "{other}");
        }
    }
}

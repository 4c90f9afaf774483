//! The order of file operations that puts a cleaned segment in the place of those it was made of, and how a start finishes
//! what a crash interrupted.
//!
//! ```text
//!   <base>.clean, <base>.cleanidx   written and synced, names synced         a crash leaves the old segments; these go
//!   <base>.clean -> <base>.swap     synced: from here on the new one counts
//!   other old files removed, <base>.cleanidx -> <base>.idx                   synced
//!   <base>.swap  -> <base>.log      synced
//! ```
//! The index takes its place before its segment does, and is there before the commit, so a `.swap` file always has the right
//! index beside it under one of two names: it says where the new segment ends, and so which old files are to go. Each
//! operation may be done again; a crash inside [`finish`] is finished by the next.

use crate::base::{LeaderEpoch, LogId, Offset};
use crate::runtime::fs;
use crate::storage::error::Error;
use crate::storage::index::SegmentSummary;
use crate::storage::layout::{
    CLEAN_INDEX_SUFFIX, CLEAN_SUFFIX, SWAP_SUFFIX, clean_index_name, clean_name, index_name, parse_name,
    parse_segment_name, segment_name, swap_name,
};
use crate::storage::log::Retired;
use crate::storage::marker::sync_directory;
use crate::storage::recovery::{Access, DirectFile, read_index};
use crate::storage::scan::{Expect, scan};
use std::io;
use std::path::Path;

/// One operation in a partition's directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Make all names durable.
    Sync,
    /// Give a file another name, replacing what has it.
    Rename {
        /// Old name.
        from: String,
        /// New name.
        to: String,
    },
    /// Remove segment and index of a replaced segment; its file may be used again.
    Remove(Retired),
}

/// What comes before the commit, once the new files' bytes are durable: afterwards the old segments still count.
#[must_use]
pub fn prepare() -> Vec<Step> {
    vec![Step::Sync]
}

/// The commit: afterwards the new segment counts.
#[must_use]
pub fn commit(base: Offset) -> Vec<Step> {
    let rename = Step::Rename {
        from: clean_name(base),
        to: swap_name(base),
    };
    vec![rename, Step::Sync]
}

/// Ends the name of an index or a checkpoint until it is complete.
const UNFINISHED_SUFFIX: &str = ".new";

/// What puts the new segment in its place, `replaced` being the segments it was made of, the first with its base.
#[must_use]
pub fn settle(base: Offset, replaced: &[Retired]) -> Vec<Step> {
    let others = replaced.iter().filter(|old| old.base != base);
    let mut steps: Vec<Step> = others.map(|old| Step::Remove(*old)).collect();
    steps.push(Step::Rename {
        from: clean_index_name(base),
        to: index_name(base),
    });
    steps.push(Step::Sync);
    steps.push(Step::Rename {
        from: swap_name(base),
        to: segment_name(base),
    });
    steps.push(Step::Sync);
    steps
}

/// Finishes what a crash interrupted in `directory`, and removes what never counted. Blocks; before the log is opened.
///
/// # Errors
/// The file system's.
pub fn finish(directory: &Path, log: LogId) -> Result<(), Error> {
    let names = names_in(directory)?;
    let of = |suffix: &'static str| names.iter().filter_map(move |name| parse_name(name, suffix));
    let swaps: Vec<Offset> = of(SWAP_SUFFIX).collect();
    for base in &swaps {
        finish_one(directory, log, *base, &names)?;
    }
    let left = of(CLEAN_SUFFIX).map(clean_name);
    let left = left.chain(
        of(CLEAN_INDEX_SUFFIX)
            .filter(|base| !swaps.contains(base))
            .map(clean_index_name),
    );
    // And files that were being written to take another's place by their name, and did not.
    let left = left.chain(
        names
            .iter()
            .filter(|name| name.ends_with(UNFINISHED_SUFFIX))
            .cloned(),
    );
    for name in left {
        remove(&directory.join(name))?;
    }
    Ok(())
}

fn finish_one(directory: &Path, log: LogId, base: Offset, names: &[String]) -> Result<(), Error> {
    let swap = directory.join(swap_name(base));
    let new_index = directory.join(clean_index_name(base));
    let index = directory.join(index_name(base));
    let has_new_index = fs::exists(&new_index);
    let summary = read_index(if has_new_index { &new_index } else { &index })?;
    let summary = summary.filter(|summary| is_of(summary, log, base));
    let end = match &summary {
        Some(summary) => summary.end,
        None => scanned_end(&swap, log, base)?,
    };
    for old in names.iter().filter_map(|name| parse_segment_name(name)) {
        if base < old && old < end {
            remove(&directory.join(segment_name(old)))?;
            remove(&directory.join(index_name(old)))?;
        }
    }
    match (&summary, has_new_index) {
        (Some(_), true) => rename(&new_index, &index)?,
        (Some(_), false) => {}
        // An index that is not this segment's would send readers to the wrong places.
        (None, _) => {
            remove(&new_index)?;
            remove(&index)?;
        }
    }
    sync_directory(directory)?;
    rename(&swap, &directory.join(segment_name(base)))?;
    sync_directory(directory)
}

fn is_of(summary: &SegmentSummary, log: LogId, base: Offset) -> bool {
    summary.log == log && summary.base == base
}

/// Where the frames of a segment end, when its index cannot say.
fn scanned_end(path: &Path, log: LogId, base: Offset) -> Result<Offset, Error> {
    let file = DirectFile::open(path, Access::Read)?;
    let expect = Expect {
        log,
        base,
        epoch: LeaderEpoch::ZERO,
        limit: None,
        durable: Offset::ZERO,
        index_interval_bytes: u64::MAX,
    };
    let found = scan(&file, expect, &mut |_, _| {}).map_err(Error::io("read", path))?;
    Ok(found.end)
}

fn names_in(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::list(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", directory)(error)),
    };
    Ok(entries
        .into_iter()
        .filter_map(|entry| entry.name.into_string().ok())
        .collect())
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io("rename", from))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

//! The clean-stop marker: a promise that every log ends exactly where the marker says, and that the index file of every
//! active segment is current.
//!
//! Written last at a graceful stop, after everything is synced; removed (and the removal synced) before a start appends
//! anything. A start that finds none, or one that does not check out, recovers by scanning.
//!
//! ```text
//! clean-stop, little-endian
//!   0  4  magic "CLM1"   4  4  crc32c of everything from 8   8  4  number of logs (n)   12  4  zero
//!  16  n x 36: 16 topic id, u32 partition, u64 end offset, u32 leader epoch, u32 damaged ranges of acknowledged data (0 or 1)
//! ```
//! A log with damaged ranges is marked 1 and scanned again at the next start, so that the damage stays known.

use super::error::Error;
use crate::base::hash::HashMap;
use crate::base::{LeaderEpoch, LogId, Offset, PartitionId, TopicId, crc32c};
use crate::runtime::fs;
use std::path::Path;

const MAGIC: [u8; 4] = *b"CLM1";
const FIXED_BYTES: usize = 16;
const ENTRY_BYTES: usize = 36;

/// Where one log ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanEnd {
    /// The log.
    pub log: LogId,
    /// One past its last offset.
    pub end: Offset,
    /// The epoch it was led with.
    pub epoch: LeaderEpoch,
    /// It has damaged ranges and must be scanned again.
    pub damaged: bool,
}

/// Bytes of a marker for `ends`.
#[must_use]
pub fn encode(ends: &[CleanEnd]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FIXED_BYTES + ENTRY_BYTES * ends.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(
        &u32::try_from(ends.len())
            .expect("partitions are counted in 32 bits")
            .to_le_bytes(),
    );
    out.extend_from_slice(&[0; 4]);
    for end in ends {
        out.extend_from_slice(&end.log.topic.to_bytes());
        out.extend_from_slice(&end.log.partition.get().to_le_bytes());
        out.extend_from_slice(&end.end.get().to_le_bytes());
        out.extend_from_slice(&end.epoch.get().to_le_bytes());
        out.extend_from_slice(&u32::from(end.damaged).to_le_bytes());
    }
    let crc = crc32c(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads a marker; `None` unless every byte is as [`encode`] writes it.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<CleanEnd>> {
    let fixed: &[u8; FIXED_BYTES] = bytes.first_chunk()?;
    let word = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let entries = &bytes[FIXED_BYTES..];
    let count = word(8) as usize;
    if fixed[..4] != MAGIC
        || word(4) != crc32c(&bytes[8..])
        || entries.len() != count.checked_mul(ENTRY_BYTES)?
    {
        return None;
    }
    entries
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| {
            let (topic, rest) = entry.split_first_chunk()?;
            let (partition, rest) = rest.split_first_chunk()?;
            let (end, rest) = rest.split_first_chunk()?;
            let (epoch, rest) = rest.split_first_chunk()?;
            let damaged = u32::from_le_bytes(*rest.first_chunk()?);
            Some(CleanEnd {
                log: LogId {
                    topic: TopicId::new(*topic),
                    partition: PartitionId::new(u32::from_le_bytes(*partition)),
                },
                end: Offset::new(u64::from_le_bytes(*end)),
                epoch: LeaderEpoch::new(u32::from_le_bytes(*epoch)),
                damaged: damaged != 0,
            })
        })
        .collect()
}

/// Writes the marker and makes it durable, name included.
///
/// # Errors
/// The file system's; the next start scans then.
pub fn write(path: &Path, ends: &[CleanEnd]) -> Result<(), Error> {
    let parent = super::layout::parent(path);
    fs::write_synced(path, &encode(ends)).map_err(Error::io("write", path))?;
    sync_directory(parent)
}

/// Takes the marker away and returns what it said, if it said anything valid. The removal is durable when this returns.
///
/// # Errors
/// The file system's.
pub fn take(path: &Path) -> Result<Option<HashMap<LogId, CleanEnd>>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    fs::remove_file(path).map_err(Error::io("remove", path))?;
    sync_directory(super::layout::parent(path))?;
    Ok(decode(&bytes).map(|ends| ends.into_iter().map(|end| (end.log, end)).collect()))
}

/// Makes the names in `directory` durable.
///
/// # Errors
/// The file system's.
pub fn sync_directory(directory: &Path) -> Result<(), Error> {
    fs::sync_directory(directory).map_err(Error::io("sync directory", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Vec<CleanEnd> {
        (0..3u32)
            .map(|n| CleanEnd {
                log: LogId {
                    topic: TopicId::new([9; 16]),
                    partition: PartitionId::new(n),
                },
                end: Offset::new(u64::from(n) * 100),
                epoch: LeaderEpoch::new(n),
                damaged: n == 2,
            })
            .collect()
    }

    #[test]
    fn a_marker_is_taken_once_and_says_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clean-stop");
        assert!(take(&path).unwrap().is_none());
        write(&path, &ends()).unwrap();
        let taken = take(&path).unwrap().unwrap();
        assert_eq!(taken[&ends()[2].log], ends()[2]);
        assert_eq!(taken.len(), 3);
        assert!(take(&path).unwrap().is_none(), "a marker counts once");
    }

    #[test]
    fn a_damaged_marker_says_nothing() {
        let bytes = encode(&ends());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None, "{len} bytes");
        }
    }
}

//! What a partition knows of its log that no frame says: where it starts, and how far it was cleaned.
//!
//! DeleteRecords moves a log's start into the middle of a segment, retention behind one; the file remembers it, and is durable
//! before anybody is told. The cleaner notes how far it came and when the first tombstone may leave; losing that costs a
//! second cleaning and nothing else. A log that has neither needs no file.
//!
//! ```text
//! <partition>/checkpoint, little-endian, 56 bytes
//!   0  4  magic "CLK1"   4  4  crc32c of everything from 8
//!   8 16  topic id      24  4  partition   28  4  zero
//!  32  8  log start     40  8  first dirty offset   48  8  when the first tombstone may leave, ms; 0 for none
//! ```
//! Replaced by rename, so it is the old one or the new one. A file that does not check out counts as missing; one that the
//! log contradicts is removed before anything is appended.

use super::error::Error;
use super::layout::CHECKPOINT_NAME;
use crate::base::{LogId, Offset, PartitionId, Timestamp, TopicId, crc32c};
use crate::runtime::fs;
use std::io;
use std::path::Path;

const MAGIC: [u8; 4] = *b"CLK1";
const BYTES: usize = 56;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Whose it is.
    pub log: LogId,
    /// First readable offset, unless the first segment begins later.
    pub start: Offset,
    /// Everything below was cleaned.
    pub first_dirty: Offset,
    /// When the first of the tombstones that were cleaned may leave.
    pub delete_horizon: Option<Timestamp>,
}

impl Checkpoint {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.log.topic.to_bytes());
        out.extend_from_slice(&self.log.partition.get().to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.start.get().to_le_bytes());
        out.extend_from_slice(&self.first_dirty.get().to_le_bytes());
        let horizon = self.delete_horizon.map_or(0, Timestamp::get);
        out.extend_from_slice(&horizon.to_le_bytes());
        let crc = crc32c(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a file's bytes; `None` unless they are exactly as [`encode`](Self::encode) writes them.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (magic, rest) = bytes.split_first_chunk()?;
        let (crc, rest) = rest.split_first_chunk()?;
        if *magic != MAGIC || u32::from_le_bytes(*crc) != crc32c(rest) {
            return None;
        }
        let (topic, rest) = rest.split_first_chunk()?;
        let (partition, rest) = rest.split_first_chunk()?;
        let (_zero, rest) = rest.split_first_chunk::<4>()?;
        let (start, rest) = rest.split_first_chunk()?;
        let (first_dirty, rest) = rest.split_first_chunk()?;
        let horizon = i64::from_le_bytes(*rest.first_chunk()?);
        Some(Self {
            log: LogId {
                topic: TopicId::new(*topic),
                partition: PartitionId::new(u32::from_le_bytes(*partition)),
            },
            start: Offset::new(u64::from_le_bytes(*start)),
            first_dirty: Offset::new(u64::from_le_bytes(*first_dirty)),
            delete_horizon: (horizon != 0).then(|| Timestamp::new(horizon)),
        })
    }
}

/// Reads the checkpoint of `log` in `directory`; `None` when there is no valid one.
///
/// # Errors
/// The file system's.
pub fn read(directory: &Path, log: LogId) -> Result<Option<Checkpoint>, Error> {
    let path = directory.join(CHECKPOINT_NAME);
    match fs::read(&path) {
        Ok(bytes) => Ok(Checkpoint::decode(&bytes).filter(|found| found.log == log)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Removes the checkpoint in `directory`, durably.
///
/// # Errors
/// The file system's.
pub fn remove(directory: &Path) -> Result<(), Error> {
    let path = directory.join(CHECKPOINT_NAME);
    match fs::remove_file(&path) {
        Ok(()) => super::marker::sync_directory(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::log_id;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            log: log_id(3),
            start: Offset::new(0x1234),
            first_dirty: Offset::new(0x5678),
            delete_horizon: Some(Timestamp::new(1_700_000_000_000)),
        }
    }

    #[test]
    fn a_file_reads_back_as_written() {
        let none = Checkpoint {
            delete_horizon: None,
            ..checkpoint()
        };
        for written in [checkpoint(), none] {
            assert_eq!(Checkpoint::decode(&written.encode()), Some(written));
        }
    }

    #[test]
    fn any_flipped_bit_or_missing_byte_makes_the_file_unusable() {
        let bytes = checkpoint().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Checkpoint::decode(&damaged), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Checkpoint::decode(&bytes[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn another_logs_file_says_nothing() {
        let directory = tempfile::tempdir_in("target").unwrap();
        assert_eq!(read(directory.path(), log_id(3)).unwrap(), None);
        std::fs::write(directory.path().join(CHECKPOINT_NAME), checkpoint().encode()).unwrap();
        assert_eq!(read(directory.path(), log_id(3)).unwrap(), Some(checkpoint()));
        assert_eq!(read(directory.path(), log_id(4)).unwrap(), None);
        remove(directory.path()).unwrap();
        remove(directory.path()).unwrap();
        assert_eq!(read(directory.path(), log_id(3)).unwrap(), None);
    }
}

//! Where the broker's data lies while it is under proof: the disk of the directory, or one that can lose its power.

use std::path::{Path, PathBuf};

use super::fault_disk::{CutMode, FaultDisk, FaultDiskError, FaultDiskOptions, FileSystem};

/// See the module.
pub(super) enum Medium {
    /// The disk that the directory is on. Kills leave the kernel's cache alone.
    Plain,
    /// A disk in this process's memory, mounted below the directory.
    Fault(Box<FaultDisk>, FileSystem),
}

impl Medium {
    /// A fault disk with this file system in `home`, or the plain disk.
    pub(super) fn create(home: &Path, file_system: Option<FileSystem>) -> Result<Self, FaultDiskError> {
        let Some(file_system) = file_system else {
            return Ok(Self::Plain);
        };
        let options = FaultDiskOptions {
            bytes: DISK_BYTES,
            parent: home.to_owned(),
            ..FaultDiskOptions::new(file_system)
        };
        Ok(Self::Fault(Box::new(FaultDisk::create(&options)?), file_system))
    }

    /// The broker's data directory.
    pub(super) fn data_dir(&self, home: &Path) -> PathBuf {
        match self {
            Self::Plain => home.join(DATA),
            Self::Fault(disk, _) => disk.path().join(DATA),
        }
    }

    /// Whether its power can be cut.
    pub(super) const fn can_lose_power(&self) -> bool {
        matches!(self, Self::Fault(..))
    }

    /// Cuts the power. What is still in the disk's cache is kept, lost and torn as the seed says, or lost for certain.
    pub(super) fn cut_power(&self, seed: u64, fate: Fate) {
        if let Self::Fault(disk, file_system) = self {
            let mode = match (fate, file_system) {
                (Fate::Mixed, FileSystem::Ext4) => CutMode::Random,
                (Fate::Mixed, FileSystem::Xfs) => CutMode::RandomBlocks,
                (Fate::Lost, _) => CutMode::LoseAll,
            };
            disk.cut_power(seed, mode);
        }
    }

    /// Brings the power back and mounts what is left. The broker must have ended.
    pub(super) fn restore_power(&mut self) -> Result<(), FaultDiskError> {
        match self {
            Self::Plain => Ok(()),
            Self::Fault(disk, _) => disk.restore_power(),
        }
    }

    /// Flushes the disk was asked for so far.
    pub(super) fn flushes(&self) -> Option<u64> {
        match self {
            Self::Plain => None,
            Self::Fault(disk, _) => Some(disk.counters().flushes),
        }
    }

    /// Copies the data to where it outlives this process. On the plain disk it is there already.
    pub(super) fn rescue(&self, home: &Path) -> std::io::Result<()> {
        match self {
            Self::Plain => Ok(()),
            Self::Fault(disk, _) => copy_tree(&disk.path().join(DATA), &home.join(DATA)),
        }
    }
}

/// What becomes of writes in the cache of a disk that loses its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Each is kept, lost or torn.
    Mixed,
    /// All are lost.
    Lost,
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

const DATA: &str = "data";
/// More than any run here writes at once; only what is written takes memory.
const DISK_BYTES: u64 = 512 << 20;

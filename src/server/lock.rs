//! One broker per data directory.
//!
//! `SO_REUSEPORT` would let a second broker bind our ports without an error, so the lock on the directory is what keeps two
//! processes from one log. It is a kernel lock on an open file: it goes with the process, however that ends.

use crate::storage::Error;
use crate::storage::layout::DataDir;
use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The lock, held until this is dropped or the process ends.
#[derive(Debug)]
pub struct DataLock(File);

impl DataLock {
    /// Takes the lock, or says who holds it.
    ///
    /// # Errors
    /// The file system's, or `Invalid` when another process has the directory.
    pub fn take(data: &DataDir) -> Result<Self, Error> {
        let path = data.lock();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            let reason = format!(
                "another broker uses this data directory (process {})",
                holder.trim()
            );
            return Err(Error::Invalid { path, reason });
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(Error::io("write", &path))?;
        Ok(Self(file))
    }
}

/// What tells that the data directory is still the one that was locked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockWatch {
    path: PathBuf,
    file: (u64, u64),
}

impl DataLock {
    /// Something to look at the directory with, later.
    ///
    /// # Errors
    /// The file system's.
    pub fn watch(&self, data: &DataDir) -> Result<LockWatch, Error> {
        let path = data.lock();
        let facts = self.0.metadata().map_err(Error::io("look at", &path))?;
        let file = (facts.dev(), facts.ino());
        Ok(LockWatch { path, file })
    }
}

impl LockWatch {
    /// Why the directory is not the one that was locked any more, if so: removed, unmounted, replaced. What is written then
    /// goes into files that nobody will find again.
    #[must_use]
    pub fn loss(&self) -> Option<String> {
        let path = self.path.display();
        match std::fs::metadata(&self.path) {
            Ok(facts) if (facts.dev(), facts.ino()) == self.file => None,
            Ok(_) => Some(format!(
                "{path} is not the file that was locked: the data directory was replaced"
            )),
            Err(error) => Some(format!(
                "{path} cannot be found any more: {error}. Was the data directory removed or unmounted?"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_gone_or_another_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("data");
        std::fs::create_dir(&root).unwrap();
        let data = DataDir::new(&root);
        let held = DataLock::take(&data).unwrap();
        let watch = held.watch(&data).unwrap();
        assert_eq!(watch.loss(), None);
        std::fs::rename(&root, home.path().join("elsewhere")).unwrap();
        assert!(watch.loss().unwrap().contains("removed or unmounted"));
        std::fs::create_dir(&root).unwrap();
        let _other = DataLock::take(&data).unwrap();
        assert!(watch.loss().unwrap().contains("replaced"));
    }

    #[test]
    fn a_second_taker_is_refused_and_told_by_whom() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::new(directory.path());
        let held = DataLock::take(&data).unwrap();
        let refused = DataLock::take(&data).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        DataLock::take(&data).unwrap();
    }
}

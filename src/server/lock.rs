//! One broker per data directory.
//!
//! `SO_REUSEPORT` would let a second broker bind our ports without an error, so the lock on the directory is what keeps two
//! processes from one log. It is a kernel lock on an open file: it goes with the process, however that ends.

use crate::storage::Error;
use crate::storage::layout::DataDir;
use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};

/// The lock, held until this is dropped or the process ends.
#[derive(Debug)]
pub struct DataLock(#[expect(dead_code, reason = "held for its lock")] File);

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

#[cfg(test)]
mod tests {
    use super::*;

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

//! The few things the metadata store asks of a disk, so that tests can tear and fail each of them.
//!
//! Promise of [`Directory`]: what a method that says "durably" did is on the device when it returns. Blocking; control
//! thread only.

use crate::runtime::fs::{self, Access, OpenFile};
use std::io;
use std::path::{Path, PathBuf};

/// The files that stay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Name {
    Journal,
    Snapshot,
}

impl Name {
    pub(super) fn file_name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Snapshot => "snapshot",
        }
    }
}

const TEMPORARY: &str = "temporary";

pub(super) trait Disk {
    /// Where this is, for messages.
    fn place(&self) -> String;

    /// The whole file, synced first so that what is about to be trusted is durable; `None` if it does not exist.
    fn read(&mut self, name: Name) -> io::Result<Option<Vec<u8>>>;

    /// Appends to the journal, durably.
    fn append_journal(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the journal to `len` bytes, durably.
    fn truncate_journal(&mut self, len: usize) -> io::Result<()>;

    /// Makes the temporary file hold exactly `bytes`, durably, but for its name.
    fn write_temporary(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Gives the temporary file its name, replacing what had it.
    fn publish_temporary(&mut self, name: Name) -> io::Result<()>;

    /// Makes the names durable.
    fn sync_directory(&mut self) -> io::Result<()>;

    /// Removes what a crash left behind, if anything.
    fn remove_temporary(&mut self) -> io::Result<()>;
}

/// A directory that is looked at and stays as it is: what would change it is passed over where the store can go on without,
/// and refused where not.
pub(super) struct Looking(pub(super) PathBuf);

impl Disk for Looking {
    fn place(&self) -> String {
        self.0.display().to_string()
    }

    fn read(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
        match fs::read(&self.0.join(name.file_name())) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn append_journal(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate_journal(&mut self, _len: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_temporary(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn publish_temporary(&mut self, _name: Name) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn remove_temporary(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A directory of the file system.
pub(super) struct Directory {
    path: PathBuf,
    /// Opened once there is one, and where it ends.
    journal: Option<(OpenFile, u64)>,
}

impl Directory {
    /// Opens `path`, creating it durably if it does not exist.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !fs::is_directory(path) {
            fs::create_directories(path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                fs::sync_directory(parent)?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            journal: None,
        })
    }

    fn path_of(&self, name: Name) -> PathBuf {
        self.path.join(name.file_name())
    }

    fn journal(&mut self) -> io::Result<&mut (OpenFile, u64)> {
        if self.journal.is_none() {
            let file = OpenFile::open(&self.path_of(Name::Journal), Access::ReadWrite)?;
            let end = file.bytes()?;
            self.journal = Some((file, end));
        }
        self.journal
            .as_mut()
            .ok_or_else(|| io::Error::other("the journal was just opened"))
    }
}

impl Disk for Directory {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn read(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
        let path = self.path_of(name);
        match OpenFile::open(&path, Access::Read) {
            Ok(file) => file.sync()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        fs::read(&path).map(Some)
    }

    fn append_journal(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (journal, end) = self.journal()?;
        journal.write_at(*end, bytes)?;
        journal.sync()?;
        *end += bytes.len() as u64;
        Ok(())
    }

    fn truncate_journal(&mut self, len: usize) -> io::Result<()> {
        let len = u64::try_from(len).map_err(io::Error::other)?;
        let (journal, end) = self.journal()?;
        journal.set_len(len)?;
        *end = len;
        journal.sync()
    }

    fn write_temporary(&mut self, bytes: &[u8]) -> io::Result<()> {
        fs::write_synced(&self.path.join(TEMPORARY), bytes)
    }

    fn publish_temporary(&mut self, name: Name) -> io::Result<()> {
        if name == Name::Journal {
            // The handle would go on writing to the file that loses its name.
            self.journal = None;
        }
        fs::rename(&self.path.join(TEMPORARY), &self.path_of(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        fs::sync_directory(&self.path)
    }

    fn remove_temporary(&mut self) -> io::Result<()> {
        match fs::remove_file(&self.path.join(TEMPORARY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

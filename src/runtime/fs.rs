//! File-system calls that block their thread: for start-up, for offline tools and for the control thread, never for a shard
//! that serves.
//!
//! Each is one or two system calls and means what the call means. What is written here is durable only where a function
//! says so. In a simulated world (`runtime::sim`, unit tests only) they act on its disk.

#[cfg(test)]
use super::sim::{SimFile, disk as simulated};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What a directory holds under one name.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// Its length; of a directory something or other.
    pub bytes: u64,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// Room on a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// The size of the file system.
    pub total_bytes: u64,
    /// What is left for us.
    pub usable_bytes: u64,
}

/// The whole of a file.
///
/// # Errors
/// The file system's.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return disk.read_file(path);
    }
    std::fs::read(path)
}

/// What is in a directory, in no order.
///
/// # Errors
/// The file system's.
pub fn list(path: &Path) -> io::Result<Vec<Entry>> {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return disk.list(path);
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        entries.push(Entry {
            name: entry.file_name(),
            bytes: metadata.len(),
            is_directory: metadata.is_dir(),
        });
    }
    Ok(entries)
}

/// Whether there is a directory at `path`.
#[must_use]
pub fn is_directory(path: &Path) -> bool {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return disk.is_directory(path);
    }
    path.is_dir()
}

/// Whether there is anything at `path`; no, where the file system does not say.
#[must_use]
pub fn exists(path: &Path) -> bool {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return disk.exists(path);
    }
    path.exists()
}

/// Makes `path` and what is missing above it.
///
/// # Errors
/// The file system's.
pub fn create_directories(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return disk.create_directories(path);
    }
    std::fs::create_dir_all(path)
}

/// Renames; durable after [`sync_directory`] of both parents.
///
/// # Errors
/// The file system's.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return disk.rename_now(from, to);
    }
    std::fs::rename(from, to)
}

/// Removes a file; durable after [`sync_directory`] of its parent.
///
/// # Errors
/// The file system's.
pub fn remove_file(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return disk.remove_file(path);
    }
    std::fs::remove_file(path)
}

/// Removes a directory and all that is in it.
///
/// # Errors
/// The file system's; some of it may be gone then.
pub fn remove_directory_all(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return disk.remove_directory_all(path);
    }
    std::fs::remove_dir_all(path)
}

/// Makes the names in a directory durable.
///
/// # Errors
/// The file system's.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return disk.sync_directory_now(path);
    }
    File::open(path)?.sync_all()
}

/// Makes `path` hold exactly `bytes`, durably but for its name.
///
/// # Errors
/// The file system's; the file may then be missing, empty or short.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return disk.write_file(path, bytes);
    }
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The room on the file system of `path`. The kernel answers from memory.
///
/// # Errors
/// The file system's.
pub fn space(path: &Path) -> io::Result<Space> {
    #[cfg(test)]
    if let Some(disk) = simulated() {
        return Ok(disk.space());
    }
    let space = rustix::fs::statvfs(path)?;
    Ok(Space {
        total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
        usable_bytes: space.f_bavail.saturating_mul(space.f_frsize),
    })
}

/// How an [`OpenFile`] is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// To read, by the page cache's leave or not.
    Read,
    /// To read, past the page cache.
    DirectRead,
    /// To read and write, past the page cache.
    DirectReadWrite,
    /// To read and write, through the page cache.
    ReadWrite,
}

/// A file open for blocking calls.
#[derive(Debug)]
pub struct OpenFile(Handle);

#[derive(Debug)]
enum Handle {
    Fd(OwnedFd),
    #[cfg(test)]
    Sim(SimFile),
}

impl OpenFile {
    /// Opens the existing file at `path`.
    ///
    /// # Errors
    /// The file system's; `InvalidInput` where direct I/O is not to be had.
    pub fn open(path: &Path, access: Access) -> io::Result<Self> {
        #[cfg(test)]
        if let Some(disk) = simulated() {
            return disk.open_now(path).map(|file| Self(Handle::Sim(file)));
        }
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::DirectRead => OFlags::RDONLY | OFlags::DIRECT,
            Access::DirectReadWrite => OFlags::RDWR | OFlags::DIRECT,
            Access::ReadWrite => OFlags::RDWR,
        };
        let fd = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self(Handle::Fd(fd)))
    }

    /// The same file for a shard's ring.
    #[must_use]
    pub fn into_file(self) -> super::disk::File {
        match self.0 {
            Handle::Fd(fd) => super::disk::File::from_fd(fd),
            #[cfg(test)]
            Handle::Sim(file) => super::disk::File::of_world(file),
        }
    }

    /// Its length.
    ///
    /// # Errors
    /// The file system's.
    pub fn bytes(&self) -> io::Result<u64> {
        match &self.0 {
            Handle::Fd(fd) => Ok(u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0)),
            #[cfg(test)]
            Handle::Sim(file) => Ok(world_disk().len(file)),
        }
    }

    /// Fills `buffer` from `position` on.
    ///
    /// # Errors
    /// The file system's; `UnexpectedEof` if the file ends before.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &self.0 {
            Handle::Fd(fd) => read_all_at(fd, position, buffer),
            #[cfg(test)]
            Handle::Sim(file) => world_disk().read_now(file, position, buffer),
        }
    }

    /// Writes all of `bytes` at `position`; not durable.
    ///
    /// # Errors
    /// The file system's; some of it may be written then.
    pub fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        match &self.0 {
            Handle::Fd(fd) => write_all_at(fd, position, bytes),
            #[cfg(test)]
            Handle::Sim(file) => world_disk().write_now(file, position, bytes),
        }
    }

    /// Cuts or grows the file to `len` bytes; not durable.
    ///
    /// # Errors
    /// The file system's.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.0 {
            Handle::Fd(fd) => Ok(rustix::fs::ftruncate(fd, len)?),
            #[cfg(test)]
            Handle::Sim(file) => world_disk().set_len_now(file, len),
        }
    }

    /// Makes its bytes and its length durable.
    ///
    /// # Errors
    /// The file system's; after one, nothing about the file may be trusted until it is read back.
    pub fn sync(&self) -> io::Result<()> {
        match &self.0 {
            Handle::Fd(fd) => Ok(rustix::fs::fdatasync(fd)?),
            #[cfg(test)]
            Handle::Sim(file) => world_disk().sync_now(file),
        }
    }

    /// As [`Self::sync`], of bytes that another process left and that are about to be trusted: what can be read need not be
    /// on the disk.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub fn sync_before_trusting(&self) -> io::Result<()> {
        match &self.0 {
            Handle::Fd(_) => self.sync(),
            #[cfg(test)]
            Handle::Sim(file) => world_disk().sync_trusted(file),
        }
    }
}

#[cfg(test)]
fn world_disk() -> super::sim::Disk {
    simulated().expect("a simulated file is used inside its world")
}

fn read_all_at(fd: &OwnedFd, position: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[done..], position + done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_all_at(fd: &OwnedFd, position: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwrite(fd, &bytes[done..], position + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

//! Trying out the data directory: can it be written with direct, durable writes, and what is under it?
//!
//! The probe does what the log will do: it opens a file with `O_DIRECT`, writes one aligned block with `RWF_DSYNC`
//! and reads it back. A file system that cannot is found here, by name, and not in the first produce request. The
//! file is removed in every case; its name holds the process id, so that two servers probing one directory do
//! not meet.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::ReadWriteFlags;

/// What is under the data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataDirProbe {
    /// The file system's type, such as `ext4`; `unknown` when the kernel does not say.
    pub filesystem: String,
    /// What is mounted, such as `/dev/nvme0n1p2`; empty when the kernel does not say.
    pub device: String,
    /// Bytes an unprivileged process can still write.
    pub free_bytes: u64,
    /// What direct I/O must be aligned to, in bytes.
    pub dma_alignment_bytes: u64,
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be created, or is no directory.
    #[error("cannot create the data directory {}: {source}", .path.display())]
    NotADirectory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It may not be written.
    #[error("cannot write in the data directory {}: {source}", .path.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The disk, or the quota, is full.
    #[error("no space left for the data directory {}", .path.display())]
    NoSpace {
        /// The directory.
        path: PathBuf,
    },
    /// The file system does not do direct I/O.
    #[error("{filesystem} at {} does not support direct I/O", .path.display())]
    NoDirectIo {
        /// The directory.
        path: PathBuf,
        /// The file system's type.
        filesystem: String,
    },
    /// The file system does not do durable writes.
    #[error("{filesystem} at {} does not support durable writes (RWF_DSYNC)", .path.display())]
    NoDurableWrites {
        /// The directory.
        path: PathBuf,
        /// The file system's type.
        filesystem: String,
    },
    /// What was read is not what was written.
    #[error("a block written to {} did not read back as it was written", .path.display())]
    Mismatch {
        /// The directory.
        path: PathBuf,
    },
    /// Something else went wrong.
    #[error("cannot use the data directory {}: {source}", .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Creates the directory if it is missing, writes and reads back one block in it, and describes what it found.
pub fn probe_data_dir(path: &Path) -> Result<DataDirProbe, DataDirError> {
    fs::create_dir_all(path).map_err(|source| DataDirError::NotADirectory {
        path: path.to_owned(),
        source,
    })?;
    let (filesystem, device) = mount_under(path);
    let failed = |source: io::Error| explain(path, &filesystem, source);
    let probe = ProbeFile::create(path).map_err(failed)?;
    let written = Block::patterned();
    probe.write(&written).map_err(failed)?;
    let mut read = Block::zeroed();
    probe.read(&mut read).map_err(failed)?;
    if read.bytes() != written.bytes() {
        return Err(DataDirError::Mismatch {
            path: path.to_owned(),
        });
    }
    let space = rustix::fs::statvfs(path).map_err(|errno| failed(errno.into()))?;
    Ok(DataDirProbe {
        dma_alignment_bytes: probe.alignment(),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        filesystem,
        device,
    })
}

/// Which of our errors an error number of the probe is.
fn explain(path: &Path, filesystem: &str, source: io::Error) -> DataDirError {
    let path = path.to_owned();
    let filesystem = filesystem.to_owned();
    match source.raw_os_error() {
        Some(libc::EINVAL) => DataDirError::NoDirectIo { path, filesystem },
        Some(libc::EOPNOTSUPP) => DataDirError::NoDurableWrites { path, filesystem },
        Some(libc::ENOSPC | libc::EDQUOT) => DataDirError::NoSpace { path },
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => DataDirError::NotWritable { path, source },
        _ => DataDirError::Io { path, source },
    }
}

/// A file that is removed when it is dropped.
struct ProbeFile {
    file: File,
    path: PathBuf,
}

impl ProbeFile {
    fn create(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!(".corelog-probe-{}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path)?;
        Ok(Self { file, path })
    }

    fn write(&self, block: &Block) -> io::Result<()> {
        let written = rustix::io::pwritev2(
            &self.file,
            &[IoSlice::new(block.bytes())],
            0,
            ReadWriteFlags::DSYNC,
        )?;
        whole(written)
    }

    fn read(&self, block: &mut Block) -> io::Result<()> {
        let read = rustix::io::preadv2(
            &self.file,
            &mut [IoSliceMut::new(block.bytes_mut())],
            0,
            ReadWriteFlags::empty(),
        )?;
        whole(read)
    }

    /// What the kernel says direct I/O here must be aligned to; the block that was just tried when it does not say.
    fn alignment(&self) -> u64 {
        rustix::fs::statx(&self.file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)
            .ok()
            .map(|answer| u64::from(answer.stx_dio_offset_align.max(answer.stx_dio_mem_align)))
            .filter(|alignment| *alignment != 0)
            .unwrap_or(BLOCK_BYTES_U64)
    }
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        // The directory is usable either way; a file left behind is overwritten by the next probe of this process id.
        let _removed = fs::remove_file(&self.path);
    }
}

fn whole(count: usize) -> io::Result<()> {
    if count == BLOCK_BYTES {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// One block at an address direct I/O accepts.
struct Block {
    bytes: Vec<u8>,
    start: usize,
}

impl Block {
    fn zeroed() -> Self {
        let bytes = vec![0; 2 * BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        Self { bytes, start }
    }

    fn patterned() -> Self {
        let mut block = Self::zeroed();
        for (byte, value) in block.bytes_mut().iter_mut().zip((0..=u8::MAX).cycle()) {
            *byte = value;
        }
        block
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + BLOCK_BYTES]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + BLOCK_BYTES]
    }
}

/// Type and source of the file system `path` is on.
fn mount_under(path: &Path) -> (String, String) {
    let unknown = || ("unknown".to_owned(), String::new());
    let (Ok(table), Ok(metadata)) = (fs::read_to_string("/proc/self/mountinfo"), fs::metadata(path)) else {
        return unknown();
    };
    let device = metadata.dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    find_mount(&table, &number).unwrap_or_else(unknown)
}

/// The line of a mount table (proc(5), `mountinfo`) with device `number`: its type and its source.
fn find_mount(table: &str, number: &str) -> Option<(String, String)> {
    table.lines().rev().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut described = after.split(' ');
        (before.split(' ').nth(2) == Some(number))
            .then(|| Some((described.next()?.to_owned(), described.next()?.to_owned())))?
    })
}

/// The block the log writes.
const BLOCK_BYTES: usize = 4096;
const BLOCK_BYTES_U64: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usable_directory_is_created_described_and_left_empty() {
        let parent = tempfile::tempdir_in(".").unwrap();
        let path = parent.path().join("a/b");
        let found = probe_data_dir(&path).unwrap();
        assert!(found.free_bytes > 0);
        assert!(
            found.dma_alignment_bytes.is_power_of_two() && found.dma_alignment_bytes <= 4096,
            "{found:?}"
        );
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        fs::write(&path, "x").unwrap();
        let error = probe_data_dir(&path).unwrap_err();
        assert!(matches!(error, DataDirError::NotADirectory { .. }), "{error}");
    }

    #[test]
    fn errors_of_the_system_become_causes() {
        let cause = |errno| explain(Path::new("/d"), "tmpfs", io::Error::from_raw_os_error(errno));
        assert!(
            matches!(cause(libc::EINVAL), DataDirError::NoDirectIo { filesystem, .. } if filesystem == "tmpfs")
        );
        assert!(matches!(
            cause(libc::EOPNOTSUPP),
            DataDirError::NoDurableWrites { .. }
        ));
        assert!(matches!(cause(libc::ENOSPC), DataDirError::NoSpace { .. }));
        assert!(matches!(cause(libc::EDQUOT), DataDirError::NoSpace { .. }));
        assert!(matches!(cause(libc::EROFS), DataDirError::NotWritable { .. }));
        assert!(matches!(cause(libc::EIO), DataDirError::Io { .. }));
    }

    #[test]
    fn the_mount_table_is_read_by_device() {
        let table = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                     30 22 0:25 / /tmp rw - tmpfs tmpfs rw,size=1k\n\
                     garbage\n";
        assert_eq!(
            find_mount(table, "254:0"),
            Some(("ext4".to_owned(), "/dev/vda".to_owned()))
        );
        assert_eq!(
            find_mount(table, "0:25"),
            Some(("tmpfs".to_owned(), "tmpfs".to_owned()))
        );
        assert_eq!(find_mount(table, "9:9"), None);
    }

    #[test]
    fn blocks_are_aligned() {
        assert_eq!(Block::zeroed().bytes().as_ptr().align_offset(BLOCK_BYTES), 0);
    }
}

//! Files on the thread's ring: direct I/O for the log, and the file system calls around it.
//!
//! Operations go through `runtime::reactor` and obey its invariants: what an operation names is owned by its slot until it
//! completes. **What a cancel leaves behind.** Dropping a [`DiskRing`] future does not stop the operation; it completes in
//! the kernel and its result is thrown away. One thread.
#![expect(
    unsafe_code,
    reason = "a descriptor the kernel returns as a number becomes one we own"
)]

use super::buffer::Chunk;
use super::reactor::{Keep, Operation, Reactor, count};
#[cfg(test)]
use super::sim::{Disk, SimFile};
use io_uring::{opcode, squeue, types};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// How a write is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteSync {
    /// `RWF_DSYNC` on the write: the completion says durable.
    Dsync,
    /// A linked `fdatasync` after the write: the completion says durable. Slower alone, faster on a core that
    /// something else keeps busy.
    Link,
    /// Not durable until a later [`DiskRing::sync`].
    None,
}

/// An open file; closes when the last owner, operations included, is gone.
#[derive(Clone, Debug)]
pub struct File(Handle);

#[derive(Clone, Debug)]
enum Handle {
    Fd(Rc<OwnedFd>),
    #[cfg(test)]
    Sim(SimFile),
}

impl File {
    /// Wraps an open descriptor.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(Handle::Fd(Rc::new(fd)))
    }

    fn raw(&self) -> types::Fd {
        match &self.0 {
            Handle::Fd(fd) => types::Fd(fd.as_raw_fd()),
            #[cfg(test)]
            Handle::Sim(_) => unreachable!("a simulated file is no descriptor"),
        }
    }

    /// A file of a simulated disk.
    #[cfg(test)]
    pub(super) const fn of_world(file: SimFile) -> Self {
        Self(Handle::Sim(file))
    }

    #[cfg(test)]
    fn simulated(&self) -> &SimFile {
        match &self.0 {
            Handle::Sim(file) => file,
            Handle::Fd(_) => unreachable!("a simulated disk has simulated files"),
        }
    }
}

/// One contiguous piece of a chunk for a vectored write or read.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The memory.
    pub chunk: Chunk,
    /// Where the piece starts in the chunk; block-aligned.
    pub start: usize,
    /// Its length in bytes; a multiple of the block size.
    pub len: usize,
}

/// The calling thread's files. Cloning shares the ring.
#[derive(Clone)]
pub struct DiskRing(Backend);

#[derive(Clone)]
enum Backend {
    Ring(Reactor),
    #[cfg(test)]
    Sim(Disk),
}

impl std::fmt::Debug for DiskRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskRing")
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl DiskRing {
    /// That of the calling thread.
    ///
    /// # Panics
    /// On a thread that [`super::executor`] did not start.
    #[must_use]
    pub fn here() -> Self {
        #[cfg(test)]
        if let Some(disk) = super::sim::disk() {
            return Self(Backend::Sim(disk));
        }
        Self(Backend::Ring(Reactor::here()))
    }

    /// Operations in the kernel or waiting for a place in the ring.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        match &self.0 {
            Backend::Ring(ring) => ring.disk_in_flight(),
            #[cfg(test)]
            Backend::Sim(disk) => disk.in_flight(),
        }
    }

    /// Writes `pieces` one after another at `position`. Completes when all bytes are written and, unless `sync` is
    /// [`WriteSync::None`], durable.
    ///
    /// # Errors
    /// The device's error, or `WriteZero` when it wrote less (nothing may be assumed about the rest).
    pub async fn write(
        &self,
        file: &File,
        position: u64,
        pieces: Vec<Piece>,
        sync: WriteSync,
    ) -> io::Result<()> {
        #[cfg(test)]
        if let Backend::Sim(disk) = &self.0 {
            return disk.write(file.simulated(), position, pieces, sync).await;
        }
        let want: usize = pieces.iter().map(|piece| piece.len).sum();
        let rw_flags = if sync == WriteSync::Dsync {
            libc::RWF_DSYNC
        } else {
            0
        };
        let iovecs = iovecs(&pieces);
        let entry = opcode::Writev::new(file.raw(), iovecs.as_ptr(), iovec_count(&iovecs))
            .offset(position)
            .rw_flags(rw_flags)
            .build();
        let keep = Keep::Pieces {
            file: file.clone(),
            pieces,
            iovecs,
        };
        let (written, synced) = if sync == WriteSync::Link {
            let sync = opcode::Fsync::new(file.raw())
                .flags(types::FsyncFlags::DATASYNC)
                .build();
            let done = self.ring().submit_linked(&entry, &sync, keep).await;
            // The first completes before the second, which is cancelled if the first failed.
            (done.first.map_or_else(|| done.count(), count), done.count())
        } else {
            let done = self.submit(&entry, keep).await.count();
            (done, Ok(0))
        };
        match written? {
            done if done == want => synced.map(drop),
            done => Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("wrote {done} of {want} bytes"),
            )),
        }
    }

    /// Reads into `pieces` from `position`; returns the bytes read, less than asked only at the end of the file.
    ///
    /// # Errors
    /// The device's error.
    pub async fn read(&self, file: &File, position: u64, pieces: Vec<Piece>) -> io::Result<usize> {
        #[cfg(test)]
        if let Backend::Sim(disk) = &self.0 {
            return disk.read(file.simulated(), position, pieces).await;
        }
        let iovecs = iovecs(&pieces);
        let entry = opcode::Readv::new(file.raw(), iovecs.as_ptr(), iovec_count(&iovecs))
            .offset(position)
            .build();
        let keep = Keep::Pieces {
            file: file.clone(),
            pieces,
            iovecs,
        };
        self.submit(&entry, keep).await.count()
    }

    /// Makes earlier writes to `file` durable (`fdatasync`).
    ///
    /// # Errors
    /// The device's error; after one, nothing about the file may be trusted until it is read back.
    pub async fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        if let Backend::Sim(disk) = &self.0 {
            return disk.sync(file.simulated()).await;
        }
        let entry = opcode::Fsync::new(file.raw())
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        self.submit(&entry, Keep::File(file.clone()))
            .await
            .count()
            .map(drop)
    }

    /// Opens `path` for direct I/O, creating it when `create` says so.
    ///
    /// # Errors
    /// The file system's error.
    pub async fn open_direct(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        #[cfg(test)]
        if let Backend::Sim(disk) = &self.0 {
            return disk.open(path, mode).await.map(File::of_world);
        }
        let flags = libc::O_CLOEXEC
            | match mode {
                OpenMode::Direct => libc::O_RDWR | libc::O_DIRECT,
                OpenMode::DirectCreate => libc::O_RDWR | libc::O_DIRECT | libc::O_CREAT | libc::O_EXCL,
                OpenMode::BufferedCreate => libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
                OpenMode::Directory => libc::O_RDONLY | libc::O_DIRECTORY,
            };
        let path = c_path(path)?;
        let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr())
            .flags(flags)
            .mode(0o640)
            .build();
        let fd = self.submit(&entry, Keep::Paths(Box::new([path]))).await.count()?;
        let fd = i32::try_from(fd).expect("the kernel returns descriptors as int");
        // SAFETY: the kernel just returned this descriptor to us and nobody else has it.
        Ok(File::from_fd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Writes `bytes` at `position` through the page cache; for small side files such as indexes.
    ///
    /// # Errors
    /// The file system's error, or `WriteZero` on a short write.
    pub async fn write_buffered(&self, file: &File, position: u64, bytes: Box<[u8]>) -> io::Result<()> {
        #[cfg(test)]
        if let Backend::Sim(disk) = &self.0 {
            return disk.write_buffered(file.simulated(), position, bytes).await;
        }
        let want = bytes.len();
        let len = u32::try_from(want).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let entry = opcode::Write::new(file.raw(), bytes.as_ptr(), len)
            .offset(position)
            .build();
        let keep = Keep::Bytes {
            file: file.clone(),
            bytes,
        };
        let done = self.submit(&entry, keep).await.count()?;
        if done == want {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::WriteZero))
        }
    }

    /// Reserves `len` bytes for `file` from its start; they read as zeros.
    ///
    /// # Errors
    /// The file system's error, `ENOSPC` among them.
    pub async fn allocate(&self, file: &File, len: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Backend::Sim(disk) = &self.0 {
            return disk.allocate(file.simulated(), len).await;
        }
        let entry = opcode::Fallocate::new(file.raw(), len).build();
        self.submit(&entry, Keep::File(file.clone()))
            .await
            .count()
            .map(drop)
    }

    /// Renames `from` to `to`; durable after [`sync_directory`](Self::sync_directory) of both parents.
    ///
    /// # Errors
    /// The file system's error.
    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Backend::Sim(disk) = &self.0 {
            return disk.rename(from, to).await;
        }
        let paths = [c_path(from)?, c_path(to)?];
        let here = types::Fd(libc::AT_FDCWD);
        let entry = opcode::RenameAt::new(here, paths[0].as_ptr(), here, paths[1].as_ptr()).build();
        self.submit(&entry, Keep::Paths(Box::new(paths)))
            .await
            .count()
            .map(drop)
    }

    /// Removes the file at `path`.
    ///
    /// # Errors
    /// The file system's error.
    pub async fn unlink(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Backend::Sim(disk) = &self.0 {
            return disk.unlink(path).await;
        }
        let path = c_path(path)?;
        let entry = opcode::UnlinkAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build();
        self.submit(&entry, Keep::Paths(Box::new([path])))
            .await
            .count()
            .map(drop)
    }

    /// Makes the names in directory `path` durable.
    ///
    /// # Errors
    /// The file system's error.
    pub async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Backend::Sim(disk) = &self.0 {
            return disk.sync_directory(path).await;
        }
        let directory = self.open_direct(path, OpenMode::Directory).await?;
        let entry = opcode::Fsync::new(directory.raw()).build();
        self.submit(&entry, Keep::File(directory.clone()))
            .await
            .count()
            .map(drop)
    }

    fn submit(&self, entry: &squeue::Entry, keep: Keep) -> Operation {
        self.ring().submit_disk(entry, keep)
    }

    fn ring(&self) -> &Reactor {
        match &self.0 {
            Backend::Ring(ring) => ring,
            #[cfg(test)]
            Backend::Sim(_) => unreachable!("each operation asks for a simulated disk first"),
        }
    }
}

/// How [`DiskRing::open_direct`] opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// An existing file, direct I/O.
    Direct,
    /// A file that must not exist yet, direct I/O.
    DirectCreate,
    /// A file to replace, through the page cache.
    BufferedCreate,
    /// A directory, for syncing it.
    Directory,
}

fn iovecs(pieces: &[Piece]) -> Box<[libc::iovec]> {
    pieces
        .iter()
        .map(|piece| {
            assert!(
                piece.start + piece.len <= piece.chunk.len(),
                "a piece lies inside its chunk"
            );
            libc::iovec {
                iov_base: piece.chunk.as_ptr().wrapping_add(piece.start).cast(),
                iov_len: piece.len,
            }
        })
        .collect()
}

fn iovec_count(iovecs: &[libc::iovec]) -> u32 {
    u32::try_from(iovecs.len()).expect("writes and reads are bounded far below 2^32 pieces")
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use super::super::buffer::{Arena, BLOCK_BYTES, ChunkClass, SLAB_BYTES};
    use super::super::executor;
    use super::super::local::Notify;
    use super::*;
    use std::cell::Cell;
    use std::future::Future;
    use std::task::{Context, Waker};

    fn with_ring<F: Future<Output = ()> + 'static>(
        test: impl FnOnce(DiskRing, Arena, tempfile::TempDir) -> F,
    ) {
        let directory = tempfile::tempdir_in("target").unwrap();
        executor::block_on(async {
            let arena = Arena::new(8 * SLAB_BYTES).unwrap();
            let ring = DiskRing::here();
            test(ring, arena, directory).await;
        });
    }

    fn piece(arena: &Arena, fill: u8) -> Piece {
        let chunk = arena.alloc(ChunkClass::Small).unwrap();
        chunk.copy_in(0, &[fill; BLOCK_BYTES]);
        Piece {
            chunk,
            start: 0,
            len: BLOCK_BYTES,
        }
    }

    #[test]
    fn what_each_kind_of_write_stores_is_read_back() {
        with_ring(|ring, arena, directory| async move {
            let file = ring
                .open_direct(&directory.path().join("log"), OpenMode::DirectCreate)
                .await
                .unwrap();
            ring.allocate(&file, 1 << 20).await.unwrap();
            for (block, sync) in [WriteSync::Dsync, WriteSync::Link, WriteSync::None]
                .into_iter()
                .enumerate()
            {
                let fill = u8::try_from(block + 1).unwrap();
                let position = (block * 2 * BLOCK_BYTES) as u64;
                let pieces = vec![piece(&arena, fill), piece(&arena, fill + 100)];
                ring.write(&file, position, pieces, sync).await.unwrap();
            }
            ring.sync(&file).await.unwrap();
            for block in 0..3usize {
                let target = arena.alloc(ChunkClass::Medium).unwrap();
                let pieces = vec![Piece {
                    chunk: target.clone(),
                    start: 0,
                    len: 2 * BLOCK_BYTES,
                }];
                let read = ring
                    .read(&file, (block * 2 * BLOCK_BYTES) as u64, pieces)
                    .await
                    .unwrap();
                assert_eq!(read, 2 * BLOCK_BYTES);
                let fill = u8::try_from(block + 1).unwrap();
                assert!(target.slice(0..BLOCK_BYTES).iter().all(|byte| *byte == fill));
                assert!(
                    target
                        .slice(BLOCK_BYTES..2 * BLOCK_BYTES)
                        .iter()
                        .all(|byte| *byte == fill + 100)
                );
            }
        });
    }

    #[test]
    fn more_operations_than_the_ring_holds_all_complete() {
        with_ring(|ring, arena, directory| async move {
            let file = ring
                .open_direct(&directory.path().join("log"), OpenMode::DirectCreate)
                .await
                .unwrap();
            ring.allocate(&file, 4 << 20).await.unwrap();
            let done = Rc::new(Cell::new(0u32));
            let finished = Rc::new(Notify::default());
            let shared = piece(&arena, 7);
            for block in 0..600u64 {
                let (ring, file, pieces) = (ring.clone(), file.clone(), vec![shared.clone()]);
                let (done, finished) = (Rc::clone(&done), Rc::clone(&finished));
                executor::spawn(async move {
                    ring.write(&file, block * BLOCK_BYTES as u64, pieces, WriteSync::None)
                        .await
                        .unwrap();
                    done.set(done.get() + 1);
                    finished.notify();
                });
            }
            while done.get() < 600 {
                finished.notified().await;
            }
            assert_eq!(ring.in_flight(), 0);
        });
    }

    #[test]
    fn a_dropped_operation_keeps_its_memory_until_the_kernel_is_done() {
        with_ring(|ring, arena, directory| async move {
            let file = ring
                .open_direct(&directory.path().join("log"), OpenMode::DirectCreate)
                .await
                .unwrap();
            ring.allocate(&file, 1 << 20).await.unwrap();
            let pieces = vec![piece(&arena, 9)];
            let mut write = Box::pin(ring.write(&file, 0, pieces, WriteSync::Dsync));
            assert!(
                write
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            drop(write);
            assert_eq!(arena.used_bytes(), BLOCK_BYTES);
            ring.sync(&file).await.unwrap();
            while ring.in_flight() > 0 {
                executor::sleep(std::time::Duration::from_millis(1)).await;
            }
            assert_eq!(arena.used_bytes(), 0);
        });
    }

    #[test]
    fn failures_carry_the_kernels_error() {
        with_ring(|ring, _arena, directory| async move {
            let missing = ring
                .open_direct(&directory.path().join("missing"), OpenMode::Direct)
                .await;
            assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
            let clash = ring
                .rename(&directory.path().join("a"), &directory.path().join("b"))
                .await;
            assert_eq!(clash.unwrap_err().kind(), io::ErrorKind::NotFound);
        });
    }
}

//! The shard's own io_uring for the log's files: direct I/O, and the file system calls around it.
//!
//! One ring per shard, built on the shard's thread with `SINGLE_ISSUER | DEFER_TASKRUN` (the executor loses wake-ups
//! with a second ring of default flags). Operations pushed during a turn of the executor leave in one
//! `io_uring_enter`; a registered eventfd wakes the executor for completions, and every submit also reaps.
//!
//! **Invariants the unsafe code relies on**
//! 1. A slot owns every buffer, path and file its operation names until the completion is reaped, whether or not the
//!    future that asked is still there.
//! 2. Slots never move or free those buffers: chunks are reference-counted, vectors of iovecs and paths are boxed.
//! 3. The ring is used from the thread that made it (`Rc` inside keeps it there).
//!
//! **What a cancel leaves behind.** Dropping a [`DiskRing`] future does not stop the operation; it completes in the
//! kernel and its result is thrown away.
#![expect(
    unsafe_code,
    reason = "submission entries carry raw pointers into memory the slots keep alive"
)]

use super::buffer::Chunk;
use super::executor::{self, Busy, Ticker};
use super::local::Notify;
use io_uring::{IoUring, opcode, squeue, types};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CString;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll, Waker};

/// Operations in the kernel at once; more wait their turn in a queue whose length the log bounds (one write per
/// partition plus the budgeted cold reads).
pub const RING_DEPTH: u32 = 256;

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
pub struct File(Rc<OwnedFd>);

impl File {
    /// Wraps an open descriptor.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(Rc::new(fd))
    }

    fn raw(&self) -> types::Fd {
        types::Fd(self.0.as_raw_fd())
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

/// What an operation needs kept alive until it completes.
#[expect(dead_code, reason = "held for its lifetime only (invariant 1)")]
enum Keep {
    None,
    File(File),
    Pieces {
        file: File,
        pieces: Vec<Piece>,
        iovecs: Box<[libc::iovec]>,
    },
    Paths(Box<[CString]>),
    Bytes {
        file: File,
        bytes: Box<[u8]>,
    },
}

enum Slot {
    Free,
    Waiting {
        waker: Option<Waker>,
        keep: Keep,
    },
    Abandoned {
        keep: Keep,
    },
    Done(i32),
    /// The write of a linked pair; its result is folded into the sync's.
    Linked {
        sync_slot: usize,
    },
}

/// The shard's disk ring. Cloning shares it.
#[derive(Clone)]
pub struct DiskRing(Rc<Inner>);

impl std::fmt::Debug for DiskRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskRing")
            .field("in_flight", &self.0.in_flight.get())
            .finish_non_exhaustive()
    }
}

struct Inner {
    ring: RefCell<IoUring>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    /// Entries of operations not yet in the submission queue; the pair of a linked operation stays together.
    backlog: RefCell<VecDeque<(squeue::Entry, Option<squeue::Entry>)>>,
    in_flight: Cell<u32>,
    flush_wanted: Cell<bool>,
    flusher: RefCell<Option<Waker>>,
    /// First failed length of linked writes, folded into their sync's result.
    link_errors: RefCell<Vec<(usize, i32)>>,
    ticker: Ticker,
    busy: RefCell<Option<Busy>>,
    /// Operations are out; the overdue reaper should look in now and then.
    overdue: Notify,
}

impl DiskRing {
    /// Builds the ring on the calling shard thread and starts its reaper and flusher tasks.
    ///
    /// # Errors
    /// When the kernel refuses the ring or the eventfd.
    pub fn start(ticker: &Ticker) -> io::Result<Self> {
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(RING_DEPTH * 2)
            .build(RING_DEPTH)?;
        let event = rustix::event::eventfd(
            0,
            rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK,
        )?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        let inner = Rc::new(Inner {
            ring: RefCell::new(ring),
            slots: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
            backlog: RefCell::new(VecDeque::new()),
            in_flight: Cell::new(0),
            flush_wanted: Cell::new(false),
            flusher: RefCell::new(None),
            link_errors: RefCell::new(Vec::new()),
            ticker: ticker.clone(),
            busy: RefCell::new(None),
            overdue: Notify::default(),
        });
        executor::spawn(reap_on_event(Rc::downgrade(&inner), event)?);
        executor::spawn(flush_each_turn(Rc::downgrade(&inner)));
        executor::spawn(reap_overdue(Rc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// Operations in the kernel or waiting for a place in the ring.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.get() as usize + self.0.backlog.borrow().len()
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
        let done = if sync == WriteSync::Link {
            let sync = opcode::Fsync::new(file.raw())
                .flags(types::FsyncFlags::DATASYNC)
                .build();
            self.submit_linked(entry.flags(squeue::Flags::IO_LINK), sync, keep, want)
                .await?
        } else {
            self.submit(entry, keep).await?
        };
        if sync != WriteSync::Link && done != want {
            return Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("wrote {done} of {want} bytes"),
            ));
        }
        Ok(())
    }

    /// Reads into `pieces` from `position`; returns the bytes read, less than asked only at the end of the file.
    ///
    /// # Errors
    /// The device's error.
    pub async fn read(&self, file: &File, position: u64, pieces: Vec<Piece>) -> io::Result<usize> {
        let iovecs = iovecs(&pieces);
        let entry = opcode::Readv::new(file.raw(), iovecs.as_ptr(), iovec_count(&iovecs))
            .offset(position)
            .build();
        self.submit(
            entry,
            Keep::Pieces {
                file: file.clone(),
                pieces,
                iovecs,
            },
        )
        .await
    }

    /// Makes earlier writes to `file` durable (`fdatasync`).
    ///
    /// # Errors
    /// The device's error; after one, nothing about the file may be trusted until it is read back.
    pub async fn sync(&self, file: &File) -> io::Result<()> {
        let entry = opcode::Fsync::new(file.raw())
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        self.submit(entry, Keep::File(file.clone())).await.map(drop)
    }

    /// Opens `path` for direct I/O, creating it when `create` says so.
    ///
    /// # Errors
    /// The file system's error.
    pub async fn open_direct(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
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
        let fd = self.submit(entry, Keep::Paths(Box::new([path]))).await?;
        let fd = i32::try_from(fd).expect("the kernel returns descriptors as int");
        // SAFETY: the kernel just returned this descriptor to us and nobody else has it.
        Ok(File::from_fd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Writes `bytes` at `position` through the page cache; for small side files such as indexes.
    ///
    /// # Errors
    /// The file system's error, or `WriteZero` on a short write.
    pub async fn write_buffered(&self, file: &File, position: u64, bytes: Box<[u8]>) -> io::Result<()> {
        let want = bytes.len();
        let len = u32::try_from(want).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let entry = opcode::Write::new(file.raw(), bytes.as_ptr(), len)
            .offset(position)
            .build();
        let done = self
            .submit(
                entry,
                Keep::Bytes {
                    file: file.clone(),
                    bytes,
                },
            )
            .await?;
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
        let entry = opcode::Fallocate::new(file.raw(), len).build();
        self.submit(entry, Keep::File(file.clone())).await.map(drop)
    }

    /// Renames `from` to `to`; durable after [`sync_directory`](Self::sync_directory) of both parents.
    ///
    /// # Errors
    /// The file system's error.
    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let paths = [c_path(from)?, c_path(to)?];
        let here = types::Fd(libc::AT_FDCWD);
        let entry = opcode::RenameAt::new(here, paths[0].as_ptr(), here, paths[1].as_ptr()).build();
        self.submit(entry, Keep::Paths(Box::new(paths))).await.map(drop)
    }

    /// Removes the file at `path`.
    ///
    /// # Errors
    /// The file system's error.
    pub async fn unlink(&self, path: &Path) -> io::Result<()> {
        let path = c_path(path)?;
        let entry = opcode::UnlinkAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build();
        self.submit(entry, Keep::Paths(Box::new([path]))).await.map(drop)
    }

    /// Makes the names in directory `path` durable.
    ///
    /// # Errors
    /// The file system's error.
    pub async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let directory = self.open_direct(path, OpenMode::Directory).await?;
        let entry = opcode::Fsync::new(directory.raw()).build();
        self.submit(entry, Keep::File(directory.clone())).await.map(drop)
    }

    fn submit(&self, entry: squeue::Entry, keep: Keep) -> Operation {
        let slot = self.0.new_slot(Slot::Waiting { waker: None, keep });
        let entry = entry.user_data(slot as u64);
        self.0.backlog.borrow_mut().push_back((entry, None));
        self.0.want_flush();
        Operation {
            ring: Rc::clone(&self.0),
            slot,
            finished: false,
        }
    }

    /// A write and the sync behind it, as one operation whose result is `want` or an error.
    async fn submit_linked(
        &self,
        write: squeue::Entry,
        sync: squeue::Entry,
        keep: Keep,
        want: usize,
    ) -> io::Result<usize> {
        let sync_slot = self.0.new_slot(Slot::Waiting { waker: None, keep });
        let write_slot = self.0.new_slot(Slot::Linked { sync_slot });
        // An operation dropped between its write and its sync leaves a result behind, which is not this one's.
        self.0
            .link_errors
            .borrow_mut()
            .retain(|(slot, _)| *slot != sync_slot);
        let write = write.user_data(write_slot as u64);
        let sync = sync.user_data(sync_slot as u64);
        self.0.backlog.borrow_mut().push_back((write, Some(sync)));
        self.0.want_flush();
        let operation = Operation {
            ring: Rc::clone(&self.0),
            slot: sync_slot,
            finished: false,
        };
        let synced = operation.await;
        let written = {
            let mut errors = self.0.link_errors.borrow_mut();
            let at = errors.iter().position(|(slot, _)| *slot == sync_slot);
            at.map(|at| errors.swap_remove(at).1)
        };
        match (written, synced) {
            (Some(result), _) if usize::try_from(result).ok() != Some(want) => Err(match result {
                error if error < 0 => io::Error::from_raw_os_error(-error),
                short => io::Error::new(io::ErrorKind::WriteZero, format!("wrote {short} of {want} bytes")),
            }),
            (_, Err(error)) => Err(error),
            (_, Ok(_)) => Ok(want),
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

impl Inner {
    fn new_slot(&self, slot: Slot) -> usize {
        let mut slots = self.slots.borrow_mut();
        if let Some(index) = self.free.borrow_mut().pop() {
            slots[index] = slot;
            index
        } else {
            slots.push(slot);
            slots.len() - 1
        }
    }

    fn free_slot(&self, index: usize) {
        self.slots.borrow_mut()[index] = Slot::Free;
        self.free.borrow_mut().push(index);
    }

    fn want_flush(&self) {
        if self.busy.borrow().is_none() {
            *self.busy.borrow_mut() = Some(self.ticker.busy());
            self.overdue.notify();
        }
        if !self.flush_wanted.replace(true)
            && let Some(waker) = self.flusher.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Moves waiting entries into the ring, submits them, and reaps what has completed.
    fn flush(&self) {
        self.flush_wanted.set(false);
        let pushed = {
            let mut ring = self.ring.borrow_mut();
            let mut queue = ring.submission();
            let mut backlog = self.backlog.borrow_mut();
            while let Some((_, second)) = backlog.front() {
                let need = 1 + u32::from(second.is_some());
                if self.in_flight.get() + need > RING_DEPTH {
                    break;
                }
                let (first, second) = backlog.pop_front().expect("the front was just seen");
                // SAFETY: the slot named in the entry's user data owns everything it points to (invariant 1), and the
                // queue has room because in_flight is below its size.
                unsafe { queue.push(&first) }.expect("in_flight bounds the submission queue");
                if let Some(second) = second {
                    // SAFETY: as above.
                    unsafe { queue.push(&second) }.expect("in_flight bounds the submission queue");
                }
                self.in_flight.set(self.in_flight.get() + need);
            }
            // Counted from the queue, so that entries an earlier enter left behind go out too.
            queue.sync();
            u32::try_from(queue.len()).expect("the submission queue holds RING_DEPTH entries")
        };
        self.enter_and_reap(pushed);
    }

    /// Submits, lets deferred completions materialise, and reaps them.
    ///
    /// The kernel rings the eventfd for completions it defers and once more when they materialise. The second ring would
    /// cost a turn of the executor for nothing, so it is off inside the enter. What is deferred meanwhile rings nobody and
    /// shows in the task-run flag: we clear "off", fence, read the flag; the kernel sets the flag, fences, reads "off".
    fn enter_and_reap(&self, submit: u32) {
        let mut submit = submit;
        loop {
            self.ring.borrow_mut().completion().disable_eventfd();
            self.enter(submit);
            self.ring.borrow_mut().completion().enable_eventfd();
            fence(Ordering::SeqCst);
            self.reap();
            if !self.ring.borrow_mut().submission().taskrun() {
                return;
            }
            submit = 0;
        }
    }

    /// One `io_uring_enter` that submits and lets deferred completions materialise.
    fn enter(&self, submit: u32) {
        const GETEVENTS: u32 = 1;
        let ring = self.ring.borrow();
        loop {
            // SAFETY: no argument memory is passed; submission entries obey invariant 1.
            let entered = unsafe {
                ring.submitter()
                    .enter::<libc::sigset_t>(submit, 0, GETEVENTS, None)
            };
            match entered {
                Ok(_) => return,
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {}
                // EBUSY: the completion queue overflowed; reaping makes room and the next flush submits the rest.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return,
                Err(error) => panic!("io_uring_enter on our own ring failed: {error}"),
            }
        }
    }

    fn reap(&self) {
        let mut wakers: smallvec::SmallVec<[Waker; 16]> = smallvec::SmallVec::new();
        let mut freed: smallvec::SmallVec<[usize; 16]> = smallvec::SmallVec::new();
        {
            let mut ring = self.ring.borrow_mut();
            let mut slots = self.slots.borrow_mut();
            for completion in ring.completion() {
                let index = usize::try_from(completion.user_data()).expect("user data is a slot index");
                self.in_flight.set(self.in_flight.get() - 1);
                let slot = std::mem::replace(&mut slots[index], Slot::Done(completion.result()));
                match slot {
                    Slot::Waiting { waker, keep } => {
                        drop(keep);
                        wakers.extend(waker);
                    }
                    Slot::Abandoned { keep } => {
                        drop(keep);
                        freed.push(index);
                    }
                    Slot::Linked { sync_slot } => {
                        if matches!(slots[sync_slot], Slot::Waiting { .. }) {
                            self.link_errors
                                .borrow_mut()
                                .push((sync_slot, completion.result()));
                        }
                        freed.push(index);
                    }
                    Slot::Free | Slot::Done(_) => {
                        unreachable!("a completion for slot {index}, which waits for none")
                    }
                }
            }
        }
        for index in freed {
            self.free_slot(index);
        }
        for waker in wakers {
            waker.wake();
        }
        if !self.backlog.borrow().is_empty() {
            self.want_flush();
        } else if self.in_flight.get() == 0 {
            *self.busy.borrow_mut() = None;
        }
    }
}

struct Operation {
    ring: Rc<Inner>,
    slot: usize,
    finished: bool,
}

impl Future for Operation {
    type Output = io::Result<usize>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.ring.slots.borrow_mut()[self.slot] {
            Slot::Done(result) => *result,
            Slot::Waiting { waker, .. } => {
                *waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Slot::Free | Slot::Abandoned { .. } | Slot::Linked { .. } => {
                unreachable!("this future owns its slot")
            }
        };
        self.finished = true;
        self.ring.free_slot(self.slot);
        Poll::Ready(usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result)))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut slots = self.ring.slots.borrow_mut();
        let slot = std::mem::replace(&mut slots[self.slot], Slot::Free);
        if let Slot::Waiting { keep, .. } = slot {
            slots[self.slot] = Slot::Abandoned { keep };
        } else {
            drop(slots);
            self.ring.free_slot(self.slot);
        }
    }
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

/// Wakes with the eventfd and reaps. Ends when the ring is gone.
fn reap_on_event(ring: std::rc::Weak<Inner>, event: OwnedFd) -> io::Result<impl Future<Output = ()>> {
    let event = glommio::io::PollableFd::new(event).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(async move {
        loop {
            if event.readable().await.is_err() {
                return;
            }
            let mut counter = [0u8; 8];
            // An empty counter (EAGAIN) is a spurious wake; reaping is harmless then.
            let _spurious = rustix::io::read(event.get_ref(), &mut counter);
            let Some(ring) = ring.upgrade() else { return };
            ring.enter_and_reap(0);
        }
    })
}

/// Reaps every tick while operations are out, whatever the eventfd said: a wake-up lost between the kernel and the executor
/// then costs a tick, not a write that never completes. Ends when the ring is gone.
async fn reap_overdue(ring: std::rc::Weak<Inner>) {
    loop {
        let alive = poll_fn(|cx| {
            let Some(ring) = ring.upgrade() else {
                return Poll::Ready(false);
            };
            if ring.busy.borrow().is_some() {
                return Poll::Ready(true);
            }
            ring.overdue.poll_notified(cx).map(|()| true)
        })
        .await;
        if !alive {
            return;
        }
        executor::sleep(executor::TICK).await;
        if let Some(ring) = ring.upgrade().filter(|ring| ring.in_flight.get() > 0) {
            ring.enter_and_reap(0);
        }
    }
}

/// Submits once per executor turn. Ends when the ring is gone.
async fn flush_each_turn(ring: std::rc::Weak<Inner>) {
    loop {
        let alive = poll_fn(|cx| {
            let Some(ring) = ring.upgrade() else {
                return Poll::Ready(false);
            };
            if ring.flush_wanted.get() {
                return Poll::Ready(true);
            }
            *ring.flusher.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        if !alive {
            return;
        }
        if let Some(ring) = ring.upgrade() {
            ring.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffer::{Arena, BLOCK_BYTES, ChunkClass, SLAB_BYTES};
    use super::*;

    fn with_ring<F: Future<Output = ()> + 'static>(
        test: impl FnOnce(DiskRing, Arena, tempfile::TempDir) -> F,
    ) {
        let directory = tempfile::tempdir_in("target").unwrap();
        executor::block_on(async {
            let arena = Arena::new(8 * SLAB_BYTES).unwrap();
            let ring = DiskRing::start(&Ticker::start()).unwrap();
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

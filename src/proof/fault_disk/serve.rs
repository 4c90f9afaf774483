//! The disk as a file: a FUSE file system with one file, `disk`, whose reads, writes and flushes are those of a
//! [`Device`].
//!
//! One thread takes requests from the kernel, another answers those that a delay holds back. They meet under one lock,
//! which is held for the length of a copy in memory, never while anybody sleeps; so a slow disk still takes many requests
//! at once, as a real one does. A cut of the power answers everything held back with EIO.
//!
//! Absent: whatever a file system needs beyond being the backing file of a loop device. There is no directory listing, no
//! second file and no preallocation (the kernel is told so once, and then writes its zeros itself).

#![expect(
    clippy::disallowed_types,
    reason = "threads of the kernel's making meet here; no shard is involved"
)]

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, TimeOrNow, WriteFlags,
};

use super::device::{Device, Flush, Ticket};
use crate::runtime::clock::{self, Mono};

/// The name of the one file.
pub(super) const DISK: &str = "disk";

const DISK_INODE: INodeNo = INodeNo(2);
/// Attributes do not change.
const ATTRIBUTES_LAST: Duration = Duration::from_secs(3600);
/// Requests the kernel may have under way here: more than a broker keeps in flight, so that a delay slows each request and not
/// the sum of them.
const REQUESTS_MAX: u16 = 256;

/// The device, what is held back from its users, and for how long.
pub(super) struct Disk {
    state: Mutex<State>,
    changed: Condvar,
}

pub(super) struct State {
    pub(super) device: Device,
    delay: Duration,
    held: VecDeque<Held>,
    ending: bool,
}

/// A request that was carried out as far as it may be before its answer, and waits for its time.
struct Held {
    arrived: Mono,
    request: Answer,
}

enum Answer {
    Read(ReplyData, Vec<u8>),
    Write(ReplyWrite, Ticket, u32),
    Flush(ReplyEmpty, Flush),
}

impl Disk {
    pub(super) fn new(device: Device) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                device,
                delay: Duration::ZERO,
                held: VecDeque::new(),
                ending: false,
            }),
            changed: Condvar::new(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves at worst a half-copied write, which is what this disk is for.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers come this much later from now on, those held back already included.
    pub(super) fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
        self.changed.notify_all();
    }

    /// Carries `cut` out on the device and answers everything that was held back.
    pub(super) fn with_held_answered<T>(&self, cut: impl FnOnce(&mut Device) -> T) -> T {
        let mut state = self.lock();
        let result = cut(&mut state.device);
        state.answer_all();
        result
    }

    /// Answers what is held back, each in its time, until the disk goes.
    fn answer_held(&self) {
        let mut state = self.lock();
        while !state.ending {
            let now = clock::now();
            let first = state.held.front();
            let wait = first.map(|held| held.arrived.after(state.delay).since(now));
            state = match wait {
                Some(Duration::ZERO) => {
                    let held = state.held.pop_front().expect("the first was just looked at");
                    held.request.give(&mut state.device);
                    state.settle();
                    state
                }
                Some(wait) => {
                    let woken = self.changed.wait_timeout(state, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.answer_all();
    }
}

impl State {
    /// Answers everything that is held back.
    fn answer_all(&mut self) {
        while let Some(held) = self.held.pop_front() {
            held.request.give(&mut self.device);
        }
    }

    /// After a request: if the power went in the middle of it, nobody waits any longer.
    fn settle(&mut self) {
        if !self.device.is_powered() {
            self.answer_all();
        }
    }

    /// Answers now or holds the answer back.
    fn answer(&mut self, request: Answer) {
        // Without power everything fails, and fails at once.
        if !self.device.is_powered() || (self.delay.is_zero() && self.held.is_empty()) {
            request.give(&mut self.device);
        } else {
            let arrived = clock::now();
            self.held.push_back(Held { arrived, request });
        }
    }
}

impl Answer {
    fn give(self, device: &mut Device) {
        match self {
            Self::Read(reply, data) if device.is_powered() => reply.data(&data),
            Self::Read(reply, _) => reply.error(Errno::EIO),
            Self::Write(reply, ticket, length) => match device.answered(ticket) {
                Ok(()) => reply.written(length),
                Err(_) => reply.error(Errno::EIO),
            },
            Self::Flush(reply, flush) => match device.flush(&flush) {
                Ok(()) => reply.ok(),
                Err(_) => reply.error(Errno::EIO),
            },
        }
    }
}

/// The file system's threads; they end when it is unmounted and this is [ended](Self::end).
pub(super) struct Server {
    disk: Arc<Disk>,
    // Dropping it unmounts if nobody has.
    session: Option<BackgroundSession>,
    answering: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `disk` as the file `mount_point/disk`.
    pub(super) fn start(disk: &Arc<Disk>, mount_point: &Path) -> io::Result<Self> {
        let mut config = fuser::Config::default();
        config.mount_options = vec![
            MountOption::FSName("corelog-fault-disk".to_owned()),
            MountOption::NoSuid,
            MountOption::NoDev,
        ];
        let files = Files(Arc::clone(disk));
        let session = Session::new(files, mount_point, &config)?.spawn()?;
        let answering = Arc::clone(disk);
        let answering = std::thread::Builder::new()
            .name("fault-disk".to_owned())
            .spawn(move || answering.answer_held())?;
        Ok(Self {
            disk: Arc::clone(disk),
            session: Some(session),
            answering: Some(answering),
        })
    }

    /// Ends both threads. The file system must be unmounted, or this unmounts it.
    pub(super) fn end(&mut self) {
        self.disk.lock().ending = true;
        self.disk.changed.notify_all();
        if let Some(answering) = self.answering.take() {
            answering.join().ok();
        }
        // Its thread ends with the connection, whose last user may still be about to let go of it: not waited for.
        drop(self.session.take());
    }
}

/// What the kernel asks.
struct Files(Arc<Disk>);

impl Files {
    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0o700, 0),
            DISK_INODE => (FileType::RegularFile, 0o600, self.0.lock().device.bytes()),
            _ => return None,
        };
        let then = SystemTime::UNIX_EPOCH;
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: then,
            mtime: then,
            ctime: then,
            crtime: then,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn reply_attributes(&self, inode: INodeNo, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&ATTRIBUTES_LAST, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }
}

impl Filesystem for Files {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Each of these makes more requests overlap; a kernel without it is served one by one.
        config.set_max_background(REQUESTS_MAX).ok();
        config.add_capabilities(InitFlags::FUSE_ASYNC_DIO).ok();
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(DISK_INODE) {
            Some(attributes) if parent == INodeNo::ROOT && name == DISK => {
                reply.entry(&ATTRIBUTES_LAST, &attributes, Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        self.reply_attributes(inode, reply);
    }

    // The loop driver sets times; they are taken and forgotten.
    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        _modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed_time: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.reply_attributes(inode, reply);
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Nothing is cached between the loop device and here: what was written is known at once.
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.0.lock();
        match state.device.read(offset, size) {
            Ok(data) => state.answer(Answer::Read(reply, data)),
            Err(_) => reply.error(Errno::EIO),
        }
        drop(state);
        self.0.changed.notify_all();
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = u32::try_from(data.len()).expect("the kernel's requests are far below 4 GiB");
        let mut state = self.0.lock();
        match state.device.write(offset, data) {
            Ok(ticket) => state.answer(Answer::Write(reply, ticket, length)),
            Err(_) => reply.error(Errno::EIO),
        }
        state.settle();
        drop(state);
        self.0.changed.notify_all();
    }

    fn fsync(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let mut state = self.0.lock();
        let flush = state.device.flush_arrives();
        state.answer(Answer::Flush(reply, flush));
        state.settle();
        drop(state);
        self.0.changed.notify_all();
    }

    // Closing a file is no flush of the disk.
    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fallocate(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }
}

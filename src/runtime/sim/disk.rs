//! A file system in memory that promises as little as a real one may: bytes and names are durable when they were synced,
//! and not before.
//!
//! An inode has cached bytes (what reads give) and durable bytes (what is left without power), and knows which 512-byte
//! sectors differ. A directory has cached and durable entries, and what was done to names since is a list of operations.
//! Syncing a directory makes the operations on it durable, each with the earlier ones of the same inode; a rename happens
//! whole or not at all. When the power goes, of every sector and every operation that is not durable any choice survives.
//!
//! Faults come from a plan ([`DiskFaults`]) drawn anew for each operation. [`DiskLies`] is for finding out whether the
//! simulator notices a broker that does not do its part. Absent: file permissions, hard links, symbolic links.

use super::{ProcessId, Random, World, here};
use crate::runtime::disk::{OpenMode, Piece, WriteSync};
use crate::runtime::fs;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// The unit of a torn write.
const SECTOR_BYTES: usize = 512;
/// The unit of a misdirected write, and the alignment of direct I/O.
const BLOCK_BYTES: usize = 4096;
/// How long an operation takes on a healthy disk.
const USUAL_DELAY: Range<Duration> = Duration::from_micros(20)..Duration::from_micros(300);
/// What a blocking call costs its thread.
const BLOCKING_COST: Duration = Duration::from_micros(30);
/// Bytes of a disk that has room for everything.
const PLENTY_BYTES: u64 = 1 << 40;

const ROOT: Inode = Inode(0);

/// A file or directory, by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Inode(u64);

/// What goes wrong, each once in so many operations; zero for never.
#[derive(Clone, Debug)]
pub(crate) struct DiskFaults {
    /// A write gives EIO; some of its sectors may be there.
    pub(crate) write_eio: u64,
    /// A sync gives EIO, and what it should have made durable is gone.
    pub(crate) sync_eio: u64,
    /// A read gives EIO.
    pub(crate) read_eio: u64,
    /// A write goes to another block than it was meant for, and says nothing.
    pub(crate) misdirected: u64,
    /// An operation takes a hundred times as long.
    pub(crate) slow: u64,
    /// Room for all files together.
    pub(crate) room_bytes: u64,
    /// How long operations take.
    pub(crate) delay: Range<Duration>,
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self {
            write_eio: 0,
            sync_eio: 0,
            read_eio: 0,
            misdirected: 0,
            slow: 0,
            room_bytes: PLENTY_BYTES,
            delay: USUAL_DELAY,
        }
    }
}

/// What the disk pretends, so that a broker looks like one that forgot something.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct DiskLies {
    /// Blocking syncs of segment files, which only recovery asks for, do nothing.
    pub(crate) forget_recovery_syncs: bool,
    /// Writes that ask to be durable are not.
    pub(crate) dsync_is_volatile: bool,
    /// Syncs of directories do nothing.
    pub(crate) forget_directory_syncs: bool,
}

/// How often things happened.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct DiskCounters {
    /// Writes, buffered ones included.
    pub(crate) writes: u64,
    /// Reads.
    pub(crate) reads: u64,
    /// Syncs of files.
    pub(crate) syncs: u64,
    /// Errors of any kind given out because of the plan.
    pub(crate) faults: u64,
    /// Times the power went.
    pub(crate) power_cuts: u64,
    /// Sectors that were not durable when it went, and did not survive.
    pub(crate) lost_sectors: u64,
    /// Writes that went astray.
    pub(crate) misdirected: u64,
}

#[derive(Default)]
struct Node {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors whose cached bytes are newer than the durable ones.
    dirty: BTreeSet<usize>,
    /// For directories: names now, and names without power.
    directory: Option<Entries>,
}

#[derive(Clone, Default)]
struct Entries {
    cached: BTreeMap<OsString, Inode>,
    durable: BTreeMap<OsString, Inode>,
}

/// Something done to names that is not durable yet.
#[derive(Clone)]
enum NameOp {
    Link {
        directory: Inode,
        name: OsString,
        inode: Inode,
    },
    Unlink {
        directory: Inode,
        name: OsString,
        inode: Inode,
    },
    Rename {
        from: (Inode, OsString),
        to: (Inode, OsString),
        inode: Inode,
    },
}

impl NameOp {
    fn inode(&self) -> Inode {
        match self {
            Self::Link { inode, .. } | Self::Unlink { inode, .. } | Self::Rename { inode, .. } => *inode,
        }
    }

    fn touches(&self, wanted: Inode) -> bool {
        match self {
            Self::Link { directory, .. } | Self::Unlink { directory, .. } => *directory == wanted,
            Self::Rename { from, to, .. } => from.0 == wanted || to.0 == wanted,
        }
    }
}

/// What an operation under way will do.
type Effect = Box<dyn FnOnce(&mut State, &mut Random) -> io::Result<usize>>;

struct Pending {
    process: ProcessId,
    effect: Option<Effect>,
    outcome: Option<io::Result<usize>>,
    waker: Option<Waker>,
    /// Nobody waits any more; it goes on all the same.
    abandoned: bool,
}

struct State {
    nodes: BTreeMap<Inode, Node>,
    names: Vec<NameOp>,
    next: u64,
    counters: DiskCounters,
    faults: DiskFaults,
    lies: DiskLies,
    /// Writes end before they are flushed: who asked for them dies.
    unflushed: bool,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Disk(Rc<Inner>);

struct Inner {
    state: RefCell<State>,
    random: RefCell<Random>,
    pending: RefCell<BTreeMap<u64, Pending>>,
    next_pending: Cell<u64>,
    /// See [`Disk::stop_after`].
    stops_after: Cell<Option<u64>>,
}

/// An open file of the simulated disk.
#[derive(Clone, Debug)]
pub(crate) struct SimFile(Inode);

impl Disk {
    pub(super) fn new(random: Random) -> Self {
        let root = Node {
            directory: Some(Entries::default()),
            ..Node::default()
        };
        Self(Rc::new(Inner {
            state: RefCell::new(State {
                nodes: BTreeMap::from([(ROOT, root)]),
                names: Vec::new(),
                next: 1,
                counters: DiskCounters::default(),
                faults: DiskFaults::default(),
                lies: DiskLies::default(),
                unflushed: false,
            }),
            random: RefCell::new(random),
            pending: RefCell::default(),
            next_pending: Cell::new(0),
            stops_after: Cell::new(None),
        }))
    }

    /// Has nothing more reach the disk after so many further operations, as if who asks had been killed right there: also
    /// in the middle of what never yields, such as recovery. Its process is to be killed before this is taken back.
    pub(crate) fn stop_after(&self, operations: Option<u64>) {
        self.0.stops_after.set(operations);
    }

    /// Whether the disk has been made to stop, and has.
    pub(crate) fn has_stopped(&self) -> bool {
        self.0.stops_after.get() == Some(0)
    }

    /// Counts an operation; an error once the disk has stopped.
    fn go_on(&self) -> io::Result<()> {
        match self.0.stops_after.get() {
            None => Ok(()),
            Some(0) => Err(eio()),
            Some(left) => {
                self.0.stops_after.set(Some(left - 1));
                Ok(())
            }
        }
    }

    /// What goes wrong from now on.
    pub(crate) fn set_faults(&self, faults: DiskFaults) {
        self.0.state.borrow_mut().faults = faults;
    }

    /// What the disk pretends from now on.
    pub(crate) fn set_lies(&self, lies: DiskLies) {
        self.0.state.borrow_mut().lies = lies;
    }

    /// How often things happened.
    pub(crate) fn counters(&self) -> DiskCounters {
        self.0.state.borrow().counters
    }

    /// Every file and its length, in order of their paths.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.0.state.borrow();
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, inode)) = open.pop() {
            let node = &state.nodes[&inode];
            match &node.directory {
                Some(entries) => open.extend(
                    entries
                        .cached
                        .iter()
                        .map(|(name, inode)| (path.join(name), *inode)),
                ),
                None => found.push((path, node.cached.len() as u64)),
            }
        }
        found.sort();
        found
    }

    /// The bytes of a file, as a reader would get them.
    pub(crate) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.state.borrow();
        let inode = state.find(path).ok()?;
        Some(state.nodes[&inode].cached.clone())
    }

    /// Flips one bit of a file, for ever.
    pub(crate) fn flip_bit(&self, path: &Path, byte: usize, bit: u8) {
        let mut state = self.0.state.borrow_mut();
        let Ok(inode) = state.find(path) else { return };
        let node = state.nodes.get_mut(&inode).expect("it was found");
        for bytes in [&mut node.cached, &mut node.durable] {
            if let Some(byte) = bytes.get_mut(byte) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Operations under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.0.pending.borrow().len()
    }

    /// Of the operations a dying process has under way, each happens or not.
    pub(super) fn settle(&self, process: ProcessId) {
        let pending = std::mem::take(&mut *self.0.pending.borrow_mut());
        let (gone, kept): (BTreeMap<_, _>, BTreeMap<_, _>) = pending
            .into_iter()
            .partition(|(_, pending)| pending.process == process);
        *self.0.pending.borrow_mut() = kept;
        for effect in gone.into_values().filter_map(|pending| pending.effect) {
            let mut random = self.0.random.borrow_mut();
            let mut state = self.0.state.borrow_mut();
            // Not at all; whole; or it came as far as the cache of the device.
            let how = random.below(3);
            if how > 0 {
                state.unflushed = how == 2;
                // Nobody is left to hear how it went.
                let _unheard = effect(&mut state, &mut random);
                state.unflushed = false;
            }
        }
    }

    /// The power goes and comes back: only what is durable is left, and of the rest what luck leaves.
    pub(super) fn lose_power(&self) {
        let mut random = self.0.random.borrow_mut();
        let mut state = self.0.state.borrow_mut();
        state.counters.power_cuts += 1;
        state.lose_names(&mut random);
        state.lose_sectors(&mut random);
        state.forget_unreachable();
    }

    fn fault(&self, one_in: impl FnOnce(&DiskFaults) -> u64) -> bool {
        let mut state = self.0.state.borrow_mut();
        let happens = self.0.random.borrow_mut().one_in(one_in(&state.faults));
        state.counters.faults += u64::from(happens);
        happens
    }

    /// Starts an operation; its effect comes when it completes.
    async fn operate(&self, facts: &[u64], effect: Effect) -> io::Result<usize> {
        let world = here().expect("a simulated disk is used inside its world");
        world.note(facts);
        let stopped = self.go_on().err();
        let effect = match stopped {
            Some(error) => Box::new(move |_: &mut State, _: &mut Random| Err(error)),
            None => effect,
        };
        let id = self.0.next_pending.get();
        self.0.next_pending.set(id + 1);
        self.0.pending.borrow_mut().insert(
            id,
            Pending {
                process: world.current_process(),
                effect: Some(effect),
                outcome: None,
                waker: None,
                abandoned: false,
            },
        );
        let delay = self.draw_delay();
        let disk = self.clone();
        world.call_at(world.after(delay), move |_| disk.complete(id));
        let operation = Operation {
            disk: self.clone(),
            id,
        };
        std::future::poll_fn(|cx| operation.poll(cx.waker())).await
    }

    fn draw_delay(&self) -> Duration {
        let slow_one_in = self.0.state.borrow().faults.slow;
        let slow = self.0.random.borrow_mut().one_in(slow_one_in);
        let range = self.0.state.borrow().faults.delay.clone();
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let drawn = self
            .0
            .random
            .borrow_mut()
            .within(ns(range.start)..ns(range.end).max(ns(range.start) + 1));
        Duration::from_nanos(drawn) * if slow { 100 } else { 1 }
    }

    fn complete(&self, id: u64) {
        let effect = {
            let mut pending = self.0.pending.borrow_mut();
            pending.get_mut(&id).and_then(|pending| pending.effect.take())
        };
        let Some(effect) = effect else { return };
        let outcome = {
            let mut random = self.0.random.borrow_mut();
            effect(&mut self.0.state.borrow_mut(), &mut random)
        };
        let mut all = self.0.pending.borrow_mut();
        let Some(pending) = all.get_mut(&id) else { return };
        if pending.abandoned {
            all.remove(&id);
            return;
        }
        pending.outcome = Some(outcome);
        let waker = pending.waker.take();
        drop(all);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What a future waits for. Dropped, the operation goes on and nobody hears of it.
struct Operation {
    disk: Disk,
    id: u64,
}

impl Operation {
    fn poll(&self, waker: &Waker) -> Poll<io::Result<usize>> {
        let mut pending = self.disk.0.pending.borrow_mut();
        let Some(operation) = pending.get_mut(&self.id) else {
            return Poll::Pending;
        };
        match operation.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                operation.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let mut pending = self.disk.0.pending.borrow_mut();
        if let Some(operation) = pending.get_mut(&self.id) {
            operation.abandoned = true;
            if operation.effect.is_none() {
                pending.remove(&self.id);
            }
        }
    }
}

/// What `runtime::disk` asks.
impl Disk {
    pub(crate) async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        let path = path.to_owned();
        let effect: Effect = Box::new(move |state, _| {
            let inode = match mode {
                OpenMode::Direct | OpenMode::Directory => state.find(&path)?,
                OpenMode::DirectCreate => state.create(&path, Node::default())?,
                OpenMode::BufferedCreate => state.create_or_empty(&path)?,
            };
            Ok(usize::try_from(inode.0).expect("few inodes"))
        });
        let number = self.operate(&[20, path_mark(mode)], effect).await?;
        Ok(SimFile(Inode(number as u64)))
    }

    pub(crate) async fn write(
        &self,
        file: &SimFile,
        position: u64,
        pieces: Vec<Piece>,
        sync: WriteSync,
    ) -> io::Result<()> {
        assert_eq!(position % BLOCK_BYTES as u64, 0, "direct I/O starts at a block");
        let inode = file.0;
        let before = bytes_of(&pieces);
        assert_eq!(before.len() % BLOCK_BYTES, 0, "direct I/O is whole blocks");
        let failing = self.fault(|faults| faults.write_eio);
        let astray = self.fault(|faults| faults.misdirected);
        let facts = [21, inode.0, position, sum(&before), sync as u64];
        let effect: Effect = Box::new(move |state, random| {
            // The device reads the memory at any time until it is done.
            let after = bytes_of(&pieces);
            let bytes = mix(&before, &after, random);
            let at = usize::try_from(position).expect("a small disk");
            state.counters.writes += 1;
            if failing {
                state.tear(inode, at, &bytes, random);
                return Err(eio());
            }
            if astray {
                state.misdirect(inode, &bytes, random);
                return Ok(bytes.len());
            }
            state.store(inode, at, &bytes)?;
            if sync != WriteSync::None && !state.lies.dsync_is_volatile && !state.unflushed {
                state.make_durable(inode, at..at + bytes.len());
            }
            Ok(bytes.len())
        });
        self.operate(&facts, effect).await.map(drop)
    }

    pub(crate) async fn write_buffered(
        &self,
        file: &SimFile,
        position: u64,
        bytes: Box<[u8]>,
    ) -> io::Result<()> {
        let inode = file.0;
        let facts = [22, inode.0, position, sum(&bytes)];
        let effect: Effect = Box::new(move |state, _| {
            state.counters.writes += 1;
            state.store_growing(inode, usize::try_from(position).expect("a small disk"), &bytes)?;
            Ok(bytes.len())
        });
        self.operate(&facts, effect).await.map(drop)
    }

    pub(crate) async fn read(&self, file: &SimFile, position: u64, pieces: Vec<Piece>) -> io::Result<usize> {
        let inode = file.0;
        let failing = self.fault(|faults| faults.read_eio);
        let effect: Effect = Box::new(move |state, _| {
            state.counters.reads += 1;
            if failing {
                return Err(eio());
            }
            let node = state.nodes.get(&inode).ok_or(io::ErrorKind::NotFound)?;
            let mut at = usize::try_from(position).expect("a small disk");
            let mut done = 0;
            for piece in &pieces {
                let end = (at + piece.len).min(node.cached.len());
                let Some(bytes) = node.cached.get(at..end) else {
                    break;
                };
                piece.chunk.copy_in(piece.start, bytes);
                done += bytes.len();
                at = end;
            }
            Ok(done)
        });
        self.operate(&[23, inode.0, position], effect).await
    }

    pub(crate) async fn sync(&self, file: &SimFile) -> io::Result<()> {
        let inode = file.0;
        let failing = self.fault(|faults| faults.sync_eio);
        let effect: Effect = Box::new(move |state, _| state.sync(inode, failing).map(|()| 0));
        self.operate(&[24, inode.0], effect).await.map(drop)
    }

    pub(crate) async fn allocate(&self, file: &SimFile, len: u64) -> io::Result<()> {
        let inode = file.0;
        let effect: Effect = Box::new(move |state, _| {
            state.resize(inode, usize::try_from(len).expect("a small disk"))?;
            Ok(0)
        });
        self.operate(&[25, inode.0, len], effect).await.map(drop)
    }

    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        let effect: Effect = Box::new(move |state, _| state.rename(&from, &to).map(|()| 0));
        self.operate(&[26], effect).await.map(drop)
    }

    pub(crate) async fn unlink(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        let effect: Effect = Box::new(move |state, _| state.unlink(&path).map(|()| 0));
        self.operate(&[27], effect).await.map(drop)
    }

    pub(crate) async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        let failing = self.fault(|faults| faults.sync_eio);
        let effect: Effect = Box::new(move |state, _| {
            let inode = state.find(&path)?;
            if failing {
                return Err(eio());
            }
            state.sync_names(inode);
            Ok(0)
        });
        self.operate(&[28], effect).await.map(drop)
    }
}

/// What `runtime::fs` asks: calls that block their thread.
impl Disk {
    fn blocking<T>(&self, kind: u64, call: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        if let Some(world) = here() {
            world.note(&[40, kind]);
            world.pass(BLOCKING_COST);
        }
        self.go_on()?;
        call(&mut self.0.state.borrow_mut())
    }

    pub(crate) fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let failing = self.fault(|faults| faults.read_eio);
        self.blocking(1, |state| {
            let inode = state.find(path)?;
            if failing {
                return Err(eio());
            }
            Ok(state.nodes[&inode].cached.clone())
        })
    }

    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<fs::Entry>> {
        self.blocking(2, |state| {
            let entries = state.entries(state.find(path)?)?;
            let entry = |(name, inode): (&OsString, &Inode)| {
                let node = &state.nodes[inode];
                fs::Entry {
                    name: name.clone(),
                    bytes: node.cached.len() as u64,
                    is_directory: node.directory.is_some(),
                }
            };
            Ok(entries.cached.iter().map(entry).collect())
        })
    }

    pub(crate) fn is_directory(&self, path: &Path) -> bool {
        let state = self.0.state.borrow();
        let inode = state.find(path);
        inode.is_ok_and(|inode| state.nodes[&inode].directory.is_some())
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.0.state.borrow().find(path).is_ok()
    }

    pub(crate) fn create_directories(&self, path: &Path) -> io::Result<()> {
        self.blocking(3, |state| {
            let mut so_far = PathBuf::new();
            for part in path.components() {
                so_far.push(part);
                if state.find(&so_far).is_err() {
                    let directory = Node {
                        directory: Some(Entries::default()),
                        ..Node::default()
                    };
                    state.create(&so_far, directory)?;
                }
            }
            Ok(())
        })
    }

    pub(crate) fn rename_now(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.blocking(4, |state| state.rename(from, to))
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.blocking(5, |state| state.unlink(path))
    }

    pub(crate) fn remove_directory_all(&self, path: &Path) -> io::Result<()> {
        self.blocking(6, |state| state.remove_all(path))
    }

    pub(crate) fn sync_directory_now(&self, path: &Path) -> io::Result<()> {
        let failing = self.fault(|faults| faults.sync_eio);
        self.blocking(7, |state| {
            let inode = state.find(path)?;
            if failing {
                return Err(eio());
            }
            state.sync_names(inode);
            Ok(())
        })
    }

    /// Makes `path` hold `bytes`, synced but for its name.
    pub(crate) fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let failing = self.fault(|faults| faults.sync_eio);
        self.blocking(8, |state| {
            let inode = state.create_or_empty(path)?;
            state.store_growing(inode, 0, bytes)?;
            state.sync(inode, failing)
        })
    }

    pub(crate) fn open_now(&self, path: &Path) -> io::Result<SimFile> {
        self.blocking(9, |state| state.find(path).map(SimFile))
    }

    pub(crate) fn len(&self, file: &SimFile) -> u64 {
        let state = self.0.state.borrow();
        state
            .nodes
            .get(&file.0)
            .map_or(0, |node| node.cached.len() as u64)
    }

    pub(crate) fn read_now(&self, file: &SimFile, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let failing = self.fault(|faults| faults.read_eio);
        self.blocking(10, |state| {
            if failing {
                return Err(eio());
            }
            let node = state.nodes.get(&file.0).ok_or(io::ErrorKind::NotFound)?;
            let at = usize::try_from(position).expect("a small disk");
            let bytes = node.cached.get(at..at + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    pub(crate) fn write_now(&self, file: &SimFile, position: u64, bytes: &[u8]) -> io::Result<()> {
        let failing = self.fault(|faults| faults.write_eio);
        self.blocking(11, |state| {
            if failing {
                return Err(eio());
            }
            state.counters.writes += 1;
            state.store_growing(file.0, usize::try_from(position).expect("a small disk"), bytes)
        })
    }

    pub(crate) fn set_len_now(&self, file: &SimFile, len: u64) -> io::Result<()> {
        self.blocking(12, |state| {
            state.resize(file.0, usize::try_from(len).expect("a small disk"))
        })
    }

    pub(crate) fn sync_now(&self, file: &SimFile) -> io::Result<()> {
        let failing = self.fault(|faults| faults.sync_eio);
        self.blocking(13, |state| state.sync(file.0, failing))
    }

    /// As [`Self::sync_now`], of a file that recovery is about to trust.
    pub(crate) fn sync_trusted(&self, file: &SimFile) -> io::Result<()> {
        if self.0.state.borrow().lies.forget_recovery_syncs {
            return Ok(());
        }
        self.sync_now(file)
    }

    pub(crate) fn space(&self) -> fs::Space {
        let state = self.0.state.borrow();
        fs::Space {
            total_bytes: state.faults.room_bytes,
            usable_bytes: state.faults.room_bytes.saturating_sub(state.used()),
        }
    }
}

impl State {
    fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut at = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                let entries = self.entries(at)?;
                at = *entries.cached.get(name).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(at)
    }

    fn entries(&self, inode: Inode) -> io::Result<&Entries> {
        let node = self.nodes.get(&inode).ok_or(io::ErrorKind::NotFound)?;
        node.directory
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotADirectory.into())
    }

    fn entries_mut(&mut self, inode: Inode) -> &mut Entries {
        let node = self.nodes.get_mut(&inode).expect("a directory that was found");
        node.directory.as_mut().expect("a directory that was found")
    }

    /// The directory of `path`, and its name there.
    fn place(&self, path: &Path) -> io::Result<(Inode, OsString)> {
        let name = path
            .file_name()
            .map(OsStr::to_owned)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let directory = self.find(path.parent().unwrap_or_else(|| Path::new("/")))?;
        self.entries(directory)?;
        Ok((directory, name))
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<Inode> {
        let (directory, name) = self.place(path)?;
        if self.entries(directory)?.cached.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.room_for(1)?;
        let inode = Inode(self.next);
        self.next += 1;
        self.nodes.insert(inode, node);
        self.entries_mut(directory).cached.insert(name.clone(), inode);
        self.names.push(NameOp::Link {
            directory,
            name,
            inode,
        });
        Ok(inode)
    }

    fn create_or_empty(&mut self, path: &Path) -> io::Result<Inode> {
        match self.find(path) {
            Ok(inode) => {
                self.resize(inode, 0)?;
                Ok(inode)
            }
            Err(_) => self.create(path, Node::default()),
        }
    }

    fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        let entries = self.entries_mut(directory);
        let inode = entries.cached.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        self.names.push(NameOp::Unlink {
            directory,
            name,
            inode,
        });
        Ok(())
    }

    fn remove_all(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find(path)?;
        let children: Vec<OsString> = match &self.nodes[&inode].directory {
            Some(entries) => entries.cached.keys().cloned().collect(),
            None => Vec::new(),
        };
        for child in children {
            self.remove_all(&path.join(child))?;
        }
        self.unlink(path)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (source, target) = (self.place(from)?, self.place(to)?);
        let inode = self
            .entries_mut(source.0)
            .cached
            .remove(&source.1)
            .ok_or(io::ErrorKind::NotFound)?;
        self.entries_mut(target.0).cached.insert(target.1.clone(), inode);
        self.names.push(NameOp::Rename {
            from: source,
            to: target,
            inode,
        });
        Ok(())
    }

    /// Makes what was done to a directory durable, each with what was done before to the same inode.
    fn sync_names(&mut self, directory: Inode) {
        if self.lies.forget_directory_syncs {
            return;
        }
        let pending = std::mem::take(&mut self.names);
        let mut durable = vec![false; pending.len()];
        for at in 0..pending.len() {
            if pending[at].touches(directory) {
                for earlier in 0..=at {
                    durable[earlier] |= pending[earlier].inode() == pending[at].inode();
                }
            }
        }
        for (op, durable) in pending.into_iter().zip(durable) {
            if durable {
                self.commit(&op);
            } else {
                self.names.push(op);
            }
        }
    }

    fn commit(&mut self, op: &NameOp) {
        match op {
            NameOp::Link {
                directory,
                name,
                inode,
            } => {
                let entries = self.entries_mut(*directory);
                entries.durable.insert(name.clone(), *inode);
            }
            NameOp::Unlink {
                directory,
                name,
                inode,
            } => {
                let entries = self.entries_mut(*directory);
                if entries.durable.get(name) == Some(inode) {
                    entries.durable.remove(name);
                }
            }
            NameOp::Rename { from, to, inode } => {
                let entries = self.entries_mut(from.0);
                if entries.durable.get(&from.1) == Some(inode) {
                    entries.durable.remove(&from.1);
                }
                self.entries_mut(to.0).durable.insert(to.1.clone(), *inode);
            }
        }
    }

    /// Whether `op` can have happened, given what of the earlier ones did.
    fn possible(&self, op: &NameOp) -> bool {
        let durable = |directory: Inode, name: &OsString| {
            let node = self.nodes.get(&directory);
            let entries = node.and_then(|node| node.directory.as_ref());
            entries.and_then(|entries| entries.durable.get(name)).copied()
        };
        match op {
            NameOp::Link { .. } => true,
            NameOp::Unlink {
                directory,
                name,
                inode,
            } => durable(*directory, name) == Some(*inode),
            NameOp::Rename { from, inode, .. } => durable(from.0, &from.1) == Some(*inode),
        }
    }

    fn lose_names(&mut self, random: &mut Random) {
        let pending = std::mem::take(&mut self.names);
        // All, none, the first so many (as a journal would), or any choice.
        let way = random.below(4);
        let prefix = random.index(pending.len() + 1);
        for (at, op) in pending.iter().enumerate() {
            let survives = match way {
                0 => false,
                1 => true,
                2 => at < prefix,
                _ => random.one_in(2),
            };
            if survives && self.possible(op) {
                self.commit(op);
            }
        }
        for node in self.nodes.values_mut() {
            if let Some(entries) = &mut node.directory {
                entries.cached.clone_from(&entries.durable);
            }
        }
    }

    fn lose_sectors(&mut self, random: &mut Random) {
        // All, nothing and something are each worth meeting often.
        let keep_one_in = [1, 2, 2, 8, 0][random.index(5)];
        for node in self.nodes.values_mut() {
            let dirty = std::mem::take(&mut node.dirty);
            for sector in dirty {
                let start = sector * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(node.cached.len());
                if random.one_in(keep_one_in) && start < end {
                    if node.durable.len() < end {
                        node.durable.resize(end, 0);
                    }
                    node.durable[start..end].copy_from_slice(&node.cached[start..end]);
                } else {
                    self.counters.lost_sectors += 1;
                }
            }
            // A cut that was not synced may or may not have happened.
            if node.cached.len() < node.durable.len() && random.one_in(2) {
                node.durable.truncate(node.cached.len());
            }
            node.cached.clone_from(&node.durable);
        }
    }

    fn forget_unreachable(&mut self) {
        let mut reachable = BTreeSet::new();
        let mut open = vec![ROOT];
        while let Some(inode) = open.pop() {
            reachable.insert(inode);
            if let Some(entries) = self.nodes.get(&inode).and_then(|node| node.directory.as_ref()) {
                open.extend(entries.cached.values().copied());
            }
        }
        self.nodes.retain(|inode, _| reachable.contains(inode));
    }

    fn used(&self) -> u64 {
        self.nodes.values().map(|node| node.cached.len() as u64).sum()
    }

    fn room_for(&mut self, more: usize) -> io::Result<()> {
        if self.faults.room_bytes < PLENTY_BYTES && self.used() + more as u64 > self.faults.room_bytes {
            self.counters.faults += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn resize(&mut self, inode: Inode, len: usize) -> io::Result<()> {
        let have = self.nodes.get(&inode).map_or(0, |node| node.cached.len());
        self.room_for(len.saturating_sub(have))?;
        let node = self.nodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        node.cached.resize(len, 0);
        node.dirty.retain(|sector| sector * SECTOR_BYTES < len);
        Ok(())
    }

    /// A direct write. It may grow a file, as the cleaner's do; what a failed one leaves out before its end is a hole of zeros.
    fn store(&mut self, inode: Inode, at: usize, bytes: &[u8]) -> io::Result<()> {
        let have = self.nodes.get(&inode).map_or(0, |node| node.cached.len());
        self.room_for((at + bytes.len()).saturating_sub(have))?;
        let node = self.nodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        if at + bytes.len() > have {
            node.cached.resize(at + bytes.len(), 0);
        }
        node.cached[at..at + bytes.len()].copy_from_slice(bytes);
        node.dirty
            .extend(at / SECTOR_BYTES..(at + bytes.len()).div_ceil(SECTOR_BYTES));
        Ok(())
    }

    fn store_growing(&mut self, inode: Inode, at: usize, bytes: &[u8]) -> io::Result<()> {
        let have = self.nodes.get(&inode).map_or(0, |node| node.cached.len());
        if at + bytes.len() > have {
            self.resize(inode, at + bytes.len())?;
        }
        self.store(inode, at, bytes)
    }

    /// A write that failed: some of its sectors are there.
    fn tear(&mut self, inode: Inode, at: usize, bytes: &[u8], random: &mut Random) {
        for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if random.one_in(2) {
                // The file is there: the write was accepted.
                let _stored = self.store(inode, at + number * SECTOR_BYTES, sector);
            }
        }
    }

    /// A write that went to some other block of the same file or another.
    fn misdirect(&mut self, meant: Inode, bytes: &[u8], random: &mut Random) {
        self.counters.misdirected += 1;
        let files: Vec<Inode> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.cached.len() >= bytes.len() && !bytes.is_empty())
            .map(|(inode, _)| *inode)
            .collect();
        let inode = if files.is_empty() {
            meant
        } else {
            files[random.index(files.len())]
        };
        let room = self.nodes[&inode].cached.len().saturating_sub(bytes.len()) / BLOCK_BYTES;
        let at = random.index(room + 1) * BLOCK_BYTES;
        if at + bytes.len() <= self.nodes[&inode].cached.len() {
            let _stored = self.store(inode, at, bytes);
            self.make_durable(inode, at..at + bytes.len());
        }
    }

    fn make_durable(&mut self, inode: Inode, range: Range<usize>) {
        let node = self.nodes.get_mut(&inode).expect("it was written to");
        if node.durable.len() < range.end {
            node.durable.resize(range.end, 0);
        }
        node.durable[range.clone()].copy_from_slice(&node.cached[range.clone()]);
        let whole = range.start.div_ceil(SECTOR_BYTES)..range.end / SECTOR_BYTES;
        for sector in whole {
            node.dirty.remove(&sector);
        }
    }

    fn sync(&mut self, inode: Inode, failing: bool) -> io::Result<()> {
        self.counters.syncs += 1;
        let node = self.nodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        if node.directory.is_some() {
            self.sync_names(inode);
            return Ok(());
        }
        let dirty = std::mem::take(&mut node.dirty);
        if failing {
            // As on ext4 and XFS: the error is told once, the pages are dropped, the device has the old bytes.
            for sector in dirty {
                let start = sector * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(node.cached.len());
                for at in start..end {
                    node.cached[at] = node.durable.get(at).copied().unwrap_or(0);
                }
            }
            return Err(eio());
        }
        node.durable.resize(node.cached.len(), 0);
        for sector in dirty {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(node.cached.len());
            if start < end {
                node.durable[start..end].copy_from_slice(&node.cached[start..end]);
            }
        }
        Ok(())
    }
}

/// Per sector, what the memory held at the start of the operation or at its end.
fn mix(before: &[u8], after: &[u8], random: &mut Random) -> Vec<u8> {
    if before == after {
        return after.to_vec();
    }
    let sectors = before.chunks(SECTOR_BYTES).zip(after.chunks(SECTOR_BYTES));
    sectors
        .flat_map(|(before, after)| if random.one_in(2) { before } else { after })
        .copied()
        .collect()
}

fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pieces.iter().map(|piece| piece.len).sum());
    for piece in pieces {
        bytes.extend_from_slice(piece.chunk.slice(piece.start..piece.start + piece.len));
    }
    bytes
}

fn sum(bytes: &[u8]) -> u64 {
    u64::from(crate::base::checksum::crc32c(bytes))
}

fn path_mark(mode: OpenMode) -> u64 {
    match mode {
        OpenMode::Direct => 1,
        OpenMode::DirectCreate => 2,
        OpenMode::BufferedCreate => 3,
        OpenMode::Directory => 4,
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

/// The disk of the world the calling thread is in.
pub(crate) fn disk() -> Option<Disk> {
    here().map(|world: World| world.disk().clone())
}

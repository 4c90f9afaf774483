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

//!
//! Here is what surrounds it: operations under way, their delays, what a kill and a power cut leave. [`state`] is what is on the
//! disk, [`calls`] are the operations, [`faults`] the plan.

mod calls;
mod faults;
mod state;

pub(crate) use faults::{DiskCounters, DiskFaults, DiskLies};

use super::{ProcessId, Random, World, here};
use state::{BLOCK_BYTES, Entries, Inode, Node, ROOT, State, eio};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

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

    /// What a write of a block leaves that went astray: its bytes where another block was, and zeros where it should be.
    pub(crate) fn misplace(&self, meant: (&Path, usize), other: (&Path, usize)) {
        let block = |at: usize| at..at + BLOCK_BYTES;
        let mut state = self.0.state.borrow_mut();
        let (Ok(from), Ok(to)) = (state.find(meant.0), state.find(other.0)) else {
            return;
        };
        let source = state.nodes.get_mut(&from).expect("it was found");
        let bytes = source.cached[block(meant.1)].to_vec();
        source.cached[block(meant.1)].fill(0);
        source.durable[block(meant.1)].fill(0);
        let target = state.nodes.get_mut(&to).expect("it was found");
        target.cached[block(other.1)].copy_from_slice(&bytes);
        target.durable[block(other.1)].copy_from_slice(&bytes);
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

/// The disk of the world the calling thread is in.
pub(crate) fn disk() -> Option<Disk> {
    here().map(|world: World| world.disk().clone())
}

//! The one io_uring of a thread, and the one place where the thread sleeps.
//!
//! Everything a thread of [`super::executor`] waits for is here: disk operations, sockets, timers, and wake-ups from
//! other threads. What tasks ask for during a turn is only queued; it leaves in the `io_uring_enter` that also waits
//! for completions ([`Idler`]). With one request in flight that is one system call for each thing waited for.
//!
//! The ring is made on its thread with `SINGLE_ISSUER | DEFER_TASKRUN`: completions materialise inside an enter of ours
//! and nowhere else, so no interrupt disturbs a task.
//!
//! **Invariants the unsafe code relies on**
//! 1. A slot owns every buffer, path and file its operation names until the completion is reaped, whether or not the
//!    future that asked is still there ([`Keep`]).
//! 2. Slots never move or free those: chunks are reference-counted, iovecs, paths and bytes are on the heap.
//! 3. The ring is used from the thread that made it (`Rc` inside keeps it there).
//! 4. The ring outlives its operations: the last owner cancels what is out and waits for it.
//!
//! **What a cancel leaves behind.** Dropping an [`Operation`] does not stop it; it completes in the kernel and its result is
//! thrown away. Absent: cancelling single operations. Who gives up a socket shuts it down, which ends what waits on it.
#![expect(
    unsafe_code,
    reason = "submission entries carry raw pointers into memory the slots keep alive"
)]

mod idler;
mod slots;
mod timers;

pub(super) use idler::{Idler, count_poll};
pub(super) use slots::{Keep, Operation, count};
pub(super) use timers::Sleep;

use super::afar::Afar;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use slots::Slots;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;
use timers::Timers;

/// Disk operations in the kernel at once; more wait their turn in a queue whose length the log bounds (one write per
/// partition plus the budgeted cold reads). Beyond what a device takes, the kernel would start a thread for each.
const DISK_DEPTH: u32 = 256;

/// Entries that fit between two enters; one more makes an enter of its own.
const SUBMISSION_ENTRIES: u32 = 512;

/// Completions the kernel keeps for us without allocating.
const COMPLETION_ENTRIES: u32 = 4096;

/// User data of the read that waits for other threads; slots count from zero and never get there.
const AFAR: u64 = u64::MAX;

thread_local! {
    static HERE: RefCell<Option<Reactor>> = const { RefCell::new(None) };
}

/// The calling thread's ring. Cloning shares it.
#[derive(Clone)]
pub(super) struct Reactor(Rc<Inner>);

struct Inner {
    ring: RefCell<IoUring>,
    slots: RefCell<Slots>,
    /// Disk entries beyond [`DISK_DEPTH`]; the pair of a linked operation stays together.
    backlog: RefCell<VecDeque<Entries>>,
    disk_in_kernel: Cell<u32>,
    timers: Timers,
    afar: RefCell<Afar>,
    event: Arc<Event>,
    /// Where the kernel puts the count of `event`; boxed for a stable address.
    event_count: Box<Cell<u64>>,
    /// The read of `event` is in the kernel.
    event_armed: Cell<bool>,
    ended: Cell<bool>,
}

/// The entries of one operation and how many completions it brings.
struct Entries(squeue::Entry, Option<squeue::Entry>);

/// What other threads ring when this one sleeps in the kernel.
struct Event(OwnedFd);

impl Wake for Event {
    fn wake(self: Arc<Self>) {
        // A full counter is as good a wake-up; nothing else can go wrong with an eventfd of ours.
        let _full = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl Reactor {
    /// Makes the ring of the calling thread, in place of an earlier one.
    ///
    /// # Errors
    /// When the kernel refuses the ring or the eventfd.
    pub(super) fn start() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(SUBMISSION_ENTRIES)?;
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        let event = Arc::new(Event(event));
        let reactor = Self(Rc::new(Inner {
            ring: RefCell::new(ring),
            slots: RefCell::default(),
            backlog: RefCell::default(),
            disk_in_kernel: Cell::new(0),
            timers: Timers::default(),
            afar: RefCell::new(Afar::new(Waker::from(Arc::clone(&event)))),
            event,
            event_count: Box::default(),
            event_armed: Cell::new(false),
            ended: Cell::new(false),
        }));
        HERE.set(Some(reactor.clone()));
        Ok(reactor)
    }

    /// The ring of the calling thread. Panics on a thread that was not started by `runtime::executor`.
    pub(super) fn here() -> Self {
        Self::try_here().expect("this runs on a thread of runtime::executor")
    }

    fn try_here() -> Option<Self> {
        HERE.with_borrow(Option::clone)
    }

    /// Forgets the calling thread's ring.
    pub(super) fn leave() {
        // Out of the cell first: the last owner waits for the kernel.
        let last = HERE.take();
        drop(last);
    }

    /// Lets the thread's [`Idler`] end.
    pub(super) fn end(&self) {
        self.0.ended.set(true);
    }

    /// Queues `entry`, which names nothing but what `keep` owns.
    pub(super) fn submit(&self, entry: &squeue::Entry, keep: Keep) -> Operation {
        let slot = self.0.slots.borrow_mut().insert(keep);
        self.0.push(&entry.clone().user_data(slot as u64));
        Operation::new(self, slot)
    }

    /// As [`Self::submit`], for operations on files, of which only so many enter the kernel at once.
    pub(super) fn submit_disk(&self, entry: &squeue::Entry, keep: Keep) -> Operation {
        let slot = self.0.slots.borrow_mut().insert_disk(keep);
        let entry = entry.clone().user_data(slot as u64);
        self.0.backlog.borrow_mut().push_back(Entries(entry, None));
        self.0.push_backlog();
        Operation::new(self, slot)
    }

    /// A disk operation and, linked to it, one that starts only if it succeeds. The second result is the operation's; the
    /// first is told by [`Self::first_result`].
    pub(super) fn submit_linked(
        &self,
        first: &squeue::Entry,
        second: &squeue::Entry,
        keep: Keep,
    ) -> Operation {
        let (first_slot, second_slot) = self.0.slots.borrow_mut().insert_linked(keep);
        let first = first.clone().user_data(first_slot as u64);
        let second = second.clone().user_data(second_slot as u64);
        self.0
            .backlog
            .borrow_mut()
            .push_back(Entries(first.flags(squeue::Flags::IO_LINK), Some(second)));
        self.0.push_backlog();
        Operation::new(self, second_slot)
    }

    /// Disk operations in the kernel or waiting for a place in it.
    pub(super) fn disk_in_flight(&self) -> usize {
        self.0.disk_in_kernel.get() as usize + self.0.backlog.borrow().len()
    }
}

/// A waker other threads may use for the task of `waker`. On a thread without a ring that is `waker` itself.
pub(super) fn waker_from_afar(waker: &Waker) -> Waker {
    match Reactor::try_here() {
        Some(reactor) => reactor.0.afar.borrow().waker_for(waker),
        None => waker.clone(),
    }
}

impl Inner {
    fn push_backlog(&self) {
        loop {
            let mut backlog = self.backlog.borrow_mut();
            let Some(Entries(_, second)) = backlog.front() else {
                return;
            };
            let count = 1 + u32::from(second.is_some());
            if self.disk_in_kernel.get() + count > DISK_DEPTH {
                return;
            }
            let Entries(first, second) = backlog.pop_front().expect("the front was just seen");
            drop(backlog);
            self.disk_in_kernel.set(self.disk_in_kernel.get() + count);
            // An enter between the two would break the link.
            self.make_room(count as usize);
            self.push(&first);
            if let Some(second) = second {
                self.push(&second);
            }
        }
    }

    fn make_room(&self, count: usize) {
        loop {
            {
                let mut ring = self.ring.borrow_mut();
                let queue = ring.submission();
                if queue.capacity() - queue.len() >= count {
                    return;
                }
            }
            self.enter_now();
        }
    }

    fn push(&self, entry: &squeue::Entry) {
        self.make_room(1);
        let mut ring = self.ring.borrow_mut();
        // SAFETY: the slot in the entry's user data owns everything the entry points to (invariant 1).
        unsafe { ring.submission().push(entry) }.expect("there is room");
    }

    /// Has the kernel read the eventfd once; completes when another thread rings.
    fn arm_event(&self) {
        if self.event_armed.replace(true) {
            return;
        }
        let fd = types::Fd(self.event.0.as_raw_fd());
        let target = self.event_count.as_ptr().cast();
        self.push(&opcode::Read::new(fd, target, 8).build().user_data(AFAR));
    }

    /// Submits what is queued and lets deferred completions materialise, without waiting.
    fn enter_now(&self) {
        const GETEVENTS: u32 = 1;
        let mut ring = self.ring.borrow_mut();
        loop {
            let queued = u32::try_from(ring.submission().len()).expect("at most SUBMISSION_ENTRIES");
            // SAFETY: no argument memory is passed; submission entries obey invariant 1.
            let entered = unsafe {
                ring.submitter()
                    .enter::<libc::sigset_t>(queued, 0, GETEVENTS, None)
            };
            if !again(entered) {
                return;
            }
        }
    }

    /// Submits what is queued and waits for a completion, or until `limit` is over, or for a signal.
    fn enter_and_wait(&self, limit: Option<Duration>) {
        let ring = self.ring.borrow_mut();
        let time = limit.map(types::Timespec::from);
        let mut arguments = types::SubmitArgs::new();
        if let Some(time) = &time {
            arguments = arguments.timespec(time);
        }
        let entered = ring.submitter().submit_with_args(1, &arguments);
        // What was not submitted goes with the next enter, which the idler makes soon.
        let _again = again(entered);
    }

    /// Takes completions out and wakes who waits for them.
    fn reap(&self) {
        let mut wakers: smallvec::SmallVec<[Waker; 16]> = smallvec::SmallVec::new();
        {
            let mut ring = self.ring.borrow_mut();
            let mut slots = self.slots.borrow_mut();
            for completion in ring.completion() {
                wakers.extend(self.complete(&mut slots, &completion));
            }
        }
        for waker in wakers {
            waker.wake();
        }
        self.push_backlog();
    }

    fn complete(&self, slots: &mut Slots, completion: &cqueue::Entry) -> Option<Waker> {
        if completion.user_data() == AFAR {
            self.event_armed.set(false);
            return None;
        }
        let slot = usize::try_from(completion.user_data()).expect("user data is a slot index");
        let done = slots.complete(slot, completion.result());
        if done.disk {
            self.disk_in_kernel.set(self.disk_in_kernel.get() - 1);
        }
        done.waker
    }

    /// Whether a completion is there, or would be after an enter.
    fn has_completions(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        !ring.completion().is_empty() || ring.submission().taskrun()
    }
}

/// Whether an enter that submits must be made again; panics on an error that means our ring is broken.
fn again(entered: io::Result<usize>) -> bool {
    match entered.map_err(|error| (error.raw_os_error(), error)) {
        Ok(_) => false,
        // EBUSY: the completion queue overflowed; reaping makes room and the next enter submits the rest.
        Err((Some(libc::ETIME | libc::EBUSY), _)) => false,
        Err((Some(libc::EINTR | libc::EAGAIN), _)) => true,
        Err((_, error)) => panic!("io_uring_enter on our own ring failed: {error}"),
    }
}

impl Drop for Inner {
    /// Nobody is left to wait, but the kernel still has our memory (invariant 4).
    fn drop(&mut self) {
        self.enter_now();
        let cancelled = self
            .ring
            .borrow()
            .submitter()
            .register_sync_cancel(None, types::CancelBuilder::any());
        // "Nothing to cancel" is the common error. Whatever it is: we wait for what is out.
        let _nothing = cancelled;
        loop {
            self.reap();
            if self.slots.borrow().in_kernel() == 0 && !self.event_armed.get() {
                return;
            }
            self.enter_and_wait(None);
        }
    }
}

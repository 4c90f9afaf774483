//! A world in place of the machine: one thread on which whole brokers run, with a clock that is turned by hand, a disk in
//! memory that loses power, a network that delays and breaks, and dice that start from one seed.
//!
//! Built into unit tests only. `executor`, `clock`, `disk`, `fs`, `net`, `entropy` and `control_tasks` ask [`here`] first
//! there, so that everything above this room runs unchanged; the shipped program has no trace of it.
//!
//! **Promise.** The same seed and the same calls give the same run, to the last poll: [`World::trace`] is a hash of all of
//! it. Each purpose draws from a stream of dice of its own, so that one more draw for one does not shift the others.
//!
//! **Time.** It moves a little with each poll, and to the next event when nothing can run. Tasks of one thread run in the
//! order they were woken, as on the machine; which thread runs next is drawn. A thread can be held back
//! ([`World::stall`]).
//!
//! **Processes.** A task belongs to the process and thread of whoever spawned it. [`World::kill`] drops a process's tasks
//! where they stand, and their sockets with them; what it had asked of the disk happens or not. Absent: weakly ordered
//! memory between threads (loom checks the rings) and preemption inside a poll (tasks on the machine have none either).
#![expect(
    clippy::disallowed_types,
    reason = "wakers must be Send by their type; there is one thread, and the lock is never waited for"
)]

mod disk;
mod net;
mod random;

pub(crate) use disk::{Disk, DiskCounters, DiskFaults, DiskLies, SimFile, disk};
pub(crate) use net::{Net, NetFaults, SimListener, SimSocket};
pub(crate) use random::Random;

use super::clock::Mono;
use crate::base::Timestamp;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// What a poll costs, in nanoseconds of the world's time.
const POLL_NS: std::ops::Range<u64> = 200..3_000;

/// Where the world's clocks start: a monotonic instant that is not zero, and a wall time in 2026.
const MONO_START_NS: u64 = 1_000_000_000;
/// See [`MONO_START_NS`].
const WALL_START_MS: i64 = 1_780_000_000_000;

thread_local! {
    static HERE: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// The world the calling thread is in, if it is in one.
pub(crate) fn here() -> Option<World> {
    HERE.with_borrow(Option::clone)
}

/// A fault planted in the engine, to see that the simulator finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// A log gives an offset twice.
    ReusesOffset,
    /// Readers see what is not durable yet.
    ServesAboveDurable,
    /// A repeated batch of an idempotent producer is appended again.
    ForgetsSequences,
}

/// Whether the world of the calling thread has this fault planted.
pub(crate) fn planted(bug: Bug) -> bool {
    here().is_some_and(|world| world.0.bug.get() == Some(bug))
}

/// A run of a broker, or a client's machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ProcessId(u32);

/// A thread of a process.
type Thread = (ProcessId, u16);

/// See the module.
#[derive(Clone)]
pub(crate) struct World(Rc<Inner>);

struct Inner {
    seed: u64,
    now: Cell<u64>,
    wall_shift_ms: Cell<i64>,
    schedule: RefCell<Random>,
    entropy: RefCell<Random>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    next_task: Cell<u64>,
    woken: Arc<Mutex<Vec<u64>>>,
    runnable: RefCell<BTreeMap<Thread, VecDeque<u64>>>,
    events: RefCell<BTreeMap<EventKey, Event>>,
    next_event: Cell<u64>,
    stalled: RefCell<BTreeMap<Thread, u64>>,
    current: Cell<Thread>,
    next_process: Cell<u32>,
    dead: RefCell<BTreeSet<ProcessId>>,
    checks: RefCell<Vec<Box<dyn FnMut()>>>,
    trace: Cell<u64>,
    steps: Cell<u64>,
    panics: Cell<u64>,
    bug: Cell<Option<Bug>>,
    disk: Disk,
    net: Net,
}

/// When, and a number that keeps equal times apart.
pub(crate) type EventKey = (u64, u64);

enum Event {
    Wake(Waker),
    Call(Box<dyn FnOnce(&World)>),
}

struct Task {
    thread: Thread,
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Arc<TaskWaker>,
}

struct TaskWaker {
    id: u64,
    queued: AtomicBool,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.woken.lock().expect("one thread").push(self.id);
        }
    }
}

impl World {
    /// A world whose dice all come from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rc::new(Inner {
            seed,
            now: Cell::new(MONO_START_NS),
            wall_shift_ms: Cell::new(0),
            schedule: RefCell::new(Random::salted(seed, "schedule")),
            entropy: RefCell::new(Random::salted(seed, "entropy")),
            tasks: RefCell::default(),
            next_task: Cell::new(0),
            woken: Arc::default(),
            runnable: RefCell::default(),
            events: RefCell::default(),
            next_event: Cell::new(0),
            stalled: RefCell::default(),
            current: Cell::new((ProcessId(0), 0)),
            next_process: Cell::new(1),
            dead: RefCell::default(),
            checks: RefCell::default(),
            trace: Cell::new(0xcbf2_9ce4_8422_2325),
            steps: Cell::new(0),
            panics: Cell::new(0),
            bug: Cell::new(None),
            disk: Disk::new(Random::salted(seed, "disk")),
            net: Net::new(Random::salted(seed, "net")),
        }))
    }

    /// Runs `work` with the calling thread in this world.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Leave(Option<World>);
        impl Drop for Leave {
            fn drop(&mut self) {
                let before = self.0.take();
                let left = HERE.with_borrow_mut(|here| std::mem::replace(here, before));
                drop(left);
            }
        }
        let before = HERE.with_borrow_mut(|here| here.replace(self.clone()));
        let _leave = Leave(before);
        work()
    }

    /// A further stream of dice.
    pub(crate) fn random(&self, purpose: &'static str) -> Random {
        Random::salted(self.0.seed, purpose)
    }

    /// Plants a fault in the engine.
    pub(crate) fn plant(&self, bug: Bug) {
        self.0.bug.set(Some(bug));
    }

    /// A process that has no task yet.
    pub(crate) fn new_process(&self) -> ProcessId {
        let id = self.0.next_process.get();
        self.0.next_process.set(id + 1);
        ProcessId(id)
    }

    /// The process of the task that runs.
    pub(crate) fn current_process(&self) -> ProcessId {
        self.0.current.get().0
    }

    /// Starts a task of `process`, on its thread number `thread`. Nothing happens if the process is dead.
    pub(crate) fn spawn(&self, process: ProcessId, thread: u16, future: impl Future<Output = ()> + 'static) {
        if self.is_dead(process) {
            return;
        }
        let id = self.0.next_task.get();
        self.0.next_task.set(id + 1);
        let waker = Arc::new(TaskWaker {
            id,
            queued: AtomicBool::new(false),
            woken: Arc::clone(&self.0.woken),
        });
        Arc::clone(&waker).wake();
        let task = Task {
            thread: (process, thread),
            future: Some(Box::pin(future)),
            waker,
        };
        self.0.tasks.borrow_mut().insert(id, task);
    }

    /// Starts a task beside the one that runs.
    pub(crate) fn spawn_here(&self, future: impl Future<Output = ()> + 'static) {
        let (process, thread) = self.0.current.get();
        self.spawn(process, thread, future);
    }

    /// Steps until `time` has passed.
    pub(crate) fn run_for(&self, time: Duration) {
        self.run_until(time, || false);
    }

    /// Steps until `done`, at most for `limit` of the world's time; whether it was done.
    pub(crate) fn run_until(&self, limit: Duration, done: impl Fn() -> bool) -> bool {
        let end = self.0.now.get() + u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX / 2);
        // Time must come to the end even if nothing else happens until then.
        let key = self.at(end, Waker::noop().clone());
        while !done() {
            if self.0.now.get() >= end || !self.step() {
                return done();
            }
        }
        self.forget(key);
        true
    }

    /// One poll, or one move of the clock to the next event; false if nothing will ever happen again.
    pub(crate) fn step(&self) -> bool {
        self.enter(|| {
            self.fire_events();
            self.sort_woken();
            match self.pick() {
                Some(id) => {
                    self.poll(id);
                    true
                }
                None => self.wait_for_event(),
            }
        })
    }

    /// Has `check` look at the world after each poll.
    pub(crate) fn on_step(&self, check: impl FnMut() + 'static) {
        self.0.checks.borrow_mut().push(Box::new(check));
    }

    /// Forgets all checks.
    pub(crate) fn forget_checks(&self) {
        let checks = std::mem::take(&mut *self.0.checks.borrow_mut());
        drop(checks);
    }

    /// Holds a thread back for `time`.
    pub(crate) fn stall(&self, process: ProcessId, thread: u16, time: Duration) {
        let until = self.after(time);
        self.0.stalled.borrow_mut().insert((process, thread), until);
        // Something must be there to move the clock to.
        self.at(until, Waker::noop().clone());
    }

    /// The monotonic clock.
    pub(crate) fn now(&self) -> Mono {
        Mono::from_ns(self.0.now.get())
    }

    /// The wall clock.
    pub(crate) fn wall(&self) -> Timestamp {
        let ran = i64::try_from((self.0.now.get() - MONO_START_NS) / 1_000_000).unwrap_or(i64::MAX);
        Timestamp::new((WALL_START_MS + ran + self.0.wall_shift_ms.get()).max(0))
    }

    /// Sets the wall clock forward or back.
    pub(crate) fn jump_wall_clock(&self, by_ms: i64) {
        self.0.wall_shift_ms.set(self.0.wall_shift_ms.get() + by_ms);
    }

    /// Ends a process as `kill -9` does. Its tasks are dropped where they stand; of its disk operations under way each
    /// happens or not; what the disk has cached stays.
    pub(crate) fn kill(&self, process: ProcessId) {
        self.enter(|| {
            self.note(&[7, u64::from(process.0)]);
            self.0.dead.borrow_mut().insert(process);
            self.0.disk.settle(process);
            let gone: Vec<u64> = {
                let tasks = self.0.tasks.borrow();
                let of_process = tasks.iter().filter(|(_, task)| task.thread.0 == process);
                of_process.map(|(id, _)| *id).collect()
            };
            for id in gone {
                let task = self.0.tasks.borrow_mut().remove(&id);
                // Outside the borrow: a task's end may wake and spawn.
                drop(task);
            }
            self.0
                .runnable
                .borrow_mut()
                .retain(|thread, _| thread.0 != process);
        });
    }

    /// Takes the power from the disk: what is not synced survives as it likes. Whoever uses it must have been killed.
    pub(crate) fn cut_power(&self) {
        self.note(&[8]);
        self.0.disk.lose_power();
    }

    /// Whether the process was killed.
    pub(crate) fn is_dead(&self, process: ProcessId) -> bool {
        self.0.dead.borrow().contains(&process)
    }

    /// A hash of everything that happened so far.
    pub(crate) fn trace(&self) -> u64 {
        self.0.trace.get()
    }

    /// Polls so far.
    pub(crate) fn steps(&self) -> u64 {
        self.0.steps.get()
    }

    /// Panics that were caught and made into the end of a connection.
    pub(crate) fn panics_caught(&self) -> u64 {
        self.0.panics.get()
    }

    /// The disk.
    pub(crate) fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// The network.
    pub(crate) fn net(&self) -> &Net {
        &self.0.net
    }

    /// A number nobody can foretell who does not know the seed.
    pub(super) fn entropy(&self) -> u64 {
        self.0.entropy.borrow_mut().next()
    }

    pub(super) fn caught_panic(&self) {
        self.0.panics.set(self.0.panics.get() + 1);
    }

    /// The instant `delay` from now.
    pub(super) fn after(&self, delay: Duration) -> u64 {
        self.0
            .now
            .get()
            .saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX / 2))
    }

    /// Lets time pass while the running task blocks its thread.
    pub(super) fn pass(&self, time: Duration) {
        self.0.now.set(self.after(time));
    }

    /// Wakes at an instant.
    pub(super) fn at(&self, time: u64, waker: Waker) -> EventKey {
        self.insert_event(time, Event::Wake(waker))
    }

    /// Calls at an instant.
    pub(super) fn call_at(&self, time: u64, call: impl FnOnce(&Self) + 'static) {
        self.insert_event(time, Event::Call(Box::new(call)));
    }

    /// Takes an event back.
    pub(super) fn forget(&self, key: EventKey) {
        let event = self.0.events.borrow_mut().remove(&key);
        drop(event);
    }

    /// Adds to the trace.
    pub(super) fn note(&self, facts: &[u64]) {
        let mut hash = self.0.trace.get();
        for fact in facts.iter().chain([&self.0.now.get()]) {
            hash = (hash ^ fact).wrapping_mul(0x0100_0000_01b3);
            hash ^= hash >> 29;
        }
        self.0.trace.set(hash);
    }

    fn insert_event(&self, time: u64, event: Event) -> EventKey {
        let number = self.0.next_event.get();
        self.0.next_event.set(number + 1);
        let key = (time, number);
        self.0.events.borrow_mut().insert(key, event);
        key
    }

    fn fire_events(&self) {
        loop {
            let mut events = self.0.events.borrow_mut();
            let now = self.0.now.get();
            let Some(first) = events.first_entry().filter(|first| first.key().0 <= now) else {
                return;
            };
            let event = first.remove();
            drop(events);
            match event {
                Event::Wake(waker) => waker.wake(),
                Event::Call(call) => call(self),
            }
        }
    }

    /// Puts the tasks that were woken into the queues of their threads.
    fn sort_woken(&self) {
        let woken = std::mem::take(&mut *self.0.woken.lock().expect("one thread"));
        let tasks = self.0.tasks.borrow();
        let mut runnable = self.0.runnable.borrow_mut();
        for id in woken {
            if let Some(task) = tasks.get(&id) {
                runnable.entry(task.thread).or_default().push_back(id);
            }
        }
    }

    fn pick(&self) -> Option<u64> {
        let now = self.0.now.get();
        self.0.stalled.borrow_mut().retain(|_, until| *until > now);
        let stalled = self.0.stalled.borrow();
        let mut runnable = self.0.runnable.borrow_mut();
        runnable.retain(|_, queue| !queue.is_empty());
        let ready: Vec<Thread> = runnable
            .keys()
            .filter(|thread| !stalled.contains_key(thread))
            .copied()
            .collect();
        if ready.is_empty() {
            return None;
        }
        let drawn = self.0.schedule.borrow_mut().below(ready.len() as u64);
        let thread = ready[usize::try_from(drawn).expect("an index")];
        runnable.get_mut(&thread)?.pop_front()
    }

    fn poll(&self, id: u64) {
        let taken = {
            let mut tasks = self.0.tasks.borrow_mut();
            tasks
                .get_mut(&id)
                .and_then(|task| Some((task.thread, task.future.take()?, Arc::clone(&task.waker))))
        };
        let Some((thread, mut future, waker)) = taken else {
            return;
        };
        waker.queued.store(false, Ordering::Relaxed);
        let before = self.0.current.replace(thread);
        let outcome = future
            .as_mut()
            .poll(&mut Context::from_waker(&Waker::from(waker)));
        let cost = self.0.schedule.borrow_mut().within(POLL_NS);
        self.0.now.set(self.0.now.get() + cost);
        self.0.steps.set(self.0.steps.get() + 1);
        self.note(&[1, id]);
        let done = outcome.is_ready() || self.is_dead(thread.0);
        if done {
            let task = self.0.tasks.borrow_mut().remove(&id);
            drop((task, future));
        } else if let Some(task) = self.0.tasks.borrow_mut().get_mut(&id) {
            task.future = Some(future);
        }
        self.0.current.set(before);
        // Out of the cell while they run: a check may step on what it looks at, not on the list.
        let mut checks = std::mem::take(&mut *self.0.checks.borrow_mut());
        checks.iter_mut().for_each(|check| check());
        let mut slot = self.0.checks.borrow_mut();
        checks.append(&mut slot);
        *slot = checks;
    }

    /// Moves the clock to the next event; false if there is none.
    fn wait_for_event(&self) -> bool {
        let next = self.0.events.borrow().first_key_value().map(|(key, _)| key.0);
        match next {
            Some(time) => {
                self.0.now.set(time.max(self.0.now.get()));
                true
            }
            None => false,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Tasks may hold what refers to nothing any more; let them go one by one, outside the cell.
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }
}

/// Ready at an instant of the world.
pub(super) struct Sleep {
    world: World,
    deadline: u64,
    key: Option<EventKey>,
}

impl Sleep {
    pub(super) fn until(world: World, deadline: Mono) -> Self {
        Self {
            world,
            deadline: deadline.ns_since(Mono::default()),
            key: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(key) = self.key.take() {
            self.world.forget(key);
        }
        if self.deadline <= self.world.0.now.get() {
            return Poll::Ready(());
        }
        self.key = Some(self.world.at(self.deadline, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.world.forget(key);
        }
    }
}

#[cfg(test)]
mod tests;

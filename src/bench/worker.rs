//! One thread of the generator: sockets, timers and the clock, driven by one epoll loop.
//!
//! The loop sends what is due, waits in the kernel (to the nanosecond) for answers or for the next due message, reads,
//! and lets each connection's conversation say what the bytes meant. Times are taken by the worker alone: just before the
//! bytes of a request are handed to the kernel, and just after a read returned. A worker never spins: it shares its
//! machine with the broker.
//!
//! Everything here lives on one thread. Workers share a few counters ([`Shared`]) that say when a run is over; intervals
//! and the end are sent to the engine. A connection that breaks ends the run for all.

mod lane;
mod reader;
mod socket;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::clock::RunClock;
use super::ledger::Ledger;
use super::payload::Pool;
use super::plan::WorkerPlan;
use super::record::{Interval, Recorder, Timing};
use super::spec::{Keys, Kind, RunSpec};
use super::wire::{ConsumeOptions, Conversation, Door, Event, Layout, ProduceOptions, StartAt};
use crate::base::random::Random;
use crate::runtime::clock::{block_for, wall_ms};

use lane::{Lane, Readiness};
use reader::Reader;
use socket::{Socket, Traffic};

/// What workers tell one another.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Messages acknowledged so far.
    acked: AtomicU64,
    /// Messages received so far, each counted once for each group.
    received: AtomicU64,
    /// Workers whose producers are not finished.
    producing: AtomicUsize,
    /// Something broke; everybody stops.
    abort: AtomicBool,
}

impl Shared {
    pub(super) fn new(producing: usize) -> Self {
        Self {
            producing: AtomicUsize::new(producing),
            ..Self::default()
        }
    }
}

/// What a worker needs to begin.
pub(super) struct Assignment {
    pub(super) index: usize,
    pub(super) spec: Arc<RunSpec>,
    pub(super) door: Arc<dyn Door>,
    pub(super) layout: Arc<Layout>,
    pub(super) plan: WorkerPlan,
    /// Lanes of the workers before, and of all.
    pub(super) lanes: (usize, usize),
    pub(super) streams: usize,
    pub(super) run: u32,
    pub(super) timing: Timing,
    pub(super) shared: Arc<Shared>,
    pub(super) start: StartAt,
    pub(super) tell: Sender<Told>,
    /// Gives the clock when everybody is ready; closed if somebody is not.
    pub(super) go: Receiver<RunClock>,
}

/// What a worker tells the engine.
#[derive(Debug)]
pub(super) enum Told {
    /// All connections are made.
    Ready,
    /// They cannot be.
    NotReady(anyhow::Error),
    /// A second is over for the worker of this index.
    Interval(usize, Box<Interval>),
    /// The run is over for the worker of this index.
    Done(usize, Box<WorkerEnd>),
}

/// What a worker leaves.
#[derive(Debug, Default)]
pub(super) struct WorkerEnd {
    /// Share of a core used in the measured part.
    pub(super) cpu: f64,
    pub(super) stages: BTreeMap<&'static str, Histogram<u64>>,
    pub(super) acked_by_stream: Vec<(u32, u64)>,
    /// By group; what was seen of each stream.
    pub(super) ledgers: Vec<Ledger>,
    pub(super) unanswered: u64,
    /// Why it ended early.
    pub(super) broken: Option<String>,
    /// The first refusal's reason.
    pub(super) refusal: Option<String>,
    /// When the last message arrived.
    pub(super) last_arrival_ns: u64,
}

/// Runs one worker to its end. For a thread of its own.
pub(super) fn run(assignment: Assignment) {
    let tell = assignment.tell.clone();
    // The engine is gone if nobody listens; then there is nobody to tell either.
    let _told = match Worker::connect(assignment) {
        Ok((worker, go)) => tell.send(Told::Ready).map(|()| {
            if let Ok(clock) = go.recv() {
                worker.work(clock);
            }
        }),
        Err(error) => tell.send(Told::NotReady(error)),
    };
}

/// How long the handshakes of all connections of a worker may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(30);
/// Longest sleep: how soon a worker notices that another one broke.
const NAP_NS: u64 = 50_000_000;
/// Longest sleep when the run is nearly over and others decide when.
const LAST_NAP_NS: u64 = 1_000_000;
/// How long answers and messages are waited for behind the end.
const DRAIN_NS: u64 = 10_000_000_000;
/// A consumer run is over when nothing has arrived for so long.
const SILENCE_NS: u64 = 3_000_000_000;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// Bytes of one request of many partitions, as Kafka's `max.request.size` has it.
const GROUP_BYTES: usize = 1 << 20;

/// One connection.
struct Link {
    socket: Socket,
    conversation: Box<dyn Conversation>,
    role: Role,
    ready: bool,
    wants_write: bool,
}

enum Role {
    Lane(Box<Lane>),
    Reader(Reader),
}

/// The worker.
struct Worker {
    index: usize,
    spec: Arc<RunSpec>,
    shared: Arc<Shared>,
    tell: Sender<Told>,
    run: u32,
    timing: Timing,
    epoll: OwnedFd,
    links: Vec<Link>,
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    pool: Pool,
    recorder: Recorder,
    ledgers: Vec<Ledger>,
    clock: RunClock,
    /// Whether this worker's producers are finished and it has said so.
    finished: bool,
    /// What `shared` knows of it so far.
    told: Progress,
    progress: Progress,
    end: WorkerEnd,
    stall_at_ns: Option<u64>,
    /// What the thread had used when the measured part began.
    cpu_ns: Option<u64>,
    running: bool,
}

/// What happened in this run so far, for the other workers.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    acked: u64,
    /// Each message once for each group.
    received: u64,
    last_arrival_ns: u64,
}

impl Worker {
    fn connect(assignment: Assignment) -> anyhow::Result<(Self, Receiver<RunClock>)> {
        let Assignment { index, spec, .. } = &assignment;
        settle_thread(*index, spec)?;
        let group_messages = match spec.keys {
            Keys::None => 1,
            Keys::RoundRobin | Keys::Random => GROUP_BYTES / spec.message_bytes().max(1),
        };
        let slots = spec.batch_messages().max(group_messages);
        let worker_seed = Random::new(spec.seed, u64::MAX - *index as u64);
        let groups = if assignment.plan.readers.is_empty() {
            0
        } else {
            spec.fanout
        };
        let mut worker = Self {
            index: *index,
            shared: Arc::clone(&assignment.shared),
            tell: assignment.tell.clone(),
            run: assignment.run,
            timing: assignment.timing,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            links: Vec::new(),
            timers: BinaryHeap::new(),
            pool: Pool::new(spec.size, slots, worker_seed),
            recorder: Recorder::new(assignment.timing),
            ledgers: vec![Ledger::new(assignment.streams); groups],
            clock: RunClock::start(),
            finished: assignment.plan.lanes.is_empty(),
            told: Progress::default(),
            progress: Progress::default(),
            end: WorkerEnd::default(),
            stall_at_ns: stall_time(spec, assignment.timing),
            cpu_ns: None,
            running: false,
            spec: Arc::clone(spec),
        };
        worker.connect_lanes(&assignment)?;
        worker.connect_readers(&assignment)?;
        // What is already there arrives as soon as it is asked for, so a run that measures that asks when it begins.
        if spec.kind != Kind::Consume {
            worker.handshake()?;
        }
        Ok((worker, assignment.go))
    }

    fn connect_lanes(&mut self, assignment: &Assignment) -> anyhow::Result<()> {
        let options = ProduceOptions {
            acks: self.spec.acks,
            stages: self.spec.stages,
            idempotent: self.spec.idempotent,
        };
        let (before, lanes) = assignment.lanes;
        for (number, plan) in assignment.plan.lanes.iter().enumerate() {
            let lane = Lane::new(&self.spec, plan, before + number, lanes, self.timing.end_ns);
            let conversation =
                assignment
                    .door
                    .producer(&assignment.layout, plan.address, &lane.partitions(), options)?;
            let socket = Socket::connect(plan.address, Traffic::Answers)?;
            self.add(socket, conversation, Role::Lane(Box::new(lane)))?;
        }
        Ok(())
    }

    fn connect_readers(&mut self, assignment: &Assignment) -> anyhow::Result<()> {
        let options = ConsumeOptions {
            start: assignment.start,
            max_bytes: self.spec.fetch_bytes,
            max_wait: self.spec.fetch_wait,
        };
        for plan in &assignment.plan.readers {
            let conversation =
                assignment
                    .door
                    .consumer(&assignment.layout, plan.address, &plan.partitions, options)?;
            let socket = Socket::connect(plan.address, Traffic::Messages)?;
            self.add(
                socket,
                conversation,
                Role::Reader(Reader::new(self.spec.kind, plan.group, self.run)),
            )?;
        }
        Ok(())
    }

    fn add(&mut self, socket: Socket, conversation: Box<dyn Conversation>, role: Role) -> io::Result<()> {
        let token = EventData::new_u64(self.links.len() as u64);
        epoll::add(&self.epoll, socket.stream(), token, EventFlags::IN)?;
        self.links.push(Link {
            socket,
            conversation,
            role,
            ready: false,
            wants_write: false,
        });
        Ok(())
    }

    /// Opens every conversation and waits until all are ready.
    fn handshake(&mut self) -> anyhow::Result<()> {
        self.open_all()?;
        let deadline_ns = u64::try_from(HANDSHAKE_PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        let mut events = Vec::with_capacity(EVENTS);
        while self.links.iter().any(|link| !link.ready) {
            let now_ns = self.clock.now_ns();
            anyhow::ensure!(
                now_ns < deadline_ns,
                "the broker did not finish the handshake within {HANDSHAKE_PATIENCE:?}"
            );
            self.wait(&mut events, now_ns + NAP_NS, now_ns)?;
            self.take_events(&events).map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }

    fn open_all(&mut self) -> io::Result<()> {
        for index in 0..self.links.len() {
            let Link {
                socket,
                conversation,
                ready,
                ..
            } = &mut self.links[index];
            conversation.open(&mut socket.out, &mut |event| {
                *ready |= matches!(event, Event::Ready)
            });
            self.flush(index)?;
        }
        Ok(())
    }

    fn work(mut self, clock: RunClock) {
        self.clock = clock;
        self.running = true;
        let outcome = if self.spec.kind == Kind::Consume {
            self.open_all()
                .map_err(|error| error.to_string())
                .and_then(|()| self.repeat())
        } else {
            self.repeat()
        };
        if let Err(reason) = outcome {
            self.shared.abort.store(true, Ordering::Relaxed);
            self.end.broken = Some(reason);
        }
        self.leave();
    }

    /// The loop.
    fn repeat(&mut self) -> Result<(), String> {
        let mut events = Vec::with_capacity(EVENTS);
        for index in 0..self.links.len() {
            self.pump(index).map_err(|error| error.to_string())?;
        }
        loop {
            let now_ns = self.clock.now_ns();
            self.tick(now_ns);
            self.wake_lanes(now_ns).map_err(|error| error.to_string())?;
            if self.is_over(now_ns) {
                return Ok(());
            }
            let until_ns = self.next_look(now_ns);
            let now_ns = self.clock.now_ns();
            self.wait(&mut events, until_ns, now_ns)
                .map_err(|error| error.to_string())?;
            self.take_events(&events)?;
        }
    }

    /// What happens by the clock alone: the end of a second, the stall, the beginning and end of the measured part.
    fn tick(&mut self, now_ns: u64) {
        if let Some(interval) = self.recorder.turn(now_ns) {
            // An engine that is gone needs no intervals.
            let _told = self.tell.send(Told::Interval(self.index, Box::new(interval)));
        }
        if self.stall_at_ns.is_some_and(|at| now_ns >= at) {
            self.stall_at_ns = None;
            block_for(self.spec.inject_stall);
        }
        if self.cpu_ns.is_none() && now_ns >= self.timing.measured_ns {
            self.cpu_ns = Some(thread_cpu_ns());
        }
        if self.end.cpu == 0.0 && now_ns >= self.timing.end_ns {
            self.end.cpu = self.cpu_share(self.timing.end_ns);
        }
    }

    fn cpu_share(&self, until_ns: u64) -> f64 {
        let used_ns = thread_cpu_ns() - self.cpu_ns.unwrap_or(0);
        let wall_ns = until_ns.saturating_sub(self.timing.measured_ns).max(1);
        used_ns as f64 / wall_ns as f64
    }

    /// Gives every lane whose time has come its turn.
    fn wake_lanes(&mut self, now_ns: u64) -> io::Result<()> {
        while let Some(Reverse((at_ns, index))) = self.timers.peek().copied() {
            if at_ns > now_ns {
                break;
            }
            self.timers.pop();
            // A lane may have been looked at since, and be armed for another time.
            let Role::Lane(lane) = &mut self.links[index].role else {
                continue;
            };
            if lane.armed_ns == at_ns {
                lane.armed_ns = u64::MAX;
                self.pump(index)?;
            }
        }
        Ok(())
    }

    /// Sends what a lane has to send and arms its timer.
    fn pump(&mut self, index: usize) -> io::Result<()> {
        let link = &mut self.links[index];
        let Role::Lane(lane) = &mut link.role else {
            return Ok(());
        };
        // Nothing is sent before the run begins.
        while self.running {
            let now_ns = self.clock.now_ns();
            match lane.choose(now_ns, self.pool.slots()) {
                Readiness::Chosen => {}
                Readiness::Wait(at_ns) => {
                    if at_ns < lane.armed_ns {
                        lane.armed_ns = at_ns;
                        self.timers.push(Reverse((at_ns, index)));
                    }
                    break;
                }
                Readiness::WindowFull | Readiness::Finished => break,
            }
            let (conversation, out) = (&mut link.conversation, &mut link.socket.out);
            lane.make(
                self.run,
                wall_ms().get(),
                &mut self.pool,
                |batches| match batches {
                    [(ticket, batch)] => conversation.produce(*ticket, batch, out),
                    batches => conversation.produce_group(batches, out),
                },
            );
            lane.sent(self.clock.now_ns(), link.socket.queued(), &mut self.recorder);
            link.socket.flush()?;
            lane.handed(link.socket.handed(), self.clock.now_ns(), &mut self.recorder);
        }
        self.watch_writes(index)
    }

    /// Hands over what is waiting for the kernel.
    fn flush(&mut self, index: usize) -> io::Result<()> {
        let link = &mut self.links[index];
        link.socket.flush()?;
        if let Role::Lane(lane) = &mut link.role {
            lane.handed(link.socket.handed(), self.clock.now_ns(), &mut self.recorder);
        }
        self.watch_writes(index)
    }

    /// Asks the kernel to say when it takes bytes again, as long as there are some.
    fn watch_writes(&mut self, index: usize) -> io::Result<()> {
        let link = &mut self.links[index];
        let wants_write = link.socket.pending() > 0;
        if wants_write != link.wants_write {
            link.wants_write = wants_write;
            let flags = if wants_write {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            epoll::modify(
                &self.epoll,
                link.socket.stream(),
                EventData::new_u64(index as u64),
                flags,
            )?;
        }
        Ok(())
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, until_ns: u64, now_ns: u64) -> io::Result<()> {
        events.clear();
        let wait_ns = until_ns.saturating_sub(now_ns).min(NAP_NS);
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(wait_ns).expect("a nap is below a second"),
        };
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take_events(&mut self, events: &[epoll::Event]) -> Result<(), String> {
        for event in events {
            let (flags, data) = (event.flags, event.data);
            let index = usize::try_from(data.u64()).expect("an index that was given as one");
            if flags.contains(EventFlags::OUT) {
                self.flush(index)
                    .and_then(|()| self.pump(index))
                    .map_err(|error| error.to_string())?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.receive(index)?;
            }
        }
        Ok(())
    }

    /// Reads what has arrived and does what it asks for.
    fn receive(&mut self, index: usize) -> Result<(), String> {
        let Self {
            links,
            recorder,
            ledgers,
            progress,
            clock,
            end,
            ..
        } = self;
        let link = &mut links[index];
        if !link.socket.fill().map_err(|error| error.to_string())? {
            return Ok(());
        }
        let now_ns = clock.now_ns();
        let Link {
            socket,
            conversation,
            role,
            ready,
            ..
        } = link;
        let (input, out) = socket.split();
        let mut stray = None;
        let before = progress.received;
        let used = conversation.receive(input, out, &mut |event| match (event, &mut *role) {
            (Event::Ready, _) => *ready = true,
            (Event::Message { value, .. }, Role::Reader(reader)) => {
                progress.received += u64::from(reader.take(value, now_ns, recorder, ledgers));
            }
            (Event::Acked { ticket, stages }, Role::Lane(lane)) => {
                if !lane.acked(ticket, stages, now_ns, recorder) {
                    stray = Some(ticket);
                }
            }
            (Event::Failed { ticket, reason }, Role::Lane(lane)) => {
                if !lane.failed(ticket, now_ns, recorder) {
                    stray = Some(ticket);
                }
                end.refusal.get_or_insert(reason);
            }
            (Event::Acked { ticket, .. } | Event::Failed { ticket, .. }, Role::Reader(_)) => {
                stray = Some(ticket)
            }
            (Event::Message { .. }, Role::Lane(_)) => stray = Some(0),
        });
        let used = used.map_err(|broken| broken.to_string())?;
        if let Some(ticket) = stray {
            return Err(format!(
                "the broker answered what was not asked (ticket {ticket})"
            ));
        }
        socket.used(used);
        if progress.received > before {
            progress.last_arrival_ns = now_ns;
            if let Role::Reader(reader) = role {
                reader.arrived(now_ns, recorder);
            }
        }
        self.flush(index)
            .and_then(|()| self.pump(index))
            .map_err(|error| error.to_string())?;
        self.share_progress();
        Ok(())
    }

    /// Lets the other workers know how far this one is.
    fn share_progress(&mut self) {
        let acked = self.recorder.acked_total - self.told.acked;
        if acked > 0 {
            self.shared.acked.fetch_add(acked, Ordering::Relaxed);
            self.told.acked = self.recorder.acked_total;
        }
        let received = self.progress.received - self.told.received;
        if received > 0 {
            self.shared.received.fetch_add(received, Ordering::Relaxed);
            self.told.received = self.progress.received;
        }
    }

    /// When the loop has to look at the clock again, whatever arrives.
    fn next_look(&self, now_ns: u64) -> u64 {
        let nap_ns = if now_ns >= self.timing.end_ns {
            LAST_NAP_NS
        } else {
            NAP_NS
        };
        let timer_ns = self.timers.peek().map_or(u64::MAX, |Reverse((at_ns, _))| *at_ns);
        let stall_ns = self.stall_at_ns.unwrap_or(u64::MAX);
        (now_ns + nap_ns)
            .min(timer_ns)
            .min(stall_ns)
            .min(self.recorder.boundary_ns())
    }

    /// Whether there is nothing left to do or to wait for.
    fn is_over(&mut self, now_ns: u64) -> bool {
        if self.shared.abort.load(Ordering::Relaxed) {
            return true;
        }
        let may_end = now_ns >= self.timing.end_ns || self.spec.messages > 0;
        if !self.finished && may_end && self.lanes().all(|lane| lane.is_finished(now_ns)) {
            self.share_progress();
            self.finished = true;
            // Releases the count of acknowledged messages to whoever sees that all have finished.
            self.shared.producing.fetch_sub(1, Ordering::AcqRel);
        }
        let received = self.shared.received.load(Ordering::Relaxed);
        let groups = self.spec.fanout as u64;
        let drained = now_ns >= self.timing.end_ns.saturating_add(DRAIN_NS);
        match self.spec.kind {
            Kind::Produce => self.finished || drained,
            Kind::E2e => {
                let all_sent = self.shared.producing.load(Ordering::Acquire) == 0;
                let all_came = || received >= self.shared.acked.load(Ordering::Relaxed) * groups;
                drained || (all_sent && all_came())
            }
            Kind::Consume => {
                let silent = now_ns > self.progress.last_arrival_ns.saturating_add(SILENCE_NS);
                let enough = self.spec.messages > 0 && received >= self.spec.messages.saturating_mul(groups);
                now_ns >= self.timing.end_ns || enough || silent
            }
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.links.iter().filter_map(|link| match &link.role {
            Role::Lane(lane) => Some(&**lane),
            Role::Reader(_) => None,
        })
    }

    /// Hands over what is left.
    fn leave(mut self) {
        let now_ns = self.clock.now_ns();
        if self.end.cpu == 0.0 {
            self.end.cpu = self.cpu_share(now_ns);
        }
        for link in &mut self.links {
            if let Role::Lane(lane) = &mut link.role {
                self.end.unanswered += lane.give_up(now_ns, &mut self.recorder);
                self.end.acked_by_stream.extend(lane.acked_by_stream());
            }
        }
        self.end.stages = self.recorder.stages;
        self.end.ledgers = self.ledgers;
        self.end.last_arrival_ns = self.progress.last_arrival_ns;
        // An engine that is gone needs neither.
        let _told = self
            .tell
            .send(Told::Interval(self.index, Box::new(self.recorder.current)));
        let _told = self.tell.send(Told::Done(self.index, Box::new(self.end)));
    }
}

/// In the middle of the measured part, if at all.
fn stall_time(spec: &RunSpec, timing: Timing) -> Option<u64> {
    let middle_ns = timing.measured_ns + (timing.end_ns - timing.measured_ns) / 2;
    (!spec.inject_stall.is_zero()).then_some(middle_ns)
}

/// Pins the thread if it shall be, and makes its timers as fine as the kernel's clock.
fn settle_thread(index: usize, spec: &RunSpec) -> io::Result<()> {
    if !spec.cores.is_empty() {
        let mut set = CpuSet::new();
        let core = spec.cores[index % spec.cores.len()];
        if core >= CpuSet::MAX_CPU {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no core {core}"),
            ));
        }
        set.set(core);
        sched_setaffinity(None, &set)?;
    }
    set_current_timer_slack(NonZeroU64::new(1))?;
    Ok(())
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

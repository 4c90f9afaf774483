//! One run: a seed and a profile become a load and a plague, and these a verdict.
//!
//! ```text
//! boot -> topics -> storm: load, troubles one after another -> calm: no faults, everybody finishes -> last judgement
//! ```
//!
//! The driver is outside the world: it lets time pass and acts between two steps, so what it does is as reproducible as
//! everything else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::admin::Admin;
use super::audit::Auditor;
use super::book::{Book, Phase};
use super::broker::{Broker, EXIT_START_FAILED, Setup, State};
use super::history::{Rule, Violation};
use super::load::Load;
use super::member::Member;
use super::nemesis::{Kind, Plague, Trouble};
use super::operator;
use super::producer::Producer;
use super::reader::{Reader, read_whole};
use super::rot;
use crate::runtime::disk::WriteSync;
use crate::runtime::executor;
use crate::runtime::sim::{Bug, DiskFaults, DiskLies, NetFaults, Random, World};
use crate::server::bootstrap::EXIT_DISK_FAILED;
use crate::shard::Advertise;

/// Time a start may take when nothing is wrong.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Time everybody has to finish once all is well.
const CALM_LIMIT: Duration = Duration::from_secs(120);

/// Steps no run needs.
const STEPS_MAX: u64 = 20_000_000;

/// Ten years, in milliseconds.
const TEN_YEARS_MS: i64 = 10 * 365 * 86_400_000;

/// Who makes topics and reads everything in the end.
const OPERATOR: &str = "operator";

/// Most shards of a simulated broker.
const SHARDS_MAX: u64 = 3;

/// How much happens in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Profile {
    Small,
    Medium,
    Large,
    /// Small, with consumer groups.
    Groups,
    /// Small, and what is on the disk rots.
    Rot,
    /// Small, and blocks on the disk take each other's place.
    Stray,
}

/// Bounds of what is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) topics: usize,
    pub(super) producers: usize,
    pub(super) readers: usize,
    /// Batches of each producer.
    pub(super) batches: u32,
    pub(super) troubles: usize,
    pub(super) groups: usize,
}

impl Profile {
    pub(super) const fn size(self) -> Size {
        match self {
            Self::Small | Self::Rot | Self::Stray => Size {
                topics: 2,
                producers: 2,
                readers: 1,
                batches: 120,
                troubles: 6,
                groups: 0,
            },
            Self::Groups => Size {
                topics: 2,
                producers: 2,
                readers: 1,
                batches: 120,
                troubles: 6,
                groups: 2,
            },
            Self::Medium => Size {
                topics: 3,
                producers: 4,
                readers: 2,
                batches: 400,
                troubles: 12,
                groups: 1,
            },
            Self::Large => Size {
                topics: 4,
                producers: 8,
                readers: 3,
                batches: 2_000,
                troubles: 40,
                groups: 2,
            },
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "small" => Some(Self::Small),
            "medium" => Some(Self::Medium),
            "large" => Some(Self::Large),
            "groups" => Some(Self::Groups),
            "rot" => Some(Self::Rot),
            "stray" => Some(Self::Stray),
            _ => None,
        }
    }
}

/// What a test wants of a run besides its seed and profile.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// Keep a diary.
    pub(super) diary: bool,
    /// Plant this in the engine.
    pub(super) bug: Option<Bug>,
    /// What the disk pretends.
    pub(super) lies: DiskLies,
    /// Only troubles of these kinds.
    pub(super) kinds: Option<&'static [Kind]>,
    /// Acknowledge before the write is durable.
    pub(super) early_acks: bool,
    /// Judge by what clients see alone.
    pub(super) blind: bool,
}

/// A run in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Outcome {
    pub(super) trace: u64,
    pub(super) steps: u64,
    pub(super) acked: usize,
    pub(super) known: usize,
    pub(super) marks: BTreeMap<&'static str, u64>,
}

/// A run that broke a rule.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) seed: u64,
    pub(super) profile: Profile,
    pub(super) violation: Violation,
    pub(super) diary: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.diary {
            writeln!(f, "{line}")?;
        }
        let Violation { rule, witness } = &self.violation;
        write!(
            f,
            "seed {} ({:?}) breaks {rule:?}: {witness}",
            self.seed, self.profile
        )
    }
}

/// Runs one seed.
pub(super) fn run(seed: u64, profile: Profile, wish: &Wish) -> Result<Outcome, Failure> {
    let world = World::new(seed);
    let book = Book::new(world.clone(), wish.diary);
    world.enter(|| {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let mut run = Run::new(&book, profile, wish);
            run.go();
            run.end();
        }));
        if let Err(panic) = ran {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            book.break_rule(Rule::NoPanic, text.unwrap_or_default());
        }
        world.forget_checks();
    });
    match book.violation() {
        Some(violation) => Err(Failure {
            seed,
            profile,
            violation,
            diary: book.diary(),
        }),
        None => Ok(summary(&world, &book)),
    }
}

/// Runs one seed; if it fails, runs it again with a diary for the report.
pub(super) fn run_and_explain(seed: u64, profile: Profile, wish: &Wish) -> Result<Outcome, Failure> {
    run(seed, profile, wish).map_err(|failure| {
        let told = Wish {
            diary: true,
            ..wish.clone()
        };
        run(seed, profile, &told).err().unwrap_or(failure)
    })
}

fn summary(world: &World, book: &Book) -> Outcome {
    let (mut acked, mut known) = (0, 0);
    book.each_story(|story| {
        acked += story.acked();
        known += story.known();
    });
    let disk = world.disk().counters();
    book.mark("disk writes", disk.writes);
    book.mark("disk faults", disk.faults);
    book.mark("sectors lost without power", disk.lost_sectors);
    book.mark("connections reset", world.net().resets());
    Outcome {
        trace: world.trace(),
        steps: world.steps(),
        acked,
        known,
        marks: book.marks(),
    }
}

/// See the module.
struct Run {
    book: Rc<Book>,
    world: World,
    broker: Broker,
    load: Load,
    plague: Plague,
    setup: Setup,
    dice: Random,
    /// Errors the disk had given when the broker started, to know what its end may be put down to.
    faults_before: u64,
    /// The disk has been full since the broker started: a relaxed log may not have been written when it stops.
    was_full: bool,
}

impl Run {
    fn new(book: &Rc<Book>, profile: Profile, wish: &Wish) -> Self {
        let world = book.world.clone();
        let load = Load::draw(&mut world.random("load"), profile);
        let mut dice = world.random("plague");
        let mut plague = Plague::draw(&mut dice, profile);
        if let Some(kinds) = wish.kinds {
            plague = plague.only(&mut dice, kinds);
        }
        let mut dice = world.random("driver");
        let setup = Setup {
            shards: u16::try_from(1 + dice.below(SHARDS_MAX)).expect("few"),
            advertise: if dice.one_in(3) {
                Advertise::Single
            } else {
                Advertise::PerCore
            },
            write_sync: match (wish.early_acks, dice.one_in(3)) {
                (true, _) => WriteSync::None,
                (false, true) => WriteSync::Link,
                (false, false) => WriteSync::Dsync,
            },
            pool_depth: dice.index(3),
            ..Setup::default()
        };
        world.disk().set_lies(wish.lies);
        if let Some(bug) = wish.bug {
            world.plant(bug);
        }
        let broker = Broker::new(book);
        if !wish.blind {
            let auditor = RefCell::new(Auditor::new(book, &broker.shards(), &broker.run_number()));
            world.on_step(move || auditor.borrow_mut().look());
        }
        Self {
            book: Rc::clone(book),
            world,
            broker,
            load,
            plague,
            setup,
            dice,
            faults_before: 0,
            was_full: false,
        }
    }

    fn go(&mut self) {
        self.broker.start(self.setup);
        if !self.await_serving() {
            return;
        }
        self.make_topics();
        self.start_clients();
        self.set_disk(self.plague.disk.clone());
        self.world.net().set_faults(self.plague.net.clone());
        for trouble in self.plague.troubles.clone() {
            if self.book.is_violated() {
                return;
            }
            self.pass(trouble.after);
            self.suffer(trouble);
        }
        self.calm();
        if !self.book.is_violated() {
            self.judge();
        }
        if self.world.panics_caught() > 0 {
            self.book.break_rule(Rule::NoPanic, "a connection panicked");
        }
    }

    /// Takes everything down, so that nothing refers to the world any more.
    fn end(&mut self) {
        self.broker.kill();
    }

    fn set_disk(&self, faults: DiskFaults) {
        self.world.disk().set_faults(faults);
    }

    /// Runs until `done`, with an eye on the book.
    fn await_that(&self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        if self.world.steps() > STEPS_MAX {
            self.book
                .break_rule(Rule::Liveness, "the run does not come to an end");
        }
        self.world.run_until(limit, || {
            self.book.is_violated() || self.world.steps() > STEPS_MAX || done(self)
        }) && !self.book.is_violated()
    }

    fn await_serving(&mut self) -> bool {
        let came = self.await_that(START_LIMIT, |run| {
            run.broker.is_serving() || run.broker.has_ended()
        });
        if came && self.broker.is_serving() {
            return true;
        }
        if !self.book.is_violated() {
            let state = self.broker.state();
            self.book
                .break_rule(Rule::Liveness, format!("the broker does not start: {state:?}"));
        }
        false
    }

    fn make_topics(&mut self) {
        let keys: Vec<_> = self
            .load
            .topics
            .iter()
            .map(|plan| self.book.add_topic(plan.clone()))
            .collect();
        let mut admin = Admin::new(&self.book, self.world.random("admin"));
        self.book.begin(OPERATOR);
        let book = Rc::clone(&self.book);
        self.world.spawn(admin.process, 0, async move {
            admin.create(&keys).await;
            book.finish(OPERATOR);
        });
        self.await_idle(START_LIMIT, "topics are not made");
    }

    fn await_idle(&self, limit: Duration, what: &str) {
        if !self.await_that(limit, |run| run.book.is_idle()) && !self.book.is_violated() {
            let (state, busy) = (self.broker.state(), self.book.busy());
            self.book.break_rule(
                Rule::Liveness,
                format!("{what}: {busy:?}; the broker is {state:?}"),
            );
        }
    }

    fn start_clients(&mut self) {
        for (number, job) in (0..).zip(&self.load.jobs) {
            let dice = Random::new(self.dice.next());
            Producer::new(&self.book, number, dice, job.clone()).start();
        }
        for (number, habits) in (0..).zip(&self.load.readers) {
            let dice = Random::new(self.dice.next());
            Reader::new(&self.book, number, dice, habits.clone()).start();
        }
        operator::start(
            &self.book,
            Random::new(self.dice.next()),
            (0..self.load.topics.len()).collect(),
        );
        for (group, plan) in self.load.groups.iter().enumerate() {
            let partitions = |topic: &usize| {
                (0..self.book.topic(*topic).partitions).map({
                    let topic = *topic;
                    move |partition| (topic, partition)
                })
            };
            self.book
                .add_group(group, plan.topics.iter().flat_map(partitions));
            for number in 0..plan.members {
                let dice = Random::new(self.dice.next());
                Member::new(&self.book, group, plan.clone(), number, dice).start();
            }
        }
    }

    /// Lets time pass in the storm. A broker that ends by itself is buried and started again.
    fn pass(&mut self, time: Duration) {
        let end = self.world.now().after(time);
        while self.world.now() < end && !self.book.is_violated() {
            let left = end.since(self.world.now());
            self.await_that(left, |run| run.broker.has_ended());
            if self.broker.has_ended() {
                self.bury();
                self.restart();
            }
        }
    }

    /// The broker ended by itself: that must have a reason.
    fn bury(&mut self) {
        let Some(State::Ended(status, problem)) = self.broker.state() else {
            return;
        };
        let failing = self.world.disk().counters().faults > self.faults_before;
        let excused = failing && (status == EXIT_DISK_FAILED || status == EXIT_START_FAILED);
        if !excused {
            let what = format!("the broker ended with status {status}: {problem}");
            self.book.break_rule(Rule::Liveness, what);
        }
        self.book.mark(
            if status == EXIT_DISK_FAILED {
                "ends with a failed disk"
            } else {
                "starts that failed"
            },
            1,
        );
        self.crash();
        self.set_disk(self.plague.disk.clone());
    }

    /// Ends the process without warning.
    fn crash(&mut self) {
        self.broker.kill();
        self.book.crashed();
    }

    fn crash_or_cut(&mut self, kind: Kind) {
        self.crash();
        if matches!(kind, Kind::PowerCutInStart | Kind::PowerCut) {
            self.world.cut_power();
        }
    }

    fn restart(&mut self) {
        self.faults_before = self.world.disk().counters().faults;
        self.was_full = false;
        self.broker.start(self.setup);
    }

    fn suffer(&mut self, trouble: Trouble) {
        let Trouble {
            kind, lasts, choice, ..
        } = trouble;
        self.book.say(|| format!("TROUBLE {trouble:?}"));
        self.book.mark(kind.name(), 1);
        match kind {
            Kind::Kill | Kind::PowerCut => {
                self.crash_or_cut(kind);
                self.world.run_for(lasts);
                self.restart();
            }
            Kind::Reshard => {
                self.crash();
                self.setup.shards = u16::try_from(1 + choice % SHARDS_MAX).expect("few");
                self.restart();
            }
            Kind::CleanStop => self.stop_cleanly(choice),
            Kind::KillInStop => {
                self.broker.ask_stop();
                self.pass_as_it_is(Duration::from_micros(choice % 20_000));
                self.crash();
                if choice % 2 == 1 {
                    self.world.cut_power();
                }
                self.restart();
            }
            Kind::KillInStart | Kind::PowerCutInStart => {
                for round in 0..1 + choice % 3 {
                    self.crash_or_cut(kind);
                    // Few enough operations to end inside recovery, most of the time.
                    self.world.disk().stop_after(Some((choice >> (8 * round)) % 120));
                    self.broker.start(self.setup);
                    let disk = self.world.disk();
                    self.await_that(lasts, |run| disk.has_stopped() || run.broker.has_ended());
                    if disk.has_stopped() {
                        self.book.mark("starts that died inside", 1);
                    }
                }
                self.crash_or_cut(kind);
                self.world.disk().stop_after(None);
                self.restart();
            }
            Kind::FailingWrites => self.fail_disk(lasts, |disk| disk.write_eio = 20),
            Kind::FailingSyncs => self.fail_disk(lasts, |disk| disk.sync_eio = 5),
            Kind::FailingReads => self.fail_disk(lasts, |disk| disk.read_eio = 10),
            Kind::FullDisk => {
                let used: u64 = self.world.disk().files().iter().map(|(_, bytes)| bytes).sum();
                // Now and then so little that a topic's next segment does not fit.
                let room = used + (choice % 12) * (16 << 10);
                self.was_full = true;
                self.fail_disk(lasts, |disk| disk.room_bytes = room);
                self.was_full = true;
            }
            Kind::SlowDisk => self.fail_disk(lasts, |disk| {
                disk.slow = 3;
            }),
            Kind::BrokenConnections => {
                let mut net = self.plague.net.clone();
                net.reset = 15;
                self.world.net().set_faults(net);
                self.pass(lasts);
                self.world.net().set_faults(self.plague.net.clone());
            }
            Kind::Stall => {
                let thread = u16::try_from(choice % (u64::from(self.setup.shards) + 1)).expect("few");
                self.broker.stall(thread, lasts);
                self.pass(lasts);
            }
            Kind::Rot | Kind::Stray => {
                let damage: Vec<rot::Part> = match kind {
                    Kind::Rot => rot::turn_a_bit(&self.world, choice).into_iter().collect(),
                    _ => rot::misplace_a_block(&self.world, choice)
                        .into_iter()
                        .flatten()
                        .collect(),
                };
                for (key, range) in damage {
                    self.book.say(|| format!("{key:?} rots in {range:?}"));
                    self.book.story(key.0, key.1, |story| {
                        story.damage(range);
                        story.forgets_producers();
                        Ok(())
                    });
                }
                self.pass(lasts);
            }
            Kind::ClockJump => {
                let by = if choice.is_multiple_of(2) {
                    TEN_YEARS_MS
                } else {
                    -TEN_YEARS_MS
                };
                self.world.jump_wall_clock(by);
                if by > 0 {
                    // Producers that were silent for ten years are forgotten.
                    self.book.each_story(|story| story.forgets_producers());
                }
                self.pass(lasts);
            }
        }
    }

    /// Lets time pass and leaves the broker as it is, ended or not.
    fn pass_as_it_is(&self, time: Duration) {
        self.await_that(time, |run| run.broker.has_ended());
    }

    fn stop_cleanly(&mut self, choice: u64) {
        if !self.broker.is_serving() {
            return;
        }
        self.broker.ask_stop();
        self.await_that(START_LIMIT, |run| run.broker.has_ended());
        match self.broker.state() {
            Some(State::Ended(0, _)) => {
                self.broker.kill();
                if self.was_full {
                    self.book.crashed();
                }
                if choice % 4 == 1 {
                    self.world.cut_power();
                }
            }
            Some(State::Ended(..)) => self.bury(),
            state => {
                if !self.book.is_violated() {
                    self.book
                        .break_rule(Rule::Liveness, format!("the broker does not stop: {state:?}"));
                }
                self.crash();
            }
        }
        if choice % 3 == 1 {
            self.setup.shards = u16::try_from(1 + (choice >> 8) % SHARDS_MAX).expect("few");
        }
        self.restart();
    }

    fn fail_disk(&mut self, lasts: Duration, change: impl FnOnce(&mut DiskFaults)) {
        let mut faults = self.plague.disk.clone();
        change(&mut faults);
        self.set_disk(faults);
        self.pass(lasts);
        self.set_disk(self.plague.disk.clone());
    }

    /// No more faults: everybody finishes.
    fn calm(&mut self) {
        self.book.say(|| "CALM".to_owned());
        self.set_disk(DiskFaults::default());
        self.world.net().set_faults(NetFaults::default());
        self.book.set_phase(Phase::Calm);
        // What failed in the last moment of the storm ends in the calm.
        self.await_that(Duration::from_millis(500), |run| run.broker.has_ended());
        if self.broker.has_ended() {
            self.bury();
        }
        self.set_disk(DiskFaults::default());
        if !self.broker.is_up() {
            self.restart();
        }
        if self.await_serving() {
            self.await_idle(CALM_LIMIT, "clients do not come to an end");
        }
    }

    /// Everything is read from its beginning.
    fn judge(&mut self) {
        self.book.say(|| "JUDGEMENT".to_owned());
        let mut admin = Admin::new(&self.book, self.world.random("judge"));
        let book = Rc::clone(&self.book);
        self.book.begin(OPERATOR);
        self.world.spawn(admin.process, 0, async move {
            for log in book.logs() {
                loop {
                    if let Ok(mut link) = admin.connect()
                        && (read_whole(&book, &mut link, log).await.is_ok() || book.is_violated())
                    {
                        break;
                    }
                    executor::sleep(Duration::from_millis(20)).await;
                }
            }
            book.finish(OPERATOR);
        });
        self.await_idle(CALM_LIMIT, "the logs cannot be read");
    }
}

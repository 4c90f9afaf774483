//! The proof: load, strike, restart, look; again and again, until a promise breaks or the time is over.
//!
//! Each cycle lets the load run for a random while, waits a little for the moment it aims at, kills the broker, starts it
//! again (now and then killing it once more while it recovers), and judges what it says. In the end the load comes to its
//! end, the broker is stopped in peace and started once more, and everything is read through both protocols and judged
//! by every rule. A run is repeated by its seed as far as clocks and schedulers allow: the choices are the same.
//!
//! Everything is below one directory made in the one that was named. It goes when the proof is done, and stays when it
//! was asked to, or when a promise broke. One thread, the caller's; the clients have theirs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::broker::{Broker, BrokerError, BrokerOptions};
use super::fault_disk::{FaultDiskError, FileSystem};
use super::history::{Attachment, Findings, History, Place, Reader, Value};
use super::interrupt::Interrupt;
use super::load::{COMPACTED, Load, LoadError, MAIN, read_all_native, tell_polled};
use super::medium::{Fate, Medium};
use super::moment::{self, Moment};
use super::reading::{Looks, Span};
use super::report::{Figures, Report, Verdict};
use crate::base::random::Random;
use crate::runtime::clock::{Mono, block_for, now};

/// What to prove, and how.
#[derive(Clone, Debug)]
pub struct ProveOptions {
    /// The broker's program.
    pub program: PathBuf,
    /// An existing directory; everything goes into a new one in it.
    pub directory: PathBuf,
    /// When it is enough.
    pub until: Until,
    /// Every choice follows from it.
    pub seed: u64,
    /// Shards of the broker.
    pub shards: u16,
    /// Records a second that producers send in all, about.
    pub rate: u32,
    /// Settings of the broker, before its addresses.
    pub settings: Vec<String>,
    /// What the topics under proof promise.
    pub durability: Durability,
    /// What strikes the broker.
    pub strikes: Strikes,
    /// What becomes of the directory when nothing broke.
    pub after: After,
    /// Whether the prover itself is put to the test.
    pub trial: Trial,
}

/// When a proof is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so many cycles.
    Cycles(u64),
    /// After the cycle that is under way at this time.
    Time(Duration),
}

/// What strikes the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strikes {
    /// Its process is killed; what it wrote is in the kernel's hands.
    Kills,
    /// The power of its disk, which has this file system, is cut with it, all but every [`KILLS_AMONG_CUTS`]th time.
    PowerCuts(FileSystem),
}

/// What topics promise when they acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// What the broker's settings say.
    Default,
    /// No more than memory: a proof that finds no loss is no proof.
    Relaxed,
}

/// What becomes of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// They go, unless something broke.
    Remove,
    /// They stay.
    Keep,
}

/// Whether the prover is put to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// No.
    None,
    /// The history is told of an acknowledgement that never was; it must find that.
    FalseAcknowledgement,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The directory cannot be used.
    #[error("{}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The broker does not run here even undisturbed.
    #[error("{0}")]
    Broker(#[from] BrokerError),
    /// The clients do not.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// There is no disk whose power can be cut.
    #[error("no power can be cut here: {0}")]
    Disk(#[from] FaultDiskError),
}

/// Proves, or finds out why not. `tell` gets a line after each cycle.
///
/// # Errors
/// When it cannot begin. Whatever happens from then on is in the report.
pub fn prove(
    options: &ProveOptions,
    interrupt: &Interrupt,
    tell: &mut dyn FnMut(&str),
) -> Result<Report, ProveError> {
    let home = Home::create(options)?;
    // What the broker said is in the error; nothing else is worth keeping.
    let begun = Prover::begin(options, interrupt, &home);
    let mut prover = begun.or_else(|error| remove(&home.path).and(Err(error)))?;
    let ended = prover.run(tell);
    if let Some(error) = prover.disk_lost.take() {
        drop(prover);
        remove(&home.path)?;
        return Err(error.into());
    }
    let report = prover.report(ended, &home.path);
    home.leave(options, report)
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    /// It was enough, or a promise broke.
    Done(Findings),
    /// From outside.
    Interrupted(Findings),
}

struct Prover<'a> {
    options: &'a ProveOptions,
    interrupt: &'a Interrupt,
    began: Mono,
    broker: Broker,
    /// Declared behind the broker, which must end before its disk goes.
    medium: Medium,
    /// Why the disk did not come back, which is no broker's fault.
    disk_lost: Option<FaultDiskError>,
    load: Option<Load>,
    history: History,
    looks: Looks,
    figures: Figures,
    random: Random,
}

impl<'a> Prover<'a> {
    fn begin(options: &'a ProveOptions, interrupt: &'a Interrupt, home: &Home) -> Result<Self, ProveError> {
        let began = now();
        let file_system = match options.strikes {
            Strikes::Kills => None,
            Strikes::PowerCuts(file_system) => Some(file_system),
        };
        let medium = Medium::create(&home.path, file_system)?;
        let settings = SETTINGS.iter().map(|setting| (*setting).to_owned());
        let mut broker = Broker::new(BrokerOptions {
            program: options.program.clone(),
            data_dir: medium.data_dir(&home.path),
            log: home.path.join("broker.log"),
            shards: options.shards,
            settings: settings.chain(options.settings.iter().cloned()).collect(),
        })?;
        broker.spawn()?;
        broker.wait_ready(interrupt)?;
        let mut history = History::default();
        let topics: &[(&str, &str)] = match options.durability {
            Durability::Default => &[],
            Durability::Relaxed => &[("corelog.durability", "relaxed")],
        };
        let (kafka, native) = (broker.kafka(), broker.native());
        let load = Load::start(kafka, native, options.seed, options.rate, topics, &mut history)?;
        Ok(Self {
            options,
            interrupt,
            began,
            broker,
            medium,
            disk_lost: None,
            load: Some(load),
            history,
            looks: Looks::default(),
            figures: Figures::default(),
            random: Random::new(options.seed, STREAM),
        })
    }

    fn run(&mut self, tell: &mut dyn FnMut(&str)) -> Ended {
        while !self.is_enough() && !self.interrupt.is_set() {
            match self.cycle() {
                Ok(found) if found.is_empty() && self.is_sound() => tell(&self.progress()),
                Ok(found) => return Ended::Done(found),
                Err(Stopped) => return self.ended(self.history.so_far().clone()),
            }
        }
        if self.interrupt.is_set() {
            return self.ended(self.history.so_far().clone());
        }
        tell("reading everything");
        let found = self.finish();
        self.ended(found)
    }

    /// An interrupt is an end of its own, unless something was found before it came.
    fn ended(&self, found: Findings) -> Ended {
        if self.interrupt.is_set() && found.is_empty() && self.is_sound() {
            Ended::Interrupted(found)
        } else {
            Ended::Done(found)
        }
    }

    fn is_enough(&self) -> bool {
        match self.options.until {
            Until::Cycles(count) => self.figures.cycles >= count,
            Until::Time(time) => now().since(self.began) >= time,
        }
    }

    fn is_sound(&self) -> bool {
        self.figures.trouble.is_empty() && self.figures.unreadable == 0
    }

    /// One round; what broke in it, as far as the newest stretch shows.
    fn cycle(&mut self) -> Result<Findings, Stopped> {
        let aim = self.aim();
        let alive = self.random.below(ALIVE_MS.end - ALIVE_MS.start) + ALIVE_MS.start;
        self.interrupt.sleep(millis(alive));
        let moments = self.wait_for(aim);
        self.strike(moments)?;
        let again = aim == Some(Moment::Recovering) || self.random.below(RECOVERY_STRIKES) == 0;
        if again {
            self.spawn()?;
            self.interrupt.sleep(millis(self.random.below(RECOVERING_MS)));
            self.figures.struck.count([Moment::Recovering]);
            self.kill()?;
        }
        self.restart()?;
        self.figures.cycles += 1;
        self.observe();
        if self.options.trial == Trial::FalseAcknowledgement {
            self.tell_a_lie();
        }
        self.look(Span::Newest)
    }

    /// What this cycle aims at: each moment in turn, and every other time none.
    fn aim(&self) -> Option<Moment> {
        let turn = usize::try_from(self.figures.cycles).unwrap_or(0);
        let aimed = Moment::ALL[(turn / 2) % Moment::ALL.len()];
        (turn % 2 == 0).then_some(aimed)
    }

    /// Waits a little for the moment to come, and gives what is under way now.
    fn wait_for(&self, aim: Option<Moment>) -> Vec<Moment> {
        let until = now().after(AIM_PATIENCE);
        if let Some(load) = &self.load {
            load.aim_at(aim);
        }
        loop {
            let moments = self.moments();
            let hit = aim.is_none_or(|aim| aim == Moment::Recovering || moments.contains(&aim));
            if hit || now() >= until || self.interrupt.is_set() {
                return moments;
            }
            block_for(AIM_EVERY);
        }
    }

    fn moments(&self) -> Vec<Moment> {
        let mut moments = moment::in_files(self.broker.data_dir(), MAIN.name, COMPACTED.name);
        moments.extend(self.load.iter().flat_map(Load::moments));
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    fn strike(&mut self, moments: Vec<Moment>) -> Result<(), Stopped> {
        // A broker that ended before it was killed broke its promise to be there.
        if let Err(error) = self.broker.check_running() {
            return self.stop_by(&error);
        }
        self.figures.struck.count(moments);
        self.kill()?;
        if let Some(load) = &self.load {
            load.aim_at(None);
        }
        Ok(())
    }

    /// Kills the process, mostly with the power of its disk, which is back when this returns.
    fn kill(&mut self) -> Result<(), Stopped> {
        let cut = self.medium.can_lose_power() && !self.figures.kills.is_multiple_of(KILLS_AMONG_CUTS);
        self.figures.kills += 1;
        if cut {
            self.figures.power_cuts += 1;
            let fate = if self.random.below(CUTS_THAT_LOSE_ALL) == 0 {
                Fate::Lost
            } else {
                Fate::Mixed
            };
            self.medium.cut_power(self.random.next(), fate);
        }
        let killed = self.broker.kill();
        killed.or_else(|error| self.stop_by(&error))?;
        if cut {
            let restored = self.medium.restore_power();
            restored.map_err(|error| {
                self.disk_lost = Some(error);
                Stopped
            })?;
        }
        Ok(())
    }

    fn spawn(&mut self) -> Result<(), Stopped> {
        let spawned = self.broker.spawn();
        spawned.or_else(|error| self.stop_by(&error))
    }

    fn restart(&mut self) -> Result<(), Stopped> {
        let started = now();
        self.spawn()?;
        match self.broker.wait_ready(self.interrupt) {
            Ok(()) => {
                let took = now().since(started).as_millis();
                self.figures
                    .restarts_ms
                    .push(u64::try_from(took).unwrap_or(u64::MAX));
                Ok(())
            }
            Err(BrokerError::Interrupted) => Err(Stopped),
            Err(error) => self.stop_by(&error),
        }
    }

    fn stop_by(&mut self, error: &dyn std::fmt::Display) -> Result<(), Stopped> {
        self.figures.trouble.push(error.to_string());
        Err(Stopped)
    }

    /// Takes over what clients have told.
    fn observe(&mut self) {
        if let Some(load) = &mut self.load {
            let let_down = load.observe(&mut self.history);
            if let Some(first) = let_down.first() {
                self.figures
                    .trouble
                    .push(format!("a client was let down: {first}"));
            }
        }
    }

    /// Reads, and judges what was read.
    fn look(&mut self, span: Span) -> Result<Findings, Stopped> {
        match self.looks.look(self.broker.kafka(), span, &mut self.history) {
            Ok(from) => Ok(self.history.check(&from)),
            Err(error) => {
                let ended = self.broker.check_running();
                self.figures.unreadable += u64::from(ended.is_ok());
                let error = ended
                    .err()
                    .map_or_else(|| error.to_string(), |ended| ended.to_string());
                self.figures
                    .trouble
                    .push(format!("a log could not be read: {error}"));
                Err(Stopped)
            }
        }
    }

    /// The end: everything is told, the broker stopped and started once more, everything read and judged.
    fn finish(&mut self) -> Findings {
        if let Some(load) = self.load.take() {
            let let_down = load.finish(FINISH_PATIENCE, &mut self.history);
            let trouble = let_down
                .into_iter()
                .map(|one| format!("a client was let down: {one}"));
            self.figures.trouble.extend(trouble);
        }
        let read = self.read_everything();
        if read.is_err() {
            return self.history.so_far().clone();
        }
        self.history.check_all()
    }

    fn read_everything(&mut self) -> Result<(), Stopped> {
        let stopped = self.broker.stop();
        stopped.or_else(|error| self.stop_by(&error))?;
        self.restart()?;
        self.look(Span::Whole)?;
        let native = self.broker.native().to_string();
        match read_all_native(&native, self.looks.records()) {
            Ok(records) => tell_polled(&mut self.history, LAST_READER, Attachment::Assigned, records),
            Err(error) => {
                self.figures.unreadable += 1;
                self.figures
                    .trouble
                    .push(format!("a log could not be read: {error}"));
            }
        }
        Ok(())
    }

    /// An acknowledgement that never was, of a record far behind the end.
    fn tell_a_lie(&mut self) {
        let place = Place {
            partition: MAIN.partition(0),
            offset: u64::from(u32::MAX),
        };
        self.history.acked(place, Value::new(LIAR, 0));
    }

    fn progress(&self) -> String {
        let figures = &self.figures;
        format!(
            "{:.1} s, cycle {}: {} kills, {} records acknowledged, ready in {} ms",
            now().since(self.began).as_secs_f64(),
            figures.cycles,
            figures.kills,
            self.history.acked_count(),
            figures.restarts_ms.last().copied().unwrap_or(0),
        )
    }

    /// Ends the broker and everything else, and says what it came to.
    fn report(mut self, ended: Ended, home: &Path) -> Report {
        self.load = None;
        // Dropping it would do, and say nothing.
        if let Err(error) = self.broker.kill() {
            self.figures.trouble.push(error.to_string());
        }
        self.figures.flushes = self.medium.flushes();
        let seconds = now().since(self.began).as_secs_f64();
        let (found, interrupted) = match &ended {
            Ended::Done(found) => (found, false),
            Ended::Interrupted(found) => (found, true),
        };
        let figures = std::mem::take(&mut self.figures);
        let mut report = figures.report(&self.history, found, self.options.seed, seconds);
        if interrupted {
            report = report.interrupted();
        }
        if is_kept(self.options, &report)
            && let Err(error) = self.medium.rescue(home)
        {
            report
                .witnesses
                .push(format!("the data could not be kept: {error}"));
        }
        report
    }
}

/// A cycle ended the run: the trouble is noted.
struct Stopped;

/// The directory of one run.
struct Home {
    path: PathBuf,
}

impl Home {
    fn create(options: &ProveOptions) -> Result<Self, ProveError> {
        let name = format!("corelog-prove-{}-{}", options.seed, std::process::id());
        let path = options.directory.join(name);
        let made = std::fs::create_dir(&path);
        made.map_err(|source| ProveError::Directory {
            path: path.clone(),
            source,
        })?;
        Ok(Self { path })
    }

    /// Removes the directory, or leaves it with the report in it.
    fn leave(self, options: &ProveOptions, mut report: Report) -> Result<Report, ProveError> {
        if is_kept(options, &report) {
            report.kept = Some(self.path.clone());
            let path = self.path.join("report.json");
            let text = serde_json::to_string_pretty(&report).expect("a report is plain data");
            std::fs::write(&path, text).map_err(|source| ProveError::Directory { path, source })?;
        } else {
            remove(&self.path)?;
        }
        Ok(report)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Only a run that never began, or ended here, leaves it empty; anything else in it is evidence.
        let _kept = std::fs::remove_dir(&self.path);
    }
}

/// Whether the files of a run stay.
fn is_kept(options: &ProveOptions, report: &Report) -> bool {
    options.after == After::Keep || report.verdict == Verdict::Violated
}

fn remove(path: &Path) -> Result<(), ProveError> {
    std::fs::remove_dir_all(path).map_err(|source| ProveError::Directory {
        path: path.to_owned(),
        source,
    })
}

fn millis(count: usize) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Settings that make much happen in little time and on a small disk; the user's come behind them.
const SETTINGS: [&str; 10] = [
    "memory=128MiB",
    "log.segment_bytes=2MiB",
    "log.min_free_bytes=32MiB",
    "log.retention_check_interval=200ms",
    "compaction.check_interval=20ms",
    "compaction.bytes_per_second=1MiB",
    "group.initial_rebalance_delay=0s",
    "group.offsets_partitions=4",
    "log_level=info",
    "kafka.num_partitions=1",
];
/// One strike in so many leaves the power on: the rest of what a crash can be.
pub const KILLS_AMONG_CUTS: u64 = 10;
/// One cut in so many loses everything the disk had not been told to keep.
const CUTS_THAT_LOSE_ALL: usize = 3;
/// From readiness to the strike, in ms.
const ALIVE_MS: std::ops::Range<usize> = 50..800;
/// From the start of the process to a strike inside recovery, in ms.
const RECOVERING_MS: usize = 60;
/// One in so many strikes is followed by one inside recovery, besides those that aim at it.
const RECOVERY_STRIKES: usize = 5;
/// How long a strike waits for the moment it aims at.
const AIM_PATIENCE: Duration = Duration::from_secs(3);
const AIM_EVERY: Duration = Duration::from_micros(300);
/// For the load to come to its end with the broker up.
const FINISH_PATIENCE: Duration = Duration::from_secs(60);
/// The stream of the seed that the prover draws from.
const STREAM: u64 = 1;
const LAST_READER: Reader = Reader(3);
/// A producer that does not exist.
const LIAR: u32 = u32::MAX;

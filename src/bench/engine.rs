//! A run from beginning to end: prepare the broker, start the workers, add up what they send, judge.
//!
//! The engine's thread does nothing while messages flow but add histograms once a second and call `watch`, so that a
//! progress line never sits between a worker and its clock. What comes back is whole: the result for `result.json`, and
//! the intervals for the interval log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;

use super::clock::RunClock;
use super::cpu;
use super::plan::{Plan, plan};
use super::record::{Counts, Histograms, Interval, Measure, Timing};
use super::result::{Distribution, Point, RunResult, SCHEMA_VERSION, Totals, encode_histogram};
use super::spec::{Kind, RunSpec};
use super::verdict::{Facts, judge};
use super::wire::{Door, Layout, StartAt};
use super::worker::{self, Assignment, Shared, Told, WorkerEnd};
use crate::base::random::Random;
use crate::runtime::clock::wall_ms;
use crate::runtime::executor::spawn_thread;

/// What a run was.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// For `result.json`; its environment is left to whoever knows it.
    pub result: RunResult,
    /// The distributions over the whole measured part.
    pub whole: Histograms,
    /// Those of each second, the ones behind the end included.
    pub seconds: Vec<Second>,
}

/// The distributions of a second.
#[derive(Clone, Debug)]
pub struct Second {
    /// When it began, from the beginning of the measured part.
    pub start: Duration,
    /// How long it was.
    pub length: Duration,
    /// What was recorded in it.
    pub histograms: Histograms,
}

/// What a progress line may say, once a second.
#[derive(Debug)]
pub struct Live<'a> {
    /// Seconds since the run began, at the end of this one.
    pub t: f64,
    /// Length of this one.
    pub seconds: f64,
    /// Whether it belongs to the measured part; else it is warm-up or waiting for the last answers.
    pub phase: Phase,
    /// Its counts.
    pub counts: Counts,
    /// Its distributions.
    pub histograms: &'a Histograms,
    /// Messages produced and not yet received by all groups; 0 without consumers.
    pub backlog: u64,
}

/// A part of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Under load, not counted.
    WarmUp,
    /// Counted.
    Measured,
    /// Waiting for the last answers.
    Drain,
}

/// Prepares the topics, and runs.
///
/// # Errors
/// When the run cannot begin. One that began ends with an outcome, if only an invalid one.
pub fn run(
    spec: &RunSpec,
    door: &Arc<dyn Door>,
    watch: &mut dyn FnMut(&Live<'_>),
) -> anyhow::Result<Outcome> {
    spec.check().map_err(anyhow::Error::msg)?;
    let layout = door.prepare(&spec.topic).context("cannot prepare the topics")?;
    anyhow::ensure!(
        !layout.partitions.is_empty(),
        "the broker has no partition for this run"
    );
    let run = Run::start(spec, door, layout)?;
    run.follow(watch)
}

/// A run under way.
struct Run<'a> {
    spec: &'a RunSpec,
    protocol: &'static str,
    timing: Timing,
    plan: Plan,
    partitions: usize,
    told: Receiver<Told>,
    clock: RunClock,
    started_ms: i64,
    /// First interval each worker has not finished.
    reached: Vec<u64>,
    intervals: BTreeMap<u64, Interval>,
    /// Intervals below this were shown.
    shown: u64,
    ends: Vec<WorkerEnd>,
    sampler: cpu::Sampler,
    sums: Sums,
}

/// What adds up over the whole run.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    acked: u64,
    received: u64,
}

impl<'a> Run<'a> {
    fn start(spec: &'a RunSpec, door: &Arc<dyn Door>, layout: Layout) -> anyhow::Result<Self> {
        let partitions = layout.partitions.len();
        let plan = plan(spec, &layout);
        let measured_ns = nanos(spec.warmup);
        let timing = Timing {
            measured_ns,
            end_ns: measured_ns.saturating_add(nanos(spec.duration)),
        };
        let (tell, told) = channel();
        let go = assign(spec, door, layout, &plan, timing, &tell)?;
        drop(tell);
        await_ready(&told, go.len())?;
        let clock = RunClock::start();
        for worker in &go {
            worker
                .send(clock)
                .context("a worker ended before the run began")?;
        }
        Ok(Self {
            spec,
            protocol: door.name(),
            timing,
            partitions,
            told,
            clock,
            started_ms: wall_ms()
                .get()
                .saturating_add(i64::try_from(spec.warmup.as_millis()).unwrap_or(i64::MAX)),
            reached: vec![0; plan.workers.len()],
            plan,
            intervals: BTreeMap::new(),
            shown: 0,
            ends: Vec::new(),
            sampler: cpu::Sampler::new(spec.broker_pid, timing),
            sums: Sums::default(),
        })
    }

    fn follow(mut self, watch: &mut dyn FnMut(&Live<'_>)) -> anyhow::Result<Outcome> {
        while self.ends.len() < self.plan.workers.len() {
            let now_ns = self.clock.now_ns();
            self.sampler.look(now_ns);
            let wait = Duration::from_nanos(self.sampler.next_look(now_ns));
            match self.told.recv_timeout(wait) {
                Ok(told) => self.take(told),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("a worker of the generator died"),
            }
            self.show(watch);
        }
        Ok(self.conclude())
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Interval(worker, interval) => {
                self.reached[worker] = interval.number + 1;
                let whole = self.intervals.entry(interval.number).or_default();
                whole.number = interval.number;
                whole.counts.add(&interval.counts);
                whole.histograms.add(&interval.histograms);
            }
            Told::Done(worker, end) => {
                self.reached[worker] = u64::MAX;
                self.ends.push(*end);
            }
            Told::Ready | Told::NotReady(_) => {}
        }
    }

    /// Shows the intervals that all workers have finished.
    fn show(&mut self, watch: &mut dyn FnMut(&Live<'_>)) {
        let complete = self.reached.iter().copied().min().unwrap_or(0);
        let Some((last, _)) = self.intervals.last_key_value() else {
            return;
        };
        // Behind the last interval that anybody sent there is nothing to show.
        let complete = complete.min(last + 1);
        for (number, interval) in self.intervals.range(self.shown.min(complete)..complete) {
            self.sums.acked += interval.counts.acked;
            self.sums.received += interval.counts.received;
            let (start_ns, length_ns) = self.timing.bounds(*number);
            watch(&Live {
                t: (start_ns + length_ns) as f64 / 1e9,
                seconds: length_ns as f64 / 1e9,
                phase: self.phase(*number),
                counts: interval.counts,
                histograms: &interval.histograms,
                backlog: self.backlog(self.sums),
            });
        }
        self.shown = self.shown.max(complete);
    }

    fn phase(&self, number: u64) -> Phase {
        if self.timing.is_measured(number) {
            Phase::Measured
        } else if number < self.timing.warm_intervals() {
            Phase::WarmUp
        } else {
            Phase::Drain
        }
    }

    fn backlog(&self, sums: Sums) -> u64 {
        match self.spec.kind {
            Kind::E2e => (sums.acked * self.spec.fanout as u64).saturating_sub(sums.received),
            Kind::Produce | Kind::Consume => 0,
        }
    }

    fn conclude(mut self) -> Outcome {
        let now_ns = self.clock.now_ns();
        self.sampler.look(now_ns);
        let end_ns = self.end_of_measurement(now_ns);
        let seconds = end_ns.saturating_sub(self.timing.measured_ns) as f64 / 1e9;
        let (mut whole, mut counts, mut errors) = (Histograms::default(), Counts::default(), 0);
        let (mut series, mut parts, mut sums) = (Vec::new(), Vec::new(), Sums::default());
        let intervals = std::mem::take(&mut self.intervals);
        for (number, interval) in intervals {
            errors += interval.counts.errors;
            sums.acked += interval.counts.acked;
            sums.received += interval.counts.received;
            if number < self.timing.warm_intervals() {
                continue;
            }
            whole.add(&interval.histograms);
            let (start_ns, length_ns) = self.timing.bounds(number);
            let start = start_ns - self.timing.measured_ns;
            if self.timing.is_measured(number) {
                counts.add(&interval.counts);
                series.push(self.point(start as f64 / 1e9, &interval, self.backlog(sums)));
            }
            parts.push(Second {
                start: Duration::from_nanos(start),
                length: Duration::from_nanos(length_ns),
                histograms: interval.histograms,
            });
        }
        let totals = self.totals(&counts, errors);
        let verdict = judge(
            &totals,
            &Facts {
                sent: counts.sent,
                seconds,
                series: &series,
                unanswered: self.ends.iter().map(|end| end.unanswered).sum(),
                broken: self.ends.iter().find_map(|end| end.broken.as_deref()),
                refusal: self.ends.iter().find_map(|end| end.refusal.as_deref()),
                stalled: !self.spec.inject_stall.is_zero(),
                clock_source: cpu::clock_source().as_deref(),
                idle_consumers: self.idle_consumers(),
            },
        );
        let result = RunResult {
            schema: SCHEMA_VERSION,
            kind: self.spec.kind.name().to_owned(),
            name: self.spec.name.clone(),
            protocol: self.protocol.to_owned(),
            spec: self.spec.describe(),
            started_ms: self.started_ms,
            seconds,
            durability: self.spec.durability.clone(),
            totals,
            latency: self.latency(&whole),
            series,
            verdict,
            environment: BTreeMap::new(),
        };
        Outcome {
            result,
            whole,
            seconds: parts,
        }
    }

    /// The end of the measured part: as planned, or when the run was done before.
    fn end_of_measurement(&self, now_ns: u64) -> u64 {
        let done_ns = match self.spec.kind {
            Kind::Consume => self.ends.iter().map(|end| end.last_arrival_ns).max().unwrap_or(0),
            Kind::Produce | Kind::E2e => now_ns,
        };
        done_ns.min(self.timing.end_ns)
    }

    fn totals(&self, counts: &Counts, errors: u64) -> Totals {
        let mut totals = Totals {
            target_rate: self.spec.rate.per_second(),
            acked: counts.acked,
            acked_bytes: counts.acked_bytes,
            batches: counts.batches,
            errors,
            received: counts.received,
            received_bytes: counts.received_bytes,
            late_sends: counts.late,
            client_cpu: self.ends.iter().map(|end| end.cpu).fold(0.0, f64::max),
            broker_cpu: self.sampler.share(),
            ..Totals::default()
        };
        match self.spec.kind {
            Kind::Produce => {}
            Kind::Consume => {
                // A run of consumers has no target: it is told how much is there, or reads until silence.
                totals.target_rate = 0.0;
                let expected = self.spec.messages * self.spec.fanout as u64;
                if expected > 0 {
                    totals.missing = expected.saturating_sub(counts.received);
                    totals.duplicates = counts.received.saturating_sub(expected);
                }
            }
            Kind::E2e => self.reconcile(&mut totals),
        }
        totals
    }

    /// Compares what was acknowledged with what came.
    fn reconcile(&self, totals: &mut Totals) {
        let mut acked = vec![0_u64; self.plan.streams];
        for (stream, count) in self.ends.iter().flat_map(|end| &end.acked_by_stream) {
            if let Some(sum) = usize::try_from(*stream)
                .ok()
                .and_then(|stream| acked.get_mut(stream))
            {
                *sum += count;
            }
        }
        for group in 0..self.spec.fanout {
            let mut came = vec![0_u64; self.plan.streams];
            for ledger in self.ends.iter().filter_map(|end| end.ledgers.get(group)) {
                totals.duplicates += ledger.duplicates;
                totals.reordered += ledger.reordered;
                for (sum, unique) in came.iter_mut().zip(ledger.unique()) {
                    *sum += unique;
                }
            }
            let missing = acked
                .iter()
                .zip(&came)
                .map(|(acked, came)| acked.saturating_sub(*came));
            totals.missing += missing.sum::<u64>();
        }
    }

    fn point(&self, t: f64, interval: &Interval, backlog: u64) -> Point {
        let of = match self.spec.kind {
            Kind::Produce | Kind::E2e => Measure::Response,
            Kind::Consume => Measure::Service,
        };
        let histogram = interval.histograms.of(of);
        let encoded = Measure::ALL.into_iter().filter_map(|measure| {
            let histogram = interval.histograms.of(measure);
            (!histogram.is_empty()).then(|| (measure.name().to_owned(), encode_histogram(histogram)))
        });
        Point {
            t,
            sent: interval.counts.sent,
            acked: interval.counts.acked,
            received: interval.counts.received,
            acked_bytes: interval.counts.acked_bytes,
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
            backlog,
            intervals: encoded.collect(),
        }
    }

    fn latency(&self, whole: &Histograms) -> BTreeMap<String, Distribution> {
        let mut latency = BTreeMap::new();
        for measure in Measure::ALL {
            let histogram = whole.of(measure);
            if !histogram.is_empty() {
                latency.insert(measure.name().to_owned(), Distribution::of(histogram));
            }
        }
        let mut stages = BTreeMap::<&str, Histogram<u64>>::new();
        for (name, histogram) in self.ends.iter().flat_map(|end| &end.stages) {
            match stages.get_mut(name) {
                Some(sum) => sum.add(histogram).expect("all have the same shape"),
                None => drop(stages.insert(name, histogram.clone())),
            }
        }
        let stages = stages
            .iter()
            .map(|(name, histogram)| (format!("stage.{name}"), Distribution::of(histogram)));
        latency.extend(stages);
        latency
    }

    fn idle_consumers(&self) -> usize {
        match self.spec.kind {
            Kind::Produce => 0,
            Kind::Consume | Kind::E2e => {
                self.spec.consumers.saturating_sub(self.partitions) * self.spec.fanout
            }
        }
    }
}

/// Starts the workers. Each begins when it is sent the clock, and ends at once if its sender is dropped before.
fn assign(
    spec: &RunSpec,
    door: &Arc<dyn Door>,
    layout: Layout,
    plan: &Plan,
    timing: Timing,
    tell: &Sender<Told>,
) -> anyhow::Result<Vec<Sender<RunClock>>> {
    let spec = Arc::new(spec.clone());
    let layout = Arc::new(layout);
    let producing = plan
        .workers
        .iter()
        .filter(|worker| !worker.lanes.is_empty())
        .count();
    let shared = Arc::new(Shared::new(producing));
    let lanes: usize = plan.workers.iter().map(|worker| worker.lanes.len()).sum();
    // Values of an earlier run with the same seed must not be taken for this one's.
    let began_ms = wall_ms().get().unsigned_abs();
    let [high, low] =
        [32, 0].map(|shift| Random::new(spec.seed, began_ms).next() >> shift & u64::from(u32::MAX));
    let run = u32::try_from(high ^ low).expect("both are masked");
    let mut go = Vec::new();
    let mut before = 0;
    for (index, worker) in plan.workers.iter().enumerate() {
        let (give, take) = channel();
        let assignment = Assignment {
            index,
            spec: Arc::clone(&spec),
            door: Arc::clone(door),
            layout: Arc::clone(&layout),
            plan: worker.clone(),
            lanes: (before, lanes),
            streams: plan.streams,
            run,
            timing,
            shared: Arc::clone(&shared),
            start: match spec.kind {
                Kind::Consume => StartAt::Earliest,
                Kind::Produce | Kind::E2e => StartAt::Latest,
            },
            tell: tell.clone(),
            go: take,
        };
        before += worker.lanes.len();
        spawn_thread(&format!("bench-{index}"), move || worker::run(assignment))?;
        go.push(give);
    }
    Ok(go)
}

fn await_ready(told: &Receiver<Told>, workers: usize) -> anyhow::Result<()> {
    for _ in 0..workers {
        match told.recv().context("a worker of the generator died")? {
            Told::NotReady(error) => return Err(error.context("the generator could not connect")),
            Told::Ready | Told::Interval(..) | Told::Done(..) => {}
        }
    }
    Ok(())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

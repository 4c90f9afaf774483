//! The stage ledger of one shard: where the time of batches and of reads goes, stage by stage.
//!
//! **What is counted where.** `receive`, `parse` and `answer` once for each Produce request, `wait`, `find` and `send` once for
//! each read that gave records, all by the shard that has the connection; `route`, `append`, `submit`, `durable` and
//! `visible` once for each batch, by the shard that owns its partition. What is refused is not counted behind `parse`, and
//! a repeated batch neither is: it was appended before.
//!
//! **Clock reads.** One for each event, not for each batch: a request is received, parsed and appended under one reading
//! each, a completed write settles all its batches under one, and so does one write to a socket for all its answers.
//! Instants are of one clock on all threads ([`crate::runtime::clock`]), so a batch that crosses cores carries on.
//!
//! **Invariants.** Recording does not allocate. Owned by the shard's thread; the control thread gets snapshots by message.

use super::Probe;
use super::append::{Booked, Origin};
use super::request::Produced;
use crate::base::Offset;
use crate::base::histogram::Histogram;
use crate::base::stages::{Path, Stage, StageTimes};
use crate::runtime::clock::{self, Mono};
use std::array;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// When a request came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// The head of its frame was known.
    pub head: Mono,
    /// Its last byte was there.
    pub complete: Mono,
}

/// The moments of one batch on its owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchStamps {
    /// What settled means for it: [`Path::Durable`] or [`Path::Relaxed`].
    pub path: Path,
    /// The owner had it.
    pub routed: Mono,
    /// It was in the tail buffer.
    pub appended: Mono,
    /// The write that covers its end was handed to the ring; `appended` in a relaxed topic.
    pub submitted: Mono,
    /// It was as safe as its topic promises.
    pub settled: Mono,
}

/// What an answer is the end of, for the stage that ends when it is handed to the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handoff {
    /// A produce, complete and settled then.
    Produced {
        /// Its frame was complete.
        complete: Mono,
        /// Its last batch was settled; `None` if none was accepted.
        settled: Option<Mono>,
    },
    /// A read that found its records then.
    Found(Mono),
}

/// When a produce was received and parsed, until its answer is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProduceTrail {
    /// When it came in.
    pub arrival: Arrival,
    /// It was decoded and checked.
    pub parsed: Mono,
}

impl ProduceTrail {
    /// What its answer ends.
    pub fn handoff<'a>(&self, produced: impl IntoIterator<Item = &'a Produced>) -> Handoff {
        Handoff::Produced {
            complete: self.arrival.complete,
            settled: produced.into_iter().map(|batch| batch.stamps.settled).max(),
        }
    }

    /// The stages of the batch that was settled last, the answer being made `now`; `None` if no batch was accepted.
    pub fn times<'a>(
        &self,
        produced: impl IntoIterator<Item = &'a Produced>,
        now: Mono,
    ) -> Option<StageTimes> {
        let batches = produced.into_iter().map(|batch| batch.stamps);
        let slowest = batches.max_by_key(|stamps| stamps.settled)?;
        let waited = match slowest.path {
            Path::Relaxed => Stage::Visible,
            _ => Stage::Durable,
        };
        let times = StageTimes::new(slowest.path)
            .with_ns(Stage::Receive, self.arrival.complete.ns_since(self.arrival.head))
            .with_ns(Stage::Parse, self.parsed.ns_since(self.arrival.complete))
            .with_ns(Stage::Route, slowest.routed.ns_since(self.parsed))
            .with_ns(Stage::Append, slowest.appended.ns_since(slowest.routed))
            .with_ns(Stage::Submit, slowest.submitted.ns_since(slowest.appended))
            .with_ns(waited, slowest.settled.ns_since(slowest.submitted))
            .with_ns(Stage::Answer, now.ns_since(slowest.settled));
        Some(times)
    }
}

/// The moments of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadTrail {
    /// The request was complete.
    pub asked: Mono,
    /// Time spent waiting for records to come, in ns.
    pub waited_ns: u64,
    /// The last look at the logs was over.
    pub found: Mono,
}

impl ReadTrail {
    fn find_ns(&self) -> u64 {
        self.found.ns_since(self.asked).saturating_sub(self.waited_ns)
    }

    /// Its stages, the answer being made `now`.
    #[must_use]
    pub fn times(&self, now: Mono) -> StageTimes {
        StageTimes::new(Path::Read)
            .with_ns(Stage::Wait, self.waited_ns)
            .with_ns(Stage::Find, self.find_ns())
            .with_ns(Stage::Send, now.ns_since(self.found))
    }
}

/// A histogram for each stage. See the module.
#[derive(Debug)]
pub struct StageLedger([RefCell<Histogram>; Stage::COUNT]);

impl Default for StageLedger {
    fn default() -> Self {
        Self(array::from_fn(|_| RefCell::default()))
    }
}

impl StageLedger {
    #[inline]
    fn record(&self, stage: Stage, took_ns: u64) {
        self.record_many(stage, took_ns, 1);
    }

    #[inline]
    fn record_many(&self, stage: Stage, took_ns: u64, count: u64) {
        self.0[stage.index()].borrow_mut().record_many(took_ns, count);
    }

    /// A produce was received and parsed.
    pub fn parsed(&self, trail: &ProduceTrail) {
        let Arrival { head, complete } = trail.arrival;
        self.record(Stage::Receive, complete.ns_since(head));
        self.record(Stage::Parse, trail.parsed.ns_since(complete));
    }

    /// Batches reached their owner.
    pub(crate) fn routed(&self, parsed: Mono, routed: Mono, batches: usize) {
        let batches = u64::try_from(batches).unwrap_or(u64::MAX);
        self.record_many(Stage::Route, routed.ns_since(parsed), batches);
    }

    /// What `booked` has was appended just now, after reaching its owner at `routed`; stamps the tickets.
    pub(crate) fn appended(&self, routed: Mono, booked: &mut [Booked]) {
        if !booked.iter().any(Result::is_ok) {
            return;
        }
        let now = clock::now();
        let (mut fresh, mut relaxed) = (0, 0);
        for ticket in booked.iter_mut().flatten() {
            ticket.routed = routed;
            ticket.appended = now;
            if ticket.origin == Origin::Appended {
                fresh += 1;
                match ticket.path {
                    Path::Relaxed => relaxed += 1,
                    _ => ticket.partition.trace.expect(ticket.end, now),
                }
            }
        }
        self.record_many(Stage::Append, now.ns_since(routed), fresh);
        if relaxed > 0 {
            // Visible by the append itself: the next stage begins where it ends.
            self.record_many(Stage::Visible, 0, relaxed);
        }
    }

    /// A read found records.
    pub fn found(&self, trail: &ReadTrail) {
        if trail.waited_ns > 0 {
            self.record(Stage::Wait, trail.waited_ns);
        }
        self.record(Stage::Find, trail.find_ns());
    }

    /// Everything recorded so far.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(Stage, Histogram)> {
        let each = Stage::ALL.into_iter().zip(&self.0);
        each.map(|(stage, histogram)| (stage, histogram.borrow().clone()))
            .collect()
    }
}

impl Probe {
    /// An answer was handed to the socket.
    pub fn handed_off(&self, handoff: Handoff, now: Mono) {
        match handoff {
            Handoff::Produced { complete, settled } => {
                self.produce_latency.record(now.since(complete));
                if let Some(settled) = settled {
                    self.stages.record(Stage::Answer, now.ns_since(settled));
                }
            }
            Handoff::Found(found) => self.stages.record(Stage::Send, now.ns_since(found)),
        }
    }
}

/// Writes of a partition that are remembered: one is enough for a waiter that is woken by it, more serve one that waited
/// for something else first.
const WRITES_REMEMBERED: usize = 4;

/// Room for batches that a partition keeps when all are settled, so that the usual write allocates nothing.
const UNSETTLED_KEPT: usize = 256;

/// A write that completed.
#[derive(Clone, Copy, Debug, Default)]
struct WriteMark {
    /// Everything below is settled since.
    end: Offset,
    submitted: Mono,
    settled: Mono,
}

/// The stamps of one partition's batches on their way to the device.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Batches appended and not yet settled, oldest first.
    unsettled: RefCell<VecDeque<(Offset, Mono)>>,
    marks: Cell<[WriteMark; WRITES_REMEMBERED]>,
}

impl Trace {
    fn expect(&self, end: Offset, appended: Mono) {
        self.unsettled.borrow_mut().push_back((end, appended));
    }

    /// Whether any batch is on its way.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.unsettled.borrow().is_empty()
    }

    /// Everything below `end` was settled at `settled` by what was handed to the ring at `submitted`.
    pub(crate) fn settle(&self, end: Offset, submitted: Mono, settled: Mono, ledger: &StageLedger) {
        let mut unsettled = self.unsettled.borrow_mut();
        let mut batches = 0;
        while let Some((_, appended)) = unsettled.pop_front_if(|(batch_end, _)| *batch_end <= end) {
            ledger.record(Stage::Submit, submitted.ns_since(appended));
            batches += 1;
        }
        if batches == 0 {
            return;
        }
        if unsettled.is_empty() && unsettled.capacity() > UNSETTLED_KEPT {
            unsettled.shrink_to(UNSETTLED_KEPT);
        }
        ledger.record_many(Stage::Durable, settled.ns_since(submitted), batches);
        let mut marks = self.marks.get();
        marks.rotate_right(1);
        marks[0] = WriteMark {
            end,
            submitted,
            settled,
        };
        self.marks.set(marks);
    }

    /// When the batch that ends at `end`, appended at `appended`, was submitted and settled. If that is too long ago, of the
    /// oldest write remembered; if it never was written here (a relaxed topic, a repeated batch), `appended`.
    pub(crate) fn settled(&self, end: Offset, appended: Mono) -> (Mono, Mono) {
        let marks = self.marks.get();
        let covering = marks.iter().take_while(|mark| mark.end >= end).last();
        covering.map_or((appended, appended), |mark| {
            (mark.submitted.max(appended), mark.settled.max(appended))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stages::Stage::{Answer, Append, Durable, Find, Receive, Route, Send, Submit, Wait};
    use std::time::Duration;

    fn at(us: u64) -> Mono {
        Mono::default().after(Duration::from_micros(us))
    }

    fn us(times: &StageTimes, stage: Stage) -> Option<u128> {
        times.get(stage).map(|took| took.as_micros())
    }

    fn counted(ledger: &StageLedger, stage: Stage) -> (u64, u64) {
        let histogram = ledger.0[stage.index()].borrow();
        (histogram.count(), histogram.sum_ns() / 1000)
    }

    fn produced(path: Path, settled: u64) -> Produced {
        Produced {
            base_offset: Offset::new(0),
            log_start: Offset::new(0),
            append_time: None,
            stamps: BatchStamps {
                path,
                routed: at(40),
                appended: at(50),
                submitted: at(60),
                settled: at(settled),
            },
        }
    }

    const fn trail(arrival: Arrival, parsed: Mono) -> ProduceTrail {
        ProduceTrail { arrival, parsed }
    }

    #[test]
    fn a_produce_is_told_the_stages_of_its_slowest_batch() {
        let arrival = Arrival {
            head: at(10),
            complete: at(15),
        };
        let trail = trail(arrival, at(30));
        let batches = [produced(Path::Durable, 150), produced(Path::Durable, 200)];
        let times = trail.times(&batches, at(210)).unwrap();
        let found = [Receive, Stage::Parse, Route, Append, Submit, Durable, Answer].map(|s| us(&times, s));
        assert_eq!(found, [5, 15, 10, 10, 10, 140, 10].map(Some));
        assert_eq!(
            times.total(),
            Duration::from_micros(200),
            "from the head to the answer"
        );
        let handoff = Handoff::Produced {
            complete: at(15),
            settled: Some(at(200)),
        };
        assert_eq!(trail.handoff(&batches), handoff);
        assert_eq!(trail.times(&[], at(210)), None, "nothing was accepted");
    }

    #[test]
    fn a_relaxed_produce_has_visible_for_durable() {
        let arrival = Arrival {
            head: at(0),
            complete: at(0),
        };
        let times = trail(arrival, at(30))
            .times(&[produced(Path::Relaxed, 60)], at(70))
            .unwrap();
        assert_eq!((us(&times, Durable), us(&times, Stage::Visible)), (None, Some(0)));
    }

    #[test]
    fn waiting_for_records_is_not_finding_them() {
        let trail = ReadTrail {
            asked: at(100),
            waited_ns: 400_000,
            found: at(520),
        };
        let times = trail.times(at(530));
        assert_eq!([Wait, Find, Send].map(|s| us(&times, s)), [400, 20, 10].map(Some));
        let ledger = StageLedger::default();
        ledger.found(&trail);
        assert_eq!(
            (counted(&ledger, Wait), counted(&ledger, Find)),
            ((1, 400), (1, 20))
        );
    }

    #[test]
    fn one_completion_settles_every_batch_it_covers_and_no_other() {
        let (trace, ledger) = (Trace::default(), StageLedger::default());
        trace.expect(Offset::new(10), at(1));
        trace.expect(Offset::new(20), at(3));
        trace.expect(Offset::new(30), at(5));
        trace.settle(Offset::new(20), at(4), at(104), &ledger);
        assert_eq!(counted(&ledger, Submit), (2, 3 + 1));
        assert_eq!(counted(&ledger, Durable), (2, 200));
        assert!(trace.is_waiting());
        trace.settle(Offset::new(30), at(110), at(210), &ledger);
        assert!(!trace.is_waiting());
        assert_eq!(trace.settled(Offset::new(10), at(1)), (at(4), at(104)));
        assert_eq!(trace.settled(Offset::new(20), at(3)), (at(4), at(104)));
        assert_eq!(trace.settled(Offset::new(30), at(5)), (at(110), at(210)));
        assert_eq!(trace.settled(Offset::new(40), at(220)), (at(220), at(220)));
    }

    #[test]
    fn a_late_look_never_finds_a_settling_before_the_append() {
        let (trace, ledger) = (Trace::default(), StageLedger::default());
        for write in 1..=9 {
            trace.expect(Offset::new(write), at(write * 10));
            trace.settle(
                Offset::new(write),
                at(write * 10 + 1),
                at(write * 10 + 5),
                &ledger,
            );
        }
        // Forgotten: the oldest remembered write stands for it.
        assert_eq!(trace.settled(Offset::new(2), at(20)), (at(61), at(65)));
        // A batch sent again long after it was settled.
        assert_eq!(trace.settled(Offset::new(8), at(500)), (at(500), at(500)));
    }
}

//! One producer's connection: when to send what, and what became of it.
//!
//! Messages become due by the [`Schedule`] alone. A due message waits in its queue until its batch closes (full, or
//! `linger` after its first message was due) and the window has room; that wait is part of its response time, because the
//! intended time travels with it. Without a schedule (a closed loop) a full batch is due whenever the window has room.
//!
//! Messages without keys share one queue, and each batch goes to the next partition; messages with keys queue by
//! partition, and one request carries a batch for every partition that has a closed one.
//!
//! Bounds: `in_flight` requests, [`QUEUE_MAX`] materialised messages (others wait, due but unmade, in the schedule), one
//! request of at most the pool's slots.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::base::random::Random;
use crate::bench::payload::{KEYS, Message, Pool, Stamp};
use crate::bench::plan::LanePlan;
use crate::bench::record::Recorder;
use crate::bench::schedule::Schedule;
use crate::bench::spec::{Keys, RunSpec};
use crate::bench::verdict::LATE_NS;
use crate::bench::wire::{Acks, Batch, PartitionIndex, Ticket};

/// Due messages a lane keeps by their times; more of them stay in the schedule.
const QUEUE_MAX: usize = 64 * 1024;

/// The lane.
#[derive(Debug)]
pub(super) struct Lane {
    streams: Vec<Stream>,
    /// `None` for a closed loop.
    schedule: Option<Schedule>,
    /// First nanosecond in which nothing becomes due any more.
    end_ns: u64,
    /// Messages that may still be made; `u64::MAX` for no bound.
    left: u64,
    keys: Keys,
    random: Random,
    /// Of due messages: one for each stream, or one for all when there are no keys.
    queues: Vec<VecDeque<u64>>,
    /// Queues that hold something, the one that began to wait first in front.
    waiting: VecDeque<usize>,
    queued: usize,
    /// The stream that gets the next message (with keys) or batch (without).
    turn: usize,
    acks: Acks,
    linger_ns: u64,
    batch_messages: usize,
    message_bytes: u64,
    window: usize,
    window_opened_ns: u64,
    requests: VecDeque<Request>,
    in_flight: VecDeque<InFlight>,
    next_ticket: Ticket,
    /// Spent lists of intended times, for the next batches.
    spare: Vec<Vec<u64>>,
    chosen: Vec<Chosen>,
    /// When the worker has to look here again.
    pub(super) armed_ns: u64,
}

/// The messages of this lane to one partition.
#[derive(Debug)]
struct Stream {
    partition: PartitionIndex,
    number: u32,
    next_sequence: u64,
    acked: u64,
}

/// A batch about to be sent.
#[derive(Debug)]
struct Chosen {
    stream: usize,
    intended: Vec<u64>,
}

/// A batch that was sent.
#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    request: u64,
    stream: usize,
    sent_ns: u64,
    intended: Vec<u64>,
    /// The socket's [`queued`](super::socket::Socket::queued) behind it.
    until: u64,
}

/// Batches of one request that have no answer.
#[derive(Debug)]
struct Request {
    number: u64,
    unanswered: usize,
}

/// Whether there is something to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Readiness {
    /// A request is chosen.
    Chosen,
    /// Nothing before this time.
    Wait(u64),
    /// Nothing before an answer comes.
    WindowFull,
    /// Nothing ever again.
    Finished,
}

impl Lane {
    pub(super) fn new(spec: &RunSpec, plan: &LanePlan, number: usize, lanes: usize, end_ns: u64) -> Self {
        let mut random = Random::new(spec.seed, number as u64);
        let rate = spec.rate.per_second() * plan.share;
        let schedule = (!spec.rate.is_max())
            .then(|| Schedule::new(spec.arrival, rate, plan.phase, Random::new(random.next(), 1)));
        let streams: Vec<_> = plan
            .partitions
            .iter()
            .zip(plan.first_stream..)
            .map(|(partition, number)| Stream {
                partition: *partition,
                number: u32::try_from(number).unwrap_or(u32::MAX),
                next_sequence: 0,
                acked: 0,
            })
            .collect();
        let queues = match spec.keys {
            Keys::None => 1,
            Keys::RoundRobin | Keys::Random => streams.len(),
        };
        let left = match spec.messages {
            0 => u64::MAX,
            messages => share_of(messages, number, lanes),
        };
        Self {
            turn: number % streams.len().max(1),
            streams,
            schedule,
            end_ns,
            left,
            keys: spec.keys,
            random,
            queues: vec![VecDeque::new(); queues],
            waiting: VecDeque::new(),
            queued: 0,
            acks: spec.acks,
            linger_ns: u64::try_from(spec.linger.as_nanos()).unwrap_or(u64::MAX),
            batch_messages: spec.batch_messages(),
            message_bytes: spec.message_bytes() as u64,
            window: spec.in_flight,
            window_opened_ns: 0,
            requests: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_ticket: 0,
            spare: Vec::new(),
            chosen: Vec::new(),
            armed_ns: u64::MAX,
        }
    }

    /// The partitions it sends to.
    pub(super) fn partitions(&self) -> Vec<PartitionIndex> {
        self.streams.iter().map(|stream| stream.partition).collect()
    }

    /// Chooses the next request, of at most `slots` messages, if one is due and the window has room.
    pub(super) fn choose(&mut self, now_ns: u64, slots: usize) -> Readiness {
        if self.requests.len() >= self.window {
            return Readiness::WindowFull;
        }
        if self.schedule.is_some() {
            self.make_due(now_ns);
            self.choose_closed(now_ns, slots);
        } else {
            self.choose_full(now_ns, slots);
        }
        if !self.chosen.is_empty() {
            return Readiness::Chosen;
        }
        self.next_look(now_ns)
    }

    /// Moves what is due from the schedule to the queues.
    fn make_due(&mut self, now_ns: u64) {
        let Some(schedule) = &mut self.schedule else {
            return;
        };
        while schedule.peek() <= now_ns
            && schedule.peek() < self.end_ns
            && self.queued < QUEUE_MAX
            && self.left > 0
        {
            let queue = match self.keys {
                Keys::None => 0,
                Keys::RoundRobin => {
                    self.turn = (self.turn + 1) % self.streams.len();
                    self.turn
                }
                Keys::Random => self.random.below(self.streams.len()),
            };
            if self.queues[queue].is_empty() {
                self.waiting.push_back(queue);
            }
            self.queues[queue].push_back(schedule.take());
            self.queued += 1;
            self.left -= 1;
        }
    }

    /// Chooses one closed batch of each waiting queue, the oldest first.
    fn choose_closed(&mut self, now_ns: u64, slots: usize) {
        let mut room = slots;
        for _ in 0..self.waiting.len() {
            let Some(queue) = self.waiting.pop_front() else {
                break;
            };
            let count = self.queues[queue].len().min(self.batch_messages);
            let closed = count == self.batch_messages
                || self.queues[queue]
                    .front()
                    .is_some_and(|first| first.saturating_add(self.linger_ns) <= now_ns);
            // The first batch always goes: a request with nothing in it would never end.
            if !closed || (count > room && !self.chosen.is_empty()) {
                self.waiting.push_back(queue);
                continue;
            }
            let count = count.min(room.max(1));
            let mut intended = self.spare.pop().unwrap_or_default();
            intended.extend(self.queues[queue].drain(..count));
            if !self.queues[queue].is_empty() {
                self.waiting.push_back(queue);
            }
            self.queued -= count;
            room = room.saturating_sub(count);
            let stream = self.stream_of(queue);
            self.chosen.push(Chosen { stream, intended });
        }
    }

    /// Chooses a full batch, in a closed loop.
    fn choose_full(&mut self, now_ns: u64, slots: usize) {
        if now_ns >= self.end_ns || self.left == 0 {
            return;
        }
        let most = self.batch_messages.min(slots);
        let count = usize::try_from(self.left).map_or(most, |left| left.min(most));
        self.left -= count as u64;
        let mut intended = self.spare.pop().unwrap_or_default();
        intended.resize(count, now_ns);
        self.turn = (self.turn + 1) % self.streams.len();
        self.chosen.push(Chosen {
            stream: self.turn,
            intended,
        });
    }

    /// The stream a batch of `queue` goes to.
    fn stream_of(&mut self, queue: usize) -> usize {
        match self.keys {
            Keys::None => {
                self.turn = (self.turn + 1) % self.streams.len();
                self.turn
            }
            Keys::RoundRobin | Keys::Random => queue,
        }
    }

    /// When there may be something to choose, if the window has room then.
    fn next_look(&self, now_ns: u64) -> Readiness {
        let upcoming = self
            .schedule
            .as_ref()
            .filter(|schedule| schedule.peek() < self.end_ns && self.left > 0);
        let oldest = self.waiting.front().and_then(|queue| self.queues[*queue].front());
        let closes = oldest.map(|first| first.saturating_add(self.linger_ns));
        let due = upcoming.map(|schedule| {
            if self.linger_ns == 0 {
                return schedule.peek();
            }
            // A batch may fill before it has lingered: look when that would be at the mean rate.
            let missing = self.batch_messages.saturating_sub(self.queued + 1);
            let fills_ns = schedule.interval_ns() * missing as f64;
            let fills_ns = if fills_ns < self.linger_ns as f64 {
                whole(fills_ns)
            } else {
                self.linger_ns
            };
            schedule.peek().saturating_add(fills_ns)
        });
        match (closes, due) {
            (Some(closes), Some(due)) => Readiness::Wait(closes.min(due).max(now_ns)),
            (Some(one), None) | (None, Some(one)) => Readiness::Wait(one.max(now_ns)),
            (None, None) if self.in_flight.is_empty() => Readiness::Finished,
            (None, None) => Readiness::WindowFull,
        }
    }

    /// Makes the chosen request: stamps its messages in the pool and lends its batches to `encode`.
    pub(super) fn make(
        &mut self,
        run: u32,
        timestamp_ms: i64,
        pool: &mut Pool,
        encode: impl FnOnce(&[(Ticket, Batch<'_>)]),
    ) {
        let total: usize = self.chosen.iter().map(|one| one.intended.len()).sum();
        let first = pool.take(total);
        let mut slot = first;
        for chosen in &self.chosen {
            let stream = &self.streams[chosen.stream];
            for (sequence, intended) in (stream.next_sequence..).zip(&chosen.intended) {
                let stamp = Stamp {
                    run,
                    intended_ns: *intended,
                    producer: stream.number,
                    sequence,
                };
                pool.stamp(slot, &stamp);
                slot += 1;
            }
        }
        let mut messages = SmallVec::<[Message<'_>; 8]>::with_capacity(total);
        slot = first;
        for chosen in &self.chosen {
            let stream = &mut self.streams[chosen.stream];
            for _ in &chosen.intended {
                let key = match self.keys {
                    Keys::None => None,
                    Keys::RoundRobin | Keys::Random => {
                        Some(key_of(chosen.stream, self.queues.len(), stream.next_sequence))
                    }
                };
                messages.push(pool.message(slot, key));
                stream.next_sequence += 1;
                slot += 1;
            }
        }
        let mut rest = messages.as_slice();
        let mut batches = SmallVec::<[(Ticket, Batch<'_>); 4]>::with_capacity(self.chosen.len());
        for (ticket, chosen) in (self.next_ticket..).zip(&self.chosen) {
            let (mine, others) = rest.split_at(chosen.intended.len());
            rest = others;
            let batch = Batch {
                partition: self.streams[chosen.stream].partition,
                messages: mine,
                timestamp_ms,
            };
            batches.push((ticket, batch));
        }
        encode(&batches);
    }

    /// Notes that the chosen request is sent at `now`; its bytes end at `until`.
    pub(super) fn sent(&mut self, now_ns: u64, until: u64, recorder: &mut Recorder) {
        let number = self.next_ticket;
        self.requests.push_back(Request {
            number,
            unanswered: self.chosen.len(),
        });
        let mut sent = std::mem::take(&mut self.chosen);
        for chosen in sent.drain(..) {
            recorder.sent(&chosen.intended, now_ns);
            recorder.current.counts.late += self.late(&chosen.intended, now_ns);
            self.in_flight.push_back(InFlight {
                ticket: self.next_ticket,
                request: number,
                stream: chosen.stream,
                sent_ns: now_ns,
                intended: chosen.intended,
                until,
            });
            self.next_ticket += 1;
        }
        self.chosen = sent;
    }

    /// Messages the generator itself was late with: due (and lingered), the window open, and yet not sent.
    fn late(&self, intended: &[u64], now_ns: u64) -> u64 {
        if self.window_opened_ns.saturating_add(LATE_NS) >= now_ns {
            return 0;
        }
        let bound_ns = now_ns.saturating_sub(self.linger_ns.saturating_add(LATE_NS));
        intended.partition_point(|one| *one < bound_ns) as u64
    }

    /// Takes an acknowledgement. False if nobody waits for that ticket.
    pub(super) fn acked(
        &mut self,
        ticket: Ticket,
        stages: &[(&'static str, u32)],
        now_ns: u64,
        recorder: &mut Recorder,
    ) -> bool {
        let Some(batch) = self.settle(ticket, now_ns) else {
            return false;
        };
        let count = batch.intended.len() as u64;
        recorder.acked(&batch.intended, batch.sent_ns, now_ns);
        if let (false, Some(first)) = (stages.is_empty(), batch.intended.first()) {
            recorder.staged(stages, *first, count);
        }
        let counts = &mut recorder.current.counts;
        counts.acked += count;
        counts.acked_bytes += count * self.message_bytes;
        counts.batches += 1;
        recorder.acked_total += count;
        self.streams[batch.stream].acked += count;
        self.reuse(batch.intended);
        true
    }

    /// Takes a refusal. False if nobody waits for that ticket.
    pub(super) fn failed(&mut self, ticket: Ticket, now_ns: u64, recorder: &mut Recorder) -> bool {
        let Some(batch) = self.settle(ticket, now_ns) else {
            return false;
        };
        recorder.current.counts.errors += batch.intended.len() as u64;
        self.reuse(batch.intended);
        true
    }

    /// Without acknowledgements: takes what the kernel took for acknowledged. `handed` is the socket's.
    pub(super) fn handed(&mut self, handed: u64, now_ns: u64, recorder: &mut Recorder) {
        while self.acks == Acks::None {
            match self.in_flight.front() {
                Some(batch) if batch.until <= handed => {
                    let ticket = batch.ticket;
                    self.acked(ticket, &[], now_ns, recorder);
                }
                _ => return,
            }
        }
    }

    /// Takes a batch out of flight, and its request if it was the last of it.
    fn settle(&mut self, ticket: Ticket, now_ns: u64) -> Option<InFlight> {
        // Nearly always the first: most brokers answer in order.
        let at = self.in_flight.iter().position(|batch| batch.ticket == ticket)?;
        let batch = self.in_flight.remove(at)?;
        if let Some(at) = self
            .requests
            .iter()
            .position(|request| request.number == batch.request)
        {
            self.requests[at].unanswered -= 1;
            if self.requests[at].unanswered == 0 {
                if self.requests.len() == self.window {
                    self.window_opened_ns = now_ns;
                }
                self.requests.remove(at);
            }
        }
        Some(batch)
    }

    fn reuse(&mut self, mut intended: Vec<u64>) {
        intended.clear();
        self.spare.push(intended);
    }

    /// Whether everything it had to send is sent and answered.
    pub(super) fn is_finished(&self, now_ns: u64) -> bool {
        let nothing_due = match &self.schedule {
            Some(schedule) => schedule.peek() >= self.end_ns,
            None => now_ns >= self.end_ns,
        };
        self.in_flight.is_empty() && self.queued == 0 && (nothing_due || self.left == 0)
    }

    /// Records what still waits at the end with the time it has waited so far, and counts it.
    pub(super) fn give_up(&mut self, now_ns: u64, recorder: &mut Recorder) -> u64 {
        let mut count = 0;
        for batch in &self.in_flight {
            recorder.acked(&batch.intended, batch.sent_ns, now_ns);
            count += batch.intended.len() as u64;
        }
        self.make_due(now_ns);
        for queue in &mut self.queues {
            count += queue.len() as u64;
            for intended in queue.drain(..) {
                recorder.unsent(intended, now_ns);
            }
        }
        if let Some(schedule) = self.schedule.as_mut().filter(|_| self.left > 0) {
            while schedule.peek() < self.end_ns.min(now_ns) {
                recorder.unsent(schedule.take(), now_ns);
                count += 1;
            }
        }
        count
    }

    /// Acknowledged messages by stream number.
    pub(super) fn acked_by_stream(&self) -> impl Iterator<Item = (u32, u64)> {
        self.streams.iter().map(|stream| (stream.number, stream.acked))
    }
}

/// The key of message `sequence` of the partition that is number `slot` of `count`: keys belong to the partition that
/// their number names, divided by the count, so that each key stays in its partition.
fn key_of(slot: usize, count: usize, sequence: u64) -> usize {
    let of_partition = KEYS.div_ceil(count) as u64;
    let turn = usize::try_from(sequence % of_partition).expect("a remainder below the number of keys");
    slot + count * turn
}

/// The share of lane `number` in `messages`: shares differ by one at most and add up.
const fn share_of(messages: u64, number: usize, lanes: usize) -> u64 {
    let (number, lanes) = (number as u64, lanes as u64);
    messages / lanes + if number < messages % lanes { 1 } else { 0 }
}

/// A small distance, which is never negative, as whole nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller has compared it with a u64"
)]
const fn whole(ns: f64) -> u64 {
    ns as u64
}

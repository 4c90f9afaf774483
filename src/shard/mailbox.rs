//! Serving what other threads ask of this shard. One task receives; what must wait continues in a task of its own.

use super::append::Booked;
use super::partition::{Partition, RemoteWatch, WatchState};
use super::request::{Body, FrameBytes, Message, ProducePart};
use super::{Shard, count};
use crate::base::LogId;
use crate::base::hash::HashMap;
use crate::base::histogram::Histogram;
use crate::base::stages::Stage;
use crate::broker::cleaner::dirty_bytes;
use crate::runtime::clock::{self, Mono};
use crate::runtime::executor;
use crate::runtime::mesh::{Envelope, Peer};
use std::rc::Rc;

/// A shard's counters at one moment, for the control thread.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    /// Name and distribution of each latency in microseconds, in a fixed order.
    pub latencies: Vec<(&'static str, hdrhistogram::Histogram<u64>)>,
    /// The time of each stage, in the order of [`Stage::ALL`].
    pub stages: Vec<(Stage, Histogram)>,
    /// Name and value of each counter, in a fixed order.
    pub counters: Vec<(&'static str, u64)>,
    /// Partitions owned.
    pub partitions: u64,
    /// Partitions with damaged ranges.
    pub damaged_partitions: u64,
    /// Bytes of frames in segments.
    pub log_bytes: u64,
    /// Bytes of tail and cold buffers in use.
    pub arena_used_bytes: u64,
    /// Bytes of tail and cold buffers there are.
    pub arena_bytes: u64,
    /// Bytes of request memory in use.
    pub request_used_bytes: u64,
    /// Bytes of response memory in use.
    pub response_used_bytes: u64,
    /// Groups coordinated here, by Kafka's name of their state.
    pub group_states: Vec<(&'static str, u64)>,
}

pub(crate) fn start(shard: &Rc<Shard>) {
    let shard = Rc::clone(shard);
    executor::spawn(async move {
        loop {
            let received = shard.port.recv().await;
            match received.message {
                Envelope::Reply(message) => shard.calls.complete(message),
                Envelope::Request(message) => shard.serve(received.from, message),
            }
        }
    });
}

fn sum_of(partitions: &HashMap<LogId, Rc<Partition>>, value: impl Fn(&Partition) -> u64) -> u64 {
    partitions.values().map(|partition| value(partition)).sum()
}

fn compaction_dirty_bytes(partition: &Partition) -> u64 {
    if !partition.topic.borrow().settings.cleanup.compacts() {
        return 0;
    }
    dirty_bytes(&partition.log.borrow())
}

impl Shard {
    fn serve(self: &Rc<Self>, from: Peer, message: Message) {
        let call = message.call;
        match message.body {
            Body::Produce(frame, parts, parsed) => self.serve_produce(from, call, frame, parts, parsed),
            Body::Read(parts, limits) => {
                let shard = Rc::clone(self);
                executor::spawn(async move {
                    let reads = shard.read_parts(&parts, limits).await;
                    shard.reply(from, call, Body::ReadDone(reads));
                });
            }
            Body::Offsets(queries) => {
                let shard = Rc::clone(self);
                executor::spawn(async move {
                    let answers = shard.offset_queries(queries).await;
                    shard.reply(from, call, Body::OffsetsDone(answers));
                });
            }
            Body::Inspect(inspection) => {
                self.reply(from, call, Body::Inspected(self.inspect_here(inspection)));
            }
            Body::Trim(parts) => {
                let shard = Rc::clone(self);
                executor::spawn(async move {
                    let starts = shard.trim_parts(parts).await;
                    shard.reply(from, call, Body::Trimmed(starts));
                });
            }
            Body::Watch(id, parts) => {
                self.reply(from, call, Body::Ack);
                let remote = RemoteWatch {
                    outbox: Rc::downgrade(&self.outbox),
                    peer: from,
                    id,
                };
                let state = Rc::new(WatchState {
                    remote: Some(remote),
                    ..WatchState::default()
                });
                self.outbox.adopt(from, id, Rc::clone(&state));
                self.watch_parts(&parts, &state);
            }
            Body::Unwatch(ids) => {
                self.outbox.receive_forgotten(from, &ids);
                self.reply(from, call, Body::Ack);
            }
            Body::Fired(ids) => {
                self.outbox.receive_fired(&ids);
                self.reply(from, call, Body::Ack);
            }
            Body::SetImage(image) => {
                let shard = Rc::clone(self);
                // The swap itself is immediate; only closing deleted partitions waits, for their last writes.
                let closing = shard.swap_image(image);
                executor::spawn(async move {
                    shard.finish_closing(closing).await;
                    shard.reply(from, call, Body::Ack);
                });
            }
            Body::DiskFull(full) => {
                self.below_floor.set(full);
                self.pool.set_paused(full || self.without_room.get() > 0);
                self.reply(from, call, Body::Ack);
            }
            Body::Stats => self.reply(from, call, Body::StatsDone(Box::new(self.stats()))),
            Body::Drain(grace) => {
                let shard = Rc::clone(self);
                executor::spawn(async move {
                    shard.drain(grace).await;
                    shard.reply(from, call, Body::Ack);
                });
            }
            Body::Settle => {
                let shard = Rc::clone(self);
                executor::spawn(async move {
                    let ends = shard.settle().await;
                    shard.reply(from, call, Body::Settled(ends));
                });
            }
            Body::Group(call_there, log, group, request) => {
                self.reply(from, call, Body::Ack);
                self.ask_from(from, call_there, log, &group, *request);
            }
            Body::GroupAnswers(answers) => {
                self.receive_group_answers(answers);
                self.reply(from, call, Body::Ack);
            }
            Body::ListGroups => {
                let shard = Rc::clone(self);
                executor::spawn(async move {
                    let groups = shard.list_own_groups().await;
                    shard.reply(from, call, Body::GroupsListed(groups));
                });
            }
            Body::Numbers => self.reply(from, call, Body::NumbersDone(Box::new(self.numbers()))),
            Body::AppendTimes(asked) => {
                let shard = Rc::clone(self);
                executor::spawn(async move {
                    let times = shard.append_times(&asked).await;
                    shard.reply(from, call, Body::AppendTimesDone(times));
                });
            }
            body @ (Body::Produced(..)
            | Body::ReadDone(_)
            | Body::OffsetsDone(_)
            | Body::Inspected(_)
            | Body::Trimmed(_)
            | Body::Control(_)
            | Body::ControlDone(_)
            | Body::StatsDone(_)
            | Body::GroupsListed(_)
            | Body::NumbersDone(_)
            | Body::AppendTimesDone(_)
            | Body::Settled(_)
            | Body::Ack) => unreachable!("{body:?} is not a request to a shard"),
        }
    }

    fn reply(&self, to: Peer, call: u64, body: Body) {
        self.port.send_reply(to, Message { call, body });
        self.port.ring_doorbells();
    }

    /// Appends at once what memory allows, so that requests of one sender keep their order, then waits in a task.
    fn serve_produce(
        self: &Rc<Self>,
        from: Peer,
        call: u64,
        frame: FrameBytes,
        parts: Vec<ProducePart>,
        parsed: Mono,
    ) {
        count(&self.probe.hops, 1);
        let routed = clock::now();
        self.probe.stages.routed(parsed, routed, parts.len());
        let mut booked: Vec<Booked> = Vec::with_capacity(parts.len());
        let done = self.append_some(&frame, &parts, routed, &mut booked);
        let gate = (done < parts.len()).then(|| self.append_gate.acquire(1));
        let shard = Rc::clone(self);
        executor::spawn(async move {
            if let Some(gate) = gate {
                let gate = gate.await;
                shard
                    .append_rest(&frame, &parts[done..], routed, &mut booked)
                    .await;
                drop(gate);
            }
            let mut results = Vec::with_capacity(booked.len());
            for booked in booked {
                results.push(match booked {
                    Ok(ticket) => ticket.settle().await,
                    Err(error) => Err(error),
                });
            }
            shard.reply(from, call, Body::Produced(frame, results));
        });
    }

    fn stats(&self) -> ShardStats {
        let request_used = (self.request_budget.limit() - self.request_budget.available()) as u64;
        let used = |budget: &crate::runtime::local::Budget| (budget.limit() - budget.available()) as u64;
        let partitions = self.partitions.borrow();
        let probe = &self.probe;
        let groups = self.group_stats();
        ShardStats {
            latencies: vec![
                ("produce_latency", probe.produce_latency.snapshot()),
                ("log_write_latency", probe.write_latency.snapshot()),
            ],
            stages: probe.stages.snapshot(),
            counters: vec![
                ("connections_open", probe.connections_open.get()),
                ("connections_total", probe.connections_total.get()),
                ("connections_refused_total", probe.connections_refused.get()),
                ("requests_total", probe.requests_total.get()),
                ("native_requests_total", probe.native_requests.get()),
                ("native_pushes_total", probe.native_pushes.get()),
                ("produce_requests_total", probe.produce_requests.get()),
                ("fetch_requests_total", probe.fetch_requests.get()),
                ("request_errors_total", probe.request_errors.get()),
                ("records_produced_total", probe.records_produced.get()),
                ("bytes_produced_total", probe.bytes_produced.get()),
                ("bytes_fetched_total", probe.bytes_fetched.get()),
                ("log_writes_total", probe.writes.get()),
                ("cold_reads_total", probe.cold_reads.get()),
                ("shard_hops_total", probe.hops.get()),
                ("damaged_reads_total", probe.damaged_reads.get()),
                ("compaction_passes_total", probe.compaction_passes.get()),
                ("compaction_read_bytes_total", probe.compaction_read_bytes.get()),
                (
                    "compaction_written_bytes_total",
                    probe.compaction_written_bytes.get(),
                ),
                (
                    "compaction_removed_records_total",
                    probe.compaction_removed_records.get(),
                ),
                ("compaction_last_pass_ms", probe.compaction_last_ms.get()),
                (
                    "compaction_dirty_bytes",
                    sum_of(&partitions, compaction_dirty_bytes),
                ),
                (
                    "compaction_stopped_partitions",
                    sum_of(&partitions, |partition| partition.uncleanable.get().into()),
                ),
                (
                    "clock_doubt_seconds",
                    u64::try_from(self.calendar.get().ahead_ms() / 1000).unwrap_or(0),
                ),
                ("scrub_bytes_total", probe.scrub_bytes.get()),
                ("scrub_passes_total", probe.scrub_passes.get()),
                ("scrub_damaged_total", probe.scrub_damaged.get()),
                ("group_members", groups.members),
                ("group_offsets", groups.offsets),
                ("group_memory_bytes", groups.memory_bytes),
                ("group_rebalances_total", groups.counts.rebalances),
                ("offset_commits_total", groups.counts.commits),
                ("offsets_expired_total", groups.counts.expired),
                ("lost_group_partitions", groups.lost),
            ],
            group_states: groups.states.into_iter().collect(),
            partitions: partitions.len() as u64,
            damaged_partitions: partitions
                .values()
                .filter(|p| !p.log.borrow().damaged().is_empty())
                .count() as u64,
            log_bytes: partitions
                .values()
                .map(|partition| partition.log.borrow().size_bytes())
                .sum(),
            arena_used_bytes: self.arena.used_bytes() as u64,
            arena_bytes: self.arena.len_bytes() as u64,
            request_used_bytes: request_used,
            response_used_bytes: used(&self.response_budget),
        }
    }
}

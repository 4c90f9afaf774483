//! Appending batches to partitions of this shard, and waiting until they are safe.
//!
//! [`Shard::append_parts`] never waits while memory is there. When the tail buffers are full even after eviction,
//! appends queue in their order of arrival behind one that waits for writes to complete.

mod checked;

use super::partition::{Partition, stamp};
use super::request::{FrameBytes, ProduceError, ProducePart, Produced};
use super::stages::BatchStamps;
use super::{Shard, count};
use crate::base::stages::Path;
use crate::base::{LogId, Offset, Timestamp};
use crate::batch::{Encoding, TimestampType};
use crate::broker::producer_state::{self, SequenceError, Verdict};
use crate::runtime::clock::{self, Mono};
use crate::runtime::local::OneShot;
#[cfg(test)]
use crate::runtime::sim::{Bug, planted};
use crate::storage::log::{AppendError, Durability};
use checked::CheckedBatch;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// Chunks evicted at once when memory runs out, so that not every append pays the search.
const EVICT_CHUNKS: usize = 16;

/// A batch that was appended (now or before) and must become safe before it is acknowledged.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) partition: Rc<Partition>,
    base: Offset,
    pub(crate) end: Offset,
    /// Where the topic's records are stamped by the broker, this batch's stamp.
    append_time: Option<Timestamp>,
    pub(crate) origin: Origin,
    /// What its ack means: durable or relaxed.
    pub(crate) path: Path,
    pub(crate) routed: Mono,
    pub(crate) appended: Mono,
}

/// Who wants a batch appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Author {
    /// A client; refused while the disk is full.
    Client,
    /// The broker itself: what it must remember goes into the space that is kept free from clients.
    Broker,
}

/// Where a ticket's batch comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// Appended for this ticket.
    Appended,
    /// Appended before; its producer sent it again.
    Repeated,
}

/// What appending one part came to, before durability.
pub(crate) type Booked = Result<Ticket, ProduceError>;

impl Ticket {
    pub(crate) async fn settle(self) -> Result<Produced, ProduceError> {
        self.partition.settled(self.end).await?;
        let (submitted, settled) = match self.path {
            Path::Relaxed => (self.appended, self.appended),
            _ => self.partition.trace.settled(self.end, self.appended),
        };
        Ok(Produced {
            base_offset: self.base,
            log_start: self.partition.log.borrow().start(),
            append_time: self.append_time,
            stamps: BatchStamps {
                path: self.path,
                routed: self.routed,
                appended: self.appended,
                submitted,
                settled,
            },
        })
    }
}

/// The second stage of a produce: see [`Shard::produce`].
#[derive(Debug)]
pub struct PendingProduce {
    pub(crate) parsed: Mono,
    pub(crate) places: Vec<Place>,
    pub(crate) remote: Vec<OneShot<Vec<Result<Produced, ProduceError>>>>,
}

/// Where a part's result comes from, in the order of the request.
#[derive(Debug)]
pub(crate) enum Place {
    Local(Booked),
    Remote { call: usize },
}

impl PendingProduce {
    /// When the request was handed over, decoded and checked.
    #[must_use]
    pub fn parsed(&self) -> Mono {
        self.parsed
    }

    /// Waits until every part is as safe as its topic promises, or will not be. Results are in the order of the parts.
    pub async fn finish(self) -> Vec<Result<Produced, ProduceError>> {
        let mut remote = Vec::with_capacity(self.remote.len());
        let mut done = Vec::with_capacity(self.places.len());
        for place in self.places {
            match place {
                Place::Local(Ok(ticket)) => done.push(ticket.settle().await),
                Place::Local(Err(error)) => done.push(Err(error)),
                Place::Remote { call } => {
                    while remote.len() <= call {
                        remote.push(self.remote[remote.len()].take().await.into_iter());
                    }
                    // A reply has one result per part; a missing one means that the owner is stopping.
                    done.push(remote[call].next().unwrap_or(Err(ProduceError::Storage)));
                }
            }
        }
        done
    }
}

impl Shard {
    /// Appends `parts` of `frame`, all owned by this shard, in order; waits only for memory. They got here at `routed`.
    pub(crate) async fn append_parts(
        self: &Rc<Self>,
        frame: &FrameBytes,
        parts: &[ProducePart],
        routed: Mono,
    ) -> Vec<Booked> {
        let mut booked = Vec::with_capacity(parts.len());
        let done = self.append_some(frame, parts, routed, &mut booked);
        if done < parts.len() {
            let _gate = self.append_gate.acquire(1).await;
            self.append_rest(frame, &parts[done..], routed, &mut booked).await;
        }
        booked
    }

    /// The part of [`append_parts`](Self::append_parts) that needs no waiting: appends until memory is short or others wait
    /// for it already. Returns how many parts were dealt with.
    pub(crate) fn append_some(
        self: &Rc<Self>,
        frame: &FrameBytes,
        parts: &[ProducePart],
        routed: Mono,
        booked: &mut Vec<Booked>,
    ) -> usize {
        if self.append_gate.available() == 0 {
            return 0;
        }
        let before = booked.len();
        booked.extend(parts.iter().map_while(|part| self.append_one(frame, part)));
        // One reading of the clock for all: nothing else runs between the appends.
        self.probe.stages.appended(routed, &mut booked[before..]);
        booked.len() - before
    }

    /// Appends the rest of a request while holding the gate, waiting for memory as needed.
    pub(crate) async fn append_rest(
        self: &Rc<Self>,
        frame: &FrameBytes,
        parts: &[ProducePart],
        routed: Mono,
        booked: &mut Vec<Booked>,
    ) {
        for part in parts {
            let mut result = poll_fn(|cx| {
                if let Some(result) = self.append_one(frame, part) {
                    return Poll::Ready(result);
                }
                self.memory_freed.register(cx.waker());
                Poll::Pending
            })
            .await;
            self.probe
                .stages
                .appended(routed, std::slice::from_mut(&mut result));
            booked.push(result);
        }
    }

    /// Appends a batch of the broker's own, in Kafka's encoding; waits only for memory, in line with everybody else.
    pub(crate) async fn append_own(self: &Rc<Self>, log: LogId, batch: Vec<u8>) -> Booked {
        let part = ProducePart {
            log,
            batch: 0..batch.len(),
            encoding: Encoding::Kafka,
        };
        let frame = FrameBytes::new(batch);
        let append = || self.append_by(Author::Broker, &frame, &part);
        if self.append_gate.available() > 0
            && let Some(booked) = append()
        {
            return booked;
        }
        let _gate = self.append_gate.acquire(1).await;
        poll_fn(|cx| {
            if let Some(booked) = append() {
                return Poll::Ready(booked);
            }
            self.memory_freed.register(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Appends one batch of a client; `None` when there is no memory now.
    fn append_one(self: &Rc<Self>, frame: &FrameBytes, part: &ProducePart) -> Option<Booked> {
        self.append_by(Author::Client, frame, part)
    }

    fn append_by(self: &Rc<Self>, author: Author, frame: &FrameBytes, part: &ProducePart) -> Option<Booked> {
        if self.failed.get() || self.sealed.get() {
            return Some(Err(ProduceError::Storage));
        }
        let Some(partition) = self
            .partition(part.log)
            .filter(|partition| !partition.closed.get())
        else {
            return Some(Err(ProduceError::UnknownPartition));
        };
        let config = partition.log.borrow().config();
        let path = match config.durability {
            Durability::Durable => Path::Durable,
            Durability::Relaxed => Path::Relaxed,
        };
        let stamps = config.timestamp_type == TimestampType::LogAppendTime;
        let ticket = |base, end, timestamp, origin| Ticket {
            partition: Rc::clone(&partition),
            base,
            end,
            append_time: stamps.then_some(timestamp),
            origin,
            path,
            routed: Mono::default(),
            appended: Mono::default(),
        };
        let batch = CheckedBatch::of(&frame[part.batch.clone()], part.encoding);
        let now = clock::wall_ms();
        let record_count = batch.record_count();
        let producer = batch.producer().map(stamp);
        if let Some(producer) = producer {
            match partition.producers.borrow().check(producer, record_count) {
                Ok(Verdict::Append) => {}
                #[cfg(test)]
                Ok(Verdict::Duplicate { .. }) if planted(Bug::ForgetsSequences) => {}
                Ok(Verdict::Duplicate {
                    base_offset,
                    last_offset,
                    timestamp,
                }) => {
                    let end = last_offset.plus(1);
                    return Some(Ok(ticket(base_offset, end, timestamp, Origin::Repeated)));
                }
                Err(error) => return Some(Err(map_sequence(error))),
            }
        }
        if author == Author::Client && (self.below_floor.get() || self.without_room.get() > 0) {
            return Some(Err(ProduceError::DiskFull));
        }
        let appended = loop {
            let producers = || partition.producers.borrow().encode();
            let appended = batch.append(&mut partition.log.borrow_mut(), now, &self.arena, producers);
            match appended {
                Ok(appended) => break appended,
                Err(AppendError::NoMemory) if self.evict(EVICT_CHUNKS) > 0 => {}
                Err(AppendError::NoMemory) => return None,
            }
        };
        if let Some(producer) = producer {
            let placement = producer_state::Placement {
                base_offset: appended.base,
                last_offset: Offset::new(appended.end.get() - 1),
                timestamp: if stamps { now } else { batch.max_timestamp() },
            };
            let mut producers = partition.producers.borrow_mut();
            let known = producers.len();
            producers.record(producer, record_count, placement, now);
            let is_new = producers.len() > known;
            drop(producers);
            if is_new {
                self.note_producer();
            }
        }
        if author == Author::Client {
            count(&self.probe.records_produced, u64::from(record_count));
            count(&self.probe.bytes_produced, batch.total_bytes());
        }
        self.note_cached(&partition);
        if path == Path::Relaxed {
            self.note_dirty(&partition, u64::from(record_count));
            self.published(&partition);
        }
        self.drive(&partition);
        Some(Ok(ticket(appended.base, appended.end, now, Origin::Appended)))
    }

    /// Remembers that a partition holds cached bytes.
    fn note_cached(&self, partition: &Rc<Partition>) {
        if !partition.in_cache_list.replace(true) {
            self.cached.borrow_mut().push_back(Rc::clone(partition));
        }
    }

    /// Frees up to `chunks` cached chunks, round robin over the partitions that hold any; returns how many. Each is looked
    /// at once at most, so a shard full of unwritten bytes does not spin.
    pub(crate) fn evict(&self, chunks: usize) -> usize {
        let mut freed = self.cold.evict(chunks);
        let mut cached = self.cached.borrow_mut();
        for _ in 0..cached.len() {
            if freed >= chunks {
                break;
            }
            let Some(partition) = cached.pop_front() else {
                break;
            };
            let mut log = partition.log.borrow_mut();
            if log.evict() {
                freed += 1;
            }
            let keeps = log.segments().any(|segment| !segment.chain.is_empty());
            drop(log);
            if keeps {
                cached.push_back(partition);
            } else {
                partition.in_cache_list.set(false);
            }
        }
        freed
    }

    /// Drops a partition from the lists that would keep it alive.
    pub(crate) fn forget_lists(&self, log: LogId) {
        self.cached.borrow_mut().retain(|partition| partition.id != log);
        self.dirty.borrow_mut().retain(|partition| partition.id != log);
    }
}

fn map_sequence(error: SequenceError) -> ProduceError {
    match error {
        SequenceError::InvalidProducerEpoch { .. } => ProduceError::InvalidProducerEpoch,
        SequenceError::OutOfOrderSequence { .. } => ProduceError::OutOfOrderSequence,
    }
}

//! What the doors call: requests over partitions wherever they live.
//!
//! Parts owned here are served at once; for every other owner one message leaves with all of its parts, and the answers are
//! put back in the order of the request. When all parts are local, which is the rule for clients that follow the
//! advertised leaders, nothing is sent and nothing is reordered.

use super::append::{PendingProduce, Place};
use super::partition::WatchState;
use super::request::{
    Body, ControlError, ControlReply, ControlRequest, FrameBytes, Message, OffsetAnswer, OffsetQuery,
    PartRead, ProduceError, ProducePart, Produced, ProducerIdResult, ReadFailure, ReadLimits, ReadPart,
    TrimError,
};
use super::watch::{RemoteHold, Watch};
use super::{Shard, count};
use crate::base::hash::HashMap;
use crate::base::{LogId, Offset, ProducerId, ShardId};
use crate::runtime::local::OneShot;
use crate::runtime::mesh::Peer;
use crate::runtime::{clock, executor};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Calls to other threads that wait for their replies.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Waiting>>,
}

#[derive(Debug)]
enum Waiting {
    Reply(OneShot<Body>),
    Produced(OneShot<Vec<Result<Produced, ProduceError>>>),
}

impl Calls {
    fn open(&self, waiting: Waiting) -> u64 {
        let call = self.next.get() + 1;
        self.next.set(call);
        self.waiting.borrow_mut().insert(call, waiting);
        call
    }

    /// A reply arrived.
    pub(crate) fn complete(&self, message: Message) {
        let waiting = self.waiting.borrow_mut().remove(&message.call);
        match (waiting, message.body) {
            // The frame comes home with its reply and is dropped here, by the shard that allocated it.
            (Some(Waiting::Produced(slot)), Body::Produced(_frame, results)) => slot.set(results),
            (Some(Waiting::Reply(slot)), body) => slot.set(body),
            // Acks of one-way messages carry call 0 and wake nobody.
            (Some(Waiting::Produced(slot)), _) => slot.set(Vec::new()),
            (None, _) => {}
        }
    }
}

/// Items of one owner, with their places in the request.
pub(crate) struct Group<T> {
    pub(crate) owner: ShardId,
    pub(crate) places: Vec<usize>,
    pub(crate) items: Vec<T>,
}

/// Groups items by owner. Requests name few owners, so a linear search beats a map.
pub(crate) fn group<T>(items: impl IntoIterator<Item = T>, owner: impl Fn(&T) -> ShardId) -> Vec<Group<T>> {
    let mut groups: Vec<Group<T>> = Vec::new();
    for (place, item) in items.into_iter().enumerate() {
        let to = owner(&item);
        match groups.iter_mut().find(|group| group.owner == to) {
            Some(group) => {
                group.places.push(place);
                group.items.push(item);
            }
            None => groups.push(Group {
                owner: to,
                places: vec![place],
                items: vec![item],
            }),
        }
    }
    groups
}

impl Shard {
    /// Stage one of a produce: when this returns, every part is appended here or in the ring of its owner, in order.
    /// Stage two is [`PendingProduce::finish`].
    pub async fn produce(self: &Rc<Self>, frame: FrameBytes, parts: Vec<ProducePart>) -> PendingProduce {
        let parsed = clock::now();
        if parts.iter().all(|part| self.owner_of(part.log) == self.id) {
            self.probe.stages.routed(parsed, parsed, parts.len());
            let booked = self.append_parts(&frame, &parts, parsed).await;
            return PendingProduce {
                parsed,
                places: booked.into_iter().map(Place::Local).collect(),
                remote: Vec::new(),
            };
        }
        let mut places: Vec<Option<Place>> = parts.iter().map(|_| None).collect();
        let mut remote = Vec::new();
        for group in group(parts, |part| self.owner_of(part.log)) {
            if group.owner == self.id {
                self.probe.stages.routed(parsed, parsed, group.items.len());
                let booked = self.append_parts(&frame, &group.items, parsed).await;
                for (place, booked) in group.places.into_iter().zip(booked) {
                    places[place] = Some(Place::Local(booked));
                }
                continue;
            }
            for place in group.places {
                places[place] = Some(Place::Remote { call: remote.len() });
            }
            let slot = OneShot::default();
            let credit = self.port.credit(peer(group.owner)).await;
            let call = self.calls.open(Waiting::Produced(slot.clone()));
            let body = Body::Produce(FrameBytes::clone(&frame), group.items, parsed);
            count(&self.probe.hops, 1);
            self.port.send_request(credit, Message { call, body });
            remote.push(slot);
        }
        self.port.ring_doorbells();
        PendingProduce {
            parsed,
            places: places.into_iter().flatten().collect(),
            remote,
        }
    }

    /// Sends one request and waits for its reply.
    pub(crate) async fn call(&self, to: Peer, body: Body) -> Body {
        let slot = OneShot::default();
        let credit = self.port.credit(to).await;
        let call = self.calls.open(Waiting::Reply(slot.clone()));
        count(&self.probe.hops, 1);
        self.port.send_request(credit, Message { call, body });
        self.port.ring_doorbells();
        slot.take().await
    }

    /// Reads partitions wherever they live; results are in the order of `parts`.
    pub async fn read(self: &Rc<Self>, parts: Vec<ReadPart>, limits: ReadLimits) -> Vec<PartRead> {
        if parts.iter().all(|part| self.owner_of(part.log) == self.id) {
            return self.read_parts(&parts, limits).await;
        }
        let mut left = limits;
        let mut done: Vec<Option<PartRead>> = parts.iter().map(|_| None).collect();
        // One owner after another, so that the bound over all parts holds; owners are few.
        for group in group(parts, |part| self.owner_of(part.log)) {
            let reads = if group.owner == self.id {
                self.read_parts(&group.items, left).await
            } else {
                match self.call(peer(group.owner), Body::Read(group.items, left)).await {
                    Body::ReadDone(reads) => reads,
                    _ => Vec::new(),
                }
            };
            for (place, read) in group.places.into_iter().zip(reads) {
                let bytes = read.records.as_ref().map_or(0, Vec::len);
                left.max_bytes = left.max_bytes.saturating_sub(bytes);
                left.oversized_first &= bytes == 0;
                done[place] = Some(read);
            }
        }
        let missing = || PartRead {
            records: Err(ReadFailure::UnknownPartition),
            next: Offset::ZERO,
            bounds: None,
            diverging: None,
        };
        done.into_iter()
            .map(|read| read.unwrap_or_else(missing))
            .collect()
    }

    /// Watches partitions wherever they live, each for growth beyond its offset.
    pub async fn watch(self: &Rc<Self>, parts: &[(LogId, Offset)]) -> Watch {
        let state = Rc::new(WatchState::default());
        let mut hold: Option<RemoteHold> = None;
        for group in group(parts.iter().copied(), |(log, _)| self.owner_of(*log)) {
            if group.owner == self.id {
                self.watch_parts(&group.items, &state);
                continue;
            }
            let to = peer(group.owner);
            let hold = hold.get_or_insert_with(|| RemoteHold {
                id: self.outbox.hold(&state),
                peers: Vec::new(),
                outbox: Rc::clone(&self.outbox),
            });
            hold.peers.push(to);
            let id = hold.id;
            let credit = self.port.credit(to).await;
            count(&self.probe.hops, 1);
            self.port.send_request(
                credit,
                Message {
                    call: 0,
                    body: Body::Watch(id, group.items),
                },
            );
        }
        self.port.ring_doorbells();
        Watch { state, remote: hold }
    }

    /// Registers `state` with partitions of this shard, firing it at once if there is something to see.
    pub(crate) fn watch_parts(&self, parts: &[(LogId, Offset)], state: &Rc<WatchState>) {
        for (log, offset) in parts {
            match self
                .partition(*log)
                .filter(|partition| !partition.closed.get() && !partition.failed.get())
            {
                Some(partition) if partition.log.borrow().visible() <= *offset => partition.watch(state),
                _ => state.fire(),
            }
        }
    }

    /// Answers queries about partitions wherever they live, in the order asked.
    pub async fn offsets(
        self: &Rc<Self>,
        queries: Vec<(LogId, OffsetQuery)>,
    ) -> Vec<Result<OffsetAnswer, ReadFailure>> {
        let mut done: Vec<_> = queries
            .iter()
            .map(|_| Err(ReadFailure::UnknownPartition))
            .collect();
        for group in group(queries, |(log, _)| self.owner_of(*log)) {
            let answers = if group.owner == self.id {
                self.offset_queries(group.items).await
            } else {
                match self.call(peer(group.owner), Body::Offsets(group.items)).await {
                    Body::OffsetsDone(answers) => answers,
                    _ => Vec::new(),
                }
            };
            for (place, answer) in group.places.into_iter().zip(answers) {
                done[place] = answer;
            }
        }
        done
    }

    pub(crate) async fn offset_queries(
        self: &Rc<Self>,
        queries: Vec<(LogId, OffsetQuery)>,
    ) -> Vec<Result<OffsetAnswer, ReadFailure>> {
        let mut answers = Vec::with_capacity(queries.len());
        for (log, query) in queries {
            if matches!(query, OffsetQuery::AtTime(_) | OffsetQuery::MaxTimestamp) {
                // A search reads and may decompress: others get their turn before it.
                executor::yield_now().await;
            }
            answers.push(self.offset_query(log, query).await);
        }
        answers
    }

    /// Moves the starts of logs wherever they live, each to its offset or, without one, to its high watermark: records
    /// below are gone for good when this returns. Gives where each starts now, in the order asked.
    pub async fn trim(
        self: &Rc<Self>,
        parts: Vec<(LogId, Option<Offset>)>,
    ) -> Vec<Result<Offset, TrimError>> {
        let mut done: Vec<_> = parts.iter().map(|_| Err(TrimError::UnknownPartition)).collect();
        for group in group(parts, |(log, _)| self.owner_of(*log)) {
            let starts = if group.owner == self.id {
                self.trim_parts(group.items).await
            } else {
                match self.call(peer(group.owner), Body::Trim(group.items)).await {
                    Body::Trimmed(starts) => starts,
                    _ => Vec::new(),
                }
            };
            for (place, start) in group.places.into_iter().zip(starts) {
                done[place] = start;
            }
        }
        done
    }

    /// Asks the control thread for a change; when it is answered, every shard has the new metadata.
    ///
    /// # Errors
    /// The control thread's, or that it is stopping.
    pub async fn control(self: &Rc<Self>, request: ControlRequest) -> Result<ControlReply, ControlError> {
        match self.call(self.control_peer(), Body::Control(request)).await {
            Body::ControlDone(result) => result,
            _ => Err(ControlError::Stopping),
        }
    }

    /// A producer id nobody had before.
    ///
    /// # Errors
    /// As [`control`](Self::control): ids come from it in blocks.
    pub async fn next_producer_id(self: &Rc<Self>) -> ProducerIdResult {
        loop {
            let next = self.producer_ids.borrow_mut().next();
            if let Some(id) = next {
                return Ok(ProducerId::new(id));
            }
            if let ControlReply::ProducerIds(block) = self.control(ControlRequest::ProducerIds).await? {
                // Another task may have refilled meanwhile; its leftover ids are simply not used.
                *self.producer_ids.borrow_mut() = block;
            }
        }
    }
}

pub(crate) fn peer(shard: ShardId) -> Peer {
    Peer::new(shard.get())
}

//! A broker in memory for the tests of the machines: frames in, frames out, no sockets, time by hand.
//!
//! It keeps the rules that matter to a client: producers are known by their last five batches in each partition, a batch
//! that does not follow is refused, answers leave in order. Faults are scripted and hit the next produce frame.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::drive::Machine;
use super::link::Link;
use crate::base::{LogId, Offset, PartitionId, ProducerEpoch, ProducerId, TopicId};
use crate::batch::ProducerInfo;
use crate::protocol::native::batches::Batch;
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::{FRAME_BYTES_MAX, Frame, Inbox, Kind, VERSION};
use crate::protocol::native::messages::{
    Acks, Metadata, MetadataAnswer, NodeInfo, Produce, Produced, ProducedEntry, ProducerReady, TopicInfo,
    Welcome, WelcomeHead,
};

/// What happens to the next produce frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection breaks in front of it.
    LoseRequest,
    /// The connection breaks behind it: it was carried out, nobody hears of it.
    LoseAnswer,
    /// Its first batch is refused.
    Refuse(ErrorCode),
}

/// See the module.
pub(super) struct Peer {
    pub(super) partitions: u32,
    pub(super) faults: VecDeque<Option<Fault>>,
    pub(super) produce_frames: usize,
    logs: BTreeMap<u32, Vec<String>>,
    known: BTreeMap<(u32, i64), VecDeque<(i32, u32, u64)>>,
    ids: i64,
    inboxes: BTreeMap<usize, Inbox>,
}

/// The topic it has.
pub(super) const TOPIC: &str = "t";
const ID: TopicId = TopicId::new([7; 16]);
const REMEMBERED: usize = 5;

impl Peer {
    pub(super) fn new(partitions: u32) -> Self {
        Self {
            partitions,
            faults: VecDeque::new(),
            produce_frames: 0,
            logs: BTreeMap::new(),
            known: BTreeMap::new(),
            ids: 0,
            inboxes: BTreeMap::new(),
        }
    }

    /// The values in a partition, in order.
    pub(super) fn values(&self, partition: u32) -> &[String] {
        self.logs.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// Drives `machine` against this broker until `done`, letting time pass only when nothing else happens.
    pub(super) fn drive<M: Machine, T>(
        &mut self,
        machine: &mut M,
        now: &mut Instant,
        mut done: impl FnMut(&mut M, Instant) -> Option<T>,
    ) -> T {
        for _ in 0..ROUNDS_MAX {
            machine.advance(*now);
            if let Some(done) = done(machine, *now) {
                return done;
            }
            if !self.serve(machine, *now) {
                let wake = machine.wake().map_or(*now, |wake| wake.max(*now));
                *now = wake.max(*now + Duration::from_micros(100));
            }
        }
        panic!("the machine did not come to an end");
    }

    /// One exchange of bytes; whether there was any.
    pub(super) fn serve<M: Machine>(&mut self, machine: &mut M, now: Instant) -> bool {
        let config = std::sync::Arc::clone(machine.cluster().config());
        let mut busy = false;
        for (at, link) in machine.cluster().links().iter_mut().enumerate() {
            if link.call_now(&config, now).is_some() {
                link.connected(&config);
                self.inboxes.insert(at, Inbox::new(FRAME_BYTES_MAX));
                busy = true;
            }
            let output = link.output().to_vec();
            if output.is_empty() {
                continue;
            }
            busy = true;
            link.wrote(output.len());
            let mut inbox = self.inboxes.remove(&at).expect("a connection that was made");
            inbox.spare(output.len())[..output.len()].copy_from_slice(&output);
            inbox.filled(output.len());
            let mut answers = Vec::new();
            while let Some(frame) = inbox.next().expect("clients send whole frames") {
                if !self.answer(&frame, &mut answers) {
                    link.fail("the peer broke it", now);
                    break;
                }
            }
            self.inboxes.insert(at, inbox);
            if link.has_socket() {
                receive(link, &answers);
            }
        }
        busy
    }

    /// Answers one frame; `false` breaks the connection.
    fn answer(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> bool {
        let correlation = frame.head.correlation;
        match frame.head.kind {
            Kind::Hello => welcome().encode(out, correlation).unwrap(),
            Kind::Metadata => self.describe(frame, out),
            Kind::InitProducer => {
                self.ids += 1;
                let ready = ProducerReady {
                    id: ProducerId::new(self.ids),
                    epoch: ProducerEpoch::ZERO,
                };
                ready.encode(out, correlation).unwrap();
            }
            Kind::Produce => return self.produce(frame, out),
            other => panic!("the peer does not answer {other:?}"),
        }
        true
    }

    fn describe(&self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let Metadata::Named(names) = Metadata::decode(frame).unwrap() else {
            panic!("machines name their topics");
        };
        let node = NodeInfo {
            id: 0,
            host: "peer",
            port: 1,
        };
        let topics = names.into_iter().map(|name| TopicInfo {
            name,
            id: ID,
            error: (name != TOPIC).then_some(ErrorCode::UnknownTopic),
            max_batch_bytes: 1 << 20,
            relaxed: false,
            leaders: vec![0; self.partitions as usize],
        });
        let answer = MetadataAnswer {
            nodes: vec![node],
            topics: topics.collect(),
        };
        answer.encode(out, frame.head.correlation).unwrap();
    }

    fn produce(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> bool {
        self.produce_frames += 1;
        let fault = self.faults.pop_front().flatten();
        if fault == Some(Fault::LoseRequest) {
            return false;
        }
        let request = Produce::decode(frame).unwrap();
        let mut entries = Vec::new();
        for (at, batch) in request.batches.clone().enumerate() {
            entries.push(match fault {
                Some(Fault::Refuse(code)) if at == 0 => ProducedEntry::refused(code),
                _ => self.append(&batch.unwrap()),
            });
        }
        assert_eq!(entries.len(), request.batch_count as usize);
        if fault == Some(Fault::LoseAnswer) {
            return false;
        }
        if request.acks == Acks::Durable {
            Produced::encode(out, frame.head.correlation, entries.into_iter(), None).unwrap();
        }
        true
    }

    fn append(&mut self, batch: &Batch<'_>) -> ProducedEntry {
        let header = batch.header;
        batch.verify().unwrap();
        let partition = header.log.partition.get();
        assert_eq!(
            header.log,
            LogId {
                topic: ID,
                partition: PartitionId::new(partition)
            }
        );
        let log = self.logs.entry(partition).or_default();
        let base_offset = log.len() as u64;
        if let Some(ProducerInfo {
            id, base_sequence, ..
        }) = header.producer
        {
            let known = self.known.entry((partition, id.get())).or_default();
            let same = |(first, count, _): &&(i32, u32, u64)| {
                *first == base_sequence && *count == header.record_count
            };
            if let Some((_, _, offset)) = known.iter().find(same) {
                return ProducedEntry::safe(Offset::new(*offset), Offset::ZERO);
            }
            if let Some((first, count, _)) = known.back()
                && i64::from(*first) + i64::from(*count) != i64::from(base_sequence)
            {
                return ProducedEntry::refused(ErrorCode::OutOfOrderSequence);
            }
            known.push_back((base_sequence, header.record_count, base_offset));
            if known.len() > REMEMBERED {
                known.pop_front();
            }
        }
        let payload = crate::batch::records::aligned_copy(batch.payload);
        let view = crate::batch::RecordsView::parse(&payload).unwrap();
        log.extend(
            view.iter()
                .map(|record| String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned()),
        );
        ProducedEntry::safe(Offset::new(base_offset), Offset::ZERO)
    }
}

fn receive(link: &mut Link, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let room = link.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        link.received(count);
        bytes = &bytes[count..];
    }
}

fn welcome() -> Welcome<'static> {
    let head = WelcomeHead {
        credit_bytes_max: 1 << 30,
        max_frame_bytes: 1 << 24,
        in_flight_max: 64,
        subscriptions_max: 64,
        produce_batches_max: 100,
        version: VERSION,
        ..WelcomeHead::default()
    };
    Welcome { head, name: "peer" }
}

/// Turns after which a machine is taken to spin.
const ROUNDS_MAX: usize = 200_000;

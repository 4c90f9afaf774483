//! A producer's side of a Kafka connection: versions, an id if it is idempotent, then produce requests in a pipeline.
//!
//! Answers come in the order of the requests (the protocol's rule), so the requests in flight are a queue and each answer
//! belongs to its front. Sequences are counted by partition for this connection, which is a producer of its own.

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use super::encode::{Head, Part, Sequence, produce};
use super::handshake::{Versions, append, ask_versions, broken, check, expect, frame, name_of};
use crate::base::stages::StageTimes;
use crate::bench::wire::{
    Acks, Batch, Broken, Conversation, Event, Layout, PartitionHome, PartitionIndex, ProduceOptions, Ticket,
    stage_list,
};
use crate::protocol::kafka::api::ApiKey;
use crate::protocol::kafka::messages::{
    InitProducerIdRequest, InitProducerIdResponse, Message as _, ProduceResponse,
};

/// How long the broker may wait for its replicas; as long as Kafka's clients let it.
const TIMEOUT_MS: i32 = 30_000;

/// The conversation.
#[derive(Debug)]
pub(super) struct Producer {
    homes: Vec<PartitionHome>,
    options: ProduceOptions,
    state: State,
    versions: Versions,
    produce_version: i16,
    /// Id and epoch, if it is idempotent.
    identity: Option<(i64, i16)>,
    next_sequence: HashMap<PartitionIndex, i32>,
    correlation_id: i32,
    in_flight: VecDeque<Asked>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Waiting for the broker's versions.
    Greeting,
    /// Waiting for an id.
    Identifying,
    /// Producing.
    Open,
}

/// A request that has no answer.
#[derive(Debug)]
struct Asked {
    correlation_id: i32,
    /// Its batches.
    batches: SmallVec<[(PartitionIndex, Ticket); 1]>,
}

impl Producer {
    pub(super) fn new(layout: &Layout, options: ProduceOptions) -> Self {
        Self {
            homes: layout.partitions.clone(),
            options,
            state: State::Greeting,
            versions: Versions::default(),
            produce_version: 0,
            identity: None,
            next_sequence: HashMap::new(),
            correlation_id: 0,
            in_flight: VecDeque::new(),
        }
    }

    fn greeted(
        &mut self,
        frame: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        self.versions = Versions::read(expect(frame, ApiKey::ApiVersions, 0, self.correlation_id)?)?;
        self.produce_version = self.versions.of(ApiKey::Produce)?;
        if !self.options.idempotent {
            self.state = State::Open;
            events(Event::Ready);
            return Ok(());
        }
        self.state = State::Identifying;
        self.correlation_id += 1;
        let request = InitProducerIdRequest {
            transaction_timeout_ms: TIMEOUT_MS,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        append(
            request,
            self.versions.of(ApiKey::InitProducerId)?,
            self.correlation_id,
            out,
        )
    }

    fn identified(&mut self, frame: &[u8], events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        let version = self.versions.of(ApiKey::InitProducerId)?;
        let body = expect(frame, ApiKey::InitProducerId, version, self.correlation_id)?;
        let answer = InitProducerIdResponse::decode(body, version).map_err(broken)?;
        check("InitProducerId", answer.error_code)?;
        self.identity = Some((answer.producer_id, answer.producer_epoch));
        self.state = State::Open;
        events(Event::Ready);
        Ok(())
    }

    fn answered(&mut self, frame: &[u8], events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        let mut asked = self
            .in_flight
            .pop_front()
            .ok_or_else(|| Broken("an answer to no request".to_owned()))?;
        let body = expect(frame, ApiKey::Produce, self.produce_version, asked.correlation_id)?;
        let answer = ProduceResponse::decode(body, self.produce_version).map_err(broken)?;
        let stages = stage_list(answer.stages.as_ref());
        for topic in &answer.responses {
            for outcome in &topic.partition_responses {
                let at = asked.batches.iter().position(|(index, _)| {
                    let home = &self.homes[index.0];
                    i64::from(home.partition) == i64::from(outcome.index) && home.topic == topic.name
                });
                let Some(at) = at else {
                    return Err(Broken(format!(
                        "an answer for {}-{}, which was not asked",
                        topic.name, outcome.index
                    )));
                };
                let (_, ticket) = asked.batches.swap_remove(at);
                if outcome.error_code == 0 {
                    events(Event::Acked {
                        ticket,
                        stages: &stages,
                    });
                } else {
                    let reason = name_of(outcome.error_code);
                    events(Event::Failed { ticket, reason });
                }
            }
        }
        if asked.batches.is_empty() {
            Ok(())
        } else {
            Err(Broken("an answer that leaves out a partition".to_owned()))
        }
    }
}

/// The sequences a batch of `count` messages takes: Kafka's wrap from `i32::MAX` to 0.
fn take_sequence(next: &mut i32, count: usize) -> i32 {
    let base = *next;
    let count = i32::try_from(count).expect("a batch is far below 2 GiB");
    *next = base.wrapping_add(count) & i32::MAX;
    base
}

impl Conversation for Producer {
    fn open(&mut self, out: &mut Vec<u8>, _events: &mut dyn FnMut(Event<'_>)) {
        ask_versions(self.correlation_id, out);
    }

    fn produce(&mut self, ticket: Ticket, batch: &Batch<'_>, out: &mut Vec<u8>) {
        self.produce_group(&[(ticket, *batch)], out);
    }

    fn produce_group(&mut self, batches: &[(Ticket, Batch<'_>)], out: &mut Vec<u8>) {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let Self {
            homes,
            identity,
            next_sequence,
            ..
        } = self;
        let mut parts: SmallVec<[Part<'_>; 1]> = batches
            .iter()
            .map(|(_, batch)| {
                let home = &homes[batch.partition.0];
                let sequence = identity.map_or(Sequence::NONE, |(producer_id, epoch)| Sequence {
                    producer_id,
                    epoch,
                    base: take_sequence(
                        next_sequence.entry(batch.partition).or_insert(0),
                        batch.messages.len(),
                    ),
                });
                Part {
                    topic: &home.topic,
                    partition: home.partition,
                    batch: *batch,
                    sequence,
                }
            })
            .collect();
        // A request names each topic once; the layout has the partitions of a topic together.
        parts.sort_by_key(|part| part.batch.partition);
        let head = Head {
            version: self.produce_version,
            correlation_id: self.correlation_id,
            acks: match self.options.acks {
                Acks::None => 0,
                Acks::All => -1,
            },
            timeout_ms: TIMEOUT_MS,
            stages_layout: if self.options.stages {
                StageTimes::LAYOUT
            } else {
                0
            },
        };
        produce(&head, &parts, out);
        if self.options.acks == Acks::All {
            self.in_flight.push_back(Asked {
                correlation_id: self.correlation_id,
                batches: batches
                    .iter()
                    .map(|(ticket, batch)| (batch.partition, *ticket))
                    .collect(),
            });
        }
    }

    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some(frame) = frame(&input[used..])? {
            match self.state {
                State::Greeting => self.greeted(frame, out, events)?,
                State::Identifying => self.identified(frame, events)?,
                State::Open => self.answered(frame, events)?,
            }
            used += size_of::<i32>() + frame.len();
        }
        Ok(used)
    }
}

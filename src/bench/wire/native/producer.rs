//! A producer's side of a native connection: greeting, an id if it is idempotent, then produce frames in a pipeline.
//!
//! A frame's correlation is the ticket of its first batch; its other batches have the tickets that follow. Answers leave
//! the broker in the order of the requests.

use std::collections::{HashMap, VecDeque};

use super::expect;
use super::greeting::{Greeting, broken, frame, hello};
use crate::base::{LogId, Timestamp};
use crate::batch::{ProducerInfo, RecordsBuilder};
use crate::bench::wire::{
    Acks, Batch, Broken, Conversation, Event, Layout, PartitionIndex, ProduceOptions, Ticket, stage_list,
};
use crate::protocol::native::messages::{self, InitProducer, ProduceWriter, Produced, ProducerReady};
use crate::protocol::native::{Frame, Kind};

use super::refusal;

/// The conversation.
#[derive(Debug)]
pub(super) struct Producer {
    greeting: Greeting,
    options: ProduceOptions,
    state: State,
    logs: HashMap<PartitionIndex, LogId>,
    identity: Option<ProducerReady>,
    next_sequence: HashMap<PartitionIndex, i32>,
    /// Tickets of the batches in flight: of each frame the first, and how many.
    in_flight: VecDeque<(Ticket, u64)>,
    builder: RecordsBuilder,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Waiting for the welcome and the topics.
    Greeting,
    /// Waiting for an id.
    Identifying,
    /// Producing.
    Open,
}

impl Producer {
    pub(super) fn new(layout: &Layout, partitions: &[PartitionIndex], options: ProduceOptions) -> Self {
        Self {
            greeting: Greeting::new(layout, partitions),
            options,
            state: State::Greeting,
            logs: HashMap::new(),
            identity: None,
            next_sequence: HashMap::new(),
            in_flight: VecDeque::new(),
            builder: RecordsBuilder::new(),
        }
    }

    fn greeted(
        &mut self,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        let Some(logs) = self.greeting.take(frame, out)? else {
            return Ok(());
        };
        self.logs = logs.into_iter().collect();
        if self.options.idempotent {
            self.state = State::Identifying;
            return InitProducer::encode(out, 0).map_err(broken);
        }
        self.state = State::Open;
        events(Event::Ready);
        Ok(())
    }

    fn identified(&mut self, frame: &Frame<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        expect(frame, Kind::ProducerReady)?;
        self.identity = Some(ProducerReady::decode(frame).map_err(broken)?);
        self.state = State::Open;
        events(Event::Ready);
        Ok(())
    }

    fn answered(&mut self, frame: &Frame<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        let (first, count) = self
            .in_flight
            .pop_front()
            .filter(|(first, _)| *first == frame.head.correlation)
            .ok_or_else(|| Broken("an answer out of order".to_owned()))?;
        let tickets = first..first + count;
        if let Some((code, text)) = refusal(frame)? {
            for ticket in tickets {
                let reason = format!("{code} {text}");
                events(Event::Failed { ticket, reason });
            }
            return Ok(());
        }
        expect(frame, Kind::Produced)?;
        let answer = Produced::decode(frame).map_err(broken)?;
        if answer.entries.len() as u64 != count {
            return Err(Broken("an answer with another number of batches".to_owned()));
        }
        let stages = stage_list(answer.stages.as_ref());
        for (ticket, entry) in tickets.zip(answer.entries.iter()) {
            match entry.outcome() {
                Ok(_) => events(Event::Acked {
                    ticket,
                    stages: &stages,
                }),
                Err(code) => events(Event::Failed {
                    ticket,
                    reason: code.to_string(),
                }),
            }
        }
        Ok(())
    }

    /// What an idempotent producer says of itself in a batch of `count` messages.
    fn producer_info(&mut self, partition: PartitionIndex, count: usize) -> Option<ProducerInfo> {
        let ProducerReady { id, epoch } = self.identity?;
        let next = self.next_sequence.entry(partition).or_insert(0);
        let base_sequence = *next;
        let count = i32::try_from(count).expect("a batch is far below 2 GiB");
        // Sequences wrap from `i32::MAX` to 0.
        *next = base_sequence.wrapping_add(count) & i32::MAX;
        Some(ProducerInfo {
            id,
            epoch,
            base_sequence,
        })
    }
}

impl Conversation for Producer {
    fn open(&mut self, out: &mut Vec<u8>, _events: &mut dyn FnMut(Event<'_>)) {
        hello(out).expect("a hello is a small frame");
    }

    fn produce(&mut self, ticket: Ticket, batch: &Batch<'_>, out: &mut Vec<u8>) {
        self.produce_group(&[(ticket, *batch)], out);
    }

    fn produce_group(&mut self, batches: &[(Ticket, Batch<'_>)], out: &mut Vec<u8>) {
        let Some((first, _)) = batches.first() else { return };
        let acks = match self.options.acks {
            Acks::None => messages::Acks::None,
            Acks::All => messages::Acks::Durable,
        };
        let mut builder = std::mem::take(&mut self.builder);
        let mut writer = match acks {
            messages::Acks::Durable if self.options.stages => ProduceWriter::begin_with_stages(out, *first),
            acks => ProduceWriter::begin(out, *first, acks),
        };
        for (_, batch) in batches {
            builder.clear();
            let now = Timestamp::new(batch.timestamp_ms);
            for message in batch.messages {
                builder
                    .push(message.key, Some(message.value), now, std::iter::empty())
                    .expect("a batch is closed far below what the format holds");
            }
            let producer = self.producer_info(batch.partition, batch.messages.len());
            let log = self.logs[&batch.partition];
            writer
                .batch(log, producer, &mut builder)
                .expect("a batch has at least one message");
        }
        writer.finish().expect("a group is far below the largest frame");
        self.builder = builder;
        if self.options.acks == Acks::All {
            self.in_flight.push_back((*first, batches.len() as u64));
        }
    }

    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some((frame, length)) = frame(&input[used..])? {
            match self.state {
                State::Greeting => self.greeted(&frame, out, events)?,
                State::Identifying => self.identified(&frame, events)?,
                State::Open => self.answered(&frame, events)?,
            }
            used += length;
        }
        Ok(used)
    }
}

//! An idempotent producer: batches in sequence, several requests under way, sent again until they are acknowledged.
//!
//! Each batch belongs to a lane, the producer's sequence in one partition. What is not acknowledged stays in its lane. After
//! an error nothing more is sent until the pipeline is empty, and then again from the front of each lane, byte for byte. So
//! in a durable topic the batch at the front is always the next in sequence or one that is there already; a broker that
//! refuses it has lost or invented something.
//!
//! It may connect to any shard: all of them serve everything, over the rings where need be.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::book::{Book, Phase, TopicKey};
use super::history::{Floor, Mark, Rule};
use super::link::{Answer, Link, Ticket};
use crate::base::{ProducerEpoch, ProducerId, TopicId};
use crate::batch::{Compression, KafkaBatchBuilder, ProducerInfo, RecordHeader};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    InitProducerIdRequest, InitProducerIdResponse, PartitionProduceData, ProduceRequest, ProduceResponse,
    TopicProduceData,
};
use crate::runtime::sim::{ProcessId, Random};
use crate::runtime::{clock, executor};

/// The header that carries a record's mark.
pub(super) const MARK_HEADER: &[u8] = b"m";

/// Before a connection is tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Before batches that were refused are sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Requests under way at most; more than five would outrun what a broker remembers of a producer.
const WINDOW: usize = 5;

/// Batches of a lane under way at most, for the same reason.
const LANE_WINDOW: usize = 5;

/// Records of a batch.
const BATCH_RECORDS: std::ops::Range<u64> = 1..12;

/// The versions of Produce that name topics, the ones used here.
const VERSIONS_BY_NAME: std::ops::RangeInclusive<u64> = 7..=12;
/// The one that knows them by id.
const VERSION_BY_ID: i16 = 13;

/// What a producer is to do.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) topics: Vec<TopicKey>,
    pub(super) batches: u32,
    pub(super) acks: i16,
    pub(super) pause: std::ops::Range<u64>,
}

/// See the module.
pub(super) struct Producer {
    book: Rc<Book>,
    process: ProcessId,
    number: u32,
    dice: Random,
    job: Job,
    id: Option<(ProducerId, ProducerEpoch)>,
    lanes: Vec<Lane>,
    next_number: u32,
    batches_made: u32,
}

struct Lane {
    topic: TopicKey,
    partition: i32,
    next_sequence: i32,
    batches: VecDeque<Batch>,
    /// The first so many are under way.
    sent: usize,
}

struct Batch {
    sequence: i32,
    marks: Vec<Mark>,
    bytes: Vec<u8>,
    /// What was known when it was sent first.
    floor: Option<Floor>,
    acked: bool,
}

/// A request under way.
struct Flight {
    ticket: Ticket,
    parts: Vec<Part>,
}

/// A batch under way.
#[derive(Clone, Copy)]
struct Part {
    lane: usize,
    sequence: i32,
    /// Nothing of its lane was under way when it was sent.
    leads: bool,
}

/// Why a session ended.
enum Ended {
    Done,
    Broken,
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl Producer {
    pub(super) fn new(book: &Rc<Book>, number: u32, dice: Random, job: Job) -> Self {
        let mut lanes = Vec::new();
        for topic in &job.topics {
            for partition in 0..book.topic(*topic).partitions {
                lanes.push(Lane {
                    topic: *topic,
                    partition,
                    next_sequence: 0,
                    batches: VecDeque::new(),
                    sent: 0,
                });
            }
        }
        Self {
            book: Rc::clone(book),
            process: book.world.new_process(),
            number,
            dice,
            job,
            id: None,
            lanes,
            next_number: 0,
            batches_made: 0,
        }
    }

    pub(super) fn start(self) {
        let (world, process) = (self.book.world.clone(), self.process);
        self.book.begin(&self.name());
        world.spawn(process, 0, self.run());
    }

    /// Works until everything it made is acknowledged.
    pub(super) async fn run(mut self) {
        loop {
            match self.session().await {
                Ok(()) | Err(Ended::Done) => break,
                Err(Ended::Broken) => executor::sleep(RECONNECT_PAUSE).await,
            }
        }
        self.book.say(|| format!("producer {} is done", self.number));
        self.book.finish(&self.name());
    }

    fn name(&self) -> String {
        format!("producer {}", self.number)
    }

    fn is_done(&self) -> bool {
        let enough = self.batches_made >= self.job.batches || self.book.phase() == Phase::Calm;
        enough && self.lanes.iter().all(|lane| lane.batches.is_empty())
    }

    /// One connection, from its beginning to its end.
    async fn session(&mut self) -> Result<(), Ended> {
        let addresses = self.book.addresses();
        let address = addresses[self.dice.index(addresses.len())];
        let mut link = Link::open(&self.book.world, address)?;
        if self.id.is_none() {
            self.ask_id(&mut link).await?;
        }
        self.lanes.iter_mut().for_each(|lane| lane.sent = 0);
        let mut flights: VecDeque<Flight> = VecDeque::new();
        let mut held = false;
        loop {
            while !held && flights.len() < WINDOW {
                let Some(flight) = self.send_some(&mut link).await? else {
                    break;
                };
                flights.push_back(flight);
            }
            let Some(flight) = flights.pop_front() else {
                if held {
                    held = false;
                    self.lanes.iter_mut().for_each(|lane| lane.sent = 0);
                    executor::sleep(RETRY_PAUSE).await;
                    continue;
                }
                if self.is_done() {
                    return Err(Ended::Done);
                }
                let pause = self.dice.within(self.job.pause.clone());
                executor::sleep(Duration::from_micros(pause)).await;
                self.make_batches();
                continue;
            };
            let answer = self.told(link.receive(flight.ticket).await)?;
            let refused = self.take_answer(&answer, &flight)?;
            held |= refused;
        }
    }

    /// An error that no broker may cause is one.
    fn told<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome
            && error.kind() == io::ErrorKind::InvalidData
        {
            self.book.break_rule(Rule::AnswersMakeSense, error);
        }
        outcome
    }

    async fn ask_id(&mut self, link: &mut Link) -> Result<(), Ended> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
        };
        let answer = self.told(link.call(request, 4).await)?;
        let answer: InitProducerIdResponse = self.told(answer.decode())?;
        if answer.error_code != 0 {
            executor::sleep(RETRY_PAUSE).await;
            return Err(Ended::Broken);
        }
        self.book
            .say(|| format!("producer {} has id {}", self.number, answer.producer_id));
        self.id = Some((
            ProducerId::new(answer.producer_id),
            ProducerEpoch::new(answer.producer_epoch),
        ));
        Ok(())
    }

    /// A few batches for a few lanes.
    fn make_batches(&mut self) {
        if self.book.phase() == Phase::Calm {
            return;
        }
        let count = 1 + self.dice.below(4);
        for _ in 0..count {
            if self.batches_made >= self.job.batches {
                return;
            }
            self.batches_made += 1;
            let lane = self.dice.index(self.lanes.len());
            let records = self.dice.within(BATCH_RECORDS);
            let marks: Vec<Mark> = (0..records)
                .map(|_| {
                    self.next_number += 1;
                    Mark {
                        producer: self.number,
                        number: self.next_number - 1,
                    }
                })
                .collect();
            let codec = Compression::ALL[self.dice.index(Compression::ALL.len())];
            self.add_batch(lane, marks, codec);
        }
    }

    fn add_batch(&mut self, lane: usize, marks: Vec<Mark>, codec: Compression) {
        let (id, epoch) = self.id.expect("batches are made when there is an id");
        let lane = &mut self.lanes[lane];
        let sequence = lane.next_sequence;
        let info = ProducerInfo {
            id,
            epoch,
            base_sequence: sequence,
        };
        let mut builder = KafkaBatchBuilder::new();
        let now = clock::wall_ms();
        for mark in &marks {
            self.book.story(lane.topic, lane.partition, |story| {
                story.attempt(*mark);
                Ok(())
            });
            let encoded = mark.encode();
            let header = RecordHeader {
                key: MARK_HEADER,
                value: Some(&encoded),
            };
            builder.push(Some(&mark.key()), mark.value().as_deref(), now, [header]);
        }
        let bytes = builder.build(codec, Some(info)).expect("a small batch");
        lane.next_sequence += i32::try_from(marks.len()).expect("few records");
        lane.batches.push_back(Batch {
            sequence,
            marks,
            bytes,
            floor: None,
            acked: false,
        });
    }

    /// Gives up the producer's id and everything under way: a relaxed log has forgotten what came before, and what is sent
    /// again under another id may be there twice.
    fn begin_anew(&mut self) {
        self.id = None;
        for lane in &mut self.lanes {
            lane.next_sequence = 0;
            lane.batches.clear();
        }
    }

    /// Sends one request with the next batch of one or more lanes, if any has one.
    async fn send_some(&mut self, link: &mut Link) -> Result<Option<Flight>, Ended> {
        let waiting: Vec<usize> = (0..self.lanes.len())
            .filter(|lane| {
                let lane = &self.lanes[*lane];
                lane.sent < lane.batches.len().min(LANE_WINDOW)
            })
            .collect();
        if waiting.is_empty() {
            return Ok(None);
        }
        let first = self.dice.index(waiting.len());
        let count = 1 + self.dice.index(waiting.len());
        let chosen: Vec<usize> = waiting.iter().cycle().skip(first).take(count).copied().collect();
        let mut parts = Vec::with_capacity(chosen.len());
        for index in &chosen {
            let lane = &mut self.lanes[*index];
            let batch = &mut lane.batches[lane.sent];
            parts.push(Part {
                lane: *index,
                sequence: batch.sequence,
                leads: lane.sent == 0,
            });
            lane.sent += 1;
            if batch.floor.is_none() {
                let floor = self
                    .book
                    .story(lane.topic, lane.partition, |story| Ok(story.floor()));
                batch.floor = Some(floor);
            }
        }
        let ids: Vec<Option<TopicId>> = chosen
            .iter()
            .map(|lane| self.book.topic(self.lanes[*lane].topic).id)
            .collect();
        let names: Vec<String> = chosen
            .iter()
            .map(|lane| self.book.topic(self.lanes[*lane].topic).name)
            .collect();
        let version = if ids.iter().all(Option::is_some) && self.dice.one_in(2) {
            VERSION_BY_ID
        } else {
            let (first, last) = VERSIONS_BY_NAME.into_inner();
            i16::try_from(self.dice.within(first..last + 1)).expect("a version")
        };
        let topic_data = chosen.iter().zip(&names).zip(&ids).map(|((lane, name), id)| {
            let lane = &self.lanes[*lane];
            TopicProduceData {
                name,
                topic_id: id.unwrap_or(TopicId::NIL),
                partition_data: [PartitionProduceData {
                    index: lane.partition,
                    records: Some(&lane.batches[lane.sent - 1].bytes),
                }]
                .into_iter()
                .collect(),
            }
        });
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.job.acks,
            timeout_ms: 10_000,
            topic_data: topic_data.collect(),
            stages_layout: 0,
        };
        let ticket = link.send(request, version).await?;
        Ok(Some(Flight { ticket, parts }))
    }

    /// Books an answer. True if a batch is to be sent again.
    fn take_answer(&mut self, answer: &Answer, flight: &Flight) -> Result<bool, Ended> {
        let answer: ProduceResponse<'_> = self.told(answer.decode())?;
        let parts: Vec<_> = answer
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .map(|part| (part.error_code, part.base_offset))
            .collect();
        if parts.len() != flight.parts.len() {
            let what = format!("{} parts asked, {} answered", flight.parts.len(), parts.len());
            self.book.break_rule(Rule::AnswersMakeSense, what);
            return Err(Ended::Broken);
        }
        let mut refused = false;
        for (part, (code, base)) in flight.parts.iter().zip(parts) {
            if code == 0 {
                self.acked(*part, base);
            } else {
                refused = true;
                self.refused(*part, code)?;
            }
        }
        Ok(refused)
    }

    fn acked(&mut self, part: Part, base: i64) {
        let lane = &mut self.lanes[part.lane];
        let batch = lane
            .batches
            .iter_mut()
            .find(|batch| batch.sequence == part.sequence);
        let batch = batch.expect("a batch stays until it is acknowledged");
        let floor = batch.floor.unwrap_or_default();
        let base = u64::try_from(base).unwrap_or(u64::MAX);
        self.book.story(lane.topic, lane.partition, |story| {
            story.ack(base, &batch.marks, floor)
        });
        self.book.say(|| {
            let (first, last) = (batch.marks[0], batch.marks[batch.marks.len() - 1]);
            format!(
                "acked {}/{} {first:?}..{last:?} at {base}",
                lane.topic, lane.partition
            )
        });
        batch.acked = true;
        while lane.batches.front().is_some_and(|batch| batch.acked) {
            lane.batches.pop_front();
            lane.sent -= 1;
        }
    }

    fn refused(&mut self, part: Part, code: i16) -> Result<(), Ended> {
        let error = ErrorCode::from_wire(code);
        let lane = &self.lanes[part.lane];
        let (topic, partition) = (lane.topic, lane.partition);
        let leads = part.leads
            && lane
                .batches
                .front()
                .is_some_and(|front| front.sequence == part.sequence);
        let number = self.number;
        self.book.say(|| {
            format!(
                "refused {topic}/{partition} p{number} sequence {}: {error:?}",
                part.sequence
            )
        });
        match error {
            Some(ErrorCode::OutOfOrderSequenceNumber) if leads => {
                // A log that lost a batch to rot does not know the sequence behind it.
                let damaged = self.book.story(topic, partition, |story| Ok(story.has_damage()));
                // Of a producer that a log does not know, any sequence is the first, as in Kafka: if its first batch is refused
                // and the one sent behind it is not, there is no place for the first any more.
                let overtaken = part.sequence == 0 && lane.batches.iter().any(|batch| batch.acked);
                if damaged || overtaken || self.book.topic(topic).nature.relaxed {
                    self.begin_anew();
                    return Err(Ended::Broken);
                }
                let what = format!(
                    "{topic}/{partition}: sequence {} of p{number} is not the next",
                    part.sequence
                );
                self.book.break_rule(Rule::SequenceContinues, what);
            }
            Some(ErrorCode::OutOfOrderSequenceNumber) => {}
            Some(error) if error.is_retriable() => {}
            other => self.book.break_rule(
                Rule::AnswersMakeSense,
                format!("a batch was refused with {other:?}"),
            ),
        }
        Ok(())
    }
}

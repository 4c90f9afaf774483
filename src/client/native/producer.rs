//! The producer's machine: records in, produce frames out, answers in, outcomes out.
//!
//! Records collect per partition ([`partition`]). A batch is closed when it is full, when it has lingered long enough
//! and its partition could send it, or when somebody flushes; what cannot be sent yet goes on collecting, so batches grow
//! by themselves under load. Batches go to the leader of their partition, many partitions in one frame, frames pipelined.
//! Records with a key go where every Kafka client puts them; records without one stay with a partition until a batch is
//! closed there, then move on.
//!
//! **Promise.** With the default settings a record that is reported delivered is in the log once, behind every
//! record sent to its partition before it that was delivered; across broken connections and restarts of the broker. A
//! record that is reported failed with [`Error::TimedOut`] may be in the log; with any other error it is not.
//!
//! Pure: no I/O, `now` is an argument; the fronts drive it. Bounds: the buffer (`ProducerConfig::buffer_bytes`), batches of
//! a partition on their way, requests of a connection, bytes waiting for a socket.

pub(super) mod delivery;
mod partition;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::{Callback, Delivered, Delivery, Outcome};
use partition::{Id, Next, Open, Partition, Refusal};

use super::cluster::{Cluster, Flow, From, Handler, LinkId};
use super::config::{OUTBOX_BYTES, PAUSE_MAX, ProducerConfig, REQUEST_BYTES, REQUESTS_MAX, Stages};
use super::drive::Machine;
use super::error::{Error, Waited};
use crate::base::stages::StageTimes;
use crate::base::{LogId, PartitionId, Timestamp};
use crate::batch::{RecordHeader, RecordsBuilder};
use crate::client::partitioner::partition_of;
use crate::protocol::native::batches::append_batch;
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::Frame;
use crate::protocol::native::messages::{
    Acks, ErrorFrame, InitProducer, PRODUCE_BATCHES_MAX, ProduceWriter, Produced, ProducedEntry,
    ProducerReady,
};

/// A record to send. Borrowed: it is copied into its batch when it is accepted.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    topic: &'a str,
    partition: Option<u32>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    timestamp: Option<Timestamp>,
    headers: &'a [RecordHeader<'a>],
}

impl<'a> NewRecord<'a> {
    /// A record for `topic` without key, value (null) and headers, stamped with the time of sending.
    #[must_use]
    pub const fn to(topic: &'a str) -> Self {
        Self {
            topic,
            partition: None,
            key: None,
            value: None,
            timestamp: None,
            headers: &[],
        }
    }

    /// With this key, which decides the partition unless one is named.
    #[must_use]
    pub const fn key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// With this value.
    #[must_use]
    pub const fn value(mut self, value: &'a [u8]) -> Self {
        self.value = Some(value);
        self
    }

    /// To this partition, whatever the key.
    #[must_use]
    pub const fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Stamped with this time, in milliseconds since 1970.
    #[must_use]
    pub const fn timestamp(mut self, millis: i64) -> Self {
        self.timestamp = Some(Timestamp::new(millis));
        self
    }

    /// With these headers.
    #[must_use]
    pub const fn headers(mut self, headers: &'a [RecordHeader<'a>]) -> Self {
        self.headers = headers;
        self
    }

    fn bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + HEADER_OVERHEAD);
        self.key.map_or(0, <[u8]>::len)
            + self.value.map_or(0, <[u8]>::len)
            + headers.sum::<usize>()
            + RECORD_OVERHEAD
    }
}

/// The two clocks, read by the front: one for waiting, one for stamping records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) wall: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ProducerCore {
    cluster: Cluster,
    state: State,
}

/// Everything but the cluster.
#[derive(Debug)]
struct State {
    config: ProducerConfig,
    names: HashMap<Arc<str>, usize>,
    topics: Vec<Topic>,
    /// Partitions with something to do.
    active: Vec<(usize, u32)>,
    id: Identified,
    /// Produce requests on their way.
    requests: HashMap<u64, Request>,
    buffered: usize,
    batches: u64,
    /// Close batches whether they are full or not, until nothing is left.
    flushing: bool,
    /// Something happened since the last look for work.
    busy: bool,
    /// The first failure since the last flush.
    failure: Option<Error>,
    /// Spare builders, so that a batch need not grow its tables anew.
    builders: Vec<RecordsBuilder>,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    max_batch_bytes: usize,
    partitions: Vec<Partition>,
    sticky: u32,
}

/// The identity for partitions that have none.
#[derive(Clone, Copy, Debug)]
enum Identified {
    Nobody { after: Option<Instant> },
    Asked { link: LinkId, correlation: u64 },
    As(Id),
}

/// A produce request on its way: who waits for which entry of its answer.
#[derive(Debug)]
struct Request {
    link: LinkId,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    topic: usize,
    partition: u32,
    batch: u64,
}

impl ProducerCore {
    pub(super) fn new(cluster: Cluster, config: ProducerConfig) -> Result<Self, Error> {
        config.check()?;
        let state = State {
            config,
            names: HashMap::new(),
            topics: Vec::new(),
            active: Vec::new(),
            id: Identified::Nobody { after: None },
            requests: HashMap::new(),
            buffered: 0,
            batches: 0,
            flushing: false,
            busy: false,
            failure: None,
            builders: Vec::new(),
        };
        Ok(Self { cluster, state })
    }

    /// How long a record may take.
    pub(super) const fn patience(&self) -> Duration {
        self.state.config.delivery_timeout
    }

    /// Takes a record, or says that it must wait (`None`): for metadata, or for room.
    pub(super) fn offer(
        &mut self,
        record: &NewRecord<'_>,
        callback: &mut Option<Callback>,
        moment: Moment,
    ) -> Option<Result<Delivery, Error>> {
        let topic = match self.topic(record.topic, moment.now) {
            Ok(Some(topic)) => topic,
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        let bytes = record.bytes();
        let state = &mut self.state;
        if state.buffered + bytes > state.config.buffer_bytes && state.buffered > 0 {
            // Whoever waits for room wants everything out.
            state.busy = true;
            return None;
        }
        Some(state.accept(topic, record, bytes, callback, moment))
    }

    /// Why `offer` does not take the record, when waiting for it is over.
    pub(super) fn why_waiting(&mut self, record: &NewRecord<'_>) -> Error {
        if let Some(error) = self.cluster.why_down() {
            return error;
        }
        match self.cluster.topic(record.topic) {
            None => Error::TimedOut { what: Waited::Topic },
            Some(topic) => topic
                .error
                .map_or(Error::TimedOut { what: Waited::Room }, |code| {
                    Error::refused(record.topic, code)
                }),
        }
    }

    /// Place of a topic once its metadata is there.
    fn topic(&mut self, name: &str, now: Instant) -> Result<Option<usize>, Error> {
        if let Some(topic) = self.state.names.get(name) {
            return Ok(Some(*topic));
        }
        let refreshing = self.cluster.is_refreshing();
        let Some(known) = self
            .cluster
            .topic(name)
            .filter(|known| known.error.is_none() || !refreshing)
        else {
            return Ok(None);
        };
        if let Some(code) = known.error {
            // Perhaps it is created before the next record for it comes.
            self.cluster.refresh(now);
            return Err(Error::refused(name, code));
        }
        let name: Arc<str> = name.into();
        let partitions = known.leaders.iter().zip(0_u32..).map(|(leader, index)| {
            let log = LogId {
                topic: known.id,
                partition: PartitionId::new(index),
            };
            Partition::new(log, *leader)
        });
        let topic = Topic {
            name: Arc::clone(&name),
            max_batch_bytes: known.max_batch_bytes,
            partitions: partitions.collect(),
            sticky: 0,
        };
        self.state.topics.push(topic);
        self.state.names.insert(name, self.state.topics.len() - 1);
        Ok(Some(self.state.topics.len() - 1))
    }

    /// Whether driving would do something at once: a batch is closed or due.
    pub(super) const fn is_busy(&self) -> bool {
        self.state.busy
    }

    /// From now on everything leaves as soon as it can.
    pub(super) const fn begin_flush(&mut self) {
        self.state.flushing = true;
        self.state.busy = true;
    }

    /// Whether nothing is left to send or to wait for; then the first failure since the last time.
    pub(super) fn flushed(&mut self) -> Option<Result<(), Error>> {
        if !self.is_settled() {
            return None;
        }
        self.state.flushing = false;
        Some(self.state.failure.take().map_or(Ok(()), Err))
    }

    /// As [`Self::flushed`], without asking what failed.
    pub(super) fn is_settled(&mut self) -> bool {
        let idle = self.state.active.is_empty() && self.state.requests.is_empty();
        idle && self.cluster.links().iter().all(|link| link.backlog() == 0)
    }

    /// Bytes of records that have no outcome yet.
    pub(super) const fn buffered_bytes(&self) -> usize {
        self.state.buffered
    }

    /// Takes over what the metadata says about topics in use.
    fn follow_metadata(&mut self) {
        for topic in &mut self.state.topics {
            let Some(known) = self.cluster.topic(&topic.name) else {
                continue;
            };
            if known.error.is_some() {
                continue;
            }
            topic.max_batch_bytes = known.max_batch_bytes;
            for (index, leader) in (0_u32..).zip(&known.leaders) {
                let log = LogId {
                    topic: known.id,
                    partition: PartitionId::new(index),
                };
                match topic.partitions.get_mut(index as usize) {
                    None => topic.partitions.push(Partition::new(log, *leader)),
                    Some(partition) => {
                        partition.leader = *leader;
                        if partition.log != log {
                            partition.moved_to(log);
                        }
                    }
                }
            }
        }
    }

    /// Sends what may be sent.
    fn pump(&mut self, now: Instant) {
        self.state.busy = false;
        self.state.close_due(now);
        while self.send_round(now) {}
        self.state.drop_idle();
        self.ask_identity(now);
    }

    /// At most one frame per connection; whether there was any.
    fn send_round(&mut self, now: Instant) -> bool {
        let Self { cluster, state } = self;
        let mut plans: Vec<Plan> = Vec::new();
        for (topic, index) in state.active.clone() {
            state.plan(cluster, (topic, index), &mut plans, now);
        }
        for plan in &plans {
            state.write(cluster, plan, now);
        }
        !plans.is_empty()
    }

    fn ask_identity(&mut self, now: Instant) {
        let Self { cluster, state } = self;
        let Identified::Nobody { after } = state.id else {
            return;
        };
        if !state.config.is_idempotent() || after.is_some_and(|after| now < after) {
            return;
        }
        state.id = Identified::Nobody { after: None };
        let Some(link) = cluster.anyone() else {
            return;
        };
        let correlation = cluster.correlate();
        if InitProducer::encode(cluster.link(link).outbox(), correlation).is_ok() {
            cluster.expect(link, correlation, now);
            state.id = Identified::Asked { link, correlation };
        }
    }
}

impl Machine for ProducerCore {
    fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    fn advance(&mut self, now: Instant) {
        let refreshing = self.cluster.is_refreshing();
        let held = self.cluster.advance(&mut self.state, now);
        debug_assert!(held.is_none(), "a producer holds no frame");
        if refreshing && !self.cluster.is_refreshing() {
            self.follow_metadata();
        }
        self.pump(now);
    }

    fn wake(&self) -> Option<Instant> {
        let (linger, in_flight) = (self.state.config.linger, self.state.config.in_flight);
        let partitions = self.state.active.iter().filter_map(|(topic, partition)| {
            self.state.topics[*topic].partitions[*partition as usize].wake(linger, in_flight)
        });
        let identity = match self.state.id {
            Identified::Nobody { after } => after,
            _ => None,
        };
        partitions.chain(self.cluster.wake()).chain(identity).min()
    }
}

/// What one frame to one connection will carry: partition and place of each batch.
#[derive(Debug)]
struct Plan {
    link: LinkId,
    bytes: usize,
    batches: Vec<(usize, u32, usize)>,
}

impl State {
    fn partition(&mut self, topic: usize, partition: u32) -> &mut Partition {
        &mut self.topics[topic].partitions[partition as usize]
    }

    /// Adds a record to the open batch of its partition.
    fn accept(
        &mut self,
        topic: usize,
        record: &NewRecord<'_>,
        bytes: usize,
        callback: &mut Option<Callback>,
        moment: Moment,
    ) -> Result<Delivery, Error> {
        let max = self.topics[topic].max_batch_bytes;
        if bytes + BATCH_OVERHEAD > max {
            return Err(Error::RecordTooLarge {
                bytes: bytes + BATCH_OVERHEAD,
                max,
            });
        }
        let index = self.topics[topic].choose(record)?;
        let limit = self.config.batch_bytes.min(max - BATCH_OVERHEAD);
        let partition = self.partition(topic, index);
        if partition
            .open
            .as_ref()
            .is_some_and(|open| open.bytes + bytes > limit)
        {
            self.close(topic, index);
        }
        let spare = self.builders.pop();
        let partition = self.partition(topic, index);
        let open = partition.open.get_or_insert_with(|| Open {
            builder: spare.unwrap_or_default(),
            outcome: Arc::new(Outcome::default()),
            callbacks: Vec::new(),
            since: moment.now,
            bytes: 0,
        });
        let place = u32::try_from(open.builder.len()).expect("a batch of this size has few records");
        let timestamp = record.timestamp.unwrap_or(moment.wall);
        open.builder
            .push(
                record.key,
                record.value,
                timestamp,
                record.headers.iter().copied(),
            )
            .map_err(|_| Error::RecordTooLarge { bytes, max })?;
        open.bytes += bytes;
        if let Some(callback) = callback.take() {
            open.callbacks.push((place, callback));
        }
        let delivery = Delivery::new(Arc::clone(&open.outcome), place);
        let full = open.bytes >= limit;
        if !std::mem::replace(&mut partition.listed, true) {
            self.active.push((topic, index));
        }
        self.buffered += bytes;
        if full {
            self.close(topic, index);
        }
        let (linger, in_flight) = (self.config.linger, self.config.in_flight);
        self.busy |= linger.is_zero() && self.partition(topic, index).could_send(in_flight, moment.now);
        Ok(delivery)
    }

    /// Closes the open batch of a partition.
    fn close(&mut self, topic: usize, index: u32) {
        let (number, deadline) = (self.batches, self.config.delivery_timeout);
        let partition = self.partition(topic, index);
        let Some(mut open) = partition.open.take() else {
            return;
        };
        let mut frame = Vec::with_capacity(open.builder.payload_bytes_max() + BATCH_OVERHEAD);
        append_batch(&mut frame, partition.log, None, &mut open.builder)
            .expect("a batch that is closed holds records, and no more than its bound");
        let mut builder = std::mem::take(&mut open.builder);
        let deadline = open.since + deadline;
        partition.close(open, builder.len(), frame, number, deadline);
        builder.clear();
        self.builders.push(builder);
        self.batches += 1;
        self.busy = true;
        let topic = &mut self.topics[topic];
        if topic.sticky == index {
            let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
            topic.sticky = (index + 1) % count.max(1);
        }
    }

    /// Closes open batches whose time has come, if they could leave at once, and gives up what took too long.
    fn close_due(&mut self, now: Instant) {
        let (linger, in_flight, flushing) = (self.config.linger, self.config.in_flight, self.flushing);
        let crowded = self.buffered > self.config.buffer_bytes / 2;
        for at in 0..self.active.len() {
            let (topic, index) = self.active[at];
            let partition = self.partition(topic, index);
            let error = Error::TimedOut {
                what: Waited::Delivery,
            };
            let freed = partition.expire(now, &error);
            let due = partition
                .open
                .as_ref()
                .is_some_and(|open| flushing || crowded || now >= open.since + linger);
            let close = due && (partition.could_send(in_flight, now) || partition.open_is_late(now));
            if freed > 0 {
                self.buffered -= freed;
                self.failure.get_or_insert(error);
            }
            if close {
                self.close(topic, index);
            }
        }
    }

    fn drop_idle(&mut self) {
        let topics = &mut self.topics;
        self.active.retain(|(topic, index)| {
            let partition = &mut topics[*topic].partitions[*index as usize];
            partition.listed = !partition.is_idle();
            partition.listed
        });
    }

    /// Adds what a partition may send to the frame of its connection.
    fn plan(&mut self, cluster: &mut Cluster, at: (usize, u32), plans: &mut Vec<Plan>, now: Instant) {
        let (in_flight, needs_id) = (self.config.in_flight, self.config.is_idempotent());
        let id = self.id;
        loop {
            let partition = self.partition(at.0, at.1);
            let place = match partition.next(in_flight, needs_id, now) {
                Next::Send(place) => place,
                Next::Nothing => return,
                Next::NeedsId { burned } => match id {
                    Identified::As(id) if Some(id) != burned => {
                        partition.identify(id);
                        continue;
                    }
                    Identified::As(_) => {
                        self.id = Identified::Nobody { after: None };
                        return;
                    }
                    _ => return,
                },
            };
            let bytes = partition.queue[place].frame.len();
            let Some(link) = cluster.node(partition.leader) else {
                return;
            };
            let Some(plan) = plan_for(cluster, plans, link, bytes) else {
                return;
            };
            plan.bytes += bytes;
            plan.batches.push((at.0, at.1, place));
            // Marked here, so that the next turn of the loop sees what is left; written out by `write`.
            self.partition(at.0, at.1).send(place, link);
        }
    }

    /// Writes one planned frame into the outbox of its connection.
    fn write(&mut self, cluster: &mut Cluster, plan: &Plan, now: Instant) {
        let correlation = cluster.correlate();
        let out = cluster.link(plan.link).outbox();
        let mut writer = match self.config.stages {
            Stages::Reported if self.config.acks == Acks::Durable => {
                ProduceWriter::begin_with_stages(out, correlation)
            }
            _ => ProduceWriter::begin(out, correlation, self.config.acks),
        };
        let mut entries = Vec::with_capacity(plan.batches.len());
        for &(topic, partition, place) in &plan.batches {
            let batch = &self.topics[topic].partitions[partition as usize].queue[place];
            writer.encoded(&batch.frame);
            entries.push(Entry {
                topic,
                partition,
                batch: batch.number,
            });
        }
        writer
            .finish()
            .expect("a request holds one batch, or less than a frame may");
        if self.config.acks == Acks::None {
            for entry in entries {
                self.settle(entry, None, None);
            }
            return;
        }
        cluster.expect(plan.link, correlation, now);
        self.requests.insert(
            correlation,
            Request {
                link: plan.link,
                entries,
            },
        );
    }

    fn settle(&mut self, entry: Entry, offset: Option<u64>, stages: Option<StageTimes>) {
        let delivered = Delivered {
            partition: entry.partition,
            offset,
            stages,
        };
        let freed = self
            .partition(entry.topic, entry.partition)
            .delivered(entry.batch, delivered);
        self.buffered -= freed.unwrap_or(0);
    }

    /// Takes over what the broker says about one batch. Whether the metadata is in doubt.
    fn judge(
        &mut self,
        entry: Entry,
        answer: ProducedEntry,
        stages: Option<StageTimes>,
        now: Instant,
    ) -> bool {
        let code = match answer.outcome() {
            Ok(offset) => {
                self.settle(entry, Some(offset.get()), stages);
                return false;
            }
            Err(ErrorCode::DuplicateSequence) => {
                self.settle(entry, None, stages);
                return false;
            }
            Err(code) => code,
        };
        self.refuse(entry, code, now);
        matches!(code, ErrorCode::UnknownTopic | ErrorCode::UnknownPartition)
    }

    fn refuse(&mut self, entry: Entry, code: ErrorCode, now: Instant) {
        let refusal = match code {
            ErrorCode::OutOfOrderSequence | ErrorCode::StaleProducerEpoch => Refusal::Sequence,
            code if code.is_retriable() => Refusal::Later,
            _ => Refusal::Lasting,
        };
        let what = format!("{}-{}", self.topics[entry.topic].name, entry.partition);
        let error = Error::refused(what, code);
        let partition = self.partition(entry.topic, entry.partition);
        if let Some(freed) = partition.refused(entry.batch, refusal, error.clone(), now) {
            self.buffered -= freed;
            self.failure.get_or_insert(error);
        }
    }
}

impl Handler for State {
    fn frame(&mut self, from: From<'_>, frame: &Frame<'_>) -> Result<Flow, Error> {
        let From { cluster, link, now } = from;
        let correlation = frame.head.correlation;
        let nonsense =
            |cluster: &mut Cluster, reason: String| Error::protocol(cluster.link(link).address(), reason);
        if matches!(self.id, Identified::Asked { correlation: asked, .. } if asked == correlation) {
            // Refused or not, nobody else answers this question; it is asked again when it is needed.
            self.id = ProducerReady::decode(frame).map_or(
                Identified::Nobody {
                    after: Some(now + PAUSE_MAX),
                },
                |ready| Identified::As((ready.id, ready.epoch)),
            );
            return Ok(Flow::Next);
        }
        let Some(request) = self.requests.remove(&correlation) else {
            return Ok(Flow::Next);
        };
        if let Ok(error) = ErrorFrame::decode(frame) {
            for entry in request.entries {
                self.refuse(entry, error.code, now);
            }
            return Ok(Flow::Next);
        }
        let answer = Produced::decode(frame).map_err(|error| nonsense(cluster, error.to_string()));
        let answer = match answer {
            Ok(answer) if answer.entries.len() == request.entries.len() => answer,
            other => {
                // Its batches are as good as lost with the connection, which ends here.
                self.requests.insert(correlation, request);
                let short = || Error::protocol(cluster.link(link).address(), "an answer of another length");
                return Err(other.err().unwrap_or_else(short));
            }
        };
        let mut stale = false;
        for (entry, one) in request.entries.iter().zip(answer.entries.iter()) {
            stale |= self.judge(*entry, one, answer.stages, now);
        }
        if stale {
            cluster.refresh(now);
        }
        Ok(Flow::Next)
    }

    fn lost(&mut self, _cluster: &mut Cluster, link: LinkId, _error: &Error) {
        if matches!(self.id, Identified::Asked { link: asked, .. } if asked == link) {
            self.id = Identified::Nobody { after: None };
        }
        self.requests.retain(|_, request| request.link != link);
        for (topic, partition) in self.active.clone() {
            self.partition(topic, partition).lost(link);
        }
    }
}

impl Topic {
    /// The partition of a record.
    fn choose(&self, record: &NewRecord<'_>) -> Result<u32, Error> {
        let count = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        let chosen = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) if count > 0 => partition_of(key, count),
            _ => self.sticky,
        };
        if chosen < count {
            return Ok(chosen);
        }
        Err(Error::NoSuchPartition {
            topic: Arc::clone(&self.name),
            partition: chosen,
            count,
        })
    }
}

/// The frame for `link` if it takes `bytes` more.
fn plan_for<'p>(
    cluster: &mut Cluster,
    plans: &'p mut Vec<Plan>,
    link: LinkId,
    bytes: usize,
) -> Option<&'p mut Plan> {
    let known = plans.iter().position(|plan| plan.link == link);
    let Some(at) = known else {
        let link_state = cluster.link(link);
        if link_state.backlog() >= OUTBOX_BYTES || link_state.due_count() >= REQUESTS_MAX {
            return None;
        }
        plans.push(Plan {
            link,
            bytes: 0,
            batches: Vec::new(),
        });
        return plans.last_mut();
    };
    let limits = cluster.link(link).welcome();
    let batches_max = limits.map_or(1, |limits| limits.produce_batches_max.min(PRODUCE_BATCHES_MAX)) as usize;
    let plan = &mut plans[at];
    let fits = plan.bytes + bytes <= REQUEST_BYTES && plan.batches.len() < batches_max;
    fits.then_some(plan)
}

/// How often a front looks after its connections while records are only collected.
pub(super) const PUMP_EVERY: Duration = Duration::from_millis(1);

/// What a record costs in a batch beside key, value and headers, at most: its entries in five tables.
const RECORD_OVERHEAD: usize = 24;

/// What a header costs beside its key and value.
const HEADER_OVERHEAD: usize = 8;

/// What a batch costs beside its records: header, root of the archive, padding.
const BATCH_OVERHEAD: usize = 256;

#[cfg(test)]
mod tests;

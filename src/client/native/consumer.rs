//! The consumer's machine: subscriptions out, pushes in, batches lent to the caller, credit back.
//!
//! Partitions are spread over the connections to their leaders; those of one connection share a subscription and its
//! credit. Brokers push what is readable as far as the credit goes. The machine stops at the first push
//! ([`Flow::Hold`]), checks it, and lends its batches; on the next call the positions move past it and its bytes are
//! returned as credit. So a slow caller is not buffered for: bytes stay with the broker.
//!
//! **Promise.** Records of a partition are handed out in the order of their offsets, none twice and none left out, until
//! the caller seeks; over broken connections too, because the position is the consumer's own and a new subscription begins
//! at it. Damage is an error that names the place, and nothing behind it is handed out until the caller seeks.
//!
//! Pure: no I/O, `now` is an argument; the fronts drive it. Absent: groups and stored positions (remember
//! [`position`](ConsumerCore::position)), partitions added to a topic after it was subscribed to.

pub(super) mod lent;
mod translate;
pub(super) mod view;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lent::Lent;
use view::Batches;

use super::cluster::{Cluster, Flow, From, Handler, LinkId};
use super::config::{ConsumerConfig, OutOfRange, Start, pause_after};
use super::drive::Machine;
use super::error::{Error, Waited};
use crate::base::{LogId, Offset, PartitionId, Timestamp};
use crate::protocol::native::batches::Batches as StoredBatches;
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::{Frame, Kind};
use crate::protocol::native::messages::{
    self, Credit, ErrorFrame, Fetched, Offsets, OffsetsAnswer, OffsetsEntry, Query, Subscribe,
    SubscribeEntry, Subscribed, SubscriptionEnded, Unsubscribe,
};

/// See the module.
#[derive(Debug)]
pub(super) struct ConsumerCore {
    cluster: Cluster,
    state: State,
    /// The push on loan, or about to be.
    held: Option<LinkId>,
    lent: Lent,
    /// Whether the caller has had it.
    shown: bool,
    /// The batch of it whose records turned out to have no view, and its partition: dealt with when it is taken back.
    unsound: Cell<Option<(usize, usize)>>,
}

#[derive(Debug)]
struct State {
    config: ConsumerConfig,
    partitions: Vec<Partition>,
    by_log: HashMap<LogId, usize>,
    subscriptions: BTreeMap<u64, Subscription>,
    /// Questions for offsets on their way.
    questions: BTreeMap<u64, (LinkId, Vec<usize>)>,
    /// What `poll` must say before it hands out more.
    faults: VecDeque<Error>,
    /// The metadata was asked for again.
    stale: bool,
}

/// One partition being read.
#[derive(Debug)]
struct Partition {
    topic: Arc<str>,
    log: LogId,
    leader: u32,
    at: Start,
    phase: Phase,
    failures: u32,
    pause: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nobody pushes it.
    Idle,
    /// Its offset is being asked for.
    Asking,
    /// This subscription pushes it.
    Pushed { subscription: u64 },
    /// An error was reported; only a seek helps.
    Stuck,
}

#[derive(Debug)]
struct Subscription {
    link: LinkId,
    places: Vec<usize>,
    /// Bytes taken and not returned yet.
    owed: u64,
}

impl ConsumerCore {
    pub(super) fn new(cluster: Cluster, config: ConsumerConfig) -> Result<Self, Error> {
        config.check()?;
        let state = State {
            config,
            partitions: Vec::new(),
            by_log: HashMap::new(),
            subscriptions: BTreeMap::new(),
            questions: BTreeMap::new(),
            faults: VecDeque::new(),
            stale: false,
        };
        Ok(Self {
            cluster,
            state,
            held: None,
            lent: Lent::default(),
            shown: false,
            unsound: Cell::new(None),
        })
    }

    /// Adds partitions of a topic, all of them if none is named. `None` while the metadata is not there.
    pub(super) fn subscribe(
        &mut self,
        topic: &str,
        partitions: Option<&[u32]>,
        start: Start,
        now: Instant,
    ) -> Option<Result<(), Error>> {
        let refreshing = self.cluster.is_refreshing();
        let known = self
            .cluster
            .topic(topic)
            .filter(|known| known.error.is_none() || !refreshing)?;
        if let Some(code) = known.error {
            self.cluster.refresh(now);
            return Some(Err(Error::refused(topic, code)));
        }
        let name: Arc<str> = topic.into();
        let count = u32::try_from(known.leaders.len()).unwrap_or(u32::MAX);
        let all: Vec<u32> = (0..count).collect();
        let wanted = partitions.unwrap_or(&all);
        if let Some(&partition) = wanted.iter().find(|partition| **partition >= count) {
            return Some(Err(Error::NoSuchPartition {
                topic: name,
                partition,
                count,
            }));
        }
        for &index in wanted {
            let log = LogId {
                topic: known.id,
                partition: PartitionId::new(index),
            };
            let leader = known.leaders[index as usize];
            self.state.add(&name, log, leader, start);
        }
        Some(Ok(()))
    }

    /// How long a subscription may wait for metadata.
    pub(super) fn patience(&self) -> Duration {
        self.cluster.config().request_timeout
    }

    /// Why a subscription still waits, when waiting for it is over.
    pub(super) fn why_waiting(&self) -> Error {
        self.cluster
            .why_down()
            .unwrap_or(Error::TimedOut { what: Waited::Topic })
    }

    /// Goes on reading a partition from somewhere else.
    pub(super) fn seek(&mut self, topic: &str, partition: u32, start: Start) -> Result<(), Error> {
        self.settle_down();
        let place = self.place(topic, partition)?;
        if let Phase::Pushed { subscription } = self.state.partitions[place].phase {
            self.end(subscription);
        }
        let partition = &mut self.state.partitions[place];
        partition.at = start;
        partition.pause = None;
        if partition.phase != Phase::Asking {
            partition.phase = Phase::Idle;
        }
        Ok(())
    }

    /// Offset of the next record of a partition to be handed out; `None` while only the broker knows.
    pub(super) fn position(&self, topic: &str, partition: u32) -> Result<Option<u64>, Error> {
        let place = self.place(topic, partition)?;
        let behind = self.lent.end_of(place).filter(|_| self.shown);
        Ok(behind.or(match self.state.partitions[place].at {
            Start::Offset(offset) => Some(offset),
            _ => None,
        }))
    }

    fn place(&self, topic: &str, partition: u32) -> Result<usize, Error> {
        let mut places = self.state.partitions.iter();
        places
            .position(|one| &*one.topic == topic && one.log.partition.get() == partition)
            .ok_or_else(|| Error::NoSuchPartition {
                topic: topic.into(),
                partition,
                count: 0,
            })
    }

    /// Ends a subscription at the broker; its partitions are subscribed to anew, from where they are.
    fn end(&mut self, subscription: u64) {
        let Some(ended) = self.state.subscriptions.remove(&subscription) else {
            return;
        };
        for place in ended.places {
            self.state.partitions[place].rest(subscription);
        }
        if self.cluster.link(ended.link).is_up() {
            let out = self.cluster.link(ended.link).outbox();
            Unsubscribe { subscription }
                .encode(out)
                .expect("a frame without a control part is small");
        }
    }

    /// Takes back what was lent: positions move past it and its bytes become credit again.
    pub(super) fn release(&mut self) {
        let unsound = self.unsound.take();
        if let Some((at, place)) = unsound {
            self.lent.truncate(at);
            self.state.partitions[place].phase = Phase::Stuck;
        }
        if !self.lent.is_empty() && (unsound.is_some() || !self.shown) {
            // An error went first; the batches in front of it are for the next call.
            return;
        }
        self.shown = false;
        for (place, end) in self.lent.take_ends() {
            let partition = &mut self.state.partitions[place];
            partition.at = Start::Offset(end);
            partition.failures = 0;
        }
        let Some(link) = self.held.take() else {
            return;
        };
        let Some(frame) = self.cluster.held(link) else {
            return;
        };
        let (number, bytes) = (frame.head.correlation, frame.head.length as u64);
        let half = self.state.config.credit_bytes / 2;
        let Some(subscription) = self.state.subscriptions.get_mut(&number) else {
            return;
        };
        subscription.owed += bytes;
        // Returned in halves: fewer frames, and the broker never runs dry over it.
        if subscription.owed >= half && subscription.link == link && self.cluster.link(link).is_up() {
            let credit = Credit {
                subscription: number,
                bytes: std::mem::take(&mut subscription.owed),
            };
            credit
                .encode(self.cluster.link(link).outbox())
                .expect("a credit frame is small");
        }
    }

    /// As [`Self::release`]; what the caller has not had is pushed again.
    pub(super) fn settle_down(&mut self) {
        self.release();
        if self.lent.is_empty() {
            return;
        }
        self.lent.take_ends().for_each(drop);
        let held = self.held.take().and_then(|link| self.cluster.held(link));
        if let Some(number) = held.map(|frame| frame.head.correlation) {
            self.end(number);
        }
    }

    /// Whether there is something for the caller: an error, or a push to [lend](Self::lend).
    pub(super) fn ready(&mut self) -> Option<Result<(), Error>> {
        if let Some(fault) = self.state.faults.pop_front() {
            return Some(Err(fault));
        }
        (!self.lent.is_empty()).then_some(Ok(()))
    }

    /// The batches of the held push.
    pub(super) fn lend(&mut self) -> Result<Batches<'_>, Error> {
        self.shown = true;
        let frame = self.held.and_then(|link| self.cluster.held(link));
        let bytes = frame.map_or(&[][..], |frame| frame.batches);
        let partitions = &self.state.partitions;
        match self.lent.views(|place| &partitions[place].topic, bytes) {
            Ok(batches) => Ok(Batches { batches }),
            Err(unsound) => {
                self.unsound.set(Some((unsound.at, unsound.place)));
                Err(unsound.describe(&partitions[unsound.place].topic))
            }
        }
    }

    /// Subscribes to what nobody pushes.
    fn pump(&mut self, now: Instant) {
        let mut by_link: BTreeMap<LinkId, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (place, partition) in self.state.partitions.iter_mut().enumerate() {
            if partition.phase != Phase::Idle || partition.pause.is_some_and(|until| now < until) {
                continue;
            }
            partition.pause = None;
            let Some(link) = self.cluster.node(partition.leader) else {
                continue;
            };
            let (ask, subscribe) = by_link.entry(link).or_default();
            match partition.at {
                Start::Time(_) => ask.push(place),
                _ => subscribe.push(place),
            }
        }
        for (link, (ask, subscribe)) in by_link {
            for places in ask.chunks(ENTRIES_MAX) {
                self.ask_offsets(link, places, now);
            }
            for places in subscribe.chunks(ENTRIES_MAX) {
                self.send_subscribe(link, places, now);
            }
        }
    }

    fn ask_offsets(&mut self, link: LinkId, places: &[usize], now: Instant) {
        let correlation = self.cluster.correlate();
        let mut entries = Vec::with_capacity(places.len());
        for place in places {
            let partition = &mut self.state.partitions[*place];
            let Start::Time(time) = partition.at else {
                continue;
            };
            partition.phase = Phase::Asking;
            entries.push(OffsetsEntry::new(
                partition.log,
                Query::AtTime(Timestamp::new(time)),
            ));
        }
        Offsets::encode(self.cluster.link(link).outbox(), correlation, &entries)
            .expect("the number of entries is bounded");
        self.cluster.expect(link, correlation, now);
        self.state.questions.insert(correlation, (link, places.to_vec()));
    }

    fn send_subscribe(&mut self, link: LinkId, places: &[usize], now: Instant) {
        let number = self.cluster.correlate();
        let config = &self.state.config;
        let mut entries = Vec::with_capacity(places.len());
        for place in places {
            let partition = &mut self.state.partitions[*place];
            partition.phase = Phase::Pushed { subscription: number };
            entries.push(SubscribeEntry::new(partition.log, from(partition.at)));
        }
        let out = self.cluster.link(link).outbox();
        Subscribe::encode(out, number, config.credit_bytes, config.push_bytes, &entries)
            .expect("the number of entries is bounded");
        self.cluster.expect(link, number, now);
        let places = places.to_vec();
        self.state.subscriptions.insert(
            number,
            Subscription {
                link,
                places,
                owed: 0,
            },
        );
    }

    /// Takes over what the metadata says about partitions in use.
    fn follow_metadata(&mut self) {
        let state = &mut self.state;
        for place in 0..state.partitions.len() {
            let partition = &mut state.partitions[place];
            let Some(known) = self.cluster.topic(&partition.topic) else {
                continue;
            };
            if let Some(code) = known.error {
                if partition.phase != Phase::Stuck {
                    partition.phase = Phase::Stuck;
                    state
                        .faults
                        .push_back(Error::refused(Arc::clone(&partition.topic), code));
                }
                continue;
            }
            let Some(leader) = known.leaders.get(partition.log.partition.get() as usize) else {
                continue;
            };
            partition.leader = *leader;
            if partition.log.topic != known.id {
                state.by_log.remove(&partition.log);
                partition.log.topic = known.id;
                state.by_log.insert(partition.log, place);
            }
        }
    }

    /// Checks the held push and plans what of it to hand out.
    fn inspect(&mut self, link: LinkId, now: Instant) {
        self.held = Some(link);
        let Some(frame) = self.cluster.held(link) else {
            return;
        };
        let number = frame.head.correlation;
        let mut codes = Vec::new();
        match Fetched::decode(&frame) {
            Ok(push) => {
                let base = frame.batches.as_ptr().addr();
                for (entry, batches) in push.partitions() {
                    let Some(&place) = self.state.by_log.get(&entry.log()) else {
                        continue;
                    };
                    if self.state.partitions[place].phase != (Phase::Pushed { subscription: number }) {
                        continue;
                    }
                    codes.extend(entry.error().map(|code| (place, code)));
                    let high_watermark = entry.high_watermark;
                    self.state
                        .plan(&mut self.lent, place, batches, high_watermark, base);
                }
            }
            Err(error) => {
                let address = Arc::clone(self.cluster.link(link).address());
                self.cluster
                    .link(link)
                    .fail(Error::protocol(&address, error), now);
            }
        }
        for (place, code) in codes {
            self.state.partition_failed(place, code, now);
        }
    }
}

impl Machine for ConsumerCore {
    fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    fn advance(&mut self, now: Instant) {
        if self.held.is_some() && !self.lent.is_empty() {
            return;
        }
        loop {
            let refreshing = self.cluster.is_refreshing();
            let held = self.cluster.advance(&mut self.state, now);
            if std::mem::take(&mut self.state.stale) {
                self.cluster.refresh(now);
            }
            if refreshing && !self.cluster.is_refreshing() {
                self.follow_metadata();
            }
            let Some(link) = held else {
                break;
            };
            self.inspect(link, now);
            if !self.lent.is_empty() {
                break;
            }
            // Nothing in it for the caller, such as a partition's error.
            self.release();
        }
        self.pump(now);
    }

    fn wake(&self) -> Option<Instant> {
        let idle = self
            .state
            .partitions
            .iter()
            .filter(|one| one.phase == Phase::Idle);
        let pauses = idle.filter_map(|partition| partition.pause);
        pauses.chain(self.cluster.wake()).min()
    }
}

impl State {
    fn add(&mut self, topic: &Arc<str>, log: LogId, leader: u32, start: Start) {
        if let Some(place) = self.by_log.get(&log) {
            // Subscribed to twice: the second start is a wish like a seek, which the front makes of it.
            self.partitions[*place].at = start;
            return;
        }
        self.by_log.insert(log, self.partitions.len());
        self.partitions.push(Partition {
            topic: Arc::clone(topic),
            log,
            leader,
            at: start,
            phase: Phase::Idle,
            failures: 0,
            pause: None,
        });
    }

    /// Checks the batches of one partition, as far as they are sound, and plans to hand them out.
    fn plan(
        &mut self,
        lent: &mut Lent,
        place: usize,
        batches: StoredBatches<'_>,
        high_watermark: u64,
        base: usize,
    ) {
        let partition = &mut self.partitions[place];
        let mut position = match partition.at {
            Start::Offset(offset) => offset,
            _ => 0,
        };
        for batch in batches {
            let planned = batch.map_err(|error| error.to_string()).and_then(|batch| {
                lent.plan(
                    &batch,
                    place,
                    partition.log,
                    position,
                    high_watermark,
                    base,
                    self.config.open_bytes,
                )
            });
            match planned {
                Ok(next) => position = next,
                Err(reason) => {
                    self.faults.push_back(Error::Damaged {
                        topic: Arc::clone(&partition.topic),
                        partition: partition.log.partition.get(),
                        offset: position,
                        reason: reason.into(),
                    });
                    partition.phase = Phase::Stuck;
                    return;
                }
            }
        }
    }

    /// A partition cannot be pushed, or not any more.
    fn partition_failed(&mut self, place: usize, code: ErrorCode, now: Instant) {
        let reset = match self.config.out_of_range {
            OutOfRange::Fail => None,
            OutOfRange::Earliest => Some(Start::Earliest),
            OutOfRange::Latest => Some(Start::Latest),
        };
        let partition = &mut self.partitions[place];
        partition.failures = partition.failures.saturating_add(1);
        partition.pause = Some(now + pause_after(partition.failures));
        partition.phase = Phase::Idle;
        match (code, reset) {
            (ErrorCode::OffsetOutOfRange, Some(start)) => partition.at = start,
            (ErrorCode::UnknownTopic | ErrorCode::UnknownPartition, _) => self.stale = true,
            (code, _) if code.is_retriable() => {}
            (code, _) => {
                partition.phase = Phase::Stuck;
                let what = format!("{}-{}", partition.topic, partition.log.partition);
                self.faults.push_back(Error::refused(what, code));
            }
        }
    }

    fn subscribed(&mut self, number: u64, frame: &Frame<'_>, now: Instant) -> Result<(), String> {
        let Some(subscription) = self.subscriptions.get(&number) else {
            return Ok(());
        };
        let places = subscription.places.clone();
        let answer = Subscribed::decode(frame).map_err(|error| error.to_string())?;
        if answer.entries.len() != places.len() {
            return Err("an answer of another length".to_owned());
        }
        for (place, entry) in places.into_iter().zip(answer.entries.iter()) {
            match entry.error() {
                None => self.partitions[place].at = Start::Offset(entry.offset),
                Some(code) => self.partition_failed(place, code, now),
            }
        }
        Ok(())
    }

    fn answered(&mut self, places: Vec<usize>, frame: &Frame<'_>, now: Instant) -> Result<(), String> {
        let answer = OffsetsAnswer::decode(frame).map_err(|error| error.to_string())?;
        if answer.entries.len() != places.len() {
            return Err("an answer of another length".to_owned());
        }
        for (place, entry) in places.into_iter().zip(answer.entries.iter()) {
            match entry.outcome() {
                Ok(found) => self.partitions[place].found(found),
                Err(code) => self.partition_failed(place, code, now),
            }
        }
        Ok(())
    }

    /// A subscription is over, or never was. Its partitions are subscribed to anew after a pause.
    fn ended(&mut self, number: u64, code: Option<ErrorCode>, now: Instant) {
        let Some(subscription) = self.subscriptions.remove(&number) else {
            return;
        };
        for place in subscription.places {
            if self.partitions[place].phase == (Phase::Pushed { subscription: number }) {
                match code.filter(|code| !code.is_retriable()) {
                    Some(code) => self.partition_failed(place, code, now),
                    None => self.partition_failed(place, ErrorCode::Stopping, now),
                }
            }
        }
    }
}

impl Handler for State {
    fn frame(&mut self, from: From<'_>, frame: &Frame<'_>) -> Result<Flow, Error> {
        let From { cluster, link, now } = from;
        let number = frame.head.correlation;
        let outcome = match frame.head.kind {
            Kind::Push if self.subscriptions.contains_key(&number) => return Ok(Flow::Hold),
            Kind::Subscribed => self.subscribed(number, frame, now),
            Kind::SubscriptionEnded => SubscriptionEnded::decode(frame)
                .map(|end| self.ended(number, end.error, now))
                .map_err(|error| error.to_string()),
            Kind::OffsetsAnswer => match self.questions.remove(&number) {
                Some((_, places)) => self.answered(places, frame, now),
                None => Ok(()),
            },
            Kind::Error => ErrorFrame::decode(frame)
                .map(|error| {
                    self.ended(number, Some(error.code), now);
                    let (_, places) = self.questions.remove(&number).unwrap_or_default();
                    places
                        .iter()
                        .for_each(|place| self.partition_failed(*place, error.code, now));
                })
                .map_err(|error| error.to_string()),
            _ => Ok(()),
        };
        match outcome {
            Ok(()) => Ok(Flow::Next),
            Err(reason) => Err(Error::protocol(cluster.link(link).address(), reason)),
        }
    }

    fn lost(&mut self, _cluster: &mut Cluster, link: LinkId, _error: &Error) {
        let partitions = &mut self.partitions;
        self.subscriptions.retain(|number, subscription| {
            if subscription.link == link {
                subscription
                    .places
                    .iter()
                    .for_each(|place| partitions[*place].rest(*number));
            }
            subscription.link != link
        });
        self.questions.retain(|_, (asked, places)| {
            if *asked == link {
                places
                    .iter()
                    .for_each(|place| partitions[*place].phase = Phase::Idle);
            }
            *asked != link
        });
    }
}

impl Partition {
    /// Its subscription is gone.
    fn rest(&mut self, subscription: u64) {
        if self.phase == (Phase::Pushed { subscription }) {
            self.phase = Phase::Idle;
        }
    }

    /// Its place in time is known.
    fn found(&mut self, offset: Option<Offset>) {
        if self.phase == Phase::Asking {
            self.phase = Phase::Idle;
            if matches!(self.at, Start::Time(_)) {
                self.at = offset.map_or(Start::Latest, |offset| Start::Offset(offset.get()));
            }
        }
    }
}

const fn from(start: Start) -> messages::From {
    match start {
        Start::Offset(offset) => messages::From::Offset(offset),
        Start::Earliest => messages::From::Earliest,
        // A time without a record: what comes next is later.
        Start::Latest | Start::Time(_) => messages::From::Latest,
    }
}

/// Partitions in one request.
const ENTRIES_MAX: usize = 1024;

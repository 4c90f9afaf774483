//! Coordinating groups: the I/O around [`crate::broker::group`].
//!
//! A group lives in one partition of the offsets topic; the shard that owns the partition coordinates the group. Any shard
//! takes a request for any group and passes it on (`remote`): in Kafka a broker would refuse it.
//!
//! **Promise.** No answer leaves before everything appended up to the moment it was decided is durable, so a client never
//! knows more than a crash would leave. This holds for looks as well as for changes: a heartbeat that says "you are a member"
//! waits for the record that made it one (`hosted`).
//!
//! ```text
//! Shard::group -> (other core) -> ask -> Coordinator::request -> records -> append -> durable -> answer
//!                                    \-> answer under a ticket, later: a join waits for other members
//! ```
//!
//! **Waiting.** Joins and syncs wait for minutes. They hold a ticket here and nothing else: no mesh credit, no request
//! memory. One task of the shard sleeps until the next deadline of any group.
//!
//! **Bounds.** Members and offsets of a shard may take an eighth of its memory; beyond that newcomers are refused and
//! everybody else goes on, growing by half as much again at most. Requests that wait, and decisions on their way to the log,
//! are bounded as well (`hosted`).

mod hosted;
mod load;
mod remote;
mod timer;
pub mod view;

use super::Shard;
use super::request::{ControlError, ControlReply, ControlRequest, Message, NewTopic};
use crate::base::hash::HashMap;
use crate::base::{LogId, PartitionId, ShardId};
use crate::broker::group::config::GroupConfig;
use crate::broker::group::coordinator::Room;
use crate::broker::group::error::GroupError;
use crate::broker::group::request::{GroupReply, GroupRequest, JoinRefused, Now, Ticket};
use crate::broker::group::{OFFSETS_TOPIC, partition_of};
use crate::broker::image::Image;
use crate::broker::topic::Topic;
use crate::runtime::clock::{self, Mono};
use crate::runtime::local::{Notify, OneShot};
use crate::runtime::mesh::{Peer, Port};
use hosted::{Asked, Hosted};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// The share of a shard's memory that groups may take: one in this many bytes.
const MEMORY_SHARE: usize = 8;

/// What is known may grow beyond that by one byte of this many.
const GROWTH_SHARE: usize = 2;

/// Requests that may wait for the news of their topic; the rest are told to come again.
const EARLY_MAX: usize = 4096;

/// Segments of the offsets topic are small, so that compaction has less to copy and a start less to read.
const OFFSETS_SEGMENT_BYTES: u64 = 16 << 20;

/// Starts the tasks that keep the groups' time.
pub(crate) fn start(shard: &Rc<Shard>) {
    timer::start(shard);
}

/// Starts the task that answers other shards.
pub(crate) fn start_outbox(port: &Rc<Port<Message>>) -> Rc<remote::Outbox> {
    remote::Outbox::start(Rc::clone(port))
}

/// What a shard is told about groups at its start.
#[derive(Clone, Copy, Debug)]
pub struct GroupSettings {
    /// What decides.
    pub config: GroupConfig,
    /// `offsets.topic.num.partitions`: partitions of the offsets topic when it is created.
    pub topic_partitions: u32,
    /// `offsets.retention.check.interval.ms`.
    pub expiry_interval: std::time::Duration,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            config: GroupConfig::default(),
            topic_partitions: 50,
            expiry_interval: std::time::Duration::from_secs(600),
        }
    }
}

/// Who waits for an answer.
#[derive(Debug)]
enum Asker {
    /// A task of this shard.
    Here(OneShot<GroupReply>),
    /// Another shard, and its number for the call.
    There(Peer, u64),
}

/// An answer that is owed.
#[derive(Debug)]
struct Owed {
    asker: Asker,
    kind: Kind,
}

/// What a refusal of the whole request looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Join,
    Sync,
    Other,
}

/// A request that was quicker than the news of the topic it needs.
#[derive(Debug)]
struct Early {
    log: LogId,
    group: Arc<str>,
    request: GroupRequest,
    ticket: Ticket,
}

/// A shard's part in coordinating groups.
#[derive(Debug)]
pub(crate) struct Groups {
    settings: GroupSettings,
    bytes_max: usize,
    hosted: RefCell<HashMap<LogId, Rc<Hosted>>>,
    owed: RefCell<HashMap<Ticket, Owed>>,
    /// Bytes of requests that wait for their turn.
    backlog_bytes: Cell<usize>,
    /// Bytes of records that were decided and are not in their logs.
    queued_bytes: Cell<usize>,
    /// Requests for partitions of which only the asking shard has heard yet.
    early: RefCell<Vec<Early>>,
    next_ticket: Cell<Ticket>,
    /// The deadline the timer sleeps until, in milliseconds of the monotonic clock.
    asleep_until: Cell<u64>,
    deadline_changed: Notify,
    /// The broker stops: nobody is left waiting.
    closed: Cell<bool>,
    outbox: Rc<remote::Outbox>,
}

impl Groups {
    pub(crate) fn new(settings: GroupSettings, memory_bytes: usize, outbox: Rc<remote::Outbox>) -> Self {
        Self {
            settings,
            bytes_max: memory_bytes / MEMORY_SHARE,
            hosted: RefCell::new(HashMap::default()),
            owed: RefCell::new(HashMap::default()),
            backlog_bytes: Cell::new(0),
            queued_bytes: Cell::new(0),
            early: RefCell::new(Vec::new()),
            next_ticket: Cell::new(1),
            asleep_until: Cell::new(u64::MAX),
            deadline_changed: Notify::default(),
            closed: Cell::new(false),
            outbox,
        }
    }

    fn all_hosted(&self) -> Vec<Rc<Hosted>> {
        self.hosted.borrow().values().cloned().collect()
    }

    fn room(&self) -> Room {
        let used: usize = self
            .hosted
            .borrow()
            .values()
            .map(|hosted| hosted.machine.borrow().memory_bytes())
            .sum();
        match used {
            used if used < self.bytes_max => Room::Enough,
            used if used < self.bytes_max + self.bytes_max / GROWTH_SHARE => Room::Little,
            _ => Room::None,
        }
    }

    fn open(&self, asker: Asker, request: &GroupRequest) -> Ticket {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        let kind = match request {
            GroupRequest::Join(_) => Kind::Join,
            GroupRequest::Sync(_) => Kind::Sync,
            _ => Kind::Other,
        };
        self.owed.borrow_mut().insert(ticket, Owed { asker, kind });
        ticket
    }

    /// Sends an answer to whoever waits for it; nobody may.
    fn answer(&self, ticket: Ticket, reply: GroupReply) {
        let owed = self.owed.borrow_mut().remove(&ticket);
        match owed.map(|owed| owed.asker) {
            Some(Asker::Here(slot)) => slot.set(reply),
            Some(Asker::There(peer, call)) => self.outbox.answer(peer, call, reply),
            None => {}
        }
    }

    /// Answers with a refusal, in the form the request has.
    fn refuse(&self, ticket: Ticket, error: GroupError) {
        let kind = self.owed.borrow().get(&ticket).map(|owed| owed.kind);
        let reply = match kind {
            Some(Kind::Join) => GroupReply::Join(Err(JoinRefused {
                error,
                member_id: Arc::default(),
            })),
            Some(Kind::Sync) => GroupReply::Sync(Err(error)),
            Some(Kind::Other) => GroupReply::Refused(error),
            None => return,
        };
        self.answer(ticket, reply);
    }

    /// The broker stops: who waits for other members looks for the coordinator again, and finds the next start of it.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.deadline_changed.notify();
        for early in self.early.take() {
            self.refuse(early.ticket, GroupError::NotCoordinator);
        }
        let waiting = |(ticket, owed): (&Ticket, &Owed)| (owed.kind != Kind::Other).then_some(*ticket);
        let waiting: Vec<Ticket> = self.owed.borrow().iter().filter_map(waiting).collect();
        for ticket in waiting {
            self.refuse(ticket, GroupError::NotCoordinator);
        }
    }
}

/// The partition a group is kept in.
fn log_of_group(topic: &Topic, group: &str) -> LogId {
    LogId {
        topic: topic.id,
        partition: PartitionId::new(partition_of(group, topic.partitions)),
    }
}

impl Shard {
    /// The time, as groups count it.
    fn group_now(&self) -> Now {
        let since = clock::now().since(Mono::default());
        Now {
            mono_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            wall: self.time_for_ages(),
        }
    }

    /// Carries out one request to a group, wherever it is coordinated. May wait for minutes, as joins do.
    pub async fn group(self: &Rc<Self>, group: Arc<str>, request: GroupRequest) -> GroupReply {
        let slot = OneShot::default();
        let log = match self.group_log(&group).await {
            Ok(log) => log,
            Err(error) => {
                let ticket = self.groups.open(Asker::Here(slot.clone()), &request);
                self.groups.refuse(ticket, error);
                return slot.take().await;
            }
        };
        let owner = self.owner_of(log);
        if owner == self.id {
            let ticket = self.groups.open(Asker::Here(slot.clone()), &request);
            self.ask(log, &group, request, ticket);
            slot.take().await
        } else {
            self.ask_elsewhere(owner, log, group, request).await
        }
    }

    /// The log a group is kept in. The offsets topic is created if it is not there yet.
    ///
    /// # Errors
    /// The topic cannot be created now.
    pub async fn group_log(self: &Rc<Self>, group: &str) -> Result<LogId, GroupError> {
        let topic = self.offsets_topic().await.map_err(|error| {
            tracing::warn!(%error, "cannot create the topic that groups are kept in");
            GroupError::NotAvailable
        })?;
        Ok(log_of_group(&topic, group))
    }

    async fn offsets_topic(self: &Rc<Self>) -> Result<Arc<Topic>, ControlError> {
        if let Some(topic) = self.image().topic(OFFSETS_TOPIC) {
            return Ok(Arc::clone(topic));
        }
        let configs = [
            ("cleanup.policy", "compact".to_owned()),
            ("segment.bytes", OFFSETS_SEGMENT_BYTES.to_string()),
        ];
        let configs = configs.into_iter().map(|(key, value)| (key.to_owned(), value));
        let new = NewTopic {
            name: OFFSETS_TOPIC.to_owned(),
            partitions: Some(self.groups.settings.topic_partitions),
            configs: configs.collect::<BTreeMap<_, _>>(),
        };
        match self.control(ControlRequest::CreateTopic(new)).await {
            Ok(ControlReply::Topic(topic)) => Ok(topic),
            // Somebody else was quicker; when they were answered, every shard had the image.
            Err(ControlError::TopicExists(name)) => {
                let topic = self.image().topic(OFFSETS_TOPIC).cloned();
                topic.ok_or(ControlError::UnknownTopic(name))
            }
            Ok(ControlReply::ProducerIds(_) | ControlReply::Altered) => Err(ControlError::Stopping),
            Err(error) => Err(error),
        }
    }

    /// Puts a request to the coordinator of `log`, which this shard should have.
    fn ask(self: &Rc<Self>, log: LogId, group: &Arc<str>, request: GroupRequest, ticket: Ticket) {
        let hosted = self.groups.hosted.borrow().get(&log).cloned();
        let Some(hosted) = hosted else {
            return self.await_topic(log, group, request, ticket);
        };
        let waits = matches!(request, GroupRequest::Join(_) | GroupRequest::Sync(_));
        if self.sealed.get() || waits && self.groups.closed.get() {
            return self.groups.refuse(ticket, GroupError::NotCoordinator);
        }
        match hosted.refusal() {
            // A member is not to give up because the broker has just started; its session begins when loading ends.
            Some(GroupError::Loading) if matches!(request, GroupRequest::Heartbeat(..)) => {
                self.groups.answer(ticket, GroupReply::Done);
            }
            Some(error) => self.groups.refuse(ticket, error),
            None => {
                let group = Arc::clone(group);
                let asked = Asked {
                    group,
                    request,
                    ticket,
                };
                self.take_in(&hosted, asked);
            }
        }
    }

    /// Another shard has the image with the offsets topic already; this one gets it any moment.
    fn await_topic(&self, log: LogId, group: &Arc<str>, request: GroupRequest, ticket: Ticket) {
        let mut early = self.groups.early.borrow_mut();
        let comes = self.owner_of(log) == self.id && self.image().topic_by_id(log.topic).is_none();
        if !comes || self.groups.closed.get() {
            drop(early);
            return self.groups.refuse(ticket, GroupError::NotCoordinator);
        }
        let waiting: usize = early.iter().map(|early| early.request.memory_bytes()).sum();
        if early.len() >= EARLY_MAX || waiting + request.memory_bytes() > self.groups.bytes_max {
            drop(early);
            return self.groups.refuse(ticket, GroupError::Loading);
        }
        early.push(Early {
            log,
            group: Arc::clone(group),
            request,
            ticket,
        });
    }

    /// Follows the metadata: coordinates the partitions of the offsets topic this shard owns, and writes off offsets of
    /// topics that are gone.
    pub(crate) fn follow_topics(self: &Rc<Self>, old: &Image, new: &Image) {
        if let Some(topic) = new.topic(OFFSETS_TOPIC) {
            for partition in 0..topic.partitions {
                let log = LogId {
                    topic: topic.id,
                    partition: PartitionId::new(partition),
                };
                if self.owner_of(log) == self.id && !self.groups.hosted.borrow().contains_key(&log) {
                    self.host(log);
                }
            }
        }
        for early in self.groups.early.take() {
            self.ask(early.log, &early.group, early.request, early.ticket);
        }
        let gone = |topic: &&Arc<Topic>| new.topic_by_id(topic.id).is_none();
        let gone: Vec<Arc<Topic>> = old.topics().filter(gone).cloned().collect();
        if gone.is_empty() {
            return;
        }
        for hosted in self.groups.all_hosted() {
            if hosted.refusal().is_none() {
                self.act(&hosted, |machine, cx| machine.topics_deleted(&gone, cx));
            }
        }
    }

    fn host(self: &Rc<Self>, log: LogId) {
        let Some(partition) = self.partition(log) else {
            return;
        };
        let hosted = Hosted::new(partition);
        self.groups.hosted.borrow_mut().insert(log, Rc::clone(&hosted));
        if hosted.begin_if_new() {
            return;
        }
        crate::runtime::executor::spawn(Rc::clone(self).load_groups(hosted));
    }

    /// The shard that coordinates groups of `log`.
    #[must_use]
    pub fn coordinator_of(&self, log: LogId) -> ShardId {
        self.owner_of(log)
    }
}

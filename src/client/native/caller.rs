//! The machine for single calls: one question or order at a time, and its answer.
//!
//! Questions (topics, offsets, fetches) are asked again when their connection breaks; orders (create, delete) are not,
//! because nobody knows whether they were carried out. Calls about a partition go to its leader, others to whoever is
//! connected. Pure: no I/O, `now` is an argument; the fronts drive it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, Flow, From, Handler, LinkId};
use super::config::{READ_BYTES, Start};
use super::consumer::lent::Lent;
use super::consumer::view::Batches;
use super::drive::Machine;
use super::error::{Error, Waited};
use crate::base::{LogId, PartitionId, Timestamp, TopicId};
use crate::protocol::native::frame::{Frame, FrameError, Kind};
use crate::protocol::native::messages::{
    CreateTopic, DeleteTopic, ErrorFrame, FetchEntry, FetchHead, Fetched, Metadata, MetadataAnswer, Offsets,
    OffsetsAnswer, OffsetsEntry, Query, TopicAnswer, encode_fetch,
};

/// What a cluster says about one topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
    /// The node that serves each partition.
    pub leaders: Vec<u32>,
    /// Largest batch it accepts, in bytes.
    pub max_batch_bytes: u32,
    /// Whether an acknowledgement means in memory instead of on the disk.
    pub relaxed: bool,
}

/// Which records of a partition to fetch, and how patiently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The partition.
    pub partition: u32,
    /// First record wanted.
    pub offset: u64,
    /// Stop before exceeding this, unless the first batch does.
    pub max_bytes: u32,
    /// How long the broker waits when there is nothing yet.
    pub max_wait: Duration,
}

impl Position {
    /// Up to 1 MiB from `offset` of `partition`, without waiting.
    #[must_use]
    pub const fn new(partition: u32, offset: u64) -> Self {
        Self {
            partition,
            offset,
            max_bytes: 1 << 20,
            max_wait: Duration::ZERO,
        }
    }
}

/// A question or an order.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Is anybody there?
    Greet,
    Create {
        name: String,
        partitions: u32,
        configs: Vec<(String, String)>,
    },
    Delete {
        name: String,
    },
    /// One topic, or all.
    Describe {
        name: Option<String>,
    },
    Offset {
        topic: Arc<str>,
        partition: u32,
        start: Start,
    },
    Fetch {
        topic: Arc<str>,
        position: Position,
    },
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Done,
    Topics(Vec<TopicDescription>),
    /// Where a partition begins, ends or is at a time; `None` if there is no such record.
    Offset(Option<u64>),
    /// Batches are there to be [lent](CallerCore::lend).
    Fetched,
}

/// See the module.
#[derive(Debug)]
pub(super) struct CallerCore {
    cluster: Cluster,
    calls: Calls,
    lent: Lent,
    /// The answer on loan.
    held: Option<LinkId>,
}

#[derive(Debug, Default)]
struct Calls {
    call: Option<Call>,
    asked: Option<(LinkId, u64)>,
    answer: Option<Result<Answer, Error>>,
    stale: bool,
}

impl CallerCore {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            calls: Calls::default(),
            lent: Lent::default(),
            held: None,
        }
    }

    /// How long a call may take.
    pub(super) fn patience(&self) -> Duration {
        let config = self.cluster.config();
        match &self.calls.call {
            Some(Call::Greet) => config.connect_timeout,
            Some(Call::Fetch { position, .. }) => config.request_timeout + position.max_wait,
            _ => config.request_timeout,
        }
    }

    /// Begins a call; what came of the one before is forgotten.
    pub(super) fn begin(&mut self, call: Call) {
        self.held = None;
        self.lent.take_ends().for_each(drop);
        self.calls = Calls {
            call: Some(call),
            ..Calls::default()
        };
    }

    /// What came of the call, once.
    pub(super) const fn answer(&mut self) -> Option<Result<Answer, Error>> {
        self.calls.answer.take()
    }

    /// Why there is no answer, when waiting for it is over. Ends the call.
    pub(super) fn give_up(&mut self) -> Error {
        let what = match self.calls.call.take() {
            Some(Call::Greet) | None => Waited::Broker,
            Some(_) => Waited::Answer,
        };
        self.calls.asked = None;
        self.cluster.why_down().unwrap_or(Error::TimedOut { what })
    }

    /// The batches that were fetched.
    pub(super) fn lend<'a>(&'a self, topic: &'a Arc<str>) -> Result<Batches<'a>, Error> {
        let frame = self.held.and_then(|link| self.cluster.held(link));
        let bytes = frame.map_or(&[][..], |frame| frame.batches);
        let batches = self
            .lent
            .views(|_| topic, bytes)
            .map_err(|unsound| unsound.describe(topic))?;
        Ok(Batches { batches })
    }

    /// A cluster of its own for a producer or a consumer, with the same addresses and settings.
    pub(super) fn beside(&self) -> Result<Cluster, Error> {
        self.cluster.beside()
    }

    /// Asks what is not asked yet, if there is a connection for it.
    fn pump(&mut self, now: Instant) {
        if std::mem::take(&mut self.calls.stale) {
            self.cluster.refresh(now);
        }
        let (None, None, Some(call)) = (&self.calls.asked, &self.calls.answer, &self.calls.call) else {
            return;
        };
        let about = match call {
            Call::Offset { topic, partition, .. } => Some((topic, *partition)),
            Call::Fetch { topic, position } => Some((topic, position.partition)),
            _ => None,
        };
        let mut log = LogId::default();
        let mut link = self.cluster.anyone();
        if let Some((name, partition)) = about {
            if self.cluster.is_refreshing() {
                return;
            }
            let Some(topic) = self.cluster.topic(name) else {
                return;
            };
            let count = u32::try_from(topic.leaders.len()).unwrap_or(u32::MAX);
            let (id, leader, error) = (
                topic.id,
                topic.leaders.get(partition as usize).copied(),
                topic.error,
            );
            let refusal = error.map(|code| Error::refused(Arc::clone(name), code));
            let Some(leader) = leader else {
                let topic = Arc::clone(name);
                let missing = || Error::NoSuchPartition {
                    topic,
                    partition,
                    count,
                };
                self.calls.stale = true;
                self.calls.answer = Some(Err(refusal.unwrap_or_else(missing)));
                return;
            };
            log = LogId {
                topic: id,
                partition: PartitionId::new(partition),
            };
            link = self.cluster.node(leader);
        }
        let Some(link) = link else {
            return;
        };
        if matches!(call, Call::Greet) {
            self.calls.answer = Some(Ok(Answer::Done));
            return;
        }
        let correlation = self.cluster.correlate();
        match call.encode(self.cluster.link(link).outbox(), correlation, log) {
            Ok(()) => {
                self.cluster.expect(link, correlation, now);
                self.calls.asked = Some((link, correlation));
            }
            Err(error) => {
                let address = Arc::clone(self.cluster.link(link).address());
                self.calls.answer = Some(Err(Error::protocol(&address, error)));
            }
        }
    }

    /// Checks what was fetched.
    fn inspect(&mut self, link: LinkId) {
        self.held = Some(link);
        let Some(Call::Fetch { topic, position }) = &self.calls.call else {
            return;
        };
        let Some(frame) = self.cluster.held(link) else {
            return;
        };
        let damaged = |offset, reason: String| Error::Damaged {
            topic: Arc::clone(topic),
            partition: position.partition,
            offset,
            reason: reason.into(),
        };
        let outcome = Fetched::decode(&frame)
            .map_err(|error| damaged(position.offset, error.to_string()))
            .and_then(|fetched| {
                let base = frame.batches.as_ptr().addr();
                for (entry, batches) in fetched.partitions() {
                    if let Some(code) = entry.error() {
                        let what = format!("{topic}-{}", position.partition);
                        return Err(Error::refused(what, code));
                    }
                    let mut next = position.offset;
                    for batch in batches {
                        let batch = batch.map_err(|error| damaged(next, error.to_string()))?;
                        let high_watermark = entry.high_watermark;
                        next = self
                            .lent
                            .plan(&batch, 0, entry.log(), next, high_watermark, base, OPEN_BYTES)
                            .map_err(|reason| damaged(next, reason))?;
                    }
                }
                Ok(Answer::Fetched)
            });
        self.calls.answer = Some(outcome);
    }
}

impl Machine for CallerCore {
    fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    fn advance(&mut self, now: Instant) {
        if self.held.is_some() {
            return;
        }
        if let Some(link) = self.cluster.advance(&mut self.calls, now) {
            self.inspect(link);
        }
        self.pump(now);
    }

    fn wake(&self) -> Option<Instant> {
        self.cluster.wake()
    }
}

impl Answer {
    pub(super) fn into_topics(self) -> Vec<TopicDescription> {
        match self {
            Self::Topics(topics) => topics,
            _ => Vec::new(),
        }
    }

    pub(super) fn into_offset(self) -> Option<u64> {
        match self {
            Self::Offset(offset) => offset,
            _ => None,
        }
    }
}

impl Call {
    pub(super) fn create(name: &str, partitions: u32, configs: &[(&str, &str)]) -> Self {
        let configs = configs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self::Create {
            name: name.to_owned(),
            partitions,
            configs: configs.collect(),
        }
    }

    /// Whether asking twice does no harm.
    const fn is_question(&self) -> bool {
        !matches!(self, Self::Create { .. } | Self::Delete { .. })
    }

    fn encode(&self, out: &mut Vec<u8>, correlation: u64, log: LogId) -> Result<(), FrameError> {
        match self {
            Self::Greet => Ok(()),
            Self::Create {
                name,
                partitions,
                configs,
            } => {
                let configs = configs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                let create = CreateTopic {
                    name,
                    partitions: *partitions,
                    configs: configs.collect(),
                };
                create.encode(out, correlation)
            }
            Self::Delete { name } => DeleteTopic { name }.encode(out, correlation),
            Self::Describe { name: None } => Metadata::All.encode(out, correlation),
            Self::Describe { name: Some(name) } => Metadata::Named(vec![name]).encode(out, correlation),
            Self::Offset { start, .. } => {
                let query = match *start {
                    Start::Earliest | Start::Offset(_) => Query::Earliest,
                    Start::Latest => Query::Latest,
                    Start::Time(millis) => Query::AtTime(Timestamp::new(millis)),
                };
                Offsets::encode(out, correlation, &[OffsetsEntry::new(log, query)])
            }
            Self::Fetch { position, .. } => {
                let head = FetchHead {
                    entry_count: 1,
                    max_bytes: position.max_bytes,
                    min_bytes: 1,
                    max_wait_ms: u32::try_from(position.max_wait.as_millis()).unwrap_or(u32::MAX),
                };
                let entry = FetchEntry {
                    topic_id: log.topic.to_bytes(),
                    partition: log.partition.get(),
                    max_bytes: position.max_bytes,
                    offset: position.offset,
                };
                encode_fetch(out, correlation, &head, &[entry])
            }
        }
    }

    /// What the call is about, for errors.
    fn subject(&self) -> String {
        match self {
            Self::Greet => "a hello".to_owned(),
            Self::Create { name, .. } | Self::Delete { name } => name.clone(),
            Self::Describe { name } => name.clone().unwrap_or_else(|| "topics".to_owned()),
            Self::Offset { topic, partition, .. } => format!("{topic}-{partition}"),
            Self::Fetch { topic, position } => format!("{topic}-{}", position.partition),
        }
    }

    fn read(&self, frame: &Frame<'_>) -> Result<Answer, String> {
        let wrong = |error: crate::protocol::native::pod::DecodeError| error.to_string();
        match self {
            Self::Greet | Self::Fetch { .. } => Ok(Answer::Done),
            Self::Create { .. } | Self::Delete { .. } => {
                TopicAnswer::decode(frame).map(|_| Answer::Done).map_err(wrong)
            }
            Self::Describe { .. } => MetadataAnswer::decode(frame).map(described).map_err(wrong),
            Self::Offset { .. } => {
                let answer = OffsetsAnswer::decode(frame).map_err(wrong)?;
                let entry = answer.entries.get(0).ok_or("an answer without an entry")?;
                let found = entry.outcome().map_err(|code| code.to_string())?;
                Ok(Answer::Offset(found.map(|offset| offset.get())))
            }
        }
    }
}

fn described(answer: MetadataAnswer<'_>) -> Answer {
    let topics = answer.topics.into_iter().filter(|topic| topic.error.is_none());
    let topics = topics.map(|topic| TopicDescription {
        name: topic.name.to_owned(),
        id: topic.id,
        leaders: topic.leaders,
        max_batch_bytes: topic.max_batch_bytes,
        relaxed: topic.relaxed,
    });
    Answer::Topics(topics.collect())
}

impl Handler for Calls {
    fn frame(&mut self, from: From<'_>, frame: &Frame<'_>) -> Result<Flow, Error> {
        let asked = self
            .asked
            .is_some_and(|(_, correlation)| correlation == frame.head.correlation);
        let Some(call) = self.call.as_ref().filter(|_| asked) else {
            return Ok(Flow::Next);
        };
        self.asked = None;
        if let Ok(error) = ErrorFrame::decode(frame) {
            self.stale = true;
            self.answer = Some(Err(Error::Refused {
                what: call.subject().into(),
                code: error.code,
                reason: error.text.into(),
            }));
            return Ok(Flow::Next);
        }
        if frame.head.kind == Kind::Fetched {
            return Ok(Flow::Hold);
        }
        self.stale = !call.is_question();
        let address = Arc::clone(from.cluster.link(from.link).address());
        self.answer = Some(
            call.read(frame)
                .map_err(|reason| Error::protocol(&address, reason)),
        );
        Ok(Flow::Next)
    }

    fn lost(&mut self, _cluster: &mut Cluster, link: LinkId, error: &Error) {
        if self.asked.is_some_and(|(asked, _)| asked == link) {
            self.asked = None;
            if self.call.as_ref().is_some_and(|call| !call.is_question()) {
                self.answer = Some(Err(error.clone()));
            }
        }
    }
}

/// Bytes a compressed Kafka batch may open to.
const OPEN_BYTES: usize = 64 << 20;

const _: () = assert!(OPEN_BYTES > READ_BYTES);

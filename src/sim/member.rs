//! A member of a consumer group: joins, is given partitions, reads on from where the group had got, commits how far it got.
//!
//! Of the classic protocol ([`Protocol::Classic`]), with the assignment made by the leader as clients do, or of the newer one
//! ([`Protocol::Consumer`]), where the broker assigns. A member whose connection breaks is dead: it comes back as another, so
//! that no commit of its own can overtake a later one on another connection. What it may be told about positions is judged by
//! the [`GroupStory`] of each partition: they do not go back, and nothing below them was left out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::book::{Book, Phase, TopicKey};
use super::history::Rule;
use super::link::Link;
use super::reader::{Broken, list_offsets, read_some, told};
use crate::base::TopicId;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ConsumerGroupTopicPartitions,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use crate::runtime::executor;
use crate::runtime::sim::{ProcessId, Random};

/// Before a broken or refused member comes back.
const RETRY_PAUSE: Duration = Duration::from_millis(60);

/// Between two rounds of reading.
const ROUND_PAUSE: Duration = Duration::from_millis(15);

/// A classic member that is silent for so long is gone.
const SESSION_TIMEOUT_MS: i32 = 1_500;

/// How long a rebalance waits for members.
const REBALANCE_TIMEOUT_MS: i32 = 2_000;

/// In front of every share of ours.
const SHARE_MARK: u8 = 0xee;

/// A partition, as the book knows it.
type Log = (TopicKey, i32);

/// Which protocol a group speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    /// The one where a member assigns.
    Classic,
    /// The one where the broker assigns.
    Consumer,
}

/// A group of a run.
#[derive(Clone, Debug)]
pub(super) struct GroupPlan {
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) topics: Vec<TopicKey>,
    pub(super) members: u32,
}

/// What is known of a group's position in one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GroupStory {
    /// The furthest position that was acknowledged.
    acked: Option<u64>,
    /// The furthest position anybody tried to commit.
    asked: u64,
    /// Everything below was read by members, each from where it was told the group had got.
    read: u64,
}

impl GroupStory {
    /// A member was told where the group had got; when it asked, `before` was the story.
    fn told(&mut self, position: Option<u64>, before: Self) -> Result<(), String> {
        if position < before.acked {
            return Err(format!("is at {position:?}, {:?} was acknowledged", before.acked));
        }
        if position.is_some_and(|position| position > self.asked) {
            return Err(format!(
                "is at {position:?}, nobody committed more than {}",
                self.asked
            ));
        }
        if position.unwrap_or(0) > self.read {
            return Err(format!("is at {position:?}, nobody read on from {}", self.read));
        }
        // A crash may have taken the answer to the commit; what was told is as good as one.
        self.acked = self.acked.max(position);
        Ok(())
    }

    /// Whether the group has read everything below `end`.
    pub(super) fn has_committed(self, end: u64) -> bool {
        self.acked.unwrap_or(0) >= end
    }
}

/// See the module.
pub(super) struct Member {
    book: Rc<Book>,
    process: ProcessId,
    dice: Random,
    group: usize,
    plan: GroupPlan,
    /// Lives of this client so far.
    lives: u32,
    number: u32,
}

/// A membership.
struct Life {
    member_id: String,
    /// Generation, or epoch of the member.
    generation: i32,
    positions: BTreeMap<Log, u64>,
    /// What was committed last, by partition.
    committed: BTreeMap<Log, u64>,
}

/// Why a life goes on in another way.
enum Turn {
    /// The connection broke, or the member is not known any more.
    Dead,
    /// The group changes; join again.
    Rejoin,
}

impl From<io::Error> for Turn {
    fn from(_: io::Error) -> Self {
        Self::Dead
    }
}

impl From<Broken> for Turn {
    fn from(_: Broken) -> Self {
        Self::Dead
    }
}

impl Member {
    pub(super) fn new(book: &Rc<Book>, group: usize, plan: GroupPlan, number: u32, dice: Random) -> Self {
        Self {
            book: Rc::clone(book),
            process: book.world.new_process(),
            dice,
            group,
            plan,
            lives: 0,
            number,
        }
    }

    pub(super) fn start(self) {
        let (world, process) = (self.book.world.clone(), self.process);
        self.book.begin(&self.name());
        world.spawn(process, 0, self.run());
    }

    fn name(&self) -> String {
        format!("member {} of {}", self.number, self.plan.name)
    }

    async fn run(mut self) {
        while !self.is_done() {
            self.lives += 1;
            let lived = match self.plan.protocol {
                Protocol::Classic => self.live_classic().await,
                Protocol::Consumer => self.live_consumer().await,
            };
            if lived.is_err() {
                executor::sleep(RETRY_PAUSE).await;
            }
        }
        self.book.finish(&self.name());
    }

    /// In the calm, once the group has committed everything that was known then.
    fn is_done(&self) -> bool {
        self.book.phase() == Phase::Calm && self.book.group_goal_reached(self.group)
    }

    fn logs(&self) -> Vec<Log> {
        let partitions = |topic: &TopicKey| {
            let topic = *topic;
            (0..self.book.topic(topic).partitions).map(move |partition| (topic, partition))
        };
        self.plan.topics.iter().flat_map(partitions).collect()
    }

    fn connect(&mut self) -> Result<Link, Turn> {
        let addresses = self.book.addresses();
        let address = addresses[self.dice.index(addresses.len())];
        Ok(Link::open(&self.book.world, address)?)
    }

    /// What an error code means for the member.
    fn turn(&self, what: &str, code: i16) -> Result<(), Turn> {
        let error = ErrorCode::from_wire(code);
        if error != Some(ErrorCode::None) {
            self.book
                .say(|| format!("{} member {}: {what}: {error:?}", self.plan.name, self.number));
        }
        match error {
            Some(ErrorCode::None) => Ok(()),
            Some(
                ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::StaleMemberEpoch,
            ) => Err(Turn::Rejoin),
            Some(ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch) => Err(Turn::Dead),
            Some(error) if error.is_retriable() => Err(Turn::Dead),
            other => {
                self.book.break_rule(
                    Rule::AnswersMakeSense,
                    format!("{what} was refused with {other:?}"),
                );
                Err(Turn::Dead)
            }
        }
    }

    async fn live_classic(&mut self) -> Result<(), Turn> {
        let mut link = self.connect()?;
        let mut life = Life {
            member_id: String::new(),
            generation: -1,
            positions: BTreeMap::new(),
            committed: BTreeMap::new(),
        };
        loop {
            let lived = async {
                self.join(&mut link, &mut life).await?;
                self.take_positions(&mut link, &mut life).await?;
                self.work(&mut link, &mut life).await
            };
            match lived.await {
                Ok(()) => return Ok(()),
                Err(Turn::Rejoin) if !self.is_done() => {}
                Err(turn) => return Err(turn),
            }
        }
    }

    async fn join(&mut self, link: &mut Link, life: &mut Life) -> Result<(), Turn> {
        let (leads, members) = loop {
            let request = JoinGroupRequest {
                group_id: &self.plan.name,
                session_timeout_ms: SESSION_TIMEOUT_MS,
                rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
                member_id: &life.member_id,
                protocol_type: "consumer",
                protocols: vec![JoinGroupRequestProtocol {
                    name: "ours",
                    metadata: b"any",
                }],
                ..JoinGroupRequest::default()
            };
            let answer = told(&self.book, link.call(request, 5).await)?;
            let answer: JoinGroupResponse<'_> = told(&self.book, answer.decode())?;
            if ErrorCode::from_wire(answer.error_code) == Some(ErrorCode::MemberIdRequired) {
                answer.member_id.clone_into(&mut life.member_id);
                continue;
            }
            self.turn("join", answer.error_code)?;
            answer.member_id.clone_into(&mut life.member_id);
            life.generation = answer.generation_id;
            let members: Vec<String> = answer
                .members
                .iter()
                .map(|member| member.member_id.to_owned())
                .collect();
            break (answer.leader == answer.member_id, members);
        };
        let shares = if leads { self.assign(&members) } else { Vec::new() };
        let assignments = members
            .iter()
            .zip(&shares)
            .map(|(member, share)| SyncGroupRequestAssignment {
                member_id: member,
                assignment: share,
            });
        let request = SyncGroupRequest {
            group_id: &self.plan.name,
            generation_id: life.generation,
            member_id: &life.member_id,
            assignments: assignments.collect(),
            ..SyncGroupRequest::default()
        };
        let answer = told(&self.book, link.call(request, 3).await)?;
        let answer: SyncGroupResponse<'_> = told(&self.book, answer.decode())?;
        self.turn("sync", answer.error_code)?;
        // A member that the leader left out is given an empty assignment in the form of common clients.
        let share = answer.assignment.strip_prefix(&[SHARE_MARK]).unwrap_or_default();
        let share = share.chunks_exact(2).map(|pair| {
            let log = (usize::from(pair[0]), i32::from(pair[1]));
            (log, 0)
        });
        life.positions = share.collect();
        life.committed.clear();
        Ok(())
    }

    /// Deals the partitions out: a mark, then two bytes each, topic and partition.
    fn assign(&self, members: &[String]) -> Vec<Vec<u8>> {
        let mut shares = vec![vec![SHARE_MARK]; members.len()];
        for (index, (topic, partition)) in self.logs().into_iter().enumerate() {
            let share = &mut shares[index % members.len()];
            share.push(u8::try_from(topic).expect("few topics"));
            share.push(u8::try_from(partition).expect("few partitions"));
        }
        shares
    }

    /// Learns where the group has got in the partitions of this life that have no position yet.
    async fn take_positions(&mut self, link: &mut Link, life: &mut Life) -> Result<(), Turn> {
        let logs: Vec<Log> = life.positions.keys().copied().collect();
        for log in logs {
            if life.committed.contains_key(&log) {
                continue;
            }
            let position = self.fetch_position(link, life, log).await?;
            life.positions.insert(log, position);
            life.committed.insert(log, position);
        }
        Ok(())
    }

    async fn fetch_position(&self, link: &mut Link, life: &Life, log: Log) -> Result<u64, Turn> {
        let name = self.book.topic(log.0).name;
        let before = self.book.group(self.group, log, |story| *story);
        let newer = self.plan.protocol == Protocol::Consumer;
        let request = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: &self.plan.name,
                member_id: newer.then_some(&life.member_id),
                member_epoch: if newer { life.generation } else { -1 },
                topics: Some(vec![OffsetFetchRequestTopic {
                    name: &name,
                    topic_id: TopicId::NIL,
                    partition_indexes: vec![log.1],
                }]),
            }],
            ..OffsetFetchRequest::default()
        };
        let answer = told(&self.book, link.call(request, 9).await)?;
        let answer: OffsetFetchResponse<'_> = told(&self.book, answer.decode())?;
        let group = answer.groups.first().ok_or(Turn::Dead)?;
        self.turn("fetching a position", group.error_code)?;
        let part = group.topics.first().and_then(|topic| topic.partitions.first());
        let part = part.ok_or(Turn::Dead)?;
        self.turn("fetching a position", part.error_code)?;
        let position = u64::try_from(part.committed_offset).ok();
        let name = &self.plan.name;
        self.book
            .say(|| format!("{name} member {}: {log:?} is at {position:?}", self.number));
        let judged = self
            .book
            .group(self.group, log, |story| story.told(position, before));
        if let Err(what) = judged {
            self.book
                .break_rule(Rule::CommitsAdvance, format!("{name} in {log:?} {what}"));
        }
        match position {
            Some(position) => Ok(position),
            None => Ok(list_offsets(&self.book, link, log).await?.0),
        }
    }

    /// Reads, commits and reports until something changes.
    async fn work(&mut self, link: &mut Link, life: &mut Life) -> Result<(), Turn> {
        loop {
            self.round(link, life).await?;
            if self.is_done() {
                return Ok(());
            }
            if self.book.phase() == Phase::Storm && self.dice.one_in(60) {
                self.book
                    .say(|| format!("{} member {} vanishes", self.plan.name, self.number));
                return Err(Turn::Dead);
            }
            self.heartbeat(link, life).await?;
            executor::sleep(ROUND_PAUSE).await;
        }
    }

    /// Reads a little of each partition, and commits now and then.
    async fn round(&mut self, link: &mut Link, life: &mut Life) -> Result<(), Turn> {
        let logs: Vec<Log> = life.positions.keys().copied().collect();
        for log in logs {
            let from = life.positions[&log];
            let next = read_some(&self.book, link, log, from).await?;
            // What was deleted meanwhile nobody has to read.
            let start = self.book.story(log.0, log.1, |story| Ok(story.floor())).start();
            self.book.group(self.group, log, |story| {
                story.read = story.read.max(start);
                if from <= story.read {
                    story.read = story.read.max(next);
                }
            });
            life.positions.insert(log, next);
        }
        if self.book.phase() == Phase::Calm || self.dice.one_in(3) {
            self.commit(link, life).await?;
        }
        Ok(())
    }

    async fn commit(&self, link: &mut Link, life: &mut Life) -> Result<(), Turn> {
        for (log, position) in life.positions.clone() {
            if life.committed.get(&log) == Some(&position) {
                continue;
            }
            self.book
                .group(self.group, log, |story| story.asked = story.asked.max(position));
            let name = self.book.topic(log.0).name;
            let request = OffsetCommitRequest {
                group_id: &self.plan.name,
                generation_id_or_member_epoch: life.generation,
                member_id: &life.member_id,
                topics: vec![OffsetCommitRequestTopic {
                    name: &name,
                    topic_id: TopicId::NIL,
                    partitions: vec![OffsetCommitRequestPartition {
                        partition_index: log.1,
                        committed_offset: i64::try_from(position).expect("a small offset"),
                        ..OffsetCommitRequestPartition::default()
                    }],
                }],
                ..OffsetCommitRequest::default()
            };
            let answer = told(&self.book, link.call(request, 9).await)?;
            let answer: OffsetCommitResponse<'_> = told(&self.book, answer.decode())?;
            let part = answer.topics.first().and_then(|topic| topic.partitions.first());
            self.turn("commit", part.map_or(-1, |part| part.error_code))?;
            self.book.group(self.group, log, |story| {
                story.acked = story.acked.max(Some(position));
            });
            self.book.say(|| {
                format!(
                    "{} member {}: {log:?} committed {position}",
                    self.plan.name, self.number
                )
            });
            self.book.mark("commits", 1);
            life.committed.insert(log, position);
        }
        Ok(())
    }

    async fn heartbeat(&self, link: &mut Link, life: &mut Life) -> Result<(), Turn> {
        if self.plan.protocol == Protocol::Consumer {
            return self.report(link, life, false).await;
        }
        let request = HeartbeatRequest {
            group_id: &self.plan.name,
            generation_id: life.generation,
            member_id: &life.member_id,
            group_instance_id: None,
        };
        let answer = told(&self.book, link.call(request, 3).await)?;
        let answer: HeartbeatResponse = told(&self.book, answer.decode())?;
        self.turn("heartbeat", answer.error_code)
    }

    async fn live_consumer(&mut self) -> Result<(), Turn> {
        let mut link = self.connect()?;
        let mut life = Life {
            member_id: format!("{}-{}-{}", self.plan.name, self.number, self.lives),
            generation: 0,
            positions: BTreeMap::new(),
            committed: BTreeMap::new(),
        };
        self.report(&mut link, &mut life, true).await?;
        loop {
            // A stale epoch asks for another report, and nothing else.
            match self.work(&mut link, &mut life).await {
                Err(Turn::Rejoin) if !self.is_done() => self.report(&mut link, &mut life, false).await?,
                ended => return ended,
            }
        }
    }

    /// A heartbeat of the newer protocol, and what it changes.
    async fn report(&self, link: &mut Link, life: &mut Life, joins: bool) -> Result<(), Turn> {
        let names: Vec<String> = self
            .plan
            .topics
            .iter()
            .map(|topic| self.book.topic(*topic).name)
            .collect();
        let mut owned: BTreeMap<TopicKey, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in life.positions.keys() {
            owned.entry(*topic).or_default().push(*partition);
        }
        let owned = owned
            .into_iter()
            .map(|(topic, partitions)| ConsumerGroupTopicPartitions {
                topic_id: self.book.topic(topic).id.unwrap_or(TopicId::NIL),
                partitions,
            });
        let request = ConsumerGroupHeartbeatRequest {
            group_id: &self.plan.name,
            member_id: &life.member_id,
            member_epoch: life.generation,
            rebalance_timeout_ms: if joins { REBALANCE_TIMEOUT_MS } else { -1 },
            subscribed_topic_names: joins.then(|| names.iter().map(String::as_str).collect()),
            topic_partitions: Some(owned.collect()),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let answer = told(&self.book, link.call(request, 1).await)?;
        let answer: ConsumerGroupHeartbeatResponse<'_> = told(&self.book, answer.decode())?;
        self.turn("report", answer.error_code)?;
        life.generation = answer.member_epoch;
        let Some(assignment) = answer.assignment else {
            return Ok(());
        };
        let mut share = BTreeSet::new();
        for topic in &assignment.topic_partitions {
            let key =
                (0..self.book.topic_count()).find(|key| self.book.topic(*key).id == Some(topic.topic_id));
            let Some(key) = key else {
                self.book
                    .break_rule(Rule::AnswersMakeSense, "a topic nobody knows was assigned");
                return Err(Turn::Dead);
            };
            share.extend(topic.partitions.iter().map(|partition| (key, *partition)));
        }
        self.book
            .say(|| format!("{} member {}: has {share:?}", self.plan.name, self.number));
        life.positions.retain(|log, _| share.contains(log));
        life.committed.retain(|log, _| share.contains(log));
        let fresh: Vec<Log> = share
            .into_iter()
            .filter(|log| !life.positions.contains_key(log))
            .collect();
        for log in fresh {
            let position = self.fetch_position(link, life, log).await?;
            life.positions.insert(log, position);
            life.committed.insert(log, position);
        }
        Ok(())
    }
}

//! The group against a naive model: random members, lost answers, slow revocations, changing topics, crashes.
//!
//! The model knows nothing of epochs and targets. It keeps a table of who may be reading a partition: whoever was told of it
//! (even if the answer was lost), until that member was told otherwise and has said that it no longer owns it, or is no
//! member any more. The group must never tell a member of a partition that the table gives to another one.

use super::assignment::Assignment;
use super::member::{EPOCH_JOIN, EPOCH_LEAVE, EPOCH_STATIC_LEAVE};
use super::{ConsumerGroup, ConsumerGroupConfig, ConsumerGroupError, ConsumerHeartbeat};
use crate::base::{PartitionId, Timestamp, TopicId};
use crate::broker::group::record::GroupRecord;
use crate::broker::group::request::Now;
use crate::broker::image::Image;
use crate::broker::topic::{Topic, TopicDefaults, settings};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const CLIENTS: usize = 5;
const TOPICS: [&str; 4] = ["t1", "t2", "t3", "u1"];
const REBALANCE_TIMEOUT_MS: u32 = 20_000;

pub(super) fn now(mono_ms: u64) -> Now {
    Now {
        mono_ms,
        wall: Timestamp::new(1_700_000_000_000),
    }
}

/// Gives a topic that many partitions; 0 deletes it. A topic that comes back has another id.
pub(super) fn set_topic(image: &mut Image, name: &str, partitions: u32) {
    image.revision += 1;
    if partitions == 0 {
        image.remove(name);
        return;
    }
    let id = image.topic(name).map(|topic| topic.id);
    let mut bytes = [0u8; 16];
    bytes[..8].copy_from_slice(&image.revision.to_be_bytes());
    image.put(Topic {
        name: name.into(),
        id: id.unwrap_or_else(|| TopicId::new(bytes)),
        partitions,
        overrides: BTreeMap::new(),
        settings: settings(&BTreeMap::new(), &TopicDefaults::default()),
    });
}

#[derive(Clone, Copy, Debug)]
enum Drop {
    None,
    One,
    All,
}

#[derive(Clone, Debug)]
enum Step {
    Join {
        client: usize,
        subscription: usize,
    },
    Beat {
        client: usize,
        drop: Drop,
        full: bool,
        lost: bool,
    },
    Leave(usize),
    Away(usize),
    Restart(usize),
    Pass(u64),
    Topic {
        topic: usize,
        partitions: u32,
    },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let drop = prop_oneof![Just(Drop::None), Just(Drop::One), Just(Drop::All)];
    prop_oneof![
        3 => (client.clone(), 0usize..6)
            .prop_map(|(client, subscription)| Step::Join { client, subscription }),
        12 => (client.clone(), drop, any::<bool>(), prop::bool::weighted(0.15))
            .prop_map(|(client, drop, full, lost)| Step::Beat { client, drop, full, lost }),
        1 => client.clone().prop_map(Step::Leave),
        1 => client.clone().prop_map(Step::Away),
        1 => client.prop_map(Step::Restart),
        3 => prop_oneof![3 => 100u64..5_000, 1 => 5_000u64..60_000].prop_map(Step::Pass),
        2 => (0..TOPICS.len(), 0u32..7).prop_map(|(topic, partitions)| Step::Topic { topic, partitions }),
        1 => Just(Step::Crash),
    ]
}

fn subscription(kind: usize) -> (Option<Vec<Arc<str>>>, Option<Arc<str>>) {
    let names = |names: &[&str]| Some(names.iter().map(|name| Arc::from(*name)).collect());
    match kind {
        0 => (names(&["t1"]), None),
        1 => (names(&["t1", "t2"]), None),
        2 => (None, Some("t.*".into())),
        3 => (names(&["t3"]), Some("t[12]|u1".into())),
        4 => (names(&[]), None),
        _ => (names(&["t1", "t2", "t3", "u1"]), None),
    }
}

/// A consumer: it does as it is told, at its own pace.
#[derive(Clone, Debug, Default)]
struct Client {
    id: Arc<str>,
    instance: Option<Arc<str>>,
    /// `None` while it is not in the group.
    epoch: Option<i32>,
    subscription: usize,
    told: Assignment,
    reads: Assignment,
    /// It has missed an answer and says everything again.
    is_unsure: bool,
}

fn minus(one: &Assignment, other: &Assignment) -> Vec<(TopicId, PartitionId)> {
    one.iter()
        .filter(|(topic, partition)| !other.contains(*topic, *partition))
        .collect()
}

impl Client {
    /// Gives back some of what it should not have; once that is done, takes what it was told of.
    fn work(&mut self, drop: Drop) {
        let surplus = minus(&self.reads, &self.told);
        let dropped = match drop {
            Drop::None => 0,
            Drop::One => 1,
            Drop::All => surplus.len(),
        };
        let gone: Assignment = surplus.iter().take(dropped).copied().collect();
        self.reads = minus(&self.reads, &gone).into_iter().collect();
        if surplus.len() <= dropped {
            self.reads = self.told.clone();
        }
    }

    fn request(&self, epoch: i32) -> ConsumerHeartbeat {
        ConsumerHeartbeat {
            member_id: Arc::clone(&self.id),
            member_epoch: epoch,
            instance_id: self.instance.clone(),
            client_id: "model".into(),
            client_host: "/127.0.0.1".into(),
            ..ConsumerHeartbeat::default()
        }
    }

    fn full_request(&self, epoch: i32) -> ConsumerHeartbeat {
        let (names, pattern) = subscription(self.subscription);
        ConsumerHeartbeat {
            rebalance_timeout_ms: Some(REBALANCE_TIMEOUT_MS),
            names: names.or(Some(Vec::new())),
            pattern: pattern.or_else(|| Some("".into())),
            owned: Some(self.reads.clone()),
            ..self.request(epoch)
        }
    }

    fn abandon(&mut self) {
        self.epoch = None;
        self.told = Assignment::default();
        self.reads = Assignment::default();
        self.is_unsure = false;
    }
}

struct World {
    group: ConsumerGroup,
    log: Vec<GroupRecord>,
    image: Image,
    config: ConsumerGroupConfig,
    now_ms: u64,
    clients: Vec<Client>,
    generation: usize,
    /// Who may be reading what.
    readers: BTreeMap<(TopicId, PartitionId), Arc<str>>,
    /// What the group last told each member.
    told: BTreeMap<Arc<str>, Assignment>,
    epochs: (i32, i32),
    member_epochs: BTreeMap<Arc<str>, i32>,
}

impl World {
    fn new() -> Self {
        let mut image = Image::default();
        set_topic(&mut image, "t1", 4);
        set_topic(&mut image, "t2", 3);
        let clients = (0..CLIENTS).map(|slot| Client {
            id: format!("c{slot}").into(),
            // The last two have names that outlive their processes.
            instance: (slot >= CLIENTS - 2).then(|| format!("i{slot}").into()),
            ..Client::default()
        });
        Self {
            group: ConsumerGroup::new("g".into()),
            log: Vec::new(),
            image,
            config: ConsumerGroupConfig::default(),
            now_ms: 0,
            clients: clients.collect(),
            generation: 0,
            readers: BTreeMap::new(),
            told: BTreeMap::new(),
            epochs: (0, 0),
            member_epochs: BTreeMap::new(),
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Join { client, subscription } => self.join(client, subscription),
            Step::Beat {
                client,
                drop,
                full,
                lost,
            } => self.beat(client, drop, full, lost),
            Step::Leave(client) => self.leave(client, EPOCH_LEAVE),
            Step::Away(client) => self.leave(client, EPOCH_STATIC_LEAVE),
            Step::Restart(client) => self.restart(client),
            Step::Pass(ms) => self.pass(ms),
            Step::Topic { topic, partitions } => {
                let name = TOPICS[topic];
                let least = self.image.topic(name).map_or(0, |topic| topic.partitions);
                // Topics grow or go, they do not shrink.
                if partitions == 0 || partitions > least {
                    set_topic(&mut self.image, name, partitions);
                }
            }
            Step::Crash => self.crash(),
        }
        self.check();
    }

    fn send(&mut self, slot: usize, request: &ConsumerHeartbeat, lost: bool) {
        let id = &request.member_id;
        if request.member_epoch == EPOCH_JOIN {
            // It has abandoned all it had.
            self.told.remove(id);
        }
        if let Some(owned) = &request.owned {
            let told = self.told.get(id);
            self.readers.retain(|(topic, partition), reader| {
                reader != id
                    || owned.contains(*topic, *partition)
                    || told.is_some_and(|told| told.contains(*topic, *partition))
            });
        }
        let start = self.log.len();
        let before = format!("{:?}", self.group);
        let reply = self.group.heartbeat(
            request,
            &self.image,
            &self.config,
            now(self.now_ms),
            &mut self.log,
        );
        let client = &mut self.clients[slot];
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                assert_eq!(self.log.len(), start, "an error with records");
                assert_eq!(
                    before,
                    format!("{:?}", self.group),
                    "an error that changed something"
                );
                let expected = matches!(
                    error,
                    ConsumerGroupError::UnknownMember
                        | ConsumerGroupError::FencedMemberEpoch { .. }
                        | ConsumerGroupError::UnreleasedInstance
                        | ConsumerGroupError::FencedInstance
                );
                assert!(expected, "{error}");
                client.abandon();
                return;
            }
        };
        if request.member_epoch < 0 {
            client.abandon();
            return;
        }
        if let (Some(owned), Some(told)) = (&request.owned, &reply.assignment) {
            let before = self.told.get(id).cloned().unwrap_or_default();
            let is_kept = |(topic, partition): &(TopicId, PartitionId)| told.contains(*topic, *partition);
            let kept: Assignment = before.iter().filter(is_kept).collect();
            if *owned == kept {
                // It owns just what it may keep: it is not about to take the rest of what it was told of before.
                let is_still = |partition: &(TopicId, PartitionId)| owned.contains(partition.0, partition.1);
                self.readers
                    .retain(|partition, reader| reader != id || is_still(partition));
            }
        }
        // Whoever was replaced by this request is no member any more.
        self.readers.retain(|_, reader| self.group.has_member(reader));
        if let Some(assignment) = &reply.assignment {
            for partition in assignment.iter() {
                let other = self.readers.insert(partition, Arc::clone(&reply.member_id));
                assert!(
                    other.as_ref().is_none_or(|other| *other == reply.member_id),
                    "{partition:?} went to {} while {other:?} has it",
                    reply.member_id
                );
            }
            self.told.insert(Arc::clone(&reply.member_id), assignment.clone());
        }
        let last = self
            .member_epochs
            .insert(Arc::clone(&reply.member_id), reply.member_epoch);
        assert!(
            last.is_none_or(|last| last <= reply.member_epoch),
            "an epoch went back"
        );
        self.group
            .check_commit(&reply.member_id, reply.member_epoch)
            .unwrap();
        client.is_unsure = lost;
        if lost {
            // A client whose join was lost does not know that it is in.
            return;
        }
        client.epoch = Some(reply.member_epoch);
        if let Some(assignment) = reply.assignment {
            client.told = assignment;
        }
    }

    fn join(&mut self, slot: usize, subscription: usize) {
        let client = &mut self.clients[slot];
        client.subscription = subscription;
        if let Some(epoch) = client.epoch {
            // A new subscription of a member that stays.
            let request = client.full_request(epoch);
            return self.send(slot, &request, false);
        }
        client.abandon();
        let request = client.full_request(EPOCH_JOIN);
        self.send(slot, &request, false);
    }

    fn beat(&mut self, slot: usize, drop: Drop, full: bool, lost: bool) {
        let client = &mut self.clients[slot];
        let Some(epoch) = client.epoch else {
            return;
        };
        client.work(drop);
        let request = if full || client.is_unsure {
            client.full_request(epoch)
        } else if client.reads == client.told {
            ConsumerHeartbeat {
                owned: Some(client.reads.clone()),
                ..client.request(epoch)
            }
        } else {
            client.request(epoch)
        };
        self.send(slot, &request, lost);
    }

    fn leave(&mut self, slot: usize, epoch: i32) {
        let client = &self.clients[slot];
        if client.epoch.is_some() && (epoch == EPOCH_LEAVE || client.instance.is_some()) {
            let request = client.request(epoch);
            self.send(slot, &request, false);
            if epoch == EPOCH_STATIC_LEAVE {
                // It reads no more: what it was asked to give back is free, the rest is kept for it.
                let (id, told) = (&request.member_id, self.told.get(&request.member_id));
                self.readers.retain(|(topic, partition), reader| {
                    reader != id || told.is_some_and(|told| told.contains(*topic, *partition))
                });
            }
        }
    }

    /// The process dies and comes back with another member id.
    fn restart(&mut self, slot: usize) {
        self.generation += 1;
        self.clients[slot].abandon();
        self.clients[slot].id = format!("c{slot}-{}", self.generation).into();
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        if self
            .group
            .next_deadline_ms()
            .is_some_and(|deadline| deadline <= self.now_ms)
        {
            self.group.tick(&self.image, now(self.now_ms), &mut self.log);
            let next = self.group.next_deadline_ms();
            assert!(
                next.is_none_or(|next| next > self.now_ms),
                "the deadline does not move"
            );
        } else {
            let members = self.group.len();
            self.group.tick(&self.image, now(self.now_ms), &mut self.log);
            assert_eq!(self.group.len(), members, "somebody was late before the deadline");
        }
    }

    fn replayed<'a>(&self, log: impl IntoIterator<Item = &'a GroupRecord>) -> ConsumerGroup {
        let mut group = ConsumerGroup::new("g".into());
        for record in log {
            group.apply(&record.key, record.value.as_deref()).unwrap();
        }
        group.resume(&self.config, now(self.now_ms));
        group
    }

    fn crash(&mut self) {
        let group = self.replayed(&self.log);
        assert_eq!(essence(&group), essence(&self.group));
        let mut last: BTreeMap<&[u8], usize> = BTreeMap::new();
        for (index, record) in self.log.iter().enumerate() {
            last.insert(&record.key, index);
        }
        let kept: BTreeSet<usize> = last.into_values().collect();
        let compacted: Vec<&GroupRecord> = self
            .log
            .iter()
            .enumerate()
            .filter(|(index, record)| kept.contains(index) && record.value.is_some())
            .map(|(_, record)| record)
            .collect();
        assert_eq!(essence(&self.replayed(compacted)), essence(&self.group));
        self.group = group;
    }

    fn check(&mut self) {
        check_disjoint(&self.group);
        let members: BTreeSet<Arc<str>> = self.group.members.keys().cloned().collect();
        self.readers.retain(|_, reader| members.contains(reader));
        self.told.retain(|id, _| members.contains(id));
        let epochs = (self.group.epoch, self.group.target_epoch);
        assert!(
            epochs.0 >= self.epochs.0 && epochs.1 >= self.epochs.1,
            "an epoch of the group went back"
        );
        self.epochs = epochs;
        let bytes: usize = self
            .group
            .members
            .values()
            .map(|member| member.memory_bytes())
            .sum();
        assert_eq!(self.group.member_bytes, bytes);
        for client in &self.clients {
            if client
                .epoch
                .is_some_and(|epoch| self.group.check_commit(&client.id, epoch).is_ok())
            {
                for partition in client.reads.iter() {
                    assert_eq!(self.readers.get(&partition), Some(&client.id), "{partition:?}");
                }
            }
        }
    }

    /// Everybody does as told for longer than any time-out: the group must come to rest, complete.
    fn settle(&mut self) {
        for _ in 0..30 {
            self.pass(4000);
            for slot in 0..CLIENTS {
                if self.clients[slot].epoch.is_none() && self.clients[slot].is_unsure {
                    let subscription = self.clients[slot].subscription;
                    self.join(slot, subscription);
                }
                self.beat(slot, Drop::All, false, false);
                self.check();
            }
        }
        let mut read: BTreeSet<(TopicId, PartitionId)> = BTreeSet::new();
        let mut wanted: BTreeSet<(TopicId, PartitionId)> = BTreeSet::new();
        for client in self.clients.iter().filter(|client| client.epoch.is_some()) {
            let member = &self.group.members[&client.id];
            assert_eq!(
                client.reads, member.target,
                "{} is not where it should be",
                client.id
            );
            read.extend(client.reads.iter());
            let subscribed = |name: &&&str| self.client_subscribes(client, name);
            for topic in TOPICS
                .iter()
                .filter(subscribed)
                .filter_map(|name| self.image.topic(name))
            {
                wanted.extend((0..topic.partitions).map(|number| (topic.id, PartitionId::new(number))));
            }
        }
        assert_eq!(read, wanted, "not everything is read");
        let in_group = self
            .clients
            .iter()
            .filter(|client| client.epoch.is_some())
            .count();
        assert_eq!(self.group.len(), in_group, "somebody dead is still there");
        assert!(["Stable", "Empty"].contains(&self.group.state().name()));
    }

    fn client_subscribes(&self, client: &Client, name: &str) -> bool {
        match client.subscription {
            0 => name == "t1",
            1 => ["t1", "t2"].contains(&name),
            2 => name.starts_with('t'),
            4 => false,
            _ => true,
        }
    }
}

/// All that must survive a crash.
fn essence(group: &ConsumerGroup) -> impl PartialEq + std::fmt::Debug {
    let members: Vec<_> = group
        .members
        .iter()
        .map(|(id, member)| {
            (
                Arc::clone(id),
                member.metadata.clone(),
                member.target.clone(),
                member.holding.clone(),
            )
        })
        .collect();
    let patterns: Vec<_> = group
        .patterns
        .iter()
        .map(|(source, pattern)| (Arc::clone(source), pattern.resolved.topics.clone()))
        .collect();
    let owners: BTreeMap<_, _> = group
        .owners
        .iter()
        .map(|(key, owner)| (*key, Arc::clone(owner)))
        .collect();
    (
        group.epoch,
        group.target_epoch,
        members,
        patterns,
        owners,
        group.instances.clone(),
        group.member_bytes,
    )
}

fn check_disjoint(group: &ConsumerGroup) {
    let mut owners: BTreeMap<(TopicId, PartitionId), &Arc<str>> = BTreeMap::new();
    for (id, member) in &group.members {
        for partition in member
            .holding
            .assigned
            .iter()
            .chain(member.holding.revoking.iter())
        {
            assert_eq!(owners.insert(partition, id), None, "{partition:?} has two owners");
            assert_eq!(group.owners.get(&partition), Some(id));
        }
    }
    assert_eq!(owners.len(), group.owners.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn one_owner_at_a_time_and_rest_in_the_end(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.settle();
        world.crash();
        let mut gone = world.replayed(&world.log);
        for record in world.group.tombstones() {
            gone.apply(&record.key, record.value.as_deref()).unwrap();
        }
        prop_assert!(gone.is_blank());
    }

    #[test]
    fn any_prefix_of_the_log_is_a_group(
        steps in proptest::collection::vec(step(), 1..60),
        part in 0.0f64..1.0,
    ) {
        let mut world = World::new();
        for step in steps.iter().filter(|step| !matches!(step, Step::Crash)) {
            world.run(step);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
            reason = "a fraction of a small length")]
        let end = (world.log.len() as f64 * part) as usize;
        let mut group = world.replayed(&world.log[..end]);
        check_disjoint(&group);
        // Whoever the log knows joins again, does as it is told, and the group comes to rest.
        let ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
        let mut clients: Vec<Client> = ids
            .iter()
            .map(|id| Client { id: Arc::clone(id), subscription: 5, ..Client::default() })
            .collect();
        for _ in 0..4 {
            for client in &mut clients {
                client.reads = client.told.clone();
                let request = client.full_request(client.epoch.unwrap_or(EPOCH_JOIN));
                let reply = group
                    .heartbeat(&request, &world.image, &world.config, now(world.now_ms), &mut Vec::new())
                    .unwrap();
                client.epoch = Some(reply.member_epoch);
                client.told = reply.assignment.unwrap_or_default();
                check_disjoint(&group);
            }
        }
        prop_assert!(["Stable", "Empty"].contains(&group.state().name()));
    }
}

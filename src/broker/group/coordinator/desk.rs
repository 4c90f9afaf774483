//! For tests: a coordinator with a clock that is turned by hand and a log that survives it.

use super::{Coordinator, Room};
use crate::base::hash::HashMap;
use crate::base::{Timestamp, TopicId};
use crate::broker::group::Effects;
use crate::broker::group::classic::Context;
use crate::broker::group::config::GroupConfig;
use crate::broker::group::record::GroupRecord;
use crate::broker::group::request::{
    CommitPart, CommitRequest, FetchRequest, GroupReply, GroupRequest, JoinRefused, JoinRequest, Joined,
    MemberRef, Now, Protocol, SyncRequest, Synced, Ticket,
};
use crate::broker::image::Image;
use crate::broker::topic::{Topic, TopicDefaults, settings};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct Desk {
    pub(super) coordinator: Coordinator,
    pub(super) config: GroupConfig,
    pub(super) image: Image,
    pub(super) now_ms: u64,
    pub(super) log: Vec<GroupRecord>,
    pub(super) replies: HashMap<Ticket, GroupReply>,
    pub(super) room: Room,
    next: Ticket,
}

pub(super) fn topic(name: &str, id: u8) -> Topic {
    Topic {
        id: TopicId::new([id; 16]),
        name: Arc::from(name),
        partitions: 4,
        overrides: BTreeMap::new(),
        settings: settings(&BTreeMap::new(), &TopicDefaults::default()),
    }
}

pub(super) fn member(id: &str, instance: Option<&str>) -> MemberRef {
    MemberRef {
        member_id: id.to_owned(),
        instance_id: instance.map(str::to_owned),
    }
}

pub(super) fn protocol(name: &str, metadata: &str) -> Protocol {
    Protocol {
        name: Arc::from(name),
        metadata: Arc::from(metadata.as_bytes()),
    }
}

pub(super) fn join(member_id: &str, protocols: &[(&str, &str)]) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        fresh_id: String::new(),
        instance_id: None,
        client_id: Arc::from("client"),
        client_host: Arc::from("/127.0.0.1"),
        protocol_type: Arc::from("consumer"),
        protocols: protocols
            .iter()
            .map(|(name, text)| protocol(name, text))
            .collect(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        needs_known_id: false,
        can_skip_assignment: false,
    }
}

impl Desk {
    pub(super) fn new() -> Self {
        let mut image = Image::default();
        image.put(topic("t", 1));
        image.put(topic("u", 2));
        Self {
            coordinator: Coordinator::default(),
            config: GroupConfig::default(),
            image,
            now_ms: 1_000,
            log: Vec::new(),
            replies: HashMap::default(),
            room: Room::Enough,
            next: 0,
        }
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Coordinator, &mut Context<'_>) -> T) -> T {
        let mut effects = Effects::default();
        let done = work(
            &mut self.coordinator,
            &mut Context {
                config: &self.config,
                now: Now {
                    mono_ms: self.now_ms,
                    wall: Timestamp::new(i64::try_from(self.now_ms).unwrap() + 1_000_000),
                },
                image: &self.image,
                effects: &mut effects,
            },
        );
        self.log.extend(effects.records);
        for (ticket, reply) in effects.replies {
            let twice = self.replies.insert(ticket, reply);
            assert_eq!(twice, None, "ticket {ticket} was answered twice");
        }
        done
    }

    pub(super) fn send(&mut self, group: &str, request: GroupRequest) -> Ticket {
        self.next += 1;
        let (ticket, room) = (self.next, self.room);
        self.with(|coordinator, cx| coordinator.request(&Arc::from(group), request, ticket, room, cx));
        ticket
    }

    pub(super) fn ask(&mut self, group: &str, request: GroupRequest) -> GroupReply {
        let ticket = self.send(group, request);
        self.replies.remove(&ticket).expect("answered at once")
    }

    pub(super) fn join(&mut self, group: &str, mut request: JoinRequest) -> Ticket {
        request.fresh_id = format!("id{}", self.next);
        self.send(group, GroupRequest::Join(request))
    }

    pub(super) fn joined(&mut self, ticket: Ticket) -> Option<Result<Joined, JoinRefused>> {
        match self.replies.remove(&ticket)? {
            GroupReply::Join(reply) => Some(reply),
            other => panic!("{other:?} is no answer to a join"),
        }
    }

    pub(super) fn sync(
        &mut self,
        group: &str,
        member_id: &str,
        generation: i32,
        assignments: &[(&str, &str)],
    ) -> Ticket {
        let give = |(id, share): &(&str, &str)| ((*id).to_owned(), Arc::from(share.as_bytes()));
        self.send(
            group,
            GroupRequest::Sync(SyncRequest {
                member_id: member_id.to_owned(),
                instance_id: None,
                generation,
                protocol_type: None,
                protocol: None,
                assignments: assignments.iter().map(give).collect(),
            }),
        )
    }

    pub(super) fn synced(
        &mut self,
        ticket: Ticket,
    ) -> Option<Result<Synced, crate::broker::group::error::GroupError>> {
        match self.replies.remove(&ticket)? {
            GroupReply::Sync(reply) => Some(reply),
            other => panic!("{other:?} is no answer to a sync"),
        }
    }

    pub(super) fn commit(&mut self, group: &str, who: MemberRef, generation: i32, offset: i64) -> GroupReply {
        let part = CommitPart {
            topic: Arc::from("t"),
            topic_id: TopicId::new([1; 16]),
            partition: 0,
            offset,
            leader_epoch: 3,
            metadata: String::from("note"),
        };
        self.ask(
            group,
            GroupRequest::Commit(CommitRequest {
                member: who,
                generation,
                expire: None,
                parts: vec![part],
            }),
        )
    }

    pub(super) fn committed(&mut self, group: &str) -> Option<i64> {
        let request = FetchRequest {
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![(Arc::from("t"), vec![0])]),
        };
        match self.ask(group, GroupRequest::Fetch(request)) {
            GroupReply::Fetched(found) => found[0].1[0].1.as_ref().map(|committed| committed.offset),
            other => panic!("{other:?} is no answer to a fetch"),
        }
    }

    /// Lets time pass, stopping at every deadline.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(at) = self.coordinator.next_deadline().filter(|at| *at <= end) {
            self.now_ms = self.now_ms.max(at);
            self.with(Coordinator::tick);
        }
        self.now_ms = end;
    }

    pub(super) fn expire(&mut self) {
        self.with(Coordinator::expire);
    }

    pub(super) fn delete_topic(&mut self, name: &str) {
        let topic = self.image.remove(name).unwrap();
        self.with(|coordinator, cx| coordinator.topics_deleted(&[topic], cx));
    }

    /// The process dies: memory and open requests are gone, the log is read back.
    pub(super) fn crash(&mut self) {
        self.coordinator = Coordinator::default();
        self.replies.clear();
        for record in std::mem::take(&mut self.log) {
            self.coordinator
                .apply(&record.key, record.value.as_deref())
                .unwrap();
            self.log.push(record);
        }
        self.with(Coordinator::finish_load);
    }

    /// A stable group of members that joined one after the other; their ids, the leader's first.
    pub(super) fn stable(&mut self, group: &str, members: usize) -> (Vec<String>, i32) {
        let tickets: Vec<Ticket> = (0..members)
            .map(|_| self.join(group, join("", &[("range", "m")])))
            .collect();
        self.pass(10_000);
        let joined: Vec<Joined> = tickets
            .into_iter()
            .map(|ticket| self.joined(ticket).unwrap().unwrap())
            .collect();
        let generation = joined[0].generation;
        let leader = joined[0].leader.to_string();
        let mut ids: Vec<String> = joined.iter().map(|one| one.member_id.to_string()).collect();
        ids.sort_by_key(|id| *id != leader);
        for id in ids.iter().rev() {
            let shares: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
            self.sync(group, id, generation, if *id == leader { &shares } else { &[] });
        }
        self.replies.clear();
        (ids, generation)
    }
}

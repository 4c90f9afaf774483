//! The state machine against what clients may rely on, under random joins, syncs, heartbeats, leaves, commits, time and
//! crashes.
//!
//! Clients act at random but keep what they are told, as real ones do. Checked at every step: generations only grow; one
//! member of a generation is told to assign; an assignment is of the generation it was asked for; a committed offset is the
//! last one that was taken; a group read back from its records is the group that wrote them. And at the end: with everybody
//! silent, all open requests are answered and all groups are empty.

use super::desk::{Desk, join, member};
use crate::base::hash::HashMap;
use crate::broker::group::classic::State;
use crate::broker::group::request::{
    Description, GroupReply, GroupRequest, JoinRequest, SyncRequest, Ticket,
};
use proptest::prelude::*;
use std::sync::Arc;

const CLIENTS: usize = 6;
const GROUPS: [&str; 2] = ["g", "h"];

#[derive(Clone, Debug)]
enum Step {
    Join {
        client: usize,
        protocols: u8,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    /// The process of a client is gone; what was under way is not heard.
    Forget {
        client: usize,
    },
    Commit {
        client: usize,
        offset: i64,
    },
    Pass {
        ms: u64,
    },
    Crash,
    Delete {
        group: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..CLIENTS;
    let step = prop_oneof![
        6 => (client.clone(), 0..3u8).prop_map(|(client, protocols)| Step::Join { client, protocols }),
        8 => client.clone().prop_map(|client| Step::Sync { client }),
        4 => client.clone().prop_map(|client| Step::Heartbeat { client }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        1 => client.clone().prop_map(|client| Step::Forget { client }),
        4 => (client, 0..1000i64).prop_map(|(client, offset)| Step::Commit { client, offset }),
        5 => prop_oneof![Just(0), 1..4_000u64, Just(11_000), Just(70_000)].prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Crash),
        1 => (0..GROUPS.len()).prop_map(|group| Step::Delete { group }),
    ];
    prop::collection::vec(step, 1..250)
}

#[derive(Clone, Debug, Default)]
struct Client {
    member_id: String,
    generation: i32,
    leads: Vec<String>,
    open: Option<Ticket>,
}

struct World {
    desk: Desk,
    clients: Vec<Client>,
    generations: HashMap<&'static str, i32>,
    /// Who was told to assign.
    assigners: HashMap<(&'static str, i32), String>,
    committed: HashMap<&'static str, i64>,
}

fn group_of(client: usize) -> &'static str {
    GROUPS[client % GROUPS.len()]
}

/// Every third client is static.
fn instance_of(client: usize) -> Option<String> {
    client.is_multiple_of(3).then(|| format!("instance{client}"))
}

impl World {
    fn new() -> Self {
        Self {
            desk: Desk::new(),
            clients: vec![Client::default(); CLIENTS],
            generations: HashMap::default(),
            assigners: HashMap::default(),
            committed: HashMap::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join { client, protocols } => self.join(client, protocols),
            Step::Sync { client } => self.sync(client),
            Step::Heartbeat { client } => {
                let who = member(&self.clients[client].member_id, instance_of(client).as_deref());
                let generation = self.clients[client].generation;
                self.desk
                    .ask(group_of(client), GroupRequest::Heartbeat(who, generation));
            }
            Step::Leave { client } => {
                let who = member(&self.clients[client].member_id, instance_of(client).as_deref());
                self.desk.ask(group_of(client), GroupRequest::Leave(vec![who]));
            }
            Step::Forget { client } => self.clients[client] = Client::default(),
            Step::Commit { client, offset } => self.commit(client, offset),
            Step::Pass { ms } => self.desk.pass(ms),
            Step::Crash => self.crash(),
            Step::Delete { group } => {
                let group = GROUPS[group];
                if self.desk.ask(group, GroupRequest::Delete) == GroupReply::Done {
                    self.generations.remove(group);
                    self.assigners.retain(|(of, _), _| *of != group);
                    self.committed.remove(group);
                }
            }
        }
        self.hear();
        self.check();
    }

    fn join(&mut self, client: usize, protocols: u8) {
        let supported: &[(&str, &str)] = match protocols {
            0 => &[("range", "r"), ("sticky", "s")],
            1 => &[("sticky", "s"), ("range", "r")],
            _ => &[("range", "changed")],
        };
        let request = JoinRequest {
            instance_id: instance_of(client),
            needs_known_id: client % 2 == 1,
            can_skip_assignment: client == 0,
            ..join(&self.clients[client].member_id, supported)
        };
        self.clients[client].open = Some(self.desk.join(group_of(client), request));
    }

    fn sync(&mut self, client: usize) {
        let Client {
            member_id,
            generation,
            leads,
            ..
        } = self.clients[client].clone();
        let share: Arc<[u8]> = Arc::from(generation.to_string().into_bytes());
        let request = SyncRequest {
            member_id,
            instance_id: instance_of(client),
            generation,
            protocol_type: Some("consumer".to_owned()),
            protocol: None,
            assignments: leads.into_iter().map(|id| (id, Arc::clone(&share))).collect(),
        };
        let ticket = self.desk.send(group_of(client), GroupRequest::Sync(request));
        self.clients[client].open = Some(ticket);
    }

    fn commit(&mut self, client: usize, offset: i64) {
        let group = group_of(client);
        let known = &self.clients[client];
        let (who, generation) = match known.member_id.as_str() {
            "" => (member("", None), -1),
            id => (member(id, instance_of(client).as_deref()), known.generation),
        };
        if self.desk.commit(group, who, generation, offset) == GroupReply::PerOffset(vec![Ok(())]) {
            self.committed.insert(group, offset);
        }
    }

    /// Clients take in what they are told.
    fn hear(&mut self) {
        for index in 0..CLIENTS {
            let open = self.clients[index].open;
            let Some(reply) = open.and_then(|ticket| self.desk.replies.remove(&ticket)) else {
                continue;
            };
            self.clients[index].open = None;
            match reply {
                GroupReply::Join(Ok(joined)) => {
                    let key = (group_of(index), joined.generation);
                    let told = !joined.members.is_empty() && !joined.skip_assignment;
                    if told {
                        let id = joined.member_id.to_string();
                        let first = self.assigners.entry(key).or_insert_with(|| id.clone());
                        assert_eq!(*first, id, "two members of {key:?} were told to assign");
                    }
                    let members = joined.members.iter().map(|one| one.id.to_string());
                    let known = &mut self.clients[index];
                    known.leads = if told { members.collect() } else { Vec::new() };
                    known.member_id = joined.member_id.to_string();
                    known.generation = joined.generation;
                }
                GroupReply::Join(Err(refused)) => {
                    self.clients[index].member_id = refused.member_id.to_string();
                }
                GroupReply::Sync(Ok(synced)) => {
                    let wanted = self.clients[index].generation.to_string();
                    let share = &synced.assignment;
                    // Whom the leader did not know when it assigned got ten bytes of nothing.
                    assert!(
                        **share == *wanted.as_bytes() || share.len() == 10,
                        "generation {wanted} was given {share:?}"
                    );
                }
                GroupReply::Sync(Err(_)) => {}
                other => panic!("{other:?} answers neither a join nor a sync"),
            }
        }
        // What nobody waits for any more.
        self.desk.replies.clear();
    }

    fn check(&mut self) {
        for group in GROUPS {
            assert_eq!(self.desk.committed(group), self.committed.get(group).copied());
            let Some(known) = self.desk.coordinator.group(group) else {
                continue;
            };
            let generation = known.generation();
            let last = self.generations.insert(group, generation).unwrap_or(0);
            assert!(
                generation >= last,
                "{group} went from generation {last} to {generation}"
            );
            if known.classic().unwrap().state() == State::Stable {
                let description = known.classic().unwrap().describe();
                assert!(description.members.iter().all(|one| !one.assignment.is_empty()));
            }
        }
    }

    fn crash(&mut self) {
        let before: Vec<_> = GROUPS.iter().map(|group| summary(&self.desk, group)).collect();
        self.desk.crash();
        for client in &mut self.clients {
            client.open = None;
        }
        for (group, before) in GROUPS.iter().zip(before) {
            if let Some(before) = before {
                assert_eq!(
                    summary(&self.desk, group),
                    Some(before),
                    "{group} came back changed"
                );
            }
        }
    }
}

/// What must survive a crash. A rebalance that is being prepared does not.
fn summary(desk: &Desk, group: &str) -> Option<(State, i32, Option<Arc<str>>, Description)> {
    let known = desk.coordinator.group(group)?;
    let members = known.classic()?;
    if members.state() == State::Preparing || !members.is_recorded() {
        return None;
    }
    let leader = members.leader().cloned();
    Some((members.state(), members.generation(), leader, members.describe()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn groups_keep_their_promises(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        let open: Vec<Ticket> = world.clients.iter().filter_map(|client| client.open).collect();
        world.desk.pass(24 * 3600 * 1000);
        for ticket in open {
            prop_assert!(world.desk.replies.contains_key(&ticket), "a request was never answered");
        }
        prop_assert_eq!(world.desk.coordinator.next_deadline(), None);
        for (id, group) in world.desk.coordinator.groups() {
            prop_assert!(group.is_empty(), "{} still has members", id);
        }
        world.desk.now_ms += 8 * 24 * 3600 * 1000;
        world.desk.expire();
        prop_assert_eq!(world.desk.coordinator.groups().count(), 0);
        prop_assert_eq!(world.desk.coordinator.memory_bytes(), 0);
        world.desk.crash();
        prop_assert_eq!(world.desk.coordinator.groups().count(), 0);
    }
}

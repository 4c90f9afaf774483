//! Ten thousand members in a thousand groups join one node at once, share, show that they live, and go on doing so.

use crate::member::{
    HEARTBEAT, JOIN_GROUP, SYNC_GROUP, heartbeat_body, join_body, joined, next, plain_error, sync_body,
    synced,
};
use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{Client, batch};
use crate::support::wire::{Connection, request};
use std::time::{Duration, Instant};

const GROUPS: usize = 1000;
const MEMBERS: usize = 10;
/// Groups whose members share a connection: fewer requests than a connection may have in flight.
const GROUPS_PER_CONNECTION: usize = 5;
/// Rounds of heartbeats.
const ROUNDS: usize = 5;
/// How long any answer may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the broker may need for all of them.
const RESIDENT_BYTES_MAX: u64 = 1 << 30;

struct Lane {
    connection: Connection,
    groups: Vec<String>,
    /// By group: generation and members.
    known: Vec<(i32, Vec<String>)>,
}

impl Lane {
    fn send(&mut self, api: i16, version: i16, bodies: &[Vec<u8>]) {
        let frames: Vec<u8> = bodies
            .iter()
            .flat_map(|body| request(api, version, 1, body))
            .collect();
        self.connection.send(&frames).expect("requests are taken");
    }

    fn join(&mut self) {
        let bodies: Vec<Vec<u8>> = self
            .groups
            .iter()
            .flat_map(|group| vec![join_body(group, ""); MEMBERS])
            .collect();
        self.send(JOIN_GROUP, 2, &bodies);
    }

    fn hear_joins_and_sync(&mut self) {
        let mut bodies = Vec::new();
        for group in &self.groups {
            let answers: Vec<_> = (0..MEMBERS)
                .map(|_| joined(&next(&mut self.connection)))
                .collect();
            let generation = answers[0].generation;
            for one in &answers {
                assert_eq!((one.error, one.generation), (0, generation), "{group}");
            }
            let leaders = answers.iter().filter(|one| one.member == one.leader);
            assert_eq!(leaders.count(), 1, "{group} has one leader");
            for one in &answers {
                let leads = one.member == one.leader;
                assert_eq!(one.members.len(), if leads { MEMBERS } else { 0 });
                let share = |member: &String| (member.clone(), member.clone().into_bytes());
                let shares: Vec<_> = one.members.iter().map(share).collect();
                bodies.push(sync_body(group, generation, &one.member, &shares));
            }
            let members = answers.into_iter().map(|one| one.member).collect();
            self.known.push((generation, members));
        }
        self.send(SYNC_GROUP, 1, &bodies);
    }

    fn hear_syncs(&mut self) {
        for (_, members) in &self.known {
            for member in members {
                let (error, share) = synced(&next(&mut self.connection));
                assert_eq!((error, &share[..]), (0, member.as_bytes()));
            }
        }
    }

    fn beat(&mut self) {
        let mut bodies = Vec::new();
        for (group, (generation, members)) in self.groups.iter().zip(&self.known) {
            bodies.extend(
                members
                    .iter()
                    .map(|member| heartbeat_body(group, *generation, member)),
            );
        }
        self.send(HEARTBEAT, 1, &bodies);
    }

    fn hear_beats(&mut self) {
        for _ in 0..self.groups.len() * MEMBERS {
            assert_eq!(plain_error(&next(&mut self.connection)), 0, "a member is known");
        }
    }
}

#[test]
fn ten_thousand_members_are_served() {
    let mut broker =
        Broker::start(Options::new(2, Advertise::Single).set("group.initial_rebalance_delay=5s"));
    let begun = Instant::now();
    let mut lanes: Vec<Lane> = (0..GROUPS / GROUPS_PER_CONNECTION)
        .map(|lane| {
            let connection = Connection::open(broker.kafka()).expect("a connection");
            connection.set_patience(PATIENCE);
            let group = |n| format!("storm-{}", lane * GROUPS_PER_CONNECTION + n);
            Lane {
                connection,
                groups: (0..GROUPS_PER_CONNECTION).map(group).collect(),
                known: Vec::new(),
            }
        })
        .collect();
    lanes.iter_mut().for_each(Lane::join);
    // While all of them wait, somebody who has nothing to do with groups is served.
    let mut bystander = Client::connect(broker.kafka());
    bystander.create("bystander", 1, &[]);
    bystander.produce_ok("bystander", 0, &batch(&[b"unharmed"]));
    lanes.iter_mut().for_each(Lane::hear_joins_and_sync);
    lanes.iter_mut().for_each(Lane::hear_syncs);
    let shared = begun.elapsed();
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        lanes.iter_mut().for_each(Lane::beat);
        lanes.iter_mut().for_each(Lane::hear_beats);
    }
    let rate = f64::from(u32::try_from(ROUNDS * GROUPS * MEMBERS).unwrap()) / begun.elapsed().as_secs_f64();
    let resident = broker.peak_resident_bytes();
    eprintln!(
        "{GROUPS} groups of {MEMBERS}: shared out after {shared:?}, {rate:.0} heartbeats/s, {} MiB",
        resident >> 20
    );
    assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes resident");
    drop(lanes);
    assert!(broker.terminate().success(), "a graceful stop exits with success");
}

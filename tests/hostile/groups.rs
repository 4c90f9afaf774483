//! Floods against the coordinator: members, groups, metadata, offsets, rebalances, in both protocols.

use std::io::Write;
use std::net::TcpStream;

use crate::attacker::{count, crowd, dial, in_parallel, push};
use crate::siege::{Target, withstands};
use crate::support::client::Client;
use crate::support::wire::{self, Answer, Connection, Fields, request};

const OFFSET_COMMIT: i16 = 8;
const JOIN_GROUP: i16 = 11;
const SYNC_GROUP: i16 = 14;
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;

#[test]
fn storms_of_joins_pass() {
    withstands(
        &["group.initial_rebalance_delay=100ms"],
        &[
            ("one rebalance after another", rebalances),
            ("a static member taken over again and again", takeovers),
            ("metadata as large as a frame", large_metadata),
        ],
    );
    // In a broker of their own: the groups of the others take all the memory that groups may have.
    withstands(
        &["group.initial_rebalance_delay=100ms"],
        &[
            ("new members of one group", new_members),
            ("new members of the newer protocol", new_consumers),
            ("thousands of groups", thousands_of_groups),
        ],
    );
}

#[test]
fn floods_of_offsets_pass() {
    withstands(
        &[],
        &[
            ("notes as long as they may be", long_notes),
            ("offsets whose notes grow", growing_notes),
            ("a group for every offset", group_for_every_offset),
        ],
    );
}

/// JoinGroup version 5.
fn join_body(group: &str, member: &str, instance: Option<&str>, metadata: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    body.extend(10_000_i32.to_be_bytes());
    body.extend(10_000_i32.to_be_bytes());
    wire::string(&mut body, member.as_bytes());
    match instance {
        None => body.extend((-1_i16).to_be_bytes()),
        Some(instance) => wire::string(&mut body, instance.as_bytes()),
    }
    wire::string(&mut body, b"consumer");
    body.extend(count(1));
    wire::string(&mut body, b"range");
    wire::bytes(&mut body, metadata);
    body
}

/// SyncGroup version 3 of a leader that gives one member a share.
fn sync_body(group: &str, generation: i32, member: &str, instance: Option<&str>, share: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    body.extend(generation.to_be_bytes());
    wire::string(&mut body, member.as_bytes());
    match instance {
        None => body.extend((-1_i16).to_be_bytes()),
        Some(instance) => wire::string(&mut body, instance.as_bytes()),
    }
    body.extend(count(1));
    wire::string(&mut body, member.as_bytes());
    wire::bytes(&mut body, share);
    body
}

/// The generation and the member id of an answer to a join.
fn joined(answer: &[u8]) -> (i32, String) {
    let mut fields = Fields(answer);
    let read = (|| {
        fields.take(6)?;
        let generation = fields.i32()?;
        fields.string()?;
        fields.string()?;
        Some((generation, fields.string()?))
    })();
    let (generation, member) = read.expect("an answer to a join");
    (generation, String::from_utf8_lossy(member).into_owned())
}

/// Sends requests on many connections without waiting for answers, and leaves.
fn shower(target: &Target, connections: usize, frames: impl Fn(usize) -> Vec<u8> + Sync) {
    in_parallel(|thread| {
        let mut streams: Vec<TcpStream> = crowd(target.kafka, connections / crate::attacker::THREADS);
        for (at, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&frames(thread * connections + at)).ok();
        }
        // As long as joins wait, so do they.
        std::thread::sleep(std::time::Duration::from_millis(500));
    });
}

fn new_members(target: &Target) {
    let join = request(JOIN_GROUP, 2, 1, &join_v2("one-group", ""));
    shower(target, 200, |_| join.repeat(60));
}

/// JoinGroup version 2, whose members are not asked to join twice.
fn join_v2(group: &str, member: &str) -> Vec<u8> {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    body.extend(10_000_i32.to_be_bytes());
    body.extend(10_000_i32.to_be_bytes());
    wire::string(&mut body, member.as_bytes());
    wire::string(&mut body, b"consumer");
    body.extend(count(1));
    wire::string(&mut body, b"range");
    wire::bytes(&mut body, &[0; 100]);
    body
}

fn compact(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len() + 1;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
    out.extend(text);
}

/// ConsumerGroupHeartbeat version 0 of a member that joins.
fn heartbeat_body(group: &str, member: &str, topics: &[String]) -> Vec<u8> {
    // The tagged fields of the header come first.
    let mut body = vec![0];
    compact(&mut body, group.as_bytes());
    compact(&mut body, member.as_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend([0, 0]);
    body.extend(10_000_i32.to_be_bytes());
    let mut names = topics.len() + 1;
    while names >= 0x80 {
        body.push(u8::try_from(names & 0x7f).expect("seven bits") | 0x80);
        names >>= 7;
    }
    body.push(u8::try_from(names).expect("seven bits"));
    for topic in topics {
        compact(&mut body, topic.as_bytes());
    }
    // No assignor, no partitions owned, no tagged fields.
    body.extend([0, 1, 0]);
    body
}

fn new_consumers(target: &Target) {
    let wide: Vec<String> = (0..200).map(|n| format!("{n:0>240}")).collect();
    let own = ["neighbour".to_owned()];
    shower(target, 60, |at| {
        let beat = |n: usize| {
            let topics = if n.is_multiple_of(8) { &wide[..] } else { &own[..] };
            let body = heartbeat_body("consumers", &format!("member-{at}-{n}"), topics);
            request(CONSUMER_GROUP_HEARTBEAT, 0, 1, &body)
        };
        (0..10).flat_map(beat).collect()
    });
}

fn thousands_of_groups(target: &Target) {
    shower(target, 200, |at| {
        let join = |n: usize| request(JOIN_GROUP, 2, 1, &join_v2(&format!("group-{at}-{n}"), ""));
        (0..50).flat_map(join).collect()
    });
}

/// Members that were let in small and join again large, each in a group of its own.
fn large_metadata(target: &Target) {
    let large = vec![7; 4_000_000];
    in_parallel(|thread| {
        let mut stream = dial(target.kafka).expect("a connection");
        let mut client = Connection::open(target.kafka).expect("a connection");
        client.set_patience(std::time::Duration::from_secs(30));
        for n in 0..60 {
            let group = format!("large-{thread}-{n}");
            let answer = client.call(JOIN_GROUP, 5, &join_body(&group, "", None, b"small"));
            let (_, member) = joined(&answer.expect("an answer"));
            if member.is_empty() {
                // Turned away already.
                continue;
            }
            let frame = request(JOIN_GROUP, 5, 1, &join_body(&group, &member, None, &large));
            push(&mut stream, &frame, std::time::Duration::from_secs(20));
        }
    });
}

/// A member that leads a group of one and joins again as soon as it may.
fn rebalances(target: &Target) {
    in_parallel(|thread| {
        let group = format!("rebalance-{thread}");
        let mut client = Connection::open(target.kafka).expect("a connection");
        client.set_patience(std::time::Duration::from_secs(30));
        let metadata = vec![1; 500_000];
        let mut member = String::new();
        for _ in 0..15 {
            let answer = client.call(JOIN_GROUP, 5, &join_body(&group, &member, None, &metadata));
            let (generation, id) = joined(&answer.expect("an answer"));
            member = id;
            let sync = sync_body(&group, generation, &member, None, &metadata);
            client.call(SYNC_GROUP, 3, &sync).expect("an answer");
        }
    });
}

/// Each takeover of a static member's place writes its whole group down: small requests with large consequences.
fn takeovers(target: &Target) {
    let mut client = Connection::open(target.kafka).expect("a connection");
    client.set_patience(std::time::Duration::from_secs(30));
    let ballast = vec![1; 3_000_000];
    let answer = client.call(JOIN_GROUP, 5, &join_body("taken", "", Some("heavy"), &ballast));
    let (generation, member) = joined(&answer.expect("an answer"));
    let sync = sync_body("taken", generation, &member, Some("heavy"), b"all");
    client.call(SYNC_GROUP, 3, &sync).expect("an answer");
    let takeover = request(
        JOIN_GROUP,
        5,
        1,
        &join_body("taken", "", Some("heavy"), &ballast[..100_000]),
    );
    shower(target, 40, |_| takeover.repeat(30));
}

/// OffsetCommit version 2 of a group without members.
fn commit_body(group: &str, topic: &str, offsets: std::ops::Range<i32>, note: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    wire::string(&mut body, group.as_bytes());
    body.extend((-1_i32).to_be_bytes());
    wire::string(&mut body, b"");
    body.extend((-1_i64).to_be_bytes());
    body.extend(count(1));
    wire::string(&mut body, topic.as_bytes());
    body.extend(count(offsets.len()));
    for partition in offsets {
        body.extend(partition.to_be_bytes());
        body.extend(7_i64.to_be_bytes());
        wire::string(&mut body, note);
    }
    body
}

fn commit_and_hear(client: &mut Connection, frames: &[Vec<u8>]) {
    client.set_patience(std::time::Duration::from_secs(60));
    for several in frames.chunks(16) {
        client.send(&several.concat()).expect("requests are sent");
        for _ in several {
            let answer = client.read().expect("an answer");
            assert!(matches!(answer, Answer::Frame(_)), "{answer:?}");
        }
    }
}

fn long_notes(target: &Target) {
    Client::connect(target.kafka).create("noted", 200, &[]);
    let note = vec![b'n'; 4096];
    in_parallel(|thread| {
        let mut client = Connection::open(target.kafka).expect("a connection");
        let commit = |n: usize| {
            let body = commit_body(&format!("noted-{thread}-{n}"), "noted", 0..50, &note);
            request(OFFSET_COMMIT, 2, 1, &body)
        };
        commit_and_hear(&mut client, &(0..100).map(commit).collect::<Vec<_>>());
    });
}

/// Offsets that found room while they were small.
fn growing_notes(target: &Target) {
    let note = vec![b'n'; 4096];
    in_parallel(|thread| {
        let mut client = Connection::open(target.kafka).expect("a connection");
        for note in [&note[..0], &note] {
            let commit = |n: usize| {
                let body = commit_body(&format!("growing-{thread}-{n}"), "noted", 0..200, note);
                request(OFFSET_COMMIT, 2, 1, &body)
            };
            commit_and_hear(&mut client, &(0..60).map(commit).collect::<Vec<_>>());
        }
    });
}

fn group_for_every_offset(target: &Target) {
    in_parallel(|thread| {
        let mut client = Connection::open(target.kafka).expect("a connection");
        let commit = |n: usize| {
            let group = format!("{thread}-{n:0>200}");
            request(OFFSET_COMMIT, 2, 1, &commit_body(&group, "noted", 0..1, b"small"))
        };
        commit_and_hear(&mut client, &(0..3000).map(commit).collect::<Vec<_>>());
    });
}

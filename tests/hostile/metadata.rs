//! Topics without end: made on purpose and by asking for them, with long names and long configurations, and asked about.

use std::time::Duration;

use crate::attacker::{count, in_parallel};
use crate::siege::{Target, withstands};
use crate::support::client::Client;
use crate::support::wire::{self, Answer, Connection, METADATA, request};

const LIST_OFFSETS: i16 = 2;
const CREATE_TOPICS: i16 = 19;
const DESCRIBE_LOG_DIRS: i16 = 35;

/// Partitions of the widest topics in a run that nobody asked to be longer; `CORELOG_ABUSE_PARTITIONS` asks.
const PARTITIONS: i32 = 5000;

#[test]
fn storms_of_topics_pass() {
    withstands(
        &[],
        &[
            ("create topics", create_topics),
            ("topics by asking for them", create_by_asking),
            ("names and configurations as long as a frame", long_texts),
        ],
    );
}

#[test]
fn questions_about_many_partitions_pass() {
    withstands(&[], &[("many partitions", many_partitions)]);
}

fn call_patiently(target: &Target) -> Connection {
    let client = Connection::open(target.kafka).expect("a connection");
    client.set_patience(Duration::from_secs(120));
    client
}

/// CreateTopics version 2 of topics with one partition each.
fn create_body(names: &[String], configs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = count(names.len()).to_vec();
    for name in names {
        wire::string(&mut body, name.as_bytes());
        body.extend(1_i32.to_be_bytes());
        body.extend(1_i16.to_be_bytes());
        body.extend(count(0));
        body.extend(count(configs.len()));
        for (key, value) in configs {
            wire::string(&mut body, key);
            wire::string(&mut body, value);
        }
    }
    body.extend(10_000_i32.to_be_bytes());
    body.push(0);
    body
}

fn create_topics(target: &Target) {
    in_parallel(|thread| {
        let names: Vec<String> = (0..30).map(|n| format!("storm-{thread}-{n}")).collect();
        let mut client = call_patiently(target);
        client
            .call(CREATE_TOPICS, 2, &create_body(&names, &[]))
            .expect("an answer");
    });
}

fn create_by_asking(target: &Target) {
    in_parallel(|thread| {
        let mut body = count(60).to_vec();
        for n in 0..60 {
            wire::string(&mut body, format!("asked-{thread}-{n}").as_bytes());
        }
        body.push(1);
        call_patiently(target)
            .call(METADATA, 4, &body)
            .expect("an answer");
    });
}

fn long_texts(target: &Target) {
    let name = |length: usize| "n".repeat(length);
    let value = vec![b'v'; 32_000];
    let configs: Vec<(&[u8], &[u8])> = vec![(b"retention.ms", &value); 200];
    let listed: Vec<(&[u8], &[u8])> = vec![(b"follower.replication.throttled.replicas", &value)];
    in_parallel(|thread| {
        let mut client = call_patiently(target);
        let long = [name(249 - thread), name(250), name(32_000)];
        client
            .call(CREATE_TOPICS, 2, &create_body(&long, &[]))
            .expect("an answer");
        for configs in [&configs[..], &listed] {
            let names = [format!("configured-{thread}")];
            client
                .call(CREATE_TOPICS, 2, &create_body(&names, configs))
                .expect("an answer");
        }
    });
}

/// Metadata of everything, of every partition's ends and of every log's size, asked for by many at once.
fn many_partitions(target: &Target) {
    let asked = std::env::var("CORELOG_ABUSE_PARTITIONS").ok();
    let partitions: i32 = asked.map_or(PARTITIONS, |text| text.parse().expect("a number of partitions"));
    let mut client = Client::connect(target.kafka);
    client.connection().set_patience(Duration::from_secs(300));
    client.create("widest", partitions, &[]);
    let mut metadata = count(1).to_vec();
    wire::string(&mut metadata, b"widest");
    metadata.push(0);
    let everything = [&(-1_i32).to_be_bytes()[..], &[0]].concat();
    let mut offsets = (-1_i32).to_be_bytes().to_vec();
    offsets.extend(count(1));
    wire::string(&mut offsets, b"widest");
    offsets.extend(count(usize::try_from(partitions).expect("a count")));
    for partition in 0..partitions {
        offsets.extend(partition.to_be_bytes());
        offsets.extend((-1_i64).to_be_bytes());
    }
    let questions = [
        request(METADATA, 4, 1, &metadata),
        request(METADATA, 4, 2, &everything),
        request(LIST_OFFSETS, 1, 3, &offsets),
        request(DESCRIBE_LOG_DIRS, 1, 4, &(-1_i32).to_be_bytes()),
    ];
    in_parallel(|_| {
        let mut clients: Vec<Connection> = (0..4).map(|_| call_patiently(target)).collect();
        for client in &mut clients {
            client.send(&questions.concat()).expect("questions are sent");
        }
        for client in &mut clients {
            for _ in &questions {
                let answer = client.read().expect("an answer");
                assert!(matches!(answer, Answer::Frame(_)), "closed in between");
            }
        }
    });
    // What a topic of so many partitions takes goes with it.
    assert_eq!(client.delete("widest"), 0);
}

//! Consumers that ask and never read their answers.

use std::io::Write;
use std::net::TcpStream;

use corelog::base::{LogId, PartitionId, TopicId};
use corelog::protocol::native::messages::{From, Hello, Subscribe, SubscribeEntry};

use crate::attacker::{Shape, batch, count, crowd, produce_body, record};
use crate::siege::{Target, withstands};
use crate::support::client::Client;
use crate::support::wire::{self, FETCH, METADATA, PRODUCE};

/// Connections that do not read.
const READERS: usize = 120;

#[test]
fn consumers_that_never_read_starve_nobody() {
    withstands(
        &[],
        &[
            ("kafka fetches", fetch_and_do_not_read),
            ("kafka metadata", ask_and_do_not_read),
            ("native subscriptions", subscribe_and_do_not_read),
        ],
    );
}

/// A topic of 32 MiB in one partition.
fn large_topic(target: &Target) {
    let mut client = Client::connect(target.kafka);
    client.create("large", 1, &[]);
    let noise: Vec<u8> = (0..225_000_u32)
        .flat_map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    let batch = batch(Shape::default(), &record(None, &noise));
    for _ in 0..36 {
        let body = produce_body("large", &[(0, &batch)]);
        client
            .connection()
            .call(PRODUCE, 3, &body)
            .expect("a batch is taken");
    }
}

fn fetch_and_do_not_read(target: &Target) {
    large_topic(target);
    // Fetch version 4 from the start, up to 50 MiB, as Kafka's own consumers ask.
    let mut body = Vec::new();
    for field in [-1_i32, 500, 1, 50 << 20] {
        body.extend(field.to_be_bytes());
    }
    body.push(0);
    body.extend(count(1));
    wire::string(&mut body, b"large");
    body.extend(count(1));
    body.extend(0_i32.to_be_bytes());
    body.extend(0_i64.to_be_bytes());
    body.extend((50_i32 << 20).to_be_bytes());
    hold(
        target,
        crowd(target.kafka, READERS),
        &wire::request(FETCH, 4, 1, &body).repeat(32),
    );
}

/// Small answers, many of them.
fn ask_and_do_not_read(target: &Target) {
    let mut client = Client::connect(target.kafka);
    client.create("wide", 1000, &[]);
    let mut body = count(1).to_vec();
    wire::string(&mut body, b"wide");
    body.push(0);
    hold(
        target,
        crowd(target.kafka, READERS),
        &wire::request(METADATA, 4, 1, &body).repeat(60),
    );
    client.delete("wide");
}

fn hold(target: &Target, mut streams: Vec<TcpStream>, requests: &[u8]) {
    for stream in &mut streams {
        stream.write_all(requests).ok();
    }
    target.hold();
}

fn subscribe_and_do_not_read(target: &Target) {
    let topic = TopicId::new(Client::connect(target.kafka).topic_id("large"));
    let log = LogId {
        topic,
        partition: PartitionId::new(0),
    };
    let mut frames = Vec::new();
    let hello = Hello {
        features: 0,
        version_min: 1,
        version_max: 1,
        name: "greedy",
    };
    hello.encode(&mut frames, 1).expect("a hello");
    for subscription in 2..10 {
        let entry = SubscribeEntry::new(log, From::Earliest);
        Subscribe::encode(&mut frames, subscription, 1 << 30, 0, &[entry]).expect("a subscription");
    }
    hold(target, crowd(target.native, READERS), &frames);
}

//! Requests that are allowed and far too large: arrays as long as a frame holds, sessions without end.

use std::time::Duration;

use crate::attacker::{count, in_parallel};
use crate::siege::{Target, withstands};
use crate::support::wire::{self, Answer, Connection, FETCH, Fields, request};

const LIST_OFFSETS: i16 = 2;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;
const DESCRIBE_GROUPS: i16 = 15;
const DELETE_RECORDS: i16 = 21;
const INIT_PRODUCER_ID: i16 = 22;
const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
const DESCRIBE_CONFIGS: i16 = 32;
const DELETE_GROUPS: i16 = 42;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;

/// Elements of the largest arrays: nearly what the broker decodes in one request.
const ELEMENTS: usize = 260_000;
/// Names of groups: each is asked for by itself.
const GROUPS: usize = 20_000;
/// And far beyond what is decoded.
const BEYOND: u32 = 1_000_000;

#[test]
fn requests_of_as_many_elements_as_may_be_pass() {
    withstands(
        &[],
        &[
            ("many of everything", many_of_everything),
            ("fetch sessions without end", fetch_sessions),
            ("producer ids without end", producer_ids),
        ],
    );
}

fn named(names: usize, element: &[u8]) -> Vec<u8> {
    let mut body = count(names).to_vec();
    body.extend(element.repeat(names));
    body
}

/// `head`, one topic, so many elements, `tail`.
fn of_one_topic(head: &[u8], elements: usize, element: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut body = head.to_vec();
    body.extend(count(1));
    wire::string(&mut body, b"neighbour");
    body.extend(count(elements));
    body.extend(element.repeat(elements));
    body.extend(tail);
    body
}

fn many_of_everything(target: &Target) {
    // A compact array of empty strings, with the header's and the body's tagged fields.
    let keys = |elements: u32| {
        let mut out = vec![0, 0];
        let mut rest = elements + 1;
        while rest >= 0x80 {
            out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
            rest >>= 7;
        }
        out.push(u8::try_from(rest).expect("seven bits"));
        out.extend(vec![1; usize::try_from(elements).expect("a count")]);
        out.push(0);
        out
    };
    let group = {
        let mut head = Vec::new();
        wire::string(&mut head, b"million");
        head.extend((-1_i32).to_be_bytes());
        wire::string(&mut head, b"");
        head.extend((-1_i64).to_be_bytes());
        head
    };
    let group_name = {
        let mut head = Vec::new();
        wire::string(&mut head, b"million");
        head
    };
    let everybody = (-1_i32).to_be_bytes();
    let requests = [
        (FIND_COORDINATOR, 4, keys(BEYOND)),
        (FIND_COORDINATOR, 4, keys(BEYOND / 4)),
        (LIST_OFFSETS, 1, of_one_topic(&everybody, ELEMENTS, &[0; 12], &[])),
        (OFFSET_COMMIT, 2, of_one_topic(&group, ELEMENTS, &[0; 14], &[])),
        (OFFSET_FETCH, 1, of_one_topic(&group_name, ELEMENTS, &[0; 4], &[])),
        (
            DELETE_RECORDS,
            0,
            of_one_topic(&[], ELEMENTS, &[0; 12], &10_000_i32.to_be_bytes()),
        ),
        (
            OFFSET_FOR_LEADER_EPOCH,
            0,
            of_one_topic(&[], ELEMENTS, &[0; 8], &[]),
        ),
        (DESCRIBE_GROUPS, 0, named(GROUPS, &[0, 0])),
        (DELETE_GROUPS, 0, named(GROUPS, &[0, 0])),
        // A resource without a name of type topic, all of its keys.
        (
            DESCRIBE_CONFIGS,
            0,
            named(ELEMENTS, &[2, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        ),
        (
            INCREMENTAL_ALTER_CONFIGS,
            0,
            [named(ELEMENTS, &[2, 0, 0, 0, 0, 0, 0]), vec![0]].concat(),
        ),
    ];
    in_parallel(|thread| {
        for (api, version, body) in requests.iter().skip(thread).step_by(crate::attacker::THREADS) {
            let mut client = Connection::open(target.kafka).expect("a connection");
            client.set_patience(Duration::from_secs(60));
            client
                .send(&request(*api, *version, 1, body))
                .expect("a request is sent");
            // An answer or a closed connection, either will do.
            let begun = std::time::Instant::now();
            let answer = client.read().unwrap_or_else(|error| panic!("api {api}: {error}"));
            let length = match answer {
                Answer::Frame(frame) => frame.len(),
                Answer::Closed => 0,
            };
            eprintln!("api {api}: {length} bytes after {:.1?}", begun.elapsed());
        }
    });
}

/// Fetch version 7 that opens a session over so many partitions that are not there.
fn fetch_sessions(target: &Target) {
    let mut body = Vec::new();
    for field in [-1_i32, 0, 0, 1 << 20] {
        body.extend(field.to_be_bytes());
    }
    body.push(0);
    body.extend([0_i32.to_be_bytes(), 0_i32.to_be_bytes()].concat());
    body.extend(count(1));
    wire::string(&mut body, b"neighbour");
    body.extend(count(2000));
    for partition in 0..2000_i32 {
        body.extend(partition.to_be_bytes());
        body.extend(0_i64.to_be_bytes());
        body.extend((-1_i64).to_be_bytes());
        body.extend((1_i32 << 20).to_be_bytes());
    }
    body.extend(count(0));
    let open = request(FETCH, 7, 1, &body);
    in_parallel(|_| {
        let mut client = Connection::open(target.kafka).expect("a connection");
        client.set_patience(Duration::from_secs(60));
        for _ in 0..8 {
            client.send(&open.repeat(10)).expect("fetches are sent");
            for _ in 0..10 {
                let answer = client.read().expect("an answer");
                assert!(matches!(answer, Answer::Frame(_)), "{answer:?}");
            }
        }
    });
}

fn producer_ids(target: &Target) {
    let body = [&(-1_i16).to_be_bytes()[..], &60_000_i32.to_be_bytes()].concat();
    let ask = request(INIT_PRODUCER_ID, 0, 1, &body);
    in_parallel(|_| {
        let mut client = Connection::open(target.kafka).expect("a connection");
        client.set_patience(Duration::from_secs(60));
        for _ in 0..100 {
            client.send(&ask.repeat(50)).expect("requests are sent");
            for _ in 0..50 {
                let Answer::Frame(frame) = client.read().expect("an answer") else {
                    panic!("closed in between")
                };
                assert_eq!(Fields(&frame[8..]).i16(), Some(0), "a producer id");
            }
        }
    });
}

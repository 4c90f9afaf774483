//! Frames that no client library would send: lies about lengths and counts, garbage, versions from the future.

use std::io;
use std::time::{Duration, Instant};

use crate::siege::{Target, VERDICT_WITHIN, beside_a_neighbour, make_topic, verdict, withstands};
use crate::support::seed::Seed;
use crate::support::wire::{self, API_VERSIONS, Answer, Connection, FETCH, Fields, METADATA, PRODUCE};

/// Kafka's error code for a version that a broker does not serve.
const UNSUPPORTED_VERSION: i16 = 35;
/// The largest frame a broker takes by default.
const FRAME_BYTES_MAX: i32 = 100 << 20;

#[test]
fn frames_that_lie_disturb_nobody() {
    withstands(
        &[],
        &[
            (
                "impossible lengths close the connection",
                impossible_lengths_close_the_connection,
            ),
            (
                "a truncated frame disturbs nobody",
                a_truncated_frame_disturbs_nobody,
            ),
            (
                "an unknown api closes the connection",
                an_unknown_api_closes_the_connection,
            ),
            (
                "unsupported versions are refused",
                unsupported_versions_are_refused,
            ),
            (
                "an api versions request from the future is answered in version 0",
                an_api_versions_request_from_the_future_is_answered_in_version_0,
            ),
            (
                "arrays that claim two billion entries reserve nothing",
                arrays_that_claim_two_billion_entries_reserve_nothing,
            ),
            ("garbage disturbs nobody", garbage_disturbs_nobody),
            (
                "a batch with a broken checksum or count is refused and its neighbours are not",
                a_batch_with_a_broken_checksum_or_count_is_refused_and_its_neighbours_are_not,
            ),
            (
                "two hundred idle connections leave room for others",
                two_hundred_idle_connections_leave_room_for_others,
            ),
            (
                "answers come in the order of the requests",
                answers_come_in_the_order_of_the_requests,
            ),
        ],
    );
}

#[test]
fn a_slow_frame_is_cut_off() {
    beside_a_neighbour(&["kafka.frame_timeout=1s"], |target| {
        let address = target.kafka;
        let mut attacker = Connection::open(address).expect("a connection");
        attacker.send(&1000_i32.to_be_bytes()).expect("a length is sent");
        // A read that waits this long between two bytes is the slowness.
        attacker.set_patience(Duration::from_millis(200));
        let deadline = Instant::now() + VERDICT_WITHIN;
        let closed = loop {
            attacker.send(&[0]).expect("a byte is sent");
            match attacker.read() {
                Ok(answer) => break answer,
                Err(late) if matches!(late.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(other) => panic!("{other}"),
            }
            assert!(
                Instant::now() < deadline,
                "a frame of a byte now and then is read for ever"
            );
        };
        assert_eq!(closed, Answer::Closed);
    });
}

#[test]
fn large_frames_left_unfinished_stay_within_the_budget() {
    beside_a_neighbour(&["kafka.frame_timeout=1s"], |target| {
        let address = target.kafka;
        let claim = FRAME_BYTES_MAX - 1;
        let attackers: Vec<_> = (0..20)
            .map(|_| {
                let mut attacker = Connection::open(address).expect("a connection");
                attacker.send(&claim.to_be_bytes()).expect("a length is sent");
                attacker
                    .send(&vec![0; 64 << 10])
                    .expect("the start of a large frame is sent");
                attacker
            })
            .collect();
        for mut attacker in attackers {
            assert_eq!(attacker.read().expect("a verdict in time"), Answer::Closed);
        }
    });
}

fn impossible_lengths_close_the_connection(target: &Target) {
    let address = target.kafka;
    for length in [-1, i32::MIN, i32::MAX, FRAME_BYTES_MAX + 1, 0] {
        let mut attacker = Connection::open(address).expect("a connection");
        attacker.set_patience(VERDICT_WITHIN);
        attacker.send(&length.to_be_bytes()).expect("a length is sent");
        // Bytes after the length, so that a broker that believed it would have something to chew on.
        attacker.send(&[0; 64]).expect("some bytes are sent");
        assert_eq!(
            attacker.read().expect("a verdict in time"),
            Answer::Closed,
            "length {length}"
        );
    }
}

fn a_truncated_frame_disturbs_nobody(target: &Target) {
    let address = target.kafka;
    let whole = wire::request(METADATA, 4, 1, &wire::metadata_body("truncated"));
    for length in 1..whole.len() {
        let mut attacker = Connection::open(address).expect("a connection");
        attacker.send(&whole[..length]).expect("part of a frame is sent");
    }
}

fn an_unknown_api_closes_the_connection(target: &Target) {
    let address = target.kafka;
    for api_key in [999, 32_767, -1, 4, 7, 62] {
        let answer = verdict(address, &wire::request(api_key, 0, 1, &[0; 16]));
        assert_eq!(answer, Answer::Closed, "api {api_key}");
    }
}

fn unsupported_versions_are_refused(target: &Target) {
    let address = target.kafka;
    for api_key in [PRODUCE, FETCH, METADATA, 2, 19, 20, 22, 23, 32, 37, 60] {
        for version in [99, 32_767, -1] {
            // Whatever is answered or not, it comes in time, and the broker lives.
            verdict(address, &wire::request(api_key, version, 1, &[0; 32]));
        }
    }
}

fn an_api_versions_request_from_the_future_is_answered_in_version_0(target: &Target) {
    let address = target.kafka;
    let mut client = Connection::open(address).expect("a connection");
    // Version 99 has a body that nobody knows yet.
    let answer = client
        .call(API_VERSIONS, 99, &[7, b'f', b'u', b't', b'u', b'r', b'e', 0])
        .expect("an answer");
    let mut fields = Fields(&answer);
    assert_eq!(fields.i16(), Some(UNSUPPORTED_VERSION));
    let count = fields.i32().expect("a count of ranges");
    let ranges: Vec<_> = (0..count)
        .map(|_| (fields.i16(), fields.i16(), fields.i16()))
        .collect();
    let own = ranges.iter().find(|(key, ..)| *key == Some(API_VERSIONS));
    assert!(
        matches!(own, Some((_, Some(0), Some(3..)))),
        "its own range among {ranges:?}"
    );
    assert_eq!(fields.0, [0_u8; 0], "nothing after version 0's fields");
    // The same connection goes on, in a version that both know.
    let answer = client
        .call(API_VERSIONS, 0, &[])
        .expect("an answer on the same connection");
    assert_eq!(Fields(&answer).i16(), Some(0));
}

fn arrays_that_claim_two_billion_entries_reserve_nothing(target: &Target) {
    let address = target.kafka;
    let huge = i32::MAX.to_be_bytes();
    let mut metadata = huge.to_vec();
    metadata.extend([0; 32]);
    // Produce 3: no transactional id, acks, timeout, then topics or, in one topic, partitions without end.
    let head = [
        &(-1_i16).to_be_bytes()[..],
        &(-1_i16).to_be_bytes(),
        &1000_i32.to_be_bytes(),
    ]
    .concat();
    let topics = [&head[..], &huge].concat();
    let partitions = [&head[..], &1_i32.to_be_bytes(), &1_i16.to_be_bytes(), b"t", &huge].concat();
    let records = [
        &head[..],
        &1_i32.to_be_bytes(),
        &1_i16.to_be_bytes(),
        b"t",
        &1_i32.to_be_bytes(),
        &[0; 4],
        &huge,
    ]
    .concat();
    let fetch = [&[0; 17][..], &huge, &[0; 16]].concat();
    // Flexible versions count in varints: Metadata 12 and Produce 9 with the largest of them.
    let varint = [0_u8, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0];
    let attacks: [(i16, i16, &[u8]); 9] = [
        (METADATA, 4, &metadata),
        (PRODUCE, 3, &topics),
        (PRODUCE, 3, &partitions),
        (PRODUCE, 3, &records),
        (FETCH, 4, &fetch),
        (METADATA, 12, &varint),
        (PRODUCE, 9, &varint),
        (19, 2, &huge),
        (2, 1, &[&[0xff; 4][..], &huge].concat()),
    ];
    for (api_key, version, body) in attacks {
        for _ in 0..20 {
            verdict(address, &wire::request(api_key, version, 1, body));
        }
    }
}

fn garbage_disturbs_nobody(target: &Target) {
    let mut seed = Seed::announced("garbage_disturbs_nobody");
    let address = target.kafka;
    for _ in 0..150 {
        let mut attacker = Connection::open(address).expect("a connection");
        let count = seed.within(1..4096);
        attacker.send(&seed.bytes(count)).expect("garbage is sent");
    }
    // Garbage in well-formed frames gets past the framing, to the decoders of every request.
    for _ in 0..600 {
        let api_key = i16::try_from(seed.within(0..70)).expect("a small key");
        let version = i16::try_from(seed.within(0..14)).expect("a small version");
        let count = seed.within(0..300);
        let body = seed.bytes(count);
        let mut attacker = Connection::open(address).expect("a connection");
        attacker
            .send(&wire::request(api_key, version, 1, &body))
            .expect("a frame is sent");
        // Some of it waits as a long poll may; none is waited for, so that many are under way at once.
    }
}

fn a_batch_with_a_broken_checksum_or_count_is_refused_and_its_neighbours_are_not(target: &Target) {
    let address = target.kafka;
    let mut client = Connection::open(address).expect("a connection");
    make_topic(&mut client, "broken-batches").expect("a topic");
    let good = wire::batch_of(b"good");
    for at in [16, 17, 20, 23, 26, 57, 60, good.len() - 2] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        let (error, _) = client.produce("broken-batches", &bad).expect("an answer");
        assert_ne!(error, 0, "a batch with byte {at} flipped");
    }
    for length in [0, 1, 11, 60, 61, good.len() - 1] {
        let (error, _) = client
            .produce("broken-batches", &good[..length])
            .expect("an answer");
        assert_ne!(error, 0, "a batch cut to {length} bytes");
    }
    let answer = client.produce("broken-batches", &good).expect("an answer");
    assert_eq!(answer, (0, 0), "the first good batch is the first of the log");
}

fn two_hundred_idle_connections_leave_room_for_others(target: &Target) {
    let address = target.kafka;
    let idle: Vec<_> = (0..200)
        .map(|_| Connection::open(address).expect("a connection"))
        .collect();
    let mut late = Connection::open(address).expect("one connection more");
    let answer = late
        .call(API_VERSIONS, 0, &[])
        .expect("an answer beside idle connections");
    assert_eq!(Fields(&answer).i16(), Some(0));
    drop(idle);
}

fn answers_come_in_the_order_of_the_requests(target: &Target) {
    let address = target.kafka;
    let mut client = Connection::open(address).expect("a connection");
    make_topic(&mut client, "pipeline").expect("a topic");
    // A fetch that waits for its record in front of the produce that brings it would wait for ever if
    // requests did not overlap; a metadata answer that overtook them would be out of order.
    let mut requests = wire::request(FETCH, 4, 101, &wire::fetch_body("pipeline", 0));
    requests.extend(wire::request(
        PRODUCE,
        3,
        102,
        &wire::produce_body("pipeline", &wire::batch_of(b"x")),
    ));
    requests.extend(wire::request(METADATA, 4, 103, &wire::metadata_body("pipeline")));
    client.send(&requests).expect("three requests at once");
    for correlation in 101..=103_i32 {
        let Answer::Frame(frame) = client.read().expect("an answer") else {
            panic!("closed in between")
        };
        assert_eq!(
            frame.get(..4),
            Some(&correlation.to_be_bytes()[..]),
            "the next answer"
        );
    }
}

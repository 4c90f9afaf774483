//! Floods of connections, and the two bounds on them: how many there may be, and how long one may be silent.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::attacker::{crowd, dial, in_parallel, is_closed, is_closed_by, reset};
use crate::siege::{Siege, Target, VERDICT_WITHIN, withstands};
use crate::support::wire::{self, API_VERSIONS, Answer, Connection, FETCH, Fields, METADATA};

/// Connections that each thread of a storm opens.
const STORM: usize = 600;
/// The limit in the test of the limit, and how many try.
const LIMIT: usize = 1000;
const BEYOND: usize = 500;
/// Connections that are left open without a word.
const IDLE: usize = 3000;

#[test]
fn floods_of_connections_pass() {
    withstands(
        &["kafka.frame_timeout=2s"],
        &[
            ("connect and close", connect_and_close),
            ("connect and reset", connect_and_reset),
            ("thousands idle", thousands_idle),
            ("half closed", half_closed),
        ],
    );
}

fn connect_and_close(target: &Target) {
    in_parallel(|thread| {
        let address = [target.kafka, target.native, target.kafka, target.admin][thread];
        for _ in 0..STORM {
            drop(dial(address).expect("a connection"));
        }
    });
}

/// Some in the middle of a frame, all without a farewell.
fn connect_and_reset(target: &Target) {
    in_parallel(|thread| {
        let address = [target.kafka, target.native, target.kafka, target.admin][thread];
        for turn in 0..STORM {
            let mut stream = dial(address).expect("a connection");
            if turn % 2 == 0 {
                stream.write_all(&[0, 0, 1]).ok();
            }
            reset(stream);
        }
    });
}

fn thousands_idle(target: &Target) {
    let kafka = crowd(target.kafka, IDLE);
    let native = crowd(target.native, IDLE / 3);
    let mut late = Connection::open(target.kafka).expect("one connection more");
    let answer = late
        .call(API_VERSIONS, 0, &[])
        .expect("an answer beside idle connections");
    assert_eq!(Fields(&answer).i16(), Some(0));
    drop((kafka, native));
}

/// They ask, say that they will not say more, and do not listen.
fn half_closed(target: &Target) {
    let ask = wire::request(METADATA, 4, 1, &wire::metadata_body("neighbour"));
    let streams: Vec<_> = crowd(target.kafka, 500)
        .into_iter()
        .map(|mut stream| {
            stream.write_all(&ask.repeat(20)).ok();
            stream
                .shutdown(std::net::Shutdown::Write)
                .expect("half a connection");
            stream
        })
        .collect();
    drop(streams);
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once_and_those_within_it_are_served() {
    let mut siege = Siege::begin(&[&format!("kafka.max_connections={LIMIT}")]);
    siege.withstand("beyond the limit", |target| {
        let mut streams = crowd(target.kafka, LIMIT + BEYOND);
        // Who is beyond the limit hears it without asking. The neighbours have two places.
        let deadline = Instant::now() + VERDICT_WITHIN;
        while streams.len() > LIMIT - 2 && Instant::now() < deadline {
            streams.retain(|stream| !is_closed(stream));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(streams.len(), LIMIT - 2, "those within the limit stay, no others");
        let one_more = is_closed_by(&mut dial(target.native).expect("a connection"), deadline);
        assert!(one_more, "the limit is that of all doors together");
        drop(streams);
        // Places are free again as soon as the broker has seen that they are.
        let served = std::iter::repeat_with(|| {
            let mut client = Connection::open(target.kafka).ok()?;
            client.call(API_VERSIONS, 0, &[]).ok()
        });
        let mut served = served.take_while(|_| Instant::now() < deadline);
        assert!(
            served.any(|answer| answer.is_some()),
            "a place that was left is free"
        );
    });
    assert!(
        siege.broker.metric("corelog_connections_refused_total") >= Some(BEYOND as u64),
        "refusals are counted"
    );
    siege.end();
}

#[test]
fn who_is_silent_too_long_is_closed_and_who_waits_for_an_answer_is_not() {
    crate::siege::beside_a_neighbour(&["kafka.idle_timeout=1s"], |target| {
        let mut waiting = Connection::open(target.kafka).expect("a connection");
        crate::siege::make_topic(&mut waiting, "quiet").expect("a topic");
        // A fetch that waits four times as long as one may be silent.
        let mut fetch = wire::fetch_body("quiet", 0);
        fetch[4..8].copy_from_slice(&4000_i32.to_be_bytes());
        waiting
            .send(&wire::request(FETCH, 4, 9, &fetch))
            .expect("a long poll is sent");
        let silent = crowd(target.kafka, 50);
        let deadline = Instant::now() + VERDICT_WITHIN;
        for mut stream in silent {
            assert!(
                is_closed_by(&mut stream, deadline),
                "a silent connection is closed"
            );
        }
        waiting.set_patience(Duration::from_secs(20));
        let answer = waiting.read().expect("an answer");
        assert!(matches!(answer, Answer::Frame(_)), "who waits is answered");
    });
}

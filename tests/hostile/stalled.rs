//! Frames that do not arrive: a byte now and then, a head and then nothing, many at once.
//!
//! A frame that has begun has its memory reserved. Who stops sending then must not keep it from others, whatever time the
//! configuration gives a slow link.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::attacker::{crowd, is_closed_by};
use crate::siege::{Target, VERDICT_WITHIN, withstands};
use crate::support::wire::{FETCH, METADATA, PRODUCE};

/// Connections of an attack that drips.
const DRIPPING: usize = 300;

#[test]
fn frames_that_drip_are_cut_off() {
    withstands(
        &["kafka.frame_timeout=1s"],
        &[
            ("kafka, a byte now and then", |target| {
                drip(target.kafka, &[0, 0, 4, 0])
            }),
            ("kafka, a head and then nothing", |target| {
                fall_silent(target.kafka, &kafka_head(METADATA, 1000));
            }),
            ("native, a byte now and then", |target| drip(target.native, &[])),
            ("native, a head and then nothing", |target| {
                fall_silent(target.native, &native_head(11, 1 << 20));
            }),
        ],
    );
}

#[test]
fn a_head_that_holds_memory_and_is_not_followed_starves_nobody() {
    // Half a minute, the default, for a frame to arrive: the neighbours must not need as much.
    withstands(
        &[],
        &[
            ("large frames", |target| hold(target, FETCH, 8 << 20, 60)),
            ("large batches", |target| hold(target, PRODUCE, 100 << 20, 60)),
            ("usual batches", |target| hold(target, PRODUCE, 1 << 20, 200)),
            ("small frames", |target| hold(target, METADATA, 4 << 10, 1000)),
            ("small batches", |target| hold(target, PRODUCE, 60 << 10, 1000)),
            ("native batches", |target| hold_native(target, 1 << 20, 200)),
        ],
    );
}

fn kafka_head(api: i16, size: i32) -> Vec<u8> {
    [&size.to_be_bytes()[..], &api.to_be_bytes(), &4_i16.to_be_bytes()].concat()
}

/// The first sixteen bytes of a native frame of this kind and length; its checksum is not looked at before it is whole.
fn native_head(kind: u8, length: u32) -> Vec<u8> {
    let mut head = length.to_le_bytes().to_vec();
    head.extend([0; 4]);
    head.extend([kind, 1, 0, 0]);
    head.extend([0; 20]);
    head
}

/// A byte on every connection, over and over, until the broker has closed them all.
fn drip(address: SocketAddr, first: &[u8]) {
    let mut streams = crowd(address, DRIPPING);
    for stream in &mut streams {
        stream.write_all(first).ok();
    }
    let deadline = Instant::now() + VERDICT_WITHIN;
    while !streams.is_empty() {
        assert!(
            Instant::now() < deadline,
            "{} frames of a byte now and then are read for ever",
            streams.len()
        );
        std::thread::sleep(Duration::from_millis(100));
        streams.retain_mut(|stream| stream.write_all(&[0]).is_ok());
    }
}

fn fall_silent(address: SocketAddr, head: &[u8]) {
    let mut streams = crowd(address, DRIPPING);
    for stream in &mut streams {
        stream.write_all(head).ok();
    }
    let deadline = Instant::now() + VERDICT_WITHIN;
    for mut stream in streams {
        assert!(
            is_closed_by(&mut stream, deadline),
            "a frame that does not come is given up"
        );
    }
}

/// Heads of frames of `size` bytes and their first bytes, on many connections, for a while.
fn hold(target: &Target, api: i16, size: i32, connections: usize) {
    let begin = |mut stream: TcpStream| {
        stream.write_all(&kafka_head(api, size)).ok();
        stream.write_all(&[0; 64]).ok();
        stream
    };
    let held: Vec<_> = crowd(target.kafka, connections).into_iter().map(begin).collect();
    target.hold();
    drop(held);
}

fn hold_native(target: &Target, length: u32, connections: usize) {
    let begin = |mut stream: TcpStream| {
        stream.write_all(&native_head(11, length)).ok();
        stream
    };
    let held: Vec<_> = crowd(target.native, connections).into_iter().map(begin).collect();
    target.hold();
    drop(held);
}

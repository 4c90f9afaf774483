//! The admin port under attack: it shares the process with the log, so it is bounded like every door.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::attacker::{crowd, dial, in_parallel, push};
use crate::siege::{Target, VERDICT_WITHIN, withstands};

/// Connections of an attack; far more than an admin port needs.
const CROWD: usize = 500;

#[test]
fn the_admin_port_stands_its_ground() {
    withstands(
        &[],
        &[
            ("idle connections", idle),
            ("heads without end", heads_without_end),
            ("bodies without end", bodies_without_end),
            ("a byte now and then", drip),
            ("questions nobody waits for", ask_and_leave),
        ],
    );
}

/// Whether somebody who asks for the broker's health now is told.
fn is_served(target: &Target) -> bool {
    let deadline = Instant::now() + VERDICT_WITHIN;
    while Instant::now() < deadline {
        if asks_health(target).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200")) {
            return true;
        }
    }
    false
}

fn asks_health(target: &Target) -> std::io::Result<Vec<u8>> {
    let mut stream = dial(target.admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: corelog\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn idle(target: &Target) {
    let crowd = crowd(target.admin, CROWD);
    assert!(
        is_served(target),
        "the admin port is served beside idle connections"
    );
    drop(crowd);
}

fn heads_without_end(target: &Target) {
    let line = format!("X-Filler: {}\r\n", "f".repeat(8000));
    let mut streams = crowd(target.admin, CROWD / 2);
    for stream in &mut streams {
        push(
            stream,
            b"GET /healthz HTTP/1.1\r\nHost: corelog\r\n",
            Duration::from_millis(100),
        );
        push(stream, line.repeat(100).as_bytes(), Duration::from_millis(5));
    }
    assert!(is_served(target), "the admin port is served beside large heads");
    drop(streams);
}

fn bodies_without_end(target: &Target) {
    in_parallel(|_| {
        for _ in 0..20 {
            let mut stream = dial(target.admin).expect("a connection");
            let head = "POST /metrics HTTP/1.1\r\nHost: corelog\r\nContent-Length: 99999999999\r\n\r\n";
            push(&mut stream, head.as_bytes(), Duration::from_millis(200));
            push(&mut stream, &vec![b'b'; 1 << 20], Duration::from_millis(200));
        }
    });
    assert!(is_served(target), "the admin port is served beside large bodies");
}

fn drip(target: &Target) {
    let mut streams: Vec<TcpStream> = crowd(target.admin, CROWD / 4);
    for byte in b"GET /metrics HTTP" {
        for stream in &mut streams {
            stream.write_all(&[*byte]).ok();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(is_served(target), "the admin port is served beside slow heads");
    drop(streams);
}

/// Answers that take long to make, for connections that are gone.
fn ask_and_leave(target: &Target) {
    in_parallel(|_| {
        for _ in 0..100 {
            let mut stream = dial(target.admin).expect("a connection");
            stream
                .write_all(b"GET /metrics/kafka HTTP/1.1\r\nHost: corelog\r\n\r\n")
                .ok();
        }
    });
    assert!(is_served(target), "the admin port is served after all that");
}

//! What attackers have in common: many sockets, many threads, bodies of requests by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::wire;

/// Threads of an attack: enough to keep the broker busy, few enough to leave the machine to the neighbours.
pub(crate) const THREADS: usize = 4;

/// As many open files as this process may have: an attacker needs one for each connection.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised to the hard one");
}

/// Runs `work` on several threads, which are told their number.
pub(crate) fn in_parallel(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
}

/// A plain socket.
pub(crate) fn dial(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

/// So many plain sockets at once.
pub(crate) fn crowd(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| dial(address).expect("a connection")).collect()
}

/// Ends a connection without a farewell.
pub(crate) fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket that may linger");
    drop(stream);
}

/// Writes until the peer does not take any more, or has closed, or everything is written.
pub(crate) fn push(stream: &mut TcpStream, bytes: &[u8], patience: Duration) {
    stream.set_write_timeout(Some(patience)).expect("a time limit");
    // Whatever comes of it is what the attack is about.
    stream.write_all(bytes).ok();
}

/// Whether the peer has closed: reads what is left and waits for the end until `deadline`.
pub(crate) fn is_closed_by(stream: &mut TcpStream, deadline: Instant) -> bool {
    let mut sink = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        stream.set_read_timeout(Some(left)).expect("a time limit");
        match stream.read(&mut sink) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                let late = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                return !late.contains(&error.kind());
            }
        }
    }
}

/// Whether the peer has closed a connection on which it says nothing.
pub(crate) fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket of ours");
    let closed = match stream.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).expect("a socket of ours");
    closed
}

/// A count as the wire has it.
pub(crate) fn count(len: usize) -> [u8; 4] {
    i32::try_from(len).expect("a count").to_be_bytes()
}

/// A record batch (version 2) with these header fields over these bytes of records, checksum right.
pub(crate) fn batch(shape: Shape, records: &[u8]) -> Vec<u8> {
    let mut checked = shape.attributes.to_be_bytes().to_vec();
    checked.extend((shape.record_count - 1).to_be_bytes());
    checked.extend(1_600_000_000_000_i64.to_be_bytes());
    checked.extend(1_600_000_000_000_i64.to_be_bytes());
    checked.extend(shape.producer_id.to_be_bytes());
    checked.extend(shape.producer_epoch.to_be_bytes());
    checked.extend(shape.sequence.to_be_bytes());
    checked.extend(shape.record_count.to_be_bytes());
    checked.extend(records);
    let mut batch = 0_i64.to_be_bytes().to_vec();
    batch.extend(count(checked.len() + 9));
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend(corelog::base::checksum::crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

/// Fields of a batch that an attacker chooses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) attributes: i16,
    pub(crate) record_count: i32,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) sequence: i32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            attributes: 0,
            record_count: 1,
            producer_id: -1,
            producer_epoch: -1,
            sequence: -1,
        }
    }
}

/// One record without headers.
pub(crate) fn record(key: Option<&[u8]>, value: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0, 0];
    match key {
        None => record.push(1),
        Some(key) => {
            wire::varint(&mut record, key.len());
            record.extend(key);
        }
    }
    wire::varint(&mut record, value.len());
    record.extend(value);
    record.push(0);
    let mut whole = Vec::new();
    wire::varint(&mut whole, record.len());
    whole.extend(record);
    whole
}

/// Produce version 3, acks=all: batches for partitions of one topic.
pub(crate) fn produce_body(topic: &str, batches: &[(i32, &[u8])]) -> Vec<u8> {
    let mut body = (-1_i16).to_be_bytes().to_vec();
    body.extend((-1_i16).to_be_bytes());
    body.extend(30_000_i32.to_be_bytes());
    body.extend(count(1));
    wire::string(&mut body, topic.as_bytes());
    body.extend(count(batches.len()));
    for (partition, batch) in batches {
        body.extend(partition.to_be_bytes());
        wire::bytes(&mut body, batch);
    }
    body
}

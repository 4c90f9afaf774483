//! Clients that expect nothing but good service, each on a thread of its own.
//!
//! [`Neighbour::producing`] writes a record and reads it back, over and over; [`Neighbour::committing`] commits an offset and asks
//! for it. Each holds one connection and ends at the first error, late answer or closed connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::siege::make_topic;
use crate::support::wire::{self, Connection, Fields};

const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;

/// How long the neighbour waits for one answer before it calls that bad service. Far above what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many more rounds a neighbour must make to count as served.
const ROUNDS: u64 = 20;
/// How long that may take.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Neighbour {
    name: &'static str,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    /// The longest round since it was asked last, in microseconds; for people.
    longest: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), String>>,
}

impl Neighbour {
    /// One record in, the same record out.
    pub(crate) fn producing(address: SocketAddr) -> Self {
        Self::start("producing", move || {
            let mut client = open(address)?;
            make_topic(&mut client, "neighbour")?;
            Ok(move |round: i64| produce_and_fetch(&mut client, round))
        })
    }

    /// One offset in, the same offset out.
    pub(crate) fn committing(address: SocketAddr) -> Self {
        Self::start("committing", move || {
            let mut client = open(address)?;
            make_topic(&mut client, "neighbour")?;
            find_coordinator(&mut client)?;
            Ok(move |round: i64| commit_and_fetch(&mut client, round))
        })
    }

    fn start<R>(name: &'static str, begin: impl FnOnce() -> Result<R, String> + Send + 'static) -> Self
    where
        R: FnMut(i64) -> Result<(), String>,
    {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let longest = Arc::new(AtomicU64::new(0));
        let (seen_stop, counted, noted) = (Arc::clone(&stop), Arc::clone(&rounds), Arc::clone(&longest));
        let thread = std::thread::spawn(move || {
            let mut serve = begin()?;
            let mut round = 0;
            while !seen_stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let served = serve(round).map_err(|error| format!("{name}, round {round}: {error}"));
                served.inspect_err(|error| eprintln!("a neighbour complains: {error}"))?;
                let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                noted.fetch_max(took, Ordering::Relaxed);
                round += 1;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self {
            name,
            stop,
            rounds,
            longest,
            thread,
        }
    }

    /// Rounds it was served.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Its longest round since this was asked last.
    pub(crate) fn longest_round(&self) -> Duration {
        Duration::from_micros(self.longest.swap(0, Ordering::Relaxed))
    }

    /// Returns when the neighbour has been served some more rounds, or has ended; the latter is told by
    /// [`finish`](Self::finish).
    pub(crate) fn wait_for_progress(&self) {
        let target = self.rounds() + ROUNDS;
        let deadline = Instant::now() + PROGRESS_WITHIN;
        while self.rounds() < target && !self.thread.is_finished() {
            assert!(
                Instant::now() < deadline,
                "the {} neighbour makes no progress",
                self.name
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has ended by itself, which it does only to complain.
    pub(crate) fn complains(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops the neighbour; fails the test with whatever it had to complain about.
    pub(crate) fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let verdict = self.thread.join().expect("the neighbour's thread ends");
        assert_eq!(verdict, Ok(()), "the neighbour noticed");
    }
}

fn open(address: SocketAddr) -> Result<Connection, String> {
    let client = Connection::open(address).map_err(|error| format!("connect: {error}"))?;
    client.set_patience(PATIENCE);
    Ok(client)
}

fn produce_and_fetch(client: &mut Connection, round: i64) -> Result<(), String> {
    let value = format!("round {round}");
    let batch = wire::batch_of(value.as_bytes());
    let produced = client
        .produce("neighbour", &batch)
        .map_err(|error| format!("produce: {error}"))?;
    if produced != (0, round) {
        return Err(format!("produce: error {} at offset {}", produced.0, produced.1));
    }
    let (error, records) = client
        .fetch("neighbour", round)
        .map_err(|error| format!("fetch: {error}"))?;
    // Everything from the checksum on comes back as it was sent; the offset in front of it is the broker's.
    let same =
        records.get(17..batch.len()) == batch.get(17..) && records.get(..8) == Some(&round.to_be_bytes());
    if error != 0 || !same {
        return Err(format!(
            "fetch: error {error}, {} bytes: {records:?}",
            records.len()
        ));
    }
    Ok(())
}

/// The first question makes the topic that offsets are kept in, which takes a moment.
fn find_coordinator(client: &mut Connection) -> Result<(), String> {
    let mut body = Vec::new();
    wire::string(&mut body, b"neighbours");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let answer = client.call(FIND_COORDINATOR, 0, &body);
        let answer = answer.map_err(|error| format!("find coordinator: {error}"))?;
        if Fields(&answer).i16() == Some(0) && commit(client, 0).is_ok_and(|error| error == 0) {
            return Ok(());
        }
    }
    Err("no coordinator".to_owned())
}

fn commit_and_fetch(client: &mut Connection, round: i64) -> Result<(), String> {
    let error = commit(client, round).map_err(|error| format!("commit: {error}"))?;
    if error != 0 {
        return Err(format!("commit: error {error}"));
    }
    let mut body = Vec::new();
    wire::string(&mut body, b"neighbours");
    body.extend(1_i32.to_be_bytes());
    wire::string(&mut body, b"neighbour");
    body.extend([1_i32.to_be_bytes(), 0_i32.to_be_bytes()].concat());
    let answer = client.call(OFFSET_FETCH, 1, &body);
    let answer = answer.map_err(|error| format!("offset fetch: {error}"))?;
    let mut fields = Fields(&answer);
    let found = (|| {
        fields.take(4)?;
        fields.string()?;
        fields.take(8)?;
        fields.i64()
    })();
    match found {
        Some(offset) if offset == round => Ok(()),
        other => Err(format!("offset fetch: {other:?} instead of {round}")),
    }
}

/// OffsetCommit version 2 of one offset of a group without members; the error code.
fn commit(client: &mut Connection, offset: i64) -> io::Result<i16> {
    let mut body = Vec::new();
    wire::string(&mut body, b"neighbours");
    body.extend((-1_i32).to_be_bytes());
    wire::string(&mut body, b"");
    body.extend((-1_i64).to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    wire::string(&mut body, b"neighbour");
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(offset.to_be_bytes());
    wire::string(&mut body, b"as far as this");
    let answer = client.call(OFFSET_COMMIT, 2, &body)?;
    let mut fields = Fields(&answer);
    let error = (|| {
        fields.take(4)?;
        fields.string()?;
        fields.take(8)?;
        fields.i16()
    })();
    error.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a short commit answer"))
}

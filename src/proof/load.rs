//! The load under which a broker is broken: clients of every kind on threads of their own, over real sockets.
//!
//! Producers of both protocols write values that tell who sent them; readers follow; a group of consumers commits after
//! processing; a chore thread creates and deletes topics, changes settings, trims. Whatever a client learns it tells the
//! prover's thread through one channel, as a change to the [`History`]; the order of the channel is an order in which it
//! could have been learned. Clients never give up while the broker may come back, and what lets one down for good (an
//! answer that no broker that keeps its promises gives) is told as well.
//!
//! Three topics: one ([`MAIN`]) of small segments that everybody uses, one that is compacted, one that is trimmed.

mod chores;
mod group;
mod producers;
mod readers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::history::{Attachment, History, Partition, Place, Reader, Value};
use super::interrupt::Interrupt;
use super::moment::Moment;
use crate::client::kafka::consumer::Fetched;
use crate::client::kafka::{Client, ClientError, Missing, NewTopic, Patience};
use crate::protocol::kafka::errors::ErrorCode;
use crate::runtime::clock::{Mono, now};
use crate::runtime::executor::spawn_thread;

pub(super) use readers::read_all_native;

/// A topic under proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) partitions: u32,
    /// Which topic it is for the history.
    number: u64,
    settings: &'static [(&'static str, &'static str)],
}

impl Topic {
    /// The history's name for a partition of this topic.
    pub(super) fn partition(self, index: u32) -> Partition {
        Partition(self.number * PARTITIONS_MAX + u64::from(index))
    }

    /// All partitions, by their index.
    pub(super) fn all(self) -> impl Iterator<Item = (i32, Partition)> {
        let index = |index: u32| i32::try_from(index).expect("a topic has few partitions");
        (0..self.partitions).map(move |number| (index(number), self.partition(number)))
    }
}

/// Everybody's topic. Small segments, so that kills fall into rolls.
pub(super) const MAIN: Topic = Topic {
    name: "prove",
    partitions: 6,
    number: 0,
    settings: &[("segment.bytes", "65536")],
};
/// Written with [`KEYS`] keys and cleaned all the time.
pub(super) const COMPACTED: Topic = Topic {
    name: "prove-compacted",
    partitions: 2,
    number: 1,
    settings: &[
        ("cleanup.policy", "compact"),
        ("segment.bytes", "32768"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ],
};
/// Written, and trimmed by DeleteRecords all the time.
pub(super) const TRIMMED: Topic = Topic {
    name: "prove-trimmed",
    partitions: 2,
    number: 2,
    settings: &[("segment.bytes", "32768")],
};
pub(super) const TOPICS: [Topic; 3] = [MAIN, COMPACTED, TRIMMED];
/// Keys of each producer to the compacted topic.
pub(super) const KEYS: u64 = 24;
/// More partitions than any topic here has.
const PARTITIONS_MAX: u64 = 1000;

/// What a client tells.
pub(super) enum Told {
    /// It learned something.
    Learned(Box<dyn FnOnce(&mut History) + Send>),
    /// It was let down.
    LetDown(String),
}

/// A client's thread: where it finds the broker, and whom it tells what it learns.
#[derive(Clone)]
struct Witness {
    kafka: String,
    native: String,
    told: Sender<Told>,
    shared: Arc<Shared>,
    origin: Mono,
    seed: u64,
    /// Records a producer sends a second.
    rate: u32,
}

/// What the threads and the prover share beside the channel.
#[derive(Debug, Default)]
struct Shared {
    stop: Interrupt,
    /// Threads that have not ended.
    running: AtomicUsize,
    /// The chore under way, by [`Moment::code`]; 0 for none.
    chore: AtomicU8,
    /// The chore that the prover aims at, in the same way: it is done over and over until it is struck.
    wanted: AtomicU8,
    /// Requests to produce that wait for their answers.
    producing: AtomicUsize,
}

/// The load, as the prover holds it. Dropping it asks the threads to end; those that wait for a broker that is gone end
/// with their patience, or with the process.
pub(super) struct Load {
    told: Receiver<Told>,
    shared: Arc<Shared>,
    let_down: Vec<String>,
}

impl Load {
    /// Creates the topics, with `settings` besides their own, and starts the threads.
    pub(super) fn start(
        kafka: SocketAddr,
        native: SocketAddr,
        seed: u64,
        rate: u32,
        settings: &[(&str, &str)],
        history: &mut History,
    ) -> Result<Self, LoadError> {
        let witness_kafka = kafka.to_string();
        let mut client = connect(&witness_kafka)?;
        let new: Vec<NewTopic> = TOPICS.iter().map(|topic| topic.to_create(settings)).collect();
        for outcome in client.create_topics(&new)? {
            ClientError::check(&outcome.name, outcome.code, outcome.message.as_deref())?;
        }
        for (_, partition) in COMPACTED.all() {
            history.compacted(partition, KEYS);
        }
        let (told, learned) = channel();
        let shared = Arc::new(Shared::default());
        let witness = Witness {
            kafka: witness_kafka,
            native: native.to_string(),
            told,
            shared: Arc::clone(&shared),
            origin: now(),
            seed,
            rate: (rate / producers::COUNT).max(1),
        };
        for (name, run) in threads() {
            let witness = witness.clone();
            shared.running.fetch_add(1, Ordering::Relaxed);
            spawn_thread(&name, move || {
                let _running = Running(Arc::clone(&witness.shared));
                run(&witness);
            })?;
        }
        Ok(Self {
            told: learned,
            shared,
            let_down: Vec::new(),
        })
    }

    /// Takes over what the clients have told so far, and gives what let them down.
    pub(super) fn observe(&mut self, history: &mut History) -> &[String] {
        while let Ok(told) = self.told.try_recv() {
            self.take(told, history);
        }
        &self.let_down
    }

    /// Lets the clients come to their end, the broker being up, and takes over the rest. Says who did not end.
    pub(super) fn finish(mut self, patience: Duration, history: &mut History) -> Vec<String> {
        self.shared.stop.set();
        let until = now().after(patience);
        while self.shared.running.load(Ordering::Acquire) > 0 {
            match self.told.recv_timeout(until.since(now())) {
                Ok(told) => self.take(told, history),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let left = self.shared.running.load(Ordering::Acquire);
                    self.let_down.push(format!(
                        "{left} clients did not come to their end within {}s",
                        patience.as_secs()
                    ));
                    break;
                }
            }
        }
        self.observe(history);
        std::mem::take(&mut self.let_down)
    }

    /// What the prover aims at: if it is a chore, the next one is that.
    pub(super) fn aim_at(&self, moment: Option<Moment>) {
        let code = moment.map_or(0, Moment::code);
        self.shared.wanted.store(code, Ordering::Relaxed);
    }

    /// What the clients are doing now, for the aim and the account of kills.
    pub(super) fn moments(&self) -> impl Iterator<Item = Moment> {
        let chore = Moment::of_code(self.shared.chore.load(Ordering::Relaxed));
        let producing = self.shared.producing.load(Ordering::Relaxed) > 0;
        chore.into_iter().chain(producing.then_some(Moment::Committing))
    }

    fn take(&mut self, told: Told, history: &mut History) {
        match told {
            Told::Learned(change) => change(history),
            Told::LetDown(what) => self.let_down.push(what),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.set();
    }
}

/// One thread of the load less.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        // Pairs with the load in `finish`: what this thread told comes before its end.
        self.0.running.fetch_sub(1, Ordering::Release);
    }
}

/// Why there is no load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The broker refuses, or cannot be reached.
    #[error("cannot prepare the topics: {0}")]
    Client(#[from] ClientError),
    /// There are no threads.
    #[error("cannot start the clients: {0}")]
    Thread(#[from] io::Error),
}

/// What a thread does.
type Work = Box<dyn FnOnce(&Witness) + Send>;

fn threads() -> Vec<(String, Work)> {
    let mut threads = producers::threads();
    threads.extend(readers::threads());
    threads.extend(group::threads());
    threads.push(("chores".to_owned(), Box::new(chores::run)));
    threads
}

impl Witness {
    fn stopping(&self) -> bool {
        self.shared.stop.is_set()
    }

    fn learned(&self, change: impl FnOnce(&mut History) + Send + 'static) {
        // When nobody listens any more the run is over.
        let _told = self.told.send(Told::Learned(Box::new(change)));
    }

    fn let_down(&self, who: &str, by: &dyn std::fmt::Display) {
        let _told = self.told.send(Told::LetDown(format!("{who}: {by}")));
    }

    /// Nanoseconds since the load began; never 0.
    fn tick(&self) -> u64 {
        u64::try_from(now().since(self.origin).as_nanos()).map_or(u64::MAX, |tick| tick.max(1))
    }

    /// A Kafka client, as soon as there is a broker; `None` once the load stops.
    fn kafka_client(&self) -> Option<Client> {
        self.insist(|| connect(&self.kafka).ok())
    }

    /// Tries until there is something; `None` once the load stops.
    fn insist<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = attempt() {
                return Some(found);
            }
            if self.stopping() {
                return None;
            }
            self.shared.stop.sleep(RETRY_PAUSE);
        }
    }
}

impl Topic {
    fn to_create(self, settings: &[(&str, &str)]) -> NewTopic {
        let own = self.settings.iter().chain(settings);
        NewTopic {
            name: self.name.to_owned(),
            partitions: i32::try_from(self.partitions).ok(),
            config: own
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }
}

/// A client that has met its broker and from then on waits for it to come back.
fn connect(address: &str) -> Result<Client, ClientError> {
    connect_with(address, RETRIES)
}

/// A client of a broker that is up.
pub(super) fn connect_briefly(address: &str) -> Result<Client, ClientError> {
    connect_with(address, RETRIES_UP)
}

fn connect_with(address: &str, retries: u32) -> Result<Client, ClientError> {
    let patience = Patience {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(20),
        pause: RETRY_PAUSE,
        retries,
    };
    let mut client = Client::new(&[address.to_owned()], patience)?;
    client.topics(Some(&[]), Missing::Fail)?;
    Ok(client)
}

/// A record as the history takes it: its place, and its value or the bytes nobody sends.
pub(super) type Seen = (Place, Result<Value, Vec<u8>>);

/// What a fetched record is for the history.
pub(super) fn place_of(topic: Topic, record: &Fetched<'_>) -> Seen {
    let index = u32::try_from(record.partition).unwrap_or(u32::MAX);
    let place = Place {
        partition: topic.partition(index),
        offset: u64::try_from(record.offset).unwrap_or(u64::MAX),
    };
    let bytes = record.value.unwrap_or_default();
    (place, Value::parse(bytes).ok_or_else(|| bytes.to_vec()))
}

/// Tells of one answer to a poll.
fn polled(witness: &Witness, reader: Reader, attachment: Attachment, records: Vec<Seen>) {
    if records.is_empty() {
        return;
    }
    witness.learned(move |history| tell_polled(history, reader, attachment, records));
}

/// Notes one answer to a poll, what nobody sends included.
pub(super) fn tell_polled(history: &mut History, reader: Reader, attachment: Attachment, records: Vec<Seen>) {
    let mut sound = Vec::with_capacity(records.len());
    for (place, value) in records {
        match value {
            Ok(value) => sound.push((place, value)),
            Err(bytes) => history.alien(place, &bytes),
        }
    }
    history.polled(reader, attachment, sound);
}

/// Whether an error is one that a broker which comes back makes good.
fn passes(error: &ClientError) -> bool {
    let lost = |code: i16| code == ErrorCode::UnknownTopicOrPartition.code();
    match error {
        ClientError::Refused { code, .. } => error.is_transient() && !lost(*code),
        _ => error.is_transient(),
    }
}

/// Between two attempts to reach a broker that is down.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// More than a broker that comes back needs; the pauses grow to a second.
const RETRIES: u32 = 60;
/// Three seconds, for a broker that is up and has something to sort out.
const RETRIES_UP: u32 = 9;

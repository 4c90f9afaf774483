//! Producers of both protocols, each idempotent, each in its own way: codecs, batch sizes, how many at once.
//!
//! A producer counts its values up from zero, says how many it attempted before it sends them, and tells every
//! acknowledgement with the times between which the send lay. It never gives up on a value while its identity lasts. If the
//! broker refuses for good, that is told, the outcome of what was under way is unknown for ever, and it goes on with
//! a new identity.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::history::{History, Place, Value};
use super::{COMPACTED, KEYS, MAIN, TRIMMED, Topic, Witness, Work, passes};
use crate::base::random::Random;
use crate::batch::Compression;
use crate::client::kafka::producer::{Identity, Producer, ProducerOptions};
use crate::client::partitioner::partition_of;
use crate::client::{self, Delivery, NewRecord, ProducerConfig};
use crate::runtime::clock::wall_ms;

/// How many producers there are.
pub(super) const COUNT: u32 = 6;

pub(super) fn threads() -> Vec<(String, Work)> {
    let kafka = [
        (MAIN, Compression::None, 24),
        (MAIN, Compression::Zstd, 64),
        (COMPACTED, Compression::Lz4, 32),
    ];
    let native = [
        (MAIN, Duration::ZERO, 16),
        (MAIN, LINGER, 96),
        (TRIMMED, Duration::ZERO, 48),
    ];
    let mut threads: Vec<(String, Work)> = Vec::new();
    for (topic, codec, burst) in kafka {
        let number = u32::try_from(threads.len()).expect("few producers");
        let run = move |witness: &Witness| {
            produce_kafka(witness, Source::new(witness, number, topic, burst), codec)
        };
        threads.push((format!("producer {number}"), Box::new(run)));
    }
    for (topic, linger, burst) in native {
        let number = u32::try_from(threads.len()).expect("few producers");
        let run = move |witness: &Witness| {
            produce_native(witness, Source::new(witness, number, topic, burst), linger)
        };
        threads.push((format!("producer {number}"), Box::new(run)));
    }
    threads
}

/// Where one producer's values come from.
struct Source {
    number: u32,
    topic: Topic,
    next: u64,
    random: Random,
    burst: usize,
    rate: u32,
}

/// A value to be sent.
struct Made {
    value: Value,
    key: String,
    bytes: Vec<u8>,
    partition: u32,
}

impl Source {
    fn new(witness: &Witness, number: u32, topic: Topic, burst: usize) -> Self {
        Self {
            number,
            topic,
            next: 0,
            random: Random::new(witness.seed, STREAM + u64::from(number)),
            burst,
            rate: witness.rate,
        }
    }

    /// The values of the next burst; the history knows that they are attempted.
    fn burst(&mut self, witness: &Witness) -> Vec<Made> {
        let count = 1 + self.random.below(self.burst);
        let made = (0..count).map(|_| self.make()).collect();
        let (number, attempted) = (self.number, self.next);
        witness.learned(move |history| history.attempted(number, attempted));
        made
    }

    fn make(&mut self) -> Made {
        let (number, sequence) = (self.number, self.next);
        self.next += 1;
        let mut bytes = format!("{number}:{sequence}:").into_bytes();
        let mut filling = vec![0; self.random.below(FILLING_MAX)];
        self.random.fill(&mut filling);
        bytes.extend_from_slice(&filling);
        let key = if self.topic == COMPACTED {
            format!("{number}-{}", sequence % KEYS)
        } else {
            sequence.to_string()
        };
        Made {
            value: Value::parse(&bytes).expect("it was made of a producer and a sequence"),
            partition: partition_of(key.as_bytes(), self.topic.partitions),
            key,
            bytes,
        }
    }

    fn place(&self, partition: u32, offset: u64) -> Place {
        Place {
            partition: self.topic.partition(partition),
            offset,
        }
    }

    /// Rests after `count` records, so that the rate comes out.
    fn rest(&self, witness: &Witness, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        witness
            .shared
            .stop
            .sleep(Duration::from_secs(1) * count / self.rate);
    }
}

/// A send under way: its value and when it began.
type Begun = (Value, u64);

fn produce_kafka(witness: &Witness, mut source: Source, codec: Compression) {
    let who = format!("Kafka producer {}", source.number);
    let options = ProducerOptions {
        compression: codec,
        acks: -1,
        identity: Identity::Idempotent,
        partition: None,
    };
    let name = source.topic.name;
    let open = || {
        let mut producer =
            witness.insist(|| Producer::new(witness.kafka_client()?, name, options.clone()).ok())?;
        producer.take_acknowledged();
        Some(producer)
    };
    let Some(mut producer) = open() else { return };
    while !witness.stopping() {
        let mut begun: BTreeMap<i32, VecDeque<Begun>> = BTreeMap::new();
        let made = source.burst(witness);
        let began = witness.tick();
        let mut sent = Ok(());
        for one in &made {
            let partition = i32::try_from(one.partition).expect("a topic has few partitions");
            begun.entry(partition).or_default().push_back((one.value, began));
            sent =
                sent.and_then(|()| producer.push(Some(one.key.as_bytes()), Some(&one.bytes), &[], wall_ms()));
        }
        witness.shared.producing.fetch_add(1, Ordering::Relaxed);
        let sent = sent.and_then(|()| producer.flush());
        witness.shared.producing.fetch_sub(1, Ordering::Relaxed);
        let ended = witness.tick();
        let mut acked = Vec::new();
        for batch in producer.take_acknowledged() {
            let partition = u32::try_from(batch.partition).expect("a partition that was asked for");
            let waiting = begun.entry(batch.partition).or_default();
            let values = waiting.drain(..batch.count.min(waiting.len()));
            for (at, (value, began)) in (0_u64..).zip(values) {
                let place = batch.base_offset.map(|base| source.place(partition, base + at));
                acked.push(Acked {
                    place,
                    value,
                    began,
                    ended,
                });
            }
        }
        witness.learned(move |history| tell(history, acked));
        if let Err(error) = sent {
            if !(passes(&error) && witness.stopping()) {
                witness.let_down(&who, &error);
            }
            let Some(other) = open() else { return };
            producer = other;
        }
        source.rest(witness, made.len());
    }
}

/// An acknowledgement.
struct Acked {
    place: Option<Place>,
    value: Value,
    began: u64,
    ended: u64,
}

fn tell(history: &mut History, acked: Vec<Acked>) {
    for one in acked {
        match one.place {
            Some(place) => history.acked_between(place, one.value, one.began, one.ended),
            None => history.acked_somewhere(one.value),
        }
    }
}

fn produce_native(witness: &Witness, mut source: Source, linger: Duration) {
    let who = format!("native producer {}", source.number);
    let config = ProducerConfig {
        linger,
        batch_bytes: BATCH_BYTES,
        delivery_timeout: DELIVERY_PATIENCE,
        ..ProducerConfig::default()
    };
    let open = || {
        witness.insist(|| {
            let client = client::Client::connect(&witness.native).ok()?;
            client.producer(config.clone()).ok()
        })
    };
    let Some(mut producer) = open() else { return };
    let mut begun: VecDeque<(Delivery, Begun)> = VecDeque::new();
    loop {
        let stopping = witness.stopping();
        let mut trouble = None;
        let mut count = 0;
        if !stopping && begun.len() < BEGUN_MAX {
            for one in source.burst(witness) {
                count += 1;
                let record = NewRecord::to(source.topic.name)
                    .key(one.key.as_bytes())
                    .value(&one.bytes)
                    .partition(one.partition);
                let began = witness.tick();
                match producer.send(&record) {
                    Ok(delivery) => begun.push_back((delivery, (one.value, began))),
                    Err(error) => trouble = Some(error),
                }
            }
        }
        witness.shared.producing.fetch_add(1, Ordering::Relaxed);
        producer.poll(POLL);
        witness.shared.producing.fetch_sub(1, Ordering::Relaxed);
        let ended = witness.tick();
        let mut acked = Vec::new();
        begun.retain(|(delivery, (value, began))| {
            let Some(outcome) = delivery.outcome() else {
                return true;
            };
            match outcome {
                Ok(delivered) => acked.push(Acked {
                    place: delivered
                        .offset
                        .map(|offset| source.place(delivered.partition, offset)),
                    value: *value,
                    began: *began,
                    ended,
                }),
                Err(error) => trouble = Some(error),
            }
            false
        });
        witness.learned(move |history| tell(history, acked));
        if let Some(error) = trouble {
            witness.let_down(&who, &error);
            begun.clear();
            let Some(other) = open() else { return };
            producer = other;
        }
        if stopping && begun.is_empty() {
            return;
        }
        source.rest(witness, count);
    }
}

/// Streams of the seed that producers draw from begin here.
const STREAM: u64 = 100;
/// Bytes of a value behind its name, at most.
const FILLING_MAX: usize = 600;
const LINGER: Duration = Duration::from_millis(5);
/// How long a native producer lets what is under way move on at once.
const POLL: Duration = Duration::from_millis(5);
/// What collects while the broker is away must still fit into a segment of any topic here.
const BATCH_BYTES: usize = 16 << 10;
/// Records of a native producer under way.
const BEGUN_MAX: usize = 512;
/// Longer than any broker that comes back is away.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(50);

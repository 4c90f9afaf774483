//! Batches that are not what they say: bombs for every codec, counts of records that cannot be, floods of producer ids.

use std::io::Write;

use corelog::batch::attributes::Compression;
use corelog::batch::compression::compress;

use crate::attacker::{Shape, batch, in_parallel, produce_body, record};
use crate::siege::{Target, withstands};
use crate::support::client::Client;
use crate::support::wire::{Answer, Connection, Fields, PRODUCE, request};

/// What a bomb opens to. A broker that gives up at a bound never sees the end of it.
const BOMB_BYTES: usize = 64 << 20;
/// Partitions of the topics that bombs are sent to, each with a bomb of its own in the same request.
const PARTITIONS: i32 = 12;
/// Kafka's bits of the codecs.
const CODECS: [(i16, Compression); 4] = [
    (1, Compression::Gzip),
    (2, Compression::Snappy),
    (3, Compression::Lz4),
    (4, Compression::Zstd),
];
/// The first batch of a partition of each producer that a flood invents.
const FLOOD_PARTITIONS: i32 = 100;
const FLOOD_PRODUCERS: i64 = 1200;

#[test]
fn batches_that_lie_are_refused_at_a_bounded_price() {
    withstands(
        &[],
        &[
            ("bombs", bombs),
            ("zstd with a window of two gigabytes", wide_window),
            ("a thousand million records", too_many_records),
            ("producers without end", producers_without_end),
        ],
    );
}

/// The codes of the partitions of a produce answer (version 7).
fn codes(answer: &[u8]) -> Vec<i16> {
    let mut fields = Fields(answer);
    let mut codes = Vec::new();
    let read = (|| {
        fields.i32()?;
        fields.string()?;
        for _ in 0..fields.i32()? {
            fields.i32()?;
            codes.push(fields.i16()?);
            fields.take(24)?;
        }
        Some(())
    })();
    read.expect("a whole answer to Produce");
    codes
}

fn produce(client: &mut Connection, body: &[u8]) -> Vec<i16> {
    client.set_patience(std::time::Duration::from_secs(60));
    codes(&client.call(PRODUCE, 7, body).expect("an answer"))
}

fn same_everywhere(batch: &[u8]) -> Vec<(i32, &[u8])> {
    (0..PARTITIONS).map(|partition| (partition, batch)).collect()
}

/// Every way to have a batch opened: keys are wanted, another codec is stored.
fn topics_that_open(target: &Target) -> [&'static str; 2] {
    let mut client = Client::connect(target.kafka);
    client.create("keyed", PARTITIONS, &[("cleanup.policy", "compact")]);
    client.create("recoded", PARTITIONS, &[("compression.type", "zstd")]);
    ["keyed", "recoded"]
}

fn bombs(target: &Target) {
    let topics = topics_that_open(target);
    let opened = record(Some(b"key"), &vec![0; BOMB_BYTES]);
    in_parallel(|thread| {
        let (attributes, codec) = CODECS[thread % CODECS.len()];
        let shape = Shape {
            attributes,
            ..Shape::default()
        };
        let mut packed = compress(codec, &opened);
        // Some codecs cannot make it as small as a topic takes; a cut bomb opens as far.
        packed.truncate(900_000);
        let bomb = batch(shape, &packed);
        for topic in topics {
            let mut client = Connection::open(target.kafka).expect("a connection");
            let codes = produce(&mut client, &produce_body(topic, &same_everywhere(&bomb)));
            if !(topic == "recoded" && codec == Compression::Zstd) {
                assert!(
                    codes.iter().all(|code| *code != 0),
                    "{topic}, {codec:?}: {codes:?}"
                );
            }
        }
    });
}

fn wide_window(target: &Target) {
    let mut packed = Vec::new();
    let mut encoder = zstd::Encoder::new(&mut packed, 1).expect("an encoder");
    encoder.window_log(31).expect("the widest window");
    encoder.long_distance_matching(true).expect("matches from afar");
    encoder
        .write_all(&record(Some(b"key"), &vec![7; 1 << 20]))
        .expect("memory");
    encoder.finish().expect("a frame");
    let shape = Shape {
        attributes: 4,
        ..Shape::default()
    };
    let batch = batch(shape, &packed);
    in_parallel(|_| {
        let mut client = Connection::open(target.kafka).expect("a connection");
        // Sound but for its window: whether it is taken is the broker's business, at what price is ours.
        produce(&mut client, &produce_body("keyed", &same_everywhere(&batch)));
    });
}

fn too_many_records(target: &Target) {
    let section = record(Some(b"key"), b"one record");
    let mut client = Connection::open(target.kafka).expect("a connection");
    for (attributes, codec) in CODECS.into_iter().chain([(0, Compression::None)]) {
        for record_count in [1_000_000_000, i32::MAX, 0, -1] {
            let shape = Shape {
                attributes,
                record_count,
                ..Shape::default()
            };
            let batch = batch(shape, &compress(codec, &section));
            for topic in ["keyed", "neighbour"] {
                let codes = produce(&mut client, &produce_body(topic, &[(0, &batch)]));
                assert!(
                    codes.iter().all(|code| *code != 0),
                    "{topic}, {codec:?}, {record_count}"
                );
            }
        }
    }
}

/// Producers that write once and never come again, in every partition.
fn producers_without_end(target: &Target) {
    Client::connect(target.kafka).create("flooded", FLOOD_PARTITIONS, &[]);
    let section = record(None, b"once");
    in_parallel(|thread| {
        let mut client = Connection::open(target.kafka).expect("a connection");
        client.set_patience(std::time::Duration::from_secs(60));
        let thread = i64::try_from(thread).expect("few threads");
        let producers = (0..FLOOD_PRODUCERS / 4).map(|n| n * 4 + thread);
        for several in producers.collect::<Vec<_>>().chunks(8) {
            let frames: Vec<u8> = several
                .iter()
                .flat_map(|id| {
                    let shape = Shape {
                        producer_id: 1_000_000 + id,
                        producer_epoch: 0,
                        sequence: 0,
                        ..Shape::default()
                    };
                    let batch = batch(shape, &section);
                    let everywhere: Vec<(i32, &[u8])> = (0..FLOOD_PARTITIONS)
                        .map(|partition| (partition, &batch[..]))
                        .collect();
                    request(PRODUCE, 7, 1, &produce_body("flooded", &everywhere))
                })
                .collect();
            client.send(&frames).expect("requests are sent");
            for _ in several {
                let answer = client.read().expect("an answer");
                assert!(matches!(answer, Answer::Frame(_)), "{answer:?}");
            }
        }
    });
    let _gone = Client::connect(target.kafka).delete("flooded");
}

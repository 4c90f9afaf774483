//! Files know nothing of cores: the same data under another number of shards, after a clean stop and after a kill.

use crate::support::broker::{Advertise, Broker, Options};
use crate::support::client::{self, Client, EARLIEST, KAFKA_STORAGE_ERROR, LATEST, Ledger, NONE, Stamp};

const TOPICS: [(&str, i32); 3] = [("narrow", 1), ("wide", 7), ("other", 3)];

fn places() -> impl Iterator<Item = (&'static str, i32)> {
    TOPICS
        .iter()
        .flat_map(|(topic, partitions)| (0..*partitions).map(move |partition| (*topic, partition)))
}

/// The last batch of an idempotent producer to one partition.
#[derive(Clone)]
struct Last {
    topic: &'static str,
    partition: i32,
    batch: Vec<u8>,
    offset: i64,
}

/// One idempotent producer and the number of records it has sent to each partition.
struct Producer {
    id: i64,
    epoch: i16,
    sequences: std::collections::BTreeMap<(&'static str, i32), i32>,
}

impl Producer {
    fn send(
        &mut self,
        client: &mut Client,
        ledger: &mut Ledger,
        (topic, partition): (&'static str, i32),
    ) -> Last {
        let sequence = self.sequences.entry((topic, partition)).or_default();
        let values = [ledger.value(300), ledger.value(20)];
        let stamp = Stamp {
            id: self.id,
            epoch: self.epoch,
            sequence: *sequence,
        };
        let batch = client::stamped_batch(stamp, &values);
        let offset = client.produce_ok(topic, partition, &batch);
        assert_eq!(
            offset,
            i64::from(*sequence),
            "{topic}/{partition}: the producer is alone, so offsets are its sequences"
        );
        ledger.acked(topic, partition, offset, &values);
        *sequence += 2;
        Last {
            topic,
            partition,
            batch,
            offset,
        }
    }

    /// All partitions, a few batches each; the last of each.
    fn send_everywhere(&mut self, client: &mut Client, ledger: &mut Ledger) -> Vec<Last> {
        places()
            .map(|place| {
                for _ in 0..6 {
                    self.send(client, ledger, place);
                }
                self.send(client, ledger, place)
            })
            .collect()
    }
}

fn restart_with(broker: &mut Broker, shards: u16, stop: fn(&mut Broker)) {
    stop(broker);
    broker.reconfigure(|options| options.shards = shards);
    broker.spawn();
    broker.wait_ready();
}

fn stop_cleanly(broker: &mut Broker) {
    assert!(broker.terminate().success());
}

fn data_survives_other_numbers_of_shards(advertise: Advertise, stop: fn(&mut Broker)) {
    let mut broker = Broker::start(Options::new(1, advertise));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    for (topic, partitions) in TOPICS {
        client.create(topic, partitions, &[]);
    }
    let (id, epoch) = client.init_producer();
    let mut producer = Producer {
        id,
        epoch,
        sequences: std::collections::BTreeMap::new(),
    };
    let mut lasts = producer.send_everywhere(&mut client, &mut ledger);
    for shards in [4, 2] {
        restart_with(&mut broker, shards, stop);
        let mut client = Client::connect(broker.kafka());
        ledger.check(&mut client);
        for last in &lasts {
            let again = client
                .produce(last.topic, last.partition, &last.batch)
                .expect("an answer to Produce");
            assert_eq!(
                again,
                (NONE, last.offset),
                "{}/{}: the last batch sent again with {shards} shards",
                last.topic,
                last.partition
            );
        }
        lasts = producer.send_everywhere(&mut client, &mut ledger);
        ledger.check(&mut client);
    }
    assert!(broker.terminate().success());
}

#[test]
fn data_and_sequences_survive_other_numbers_of_shards_after_a_clean_stop() {
    data_survives_other_numbers_of_shards(Advertise::PerCore, stop_cleanly);
}

#[test]
fn data_and_sequences_survive_other_numbers_of_shards_after_a_kill() {
    data_survives_other_numbers_of_shards(Advertise::Single, Broker::kill);
}

#[test]
fn a_relaxed_topic_is_read_at_once_and_kept_by_a_clean_stop() {
    let mut broker = Broker::start(Options::new(2, Advertise::Single));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    // Never synced by itself while the test runs.
    client.create(
        "relaxed",
        1,
        &[("corelog.durability", "relaxed"), ("flush.ms", "3600000")],
    );
    for _ in 0..200 {
        let offset = ledger.produce(&mut client, "relaxed", 0, 500);
        let fetched = client.fetch("relaxed", 0, offset);
        assert_eq!(fetched.records.len(), 1, "what is acknowledged can be read");
    }
    assert!(broker.terminate().success());
    assert!(broker.data_dir().join("clean-stop").exists());
    broker.spawn();
    broker.wait_ready();
    ledger.check(&mut Client::connect(broker.kafka()));
    assert!(broker.terminate().success());
}

#[test]
fn a_relaxed_topic_keeps_a_prefix_after_a_kill() {
    let mut broker = Broker::start(Options::new(2, Advertise::Single));
    let mut client = Client::connect(broker.kafka());
    let mut ledger = Ledger::default();
    client.create(
        "relaxed",
        1,
        &[("corelog.durability", "relaxed"), ("flush.ms", "20")],
    );
    let mut sent = Vec::new();
    for _ in 0..500 {
        let value = ledger.value(700);
        let (error, offset) = client
            .produce("relaxed", 0, &client::batch(&[&value]))
            .expect("an answer");
        assert_eq!(
            (error, offset),
            (NONE, i64::try_from(sent.len()).expect("a count"))
        );
        sent.push(value);
    }
    broker.kill();
    broker.spawn();
    broker.wait_ready();
    let mut client = Client::connect(broker.kafka());
    let end = client.list("relaxed", 0, LATEST);
    assert_eq!(end.error, NONE);
    assert_eq!(client.list("relaxed", 0, EARLIEST).offset, 0);
    let found = client.read_all("relaxed", 0, 0);
    assert_eq!(
        i64::try_from(found.len()).expect("a count"),
        end.offset,
        "offsets are dense"
    );
    for (value, (offset, kept)) in sent.iter().zip(&found) {
        assert!(value == kept, "offset {offset} holds another value than was sent");
    }
    let (error, offset) = client
        .produce("relaxed", 0, &client::batch(&["next"]))
        .expect("an answer");
    assert_ne!(error, KAFKA_STORAGE_ERROR);
    assert_eq!(offset, end.offset, "the log goes on where it ended");
    assert!(broker.terminate().success());
}

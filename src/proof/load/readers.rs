//! Readers that chose their partitions: one of each protocol, both from the first record of the main topic to its end
//! and on, for ever. What they are given one after the other has no gap, no repetition and no way back.

use std::ops::ControlFlow;
use std::time::Duration;

use super::super::history::{Attachment, Place, Reader, Value};
use super::{MAIN, Seen, Witness, Work, passes, place_of, polled};
use crate::client::kafka::consumer::{Consumer, StartAt};
use crate::client::kafka::{ClientError, Missing};
use crate::client::{self, ConsumerConfig, Start};

pub(super) fn threads() -> Vec<(String, Work)> {
    vec![
        ("Kafka reader".to_owned(), Box::new(read_kafka)),
        ("native reader".to_owned(), Box::new(read_native)),
    ]
}

fn read_kafka(witness: &Witness) {
    let opened = witness.insist(|| {
        let mut client = witness.kafka_client()?;
        let topic = client.topic(MAIN.name, Missing::Fail).ok()?;
        let offsets = MAIN.all().map(|(index, _)| (index, 0)).collect();
        Some(Consumer::at(client, topic, StartAt::Offset(0), &offsets))
    });
    let Some(mut consumer) = opened else { return };
    while !witness.stopping() {
        let mut records = Vec::new();
        let outcome = consumer.poll(&mut |record| {
            records.push(place_of(MAIN, record));
            Ok(ControlFlow::Continue(()))
        });
        polled(witness, KAFKA_READER, Attachment::Assigned, records);
        if let Err(error) = outcome {
            report(witness, "Kafka reader", &error);
            return;
        }
    }
}

/// Tells of an error that ends a reader, unless it is the end of the run.
fn report(witness: &Witness, who: &str, error: &ClientError) {
    if !(passes(error) && witness.stopping()) {
        witness.let_down(who, error);
    }
}

fn read_native(witness: &Witness) {
    let opened = witness.insist(|| {
        let client = client::Client::connect(&witness.native).ok()?;
        let mut consumer = client.consumer(ConsumerConfig::default()).ok()?;
        consumer.subscribe(MAIN.name, None, Start::Earliest).ok()?;
        Some(consumer)
    });
    let Some(mut consumer) = opened else { return };
    while !witness.stopping() {
        match consumer.poll(POLL) {
            Ok(None) => {}
            Ok(Some(batches)) => {
                let records = batches.records().map(|record| native_place_of(&record)).collect();
                polled(witness, NATIVE_READER, Attachment::Assigned, records);
            }
            Err(error) => {
                witness.let_down("native reader", &error);
                return;
            }
        }
    }
}

/// As [`place_of`], for a record of the main topic from a native client.
fn native_place_of(record: &client::Record<'_>) -> Seen {
    let place = Place {
        partition: MAIN.partition(record.partition),
        offset: record.offset,
    };
    let bytes = record.value.unwrap_or_default();
    (place, Value::parse(bytes).ok_or_else(|| bytes.to_vec()))
}

/// Reads the main topic through the native protocol from its first record until `wanted` records have come, for a last
/// look with nobody else on the broker.
pub(in crate::proof) fn read_all_native(address: &str, wanted: u64) -> Result<Vec<Seen>, client::Error> {
    let client = client::Client::connect(address)?;
    let mut consumer = client.consumer(ConsumerConfig::default())?;
    consumer.subscribe(MAIN.name, None, Start::Earliest)?;
    let mut records = Vec::new();
    while (records.len() as u64) < wanted {
        // What does not come in time is missing, and the history says what.
        let Some(batches) = consumer.poll(LAST_PATIENCE)? else {
            break;
        };
        records.extend(batches.records().map(|record| native_place_of(&record)));
    }
    Ok(records)
}

const KAFKA_READER: Reader = Reader(1);
const NATIVE_READER: Reader = Reader(2);
const POLL: Duration = Duration::from_millis(50);
const LAST_PATIENCE: Duration = Duration::from_secs(10);

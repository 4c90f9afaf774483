//! The prover's own look at the logs after each restart and in the end.
//!
//! Through the Kafka protocol the newest stretch of the main topic, and all of the others: what compaction leaves out and
//! where a trimmed log begins can only be judged whole. The load goes on meanwhile; what comes after the ends were asked
//! for is for the next look.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;

use super::history::{Attachment, History, Partition, Reader, Value};
use super::load::{self, COMPACTED, MAIN, Seen, TRIMMED, Topic, place_of, tell_polled};
use crate::client::kafka::consumer::{Consumer, StartAt};
use crate::client::kafka::{Client, ClientError, Missing};
use crate::protocol::kafka::messages::{TIMESTAMP_EARLIEST, TIMESTAMP_LATEST};

/// How far the looks have come.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Ends of the main topic's partitions at the last look.
    ends: BTreeMap<Partition, u64>,
    number: u64,
}

/// How much of the main topic to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// What is new, and [`READ_AGAIN`] before it.
    Newest,
    /// Everything.
    Whole,
}

impl Looks {
    /// Reads, tells the history, and gives from where the main topic was read: what [`History::check`] wants.
    ///
    /// # Errors
    /// What kept a log from being read.
    pub(super) fn look(
        &mut self,
        kafka: SocketAddr,
        span: Span,
        history: &mut History,
    ) -> Result<BTreeMap<Partition, u64>, ClientError> {
        self.number += 1;
        let mut client = load::connect_briefly(&kafka.to_string())?;
        let mut from = self.main(&mut client, span, history)?;
        compacted(&mut client, history)?;
        from.extend(trimmed(&mut client, Reader(READERS + self.number), history)?);
        Ok(from)
    }

    /// Records of the main topic at the last look, over all partitions.
    pub(super) fn records(&self) -> u64 {
        self.ends.values().sum()
    }

    fn main(
        &mut self,
        client: &mut Client,
        span: Span,
        history: &mut History,
    ) -> Result<BTreeMap<Partition, u64>, ClientError> {
        let ends = client.offsets(MAIN.name, TIMESTAMP_LATEST)?;
        let start = |partition: Partition| match span {
            Span::Newest => self
                .ends
                .get(&partition)
                .map_or(0, |end| end.saturating_sub(READ_AGAIN)),
            Span::Whole => 0,
        };
        let from: BTreeMap<Partition, u64> = MAIN.all().map(|(_, key)| (key, start(key))).collect();
        let starts = MAIN
            .all()
            .map(|(index, key)| (index, signed(from[&key])))
            .collect();
        let mut records = read(client, MAIN, StartAt::Offset(0), &starts, &ends)?;
        for (index, partition) in MAIN.all() {
            let end = unsigned(ends.get(&index).copied().unwrap_or(0));
            let stretch = sound(records.remove(&index).unwrap_or_default(), history);
            history.read(partition, from[&partition].min(end), end, stretch);
            self.ends.insert(partition, end);
        }
        Ok(from)
    }
}

fn compacted(client: &mut Client, history: &mut History) -> Result<(), ClientError> {
    let ends = client.offsets(COMPACTED.name, TIMESTAMP_LATEST)?;
    let starts = COMPACTED.all().map(|(index, _)| (index, 0)).collect();
    let mut records = read(client, COMPACTED, StartAt::Offset(0), &starts, &ends)?;
    for (index, partition) in COMPACTED.all() {
        let end = unsigned(ends.get(&index).copied().unwrap_or(0));
        let all = sound(records.remove(&index).unwrap_or_default(), history);
        history.read(partition, 0, end, all);
    }
    Ok(())
}

/// Trims go on beside this, and the history may not know of them yet. So only what lies above where the log starts
/// afterwards counts; gives those starts.
fn trimmed(
    client: &mut Client,
    reader: Reader,
    history: &mut History,
) -> Result<BTreeMap<Partition, u64>, ClientError> {
    let ends = client.offsets(TRIMMED.name, TIMESTAMP_LATEST)?;
    let starts = client.offsets(TRIMMED.name, TIMESTAMP_EARLIEST)?;
    let mut records = read(client, TRIMMED, StartAt::Start, &starts, &ends)?;
    let starts = client.offsets(TRIMMED.name, TIMESTAMP_EARLIEST)?;
    let mut from = BTreeMap::new();
    for (index, partition) in TRIMMED.all() {
        let start = unsigned(starts.get(&index).copied().unwrap_or(0));
        let mut seen = records.remove(&index).unwrap_or_default();
        seen.retain(|(place, _)| place.offset >= start);
        tell_polled(history, reader, Attachment::Assigned, seen);
        history.ended_at(partition, unsigned(ends.get(&index).copied().unwrap_or(0)));
        from.insert(partition, start);
    }
    Ok(from)
}

/// The records of `topic` in `[starts, ends)`.
fn read(
    client: &mut Client,
    topic: Topic,
    lost: StartAt,
    starts: &BTreeMap<i32, i64>,
    ends: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, Vec<Seen>>, ClientError> {
    let described = client.topic(topic.name, Missing::Fail)?;
    let end = |index: &i32| ends.get(index).copied().unwrap_or(0);
    let wanted = starts.iter().filter(|(index, start)| **start < end(index));
    let wanted: BTreeMap<i32, i64> = wanted.map(|(index, start)| (*index, *start)).collect();
    let mut consumer = Consumer::at(client.beside(), described, lost, &wanted);
    let mut records: BTreeMap<i32, Vec<Seen>> = BTreeMap::new();
    while consumer.offsets().iter().any(|(index, next)| *next < end(index)) {
        let flow = consumer.poll(&mut |record| {
            if record.offset < end(&record.partition) {
                records
                    .entry(record.partition)
                    .or_default()
                    .push(place_of(topic, record));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        debug_assert!(flow.is_continue(), "the sink wants everything");
    }
    Ok(records)
}

/// The offsets and values among what was read; the history is told of the rest.
fn sound(records: Vec<Seen>, history: &mut History) -> Vec<(u64, Value)> {
    let mut sound = Vec::with_capacity(records.len());
    for (place, value) in records {
        match value {
            Ok(value) => sound.push((place.offset, value)),
            Err(bytes) => history.alien(place, &bytes),
        }
    }
    sound
}

fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(u64::MAX)
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// Offsets before what is new that are read again after each restart.
const READ_AGAIN: u64 = 200;
/// The readers that looks at the trimmed topic are begin here.
const READERS: u64 = 1_000_000;

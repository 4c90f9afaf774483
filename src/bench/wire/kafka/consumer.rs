//! A consumer's side of a Kafka connection: versions, the offsets to begin at, then one fetch after another.
//!
//! There is always one fetch at the broker, which answers as soon as there is a byte: the next is sent when the answer
//! has been taken in. Where the broker keeps fetch sessions, a fetch names only the partitions whose offset moved.
//! Batches are framed and their records checked, but not summed: the producer's stamps show damage well enough, and the
//! generator shares its machine with the broker.

use std::collections::HashMap;

use super::handshake::{Versions, append, ask_versions, broken, check, expect, frame, name_of};
use crate::batch::KafkaBatch;
use crate::batch::kafka::Records;
use crate::bench::wire::{Broken, ConsumeOptions, Conversation, Event, Layout, PartitionIndex, StartAt};
use crate::protocol::kafka::api::ApiKey;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsResponse, ListOffsetsTopic, Message as _, PartitionData, TIMESTAMP_EARLIEST, TIMESTAMP_LATEST,
};

/// Most bytes of one partition in an answer, as Kafka's consumers have it.
const PARTITION_BYTES: u32 = 1 << 20;
/// Most bytes a compressed batch may become.
const UNPACKED_BYTES_MAX: usize = 64 << 20;
/// Bytes of a batch in front of what its length counts.
const BATCH_PREFIX_BYTES: usize = 12;
/// How long the broker may take to look up offsets.
const TIMEOUT_MS: i32 = 30_000;
/// Kafka's word for a fetch outside any session.
const NO_SESSION_EPOCH: i32 = -1;
/// A fetch session that is gone.
const SESSION_NOT_FOUND: i16 = 70;
/// A fetch session the broker believes to be elsewhere.
const SESSION_EPOCH_WRONG: i16 = 71;

/// The conversation.
#[derive(Debug)]
pub(super) struct Consumer {
    options: ConsumeOptions,
    topics: Vec<Topic>,
    by_name: HashMap<String, usize>,
    state: State,
    versions: Versions,
    fetch_version: i16,
    correlation_id: i32,
    session: Session,
}

/// A topic this reads.
#[derive(Debug)]
struct Topic {
    name: String,
    places: Vec<Place>,
    by_partition: HashMap<i32, usize>,
}

/// A partition this reads.
#[derive(Debug)]
struct Place {
    partition: i32,
    index: PartitionIndex,
    offset: i64,
    /// Whether the broker's session knows this offset.
    told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Waiting for the broker's versions.
    Greeting,
    /// Waiting for the offsets to begin at.
    Locating,
    /// Fetching.
    Open,
}

/// Where the broker's memory of this fetcher stands. Epoch 0 asks for a session.
#[derive(Clone, Copy, Debug, Default)]
struct Session {
    id: i32,
    epoch: i32,
}

impl Consumer {
    pub(super) fn new(layout: &Layout, partitions: &[PartitionIndex], options: ConsumeOptions) -> Self {
        let mut topics: Vec<Topic> = Vec::new();
        let mut by_name = HashMap::new();
        for index in partitions {
            let home = &layout.partitions[index.0];
            let at = *by_name.entry(home.topic.clone()).or_insert_with(|| {
                topics.push(Topic {
                    name: home.topic.clone(),
                    places: Vec::new(),
                    by_partition: HashMap::new(),
                });
                topics.len() - 1
            });
            let topic = &mut topics[at];
            let partition = i32::try_from(home.partition).unwrap_or(i32::MAX);
            topic.by_partition.insert(partition, topic.places.len());
            topic.places.push(Place {
                partition,
                index: *index,
                offset: 0,
                told: false,
            });
        }
        Self {
            options,
            topics,
            by_name,
            state: State::Greeting,
            versions: Versions::default(),
            fetch_version: 0,
            correlation_id: 0,
            session: Session::default(),
        }
    }

    fn greeted(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        self.versions = Versions::read(expect(frame, ApiKey::ApiVersions, 0, self.correlation_id)?)?;
        self.fetch_version = self.versions.of(ApiKey::Fetch)?;
        let timestamp = match self.options.start {
            StartAt::Latest => TIMESTAMP_LATEST,
            StartAt::Earliest => TIMESTAMP_EARLIEST,
        };
        let topics = self.topics.iter().map(|topic| ListOffsetsTopic {
            name: &topic.name,
            partitions: topic
                .places
                .iter()
                .map(|place| ListOffsetsPartition {
                    partition_index: place.partition,
                    timestamp,
                    ..ListOffsetsPartition::default()
                })
                .collect(),
        });
        let request = ListOffsetsRequest {
            topics: topics.collect(),
            timeout_ms: TIMEOUT_MS,
            ..ListOffsetsRequest::default()
        };
        self.state = State::Locating;
        self.correlation_id += 1;
        append(
            request,
            self.versions.of(ApiKey::ListOffsets)?,
            self.correlation_id,
            out,
        )
    }

    fn located(&mut self, frame: &[u8], events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        let version = self.versions.of(ApiKey::ListOffsets)?;
        let body = expect(frame, ApiKey::ListOffsets, version, self.correlation_id)?;
        let answer = ListOffsetsResponse::decode(body, version).map_err(broken)?;
        for topic in &answer.topics {
            for found in &topic.partitions {
                check("ListOffsets", found.error_code)?;
                let place = place(&self.by_name, &mut self.topics, topic.name, found.partition_index)?;
                place.offset = found.offset.max(0);
            }
        }
        self.state = State::Open;
        events(Event::Ready);
        Ok(())
    }

    /// Asks for what comes next.
    fn fetch(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        let sessions = self.fetch_version >= 7;
        let everything = self.session.epoch == 0 || !sessions;
        let mut topics = Vec::with_capacity(self.topics.len());
        for topic in &mut self.topics {
            let moved = topic.places.iter_mut().filter(|place| everything || !place.told);
            let partitions: Vec<_> = moved
                .map(|place| {
                    place.told = true;
                    FetchPartition {
                        partition: place.partition,
                        fetch_offset: place.offset,
                        partition_max_bytes: self.options.max_bytes.min(PARTITION_BYTES).cast_signed(),
                        ..FetchPartition::default()
                    }
                })
                .collect();
            if !partitions.is_empty() {
                topics.push(FetchTopic {
                    topic: &topic.name,
                    partitions,
                    ..FetchTopic::default()
                });
            }
        }
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: i32::try_from(self.options.max_bytes).unwrap_or(i32::MAX),
            session_id: if sessions { self.session.id } else { 0 },
            session_epoch: if sessions {
                self.session.epoch
            } else {
                NO_SESSION_EPOCH
            },
            topics,
            ..FetchRequest::default()
        };
        append(request, self.fetch_version, self.correlation_id, out)
    }

    fn fetched(&mut self, frame: &[u8], events: &mut dyn FnMut(Event<'_>)) -> Result<(), Broken> {
        let body = expect(frame, ApiKey::Fetch, self.fetch_version, self.correlation_id)?;
        let answer = FetchResponse::decode(body, self.fetch_version).map_err(broken)?;
        if matches!(answer.error_code, SESSION_NOT_FOUND | SESSION_EPOCH_WRONG) {
            self.session = Session::default();
            return Ok(());
        }
        check("Fetch", answer.error_code)?;
        self.session = match answer.session_id {
            // Declined: every fetch names everything.
            0 => Session::default(),
            id => Session {
                id,
                // The epoch wraps to 1, since 0 asks for a new session.
                epoch: self.session.epoch.checked_add(1).unwrap_or(1),
            },
        };
        for topic in &answer.responses {
            for data in &topic.partitions {
                let place = place(&self.by_name, &mut self.topics, topic.topic, data.partition_index)?;
                take(place, data, events)?;
            }
        }
        Ok(())
    }
}

fn place<'a>(
    by_name: &HashMap<String, usize>,
    topics: &'a mut [Topic],
    topic: &str,
    partition: i32,
) -> Result<&'a mut Place, Broken> {
    by_name
        .get(topic)
        .and_then(|at| {
            let topic = &mut topics[*at];
            topic
                .by_partition
                .get(&partition)
                .map(|at| &mut topic.places[*at])
        })
        .ok_or_else(|| Broken(format!("an answer for {topic}-{partition}, which was not asked")))
}

/// Takes in what one partition gave.
fn take(
    place: &mut Place,
    data: &PartitionData<'_>,
    events: &mut dyn FnMut(Event<'_>),
) -> Result<(), Broken> {
    if data.error_code == ErrorCode::OffsetOutOfRange.code() && data.log_start_offset > place.offset {
        // Retention was faster. What was lost shows in the count of what is missing.
        (place.offset, place.told) = (data.log_start_offset, false);
        return Ok(());
    }
    if data.error_code != ErrorCode::None.code() {
        return Err(Broken(format!("Fetch: {}", name_of(data.error_code))));
    }
    for slice in data.records.slices() {
        let mut rest = slice;
        // A batch that the answer's limit cut off comes whole with the next.
        while let Some((bytes, behind)) = split_batch(rest) {
            let batch = KafkaBatch::parse(bytes).map_err(broken)?;
            deliver(place, &batch, events)?;
            rest = behind;
        }
    }
    Ok(())
}

fn deliver(
    place: &mut Place,
    batch: &KafkaBatch<'_>,
    events: &mut dyn FnMut(Event<'_>),
) -> Result<(), Broken> {
    let next = batch.base_offset() + i64::from(batch.last_offset_delta()) + 1;
    if next <= place.offset {
        return Ok(());
    }
    if !batch.attributes().is_control() {
        let section = batch.uncompressed(UNPACKED_BYTES_MAX).map_err(broken)?;
        let count = u32::try_from(batch.record_count()).map_err(broken)?;
        for record in Records::new(&section, count) {
            let record = record.map_err(broken)?;
            if batch.base_offset() + i64::from(record.offset_delta) >= place.offset {
                events(Event::Message {
                    partition: place.index,
                    value: record.value.unwrap_or_default(),
                });
            }
        }
    }
    (place.offset, place.told) = (next, false);
    Ok(())
}

/// The first batch of `bytes`, if all of it is there, and what follows.
fn split_batch(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = bytes.get(8..BATCH_PREFIX_BYTES)?.first_chunk()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    bytes.split_at_checked(BATCH_PREFIX_BYTES + length)
}

impl Conversation for Consumer {
    fn open(&mut self, out: &mut Vec<u8>, _events: &mut dyn FnMut(Event<'_>)) {
        ask_versions(self.correlation_id, out);
    }

    fn produce(&mut self, _ticket: u64, _batch: &crate::bench::wire::Batch<'_>, _out: &mut Vec<u8>) {
        debug_assert!(false, "the engine produces through producers only");
    }

    fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some(frame) = frame(&input[used..])? {
            match self.state {
                State::Greeting => self.greeted(frame, out)?,
                State::Locating => {
                    self.located(frame, events)?;
                    self.fetch(out)?;
                }
                State::Open => {
                    self.fetched(frame, events)?;
                    self.fetch(out)?;
                }
            }
            used += size_of::<i32>() + frame.len();
        }
        Ok(used)
    }
}

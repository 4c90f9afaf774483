//! Producing: records in, batches out, each acknowledged once.
//!
//! Records collect in one batch a partition; [`Producer::flush`] sends all of them, at most one request in flight
//! to each leader, and returns when every batch is acknowledged. With idempotence each batch carries producer id,
//! epoch and sequence, so that a batch that is sent again after a lost answer is not written again. A batch that fails
//! for good ends the producer: its later sequences would be out of order.
//!
//! What is held in memory is bounded by [`BATCH_BYTES_MAX`] a partition and [`PENDING_BYTES_MAX`] in all, plus one
//! record.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{ProducerEpoch, ProducerId, Timestamp};
use crate::batch::{Compression, KafkaBatchBuilder, ProducerInfo, RecordHeader};
use crate::client::partitioner::partition_of;
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    InitProducerIdRequest, PartitionProduceData, ProducePartitions, ProduceRequest, ProduceResponse,
    ProduceTopics, TopicProduceData,
};

use super::{Client, ClientError, Missing, Pauses, To, Topic};

/// How records are sent.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// How batches are compressed.
    pub compression: Compression,
    /// 0, 1 or -1 for all.
    pub acks: i16,
    /// Whether batches carry sequences. Needs `acks` of -1.
    pub identity: Identity,
    /// The partition of every record; `None` to choose by key.
    pub partition: Option<i32>,
}

/// Whether a producer asks for an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Batches carry sequences and are never written twice.
    Idempotent,
    /// Batches carry none; a retry may write one twice.
    Anonymous,
}

/// A producer to one topic.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    topic: Topic,
    options: ProducerOptions,
    id: Option<(ProducerId, ProducerEpoch)>,
    /// Next sequence by partition.
    sequences: BTreeMap<i32, i32>,
    open: BTreeMap<i32, KafkaBatchBuilder>,
    open_bytes: usize,
    /// The partition that records without a key go to until the next flush.
    keyless: u32,
    /// What was acknowledged since somebody asked last, if anybody ever did.
    acknowledged: Option<Vec<Acknowledged>>,
}

/// A batch that is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its partition.
    pub partition: i32,
    /// Records in it.
    pub count: usize,
    /// Offset of its first record; `None` if the broker knew the batch already but not where.
    pub base_offset: Option<u64>,
}

/// A closed batch, waiting for its acknowledgement.
#[derive(Debug)]
struct Batch {
    partition: i32,
    count: usize,
    bytes: Vec<u8>,
}

impl Producer {
    /// Looks up `topic` (created if the broker does that), and asks for an id if there shall be one.
    pub fn new(mut client: Client, topic: &str, options: ProducerOptions) -> Result<Self, ClientError> {
        let topic = client.topic(topic, Missing::Create)?;
        if let Some(partition) = options
            .partition
            .filter(|partition| !topic.partitions.contains_key(partition))
        {
            let count = topic.partitions.len();
            return Err(ClientError::NoSuchPartition {
                topic: topic.name,
                partition,
                count,
            });
        }
        let id = match options.identity {
            Identity::Idempotent => Some(identify(&mut client)?),
            Identity::Anonymous => None,
        };
        let (sequences, open) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self {
            client,
            topic,
            options,
            id,
            sequences,
            open,
            open_bytes: 0,
            keyless: 0,
            acknowledged: None,
        })
    }

    /// What was acknowledged since the last call, batches of a partition in the order of their records. What comes before
    /// the first call is not remembered.
    pub fn take_acknowledged(&mut self) -> Vec<Acknowledged> {
        self.acknowledged.replace(Vec::new()).unwrap_or_default()
    }

    /// Adds a record. It is sent by the next [`Self::flush`], or here when enough has collected.
    pub fn push(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
        now: Timestamp,
    ) -> Result<(), ClientError> {
        let attached: usize = headers
            .iter()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + HEADER_OVERHEAD)
            .sum();
        let bytes = attached + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + RECORD_OVERHEAD;
        let partition = self.partition_for(key);
        let in_batch = self
            .open
            .get(&partition)
            .map_or(0, KafkaBatchBuilder::uncompressed_bytes);
        let batch_is_full = in_batch > 0 && in_batch + bytes > BATCH_BYTES_MAX;
        if batch_is_full || self.open_bytes + bytes > PENDING_BYTES_MAX {
            self.flush()?;
        }
        let batch = self.open.entry(partition).or_default();
        batch.push(key, value, now, headers.iter().copied());
        self.open_bytes += bytes;
        Ok(())
    }

    /// Sends what has collected and waits until all of it is acknowledged.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        let mut waiting = self.close_batches()?;
        self.keyless = self.keyless.wrapping_add(1);
        let mut pauses = Pauses::new(self.client.patience());
        while !waiting.is_empty() {
            let failure = self.send_once(&mut waiting)?;
            if let Some(error) = failure {
                pauses.wait(error)?;
                self.topic = self.client.topic(&self.topic.name, Missing::Create)?;
            }
        }
        Ok(())
    }

    fn partition_for(&self, key: Option<&[u8]>) -> i32 {
        if let Some(partition) = self.options.partition {
            return partition;
        }
        let count = u32::try_from(self.topic.partitions.len())
            .unwrap_or(u32::MAX)
            .max(1);
        let chosen = key.map_or(self.keyless % count, |key| partition_of(key, count));
        i32::try_from(chosen).expect("the broker numbers partitions in an i32")
    }

    /// Closes every open batch and gives each its sequence.
    fn close_batches(&mut self) -> Result<Vec<Batch>, ClientError> {
        self.open_bytes = 0;
        let open = std::mem::take(&mut self.open);
        let mut closed = Vec::with_capacity(open.len());
        for (partition, builder) in open {
            let count = i32::try_from(builder.len()).expect("a batch of this size has few records");
            let sequence = self.sequences.entry(partition).or_insert(0);
            let info = self.id.map(|(id, epoch)| ProducerInfo {
                id,
                epoch,
                base_sequence: *sequence,
            });
            // Kafka's sequences wrap from i32::MAX to 0.
            *sequence = sequence.wrapping_add(count) & i32::MAX;
            closed.push(Batch {
                partition,
                count: builder.len(),
                bytes: builder.build(self.options.compression, info)?,
            });
        }
        Ok(closed)
    }

    /// Sends every waiting batch to its leader and removes those that were acknowledged. The last transient
    /// failure, if there was one; a lasting one is an error.
    fn send_once(&mut self, waiting: &mut Vec<Batch>) -> Result<Option<ClientError>, ClientError> {
        let mut failure = None;
        let mut tickets = Vec::new();
        let mut by_leader = BTreeMap::<i32, Vec<&Batch>>::new();
        for batch in waiting.iter() {
            let leader = self
                .topic
                .partitions
                .get(&batch.partition)
                .map_or(NO_LEADER, |found| found.leader);
            by_leader.entry(leader).or_default().push(batch);
        }
        for (leader, batches) in by_leader {
            let request = produce_request(
                &self.topic.name,
                self.options.acks,
                self.client.patience().answer,
                &batches,
            );
            match self
                .client
                .connection(leader)
                .and_then(|connection| connection.send(request))
            {
                Ok(ticket) => tickets.push((leader, ticket)),
                Err(error) => self.lost(leader, error, &mut failure)?,
            }
        }
        if self.options.acks == ACKS_NONE {
            // Nothing answers; what could be sent is done.
            waiting.clear();
            return Ok(failure);
        }
        for (leader, ticket) in tickets {
            let received = self.client.connection(leader).and_then(|connection| {
                connection.receive(&ticket)?;
                let answer = connection.answer::<ProduceResponse<'_>>(&ticket)?;
                Ok(verdicts(&answer))
            });
            match received {
                Ok(verdicts) => {
                    let settled = settle(waiting, &self.topic.name, verdicts, &mut failure)?;
                    if let Some(acknowledged) = &mut self.acknowledged {
                        acknowledged.extend(settled);
                    }
                }
                Err(error) => self.lost(leader, error, &mut failure)?,
            }
        }
        Ok(failure)
    }

    /// Drops a connection that failed; lasting errors end the flush.
    fn lost(
        &mut self,
        leader: i32,
        error: ClientError,
        failure: &mut Option<ClientError>,
    ) -> Result<(), ClientError> {
        self.client.disconnect(leader);
        if !error.is_transient() {
            return Err(error);
        }
        *failure = Some(error);
        Ok(())
    }
}

/// What the broker said about one partition.
struct Verdict {
    partition: i32,
    code: i16,
    message: Option<String>,
    base_offset: i64,
}

fn verdicts(answer: &ProduceResponse<'_>) -> Vec<Verdict> {
    let partitions = answer
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    partitions
        .map(|one| Verdict {
            partition: one.index,
            code: one.error_code,
            message: one.error_message.map(str::to_owned),
            base_offset: one.base_offset,
        })
        .collect()
}

/// Removes the batches that are on the disk, and gives them.
fn settle(
    waiting: &mut Vec<Batch>,
    topic: &str,
    verdicts: Vec<Verdict>,
    failure: &mut Option<ClientError>,
) -> Result<Vec<Acknowledged>, ClientError> {
    let mut settled = Vec::new();
    for verdict in verdicts {
        let Verdict {
            partition,
            code,
            message,
            base_offset,
        } = verdict;
        // A duplicate is a batch whose first answer was lost: it is there.
        if code == ErrorCode::None.code() || code == ErrorCode::DuplicateSequenceNumber.code() {
            let there = waiting.extract_if(.., |batch| batch.partition == partition);
            settled.extend(there.map(|batch| Acknowledged {
                partition,
                count: batch.count,
                base_offset: u64::try_from(base_offset).ok(),
            }));
            continue;
        }
        let error = ClientError::refused(&format!("{topic}-{partition}"), code, message.as_deref());
        if !error.is_transient() {
            return Err(error);
        }
        *failure = Some(error);
    }
    Ok(settled)
}

fn produce_request<'a>(
    topic: &'a str,
    acks: i16,
    timeout: Duration,
    batches: &[&'a Batch],
) -> ProduceRequest<'a> {
    let partitions: ProducePartitions<'a> = batches
        .iter()
        .map(|batch| PartitionProduceData {
            index: batch.partition,
            records: Some(&batch.bytes),
        })
        .collect();
    let data = TopicProduceData {
        name: topic,
        partition_data: partitions,
        ..TopicProduceData::default()
    };
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        topic_data: ProduceTopics::from_iter([data]),
        ..ProduceRequest::default()
    }
}

fn identify(client: &mut Client) -> Result<(ProducerId, ProducerEpoch), ClientError> {
    client.persist(|client| {
        let request = InitProducerIdRequest {
            transactional_id: None,
            ..InitProducerIdRequest::default()
        };
        let (code, id, epoch) = client.ask(To::Anyone, request, |answer| {
            (answer.error_code, answer.producer_id, answer.producer_epoch)
        })?;
        ClientError::check("producer id", code, None)?;
        Ok((ProducerId::new(id), ProducerEpoch::new(epoch)))
    })
}

/// Bytes of one batch before it is sent: half of Kafka's default limit, so that no compression can exceed it.
pub const BATCH_BYTES_MAX: usize = 512 << 10;
/// Bytes of all open batches before they are sent.
pub const PENDING_BYTES_MAX: usize = 8 << 20;
/// What a record costs beside key and value, at most.
const RECORD_OVERHEAD: usize = 32;
/// The same for one of its headers: two lengths.
const HEADER_OVERHEAD: usize = 10;
const ACKS_NONE: i16 = 0;
const NO_LEADER: i32 = -1;

#[cfg(test)]
mod tests {
    use super::super::peer::{Fault, Peer};
    use super::*;

    fn options(partition: Option<i32>) -> ProducerOptions {
        ProducerOptions {
            compression: Compression::Lz4,
            acks: -1,
            identity: Identity::Idempotent,
            partition,
        }
    }

    fn push(producer: &mut Producer, value: &str) {
        producer
            .push(None, Some(value.as_bytes()), &[], Timestamp::new(1))
            .unwrap();
    }

    #[test]
    fn records_arrive_in_order_with_their_sequences() {
        let peer = Peer::start();
        let mut producer = Producer::new(peer.client(), "t", options(Some(0))).unwrap();
        for round in ["a", "b"] {
            push(&mut producer, round);
            push(&mut producer, round);
            producer.flush().unwrap();
        }
        assert_eq!(peer.values("t", 0), ["a", "a", "b", "b"]);
        assert_eq!(peer.sequences("t", 0), [0, 2]);
        assert_eq!(producer.take_acknowledged(), [], "nobody had asked");
        push(&mut producer, "c");
        producer.flush().unwrap();
        let told = Acknowledged {
            partition: 0,
            count: 1,
            base_offset: Some(4),
        };
        assert_eq!(producer.take_acknowledged(), [told]);
        assert_eq!(producer.take_acknowledged(), []);
    }

    #[test]
    fn a_lost_answer_does_not_write_twice() {
        let peer = Peer::start();
        let mut producer = Producer::new(peer.client(), "t", options(Some(0))).unwrap();
        push(&mut producer, "once");
        peer.fail_next(Fault::LoseAnswer);
        producer.flush().unwrap();
        push(&mut producer, "next");
        producer.flush().unwrap();
        assert_eq!(peer.values("t", 0), ["once", "next"]);
        assert_eq!(peer.duplicates(), 1);
    }

    #[test]
    fn a_moved_leader_is_found() {
        let peer = Peer::start();
        let mut producer = Producer::new(peer.client(), "t", options(Some(0))).unwrap();
        push(&mut producer, "x");
        peer.fail_next(Fault::Refuse(ErrorCode::NotLeaderOrFollower));
        producer.flush().unwrap();
        assert_eq!(peer.values("t", 0), ["x"]);
    }

    #[test]
    fn a_lasting_refusal_is_the_end() {
        let peer = Peer::start();
        let mut producer = Producer::new(peer.client(), "t", options(Some(0))).unwrap();
        push(&mut producer, "x");
        peer.fail_next(Fault::Refuse(ErrorCode::MessageTooLarge));
        let error = producer.flush().unwrap_err();
        assert!(error.to_string().starts_with("t-0: MESSAGE_TOO_LARGE"), "{error}");
        assert!(peer.values("t", 0).is_empty());
    }

    #[test]
    fn keys_decide_and_keyless_records_take_turns() {
        let peer = Peer::start();
        peer.create("t", 4);
        let mut producer = Producer::new(peer.client(), "t", options(None)).unwrap();
        for key in ["a", "b", "a"] {
            producer
                .push(Some(key.as_bytes()), Some(key.as_bytes()), &[], Timestamp::new(1))
                .unwrap();
        }
        producer.flush().unwrap();
        for key in ["a", "b"] {
            let partition = i32::try_from(partition_of(key.as_bytes(), 4)).unwrap();
            assert!(peer.values("t", partition).contains(&key.to_owned()));
        }
        for _ in 0..4 {
            push(&mut producer, "keyless");
            producer.flush().unwrap();
        }
        assert!((0..4).all(|partition| peer.values("t", partition).contains(&"keyless".to_owned())));
    }

    #[test]
    fn big_input_is_cut_into_batches() {
        let peer = Peer::start();
        let mut producer = Producer::new(
            peer.client(),
            "t",
            ProducerOptions {
                compression: Compression::None,
                ..options(Some(0))
            },
        )
        .unwrap();
        let line = "x".repeat(1000);
        for _ in 0..2000 {
            push(&mut producer, &line);
        }
        producer.flush().unwrap();
        assert_eq!(peer.values("t", 0).len(), 2000);
        assert!(peer.sequences("t", 0).len() >= 4);
    }

    #[test]
    fn a_partition_that_is_not_there_is_named() {
        let peer = Peer::start();
        let error = Producer::new(peer.client(), "t", options(Some(9))).unwrap_err();
        assert_eq!(error.to_string(), "topic \"t\" has no partition 9: it has 1");
    }
}

//! Produce requests, written in place.
//!
//! The bytes of a request are written once, straight behind the connection's other output: sizes are computed first
//! (they depend on the lengths of keys and values alone), so nothing is copied or moved afterwards and only the checksum
//! is filled in. The tests hold the bytes against the crate's own codec and batch builder.
//!
//! Layout: frame size, request header, Produce body of versions 3 to 12 with one batch of uncompressed records for each
//! partition. Flexible from version 9 on.

use crate::base::crc32c;
use crate::batch::kafka::{KAFKA_HEADER_BYTES, MAGIC_V2, SUMMED_FROM, put_varint, varint_bytes};
use crate::bench::payload::Message;
use crate::bench::wire::Batch;
use crate::protocol::kafka::api::ApiKey;
use crate::protocol::kafka::messages::STAGES_TAG;

use super::handshake::CLIENT_ID;

/// Producer id, epoch and next sequence of a batch; -1 for none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) base: i32,
}

impl Sequence {
    /// Of a producer that has none.
    pub(super) const NONE: Self = Self {
        producer_id: -1,
        epoch: -1,
        base: -1,
    };
}

/// One partition's part of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: u32,
    pub(super) batch: Batch<'a>,
    pub(super) sequence: Sequence,
}

/// What stands in front of the parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) acks: i16,
    pub(super) timeout_ms: i32,
    /// The newest layout of stage times to be told, 0 for none. Only flexible versions can ask.
    pub(super) stages_layout: u8,
}

/// Appends a request; parts of one topic stand together.
pub(super) fn produce(head: &Head, parts: &[Part<'_>], out: &mut Vec<u8>) {
    let wire = Wire {
        flexible: ApiKey::Produce.is_flexible(head.version),
    };
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&ApiKey::Produce.key().to_be_bytes());
    out.extend_from_slice(&head.version.to_be_bytes());
    out.extend_from_slice(&head.correlation_id.to_be_bytes());
    // The client id keeps its classic form in every version of the header.
    Wire { flexible: false }.string(CLIENT_ID, out);
    wire.no_tags(out);
    wire.null_string(out);
    out.extend_from_slice(&head.acks.to_be_bytes());
    out.extend_from_slice(&head.timeout_ms.to_be_bytes());
    let topics = || parts.chunk_by(|one, next| one.topic == next.topic);
    wire.length(topics().count(), out);
    for parts in topics() {
        wire.string(parts[0].topic, out);
        wire.length(parts.len(), out);
        for part in parts {
            out.extend_from_slice(&part.partition.to_be_bytes());
            let records_bytes: usize = sizes(part.batch.messages)
                .map(|size| varint_bytes(wide(size)) + size)
                .sum();
            wire.length(KAFKA_HEADER_BYTES + records_bytes, out);
            batch(part, records_bytes, out);
            wire.no_tags(out);
        }
        wire.no_tags(out);
    }
    if wire.flexible && head.stages_layout > 0 {
        uvarint(1, out);
        out.extend_from_slice(&STAGES_FIELD);
        out.push(head.stages_layout);
    } else {
        wire.no_tags(out);
    }
    let size = i32_of(out.len() - start - 4).to_be_bytes();
    out[start..start + 4].copy_from_slice(&size);
}

/// Appends a record batch whose records take `records_bytes`.
fn batch(part: &Part<'_>, records_bytes: usize, out: &mut Vec<u8>) {
    let messages = part.batch.messages;
    let start = out.len();
    out.reserve(KAFKA_HEADER_BYTES + records_bytes);
    out.extend_from_slice(&0_i64.to_be_bytes());
    // The length counts what follows it.
    out.extend_from_slice(&i32_of(KAFKA_HEADER_BYTES - 12 + records_bytes).to_be_bytes());
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    out.extend_from_slice(&MAGIC_V2.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&0_i16.to_be_bytes());
    out.extend_from_slice(&i32_of(messages.len() - 1).to_be_bytes());
    out.extend_from_slice(&part.batch.timestamp_ms.to_be_bytes());
    out.extend_from_slice(&part.batch.timestamp_ms.to_be_bytes());
    out.extend_from_slice(&part.sequence.producer_id.to_be_bytes());
    out.extend_from_slice(&part.sequence.epoch.to_be_bytes());
    out.extend_from_slice(&part.sequence.base.to_be_bytes());
    out.extend_from_slice(&i32_of(messages.len()).to_be_bytes());
    for (delta, (message, size)) in messages.iter().zip(sizes(messages)).enumerate() {
        put_varint(out, wide(size));
        // Attributes and the timestamp's delta.
        out.extend_from_slice(&[0, 0]);
        put_varint(out, wide(delta));
        put_varint(out, message.key.map_or(-1, |key| wide(key.len())));
        out.extend_from_slice(message.key.unwrap_or_default());
        put_varint(out, wide(message.value.len()));
        out.extend_from_slice(message.value);
        // No headers.
        out.push(0);
    }
    let sum = crc32c(&out[start + SUMMED_FROM..]).to_be_bytes();
    out[start + SUMMED_FROM - 4..start + SUMMED_FROM].copy_from_slice(&sum);
}

/// Bytes of each record behind its length.
fn sizes(messages: &[Message<'_>]) -> impl Iterator<Item = usize> {
    messages.iter().enumerate().map(|(delta, message)| {
        let key = message
            .key
            .map_or(1, |key| varint_bytes(wide(key.len())) + key.len());
        let value = varint_bytes(wide(message.value.len())) + message.value.len();
        2 + varint_bytes(wide(delta)) + key + value + 1
    })
}

/// How lengths look.
#[derive(Clone, Copy)]
struct Wire {
    flexible: bool,
}

impl Wire {
    /// Of an array or a byte field.
    fn length(self, length: usize, out: &mut Vec<u8>) {
        if self.flexible {
            uvarint(length + 1, out);
        } else {
            out.extend_from_slice(&i32_of(length).to_be_bytes());
        }
    }

    fn string(self, text: &str, out: &mut Vec<u8>) {
        if self.flexible {
            uvarint(text.len() + 1, out);
        } else {
            let length = i16::try_from(text.len()).expect("a topic's name has at most 249 bytes");
            out.extend_from_slice(&length.to_be_bytes());
        }
        out.extend_from_slice(text.as_bytes());
    }

    fn null_string(self, out: &mut Vec<u8>) {
        if self.flexible {
            out.push(0);
        } else {
            out.extend_from_slice(&(-1_i16).to_be_bytes());
        }
    }

    fn no_tags(self, out: &mut Vec<u8>) {
        if self.flexible {
            out.push(0);
        }
    }
}

/// [`STAGES_TAG`] as a varint, and the size of its content: a layout.
const STAGES_FIELD: [u8; 3] = [0x90, 0x4e, 1];
const _: () = assert!(STAGES_TAG == 0x10 | 0x4e << 7, "STAGES_FIELD spells STAGES_TAG");

fn uvarint(value: usize, out: &mut Vec<u8>) {
    let mut value = i32_of(value).cast_unsigned();
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn i32_of(length: usize) -> i32 {
    i32::try_from(length).expect("requests are far below 2 GiB")
}

fn wide(length: usize) -> i64 {
    i64::try_from(length).expect("no slice is longer than isize::MAX")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ProducerEpoch, ProducerId, Timestamp};
    use crate::batch::{Compression, KafkaBatchBuilder, ProducerInfo};
    use crate::bench::wire::PartitionIndex;
    use crate::protocol::kafka::messages::{PartitionProduceData, ProduceRequest, TopicProduceData};

    const NOW_MS: i64 = 1_700_000_000_000;

    fn built(messages: &[Message<'_>], sequence: Sequence) -> Vec<u8> {
        let mut builder = KafkaBatchBuilder::new();
        for message in messages {
            builder.push(
                message.key,
                Some(message.value),
                Timestamp::new(NOW_MS),
                std::iter::empty(),
            );
        }
        let producer = (sequence.producer_id >= 0).then(|| ProducerInfo {
            id: ProducerId::new(sequence.producer_id),
            epoch: ProducerEpoch::new(sequence.epoch),
            base_sequence: sequence.base,
        });
        builder.build(Compression::None, producer).unwrap()
    }

    #[test]
    fn requests_are_those_of_the_codec_in_every_version() {
        for stages_layout in [0, 1] {
            check(stages_layout);
        }
    }

    fn check(stages_layout: u8) {
        let long = vec![7; 5000];
        let one = [Message {
            key: None,
            value: &long,
        }];
        let many: Vec<_> = (0..200)
            .map(|_| Message {
                key: Some(b"key".as_slice()),
                value: b"value",
            })
            .collect();
        let sequence = Sequence {
            producer_id: 9,
            epoch: 2,
            base: 300,
        };
        let part = |topic, partition, messages, sequence| Part {
            topic,
            partition,
            batch: Batch {
                partition: PartitionIndex(0),
                messages,
                timestamp_ms: NOW_MS,
            },
            sequence,
        };
        let parts = [
            part("a", 0, &one, Sequence::NONE),
            part("a", 3, &many, sequence),
            part("b", 1, &one, sequence),
        ];
        let records = parts.map(|part| built(part.batch.messages, part.sequence));
        let data = |index: usize| PartitionProduceData {
            index: i32::try_from(parts[index].partition).unwrap(),
            records: Some(records[index].as_slice()),
        };
        let spoken = ApiKey::Produce.versions_by_name();
        for version in spoken.min..=spoken.max {
            let head = Head {
                version,
                correlation_id: 77,
                acks: -1,
                timeout_ms: 30_000,
                stages_layout,
            };
            let mut found = b"before".to_vec();
            produce(&head, &parts, &mut found);

            let request = ProduceRequest {
                stages_layout: stages_layout.cast_signed(),
                transactional_id: None,
                acks: -1,
                timeout_ms: 30_000,
                topic_data: [
                    TopicProduceData {
                        name: "a",
                        partition_data: [data(0), data(1)].into_iter().collect(),
                        ..Default::default()
                    },
                    TopicProduceData {
                        name: "b",
                        partition_data: [data(2)].into_iter().collect(),
                        ..Default::default()
                    },
                ]
                .into_iter()
                .collect(),
            };
            let mut expected = b"before".to_vec();
            super::super::handshake::append(request, version, 77, &mut expected).unwrap();
            assert!(found == expected, "version {version}");
        }
    }
}

//! What a native batch is refused for, and with which code.

use std::collections::BTreeMap;

use super::*;
use crate::base::{LogId, PartitionId, ProducerEpoch, ProducerId, TopicId, crc32c};
use crate::batch::records::aligned_copy;
use crate::batch::{ProducerInfo, RecordsBuilder};
use crate::broker::topic::{Topic, TopicDefaults, settings};
use crate::protocol::native::batches::append_batch;

fn log() -> LogId {
    LogId {
        topic: TopicId::new([3; 16]),
        partition: PartitionId::new(1),
    }
}

fn image() -> Image {
    let mut image = Image::default();
    let overrides = BTreeMap::from([("max.message.bytes".to_owned(), "4096".to_owned())]);
    image.put(Topic {
        name: "t".into(),
        id: log().topic,
        partitions: 2,
        settings: settings(&overrides, &TopicDefaults::default()),
        overrides,
    });
    image
}

fn batch(value_bytes: usize) -> Vec<u8> {
    let mut builder = RecordsBuilder::new();
    for time in [7, 5] {
        builder
            .push(Some(b"k"), Some(&vec![1; value_bytes]), Timestamp::new(time), [])
            .unwrap();
    }
    let producer = ProducerInfo {
        id: ProducerId::new(1),
        epoch: ProducerEpoch::new(0),
        base_sequence: 0,
    };
    let mut out = Vec::new();
    append_batch(&mut out, log(), Some(producer), &mut builder).unwrap();
    out
}

fn judged(bytes: &[u8]) -> Result<(), ErrorCode> {
    let bytes = aligned_copy(bytes);
    check(
        &Batch::parse(&bytes).unwrap(),
        &image(),
        Acks::Durable,
        Timestamp::new(1_000),
    )
}

/// The batch with another header, whose checksum is right.
fn with_header(change: impl Fn(&mut BatchHeader)) -> Result<(), ErrorCode> {
    let mut bytes = batch(10);
    let mut header = BatchHeader::decode(&bytes).unwrap();
    change(&mut header);
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    judged(&bytes)
}

#[test]
fn a_sound_batch_passes() {
    assert_eq!(judged(&batch(10)), Ok(()));
}

#[test]
fn topics_and_partitions_must_exist() {
    let unknown = Err(ErrorCode::UnknownPartition);
    assert_eq!(
        with_header(|header| header.log.topic = TopicId::new([4; 16])),
        unknown
    );
    assert_eq!(
        with_header(|header| header.log.partition = PartitionId::new(2)),
        unknown
    );
}

#[test]
fn fields_of_the_broker_and_of_other_encodings_are_refused() {
    let changes: [&dyn Fn(&mut BatchHeader); 8] = [
        &|header| header.base_offset = Offset::new(1),
        &|header| header.durable_end = Offset::new(1),
        &|header| header.leader_epoch = LeaderEpoch::new(1),
        &|header| header.append_time = Timestamp::new(1),
        &|header| header.encoding = Encoding::Kafka,
        &|header| header.attributes = Attributes::default().control(),
        &|header| {
            header.producer = header.producer.map(|one| ProducerInfo {
                base_sequence: -1,
                ..one
            })
        },
        &|header| {
            header.producer = header.producer.map(|one| ProducerInfo {
                epoch: ProducerEpoch::new(-1),
                ..one
            })
        },
    ];
    for (index, change) in changes.iter().enumerate() {
        assert_eq!(with_header(change), Err(ErrorCode::InvalidBatch), "{index}");
    }
}

#[test]
fn a_header_must_agree_with_its_records() {
    let changes: [&dyn Fn(&mut BatchHeader); 3] = [
        &|header| header.record_count = 3,
        &|header| header.first_timestamp = Timestamp::new(5),
        &|header| header.max_timestamp = Timestamp::new(8),
    ];
    for (index, change) in changes.iter().enumerate() {
        assert_eq!(with_header(change), Err(ErrorCode::InvalidBatch), "{index}");
    }
}

#[test]
fn size_is_judged_before_the_payload_is_summed() {
    let mut large = batch(4096);
    assert_eq!(judged(&large), Err(ErrorCode::BatchTooLarge));
    large[HEADER_BYTES] ^= 1;
    assert_eq!(judged(&large), Err(ErrorCode::BatchTooLarge));
}

#[test]
fn damage_and_bad_structure_are_told_apart() {
    let mut damaged = batch(10);
    damaged[HEADER_BYTES + 3] ^= 1;
    assert_eq!(judged(&damaged), Err(ErrorCode::CorruptBatch));
    let mut header = BatchHeader::decode(&damaged).unwrap();
    let payload = HEADER_BYTES..HEADER_BYTES + header.payload_len as usize;
    // The root is at the payload's end: a table that points nowhere, under a checksum that is right.
    damaged[payload.end - 10] ^= 0xff;
    header.payload_crc = crc32c(&damaged[payload]);
    damaged[..HEADER_BYTES].copy_from_slice(&header.encode());
    assert_eq!(judged(&damaged), Err(ErrorCode::InvalidBatch));
}

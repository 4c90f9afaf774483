//! The stored formats, byte for byte: a frame written by format version 1 must read the same for ever.
//!
//! Each golden file names every field beside its bytes, so that a difference says what changed. A change here is
//! a change of format: it wants a new version, not `UPDATE_EXPECT=1`.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::fmt::Write;

use corelog::base::{LeaderEpoch, LogId, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use corelog::batch::kafka::{self, KafkaBatch, KafkaBatchBuilder};
use corelog::batch::records::aligned_copy;
use corelog::batch::{
    Attributes, BatchHeader, Compression, Contents, FRAME_ALIGN, HEADER_BYTES, Placement, ProducerInfo,
    RecordHeader, RecordsBuilder, RecordsView, verify_payload,
};
use expect_test::{ExpectFile, expect_file};

const HEADER: &[(&str, usize)] = &[
    ("magic", 4),
    ("header_crc", 4),
    ("payload_len", 4),
    ("payload_crc", 4),
    ("format_version", 1),
    ("encoding", 1),
    ("attributes", 2),
    ("record_count", 4),
    ("topic_id", 16),
    ("partition", 4),
    ("leader_epoch", 4),
    ("base_offset", 8),
    ("durable_end", 8),
    ("first_timestamp", 8),
    ("max_timestamp", 8),
    ("append_time", 8),
    ("producer_id", 8),
    ("base_sequence", 4),
    ("producer_epoch", 2),
    ("flags", 1),
    ("reserved_byte", 1),
    ("delete_horizon", 8),
    ("reserved", 16),
];

const KAFKA: &[(&str, usize)] = &[
    ("base_offset", 8),
    ("batch_length", 4),
    ("leader_epoch", 4),
    ("magic", 1),
    ("crc", 4),
    ("attributes", 2),
    ("last_offset_delta", 4),
    ("base_timestamp", 8),
    ("max_timestamp", 8),
    ("producer_id", 8),
    ("producer_epoch", 2),
    ("base_sequence", 4),
    ("record_count", 4),
    ("records", 38),
    ("padding", 13),
];

const RECORDS: &[(&str, usize)] = &[
    ("ends", 12),
    ("times_low", 12),
    ("key_lens", 12),
    ("header_lens", 12),
    ("null_values", 4),
    ("blob", 23),
    ("zeros", 5),
    ("base_timestamp", 8),
    ("-> ends", 8),
    ("-> times_low", 8),
    ("-> times_high", 8),
    ("-> key_lens", 8),
    ("-> header_lens", 8),
    ("-> null_values", 8),
    ("-> blob", 8),
];

const PRODUCER: ProducerInfo = ProducerInfo {
    id: ProducerId::new(42),
    epoch: ProducerEpoch::new(2),
    base_sequence: 17,
};

fn placement() -> Placement {
    Placement {
        log: LogId {
            topic: TopicId::new(*b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"),
            partition: PartitionId::new(7),
        },
        base_offset: Offset::new(1000),
        leader_epoch: LeaderEpoch::new(5),
        durable_end: Offset::new(990),
        append_time: Timestamp::new(1_700_000_000_009),
    }
}

/// One line a field: offset, name, bytes (16 a line), and the bytes as text.
fn dump(bytes: &[u8], fields: &[&[(&str, usize)]]) -> String {
    let (mut text, mut at) = (String::new(), 0);
    for (name, length) in fields.iter().copied().flatten() {
        for (line, chunk) in bytes[at..at + length].chunks(16).enumerate() {
            let name = if line == 0 { name } else { "" };
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let shown = chunk.iter().map(|byte| {
                if byte.is_ascii_graphic() {
                    char::from(*byte)
                } else {
                    '.'
                }
            });
            let shown: String = shown.collect();
            writeln!(
                text,
                "{:>4} {name:<18} {:<47}  {shown}",
                at + 16 * line,
                hex.join(" ")
            )
            .unwrap();
        }
        at += length;
    }
    assert_eq!(at, bytes.len(), "every byte of the format has a name");
    text
}

fn check(bytes: &[u8], fields: &[&[(&str, usize)]], golden: &ExpectFile) {
    golden.assert_eq(&dump(bytes, fields));
    assert_eq!(parsed(golden), bytes, "the golden file says the same bytes");
}

/// The bytes a golden file shows, so that old files are read, not only new ones compared.
fn parsed(golden: &ExpectFile) -> Vec<u8> {
    let text = golden.data();
    let hex = text.lines().flat_map(|line| line[24..71].split_whitespace());
    hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn native_payload() -> Vec<u8> {
    let mut records = RecordsBuilder::new();
    let at = |millis: i64| Timestamp::new(1_700_000_000_000 + millis);
    records.push(None, Some(b"hello"), at(0), []).unwrap();
    records
        .push(Some(b"key"), None, at(2), [RecordHeader::new("h", b"v")])
        .unwrap();
    records.push(Some(b""), Some(b"world"), at(1), []).unwrap();
    records.finish().unwrap().to_vec()
}

#[test]
fn native_frame_of_three_records() {
    let payload = aligned_copy(&native_payload());
    let view = RecordsView::parse(&payload).unwrap();
    let header = BatchHeader::for_records(
        &view,
        &payload,
        Attributes::default(),
        Some(PRODUCER),
        &placement(),
    );
    let frame = [&header.encode()[..], &payload].concat();
    let golden = expect_file!["golden/native_frame_v1.txt"];
    check(&frame, &[HEADER, RECORDS], &golden);
}

#[test]
fn a_native_frame_of_version_1_reads_back() {
    let frame = parsed(&expect_file!["golden/native_frame_v1.txt"]);
    let header = BatchHeader::decode(&frame).unwrap();
    let payload = aligned_copy(&frame[HEADER_BYTES..]);
    verify_payload(&header, &payload).unwrap();
    let view = RecordsView::parse(&payload).unwrap();
    let keys: Vec<_> = view.iter().map(|record| record.key).collect();
    assert_eq!(keys, [None, Some(&b"key"[..]), Some(b"")]);
    let values: Vec<_> = view.iter().map(|record| record.value).collect();
    assert_eq!(values, [Some(&b"hello"[..]), None, Some(b"world")]);
    assert_eq!(
        (header.end_offset(), header.producer),
        (Offset::new(1003), Some(PRODUCER))
    );
}

/// What compaction leaves of the frame below when its second record was replaced and two offsets in front of it lost theirs:
/// it covers five offsets and holds two records.
#[test]
fn cleaned_frame_of_two_records() {
    let mut records = KafkaBatchBuilder::new();
    let at = |millis: i64| Timestamp::new(1_700_000_000_000 + millis);
    records.push(Some(b"a"), Some(b"hello"), at(0), []);
    records.push(Some(b"b"), Some(b"gone"), at(2), []);
    records.push(Some(b"c"), None, at(1), []);
    let mut original = records.build(Compression::None, Some(PRODUCER)).unwrap();
    let placed = placement();
    kafka::patch(&mut original, placed.base_offset, placed.leader_epoch);
    let original = KafkaBatch::parse(&original).unwrap();
    let span = kafka::Span {
        base: Offset::new(998),
        end: Offset::new(1003),
        epoch: placed.leader_epoch,
    };
    let payload = kafka::rewrite(&original, original.records_section(), &span, |record| {
        record.offset_delta != 1
    });
    let payload = payload.unwrap().unwrap();
    let batch = KafkaBatch::parse(&payload).unwrap();
    let header = BatchHeader {
        base_offset: span.base,
        record_count: 5,
        contents: Contents::Cleaned,
        delete_horizon: Some(Timestamp::new(1_700_086_400_000)),
        ..BatchHeader::for_kafka(&batch, &placed)
    };
    verify_payload(&header, &payload).unwrap();
    assert_eq!(BatchHeader::decode(&header.encode()), Ok(header));
    let frame = [&header.encode()[..], &payload].concat();
    let records = ("records", payload.len() - kafka::KAFKA_HEADER_BYTES);
    let fields: Vec<_> = KAFKA[..13].iter().copied().chain([records]).collect();
    check(
        &frame,
        &[HEADER, &fields],
        &expect_file!["golden/cleaned_frame_v1.txt"],
    );
}

#[test]
fn kafka_frame_of_three_records() {
    let mut records = KafkaBatchBuilder::new();
    let at = |millis: i64| Timestamp::new(1_700_000_000_000 + millis);
    records.push(None, Some(b"hello"), at(0), []);
    records.push(Some(b"key"), None, at(2), [RecordHeader::new("h", b"v")]);
    records.push(Some(b""), Some(b"world"), at(1), []);
    let mut payload = records.build(Compression::None, None).unwrap();
    let header = BatchHeader::for_kafka(&KafkaBatch::parse(&payload).unwrap(), &placement());
    kafka::patch(&mut payload, header.base_offset, header.leader_epoch);
    verify_payload(&header, &payload).unwrap();
    let mut frame = [&header.encode()[..], &payload].concat();
    frame.resize(frame.len().next_multiple_of(FRAME_ALIGN), 0);
    assert_eq!(frame.len(), header.frame_len());
    check(
        &frame,
        &[HEADER, KAFKA],
        &expect_file!["golden/kafka_frame_v1.txt"],
    );
}

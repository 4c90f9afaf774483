//! The order of the checks: each batch breaks one rule and every later one, so a check in the wrong place shows.

use std::collections::BTreeMap;

use super::*;
use crate::base::stages::Path;
use crate::base::{ProducerEpoch, ProducerId, Timestamp, crc32c};
use crate::batch::header::ProducerInfo;
use crate::batch::kafka::{KafkaBatchBuilder, SUMMED_FROM};
use crate::broker::topic::TopicDefaults;
use crate::runtime::clock::Mono;
use crate::shard::stages::BatchStamps;

const VERSION: i16 = 9;

fn settings() -> TopicSettings {
    crate::broker::topic::settings(&BTreeMap::new(), &TopicDefaults::default())
}

fn batch(codec: Compression) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    builder.push(Some(b"key"), Some(b"value"), Timestamp::new(1_000), []);
    let producer = ProducerInfo {
        id: ProducerId::new(7),
        epoch: ProducerEpoch::new(0),
        base_sequence: 0,
    };
    builder.build(codec, Some(producer)).unwrap()
}

/// Overwrites bytes of the batch and leaves its checksum wrong.
fn with(mut bytes: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

/// Makes the checksum right again.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32c(&bytes[SUMMED_FROM..]);
    bytes[17..SUMMED_FROM].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn code(records: &[u8], version: i16, settings: &TopicSettings) -> i16 {
    check_batch(Some(records), version, settings).map_or_else(|refusal| refusal.code.code(), |_| 0)
}

fn code_of(records: &[u8]) -> i16 {
    code(records, VERSION, &settings())
}

#[test]
fn good_batches_of_every_codec_pass() {
    for codec in Compression::ALL {
        assert_eq!(code_of(&batch(codec)), 0, "{codec:?}");
    }
}

#[test]
fn nothing_at_all_is_the_producers_mistake() {
    assert_eq!(
        check_batch(None, VERSION, &settings()).unwrap_err().code.code(),
        87
    );
    assert_eq!(code_of(&[]), 87);
}

#[test]
fn framing_comes_first() {
    let good = batch(Compression::None);
    assert_eq!(code_of(&good[..good.len() - 1]), 87, "truncated");
    assert_eq!(code_of(&[&good[..], &good].concat()), 87, "two batches");
    assert_eq!(code_of(&with(good.clone(), 16, &[1])), 87, "magic 1");
    assert_eq!(
        code_of(&with(good, 8, &13i32.to_be_bytes())),
        2,
        "length below any format's"
    );
}

#[test]
fn zstd_needs_version_7_and_is_judged_before_the_base_offset() {
    let zstd = with(batch(Compression::Zstd), 0, &1i64.to_be_bytes());
    assert_eq!(code(&zstd, 6, &settings()), 76);
    assert_eq!(code(&zstd, 7, &settings()), 87);
}

#[test]
fn base_offset_then_size_then_checksum_then_meaning() {
    let small = TopicSettings {
        max_message_bytes: 10,
        ..settings()
    };
    // Wrong in all four ways, then mended one by one.
    let bad = with(batch(Compression::None), 0, &1i64.to_be_bytes());
    let bad = with(bad, 57, &0i32.to_be_bytes());
    assert_eq!(code(&bad, VERSION, &small), 87);
    let bad = with(bad, 0, &0i64.to_be_bytes());
    assert_eq!(code(&bad, VERSION, &small), 10);
    assert_eq!(code(&bad, VERSION, &settings()), 2);
    assert_eq!(code(&summed(bad), VERSION, &settings()), 87);
}

#[test]
fn a_batch_larger_than_a_segment_is_refused_as_such() {
    let mut tiny = settings();
    tiny.log.segment_bytes = 10;
    assert_eq!(code(&batch(Compression::None), VERSION, &tiny), 18);
}

#[test]
fn meaning_is_judged_by_header() {
    let good = batch(Compression::None);
    let cases: [(usize, &[u8], i16, &str); 7] = [
        (57, &2i32.to_be_bytes(), 87, "count without delta"),
        (57, &(-1i32).to_be_bytes(), 87, "negative count"),
        (53, &(-1i32).to_be_bytes(), 87, "producer without sequence"),
        (21, &0x20u16.to_be_bytes(), 87, "control"),
        (21, &0x05u16.to_be_bytes(), 76, "unknown codec"),
        (21, &0x08u16.to_be_bytes(), 32, "append time set by the client"),
        (23, &1i32.to_be_bytes(), 87, "delta without count"),
    ];
    for (at, value, expected, what) in cases {
        assert_eq!(
            code_of(&summed(with(good.clone(), at, value))),
            expected,
            "{what}"
        );
    }
    let absurd = with(good, 57, &1_000i32.to_be_bytes());
    let absurd = summed(with(absurd, 23, &999i32.to_be_bytes()));
    assert_eq!(code_of(&absurd), 87, "more records than bytes");
}

#[test]
fn acks_are_judged_before_transactions_and_both_before_batches() {
    let request = |acks, transactional_id, records| ProduceRequest {
        transactional_id,
        acks,
        timeout_ms: 1,
        topic_data: [TopicProduceData {
            name: "t",
            partition_data: [PartitionProduceData { index: 0, records }].into_iter().collect(),
            ..TopicProduceData::default()
        }]
        .into_iter()
        .collect(),
        ..ProduceRequest::default()
    };
    let transactional = with(batch(Compression::None), 21, &0x10u16.to_be_bytes());
    let plain = batch(Compression::None);
    let code = |request: &ProduceRequest<'_>| refuse_whole(request).map_or(0, ErrorCode::code);
    assert_eq!(code(&request(2, Some("x"), None)), 21);
    assert_eq!(code(&request(-2, None, Some(&plain))), 21);
    assert_eq!(code(&request(1, Some("x"), Some(&plain))), 53);
    assert_eq!(code(&request(-1, None, Some(&transactional))), 53);
    for acks in -1..=1 {
        assert_eq!(code(&request(acks, None, Some(&plain))), 0);
    }
}

#[test]
fn a_refusal_says_why_and_has_no_offsets() {
    let outcome = Err(ErrorCode::MessageTooLarge.into());
    let response = partition_response(3, &outcome);
    assert_eq!(
        (response.index, response.error_code, response.base_offset),
        (3, 10, -1)
    );
    assert_eq!(response.log_append_time_ms, -1);
    assert!(response.error_message.is_some());
}

#[test]
fn a_repeated_batch_is_answered_with_its_first_offset() {
    let outcome = Ok(Produced {
        base_offset: crate::base::Offset::new(42),
        log_start: crate::base::Offset::new(5),
        stamps: BatchStamps {
            path: Path::Durable,
            routed: Mono::default(),
            appended: Mono::default(),
            submitted: Mono::default(),
            settled: Mono::default(),
        },
    });
    let response = partition_response(0, &outcome);
    assert_eq!(
        (
            response.error_code,
            response.base_offset,
            response.log_start_offset
        ),
        (0, 42, 5)
    );
    assert_eq!(response.error_message, None);
}

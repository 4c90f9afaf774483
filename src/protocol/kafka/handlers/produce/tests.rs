//! The order of the checks: each batch breaks one rule and every later one, so a check in the wrong place shows.

use std::collections::BTreeMap;

use super::*;
use crate::base::stages::Path;
use crate::base::{ProducerEpoch, ProducerId, TopicId, crc32c};
use crate::batch::attributes::Compression;
use crate::batch::header::ProducerInfo;
use crate::batch::kafka::{KafkaBatchBuilder, SUMMED_FROM};
use crate::broker::broker_config::BrokerConfig;
use crate::broker::topic::{Topic, TopicSettings};
use crate::runtime::clock::Mono;
use crate::runtime::local::Budget;
use crate::shard::stages::BatchStamps;

/// The broker's time in these tests.
const NOW: Timestamp = Timestamp::new(10_000_000);

const VERSION: i16 = 9;

fn settings() -> TopicSettings {
    topic(&[]).settings
}

fn topic(overrides: &[(&str, &str)]) -> Topic {
    let overrides: BTreeMap<String, String> = overrides
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Topic {
        name: "events".into(),
        id: TopicId::new([1; 16]),
        partitions: 1,
        settings: BrokerConfig::default().topic_settings(&overrides),
        overrides,
    }
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

fn terms(version: i16) -> Terms {
    Terms {
        version,
        acks: 1,
        now: NOW,
    }
}

fn code(records: &[u8], version: i16, settings: &TopicSettings) -> i16 {
    let topic = Topic {
        settings: *settings,
        ..topic(&[])
    };
    refusal(records, &topic, terms(version)).map_or(0, |refusal| refusal.code.code())
}

fn refusal(records: &[u8], topic: &Topic, terms: Terms) -> Option<Refusal> {
    let budget = Budget::new(1 << 20);
    check_batch(Some(records), topic, terms, &mut Rewrites::new(&budget)).err()
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
    let budget = Budget::new(0);
    let refused = check_batch(None, &topic(&[]), terms(VERSION), &mut Rewrites::new(&budget));
    assert_eq!(refused.unwrap_err().code.code(), 87);
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
        append_time: Some(Timestamp::new(77)),
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
    assert_eq!(response.log_append_time_ms, 77);
    assert_eq!(response.error_message, None);
}

/// Records with these keys and stamps.
fn records(codec: Compression, records: &[(Option<&[u8]>, i64)]) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    for (key, at) in records {
        builder.push(*key, Some(b"value"), Timestamp::new(*at), []);
    }
    builder.build(codec, None).unwrap()
}

fn faults(bytes: &[u8], overrides: &[(&str, &str)]) -> (i16, Vec<(i32, RecordFault)>) {
    let refused = refusal(bytes, &topic(overrides), terms(VERSION));
    refused.map_or((0, Vec::new()), |refusal| (refusal.code.code(), refusal.records))
}

#[test]
fn the_brokers_own_topics_take_nothing_and_come_before_what_is_inside() {
    let bad = with(batch(Compression::None), 0, &1i64.to_be_bytes());
    let internal = Topic {
        name: "__consumer_offsets".into(),
        ..topic(&[])
    };
    let code = |topic: &Topic| refusal(&bad, topic, terms(VERSION)).map_or(0, |refusal| refusal.code.code());
    assert_eq!(code(&internal), 17);
    assert_eq!(code(&topic(&[])), 87);
}

#[test]
fn acks_all_wants_as_many_replicas_as_the_topic_says() {
    let two = topic(&[("min.insync.replicas", "2")]);
    for (acks, expected) in [(-1, 19), (1, 0), (0, 0)] {
        let terms = Terms {
            acks,
            ..terms(VERSION)
        };
        let code = refusal(&batch(Compression::None), &two, terms).map_or(0, |refusal| refusal.code.code());
        assert_eq!(code, expected, "acks {acks}");
    }
}

#[test]
fn keyless_records_of_compacted_topics_are_named_under_every_codec() {
    let compact = &[("cleanup.policy", "compact")];
    for codec in Compression::ALL {
        let some = records(codec, &[(Some(b"a"), 1), (None, 2), (Some(b""), 3), (None, 4)]);
        let expected = vec![(1, RecordFault::NoKey), (3, RecordFault::NoKey)];
        assert_eq!(faults(&some, compact), (87, expected), "{codec:?}");
        assert_eq!(faults(&some, &[]), (0, vec![]));
        assert_eq!(faults(&records(codec, &[(Some(b"a"), 1)]), compact), (0, vec![]));
    }
}

#[test]
fn stamps_out_of_bounds_are_named() {
    let before = &[("message.timestamp.before.max.ms", "1000")];
    let old = records(Compression::Lz4, &[(None, 9_999_000), (None, 9_998_999)]);
    assert_eq!(faults(&old, before), (32, vec![(1, RecordFault::TooOld)]));
    let new = records(Compression::None, &[(None, 13_600_001), (None, 13_600_000)]);
    assert_eq!(faults(&new, &[]), (32, vec![(0, RecordFault::TooNew)]));
    let stamped = &[("message.timestamp.type", "LogAppendTime")];
    assert_eq!(faults(&new, stamped), (0, vec![]));
    // The header alone says so: refused without naming anyone.
    let lying = summed(with(
        records(Compression::None, &[(None, 5)]),
        35,
        &i64::MAX.to_be_bytes(),
    ));
    assert_eq!(faults(&lying, &[]), (32, vec![]));
}

#[test]
fn an_opened_batch_holds_what_its_header_says() {
    let compact = &[("cleanup.policy", "compact")];
    let two = records(Compression::Gzip, &[(Some(b"a"), 1), (Some(b"b"), 2)]);
    let counted = |count: i32| {
        let bytes = with(two.clone(), 57, &count.to_be_bytes());
        summed(with(bytes, 23, &(count - 1).to_be_bytes()))
    };
    assert_eq!(faults(&counted(2), compact).0, 0);
    assert_eq!(faults(&counted(1), compact).0, 87);
    assert_eq!(faults(&counted(3), compact).0, 87);
    assert_eq!(
        faults(&counted(3), &[]).0,
        0,
        "topics that open nothing trust the header"
    );
    let mut garbage = two;
    garbage.truncate(61);
    garbage.extend_from_slice(b"no gzip at all");
    let length = i32::try_from(garbage.len() - 12).unwrap();
    let garbage = summed(with(garbage, 8, &length.to_be_bytes()));
    assert_eq!(faults(&garbage, compact).0, 87);
}

#[test]
fn a_bomb_is_refused_at_the_bound() {
    let mut builder = KafkaBatchBuilder::new();
    builder.push(Some(b"k"), Some(&vec![0; 40 << 20]), NOW, []);
    let bomb = builder.build(Compression::Zstd, None).unwrap();
    assert!(bomb.len() < 100_000);
    assert_eq!(faults(&bomb, &[("cleanup.policy", "compact")]).0, 10);
}

#[test]
fn batches_of_another_codec_are_rewritten_and_their_memory_is_accounted_for() {
    let budget = Budget::new(1 << 20);
    let zstd = topic(&[("compression.type", "zstd")]);
    let mut rewrites = Rewrites::new(&budget);
    let gzip = batch(Compression::Gzip);
    let passed = check_batch(Some(&gzip), &zstd, terms(VERSION), &mut rewrites).unwrap();
    let Passed::Rewritten(range) = passed else {
        panic!("{passed:?}")
    };
    let same = batch(Compression::Zstd);
    let passed = check_batch(Some(&same), &zstd, terms(VERSION), &mut rewrites).unwrap();
    assert!(matches!(passed, Passed::AsSent(_)));
    let (frame, held) = rewrites.into_parts();
    assert_eq!(budget.available() + frame.len(), budget.limit());
    let made = KafkaBatch::parse(&frame[range]).unwrap();
    assert_eq!(made.attributes().compression(), Ok(Compression::Zstd));
    assert_eq!(made.producer(), KafkaBatch::parse(&gzip).unwrap().producer());
    assert_eq!(made.verify_crc(), Ok(()));
    drop(held);
    assert_eq!(budget.available(), budget.limit());
}

#[test]
fn without_memory_a_batch_to_rewrite_is_to_be_sent_again() {
    let budget = Budget::new(1 << 20);
    let _held = budget.try_acquire(1 << 20);
    let plain = topic(&[("compression.type", "uncompressed")]);
    let gzip = batch(Compression::Gzip);
    let refused = check_batch(Some(&gzip), &plain, terms(VERSION), &mut Rewrites::new(&budget)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::RequestTimedOut);
    assert!(refused.code.is_retriable());
}

#[test]
fn a_batch_that_grows_beyond_its_topic_is_too_large() {
    let mut builder = KafkaBatchBuilder::new();
    builder.push(None, Some(&[7; 5000]), NOW, []);
    let small = builder.build(Compression::Gzip, None).unwrap();
    let overrides = [
        ("compression.type", "uncompressed"),
        ("max.message.bytes", "4000"),
    ];
    assert_eq!(faults(&small, &overrides).0, 10);
    assert_eq!(faults(&small, &overrides[..1]).0, 0);
}

#[test]
fn the_records_at_fault_are_in_the_answer() {
    let outcome = Err(Refusal {
        code: ErrorCode::InvalidRecord,
        message: None,
        records: vec![(4, RecordFault::NoKey)],
    });
    let response = partition_response(0, &outcome);
    assert_eq!(response.record_errors.len(), 1);
    assert_eq!(response.record_errors[0].batch_index, 4);
}

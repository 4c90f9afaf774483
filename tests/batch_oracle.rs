//! Our Kafka batches against an independent implementation, in both directions and with every codec.
//!
//! gzip, snappy and lz4 are opened and closed by the oracle's own code (its lz4 is the C library); for zstd it is
//! handed the reference library, which is the only implementation there is on either side.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use bytes::{Bytes, BytesMut};
use corelog::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use corelog::batch::kafka::{self, KafkaBatch, KafkaBatchBuilder, Records};
use corelog::batch::{Compression, ProducerInfo, RecordHeader};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{self as oracle, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions};
use proptest::prelude::*;

const CODECS: [(Compression, oracle::Compression); 5] = [
    (Compression::None, oracle::Compression::None),
    (Compression::Gzip, oracle::Compression::Gzip),
    (Compression::Snappy, oracle::Compression::Snappy),
    (Compression::Lz4, oracle::Compression::Lz4),
    (Compression::Zstd, oracle::Compression::Zstd),
];

/// One record, owned. Header keys are distinct because the oracle keeps them in a map.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Plain {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn decoded_by_oracle(batch: &[u8], codec: oracle::Compression) -> Vec<oracle::Record> {
    let mut bytes = Bytes::copy_from_slice(batch);
    let set = if codec == oracle::Compression::Zstd {
        let open = |packed: &mut Bytes, _| Ok(Bytes::from(zstd::decode_all(&packed[..])?));
        RecordBatchDecoder::decode_with_custom_compression(&mut bytes, Some(open))
    } else {
        RecordBatchDecoder::decode(&mut bytes)
    };
    let set = set.unwrap();
    assert_eq!((set.version, set.compression), (2, codec));
    set.records
}

fn encoded_by_oracle(records: &[oracle::Record], compression: oracle::Compression) -> Vec<u8> {
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    let mut bytes = BytesMut::new();
    let close = |plain: &mut BytesMut, into: &mut BytesMut, _| {
        into.extend_from_slice(&zstd::encode_all(&plain[..], 3)?);
        Ok(())
    };
    let custom = (compression == oracle::Compression::Zstd).then_some(close);
    RecordBatchEncoder::encode_with_custom_compression(&mut bytes, records, &options, custom).unwrap();
    bytes.to_vec()
}

/// The record the oracle should see at `index` of a batch stored at `base_offset`.
fn as_oracle(record: &Plain, index: i32, base_offset: i64, producer: ProducerInfo) -> oracle::Record {
    let mut expected = oracle::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 6,
        producer_id: producer.id.get(),
        producer_epoch: producer.epoch.get(),
        timestamp_type: oracle::TimestampType::Creation,
        offset: base_offset + i64::from(index),
        sequence: producer.base_sequence + index,
        timestamp: record.timestamp,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: Default::default(),
    };
    for (key, value) in &record.headers {
        expected
            .headers
            .insert(StrBytes::from_string(key.clone()), value.clone().map(Bytes::from));
    }
    expected
}

fn producer() -> ProducerInfo {
    ProducerInfo {
        id: ProducerId::new(42),
        epoch: ProducerEpoch::new(2),
        base_sequence: 17,
    }
}

fn expected(records: &[Plain], base_offset: i64) -> Vec<oracle::Record> {
    let pairs = (0_i32..).zip(records);
    pairs
        .map(|(index, record)| as_oracle(record, index, base_offset, producer()))
        .collect()
}

fn ours(records: &[Plain], codec: Compression) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    for record in records {
        let headers = record.headers.iter();
        let headers = headers.map(|(key, value)| RecordHeader {
            key: key.as_bytes(),
            value: value.as_deref(),
        });
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push(key, value, Timestamp::new(record.timestamp), headers);
    }
    let mut batch = builder.build(codec, Some(producer())).unwrap();
    kafka::patch(&mut batch, Offset::new(1000), LeaderEpoch::new(6));
    batch
}

fn read_by_us(bytes: &[u8]) -> Vec<Plain> {
    let batch = KafkaBatch::parse(bytes).unwrap();
    batch.verify_crc().unwrap();
    batch.check_produced().unwrap();
    assert_eq!(batch.producer(), Some(producer()));
    let section = batch.uncompressed(1 << 24).unwrap();
    let base = batch.base_timestamp().get();
    let records = Records::new(&section, u32::try_from(batch.record_count()).unwrap());
    let plain = records.map(|record| {
        let record = record.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Plain {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            timestamp: base + record.timestamp_delta,
            headers: record
                .headers
                .map(|one| (text(one.key), one.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    });
    plain.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_oracle_reads_what_we_build(records in prop::collection::vec(plain(), 1..20)) {
        for (codec, name) in CODECS {
            prop_assert_eq!(decoded_by_oracle(&ours(&records, codec), name), expected(&records, 1000));
        }
    }

    #[test]
    fn we_read_what_the_oracle_builds(records in prop::collection::vec(plain(), 1..20)) {
        for (_, name) in CODECS {
            prop_assert_eq!(&read_by_us(&encoded_by_oracle(&expected(&records, 0), name)), &records);
        }
    }
}

#[test]
fn batches_larger_than_any_codecs_block_agree_too() {
    let value = |at: u32| {
        Some(
            (0..300)
                .flat_map(|step| (at * 7 + step * step).to_be_bytes())
                .collect(),
        )
    };
    let record = |at: u32| Plain {
        key: None,
        value: value(at),
        timestamp: i64::from(at),
        headers: vec![],
    };
    let records: Vec<Plain> = (0..500).map(record).collect();
    for (codec, name) in CODECS {
        assert_eq!(
            decoded_by_oracle(&ours(&records, codec), name),
            expected(&records, 1000),
            "{codec:?}"
        );
        assert_eq!(
            read_by_us(&encoded_by_oracle(&expected(&records, 0), name)),
            records,
            "{codec:?}"
        );
    }
}

#[test]
fn uncompressed_batches_are_the_same_bytes() {
    let record = |timestamp| Plain {
        key: Some(b"key".to_vec()),
        value: None,
        timestamp,
        headers: vec![("a".to_owned(), None), ("b".to_owned(), Some(b"c".to_vec()))],
    };
    let records = [record(10), record(70_000), record(12)];
    let mut theirs = encoded_by_oracle(&expected(&records, 0), oracle::Compression::None);
    kafka::patch(&mut theirs, Offset::new(1000), LeaderEpoch::new(6));
    assert_eq!(ours(&records, Compression::None), theirs);
}

fn plain() -> impl Strategy<Value = Plain> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..60));
    let headers = prop::collection::btree_map("[a-z]{0,6}", bytes(), 0..4);
    let times = 0..i64::from(i32::MAX) * 1000;
    (bytes(), bytes(), times, headers).prop_map(|(key, value, timestamp, headers)| Plain {
        key,
        value,
        timestamp,
        headers: headers.into_iter().collect(),
    })
}

//! Kafka batches built here are read back whole, and damaged or lying ones are refused by the right check.

use proptest::prelude::*;

use super::*;
use crate::base::{LogId, PartitionId, TopicId};
use crate::batch::header::{BatchHeader, Placement};
use crate::batch::payload::{PayloadError, PrefixField, verify_payload};
use crate::batch::record::RecordHeader;

/// What a record holds, owned: the naive model the views are compared with.
type Plain = (
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    i64,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

const PRODUCER: ProducerInfo = ProducerInfo {
    id: ProducerId::new(9),
    epoch: ProducerEpoch::new(1),
    base_sequence: 40,
};

fn built(records: &[Plain], codec: Compression, producer: Option<ProducerInfo>) -> Vec<u8> {
    let mut builder = KafkaBatchBuilder::new();
    for (key, value, timestamp, headers) in records {
        let headers = headers.iter().map(|(key, value)| RecordHeader {
            key,
            value: value.as_deref(),
        });
        builder.push(
            key.as_deref(),
            value.as_deref(),
            Timestamp::new(*timestamp),
            headers,
        );
    }
    builder.build(codec, producer).unwrap()
}

fn read(batch: &KafkaBatch<'_>) -> Vec<Plain> {
    let section = batch.uncompressed(1 << 20).unwrap();
    let count = u32::try_from(batch.record_count()).unwrap();
    let records: Result<Vec<_>, _> = Records::new(&section, count).collect();
    let records = records.unwrap();
    assert!(
        records
            .iter()
            .enumerate()
            .all(|(index, one)| one.offset_delta == i32::try_from(index).unwrap())
    );
    let plain = records.iter().map(|one| {
        let headers = one
            .headers
            .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)));
        let timestamp = batch.base_timestamp().get().wrapping_add(one.timestamp_delta);
        (
            one.key.map(<[u8]>::to_vec),
            one.value.map(<[u8]>::to_vec),
            timestamp,
            headers.collect(),
        )
    });
    plain.collect()
}

fn sample() -> Vec<u8> {
    let records = [
        (None, Some(b"first".to_vec()), 1000, vec![]),
        (Some(b"k".to_vec()), None, 1003, vec![(b"h".to_vec(), None)]),
        (Some(Vec::new()), Some(Vec::new()), 1002, vec![]),
    ];
    built(&records, Compression::None, Some(PRODUCER))
}

/// The sample with some bytes overwritten and the checksum made right again.
fn edited(at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = sample();
    bytes[at..at + with.len()].copy_from_slice(with);
    let sum = crc32c(&bytes[SUMMED_FROM..]);
    bytes[17..SUMMED_FROM].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn checked(bytes: &[u8]) -> Result<(), KafkaBatchError> {
    let batch = KafkaBatch::parse(bytes)?;
    batch.verify_crc()?;
    batch.check_produced()
}

#[test]
fn a_built_batch_passes_every_check() {
    let bytes = sample();
    assert_eq!(checked(&bytes), Ok(()));
    let batch = KafkaBatch::parse(&bytes).unwrap();
    assert_eq!((batch.base_offset(), batch.leader_epoch()), (0, -1));
    assert_eq!((batch.record_count(), batch.last_offset_delta()), (3, 2));
    assert_eq!(
        (batch.base_timestamp().get(), batch.max_timestamp().get()),
        (1000, 1003)
    );
    assert_eq!(batch.producer(), Some(PRODUCER));
}

#[test]
fn framing_errors_come_in_kafkas_order() {
    use KafkaBatchError as E;
    let bytes = sample();
    let needed = bytes.len();
    assert_eq!(checked(&[]), Err(E::Truncated { needed: 61, found: 0 }));
    assert_eq!(
        checked(&bytes[..20]),
        Err(E::Truncated {
            needed: 61,
            found: 20
        })
    );
    assert_eq!(
        checked(&bytes[..needed - 1]),
        Err(E::Truncated {
            needed,
            found: needed - 1
        })
    );
    let doubled = [bytes.clone(), bytes.clone()].concat();
    assert_eq!(checked(&doubled), Err(E::MoreThanOneBatch { extra: needed }));
    for length in [i32::MIN, -1, 0, 13] {
        assert_eq!(
            checked(&edited(8, &length.to_be_bytes())),
            Err(E::Length { found: length })
        );
    }
    assert_eq!(
        checked(&edited(8, &i32::MAX.to_be_bytes())),
        Err(E::Truncated {
            needed: 2_147_483_659,
            found: needed
        })
    );
    assert_eq!(checked(&edited(16, &[1])), Err(E::Magic { found: 1 }));
    assert_eq!(checked(&edited(16, &[0xff])), Err(E::Magic { found: -1 }));
    let mut short = bytes[..60].to_vec();
    short[8..12].copy_from_slice(&48_i32.to_be_bytes());
    assert_eq!(checked(&short), Err(E::TooShort { found: 60 }));
}

#[test]
fn each_lie_of_the_header_has_its_own_error() {
    use KafkaBatchError as E;
    let mut damaged = sample();
    damaged[70] ^= 1;
    assert!(matches!(checked(&damaged), Err(E::Checksum { .. })));
    assert_eq!(checked(&edited(57, &[0; 4])), Err(E::RecordCount { found: 0 }));
    assert_eq!(
        checked(&edited(57, &[0xff; 4])),
        Err(E::RecordCount { found: -1 })
    );
    let lie = E::LastOffsetDelta {
        last_offset_delta: 7,
        record_count: 3,
    };
    assert_eq!(checked(&edited(23, &7_i32.to_be_bytes())), Err(lie));
    assert_eq!(checked(&edited(21, &[0, 0x20])), Err(E::Control));
    let unnumbered = E::Sequence {
        producer_id: 9,
        base_sequence: -1,
    };
    assert_eq!(checked(&edited(53, &[0xff; 4])), Err(unnumbered));
    assert_eq!(
        checked(&edited(21, &[0, 5])),
        Err(E::UnknownCompression { id: 5 })
    );
}

#[test]
fn a_count_beyond_what_the_bytes_can_hold_is_refused() {
    let count_of = |count: i32, attributes: u8| {
        let mut bytes = edited(57, &count.to_be_bytes());
        bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        bytes[22] = attributes;
        KafkaBatch::parse(&bytes).unwrap().check_produced()
    };
    let section = sample().len() - KAFKA_HEADER_BYTES;
    let most = i32::try_from(section / RECORD_BYTES_MIN).unwrap();
    assert_eq!(count_of(most, 0), Ok(()));
    assert!(matches!(
        count_of(most + 1, 0),
        Err(KafkaBatchError::RecordCountImplausible { .. })
    ));
    assert_eq!(count_of(1 << 20, 4), Ok(()));
    assert!(matches!(
        count_of((1 << 20) + 1, 4),
        Err(KafkaBatchError::RecordCountImplausible { .. })
    ));
}

#[test]
fn patching_keeps_the_checksum_right() {
    let mut bytes = sample();
    patch(&mut bytes, Offset::new(1 << 40), LeaderEpoch::new(3));
    let batch = KafkaBatch::parse(&bytes).unwrap();
    assert_eq!((batch.base_offset(), batch.leader_epoch()), (1 << 40, 3));
    assert_eq!(checked(&bytes), Ok(()));
}

#[test]
fn stamping_keeps_the_checksum_right_and_damage_visible() {
    let stamp = |bytes: &mut [u8]| {
        let (header, records) = bytes.split_first_chunk_mut().unwrap();
        stamp_append_time(header, records.len(), Timestamp::new(123_456))
    };
    let mut bytes = sample();
    let sum = stamp(&mut bytes);
    assert_eq!(checked(&bytes), Ok(()));
    let batch = KafkaBatch::parse(&bytes).unwrap();
    assert_eq!(batch.crc(), sum);
    assert_eq!(batch.max_timestamp(), Timestamp::new(123_456));
    assert_eq!(batch.attributes().timestamp_type(), TimestampType::LogAppendTime);
    let mut damaged = sample();
    damaged[70] ^= 1;
    stamp(&mut damaged);
    assert!(matches!(checked(&damaged), Err(KafkaBatchError::Checksum { .. })));
}

#[test]
fn every_bit_of_a_stored_batch_is_covered() {
    let mut bytes = sample();
    let placement = Placement {
        log: LogId {
            topic: TopicId::NIL,
            partition: PartitionId::new(1),
        },
        base_offset: Offset::new(77),
        leader_epoch: LeaderEpoch::new(4),
        durable_end: Offset::new(70),
        append_time: Timestamp::new(2000),
    };
    let header = BatchHeader::for_kafka(&KafkaBatch::parse(&bytes).unwrap(), &placement);
    assert_eq!(
        verify_payload(&header, &bytes),
        Err(PayloadError::Prefix(PrefixField::BaseOffset))
    );
    patch(&mut bytes, placement.base_offset, placement.leader_epoch);
    assert_eq!(verify_payload(&header, &bytes), Ok(()));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_payload(&header, &damaged).is_err(), "bit {bit}");
    }
    let short = BatchHeader {
        payload_len: 20,
        ..header
    };
    assert!(matches!(
        verify_payload(&short, &bytes[..20]),
        Err(PayloadError::Length { .. })
    ));
}

#[test]
fn an_empty_batch_cannot_be_built() {
    assert_eq!(
        KafkaBatchBuilder::new().build(Compression::None, None),
        Err(BuildError::Empty)
    );
    let stamped = KafkaBatchBuilder::new().with_timestamps(Timestamp::ZERO, Timestamp::ZERO);
    assert_eq!(stamped.build(Compression::None, None), Err(BuildError::Empty));
}

proptest! {
    #[test]
    fn records_read_back_as_pushed(records in prop::collection::vec(plain(), 1..20), pick in 0..5_usize) {
        let bytes = built(&records, Compression::ALL[pick], None);
        prop_assert_eq!(checked(&bytes), Ok(()));
        prop_assert_eq!(read(&KafkaBatch::parse(&bytes).unwrap()), records);
    }

    #[test]
    fn hostile_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        framed in any::<bool>(),
    ) {
        if let (true, Ok(length)) = (framed && bytes.len() > 61, i32::try_from(bytes.len())) {
            bytes[8..12].copy_from_slice(&(length - 12).to_be_bytes());
            bytes[16] = 2;
        }
        if let Ok(batch) = KafkaBatch::parse(&bytes) {
            prop_assert!(batch.verify_crc().is_err() || batch.check_produced().is_err());
            if let Ok(section) = batch.uncompressed(1 << 16) {
                prop_assert!(Records::new(&section, u32::MAX).count() <= section.len() + 1);
            }
        }
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let nullable = move || prop::option::of(bytes());
    let headers = prop::collection::vec((bytes(), nullable()), 0..4);
    (nullable(), nullable(), any::<i64>(), headers)
}

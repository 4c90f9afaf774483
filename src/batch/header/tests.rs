//! The frame header against golden bytes, every flipped bit and random values.

use expect_test::expect;
use proptest::prelude::*;

use super::*;

pub(in crate::batch) fn sample() -> BatchHeader {
    BatchHeader {
        log: LogId {
            topic: TopicId::new(*b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"),
            partition: PartitionId::new(7),
        },
        encoding: Encoding::Rkyv,
        attributes: Attributes::default().transactional(),
        base_offset: Offset::new(1000),
        record_count: 3,
        leader_epoch: LeaderEpoch::new(5),
        durable_end: Offset::new(990),
        first_timestamp: Timestamp::new(1_700_000_000_000),
        max_timestamp: Timestamp::new(1_700_000_000_002),
        append_time: Timestamp::new(1_700_000_000_003),
        producer: Some(ProducerInfo {
            id: ProducerId::new(42),
            epoch: ProducerEpoch::new(2),
            base_sequence: 17,
        }),
        payload_len: 33,
        payload_crc: 0xdead_beef,
        contents: Contents::AsAppended,
        delete_horizon: None,
    }
}

#[test]
fn a_header_reads_back_as_written() {
    let header = sample();
    assert_eq!(BatchHeader::decode(&header.encode()), Ok(header));
    let anonymous = BatchHeader {
        producer: None,
        ..header
    };
    assert_eq!(BatchHeader::decode(&anonymous.encode()), Ok(anonymous));
}

#[test]
fn every_bit_flip_is_detected() {
    let bytes = sample().encode();
    for bit in 0..HEADER_BYTES * 8 {
        let mut damaged = bytes;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(BatchHeader::decode(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn alignment_of_the_source_does_not_matter() {
    let header = sample();
    let mut bytes = [0; 16 + HEADER_BYTES];
    for shift in 0..16 {
        bytes[shift..shift + HEADER_BYTES].copy_from_slice(&header.encode());
        assert_eq!(BatchHeader::decode(&bytes[shift..]), Ok(header));
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let mut table = String::new();
    for (at, bytes, name) in FIELDS {
        table.push_str(&format!("{at:>3} {bytes:>2} {name}\n"));
    }
    expect![[r#"
          0  4 magic
          4  4 header_crc
          8  4 payload_len
         12  4 payload_crc
         16  1 format_version
         17  1 encoding
         18  2 attributes
         20  4 record_count
         24 16 topic_id
         40  4 partition
         44  4 leader_epoch
         48  8 base_offset
         56  8 durable_end
         64  8 first_timestamp
         72  8 max_timestamp
         80  8 append_time
         88  8 producer_id
         96  4 base_sequence
        100  2 producer_epoch
        102  1 flags
        103  1 reserved_byte
        104  8 delete_horizon
        112 16 reserved
    "#]]
    .assert_eq(&table);
}

#[test]
fn checks_come_in_the_documented_order() {
    /// Breaks one field and makes the checksum right again.
    fn broken(at: usize, with: &[u8]) -> Result<BatchHeader, HeaderError> {
        let mut bytes = sample().encode();
        bytes[at..at + with.len()].copy_from_slice(with);
        let sum = crc32c(&bytes[SUMMED_FROM..]);
        bytes[HEADER_CRC_AT..SUMMED_FROM].copy_from_slice(&sum.to_le_bytes());
        BatchHeader::decode(&bytes)
    }
    assert_eq!(
        BatchHeader::decode(&[0; 127]),
        Err(HeaderError::TooShort { found: 127 })
    );
    assert_eq!(
        BatchHeader::decode(&[0; 128]),
        Err(HeaderError::Magic { found: [0; 4] })
    );
    assert_eq!(broken(16, &[2, 9]), Err(HeaderError::Version { found: 2 }));
    assert_eq!(broken(17, &[9]), Err(HeaderError::Encoding { found: 9 }));
    assert_eq!(broken(127, &[1]), Err(HeaderError::Reserved));
    assert_eq!(broken(20, &[0; 4]), Err(HeaderError::NoRecords));
    let last = i64::MAX.cast_unsigned();
    for base_offset in [last - 2, last, u64::MAX] {
        let expected = HeaderError::OffsetRange {
            base_offset,
            record_count: 3,
        };
        assert_eq!(broken(48, &base_offset.to_le_bytes()), Err(expected));
    }
    assert!(broken(48, &(last - 3).to_le_bytes()).is_ok());
    assert_eq!(broken(88, &[0xff; 8]), Err(HeaderError::Producer { id: -1 }));
    assert_eq!(
        broken(88, &(-2_i64).to_le_bytes()),
        Err(HeaderError::Producer { id: -2 })
    );
    let mut damaged = sample().encode();
    damaged[17] = 9;
    assert!(matches!(
        BatchHeader::decode(&damaged),
        Err(HeaderError::Checksum { .. })
    ));
}

#[test]
fn frames_are_padded_to_sixteen() {
    for (payload_len, frame_len) in [
        (0, 128),
        (1, 144),
        (16, 144),
        (17, 160),
        (u32::MAX, 4_294_967_424),
    ] {
        assert_eq!(
            BatchHeader {
                payload_len,
                ..sample()
            }
            .frame_len(),
            frame_len
        );
    }
}

proptest! {
    #[test]
    fn any_header_reads_back_as_written(header in headers()) {
        prop_assert_eq!(BatchHeader::decode(&header.encode()), Ok(header));
        prop_assert_eq!(header.frame_len() % FRAME_ALIGN, 0);
    }

    #[test]
    fn hostile_bytes_are_refused_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(BatchHeader::decode(&bytes).is_err());
        for (byte, magic) in bytes.iter_mut().zip(MAGIC) {
            *byte = magic;
        }
        prop_assert!(BatchHeader::decode(&bytes).is_err());
    }
}

prop_compose! {
    fn headers()(
        (topic, partition, kafka, bits) in any::<([u8; 16], u32, bool, u16)>(),
        (base_offset, record_count) in (0..i64::MAX.cast_unsigned() - u64::from(u32::MAX), 1_u32..),
        (leader_epoch, durable_end, times) in any::<(u32, u64, [i64; 3])>(),
        producer in prop::option::of((0_i64.., any::<(i16, i32)>())),
        (payload_len, payload_crc) in any::<(u32, u32)>(),
        (cleaned, horizon) in any::<(bool, Option<i64>)>(),
    ) -> BatchHeader {
        BatchHeader {
            log: LogId { topic: TopicId::new(topic), partition: PartitionId::new(partition) },
            encoding: if kafka { Encoding::Kafka } else { Encoding::Rkyv },
            attributes: Attributes::from_bits(bits),
            base_offset: Offset::new(base_offset),
            record_count,
            leader_epoch: LeaderEpoch::new(leader_epoch),
            durable_end: Offset::new(durable_end),
            first_timestamp: Timestamp::new(times[0]),
            max_timestamp: Timestamp::new(times[1]),
            append_time: Timestamp::new(times[2]),
            producer: producer.map(|(id, (epoch, base_sequence))| ProducerInfo {
                id: ProducerId::new(id),
                epoch: ProducerEpoch::new(epoch),
                base_sequence,
            }),
            payload_len,
            payload_crc,
            contents: if cleaned { Contents::Cleaned } else { Contents::AsAppended },
            delete_horizon: horizon.filter(|ms| *ms != 0).map(Timestamp::new),
        }
    }
}

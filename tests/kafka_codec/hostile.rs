//! Bytes that are wrong on purpose: lies, mutations and noise end in an error or a value, within a bound of memory.

use corelog::protocol::kafka::header::RequestHeader;
use corelog::protocol::kafka::messages::{self as ours, Message};
use corelog::protocol::kafka::wire::{DecodeError, ELEMENTS_MAX, Reader, Writer};
use smallvec::SmallVec;

use crate::allocations::allocations;
use crate::oracle::{DECODERS, Decoder, encode, leak};
use crate::random::{Random, base_seed};

/// Most bytes a decode may allocate per byte of input. The worst is a DescribeConfigs response that lies at
/// three depths at once: results of 7 bytes become 64, configs of 9 become 80, synonyms of 4 become 40.
const AMPLIFICATION_MAX: usize = 36;

/// The same for requests, which is what strangers send: 64 / 3 + 56 / 3 + 4 / 4, see the test that builds it.
const REQUEST_AMPLIFICATION_MAX: usize = 42;

/// Decodes under the allocation watch; the input decides the bound.
fn decode_watched(decoder: &Decoder, bytes: &[u8], version: i16, context: &str) -> bool {
    let (accepted, allocated) = allocations(|| (decoder.accepts)(bytes, version));
    let factor = if decoder.name.ends_with("Request") {
        REQUEST_AMPLIFICATION_MAX
    } else {
        AMPLIFICATION_MAX
    };
    assert!(
        allocated <= factor * bytes.len(),
        "{context}: {} v{version} allocated {allocated} bytes for {} bytes: {bytes:02x?}",
        decoder.name,
        bytes.len()
    );
    accepted
}

#[test]
fn a_metadata_request_for_two_billion_topics_costs_nothing() {
    for (version, claim) in [
        (0, &[0x7f, 0xff, 0xff, 0xff][..]),
        (8, &[0x7f, 0xff, 0xff, 0xff, 1, 0, 0]),
        (9, &[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0, 0, 0]),
        (13, &[0xff, 0xff, 0xff, 0xff, 0x07, 1, 0, 0]),
    ] {
        let (result, allocated) = allocations(|| ours::MetadataRequest::decode(claim, version));
        assert!(
            matches!(result, Err(DecodeError::InvalidCount { .. })),
            "v{version}: {result:?}"
        );
        assert_eq!(allocated, 0, "v{version}");
    }
}

#[test]
fn a_frame_full_of_empty_topics_stops_at_the_element_budget() {
    let count = i32::try_from(ELEMENTS_MAX + 1).unwrap();
    let mut frame = count.to_be_bytes().to_vec();
    frame.resize(4 + 2 * (ELEMENTS_MAX + 1), 0);
    let (result, allocated) = allocations(|| ours::MetadataRequest::decode(&frame, 0));
    assert!(
        matches!(result, Err(DecodeError::TooManyElements { .. })),
        "{result:?}"
    );
    assert_eq!(allocated, 0);
}

#[test]
fn the_most_expensive_request_stays_within_its_bound() {
    // 3-byte groups for the whole frame are claimed; the first of them claims 3-byte topics for the rest, and the first
    // of those 4-byte partitions.
    const FRAME: usize = 40_000;
    let mut writer = Writer::new();
    writer.uvarint(u32::try_from(FRAME / 3 - 5).unwrap());
    writer.uvarint(1);
    writer.uvarint(u32::try_from(FRAME / 3 - 10).unwrap());
    writer.uvarint(1);
    writer.uvarint(u32::try_from(FRAME / 4 - 10).unwrap());
    let mut frame = writer.finish().unwrap().into_vec();
    frame.resize(FRAME, 0);
    let (result, allocated) = allocations(|| ours::OffsetFetchRequest::decode(&frame, 8));
    assert_eq!(
        result,
        Err(DecodeError::UnexpectedNull),
        "all claims were believed"
    );
    assert!(allocated > 40 * FRAME, "{allocated}: the bound could be lowered");
    assert!(allocated <= REQUEST_AMPLIFICATION_MAX * FRAME, "{allocated}");
}

#[test]
fn lying_lengths_anywhere_are_survived() {
    const LIES: &[&[u8]] = &[
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x80, 0x00, 0x00, 0x00],
        &[0xff, 0xff, 0xff, 0xfe],
        &[0x7f, 0xff],
        &[0x80, 0x00],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x80],
        &[0x00],
    ];
    for decoder in DECODERS {
        let versions = decoder.api.versions();
        for version in versions.min..=versions.max {
            let mut random = Random::new(11);
            let mut message = (decoder.example)(&mut random, version);
            message.truncate(600);
            for place in 0..message.len() {
                for lie in LIES {
                    let mut bytes = message.clone();
                    for (byte, lie) in bytes[place..].iter_mut().zip(*lie) {
                        *byte = *lie;
                    }
                    decode_watched(decoder, &bytes, version, "lie");
                }
            }
        }
    }
}

#[test]
fn noise_and_mutations_are_survived() {
    const ITERATIONS: u64 = 100_000;
    let mut random = Random::new(0x5eed);
    let mut accepted = 0_u32;
    for iteration in 0..ITERATIONS {
        let decoder = &DECODERS[random.below(DECODERS.len())];
        let versions = decoder.api.versions();
        let span = usize::try_from(versions.max - versions.min).unwrap() + 1;
        let version = versions.min + i16::try_from(random.below(span)).unwrap();
        let mut bytes = if random.below(2) == 0 {
            (0..random.below(200))
                .map(|_| random.bytes::<1>()[0] & random.pick(&[0xff, 0x07, 0x01]))
                .collect()
        } else {
            let mut bytes = (decoder.example)(&mut random, version);
            bytes.truncate(2_000);
            bytes
        };
        for _ in 0..random.below(4) {
            if !bytes.is_empty() {
                let place = random.below(bytes.len());
                bytes[place] = random.bytes::<1>()[0];
            }
        }
        let context = format!("iteration {iteration} of seed {}", base_seed());
        accepted += u32::from(decode_watched(decoder, &bytes, version, &context));
    }
    // Noise that is never accepted would mean that the decoders were hardly entered.
    assert!(accepted > 1_000, "only {accepted} accepted");
}

#[test]
fn noise_in_headers_is_survived() {
    let mut random = Random::new(0x4ead);
    for _ in 0..100_000 {
        let key = random.pick(&[0, 1, 3, 11, 18, 47, 60, 68, 75, 7]);
        let mut bytes = vec![0, key, 0, random.bytes::<1>()[0] & 0x0f, 0, 0, 0, 1];
        let length = random.below(24);
        bytes.extend((0..length).map(|_| random.bytes::<1>()[0] & random.pick(&[0xff, 0x03])));
        let (_, allocated) = allocations(|| RequestHeader::decode(&mut Reader::new(&bytes)).is_ok());
        assert_eq!(allocated, 0);
    }
}

#[test]
fn a_produce_request_of_one_partition_decodes_without_allocating() {
    let partition = ours::PartitionProduceData {
        index: 3,
        records: Some(&[7; 500]),
    };
    let topic = ours::TopicProduceData {
        name: "logs",
        partition_data: SmallVec::from_iter([partition]),
        ..Default::default()
    };
    let request = ours::ProduceRequest {
        acks: -1,
        topic_data: SmallVec::from_iter([topic]),
        ..Default::default()
    };
    for version in 3..=12 {
        let bytes = leak(encode(request.clone(), version).into_vec());
        let (decoded, allocated) = allocations(|| ours::ProduceRequest::decode(bytes, version));
        assert_eq!(decoded.as_ref(), Ok(&request));
        assert_eq!(allocated, 0, "v{version}");
    }
}

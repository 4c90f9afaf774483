//! Where our codec differs from the oracle's on purpose.
//!
//! The oracle writes null records as -1; ours are never null.

use bytes::Bytes;
use corelog::protocol::kafka::messages::{self as ours, Message};
use corelog::protocol::kafka::wire::Writer;
use kafka_protocol::messages as theirs;

use crate::oracle::{DECODERS, encode, leak, oracle_decode, oracle_encode};

#[test]
fn null_records_are_read_but_never_written() {
    let partition = theirs::fetch_response::PartitionData::default().with_records(None);
    let topic = theirs::fetch_response::FetchableTopicResponse::default().with_partitions(vec![partition]);
    let oracle = theirs::FetchResponse::default().with_responses(vec![topic]);
    for version in 4..=18 {
        let bytes = leak(oracle_encode(&oracle, version));
        let response = ours::FetchResponse::decode(bytes, version).unwrap();
        assert!(response.responses[0].partitions[0].records.is_empty());
        let written: theirs::FetchResponse =
            oracle_decode(&encode(response, version).into_vec(), version, "fetch");
        assert_eq!(
            written.responses[0].partitions[0].records,
            Some(Bytes::new()),
            "v{version}"
        );
    }
}

#[test]
fn unknown_tags_are_skipped_wherever_they_stand() {
    let tag = |tag| (tag, Bytes::from_static(b"from the future"));
    let topic = theirs::metadata_request::MetadataRequestTopic::default()
        .with_unknown_tagged_fields([tag(0), tag(9_999)].into());
    let oracle = theirs::MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_unknown_tagged_fields([tag(3)].into());
    for version in 9..=13 {
        let bytes = oracle_encode(&oracle, version);
        let request = ours::MetadataRequest::decode(&bytes, version).unwrap();
        let topics = request.topics.unwrap();
        assert_eq!(
            topics,
            [ours::MetadataRequestTopic {
                name: Some(""),
                ..Default::default()
            }]
        );
    }
}

#[test]
fn a_field_the_version_lacks_is_left_out() {
    let request = ours::MetadataRequest {
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let bytes = leak(encode(request, 3).into_vec());
    assert!(
        ours::MetadataRequest::decode(bytes, 3)
            .unwrap()
            .allow_auto_topic_creation
    );
}

#[test]
fn an_unsupported_version_is_refused_in_both_directions() {
    for decoder in DECODERS {
        let versions = decoder.api.versions();
        for version in [i16::MIN, versions.min - 1, versions.max + 1, i16::MAX] {
            assert!(
                !(decoder.accepts)(&[0; 64], version),
                "{} v{version}",
                decoder.name
            );
        }
    }
    let mut writer = Writer::new();
    ours::MetadataRequest::default().encode(&mut writer, 99);
    assert!(writer.finish().is_err());
}

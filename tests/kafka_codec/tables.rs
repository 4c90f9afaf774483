//! Keys, versions, headers and error codes against the oracle's tables.

use corelog::protocol::kafka::api::{self, ApiKey};
use corelog::protocol::kafka::errors::ErrorCode;
use corelog::protocol::kafka::header::{RequestHeader, ResponseHeader};
use corelog::protocol::kafka::wire::{Reader, Writer};
use kafka_protocol::messages as theirs;

use crate::oracle::{oracle_decode, oracle_encode};

/// Versions of Kafka 4.2, which the oracle does not know: `schema` holds their bytes.
const PAST_ORACLE: &[(ApiKey, i16)] = &[
    (ApiKey::ListOffsets, 11),
    (ApiKey::OffsetCommit, 10),
    (ApiKey::OffsetFetch, 10),
    (ApiKey::DescribeLogDirs, 5),
];

#[test]
fn keys_versions_and_headers_are_the_oracles() {
    for &api in api::ADVERTISED {
        let oracle = theirs::ApiKey::try_from(api.key()).unwrap();
        assert_eq!(format!("{oracle:?}"), format!("{api:?}"));
        let (ours, theirs) = (api.versions(), oracle.valid_versions());
        assert_eq!(ours.min, theirs.min, "{api:?}");
        assert!(
            ours.max <= theirs.max || PAST_ORACLE.contains(&(api, ours.max)),
            "{api:?}"
        );
        for version in ours.min..=ours.max.min(theirs.max) {
            let flexible = api.is_flexible(version);
            assert_eq!(
                oracle.request_header_version(version),
                1 + i16::from(flexible),
                "{api:?} v{version}"
            );
            let tags = flexible && api != ApiKey::ApiVersions;
            assert_eq!(
                oracle.response_header_version(version),
                i16::from(tags),
                "{api:?} v{version}"
            );
        }
    }
}

#[test]
fn headers_agree_with_the_oracle() {
    for &api in api::ADVERTISED {
        let oracle_api = theirs::ApiKey::try_from(api.key()).unwrap();
        let newest = api.versions().max.min(oracle_api.valid_versions().max);
        for version in api.versions().min..=newest {
            for client_id in [None, Some(""), Some("tail-and-ship")] {
                let header = RequestHeader {
                    api_key: api.key(),
                    api_version: version,
                    correlation_id: 77,
                    client_id,
                };
                let mut writer = Writer::new();
                header.encode(&mut writer);
                let bytes = writer.finish().unwrap().into_vec();
                let header_version = oracle_api.request_header_version(version);
                let oracle: theirs::RequestHeader = oracle_decode(&bytes, header_version, "request header");
                assert_eq!(oracle.request_api_key, header.api_key);
                assert_eq!(oracle.request_api_version, header.api_version);
                assert_eq!(oracle.correlation_id, header.correlation_id);
                assert_eq!(oracle.client_id.as_deref(), client_id);
                assert_eq!(oracle_encode(&oracle, header_version), bytes);
                assert_eq!(RequestHeader::decode(&mut Reader::new(&bytes)), Ok(header));
            }
            let header = ResponseHeader { correlation_id: -3 };
            let mut writer = Writer::new();
            header.encode(&mut writer, api, version);
            let bytes = writer.finish().unwrap().into_vec();
            let oracle: theirs::ResponseHeader = oracle_decode(
                &bytes,
                oracle_api.response_header_version(version),
                "response header",
            );
            assert_eq!(oracle.correlation_id, header.correlation_id);
            assert_eq!(
                ResponseHeader::decode(&mut Reader::new(&bytes), api, version),
                Ok(header)
            );
        }
    }
}

#[test]
fn error_codes_are_the_oracles() {
    use kafka_protocol::ResponseError;
    for &error in ErrorCode::ALL {
        match ResponseError::try_from_code(error.code()) {
            None => assert_eq!(error, ErrorCode::None),
            Some(oracle) => {
                assert_eq!(format!("{oracle:?}"), format!("{error:?}"));
                assert_eq!(oracle.is_retriable(), error.is_retriable(), "{error:?}");
            }
        }
    }
}

//! ApiVersions: what the broker speaks. The only request whose unknown versions get an answer.
//!
//! One feature is finalized: `group.version` 1, the newer group protocol (KIP-848). Kafka's lowest level of it is 0, and
//! clients before version 4 of this API refuse a whole answer with a supported level of 0, so there it is named as in use
//! but not as supported, as in Kafka. Absent: telemetry, which clients would call on every connection if it were listed.

use crate::protocol::kafka::api::ADVERTISED;
use crate::protocol::kafka::call::{Answer, Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

/// The newer group protocol, as Kafka names it among its features.
const GROUP_VERSION: &str = "group.version";
/// The level at which it is there.
const GROUP_VERSION_LEVEL: i16 = 1;
/// First version whose clients take a supported level of 0.
const LEVEL_ZERO_SINCE: i16 = 4;
/// Nobody changes features while the broker runs.
const FEATURES_EPOCH: i64 = 0;

/// Answers in the version asked.
pub(in crate::protocol::kafka) fn handle(call: &Call) -> Outcome {
    let _client: ApiVersionsRequest<'_> = call.decode()?;
    Ok(call.answer(response(ErrorCode::None, call.version)))
}

/// Answers a version that is not spoken: in version 0, which every client reads, with the table it can choose from.
pub(in crate::protocol::kafka) fn refuse_version(call: &Call) -> Answer {
    call.answer_at(response(ErrorCode::UnsupportedVersion, 0), 0)
}

fn response(error: ErrorCode, version: i16) -> ApiVersionsResponse<'static> {
    let entry = |api: &crate::protocol::kafka::api::ApiKey| {
        let versions = api.advertised();
        ApiVersion {
            api_key: api.key(),
            min_version: versions.min,
            max_version: versions.max,
        }
    };
    ApiVersionsResponse {
        error_code: error.code(),
        api_keys: ADVERTISED.iter().map(entry).collect(),
        supported_features: match version {
            LEVEL_ZERO_SINCE.. => vec![SupportedFeatureKey {
                name: GROUP_VERSION,
                min_version: 0,
                max_version: GROUP_VERSION_LEVEL,
            }],
            _ => Vec::new(),
        },
        finalized_features_epoch: FEATURES_EPOCH,
        finalized_features: vec![FinalizedFeatureKey {
            name: GROUP_VERSION,
            max_version_level: GROUP_VERSION_LEVEL,
            min_version_level: GROUP_VERSION_LEVEL,
        }],
        ..ApiVersionsResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::kafka::messages::Message;
    use crate::protocol::kafka::wire::Writer;

    #[test]
    fn a_version_from_the_future_gets_the_table_in_version_0() {
        let mut writer = Writer::new();
        response(ErrorCode::UnsupportedVersion, 0).encode(&mut writer, 0);
        let bytes = writer.finish().unwrap().into_vec();
        // error 35, count, then Produce 0..13 and Fetch 4..18; six bytes an entry and nothing behind them.
        let count = u8::try_from(ADVERTISED.len()).unwrap();
        assert_eq!(bytes[..6], [0, 35, 0, 0, 0, count]);
        assert_eq!(bytes[6..18], [0, 0, 0, 0, 0, 13, 0, 1, 0, 4, 0, 18]);
        assert_eq!(bytes.len(), 6 + 6 * usize::from(count));
    }
}

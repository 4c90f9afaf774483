//! FindCoordinator: there is none; groups and transactions are not served.
//!
//! The API is advertised all the same, because librdkafka before 2.11 takes its absence for a broker too old for lz4 and
//! silently sends such batches uncompressed. The answer is `COORDINATOR_NOT_AVAILABLE`: librdkafka's consumer looks for its
//! group even when it only assigns partitions by hand, and hands any final error to the application.

use super::super::call::{Call, Outcome};
use super::super::errors::ErrorCode;
use super::super::messages::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

const NOT_SERVED: &str = "consumer groups and transactions are not available";

/// Answers every key the same.
pub(in crate::protocol::kafka) fn handle(call: &Call) -> Outcome {
    let request: FindCoordinatorRequest<'_> = call.decode()?;
    let error_code = ErrorCode::CoordinatorNotAvailable.code();
    let none = |key| Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code,
        error_message: Some(NOT_SERVED),
        ..Coordinator::default()
    };
    call.count_error();
    Ok(call.answer(FindCoordinatorResponse {
        error_code,
        error_message: Some(NOT_SERVED),
        node_id: -1,
        port: -1,
        coordinators: request.coordinator_keys.iter().copied().map(none).collect(),
        ..FindCoordinatorResponse::default()
    }))
}

//! What the broker says, in the native protocol's codes. The single place where one becomes the other.
//!
//! **Promise.** Every error of the rooms below has exactly one code here. The matches have no catch-all arm, so a new error
//! below does not compile until someone has decided. Pure; any thread.

use super::errors::ErrorCode;
use super::pod::DecodeError;
use crate::shard::request::{ControlError, ProduceError, ReadFailure};

/// The code for a control part that cannot be read.
pub(super) const fn decode_error(error: DecodeError) -> ErrorCode {
    match error {
        DecodeError::TooMany { .. } => ErrorCode::TooMany,
        DecodeError::Kind
        | DecodeError::Truncated
        | DecodeError::Text
        | DecodeError::Reserved
        | DecodeError::Unknown
        | DecodeError::Trailing => ErrorCode::Malformed,
    }
}

/// The code for a batch that was not appended, or cannot be acknowledged.
pub(super) const fn produce_error(error: ProduceError) -> ErrorCode {
    match error {
        ProduceError::UnknownPartition => ErrorCode::UnknownPartition,
        ProduceError::InvalidProducerEpoch => ErrorCode::StaleProducerEpoch,
        ProduceError::OutOfOrderSequence => ErrorCode::OutOfOrderSequence,
        ProduceError::DuplicateSequence => ErrorCode::DuplicateSequence,
        ProduceError::DiskFull => ErrorCode::DiskFull,
        ProduceError::Storage => ErrorCode::Storage,
    }
}

/// The code for a partition that could not be read.
pub(super) const fn read_failure(failure: ReadFailure) -> ErrorCode {
    match failure {
        ReadFailure::UnknownPartition => ErrorCode::UnknownPartition,
        ReadFailure::OutOfRange => ErrorCode::OffsetOutOfRange,
        ReadFailure::Storage => ErrorCode::Damaged,
    }
}

/// The code for a metadata change that was refused.
pub(super) const fn control_error(error: &ControlError) -> ErrorCode {
    match error {
        ControlError::UnknownTopic(_) => ErrorCode::UnknownTopic,
        ControlError::TopicExists(_) => ErrorCode::TopicExists,
        ControlError::InvalidName(_) => ErrorCode::InvalidTopic,
        ControlError::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
        ControlError::InternalTopic(_) => ErrorCode::InvalidTopic,
        ControlError::InvalidConfig(_) => ErrorCode::InvalidConfig,
        ControlError::InvalidBrokerConfig(_) => ErrorCode::InvalidConfig,
        ControlError::Storage(_) => ErrorCode::Storage,
        ControlError::Stopping => ErrorCode::Stopping,
    }
}

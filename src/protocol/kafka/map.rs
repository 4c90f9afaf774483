//! What the broker says, in Kafka's codes. The single place where one becomes the other.
//!
//! **Promise.** Every error of the rooms below has exactly one code here, chosen by what a client does on reading it:
//! retry, ask for metadata, reset, or give up. The matches have no catch-all arm, so a new error below does not
//! compile until someone has decided. Pure; any thread.

use super::errors::ErrorCode;
use super::fetch_session::SessionError;
use crate::base::LeaderEpoch;
use crate::batch::kafka::KafkaBatchError;
use crate::broker::group::consumer::ConsumerGroupError;
use crate::broker::group::error::GroupError;
use crate::broker::topic::TopicError;
use crate::shard::request::{ControlError, ProduceError, ReadFailure, TrimError};

/// The code for a batch a producer may not append.
///
/// Damage is `CORRUPT_MESSAGE`, which clients retry; a batch that is wrong however often it is sent is
/// `INVALID_RECORD`, which they do not. Kafka answers an undefined codec with -1; 76 says what is the matter.
pub(super) const fn batch_error(error: KafkaBatchError) -> ErrorCode {
    match error {
        KafkaBatchError::Length { .. }
        | KafkaBatchError::TooShort { .. }
        | KafkaBatchError::Checksum { .. } => ErrorCode::CorruptMessage,
        KafkaBatchError::Truncated { .. }
        | KafkaBatchError::MoreThanOneBatch { .. }
        | KafkaBatchError::Magic { .. }
        | KafkaBatchError::RecordCount { .. }
        | KafkaBatchError::LastOffsetDelta { .. }
        | KafkaBatchError::RecordCountImplausible { .. }
        | KafkaBatchError::Control
        | KafkaBatchError::Sequence { .. } => ErrorCode::InvalidRecord,
        KafkaBatchError::UnknownCompression { .. } => ErrorCode::UnsupportedCompressionType,
    }
}

/// The code for a batch that was not appended, or cannot be acknowledged.
///
/// A full disk is the storage error Kafka gives for it: clients keep the batch and retry until space is freed.
pub(super) const fn produce_error(error: ProduceError) -> ErrorCode {
    match error {
        ProduceError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        ProduceError::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
        ProduceError::OutOfOrderSequence => ErrorCode::OutOfOrderSequenceNumber,
        ProduceError::DuplicateSequence => ErrorCode::DuplicateSequenceNumber,
        ProduceError::DiskFull | ProduceError::Storage => ErrorCode::KafkaStorageError,
    }
}

/// The code for a partition that could not be read.
pub(super) const fn read_failure(failure: ReadFailure) -> ErrorCode {
    match failure {
        ReadFailure::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        ReadFailure::OutOfRange => ErrorCode::OffsetOutOfRange,
        ReadFailure::Storage => ErrorCode::KafkaStorageError,
    }
}

/// The code for a log whose start was not moved.
pub(super) const fn trim_error(error: TrimError) -> ErrorCode {
    match error {
        TrimError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        TrimError::OutOfRange => ErrorCode::OffsetOutOfRange,
        TrimError::Policy => ErrorCode::PolicyViolation,
        TrimError::Storage => ErrorCode::KafkaStorageError,
    }
}

/// The code for a fetch request that cannot continue its session: the client starts a new one.
pub(super) const fn session_error(error: SessionError) -> ErrorCode {
    match error {
        SessionError::Unknown => ErrorCode::FetchSessionIdNotFound,
        SessionError::Epoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionError::MixedTopics => ErrorCode::FetchSessionTopicIdError,
    }
}

/// The code for a metadata change that was refused. A stopping broker sends the client to look for a controller
/// again, which is what it should do.
pub(super) const fn control_error(error: &ControlError) -> ErrorCode {
    match error {
        ControlError::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
        ControlError::TopicExists(_) => ErrorCode::TopicAlreadyExists,
        ControlError::InvalidName(_) => ErrorCode::InvalidTopicException,
        ControlError::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
        ControlError::InternalTopic(_) => ErrorCode::InvalidTopicException,
        ControlError::InvalidConfig(_) => ErrorCode::InvalidConfig,
        ControlError::InvalidBrokerConfig(_) => ErrorCode::InvalidRequest,
        ControlError::Storage(_) => ErrorCode::KafkaStorageError,
        ControlError::Stopping => ErrorCode::NotController,
    }
}

/// The code for what a coordinator refused.
///
/// What does not fit one record is -1, as in Kafka: no code says it, and every client gives up on it.
pub(super) const fn group_error(error: GroupError) -> ErrorCode {
    match error {
        GroupError::Loading => ErrorCode::CoordinatorLoadInProgress,
        GroupError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::GroupFull => ErrorCode::GroupMaxSizeReached,
        GroupError::FencedInstance => ErrorCode::FencedInstanceId,
        GroupError::NonEmpty => ErrorCode::NonEmptyGroup,
        GroupError::UnknownGroup => ErrorCode::GroupIdNotFound,
        GroupError::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::TooLarge => ErrorCode::InvalidCommitOffsetSize,
        GroupError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
        GroupError::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
        GroupError::RecordTooLarge => ErrorCode::UnknownServerError,
    }
}

/// The code for what a group of the newer protocol refused.
pub(super) const fn consumer_group_error(error: &ConsumerGroupError) -> ErrorCode {
    match error {
        ConsumerGroupError::UnknownMember => ErrorCode::UnknownMemberId,
        ConsumerGroupError::FencedMemberEpoch { .. } => ErrorCode::FencedMemberEpoch,
        ConsumerGroupError::StaleMemberEpoch { .. } => ErrorCode::StaleMemberEpoch,
        ConsumerGroupError::UnreleasedInstance => ErrorCode::UnreleasedInstanceId,
        ConsumerGroupError::FencedInstance => ErrorCode::FencedInstanceId,
        ConsumerGroupError::UnsupportedAssignor => ErrorCode::UnsupportedAssignor,
        ConsumerGroupError::InvalidRequest(_) => ErrorCode::InvalidRequest,
        ConsumerGroupError::GroupFull => ErrorCode::GroupMaxSizeReached,
        ConsumerGroupError::InvalidPattern(_) => ErrorCode::InvalidRegularExpression,
    }
}

/// The code for a producer id that could not be had. Producers take "still loading" as "ask again", while
/// `NOT_CONTROLLER` would be the end of them.
pub(super) const fn producer_id_error(error: &ControlError) -> ErrorCode {
    match error {
        ControlError::Stopping => ErrorCode::CoordinatorLoadInProgress,
        other => control_error(other),
    }
}

/// The code for a name or configuration that is not legal.
pub(super) const fn topic_error(error: &TopicError) -> ErrorCode {
    match error {
        TopicError::Name(_) => ErrorCode::InvalidTopicException,
        TopicError::UnknownKey(_) | TopicError::Value { .. } | TopicError::Lags { .. } => {
            ErrorCode::InvalidConfig
        }
    }
}

/// Whether the epoch a client believes in is not the log's. Negative means the client has no belief.
pub(super) fn fence(client: i32, leader: LeaderEpoch) -> Option<ErrorCode> {
    let client = u32::try_from(client).ok()?;
    match client.cmp(&leader.get()) {
        std::cmp::Ordering::Less => Some(ErrorCode::FencedLeaderEpoch),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(ErrorCode::UnknownLeaderEpoch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_retried_and_mistakes_are_not() {
        assert!(
            batch_error(KafkaBatchError::Checksum {
                expected: 1,
                found: 2
            })
            .is_retriable()
        );
        assert!(batch_error(KafkaBatchError::TooShort { found: 60 }).is_retriable());
        for mistake in [
            KafkaBatchError::Truncated { needed: 61, found: 0 },
            KafkaBatchError::MoreThanOneBatch { extra: 1 },
            KafkaBatchError::Magic { found: 1 },
            KafkaBatchError::Control,
            KafkaBatchError::RecordCount { found: 0 },
        ] {
            assert_eq!(batch_error(mistake), ErrorCode::InvalidRecord, "{mistake}");
        }
        assert_eq!(
            batch_error(KafkaBatchError::UnknownCompression { id: 5 }),
            ErrorCode::UnsupportedCompressionType
        );
    }

    #[test]
    fn a_full_disk_is_retried_and_sequence_faults_are_not() {
        assert!(produce_error(ProduceError::DiskFull).is_retriable());
        assert_eq!(produce_error(ProduceError::OutOfOrderSequence).code(), 45);
        assert_eq!(produce_error(ProduceError::InvalidProducerEpoch).code(), 47);
        assert_eq!(produce_error(ProduceError::UnknownPartition).code(), 3);
    }

    #[test]
    fn reads_outside_the_log_make_consumers_reset_and_damage_does_not() {
        assert_eq!(read_failure(ReadFailure::OutOfRange).code(), 1);
        assert_eq!(read_failure(ReadFailure::Storage).code(), 56);
    }

    #[test]
    fn a_stopping_broker_is_asked_again() {
        assert!(control_error(&ControlError::Stopping).is_retriable());
        assert!(producer_id_error(&ControlError::Stopping).is_retriable());
        assert_eq!(
            control_error(&ControlError::TopicExists("t".to_owned())).code(),
            36
        );
    }

    #[test]
    fn stale_and_future_epochs_are_fenced_and_no_epoch_is_not() {
        let leader = LeaderEpoch::new(5);
        assert_eq!(fence(4, leader), Some(ErrorCode::FencedLeaderEpoch));
        assert_eq!(fence(5, leader), None);
        assert_eq!(fence(6, leader), Some(ErrorCode::UnknownLeaderEpoch));
        assert_eq!(fence(-1, leader), None);
    }
}

//! Kafka's error codes: number, name, whether trying again can help, and a sentence for people.
//!
//! **Promise.** Numbers and names are the protocol's and never change. "Retriable" is what Kafka's own clients
//! take it for: they retry these by themselves, perhaps after asking for metadata, and give up on all others.
//!
//! **Why the messages carry the code as an `i16`.** A peer may send a code newer than this table, and it must
//! survive a round trip; [`ErrorCode::from_wire`] is where a client asks what it knows about it.
//!
//! The mapping from our own errors to these codes belongs to the handlers. Any thread; no state.

macro_rules! error_codes {
    ($($variant:ident $code:literal $name:literal $retry:ident $message:literal;)*) => {
        /// An error code of the Kafka protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = $message] $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The error behind a code from the wire, if it is known here.
            #[must_use]
            pub const fn from_wire(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The code on the wire.
            #[must_use]
            pub const fn code(self) -> i16 {
                // The discriminants are the codes.
                self as i16
            }

            /// The name people search for, such as `OUT_OF_ORDER_SEQUENCE_NUMBER`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Whether clients try again by themselves.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$variant => error_codes!(@$retry),)*
                }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)*
                }
            }
        }
    };
    (@retry) => { true };
    (@fatal) => { false };
}

error_codes! {
    UnknownServerError -1 "UNKNOWN_SERVER_ERROR" fatal "The broker failed in a way it has no code for.";
    None 0 "NONE" fatal "No error.";
    OffsetOutOfRange 1 "OFFSET_OUT_OF_RANGE" fatal "The offset lies outside the log.";
    CorruptMessage 2 "CORRUPT_MESSAGE" retry "The batch is damaged: its checksum or its size is wrong.";
    UnknownTopicOrPartition 3 "UNKNOWN_TOPIC_OR_PARTITION" retry "No such topic or partition on this broker.";
    InvalidFetchSize 4 "INVALID_FETCH_SIZE" fatal "The fetch size makes no sense.";
    LeaderNotAvailable 5 "LEADER_NOT_AVAILABLE" retry "The partition has no leader at the moment.";
    NotLeaderOrFollower 6 "NOT_LEADER_OR_FOLLOWER" retry "This broker does not lead the partition, or does not hold it.";
    RequestTimedOut 7 "REQUEST_TIMED_OUT" retry "The request took longer than it was given.";
    BrokerNotAvailable 8 "BROKER_NOT_AVAILABLE" fatal "The broker cannot be reached.";
    ReplicaNotAvailable 9 "REPLICA_NOT_AVAILABLE" retry "The replica cannot serve this partition now.";
    MessageTooLarge 10 "MESSAGE_TOO_LARGE" fatal "The batch is larger than the topic allows.";
    StaleControllerEpoch 11 "STALE_CONTROLLER_EPOCH" fatal "The controller has been replaced.";
    OffsetMetadataTooLarge 12 "OFFSET_METADATA_TOO_LARGE" fatal "The note attached to the committed offset is too long.";
    NetworkException 13 "NETWORK_EXCEPTION" retry "The connection broke before the answer came.";
    CoordinatorLoadInProgress 14 "COORDINATOR_LOAD_IN_PROGRESS" retry "The coordinator is still loading its state.";
    CoordinatorNotAvailable 15 "COORDINATOR_NOT_AVAILABLE" retry "There is no coordinator at the moment.";
    NotCoordinator 16 "NOT_COORDINATOR" retry "Another broker coordinates this group or transaction.";
    InvalidTopicException 17 "INVALID_TOPIC_EXCEPTION" fatal "The topic's name is not allowed, or the topic may not be used this way.";
    RecordListTooLarge 18 "RECORD_LIST_TOO_LARGE" fatal "The batch is larger than a segment.";
    NotEnoughReplicas 19 "NOT_ENOUGH_REPLICAS" retry "Too few replicas are in sync; nothing was written.";
    NotEnoughReplicasAfterAppend 20 "NOT_ENOUGH_REPLICAS_AFTER_APPEND" retry "Written, but on fewer replicas than asked for.";
    InvalidRequiredAcks 21 "INVALID_REQUIRED_ACKS" fatal "acks must be -1, 0 or 1.";
    IllegalGeneration 22 "ILLEGAL_GENERATION" fatal "The group has moved on to another generation.";
    InconsistentGroupProtocol 23 "INCONSISTENT_GROUP_PROTOCOL" fatal "The member shares no protocol with the rest of the group.";
    InvalidGroupId 24 "INVALID_GROUP_ID" fatal "The group id is not allowed.";
    UnknownMemberId 25 "UNKNOWN_MEMBER_ID" fatal "The group does not know this member.";
    InvalidSessionTimeout 26 "INVALID_SESSION_TIMEOUT" fatal "The session timeout is outside the broker's limits.";
    RebalanceInProgress 27 "REBALANCE_IN_PROGRESS" fatal "The group is being rebalanced; join again.";
    InvalidCommitOffsetSize 28 "INVALID_COMMIT_OFFSET_SIZE" fatal "The commit is too large.";
    TopicAuthorizationFailed 29 "TOPIC_AUTHORIZATION_FAILED" fatal "Not allowed on this topic.";
    GroupAuthorizationFailed 30 "GROUP_AUTHORIZATION_FAILED" fatal "Not allowed on this group.";
    ClusterAuthorizationFailed 31 "CLUSTER_AUTHORIZATION_FAILED" fatal "Not allowed on this cluster.";
    InvalidTimestamp 32 "INVALID_TIMESTAMP" fatal "A record's timestamp is outside what the topic accepts.";
    UnsupportedSaslMechanism 33 "UNSUPPORTED_SASL_MECHANISM" fatal "The broker does not offer this SASL mechanism.";
    IllegalSaslState 34 "ILLEGAL_SASL_STATE" fatal "This request does not belong here in the SASL exchange.";
    UnsupportedVersion 35 "UNSUPPORTED_VERSION" fatal "The broker does not speak this version of the API.";
    TopicAlreadyExists 36 "TOPIC_ALREADY_EXISTS" fatal "There is a topic of this name already.";
    InvalidPartitions 37 "INVALID_PARTITIONS" fatal "The number of partitions is not possible.";
    InvalidReplicationFactor 38 "INVALID_REPLICATION_FACTOR" fatal "The number of replicas is below 1 or above the number of brokers.";
    InvalidReplicaAssignment 39 "INVALID_REPLICA_ASSIGNMENT" fatal "The replicas cannot be placed as asked.";
    InvalidConfig 40 "INVALID_CONFIG" fatal "The configuration is not valid.";
    NotController 41 "NOT_CONTROLLER" retry "Another broker is the controller.";
    InvalidRequest 42 "INVALID_REQUEST" fatal "The request contradicts itself or the protocol.";
    UnsupportedForMessageFormat 43 "UNSUPPORTED_FOR_MESSAGE_FORMAT" fatal "The topic's record format cannot do this.";
    PolicyViolation 44 "POLICY_VIOLATION" fatal "A policy of this cluster forbids it.";
    OutOfOrderSequenceNumber 45 "OUT_OF_ORDER_SEQUENCE_NUMBER" fatal "The batch does not follow the producer's last one.";
    DuplicateSequenceNumber 46 "DUPLICATE_SEQUENCE_NUMBER" fatal "The batch was written before.";
    InvalidProducerEpoch 47 "INVALID_PRODUCER_EPOCH" fatal "The producer's epoch is over.";
    InvalidTxnState 48 "INVALID_TXN_STATE" fatal "The transaction is not in a state that allows this.";
    InvalidProducerIdMapping 49 "INVALID_PRODUCER_ID_MAPPING" fatal "The producer id does not belong to this transactional id.";
    InvalidTransactionTimeout 50 "INVALID_TRANSACTION_TIMEOUT" fatal "The transaction timeout is above the broker's limit.";
    ConcurrentTransactions 51 "CONCURRENT_TRANSACTIONS" fatal "Another change to this transaction is still going on.";
    TransactionCoordinatorFenced 52 "TRANSACTION_COORDINATOR_FENCED" fatal "This transaction coordinator has been replaced.";
    TransactionalIdAuthorizationFailed 53 "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" fatal "Not allowed to use this transactional id.";
    SecurityDisabled 54 "SECURITY_DISABLED" fatal "Security is switched off here.";
    OperationNotAttempted 55 "OPERATION_NOT_ATTEMPTED" fatal "Not tried, because something before it failed.";
    KafkaStorageError 56 "KAFKA_STORAGE_ERROR" retry "The disk failed under this log.";
    LogDirNotFound 57 "LOG_DIR_NOT_FOUND" fatal "The broker has no such log directory.";
    SaslAuthenticationFailed 58 "SASL_AUTHENTICATION_FAILED" fatal "The credentials were refused.";
    UnknownProducerId 59 "UNKNOWN_PRODUCER_ID" fatal "Nothing is known of this producer any more.";
    ReassignmentInProgress 60 "REASSIGNMENT_IN_PROGRESS" fatal "The partition is being moved.";
    DelegationTokenAuthDisabled 61 "DELEGATION_TOKEN_AUTH_DISABLED" fatal "Delegation tokens are switched off.";
    DelegationTokenNotFound 62 "DELEGATION_TOKEN_NOT_FOUND" fatal "No such delegation token.";
    DelegationTokenOwnerMismatch 63 "DELEGATION_TOKEN_OWNER_MISMATCH" fatal "The token belongs to someone else.";
    DelegationTokenRequestNotAllowed 64 "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" fatal "Tokens cannot be asked for on this kind of connection.";
    DelegationTokenAuthorizationFailed 65 "DELEGATION_TOKEN_AUTHORIZATION_FAILED" fatal "Not allowed on this delegation token.";
    DelegationTokenExpired 66 "DELEGATION_TOKEN_EXPIRED" fatal "The delegation token has expired.";
    InvalidPrincipalType 67 "INVALID_PRINCIPAL_TYPE" fatal "This type of principal is not known.";
    NonEmptyGroup 68 "NON_EMPTY_GROUP" fatal "The group still has members.";
    GroupIdNotFound 69 "GROUP_ID_NOT_FOUND" fatal "No such group.";
    FetchSessionIdNotFound 70 "FETCH_SESSION_ID_NOT_FOUND" retry "No such fetch session; start a new one.";
    InvalidFetchSessionEpoch 71 "INVALID_FETCH_SESSION_EPOCH" retry "The request does not follow the last one of its fetch session.";
    ListenerNotFound 72 "LISTENER_NOT_FOUND" retry "The leader has no listener like the one this came in by.";
    TopicDeletionDisabled 73 "TOPIC_DELETION_DISABLED" fatal "Topics cannot be deleted here.";
    FencedLeaderEpoch 74 "FENCED_LEADER_EPOCH" retry "The client's leader epoch is older than the broker's.";
    UnknownLeaderEpoch 75 "UNKNOWN_LEADER_EPOCH" retry "The client's leader epoch is newer than the broker's.";
    UnsupportedCompressionType 76 "UNSUPPORTED_COMPRESSION_TYPE" fatal "This version of the API cannot carry that compression.";
    StaleBrokerEpoch 77 "STALE_BROKER_EPOCH" fatal "The broker has registered again since.";
    OffsetNotAvailable 78 "OFFSET_NOT_AVAILABLE" retry "The new leader does not know its high watermark yet.";
    MemberIdRequired 79 "MEMBER_ID_REQUIRED" fatal "Join again with the member id given here.";
    PreferredLeaderNotAvailable 80 "PREFERRED_LEADER_NOT_AVAILABLE" retry "The preferred leader is down.";
    GroupMaxSizeReached 81 "GROUP_MAX_SIZE_REACHED" fatal "The group is full.";
    FencedInstanceId 82 "FENCED_INSTANCE_ID" fatal "Another member has taken over this instance id.";
    EligibleLeadersNotAvailable 83 "ELIGIBLE_LEADERS_NOT_AVAILABLE" retry "No replica may become leader now.";
    ElectionNotNeeded 84 "ELECTION_NOT_NEEDED" retry "The partition has the leader it should have.";
    NoReassignmentInProgress 85 "NO_REASSIGNMENT_IN_PROGRESS" fatal "The partition is not being moved.";
    GroupSubscribedToTopic 86 "GROUP_SUBSCRIBED_TO_TOPIC" fatal "The group still reads this topic.";
    InvalidRecord 87 "INVALID_RECORD" fatal "The batch or one of its records breaks a rule.";
    UnstableOffsetCommit 88 "UNSTABLE_OFFSET_COMMIT" retry "A transaction has yet to decide on these offsets.";
    ThrottlingQuotaExceeded 89 "THROTTLING_QUOTA_EXCEEDED" retry "A quota is used up; wait.";
    ProducerFenced 90 "PRODUCER_FENCED" fatal "A newer producer has taken over this transactional id.";
    ResourceNotFound 91 "RESOURCE_NOT_FOUND" fatal "No such resource.";
    DuplicateResource 92 "DUPLICATE_RESOURCE" fatal "The resource is named twice.";
    UnacceptableCredential 93 "UNACCEPTABLE_CREDENTIAL" fatal "The credential is too weak or not allowed.";
    InconsistentVoterSet 94 "INCONSISTENT_VOTER_SET" fatal "One side of this request is not a voter.";
    InvalidUpdateVersion 95 "INVALID_UPDATE_VERSION" fatal "The update carries an impossible version.";
    FeatureUpdateFailed 96 "FEATURE_UPDATE_FAILED" fatal "The features could not be changed.";
    PrincipalDeserializationFailure 97 "PRINCIPAL_DESERIALIZATION_FAILURE" fatal "A forwarded principal could not be read.";
    SnapshotNotFound 98 "SNAPSHOT_NOT_FOUND" fatal "No such snapshot.";
    PositionOutOfRange 99 "POSITION_OUT_OF_RANGE" fatal "The position lies outside the snapshot.";
    UnknownTopicId 100 "UNKNOWN_TOPIC_ID" retry "No topic has this id here.";
    DuplicateBrokerRegistration 101 "DUPLICATE_BROKER_REGISTRATION" fatal "This node id is taken.";
    BrokerIdNotRegistered 102 "BROKER_ID_NOT_REGISTERED" fatal "This node id is not registered.";
    InconsistentTopicId 103 "INCONSISTENT_TOPIC_ID" retry "The log belongs to another incarnation of the topic.";
    InconsistentClusterId 104 "INCONSISTENT_CLUSTER_ID" fatal "The request is meant for another cluster.";
    TransactionalIdNotFound 105 "TRANSACTIONAL_ID_NOT_FOUND" fatal "No such transactional id.";
    FetchSessionTopicIdError 106 "FETCH_SESSION_TOPIC_ID_ERROR" retry "The fetch session mixes topics with and without ids.";
    IneligibleReplica 107 "INELIGIBLE_REPLICA" fatal "A replica may not be in the in-sync set.";
    NewLeaderElected 108 "NEW_LEADER_ELECTED" fatal "The change was made, and it changed the leader.";
    OffsetMovedToTieredStorage 109 "OFFSET_MOVED_TO_TIERED_STORAGE" fatal "The offset is in remote storage only.";
    FencedMemberEpoch 110 "FENCED_MEMBER_EPOCH" fatal "The member's epoch is over; give up everything and join again.";
    UnreleasedInstanceId 111 "UNRELEASED_INSTANCE_ID" fatal "The instance id is still in use.";
    UnsupportedAssignor 112 "UNSUPPORTED_ASSIGNOR" fatal "The group does not support this assignor.";
    StaleMemberEpoch 113 "STALE_MEMBER_EPOCH" fatal "The member's epoch is behind; heartbeat first.";
    MismatchedEndpointType 114 "MISMATCHED_ENDPOINT_TYPE" fatal "The request came to the wrong kind of endpoint.";
    UnsupportedEndpointType 115 "UNSUPPORTED_ENDPOINT_TYPE" fatal "This kind of endpoint does not exist here.";
    UnknownControllerId 116 "UNKNOWN_CONTROLLER_ID" fatal "No such controller.";
    UnknownSubscriptionId 117 "UNKNOWN_SUBSCRIPTION_ID" fatal "The telemetry subscription is unknown or old.";
    TelemetryTooLarge 118 "TELEMETRY_TOO_LARGE" fatal "The telemetry is more than the broker takes.";
    InvalidRegistration 119 "INVALID_REGISTRATION" fatal "The broker's registration was refused.";
    TransactionAbortable 120 "TRANSACTION_ABORTABLE" fatal "The transaction failed; abort it and go on.";
    InvalidRecordState 121 "INVALID_RECORD_STATE" fatal "The record is not in a state that can be acknowledged.";
    ShareSessionNotFound 122 "SHARE_SESSION_NOT_FOUND" retry "No such share session; start a new one.";
    InvalidShareSessionEpoch 123 "INVALID_SHARE_SESSION_EPOCH" retry "The request does not follow the last one of its share session.";
    FencedStateEpoch 124 "FENCED_STATE_EPOCH" fatal "The share group's state has moved on.";
    InvalidVoterKey 125 "INVALID_VOTER_KEY" fatal "The voter's key does not match.";
    DuplicateVoter 126 "DUPLICATE_VOTER" fatal "The node is a voter already.";
    VoterNotFound 127 "VOTER_NOT_FOUND" fatal "The node is no voter.";
    InvalidRegularExpression 128 "INVALID_REGULAR_EXPRESSION" fatal "The regular expression does not parse.";
    RebootstrapRequired 129 "REBOOTSTRAP_REQUIRED" fatal "Start over from the bootstrap addresses.";
    StreamsInvalidTopology 130 "STREAMS_INVALID_TOPOLOGY" fatal "The streams topology is not valid.";
    StreamsInvalidTopologyEpoch 131 "STREAMS_INVALID_TOPOLOGY_EPOCH" fatal "The streams topology's epoch is not valid.";
    StreamsTopologyFenced 132 "STREAMS_TOPOLOGY_FENCED" fatal "The streams topology has been replaced.";
    ShareSessionLimitReached 133 "SHARE_SESSION_LIMIT_REACHED" retry "The broker holds as many share sessions as it will.";
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> Self {
        error.code()
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code(), self.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dense_and_survive_the_round_trip() {
        for (&error, code) in ErrorCode::ALL.iter().zip(-1..) {
            assert_eq!(error.code(), code);
            assert_eq!(ErrorCode::from_wire(code), Some(error));
        }
        assert_eq!(ErrorCode::from_wire(134), None);
        assert_eq!(ErrorCode::from_wire(-2), None);
    }

    #[test]
    fn names_are_the_variants_in_capitals() {
        for error in ErrorCode::ALL {
            let squeezed: String = error.name().split('_').collect();
            assert_eq!(squeezed, format!("{error:?}").to_uppercase());
        }
    }
}

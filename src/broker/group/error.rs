//! Why a coordinator refuses, in the broker's own words.
//!
//! One list for classic groups, offsets and administration, because a client hears the same refusals from all of them. The
//! door of each protocol turns them into its codes. Facts only: nothing here says what a client should do.

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum GroupError {
    /// The group's partition is still being read.
    #[error("the coordinator is loading")]
    Loading,
    /// The group cannot be served: its partition is damaged, the broker stops, or memory is used up.
    #[error("the coordinator is not available")]
    NotAvailable,
    /// This core does not coordinate the group (any more).
    #[error("not the coordinator of this group")]
    NotCoordinator,
    /// The group id is empty where it must not be.
    #[error("the group id is not valid")]
    InvalidGroupId,
    /// No member of that id.
    #[error("the member is not known")]
    UnknownMember,
    /// The generation is not the group's.
    #[error("the generation is not the group's")]
    IllegalGeneration,
    /// No protocol that all members support, or another type than the group's.
    #[error("the protocols do not fit those of the group")]
    InconsistentProtocol,
    /// Outside the bounds of the configuration.
    #[error("the session timeout is out of bounds")]
    InvalidSessionTimeout,
    /// The group is between two generations.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// A new member must join again with the id it was given (KIP-394).
    #[error("the member must join with the id it was given")]
    MemberIdRequired,
    /// The group has as many members, or bytes, as it may.
    #[error("the group is full")]
    GroupFull,
    /// Another member took over this static member's place (KIP-345).
    #[error("another member took over this instance")]
    FencedInstance,
    /// The group has members.
    #[error("the group is not empty")]
    NonEmpty,
    /// No group of that id.
    #[error("the group is not known")]
    UnknownGroup,
    /// A member of the group subscribes the topic.
    #[error("the group subscribes the topic")]
    SubscribedToTopic,
    /// The topic or partition of the offset is not there (any more).
    #[error("the topic or partition is not known")]
    UnknownTopic,
    /// The metadata of a committed offset is too long.
    #[error("the metadata of the offset is too long")]
    OffsetMetadataTooLarge,
    /// More in one request than one write takes.
    #[error("the request is too large")]
    TooLarge,
    /// The member's epoch is older than the group's view of it (KIP-848).
    #[error("the member epoch is stale")]
    StaleMemberEpoch,
    /// The member's epoch is not one it can have (KIP-848).
    #[error("the member epoch is fenced")]
    FencedMemberEpoch,
    /// Members and assignments together are larger than a record may be.
    #[error("members and assignments do not fit one record")]
    RecordTooLarge,
}

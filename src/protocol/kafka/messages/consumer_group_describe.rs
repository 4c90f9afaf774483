//! ConsumerGroupDescribe: the state and members of groups of the newer protocol (KIP-848).

use super::{AUTHORIZED_OPERATIONS_UNKNOWN, rpc, wire_struct};
use crate::base::TopicId;

/// The member's type is not known.
pub const MEMBER_TYPE_UNKNOWN: i8 = -1;
/// The member speaks the classic protocol.
pub const MEMBER_TYPE_CLASSIC: i8 = 0;
/// The member speaks the newer protocol.
pub const MEMBER_TYPE_CONSUMER: i8 = 1;

wire_struct! {
    /// How are these groups?
    ConsumerGroupDescribeRequest<'a> {
        /// The groups.
        group_ids: Vec<&'a str> => 0..;
        /// Whether to say what the client may do to them.
        include_authorized_operations: bool => 0..;
    }
}

wire_struct! {
    /// The groups.
    ConsumerGroupDescribeResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// By group.
        groups: Vec<DescribedConsumerGroup<'a>> => 0..;
    }
}

wire_struct! {
    /// One group.
    DescribedConsumerGroup<'a> {
        /// 0, or why it cannot be described.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 0.., null 0..;
        /// The group.
        group_id: &'a str => 0..;
        /// Its state, such as `Stable`.
        group_state: &'a str => 0..;
        /// Its epoch.
        group_epoch: i32 => 0..;
        /// The epoch of its assignment.
        assignment_epoch: i32 => 0..;
        /// The assignor chosen.
        assignor_name: &'a str => 0..;
        /// Its members.
        members: Vec<DescribedConsumerMember<'a>> => 0..;
        /// What the client may do to it, one bit per operation.
        authorized_operations: i32 => 0.., default AUTHORIZED_OPERATIONS_UNKNOWN;
    }
}

wire_struct! {
    /// One member.
    DescribedConsumerMember<'a> {
        /// The member.
        member_id: &'a str => 0..;
        /// Its name, if it is static.
        instance_id: Option<&'a str> => 0.., null 0..;
        /// Its rack.
        rack_id: Option<&'a str> => 0.., null 0..;
        /// Its epoch.
        member_epoch: i32 => 0..;
        /// What its client calls itself.
        client_id: &'a str => 0..;
        /// Where its client is.
        client_host: &'a str => 0..;
        /// Topics it wants, by name.
        subscribed_topic_names: Vec<&'a str> => 0..;
        /// Topics it wants, by regular expression.
        subscribed_topic_regex: Option<&'a str> => 0.., null 0..;
        /// What it owns.
        assignment: DescribedAssignment<'a> => 0..;
        /// What it shall own.
        target_assignment: DescribedAssignment<'a> => 0..;
        /// Which protocol it speaks.
        member_type: i8 => 1.., default MEMBER_TYPE_UNKNOWN;
    }
}

wire_struct! {
    /// Partitions of a member.
    DescribedAssignment<'a> {
        /// By topic.
        topic_partitions: Vec<DescribedTopicPartitions<'a>> => 0..;
    }
}

wire_struct! {
    /// Partitions of one topic.
    DescribedTopicPartitions<'a> {
        /// The topic's id.
        topic_id: TopicId => 0.., default TopicId::NIL;
        /// The topic's name.
        topic_name: &'a str => 0..;
        /// The partitions.
        partitions: Vec<i32> => 0..;
    }
}

rpc!(ConsumerGroupDescribe: <'a> ConsumerGroupDescribeRequest<'a> => <'r> ConsumerGroupDescribeResponse<'r>);

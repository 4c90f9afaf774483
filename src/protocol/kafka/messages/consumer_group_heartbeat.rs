//! ConsumerGroupHeartbeat: the whole of membership in a group of the newer protocol (KIP-848).
//!
//! A null field has not changed since the member's last heartbeat. Version 1 added the regular expression and
//! member ids made by the client.

use super::{rpc, wire_struct};
use crate::base::TopicId;

wire_struct! {
    /// I am here; this has changed.
    ConsumerGroupHeartbeatRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The member; empty for a new one, in version 0 only.
        member_id: &'a str => 0..;
        /// The epoch it knows; 0 to join, -1 to leave, -2 to leave for a while (static members).
        member_epoch: i32 => 0..;
        /// Its name, if it is static.
        instance_id: Option<&'a str> => 0.., null 0..;
        /// Its rack.
        rack_id: Option<&'a str> => 0.., null 0..;
        /// How long it may take to give up partitions, in ms; -1 if unchanged.
        rebalance_timeout_ms: i32 => 0.., default -1;
        /// Topics it wants, by name.
        subscribed_topic_names: Option<Vec<&'a str>> => 0.., null 0..;
        /// Topics it wants, by regular expression.
        subscribed_topic_regex: Option<&'a str> => 1.., null 1..;
        /// The assignor it asks for.
        server_assignor: Option<&'a str> => 0.., null 0..;
        /// The partitions it owns.
        topic_partitions: Option<Vec<ConsumerGroupTopicPartitions>> => 0.., null 0..;
    }
}

wire_struct! {
    /// Partitions of one topic.
    ConsumerGroupTopicPartitions {
        /// The topic.
        topic_id: TopicId => 0.., default TopicId::NIL;
        /// The partitions.
        partitions: Vec<i32> => 0..;
    }
}

wire_struct! {
    /// What the member is to do.
    ConsumerGroupHeartbeatResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// 0, or what is wrong.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 0.., null 0..;
        /// The member.
        member_id: Option<&'a str> => 0.., null 0..;
        /// Its epoch.
        member_epoch: i32 => 0..;
        /// When to send the next one, in ms.
        heartbeat_interval_ms: i32 => 0..;
        /// What it shall own; null if unchanged.
        assignment: Option<ConsumerGroupAssignment> => 0.., null 0..;
    }
}

wire_struct! {
    /// What a member shall own.
    ConsumerGroupAssignment {
        /// By topic.
        topic_partitions: Vec<ConsumerGroupTopicPartitions> => 0..;
    }
}

rpc!(ConsumerGroupHeartbeat: <'a> ConsumerGroupHeartbeatRequest<'a> => <'r> ConsumerGroupHeartbeatResponse<'r>);

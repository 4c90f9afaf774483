//! OffsetCommit: a group's positions, to be kept.
//!
//! Topics are named until version 9 and known by their ids from version 10 on. A member of a group of the newer
//! protocol gives its epoch where older ones give their generation.

use super::{rpc, wire_struct};
use crate::base::TopicId;

wire_struct! {
    /// Keep these positions.
    OffsetCommitRequest<'a> {
        /// The group.
        group_id: &'a str => 2..;
        /// The generation of the group or the epoch of the member; -1 from somebody who is no member.
        generation_id_or_member_epoch: i32 => 2.., default -1;
        /// The member, empty from somebody who is none.
        member_id: &'a str => 2..;
        /// The name of a static member.
        group_instance_id: Option<&'a str> => 7.., null 7..;
        /// How long to keep the positions, in ms; -1 for as long as the broker likes.
        retention_time_ms: i64 => 2..=4, default -1;
        /// By topic.
        topics: Vec<OffsetCommitRequestTopic<'a>> => 2..;
    }
}

wire_struct! {
    /// Positions in one topic.
    OffsetCommitRequestTopic<'a> {
        /// Its name.
        name: &'a str => 2..=9;
        /// Its id.
        topic_id: TopicId => 10.., default TopicId::NIL;
        /// By partition.
        partitions: Vec<OffsetCommitRequestPartition<'a>> => 2..;
    }
}

wire_struct! {
    /// The position in one partition.
    OffsetCommitRequestPartition<'a> {
        /// The partition.
        partition_index: i32 => 2..;
        /// The next offset to read.
        committed_offset: i64 => 2..;
        /// Leader epoch of the last record read, -1 if unknown.
        committed_leader_epoch: i32 => 6.., default -1;
        /// A note of the client's own.
        committed_metadata: Option<&'a str> => 2.., null 2..;
    }
}

wire_struct! {
    /// What was kept.
    OffsetCommitResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 3..;
        /// By topic.
        topics: Vec<OffsetCommitResponseTopic<'a>> => 2..;
    }
}

wire_struct! {
    /// What was kept of one topic.
    OffsetCommitResponseTopic<'a> {
        /// Its name.
        name: &'a str => 2..=9;
        /// Its id.
        topic_id: TopicId => 10.., default TopicId::NIL;
        /// By partition.
        partitions: Vec<OffsetCommitResponsePartition> => 2..;
    }
}

wire_struct! {
    /// Whether one position was kept.
    OffsetCommitResponsePartition {
        /// The partition.
        partition_index: i32 => 2..;
        /// 0, or why not.
        error_code: i16 => 2..;
    }
}

rpc!(OffsetCommit: <'a> OffsetCommitRequest<'a> => <'r> OffsetCommitResponse<'r>);

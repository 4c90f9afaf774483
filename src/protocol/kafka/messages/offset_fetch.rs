//! OffsetFetch: the positions a group committed.
//!
//! One group until version 7, several from version 8 on; the two forms share the types of their topics. Topics are
//! named until version 9 and known by their ids from version 10 on.

use super::{rpc, wire_struct};
use crate::base::TopicId;

wire_struct! {
    /// Where did these groups stop?
    OffsetFetchRequest<'a> {
        /// The group.
        group_id: &'a str => 1..=7;
        /// Its topics; null is all that have a position.
        topics: Option<Vec<OffsetFetchRequestTopic<'a>>> => 1..=7, null 2..=7;
        /// The groups.
        groups: Vec<OffsetFetchRequestGroup<'a>> => 8..;
        /// Whether a position that a transaction has yet to decide on is an error.
        require_stable: bool => 7..;
    }
}

wire_struct! {
    /// One group.
    OffsetFetchRequestGroup<'a> {
        /// The group.
        group_id: &'a str => 8..;
        /// The member that asks, of a group of the newer protocol.
        member_id: Option<&'a str> => 9.., null 9..;
        /// Its epoch, -1 for none.
        member_epoch: i32 => 9.., default -1;
        /// Its topics; null is all that have a position.
        topics: Option<Vec<OffsetFetchRequestTopic<'a>>> => 8.., null 8..;
    }
}

wire_struct! {
    /// Partitions of one topic.
    OffsetFetchRequestTopic<'a> {
        /// Its name.
        name: &'a str => 1..=9;
        /// Its id.
        topic_id: TopicId => 10.., default TopicId::NIL;
        /// The partitions.
        partition_indexes: Vec<i32> => 1..;
    }
}

wire_struct! {
    /// The positions.
    OffsetFetchResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 3..;
        /// By topic.
        topics: Vec<OffsetFetchResponseTopic<'a>> => 1..=7;
        /// An error of the group.
        error_code: i16 => 2..=7;
        /// By group.
        groups: Vec<OffsetFetchResponseGroup<'a>> => 8..;
    }
}

wire_struct! {
    /// Positions of one group.
    OffsetFetchResponseGroup<'a> {
        /// The group.
        group_id: &'a str => 8..;
        /// By topic.
        topics: Vec<OffsetFetchResponseTopic<'a>> => 8..;
        /// An error of the group.
        error_code: i16 => 8..;
    }
}

wire_struct! {
    /// Positions in one topic.
    OffsetFetchResponseTopic<'a> {
        /// Its name.
        name: &'a str => 1..=9;
        /// Its id.
        topic_id: TopicId => 10.., default TopicId::NIL;
        /// By partition.
        partitions: Vec<OffsetFetchResponsePartition<'a>> => 1..;
    }
}

wire_struct! {
    /// The position in one partition.
    OffsetFetchResponsePartition<'a> {
        /// The partition.
        partition_index: i32 => 1..;
        /// The next offset to read, -1 for none committed.
        committed_offset: i64 => 1..;
        /// Leader epoch of the last record read, -1 if unknown.
        committed_leader_epoch: i32 => 5.., default -1;
        /// The client's note.
        metadata: Option<&'a str> => 1.., null 1..;
        /// 0, or why there is no answer.
        error_code: i16 => 1..;
    }
}

rpc!(OffsetFetch: <'a> OffsetFetchRequest<'a> => <'r> OffsetFetchResponse<'r>);

//! OffsetForLeaderEpoch: where did a leader epoch end? How a client finds out that its log was cut.
//!
//! Absent: versions 0 and 1, which no client in use sends.

use super::{rpc, wire_struct};

wire_struct! {
    /// Where did these epochs end?
    OffsetForLeaderEpochRequest<'a> {
        /// Node id of a follower, -1 for a consumer, -2 where the version cannot say.
        replica_id: i32 => 3.., default -2;
        /// By topic.
        topics: Vec<OffsetForLeaderTopic<'a>> => 2..;
    }
}

wire_struct! {
    /// Questions about one topic.
    OffsetForLeaderTopic<'a> {
        /// The topic.
        topic: &'a str => 2..;
        /// By partition.
        partitions: Vec<OffsetForLeaderPartition> => 2..;
    }
}

wire_struct! {
    /// A question about one partition.
    OffsetForLeaderPartition {
        /// The partition.
        partition: i32 => 2..;
        /// The leader epoch the client knows, -1 for none.
        current_leader_epoch: i32 => 2.., default -1;
        /// The epoch in question.
        leader_epoch: i32 => 2..;
    }
}

wire_struct! {
    /// The answers.
    OffsetForLeaderEpochResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 2..;
        /// By topic.
        topics: Vec<OffsetForLeaderTopicResult<'a>> => 2..;
    }
}

wire_struct! {
    /// Answers for one topic.
    OffsetForLeaderTopicResult<'a> {
        /// The topic.
        topic: &'a str => 2..;
        /// By partition.
        partitions: Vec<LeaderEpochEndOffset> => 2..;
    }
}

wire_struct! {
    /// The answer for one partition. Kafka calls it EpochEndOffset, a name Fetch uses for another thing.
    LeaderEpochEndOffset {
        /// 0, or why there is no answer.
        error_code: i16 => 2..;
        /// The partition.
        partition: i32 => 2..;
        /// The largest epoch not above the one asked for, -1 if unknown.
        leader_epoch: i32 => 2.., default -1;
        /// Its end, exclusive; -1 if unknown.
        end_offset: i64 => 2.., default -1;
    }
}

rpc!(OffsetForLeaderEpoch: <'a> OffsetForLeaderEpochRequest<'a> => <'r> OffsetForLeaderEpochResponse<'r>);

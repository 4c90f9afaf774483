//! Fetch: record batches out. The hottest encode of the broker.
//!
//! **Cost.** Record chunks are handed over by value ([`Records`]) and, when big, become part of the output
//! without a copy. No records are length 0, never null.
//!
//! From version 7 on a request may belong to a session; answering `session_id` 0 declines. Topics are named until
//! version 12 and known by their ids from version 13 on. Absent: what a follower tells its leader (its state, its
//! directory, its high watermark).

use super::{LeaderIdAndEpoch, NodeEndpoint, STAGES_TAG, rpc, wire_struct};
use crate::base::TopicId;
use crate::base::stages::StageTimes;
use crate::protocol::kafka::wire::Records;

wire_struct! {
    /// Send me batches from these offsets on.
    FetchRequest<'a> {
        /// The cluster the client believes in.
        cluster_id: Option<&'a str> => 12.., null 12.., tag 0;
        /// Node id of a follower, -1 for a consumer.
        replica_id: i32 => 4..=14, default -1;
        /// How long to wait for `min_bytes`, in ms.
        max_wait_ms: i32 => 4..;
        /// Answer as soon as this many bytes are there.
        min_bytes: i32 => 4..;
        /// Most bytes to send in all; one batch may exceed it.
        max_bytes: i32 => 4.., default i32::MAX;
        /// 0: everything visible. 1: up to the last stable offset, with the aborted transactions.
        isolation_level: i8 => 4..;
        /// The session, 0 for none.
        session_id: i32 => 7..;
        /// Position in the session: 0 starts one, -1 ends it or has none.
        session_epoch: i32 => 7.., default -1;
        /// What to fetch; in a session, what changed.
        topics: Vec<FetchTopic<'a>> => 4..;
        /// What to drop from the session.
        forgotten_topics_data: Vec<ForgottenTopic<'a>> => 7..;
        /// The consumer's rack, empty if it has none.
        rack_id: &'a str => 11..;
        /// Corelog's own: the newest layout of stage times the client reads, 0 not to be told any.
        stages_layout: i8 => 12.., tag STAGES_TAG;
    }
}

wire_struct! {
    /// What to fetch from one topic.
    FetchTopic<'a> {
        /// The topic's name.
        topic: &'a str => 4..=12;
        /// The topic's id.
        topic_id: TopicId => 13.., default TopicId::NIL;
        /// By partition.
        partitions: Vec<FetchPartition> => 4..;
    }
}

wire_struct! {
    /// What to fetch from one partition.
    FetchPartition {
        /// The partition.
        partition: i32 => 4..;
        /// The leader epoch the client knows, -1 for none.
        current_leader_epoch: i32 => 9.., default -1;
        /// First offset wanted.
        fetch_offset: i64 => 4..;
        /// Epoch of the last record the client has, -1 for none.
        last_fetched_epoch: i32 => 12.., default -1;
        /// A follower's own log start offset; -1 for consumers.
        log_start_offset: i64 => 5.., default -1;
        /// Most bytes from this partition; one batch may exceed it.
        partition_max_bytes: i32 => 4..;
    }
}

wire_struct! {
    /// What to drop from the session.
    ForgottenTopic<'a> {
        /// The topic's name.
        topic: &'a str => 7..=12;
        /// The topic's id.
        topic_id: TopicId => 13.., default TopicId::NIL;
        /// Its partitions.
        partitions: Vec<i32> => 7..;
    }
}

wire_struct! {
    /// The batches.
    FetchResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 4..;
        /// An error for the whole answer: the session's.
        error_code: i16 => 7..;
        /// The session, 0 for none.
        session_id: i32 => 7..;
        /// By topic.
        responses: Vec<FetchableTopicResponse<'a>> => 4..;
        /// Addresses of the leaders named in `current_leader`.
        node_endpoints: Vec<NodeEndpoint<'a>> => 16.., tag 0;
        /// Corelog's own: where the time went, for a client that asked.
        stages: Option<StageTimes> => 12.., tag STAGES_TAG;
    }
}

wire_struct! {
    /// Batches of one topic.
    FetchableTopicResponse<'a> {
        /// The topic's name.
        topic: &'a str => 4..=12;
        /// The topic's id.
        topic_id: TopicId => 13.., default TopicId::NIL;
        /// By partition.
        partitions: Vec<PartitionData<'a>> => 4..;
    }
}

wire_struct! {
    /// Batches of one partition.
    PartitionData<'a> {
        /// The partition.
        partition_index: i32 => 4..;
        /// 0, or why there are no records.
        error_code: i16 => 4..;
        /// All below is durable and visible; -1 with an error.
        high_watermark: i64 => 4..;
        /// All below has decided transactions; -1 if unknown.
        last_stable_offset: i64 => 4.., default -1;
        /// First readable offset; -1 if unknown.
        log_start_offset: i64 => 5.., default -1;
        /// Where the client's log parts from ours, when `last_fetched_epoch` shows that it does.
        diverging_epoch: EpochEndOffset => 12.., tag 0;
        /// Who leads now, when it is not us.
        current_leader: LeaderIdAndEpoch => 12.., tag 1;
        /// The snapshot to load instead; only between controllers.
        snapshot_id: SnapshotId => 12.., tag 2;
        /// Transactions to leave out; null unless committed records were asked for.
        aborted_transactions: Option<Vec<AbortedTransaction>> => 4.., null 4..;
        /// Node id of a replica nearer to the client, -1 for none.
        preferred_read_replica: i32 => 11.., default -1;
        /// The batches, whole ones: the first may begin before the offset asked for.
        records: Records<'a> => 4.., null 4..;
    }
}

wire_struct! {
    /// An epoch and where it ended.
    EpochEndOffset {
        /// The epoch, -1 for none.
        epoch: i32 => 12.., default -1;
        /// Its end, exclusive.
        end_offset: i64 => 12.., default -1;
    }
}

wire_struct! {
    /// A snapshot of the metadata log.
    SnapshotId {
        /// Its end, exclusive.
        end_offset: i64 => 4.., default -1;
        /// Its epoch.
        epoch: i32 => 4.., default -1;
    }
}

wire_struct! {
    /// A transaction whose records do not count.
    AbortedTransaction {
        /// Its producer.
        producer_id: i64 => 4..;
        /// Its first offset.
        first_offset: i64 => 4..;
    }
}

rpc!(Fetch: <'a> FetchRequest<'a> => <'r> FetchResponse<'r>);

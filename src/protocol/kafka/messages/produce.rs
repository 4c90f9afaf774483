//! Produce: record batches in, base offsets out. The hottest decode of the broker.
//!
//! **Cost.** The request borrows everything, record bytes included, and holds its first topic and each topic's
//! first partition in place, so the common request of one partition decodes without an allocation.
//!
//! Versions 0 to 2 (other record formats) are refused. Topics are named until version 12 and known by their ids from
//! version 13 on. `acks = 0` has no response at all.

use smallvec::SmallVec;

use super::{STAGES_TAG, rpc, wire_struct};
use crate::base::TopicId;
use crate::base::stages::StageTimes;

/// Topics of a Produce request; the first needs no allocation.
pub type ProduceTopics<'a> = SmallVec<[TopicProduceData<'a>; 1]>;

/// Partitions of one topic in a Produce request; the first needs no allocation.
pub type ProducePartitions<'a> = SmallVec<[PartitionProduceData<'a>; 1]>;

wire_struct! {
    /// Append these batches.
    ProduceRequest<'a> {
        /// The transaction, if this is one.
        transactional_id: Option<&'a str> => 3.., null 3..;
        /// 0: do not answer. 1 and -1: answer when durable here, on all replicas in sync.
        acks: i16 => 3..;
        /// How long to wait for replicas, in ms.
        timeout_ms: i32 => 3..;
        /// The batches by topic.
        topic_data: ProduceTopics<'a> => 3..;
        /// Corelog's own: the newest layout of stage times the client reads, 0 not to be told any.
        stages_layout: i8 => 9.., tag STAGES_TAG;
    }
}

wire_struct! {
    /// Batches for one topic.
    TopicProduceData<'a> {
        /// The topic's name.
        name: &'a str => 3..=12;
        /// The topic's id.
        topic_id: TopicId => 13.., default TopicId::NIL;
        /// The batches by partition.
        partition_data: ProducePartitions<'a> => 3..;
    }
}

wire_struct! {
    /// Batches for one partition.
    PartitionProduceData<'a> {
        /// The partition.
        index: i32 => 3..;
        /// The batches as sent. Null and empty are the producer's mistake, for the handler to refuse.
        records: Option<&'a [u8]> => 3.., null 3..;
    }
}

wire_struct! {
    /// Where the batches went.
    ProduceResponse<'a> {
        /// By topic.
        responses: Vec<TopicProduceResponse<'a>> => 3..;
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 3..;
        /// Addresses of the leaders named in `current_leader`.
        node_endpoints: Vec<NodeEndpoint<'a>> => 10.., tag 0;
        /// Corelog's own: where the time went, for a client that asked.
        stages: Option<StageTimes> => 9.., tag STAGES_TAG;
    }
}

wire_struct! {
    /// Outcome for one topic.
    TopicProduceResponse<'a> {
        /// The topic's name.
        name: &'a str => 3..=12;
        /// The topic's id.
        topic_id: TopicId => 13.., default TopicId::NIL;
        /// By partition.
        partition_responses: Vec<PartitionProduceResponse<'a>> => 3..;
    }
}

wire_struct! {
    /// Outcome for one partition.
    PartitionProduceResponse<'a> {
        /// The partition.
        index: i32 => 3..;
        /// 0, or why nothing was appended.
        error_code: i16 => 3..;
        /// Offset of the first record.
        base_offset: i64 => 3..;
        /// The broker's time stamp in ms if the topic uses it, else -1.
        log_append_time_ms: i64 => 3.., default -1;
        /// First readable offset of the log.
        log_start_offset: i64 => 5.., default -1;
        /// The records at fault.
        record_errors: Vec<BatchIndexAndErrorMessage<'a>> => 8..;
        /// What is wrong with them.
        error_message: Option<&'a str> => 8.., null 8..;
        /// Who leads now, when it is not us.
        current_leader: LeaderIdAndEpoch => 10.., tag 0;
    }
}

wire_struct! {
    /// One record at fault.
    BatchIndexAndErrorMessage<'a> {
        /// Its index in the batch.
        batch_index: i32 => 8..;
        /// What is wrong with it.
        batch_index_error_message: Option<&'a str> => 8.., null 8..;
    }
}

// Produce has these two from version 10 on, Fetch from versions 12 and 16 on; only messages of those versions hold
// them, so `0..` says it all.
wire_struct! {
    /// A leader and its epoch, shared by Produce and Fetch responses.
    LeaderIdAndEpoch {
        /// Node id, -1 if unknown.
        leader_id: i32 => 0.., default -1;
        /// Epoch, -1 if unknown.
        leader_epoch: i32 => 0.., default -1;
    }
}

wire_struct! {
    /// Where a node listens, shared by Produce and Fetch responses.
    NodeEndpoint<'a> {
        /// Its node id.
        node_id: i32 => 0..;
        /// Its host.
        host: &'a str => 0..;
        /// Its port.
        port: i32 => 0..;
        /// Its rack, if it has one.
        rack: Option<&'a str> => 0.., null 0..;
    }
}

rpc!(Produce: <'a> ProduceRequest<'a> => <'r> ProduceResponse<'r>);

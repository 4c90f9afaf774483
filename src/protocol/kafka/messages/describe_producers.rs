//! DescribeProducers: the producers a log remembers.

use super::{rpc, wire_struct};

wire_struct! {
    /// Who produced to these logs?
    DescribeProducersRequest<'a> {
        /// By topic.
        topics: Vec<DescribeProducersTopic<'a>> => 0..;
    }
}

wire_struct! {
    /// Partitions of one topic.
    DescribeProducersTopic<'a> {
        /// The topic.
        name: &'a str => 0..;
        /// The partitions.
        partition_indexes: Vec<i32> => 0..;
    }
}

wire_struct! {
    /// The producers.
    DescribeProducersResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// By topic.
        topics: Vec<DescribeProducersTopicResponse<'a>> => 0..;
    }
}

wire_struct! {
    /// Producers of one topic.
    DescribeProducersTopicResponse<'a> {
        /// The topic.
        name: &'a str => 0..;
        /// By partition.
        partitions: Vec<DescribeProducersPartitionResponse<'a>> => 0..;
    }
}

wire_struct! {
    /// Producers of one log.
    DescribeProducersPartitionResponse<'a> {
        /// The partition.
        partition_index: i32 => 0..;
        /// 0, or why there is no answer.
        error_code: i16 => 0..;
        /// The same in words.
        error_message: Option<&'a str> => 0.., null 0..;
        /// The producers.
        active_producers: Vec<ProducerState> => 0..;
    }
}

wire_struct! {
    /// One producer.
    ProducerState {
        /// Its id.
        producer_id: i64 => 0..;
        /// Its epoch.
        producer_epoch: i32 => 0..;
        /// Sequence of its last record, -1 for none.
        last_sequence: i32 => 0.., default -1;
        /// Time of its last batch, -1 for none.
        last_timestamp: i64 => 0.., default -1;
        /// Epoch of the coordinator of its last transaction.
        coordinator_epoch: i32 => 0..;
        /// First offset of its open transaction, -1 for none.
        current_txn_start_offset: i64 => 0.., default -1;
    }
}

rpc!(DescribeProducers: <'a> DescribeProducersRequest<'a> => <'r> DescribeProducersResponse<'r>);

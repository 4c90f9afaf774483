//! CreateTopics: new topics with their partitions and configuration.
//!
//! From version 4 on, -1 for the partitions or the replicas asks for the broker's default; from version 5 on
//! the answer tells what became of it, and from version 7 on the topic's id.

use super::{rpc, wire_struct};
use crate::base::TopicId;

wire_struct! {
    /// Create these topics.
    CreateTopicsRequest<'a> {
        /// The topics.
        topics: Vec<CreatableTopic<'a>> => 2..;
        /// How long to wait, in ms.
        timeout_ms: i32 => 2.., default 60_000;
        /// Only say whether it would work.
        validate_only: bool => 2..;
    }
}

wire_struct! {
    /// One topic to create.
    CreatableTopic<'a> {
        /// Its name.
        name: &'a str => 2..;
        /// Partitions; -1 for the default, or when `assignments` says.
        num_partitions: i32 => 2..;
        /// Replicas of each; -1 for the default, or when `assignments` says.
        replication_factor: i16 => 2..;
        /// Which broker holds what, if the client wants to say.
        assignments: Vec<CreatableReplicaAssignment> => 2..;
        /// Configuration that differs from the default.
        configs: Vec<CreatableTopicConfig<'a>> => 2..;
    }
}

wire_struct! {
    /// The brokers of one partition.
    CreatableReplicaAssignment {
        /// The partition.
        partition_index: i32 => 2..;
        /// Their node ids, the preferred leader first.
        broker_ids: Vec<i32> => 2..;
    }
}

wire_struct! {
    /// One configuration key.
    CreatableTopicConfig<'a> {
        /// The key.
        name: &'a str => 2..;
        /// The value; null is the default.
        value: Option<&'a str> => 2.., null 2..;
    }
}

wire_struct! {
    /// What became of it.
    CreateTopicsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 2..;
        /// By topic.
        topics: Vec<CreatableTopicResult<'a>> => 2..;
    }
}

wire_struct! {
    /// What became of one topic.
    CreatableTopicResult<'a> {
        /// Its name.
        name: &'a str => 2..;
        /// Its id.
        topic_id: TopicId => 7..;
        /// 0, or why it was not created.
        error_code: i16 => 2..;
        /// The same in words.
        error_message: Option<&'a str> => 2.., null 2..;
        /// Why `configs` is null, if it is.
        topic_config_error_code: i16 => 5.., tag 0;
        /// Partitions it has, -1 if unknown.
        num_partitions: i32 => 5.., default -1;
        /// Replicas of each, -1 if unknown.
        replication_factor: i16 => 5.., default -1;
        /// Its configuration; null if the client may not see it.
        configs: Option<Vec<CreatableTopicConfigs<'a>>> => 5.., null 5..;
    }
}

wire_struct! {
    /// One configuration key of the new topic.
    CreatableTopicConfigs<'a> {
        /// The key.
        name: &'a str => 5..;
        /// The value.
        value: Option<&'a str> => 5.., null 5..;
        /// Whether it cannot be changed.
        read_only: bool => 5..;
        /// Where the value comes from.
        config_source: i8 => 5.., default -1;
        /// Whether the value is kept secret.
        is_sensitive: bool => 5..;
    }
}

rpc!(CreateTopics: <'a> CreateTopicsRequest<'a> => <'r> CreateTopicsResponse<'r>);

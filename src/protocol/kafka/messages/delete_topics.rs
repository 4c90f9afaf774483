//! DeleteTopics: topics and their logs, gone.
//!
//! Up to version 5 topics are named in `topic_names`; version 6 replaces that by `topics`, names or ids.

use super::{rpc, wire_struct};
use crate::base::TopicId;

wire_struct! {
    /// Delete these topics.
    DeleteTopicsRequest<'a> {
        /// The topics, by name or id (version 6 on).
        topics: Vec<DeleteTopicState<'a>> => 6..;
        /// The topics, by name (up to version 5).
        topic_names: Vec<&'a str> => 1..=5;
        /// How long to wait, in ms.
        timeout_ms: i32 => 1..;
    }
}

wire_struct! {
    /// One topic to delete.
    DeleteTopicState<'a> {
        /// The name, or null when named by id.
        name: Option<&'a str> => 6.., null 6..;
        /// The id, or nil when named by name.
        topic_id: TopicId => 6..;
    }
}

wire_struct! {
    /// What became of it.
    DeleteTopicsResponse<'a> {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// By topic.
        responses: Vec<DeletableTopicResult<'a>> => 1..;
    }
}

wire_struct! {
    /// What became of one topic.
    DeletableTopicResult<'a> {
        /// Its name; null only for an unknown id.
        name: Option<&'a str> => 1.., null 6..;
        /// Its id.
        topic_id: TopicId => 6..;
        /// 0, or why it is still there.
        error_code: i16 => 1..;
        /// The same in words.
        error_message: Option<&'a str> => 5.., null 5..;
    }
}

rpc!(DeleteTopics: <'a> DeleteTopicsRequest<'a> => <'r> DeleteTopicsResponse<'r>);

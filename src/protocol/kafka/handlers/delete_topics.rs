//! DeleteTopics: by name, or by id from version 6 on. A topic named twice is gone the first time and unknown the
//! second. The request's time-out is not used.

use super::{Fault, code_and_message};
use crate::base::TopicId;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::shard::request::{ControlReply, ControlRequest};

/// First version that names topics in `topics`.
const STATES_SINCE: i16 = 6;

/// A topic that was asked for and what became of it.
struct Deleted {
    name: Option<String>,
    id: TopicId,
    outcome: Result<(), Fault>,
}

/// Deletes the topics one after the other.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: DeleteTopicsRequest<'_> = call.decode()?;
    let states: Vec<_> = if call.version < STATES_SINCE {
        let names = request.topic_names.iter();
        names
            .map(|&name| DeleteTopicState {
                name: Some(name),
                topic_id: TopicId::NIL,
            })
            .collect()
    } else {
        request.topics
    };
    let mut deleted = Vec::with_capacity(states.len());
    for state in &states {
        let topic = delete(&call, state).await;
        if topic.outcome.is_err() {
            call.count_error();
        }
        deleted.push(topic);
    }
    let responses = deleted.iter().map(|topic| {
        let (error_code, error_message) = code_and_message(&topic.outcome);
        DeletableTopicResult {
            name: topic.name.as_deref(),
            topic_id: topic.id,
            error_code,
            error_message,
        }
    });
    Ok(call.answer(DeleteTopicsResponse {
        throttle_time_ms: 0,
        responses: responses.collect(),
    }))
}

async fn delete(call: &Call, state: &DeleteTopicState<'_>) -> Deleted {
    let image = call.shard.image();
    let failed = |code| Deleted {
        name: state.name.map(str::to_owned),
        id: state.topic_id,
        outcome: Err(Fault::of(code)),
    };
    let found = match (state.name, state.topic_id) {
        (Some(name), TopicId::NIL) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        (Some(_), _) | (None, TopicId::NIL) => Err(ErrorCode::InvalidRequest),
        (None, id) => image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId),
    };
    let topic = match found {
        Ok(topic) => topic,
        Err(code) => return failed(code),
    };
    let name = topic.name.to_string();
    let outcome = match call
        .shard
        .control(ControlRequest::DeleteTopic(name.clone()))
        .await
    {
        Ok(ControlReply::Topic(_)) => Ok(()),
        Ok(ControlReply::ProducerIds(_) | ControlReply::Altered) => {
            Err(Fault::of(ErrorCode::UnknownServerError))
        }
        Err(error) => Err(error.into()),
    };
    Deleted {
        name: Some(name),
        id: topic.id,
        outcome,
    }
}

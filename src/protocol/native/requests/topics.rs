//! What the control thread carries out: creating and deleting topics, and fresh producer ids.
//!
//! Answered when every shard has the new metadata, so that a client may use a topic the moment it hears of it.

use std::rc::Rc;

use super::{Connection, Refusal, Request};
use crate::base::ProducerEpoch;
use crate::broker::topic::is_internal;
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::Kind;
use crate::protocol::native::map;
use crate::protocol::native::messages::{CreateTopic, DeleteTopic, InitProducer, ProducerReady, TopicAnswer};
use crate::protocol::native::outbox::Answer;
use crate::shard::request::{ControlError, ControlReply, ControlRequest, NewTopic};

pub(super) async fn create(connection: Rc<Connection>, request: Request) -> Result<Answer, Refusal> {
    let frame = request.frame();
    let create = CreateTopic::decode(&frame)?;
    if is_internal(create.name) {
        return Err(refused(&ControlError::InternalTopic(create.name.to_owned())));
    }
    let topic = NewTopic {
        name: create.name.to_owned(),
        partitions: (create.partitions > 0).then_some(create.partitions),
        configs: create
            .configs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let change = ControlRequest::CreateTopic(topic);
    carry_out(&connection, request.head.correlation, change, Kind::TopicCreated).await
}

pub(super) async fn delete(connection: Rc<Connection>, request: Request) -> Result<Answer, Refusal> {
    let frame = request.frame();
    let change = ControlRequest::DeleteTopic(DeleteTopic::decode(&frame)?.name.to_owned());
    carry_out(&connection, request.head.correlation, change, Kind::TopicDeleted).await
}

async fn carry_out(
    connection: &Connection,
    correlation: u64,
    change: ControlRequest,
    kind: Kind,
) -> Result<Answer, Refusal> {
    let reply = connection
        .shard
        .control(change)
        .await
        .map_err(|error| refused(&error))?;
    let ControlReply::Topic(topic) = reply else {
        return Err(Refusal::new(ErrorCode::Internal, "another change was answered"));
    };
    let answer = TopicAnswer {
        id: topic.id,
        partitions: topic.partitions,
    };
    let mut frame = Vec::new();
    answer.encode(&mut frame, kind, correlation)?;
    Ok(Answer::of(frame))
}

pub(super) async fn init_producer(connection: Rc<Connection>, request: Request) -> Result<Answer, Refusal> {
    InitProducer::decode(&request.frame())?;
    let id = connection
        .shard
        .next_producer_id()
        .await
        .map_err(|error| refused(&error))?;
    let ready = ProducerReady {
        id,
        epoch: ProducerEpoch::ZERO,
    };
    let mut frame = Vec::new();
    ready.encode(&mut frame, request.head.correlation)?;
    Ok(Answer::of(frame))
}

fn refused(error: &ControlError) -> Refusal {
    Refusal::new(map::control_error(error), error.to_string())
}

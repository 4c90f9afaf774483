//! What each request means, asked of the shard and put into its answer: one file per kind.
//!
//! **Promise.** A handler trusts its decoder for form and nothing for meaning. One wrong partition is answered for itself and
//! never fails its neighbours. Errors become codes in [`super::map`] only.
//!
//! **Invariants.** A produce is begun at once, in order; everything else begins when its answer is next to leave, so that at
//! most one request of a connection takes response memory. One shard's thread. Absent: authorization.

mod fetch;
mod metadata;
mod offsets;
mod produce;
mod subscribe;
mod topics;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use super::errors::ErrorCode;
use super::frame::{Frame, FrameError, FrameHead, HEAD_BYTES, Kind};
use super::map;
use super::messages::ErrorFrame;
use super::outbox::{Answer, Outbox};
use super::pod::DecodeError;
use super::subscription::Subscriptions;
use crate::protocol::memory;
use crate::runtime::local::Permit;
use crate::runtime::net::Stream;
use crate::shard::request::FrameBytes;
use crate::shard::stages::Arrival;
use crate::shard::{Shard, count};

pub(super) use fetch::{entry_of, largest_batch};

/// The most response memory one answer or push takes.
pub(super) fn response_share(connection: &Connection) -> usize {
    connection.shard.response_budget().limit() / fetch::BUDGET_SHARE
}

/// What the tasks of one connection share.
#[derive(Debug)]
pub(super) struct Connection {
    /// The shard it lives on.
    pub(super) shard: Rc<Shard>,
    /// The socket.
    pub(super) stream: Stream,
    /// What it is to be sent.
    pub(super) outbox: Outbox,
    /// What is pushed to it.
    pub(super) subscriptions: Subscriptions,
}

impl Connection {
    pub(super) fn new(shard: Rc<Shard>, stream: Stream) -> Self {
        Self {
            shard,
            stream,
            outbox: Outbox::new(),
            subscriptions: Subscriptions::default(),
        }
    }

    /// Whether the client waits for something.
    pub(super) fn is_busy(&self) -> bool {
        self.outbox.in_flight() > 0 || !self.subscriptions.is_empty()
    }

    /// Waits for memory for an answer or a push.
    pub(super) async fn reserve(&self, bytes: usize) -> Permit {
        let budget = self.shard.response_budget();
        memory::for_answer(&self.stream, budget, bytes, || self.outbox.is_closed()).await
    }

    fn count_error(&self) {
        count(&self.shard.probe().request_errors, 1);
    }
}

/// One received frame.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Its head.
    pub(super) head: FrameHead,
    /// The memory it lies in.
    pub(super) memory: FrameBytes,
    start: usize,
    /// When it came in.
    pub(super) arrival: Arrival,
    /// Its number on its connection.
    pub(super) sequence: u64,
}

impl Request {
    /// `bytes` hold the frame from `start` on.
    pub(super) fn new(
        head: FrameHead,
        bytes: Vec<u8>,
        start: usize,
        arrival: Arrival,
        sequence: u64,
    ) -> Self {
        Self {
            head,
            memory: Arc::new(bytes),
            start,
            arrival,
            sequence,
        }
    }

    /// The frame's bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    /// The frame, whose checksum was looked at when it arrived.
    pub(super) fn frame(&self) -> Frame<'_> {
        let (control, batches) = self.bytes()[HEAD_BYTES..].split_at(self.head.control_len);
        Frame {
            head: self.head,
            control,
            batches,
        }
    }
}

/// A request refused as a whole, and what in particular was wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Refusal {
    code: ErrorCode,
    text: String,
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self {
            code: map::decode_error(error),
            text: error.to_string(),
        }
    }
}

impl From<FrameError> for Refusal {
    /// An answer that does not fit a frame.
    fn from(error: FrameError) -> Self {
        Self {
            code: ErrorCode::TooMany,
            text: error.to_string(),
        }
    }
}

impl Refusal {
    fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    fn answer(&self, connection: &Connection, correlation: u64) -> Answer {
        connection.count_error();
        let mut frame = Vec::new();
        let fault = ErrorFrame {
            code: self.code,
            fatal: false,
            text: &self.text,
        };
        fault
            .encode(&mut frame, correlation)
            .expect("an error frame is small");
        Answer::of(frame)
    }
}

/// Starts a request and queues its answer.
pub(super) async fn begin(connection: &Rc<Connection>, request: Request, memory: Permit) {
    match request.head.kind {
        Kind::Produce => produce::begin(connection, request, memory).await,
        Kind::Fetch => later(connection, request, memory, fetch::handle),
        Kind::Metadata => later(connection, request, memory, metadata::handle),
        Kind::CreateTopic => later(connection, request, memory, topics::create),
        Kind::DeleteTopic => later(connection, request, memory, topics::delete),
        Kind::InitProducer => later(connection, request, memory, topics::init_producer),
        Kind::Offsets => later(connection, request, memory, offsets::handle),
        Kind::Subscribe => subscribe::begin(connection, &request, memory),
        Kind::Credit => subscribe::credit(connection, &request, memory),
        Kind::Unsubscribe => later(connection, request, memory, subscribe::end),
        Kind::Hello
        | Kind::Welcome
        | Kind::MetadataAnswer
        | Kind::TopicCreated
        | Kind::TopicDeleted
        | Kind::ProducerReady
        | Kind::Produced
        | Kind::Fetched
        | Kind::Subscribed
        | Kind::Push
        | Kind::SubscriptionEnded
        | Kind::OffsetsAnswer
        | Kind::Error => unreachable!("the session lets requests through and nothing else"),
    }
}

/// Queues a handler that begins when its answer is next to leave.
fn later<F>(
    connection: &Rc<Connection>,
    request: Request,
    memory: Permit,
    handle: impl Fn(Rc<Connection>, Request) -> F + 'static,
) where
    F: Future<Output = Result<Answer, Refusal>> + 'static,
{
    let shared = Rc::clone(connection);
    let answer = async move {
        let correlation = request.head.correlation;
        match handle(Rc::clone(&shared), request).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.answer(&shared, correlation),
        }
    };
    connection.outbox.answer(Box::pin(answer), memory);
}

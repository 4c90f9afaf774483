//! [`Call`]: one request on its way through a handler; [`Answer`]: what it came to.
//!
//! **Promise.** A call keeps the frame it borrows from alive, so a handler decodes without copying and may wait as
//! long as it must. An answer carries the memory reserved for it until its last byte is written.
//!
//! **Invariants.** One shard's thread. A handler says what the client hears and nothing about when: order is the
//! [`Outbox`]'s business. Absent: authorization, quotas.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::api::ApiKey;
use super::fetch_session::SessionCache;
use super::header::{RequestHeader, ResponseHeader};
use super::messages::Message;
use super::session::outbox::Outbox;
use super::wire::{DecodeError, Encoded, Reader, Writer};
use crate::protocol::memory;
use crate::runtime::local::Permit;
use crate::runtime::net::Stream;
use crate::shard::request::FrameBytes;
use crate::shard::stages::{Arrival, Handoff};
use crate::shard::{Shard, count};

/// Room for an answer before its buffer has to grow: a Produce answer for one partition takes about 70 bytes.
const ANSWER_BYTES_GUESS: usize = 128;

/// Most array elements of one request, all arrays together: a Fetch may name each of the partitions a broker may have
/// (200 000), and a request of so many small elements is worked on for no more than a moment.
const REQUEST_ELEMENTS_MAX: usize = 1 << 18;

/// Memory a request keeps that waits without its frame.
const RELEASED_BYTES: usize = 1024;

/// What a request came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// Send this.
    Send(Reply),
    /// Say nothing: the client asked for no acknowledgement.
    Silent,
    /// Send what was to be sent before, then close. The text is for our log, the client gets nothing.
    Close(&'static str),
}

/// An encoded response and what it holds.
#[derive(Debug)]
pub(super) struct Reply {
    /// The frame.
    pub(super) encoded: Encoded,
    /// Response memory, given back when the frame is written.
    pub(super) held: Option<Permit>,
    /// The stage that ends when the frame is written.
    pub(super) handoff: Option<Handoff>,
}

impl Answer {
    /// The same, ending a stage when it is written.
    pub(super) fn ending(mut self, handoff: Handoff) -> Self {
        if let Self::Send(reply) = &mut self {
            reply.handoff = Some(handoff);
        }
        self
    }
}

/// An answer that is still being worked on.
pub(super) type PendingAnswer = Pin<Box<dyn Future<Output = Answer>>>;

/// What handlers return: a body that does not decode closes the connection.
pub(super) type Outcome = Result<Answer, DecodeError>;

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    /// The shard that serves it.
    pub(super) shard: Rc<Shard>,
    /// The whole frame, without its size.
    pub(super) frame: FrameBytes,
    /// Where the body starts in the frame.
    pub(super) body_at: usize,
    /// When the frame came in.
    pub(super) arrival: Arrival,
    /// The API.
    pub(super) api: ApiKey,
    /// Its version, one this codec speaks.
    pub(super) version: i16,
    /// Echoed to the client.
    pub(super) correlation_id: i32,
    /// What clients of this door fetch, remembered.
    pub(super) fetch_sessions: Rc<RefCell<SessionCache>>,
    /// The connection, for whoever waits.
    pub(super) outbox: Rc<Outbox>,
    /// Number of the request on its connection.
    pub(super) sequence: u64,
    /// The connection to the client.
    pub(super) stream: Stream,
    /// Memory reserved for the frame and what is decoded from it, shared with the connection's queue.
    pub(super) memory: Rc<RefCell<Permit>>,
}

impl Call {
    /// Decodes the body, borrowing from the frame. Bytes after it are passed over, as Kafka does: librdkafka 2.16 sends
    /// three behind a Metadata request that names topics.
    pub(super) fn decode<'a, M: Message<'a>>(&'a self) -> Result<M, DecodeError> {
        let body = self.frame.get(self.body_at..).unwrap_or_default();
        M::decode_from(
            &mut Reader::with_elements_max(body, REQUEST_ELEMENTS_MAX),
            self.version,
        )
    }

    /// What the client calls itself; empty if nothing. Reads the frame.
    pub(super) fn client_id(&self) -> &str {
        let header = RequestHeader::decode(&mut Reader::new(&self.frame));
        header
            .ok()
            .and_then(|header| header.client_id)
            .unwrap_or_default()
    }

    /// Lets go of the frame and of the memory reserved for it: the request has been taken over in a form of its own and
    /// may wait for minutes, in which it must not keep others from being read.
    pub(super) fn release_frame(&mut self) {
        self.frame = FrameBytes::default();
        self.body_at = 0;
        self.memory.borrow_mut().shrink_to(RELEASED_BYTES);
    }

    /// Encodes the answer in the request's version.
    pub(super) fn answer<'r>(&self, message: impl Message<'r>) -> Answer {
        self.encode(message, self.version, None)
    }

    /// As [`Self::answer`], keeping reserved memory until the answer is written.
    pub(super) fn answer_holding<'r>(&self, message: impl Message<'r>, held: Permit) -> Answer {
        self.encode(message, self.version, Some(held))
    }

    /// As [`Self::answer`], in another version: for the one request whose version may be unknown.
    pub(super) fn answer_at<'r>(&self, message: impl Message<'r>, version: i16) -> Answer {
        self.encode(message, version, None)
    }

    fn encode<'r>(&self, message: impl Message<'r>, version: i16, held: Option<Permit>) -> Answer {
        // Allocates: the answer outlives this call, in the queue of its connection.
        let mut writer = Writer::framed_with_buffer(Vec::with_capacity(ANSWER_BYTES_GUESS));
        ResponseHeader {
            correlation_id: self.correlation_id,
        }
        .encode(&mut writer, self.api, version);
        message.encode(&mut writer, version);
        match writer.finish() {
            Ok(encoded) => Answer::Send(Reply {
                encoded,
                held,
                handoff: None,
            }),
            Err(error) => {
                tracing::warn!(api = ?self.api, version, %error, "answer cannot be expressed");
                Answer::Close("an answer could not be encoded")
            }
        }
    }

    /// Waits for this request's turn, then for `bytes` of response memory. In this order: see [`Outbox`].
    pub(super) async fn reserve(&self, bytes: usize) -> Permit {
        self.outbox.wait_turn(self.sequence).await;
        let budget = self.shard.response_budget();
        memory::for_answer(&self.stream, budget, bytes, || self.outbox.is_closed()).await
    }

    /// Counts a request that was answered with an error, in whole or in part.
    pub(super) fn count_error(&self) {
        count(&self.shard.probe().request_errors, 1);
    }
}

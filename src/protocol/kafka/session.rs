//! One client connection: a reader that takes requests in, and a writer that answers them in order.
//!
//! ```text
//! socket -> reader: size? -> reserve memory -> body -> dispatch::begin -> Outbox -> writer -> socket
//!                                                      (Produce: appended, in order, before the next is read)
//! ```
//!
//! **Promise.** A connection holds at most `in_flight_max` requests, each with its memory reserved from the shard's
//! budget before its body was read; when the budget is used up, it waits. A peer that sends half a frame, nothing at
//! all, or never reads is closed after its time. A bug that panics ends this connection and no other.
//!
//! **Invariants.** Batches reach their shards in request order because the reader awaits the first stage of a Produce
//! before it reads on. On a stop, and when the peer stops sending, what is in flight is finished and answered first.
//! One shard's thread: reader and writer are two tasks that share the [`Outbox`].
//!
//! **Absent.** TLS, authentication, quotas.

pub(crate) mod frame;
pub(super) mod outbox;

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_lite::future::or;

use super::api::ApiKey;
use super::call::Call;
use super::dispatch::{self, Route};
use super::fetch_session::SessionCache;
use super::header::RequestHeader;
use super::wire::{DecodeError, FRAME_SIZE_BYTES, Reader};
use crate::protocol::delivery::{Undelivered, within};
use crate::protocol::memory;
use crate::runtime::local::Permit;
use crate::runtime::net::{Stream, Want};
use crate::runtime::{clock, executor};
use crate::shard::stages::Arrival;
use crate::shard::{Shard, count};
use frame::{FrameFault, FrameHead, Framing, next_frame};
use outbox::{Held, Outbox};

/// Bytes read ahead of a frame: small requests need one read, and pipelined ones share it.
const READ_AHEAD_BYTES: usize = 4096;

/// Why no more requests are read.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the peer closed")]
    EndOfStream,
    #[error("the broker is stopping")]
    Stopping,
    #[error("no request for too long")]
    Idle,
    #[error("a frame did not arrive in time")]
    TooSlow,
    #[error("the connection was closed")]
    Closed,
    #[error("{0}")]
    Refused(&'static str),
    #[error(transparent)]
    Frame(#[from] FrameFault),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Ended {
    /// Whether requests read before are still answered. After a malformed frame they are not owed anything, but the
    /// answers to what came before it are.
    const fn drains(&self) -> bool {
        !matches!(self, Self::Closed | Self::Io(_))
    }
}

/// Serves one connection until it ends; returns when reader and writer are both done.
pub(super) async fn run(stream: Stream, shard: Rc<Shard>, fetch_sessions: Rc<RefCell<SessionCache>>) {
    let outbox = Rc::new(Outbox::new());
    let peer = stream.peer();
    let written = crate::runtime::local::OneShot::default();
    executor::spawn({
        let (stream, outbox, written) = (stream.clone(), Rc::clone(&outbox), written.clone());
        let shard = Rc::clone(&shard);
        async move {
            let ended = executor::catch_panic(outbox.deliver(&stream, &shard)).await;
            // A blocked reader wakes with the end of the stream.
            outbox.close();
            stream.shut_down();
            written.set(ended);
        }
    });
    let mut session = Session {
        stream,
        shard,
        fetch_sessions,
        outbox: Rc::clone(&outbox),
        inbox: Inbox::new(),
        sequence: 0,
    };
    let read = executor::catch_panic(session.read_requests()).await;
    match &read {
        Ok(ended) if ended.drains() => outbox.drain(),
        _ => outbox.close(),
    }
    let delivered = written.take().await;
    match (read, delivered) {
        (Ok(ended), Ok(Ok(()))) => tracing::debug!(%peer, reason = %ended, "connection ended"),
        (_, Ok(Err(Undelivered::Refused(reason)))) => tracing::debug!(%peer, reason, "connection refused"),
        (_, Ok(Err(reason))) => tracing::debug!(%peer, %reason, "connection broke"),
        (Err(_), _) | (_, Err(_)) => tracing::error!(%peer, "a panic ended this connection; others go on"),
    }
}

struct Session {
    stream: Stream,
    shard: Rc<Shard>,
    fetch_sessions: Rc<RefCell<SessionCache>>,
    outbox: Rc<Outbox>,
    inbox: Inbox,
    /// Number of the last request; the first is 1.
    sequence: u64,
}

impl Session {
    async fn read_requests(&mut self) -> Ended {
        let stop = self.shard.stop_signal();
        let mut stopping = pin!(stop.wait());
        loop {
            let request = or(
                async {
                    stopping.as_mut().await;
                    Err(Ended::Stopping)
                },
                self.next_request(),
            )
            .await;
            let begun = match request {
                Ok((frame, memory, arrival)) => self.begin(frame, memory, arrival).await,
                Err(ended) => Err(ended),
            };
            if let Err(ended) = begun {
                return ended;
            }
        }
    }

    /// Reads one frame, its memory reserved.
    async fn next_request(&mut self) -> Result<(Vec<u8>, Permit, Arrival), Ended> {
        self.outbox.wait_for_room(self.shard.limits().in_flight_max).await;
        let head = self.next_head().await?;
        // What arrived in one piece, and need not wait for memory, has one reading of the clock.
        let missing = (FRAME_SIZE_BYTES + head.size).saturating_sub(self.inbox.buffered().len());
        let (budget, bytes) = (self.shard.request_budget(), head.reserve_bytes());
        let limit = self.shard.limits().frame_timeout;
        let memory = budget.try_acquire(bytes);
        let begun = (missing > 0 || memory.is_none()).then(clock::now);
        let memory = match memory {
            Some(memory) => Some(memory),
            None => memory::for_frame(&self.stream, budget, bytes, missing, limit).await,
        };
        let memory = memory.ok_or(Ended::TooSlow)?;
        if self.outbox.is_closed() {
            return Err(Ended::Closed);
        }
        let body = self.inbox.take_frame(&self.stream, head);
        let body = memory::frame_in_time(limit, head.size, budget, body).await;
        let body = body.ok_or(Ended::TooSlow)??;
        let complete = clock::now();
        let head = begun.unwrap_or(complete);
        Ok((body, memory, Arrival { head, complete }))
    }

    async fn next_head(&mut self) -> Result<FrameHead, Ended> {
        loop {
            match next_frame(self.inbox.buffered(), self.shard.limits().max_frame_bytes)? {
                Framing::Begins(head) => return Ok(head),
                Framing::Incomplete { .. } => self.fill().await?,
            }
        }
    }

    /// Reads some bytes: within the idle time between frames, within the frame time inside one.
    async fn fill(&mut self) -> Result<(), Ended> {
        let limits = self.shard.limits();
        let between_frames = self.inbox.buffered().is_empty();
        let limit = if between_frames {
            limits.idle_timeout
        } else {
            limits.frame_timeout
        };
        // One read over all of the waits: a read that is given up loses what arrives.
        let mut filling = pin!(self.inbox.fill(&self.stream));
        loop {
            match within(limit, filling.as_mut()).await {
                Some(Ok(0)) => return Err(Ended::EndOfStream),
                Some(result) => return result.map(drop).map_err(Ended::Io),
                // A client that waits for its answers is not idle.
                None if between_frames && self.outbox.in_flight() > 0 => {}
                None if between_frames => return Err(Ended::Idle),
                None => return Err(Ended::TooSlow),
            }
        }
    }

    /// Starts one request and queues its answer.
    async fn begin(&mut self, frame: Vec<u8>, memory: Permit, arrival: Arrival) -> Result<(), Ended> {
        count(&self.shard.probe().requests_total, 1);
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::decode(&mut reader).inspect_err(|_| self.count_error())?;
        let body_at = frame.len() - reader.remaining();
        let route = dispatch::route(&header);
        let (api, version) = match route {
            Route::Serve(api) => (api, header.api_version),
            Route::UnknownApiVersions => (ApiKey::ApiVersions, 0),
            Route::Refuse(reason) => {
                self.count_error();
                return Err(Ended::Refused(reason));
            }
        };
        self.sequence += 1;
        let memory = Rc::new(RefCell::new(memory));
        if api != ApiKey::Fetch {
            self.outbox.hasten(self.sequence);
        }
        let call = Call {
            shard: Rc::clone(&self.shard),
            body_at,
            arrival,
            api,
            version,
            correlation_id: header.correlation_id,
            fetch_sessions: Rc::clone(&self.fetch_sessions),
            outbox: Rc::clone(&self.outbox),
            sequence: self.sequence,
            frame: Arc::new(frame),
            stream: self.stream.clone(),
            memory: Rc::clone(&memory),
        };
        let answer = dispatch::begin(call, route).await;
        self.outbox.push(self.sequence, answer, Held { memory });
        Ok(())
    }

    fn count_error(&self) {
        count(&self.shard.probe().request_errors, 1);
    }
}

/// Bytes that arrived and belong to no frame yet.
struct Inbox {
    buffer: Vec<u8>,
    start: usize,
}

impl Inbox {
    fn new() -> Self {
        Self {
            buffer: Vec::with_capacity(READ_AHEAD_BYTES),
            start: 0,
        }
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads some bytes behind those at hand. There is room: it is called only while they are fewer than a head. Given up,
    /// it leaves nothing at hand.
    async fn fill(&mut self, stream: &Stream) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let (read, buffer) = stream
            .read(std::mem::take(&mut self.buffer), READ_AHEAD_BYTES, Want::Some)
            .await;
        self.buffer = buffer;
        read
    }

    /// Takes one frame, reading what is missing of it. The size field is left out.
    async fn take_frame(&mut self, stream: &Stream, head: FrameHead) -> Result<Vec<u8>, Ended> {
        self.start += FRAME_SIZE_BYTES;
        let mut frame = Vec::with_capacity(head.size);
        let at_hand = self.buffered().len().min(head.size);
        frame.extend_from_slice(&self.buffered()[..at_hand]);
        self.start += at_hand;
        while frame.len() < head.size {
            let missing = head.size - frame.len();
            let (read, filled) = stream.read(frame, missing, Want::All).await;
            frame = filled;
            if read? == 0 {
                return Err(Ended::EndOfStream);
            }
        }
        Ok(frame)
    }
}

//! One native connection: a reader that takes frames in, and a writer that sends answers and pushes.
//!
//! ```text
//! socket -> head judged -> memory reserved -> body, 16-aligned -> checksum -> requests::begin -> Outbox -> socket
//!                                                                 (produce: appended, in order, before the next is read)
//! ```
//!
//! **Promise.** A connection holds at most `in_flight_max` requests, each with its memory reserved from the shard's budget
//! before its body was read; when the budget is used up, it waits. A peer that says anything but hello first, sends half a
//! frame, nothing at all, or never reads is closed after its time. A bug that panics ends this connection and no other.
//!
//! **Invariants.** Batches reach their shards in request order because the reader awaits the first stage of a produce before
//! it reads on. On a stop, and when the peer stops sending, what is in flight is finished and answered first, and every
//! subscription is ended. One shard's thread. Absent: TLS, authentication, quotas.

mod intake;

use std::io;
use std::pin::pin;
use std::rc::Rc;

use futures_lite::future::or;

use super::errors::ErrorCode;
use super::frame::{Frame, FrameError, FrameHead, Framing, Kind, VERSION, next_frame};
use super::messages::{
    CREDIT_BYTES_MAX, ErrorFrame, Hello, PRODUCE_BATCHES_MAX, SUBSCRIPTIONS_MAX, Welcome, WelcomeHead,
};
use super::outbox::Answer;
use super::requests::{self, Connection, Request};
use crate::protocol::delivery::{Undelivered, within};
use crate::protocol::memory;
use crate::runtime::local::{OneShot, Permit};
use crate::runtime::net::Stream;
use crate::runtime::{clock, executor};
use crate::shard::stages::Arrival;
use crate::shard::{Advertise, Shard, count};
use intake::Intake;

/// Largest frame of any request but produce.
const PLAIN_FRAME_BYTES_MAX: usize = 1 << 20;

/// What a request takes beside its frame: at most the tables decoded from it.
const DECODE_FACTOR: usize = 16;

/// What a produce takes beside its frame, for each batch it may carry is small and few carry many.
const PRODUCE_RESERVE_BYTES: usize = 4096;

/// What the broker calls itself.
const BROKER_NAME: &str = concat!("corelog ", env!("CARGO_PKG_VERSION"));

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
    Io(#[from] io::Error),
}

impl Ended {
    /// Whether requests read before are still answered.
    const fn drains(&self) -> bool {
        !matches!(self, Self::Closed | Self::Io(_))
    }
}

/// Serves one connection until it ends; returns when reader, writer and subscriptions are done.
pub(super) async fn run(stream: Stream, shard: Rc<Shard>) {
    let peer = stream.peer();
    let connection = Rc::new(Connection::new(shard, stream.clone()));
    let written = OneShot::default();
    executor::spawn({
        let (stream, connection, written) = (stream.clone(), Rc::clone(&connection), written.clone());
        async move {
            let delivering = connection.outbox.deliver(&stream, &connection.shard);
            let ended = executor::catch_panic(delivering).await;
            // A blocked reader wakes with the end of the stream.
            connection.outbox.close();
            stream.shut_down();
            written.set(ended);
        }
    });
    let mut session = Session {
        stream,
        connection: Rc::clone(&connection),
        intake: Intake::new(),
        welcomed: false,
        sequence: 0,
    };
    let read = executor::catch_panic(session.read_requests()).await;
    let reason = match &read {
        Ok(Ended::Stopping) => Some(ErrorCode::Stopping),
        _ => None,
    };
    match &read {
        Ok(ended) if ended.drains() => {
            connection.subscriptions.end_all(reason).await;
            connection.outbox.drain();
        }
        _ => {
            connection.outbox.close();
            connection.subscriptions.end_all(None).await;
        }
    }
    let delivered = written.take().await;
    // A writer that failed first leaves subscriptions that an answer of its last batch began.
    connection.subscriptions.end_all(None).await;
    match (read, delivered) {
        (Ok(ended), Ok(Ok(()))) => tracing::debug!(%peer, reason = %ended, "connection ended"),
        (_, Ok(Err(Undelivered::Refused(reason)))) => tracing::debug!(%peer, reason, "connection refused"),
        (_, Ok(Err(reason))) => tracing::debug!(%peer, %reason, "connection broke"),
        (Err(_), _) | (_, Err(_)) => tracing::error!(%peer, "a panic ended this connection; others go on"),
    }
}

struct Session {
    stream: Stream,
    connection: Rc<Connection>,
    intake: Intake,
    /// Hello was said and answered.
    welcomed: bool,
    /// Number of the last request; the first is 1.
    sequence: u64,
}

impl Session {
    fn shard(&self) -> &Rc<Shard> {
        &self.connection.shard
    }

    async fn read_requests(&mut self) -> Ended {
        let stop = self.shard().stop_signal();
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
                Ok((request, memory)) => self.begin(request, memory).await,
                Err(ended) => Err(ended),
            };
            if let Err(ended) = begun {
                return ended;
            }
        }
    }

    /// Reads one frame, its memory reserved.
    async fn next_request(&mut self) -> Result<(Request, Permit), Ended> {
        let in_flight_max = self.shard().limits().in_flight_max;
        self.connection.outbox.wait_for_room(in_flight_max).await;
        let head = self.next_head().await?;
        let reserve = reserve_bytes(&head);
        let budget = self.shard().request_budget().clone();
        let limit = self.shard().limits().frame_timeout;
        // What arrived in one piece, and need not wait for memory, has one reading of the clock.
        let missing = head.length.saturating_sub(self.intake.buffered().len());
        let memory = budget.try_acquire(reserve);
        let begun = (missing > 0 || memory.is_none()).then(clock::now);
        let memory = match memory {
            Some(memory) => Some(memory),
            None => memory::for_frame(&self.stream, &budget, reserve, missing, limit).await,
        };
        let memory = memory.ok_or(Ended::TooSlow)?;
        if self.connection.outbox.is_closed() {
            return Err(Ended::Closed);
        }
        let body = self.intake.take(&self.stream, head.length);
        let taken = memory::frame_in_time(limit, head.length, &budget, body).await;
        let (bytes, start) = taken.ok_or(Ended::TooSlow)??.ok_or(Ended::EndOfStream)?;
        let complete = clock::now();
        let arrival = Arrival {
            head: begun.unwrap_or(complete),
            complete,
        };
        self.sequence += 1;
        let request = Request::new(head, bytes, start, arrival, self.sequence);
        Ok((request, memory))
    }

    async fn next_head(&mut self) -> Result<FrameHead, Ended> {
        let max = u32::try_from(self.shard().limits().max_frame_bytes).unwrap_or(u32::MAX);
        loop {
            let head = match next_frame(self.intake.buffered(), max) {
                Ok(Framing::NeedsHead { .. }) => {
                    self.fill().await?;
                    continue;
                }
                Ok(Framing::NeedsBody { head, .. } | Framing::Whole { head }) => head,
                Err(error) => return Err(self.refuse_stream(error).await),
            };
            if !head.kind.carries_batches() && head.length > PLAIN_FRAME_BYTES_MAX {
                let max = u32::try_from(PLAIN_FRAME_BYTES_MAX).unwrap_or(u32::MAX);
                let length = u32::try_from(head.length).unwrap_or(u32::MAX);
                return Err(self.refuse_stream(FrameError::TooLarge { length, max }).await);
            }
            return Ok(head);
        }
    }

    /// Reads some bytes: within the idle time between frames, within the frame time inside one and before the hello.
    async fn fill(&mut self) -> Result<(), Ended> {
        let limits = *self.shard().limits();
        let between_frames = self.intake.buffered().is_empty();
        let limit = if between_frames && self.welcomed {
            limits.idle_timeout
        } else {
            limits.frame_timeout
        };
        let connection = Rc::clone(&self.connection);
        // One read over all of the waits: a read that is given up loses what arrives.
        let mut filling = pin!(self.intake.fill(&self.stream));
        loop {
            match within(limit, filling.as_mut()).await {
                Some(Ok(0)) => return Err(Ended::EndOfStream),
                Some(result) => return result.map(drop).map_err(Ended::Io),
                // A client that waits for answers or pushes is not idle.
                None if between_frames && connection.is_busy() => {}
                None if between_frames => return Err(Ended::Idle),
                None => return Err(Ended::TooSlow),
            }
        }
    }

    /// Starts one request and queues its answer.
    async fn begin(&mut self, request: Request, memory: Permit) -> Result<(), Ended> {
        let probe = self.shard().probe();
        count(&probe.requests_total, 1);
        count(&probe.native_requests, 1);
        if let Err(error) = Frame::parse(request.bytes()) {
            return Err(self.refuse(error.code(), 0, &error.to_string(), memory));
        }
        let (kind, correlation) = (request.head.kind, request.head.correlation);
        match (kind, self.welcomed) {
            (Kind::Hello, false) => self.welcome(&request, memory),
            (Kind::Hello, true) | (_, false) => {
                Err(self.refuse(ErrorCode::HelloExpected, correlation, "", memory))
            }
            _ if !kind.is_request() => Err(self.refuse(
                ErrorCode::UnknownKind,
                correlation,
                "a broker sends this kind",
                memory,
            )),
            _ => {
                if !matches!(kind, Kind::Fetch | Kind::Credit) {
                    self.connection.outbox.hasten(self.sequence);
                }
                requests::begin(&self.connection, request, memory).await;
                Ok(())
            }
        }
    }

    fn welcome(&mut self, request: &Request, memory: Permit) -> Result<(), Ended> {
        let correlation = request.head.correlation;
        let hello = match Hello::decode(&request.frame()) {
            Ok(hello) => hello,
            Err(error) => {
                return Err(self.refuse(ErrorCode::Malformed, correlation, &error.to_string(), memory));
            }
        };
        if !(hello.version_min..=hello.version_max).contains(&VERSION) {
            let text = "this broker speaks version 1";
            return Err(self.refuse(ErrorCode::UnsupportedVersion, correlation, text, memory));
        }
        tracing::debug!(peer = %self.stream.peer(), client = hello.name, "native client");
        let shard = self.shard();
        let id = u32::from(shard.id().get());
        let limits = shard.limits();
        let welcome = Welcome {
            head: WelcomeHead {
                credit_bytes_max: CREDIT_BYTES_MAX,
                max_frame_bytes: u32::try_from(limits.max_frame_bytes).unwrap_or(u32::MAX),
                in_flight_max: u32::try_from(limits.in_flight_max).unwrap_or(u32::MAX),
                subscriptions_max: SUBSCRIPTIONS_MAX,
                produce_batches_max: PRODUCE_BATCHES_MAX,
                node_id: match shard.cluster().advertise {
                    Advertise::PerCore => id,
                    Advertise::Single => 0,
                },
                shard: id,
                version: VERSION,
                ..WelcomeHead::default()
            },
            name: BROKER_NAME,
        };
        let mut frame = Vec::new();
        welcome
            .encode(&mut frame, correlation)
            .expect("a welcome is small");
        self.welcomed = true;
        self.connection.outbox.answer_now(Answer::of(frame), memory);
        Ok(())
    }

    /// Answers a stream that cannot be trusted any more, behind what is in flight, and ends it.
    async fn refuse_stream(&self, error: FrameError) -> Ended {
        let memory = self.shard().request_budget().acquire(0).await;
        self.refuse(error.code(), 0, &error.to_string(), memory)
    }

    fn refuse(&self, code: ErrorCode, correlation: u64, text: &str, memory: Permit) -> Ended {
        count(&self.shard().probe().request_errors, 1);
        let mut frame = Vec::new();
        let fault = ErrorFrame {
            code,
            fatal: true,
            text,
        };
        fault
            .encode(&mut frame, correlation)
            .expect("an error frame is small");
        let answer = Answer {
            close: Some(code.name()),
            ..Answer::of(frame)
        };
        self.connection.outbox.answer_now(answer, memory);
        Ended::Refused(code.name())
    }
}

/// Bytes to reserve before the rest of a frame is read.
const fn reserve_bytes(head: &FrameHead) -> usize {
    let beside = if head.kind.carries_batches() {
        PRODUCE_RESERVE_BYTES
    } else {
        head.length.saturating_mul(DECODE_FACTOR)
    };
    head.length.saturating_add(beside)
}

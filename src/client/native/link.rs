//! One connection without its socket: bytes in, frames out; frames in, bytes out; and when to give up.
//!
//! ```text
//! Down --(wanted, pause over)--> Connecting --(socket stands)--> Greeting --(welcome)--> Up
//!   ^______________________(any failure, any time-out)______________________________________|
//! ```
//!
//! The front owns the socket and asks: [`Link::call_now`] whether to connect, [`Link::output`] what to write,
//! [`Link::room`] where to read to, [`Link::has_socket`] whether it may keep what it has. The machine above puts frames
//! into the outbox of a link that is up and names what it expects; a link whose oldest expectation passes its time fails.
//! Pure: no I/O, `now` is an argument. One thread at a time, whichever drives the client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::{ClientConfig, READ_BYTES, pause_after};
use super::error::Error;
use crate::protocol::native::errors::ErrorCode;
use crate::protocol::native::frame::{FRAME_BYTES_MAX, Frame, FrameError, Inbox, VERSION};
use crate::protocol::native::messages::{ErrorFrame, Hello, Welcome, WelcomeHead};

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    address: Arc<str>,
    state: State,
    wanted: bool,
    outbox: Vec<u8>,
    written: usize,
    pub(super) inbox: Inbox,
    /// Failures since it was last up.
    failures: u32,
    /// Why it went down, until the machine has taken notice.
    lost: Option<Error>,
    /// The last failure, for whoever gives up waiting.
    last_failure: Option<Error>,
    /// Answers that are due: correlation and latest time.
    due: VecDeque<(u64, Instant)>,
    welcome: Option<WelcomeHead>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down { until: Option<Instant> },
    Connecting { deadline: Instant },
    Greeting { deadline: Instant },
    Up,
}

impl Link {
    pub(super) fn new(address: Arc<str>) -> Self {
        Self {
            address,
            state: State::Down { until: None },
            wanted: false,
            outbox: Vec::new(),
            written: 0,
            inbox: Inbox::new(FRAME_BYTES_MAX),
            failures: 0,
            lost: None,
            last_failure: None,
            due: VecDeque::new(),
            welcome: None,
        }
    }

    /// `host:port`.
    pub(super) const fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Asks for the connection to be made, and made again whenever it breaks.
    pub(super) const fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// What the broker accepts, once it is up.
    pub(super) const fn welcome(&self) -> Option<&WelcomeHead> {
        self.welcome.as_ref()
    }

    /// Where frames for the broker go. Only while it is up.
    pub(super) fn outbox(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.is_up(), "a link that is down has nowhere to send to");
        &mut self.outbox
    }

    /// Bytes not written yet.
    pub(super) const fn backlog(&self) -> usize {
        self.outbox.len() - self.written
    }

    /// An answer to `correlation` is due by `deadline`.
    pub(super) fn expect(&mut self, correlation: u64, deadline: Instant) {
        self.due.push_back((correlation, deadline));
    }

    /// The answer is there.
    pub(super) fn answered(&mut self, correlation: u64) {
        self.due.retain(|(due, _)| *due != correlation);
    }

    /// Answers that are due.
    pub(super) fn due_count(&self) -> usize {
        self.due.len()
    }

    /// Why it went down, once.
    pub(super) const fn take_lost(&mut self) -> Option<Error> {
        self.lost.take()
    }

    /// The last failure since it was up.
    pub(super) const fn last_failure(&self) -> Option<&Error> {
        self.last_failure.as_ref()
    }

    /// When something must happen even if no byte moves.
    pub(super) fn wake(&self) -> Option<Instant> {
        match self.state {
            State::Down { until } => until.filter(|_| self.wanted),
            State::Connecting { deadline } | State::Greeting { deadline } => Some(deadline),
            State::Up => self.due.front().map(|(_, deadline)| *deadline),
        }
    }

    /// Gives up what took too long.
    pub(super) fn tick(&mut self, now: Instant) {
        let late = self.wake().is_some_and(|wake| wake <= now);
        if late && !matches!(self.state, State::Down { .. }) {
            self.fail("no answer in time", now);
        }
    }

    /// For the front: whether to connect now, and where to. Once per attempt.
    pub(super) fn call_now(&mut self, config: &ClientConfig, now: Instant) -> Option<Arc<str>> {
        let State::Down { until } = self.state else {
            return None;
        };
        if !self.wanted || until.is_some_and(|until| now < until) {
            return None;
        }
        let deadline = now + config.connect_timeout;
        self.state = State::Connecting { deadline };
        Some(Arc::clone(&self.address))
    }

    /// For the front: whether the socket it holds for this link is still the link's.
    pub(super) fn has_socket(&self) -> bool {
        !matches!(self.state, State::Down { .. })
    }

    /// For the front: how many attempts failed, to take the next of several addresses of a name.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// For the front: the socket stands.
    pub(super) fn connected(&mut self, config: &ClientConfig) {
        let State::Connecting { deadline } = self.state else {
            return;
        };
        self.state = State::Greeting { deadline };
        self.inbox = Inbox::new(FRAME_BYTES_MAX);
        self.outbox.clear();
        self.written = 0;
        let hello = Hello {
            features: 0,
            version_min: VERSION,
            version_max: VERSION,
            name: &config.name,
        };
        hello
            .encode(&mut self.outbox, HELLO)
            .expect("a hello is far smaller than a frame may be");
    }

    /// For the front, and for the machine when the peer cannot be trusted: the connection is over.
    pub(super) fn fail(&mut self, reason: impl ToString, now: Instant) {
        let error = match self.state {
            State::Down { .. } => return,
            State::Up => Error::lost(&self.address, reason),
            _ => Error::unreachable(&self.address, reason),
        };
        self.fail_with(error, now);
    }

    fn fail_with(&mut self, error: Error, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.state = State::Down {
            until: Some(now + self.pause()),
        };
        self.lost = Some(error.clone());
        self.last_failure = Some(error);
        self.due.clear();
        self.outbox.clear();
        self.written = 0;
    }

    fn pause(&self) -> Duration {
        pause_after(self.failures)
    }

    /// For the front: what is to be written.
    pub(super) fn output(&self) -> &[u8] {
        &self.outbox[self.written..]
    }

    /// For the front: this much was.
    pub(super) fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written == self.outbox.len() {
            self.outbox.clear();
            self.written = 0;
        } else if self.written > self.outbox.len() / 2 {
            self.outbox.drain(..self.written);
            self.written = 0;
        }
    }

    /// For the front: where received bytes go.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.inbox.spare(READ_BYTES)
    }

    /// For the front: this much came.
    pub(super) fn received(&mut self, count: usize) {
        self.inbox.filled(count);
    }

    /// Reads the answer to the hello.
    pub(super) fn greeted(&mut self, frame: &Frame<'_>, now: Instant) {
        if let Ok(welcome) = Welcome::decode(frame)
            && welcome.head.version == VERSION
        {
            self.state = State::Up;
            self.failures = 0;
            self.last_failure = None;
            self.welcome = Some(welcome.head);
            return;
        }
        let reason = ErrorFrame::decode(frame).map_or_else(
            |_| "it answered a hello with something else".to_owned(),
            |error| said(&error),
        );
        self.fail(reason, now);
    }

    /// The peer sent what no broker sends.
    pub(super) fn nonsense(&mut self, error: &FrameError, now: Instant) {
        let error = Error::protocol(&self.address, error);
        self.fail_with(error, now);
    }

    /// Whether the next frame is the answer to the hello.
    pub(super) const fn is_greeting(&self) -> bool {
        matches!(self.state, State::Greeting { .. })
    }
}

/// An error frame in words.
pub(super) fn said(error: &ErrorFrame<'_>) -> String {
    let code: ErrorCode = error.code;
    if error.text.is_empty() {
        code.to_string()
    } else {
        format!("{code} ({})", error.text)
    }
}

/// The correlation of the hello; requests count from 1.
const HELLO: u64 = 0;

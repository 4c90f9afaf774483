//! The sockets of the asynchronous front: tokio's, read and written only as far as they go without waiting; and one future
//! that waits for all of them and for the clock.
//!
//! Owned by one client. Futures of this file may be dropped between any two polls: bytes move only in between.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::time::sleep_until;

use crate::client::native::blocking::now;
use crate::client::native::config::ClientConfig;
use crate::client::native::drive::{Machine, Moved, Socket, transfer, write_out};
use crate::client::native::link::Link;

/// See the module. In the order of the cluster's links.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<Slot>);

enum Slot {
    Closed,
    Connecting(Connecting),
    /// The attempt is over; the link has not been told.
    Connected(io::Result<TcpStream>),
    Open(TcpStream),
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "Closed",
            Self::Connecting(_) => "Connecting",
            Self::Connected(_) => "Connected",
            Self::Open(_) => "Open",
        })
    }
}

impl Socket for TcpStream {
    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, into)
    }

    fn try_write(&self, from: &[u8]) -> io::Result<usize> {
        Self::try_write(self, from)
    }
}

impl Sockets {
    /// Turns the crank until `done` gives something or `until` has passed. At least one look.
    pub(super) async fn drive<M: Machine, T>(
        &mut self,
        machine: &mut M,
        until: Instant,
        mut done: impl FnMut(&mut M, Instant) -> Option<T>,
    ) -> Option<T> {
        loop {
            let now = now();
            machine.advance(now);
            if let Some(done) = done(machine, now) {
                self.write_out(machine, now);
                return Some(done);
            }
            if self.sync(machine, now) == Moved::Some {
                // A peer that never pauses must not keep the other tasks of this thread waiting.
                yield_now().await;
                continue;
            }
            if now >= until {
                return None;
            }
            let wake = machine.wake().map_or(until, |wake| wake.min(until));
            self.wait(machine, wake).await;
        }
    }

    /// One turn without waiting.
    pub(super) fn turn<M: Machine>(&mut self, machine: &mut M, now: Instant) {
        machine.advance(now);
        self.sync(machine, now);
    }

    /// Opens and closes sockets as the links want, and moves bytes.
    fn sync<M: Machine>(&mut self, machine: &mut M, now: Instant) -> Moved {
        let cluster = machine.cluster();
        let config = Arc::clone(cluster.config());
        let mut moved = if cluster.take_eager() {
            Moved::Some
        } else {
            Moved::Nothing
        };
        self.0.resize_with(cluster.links().len(), || Slot::Closed);
        for (slot, link) in self.0.iter_mut().zip(cluster.links()) {
            moved = slot.sync(link, &config, now).or(moved);
        }
        moved
    }

    /// Hands over what is to be sent; reads nothing, because frames may be on loan.
    fn write_out<M: Machine>(&mut self, machine: &mut M, now: Instant) {
        for (slot, link) in self.0.iter_mut().zip(machine.cluster().links()) {
            if let Slot::Open(stream) = slot
                && !link.output().is_empty()
            {
                write_out(link, stream, now);
            }
        }
    }

    /// Waits until a socket is ready or `wake` has come.
    async fn wait<M: Machine>(&mut self, machine: &mut M, wake: Instant) {
        let mut alarm = pin!(sleep_until(wake.into()));
        poll_fn(|context| {
            let links = machine.cluster().links();
            // Every socket is asked, so that each of them may wake this task.
            let mut ready = alarm.as_mut().poll(context).is_ready();
            for (slot, link) in self.0.iter_mut().zip(links) {
                ready |= slot.is_ready(link, context);
            }
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Slot {
    fn is_ready(&mut self, link: &Link, context: &mut Context<'_>) -> bool {
        match self {
            Self::Closed => false,
            Self::Connected(_) => true,
            Self::Connecting(connecting) => match connecting.as_mut().poll(context) {
                Poll::Ready(outcome) => {
                    *self = Self::Connected(outcome);
                    true
                }
                Poll::Pending => false,
            },
            Self::Open(stream) => {
                let readable = stream.poll_read_ready(context).is_ready();
                let writable = !link.output().is_empty() && stream.poll_write_ready(context).is_ready();
                readable || writable
            }
        }
    }

    fn sync(&mut self, link: &mut Link, config: &ClientConfig, now: Instant) -> Moved {
        if !link.has_socket() {
            *self = Self::Closed;
        }
        if let Some(address) = link.call_now(config, now) {
            *self = Self::Connecting(Box::pin(call(address)));
            return Moved::Nothing;
        }
        if let Self::Connected(_) = self {
            match std::mem::replace(self, Self::Closed) {
                Self::Connected(Ok(stream)) => {
                    link.connected(config);
                    *self = Self::Open(stream);
                }
                Self::Connected(Err(error)) => link.fail(error, now),
                other => *self = other,
            }
        }
        match self {
            Self::Open(stream) => transfer(link, stream, now),
            _ => Moved::Nothing,
        }
    }
}

async fn call(address: Arc<str>) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(&*address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Lets other tasks run once.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

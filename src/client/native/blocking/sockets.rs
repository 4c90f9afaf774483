//! The sockets of the blocking front: one for each connection, none of which ever blocks, and `poll(2)` over all.
//!
//! Connecting does not block either, so a node that does not answer delays nobody. Owned by one client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::now;
use crate::client::native::config::ClientConfig;
use crate::client::native::drive::{Machine, Moved, Socket, transfer, write_out};
use crate::client::native::link::Link;

/// See the module. In the order of the cluster's links.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<Slot>);

#[derive(Debug)]
enum Slot {
    Closed,
    Connecting(TcpStream),
    Open(TcpStream),
}

impl Socket for TcpStream {
    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut stream = self;
        stream.read(into)
    }

    fn try_write(&self, from: &[u8]) -> io::Result<usize> {
        let mut stream = self;
        stream.write(from)
    }
}

impl Sockets {
    /// Turns the crank until `done` gives something or `until` has passed. At least one look.
    pub(super) fn drive<M: Machine, T>(
        &mut self,
        machine: &mut M,
        until: Option<Instant>,
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
                continue;
            }
            if until.is_some_and(|until| now >= until) {
                return None;
            }
            let wake = until.into_iter().chain(machine.wake()).min();
            self.wait(machine, wake.map(|wake| wake.saturating_duration_since(now)));
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

    /// Sleeps until a socket is ready or `time` is over.
    fn wait<M: Machine>(&mut self, machine: &mut M, time: Option<Duration>) {
        let links = machine.cluster().links();
        let mut polled = Vec::with_capacity(self.0.len());
        for (slot, link) in self.0.iter().zip(links) {
            match slot {
                Slot::Closed => {}
                Slot::Connecting(stream) => polled.push(PollFd::new(stream, PollFlags::OUT)),
                Slot::Open(stream) if link.output().is_empty() => {
                    polled.push(PollFd::new(stream, PollFlags::IN))
                }
                Slot::Open(stream) => polled.push(PollFd::new(stream, PollFlags::IN | PollFlags::OUT)),
            }
        }
        let time = time.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        // Interrupted or not, the caller looks again.
        poll(&mut polled, time.as_ref()).ok();
    }
}

impl Slot {
    fn sync(&mut self, link: &mut Link, config: &ClientConfig, now: Instant) -> Moved {
        if !link.has_socket() {
            *self = Self::Closed;
        }
        if let Some(address) = link.call_now(config, now) {
            match call(&address, link.failures()) {
                Ok(stream) => *self = Self::Connecting(stream),
                Err(error) => link.fail(error, now),
            }
            return Moved::Some;
        }
        if let Self::Connecting(stream) = self {
            match is_connected(stream) {
                Ok(false) => return Moved::Nothing,
                Ok(true) => {
                    link.connected(config);
                    let Self::Connecting(stream) = std::mem::replace(self, Self::Closed) else {
                        return Moved::Nothing;
                    };
                    *self = Self::Open(stream);
                }
                Err(error) => {
                    link.fail(error, now);
                    return Moved::Some;
                }
            }
        }
        match self {
            Self::Open(stream) => transfer(link, stream, now),
            _ => Moved::Nothing,
        }
    }
}

/// Begins to connect. A name may stand for several addresses: each attempt takes the next one.
fn call(address: &str, attempt: u32) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let count = addresses.len().max(1);
    let turn = usize::try_from(attempt).unwrap_or(0) % count;
    let address = addresses
        .get(turn)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match connect(&socket, address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the socket stands; an error if it never will.
fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    let mut polled = [PollFd::new(stream, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if poll(&mut polled, Some(&now))? == 0 {
        return Ok(false);
    }
    match sockopt::socket_error(stream)? {
        Ok(()) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

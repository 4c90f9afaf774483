//! What blocking and asynchronous fronts share: the turn of the crank.
//!
//! A front owns sockets and waits; everything else is the machine's. One turn is: digest what was received, see whether
//! the caller has what it waits for, move bytes between connections and sockets, and if nothing moved, sleep until a
//! socket is ready or the machine wants to be woken. [`Turn`] is that loop with the waiting left out.

use std::io;
use std::time::Instant;

use super::cluster::Cluster;
use super::link::Link;

/// A state machine over the connections of a cluster.
pub(super) trait Machine {
    /// Its connections.
    fn cluster(&mut self) -> &mut Cluster;

    /// Digests what was received and queues what follows from it and from the time.
    fn advance(&mut self, now: Instant);

    /// When [`Self::advance`] must be called even if nothing was received.
    fn wake(&self) -> Option<Instant>;
}

/// A socket that never blocks.
pub(super) trait Socket {
    /// Reads what there is; `WouldBlock` if nothing.
    fn try_read(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes what fits; `WouldBlock` if nothing.
    fn try_write(&self, from: &[u8]) -> io::Result<usize>;
}

/// Whether bytes moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moved {
    /// Some did.
    Some,
    /// None did.
    Nothing,
}

impl Moved {
    pub(super) fn or(self, other: Self) -> Self {
        if self == Self::Some { self } else { other }
    }
}

/// Moves what can be moved in both directions. A failure ends the link.
pub(super) fn transfer(link: &mut Link, socket: &impl Socket, now: Instant) -> Moved {
    let wrote = write_out(link, socket, now);
    if !link.has_socket() {
        return wrote;
    }
    let read = socket.try_read(link.room());
    match read {
        Ok(0) => link.fail("the broker closed it", now),
        Ok(count) => {
            link.received(count);
            return Moved::Some;
        }
        Err(error) if is_patience(&error) => return wrote,
        Err(error) => link.fail(error, now),
    }
    Moved::Some
}

/// Writes what can be written, and reads nothing: frames on loan stay where they are.
pub(super) fn write_out(link: &mut Link, socket: &impl Socket, now: Instant) -> Moved {
    let mut moved = Moved::Nothing;
    while !link.output().is_empty() {
        match socket.try_write(link.output()) {
            Ok(count) => link.wrote(count),
            Err(error) if is_patience(&error) => return moved,
            Err(error) => link.fail(error, now),
        }
        moved = Moved::Some;
    }
    moved
}

fn is_patience(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

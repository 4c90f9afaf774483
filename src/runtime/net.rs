//! TCP as a shard sees it: listeners that share a port between shards, and streams with a reader and a writer side.
//!
//! `SO_REUSEPORT` is set on every listener, so each shard listens on the base port and the kernel spreads
//! connections. The same flag would let a second broker take the port unnoticed; the data-directory lock
//! (`server::bootstrap`) prevents that.
//!
//! **Who waits where.** A read is an operation on the ring and completes with its bytes: waiting for the next request and
//! getting it is one system call. The ring owns the memory meanwhile, so a read takes a vector and gives it back. A write
//! is tried at once, from the caller's memory, and only a full socket waits on the ring for room. Accepting is rare: the
//! ring says when, a call of its own does it.

#![expect(
    unsafe_code,
    reason = "the kernel fills a vector's unused capacity, which then becomes its length"
)]

use super::reactor::{Keep, Reactor};
#[cfg(test)]
use super::sim::{SimListener, SimSocket};
use io_uring::{opcode, types};
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, sockopt};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

/// Most slices one vectored write hands to the kernel; more are written by further calls.
const WRITE_SLICES_MAX: usize = 64;

/// How long a connection is silent before the kernel asks whether the peer is there.
const KEEPALIVE_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// How often it asks; it gives up after the system's usual number of tries.
const KEEPALIVE_EVERY: std::time::Duration = std::time::Duration::from_secs(15);

/// Connections the kernel queues before the shard accepts them.
const ACCEPT_BACKLOG: i32 = 1024;

/// A bound socket that is not yet tied to a thread, so that every port is taken before any shard starts and a
/// taken port is one clear error.
#[derive(Debug)]
pub struct BoundSocket {
    fd: OwnedFd,
    address: SocketAddr,
}

impl BoundSocket {
    /// Binds and listens on `address`; port 0 picks a free one, see [`address`](Self::address). With `shared`, other
    /// sockets of this process may bind the same address.
    ///
    /// # Errors
    /// The kernel's, `AddrInUse` among them.
    pub fn bind(address: SocketAddr, shared: bool) -> io::Result<Self> {
        use rustix::net::{self, AddressFamily, SocketType};
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = net::socket_with(family, SocketType::STREAM, flags, None)?;
        // A restarted broker must get its port back while old connections linger in TIME_WAIT.
        sockopt::set_socket_reuseaddr(&fd, true)?;
        sockopt::set_socket_reuseport(&fd, shared)?;
        net::bind(&fd, &address)?;
        net::listen(&fd, ACCEPT_BACKLOG)?;
        let address = SocketAddr::try_from(net::getsockname(&fd)?)?;
        Ok(Self { fd, address })
    }

    /// The address actually bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands the socket to the calling shard thread.
    #[must_use]
    pub fn into_listener(self) -> Listener {
        Listener(ListenerSocket::Fd(Rc::new(self.fd)))
    }
}

/// A listening socket of one shard. Dropped, it listens no more.
#[derive(Debug)]
pub struct Listener(ListenerSocket);

#[derive(Debug)]
enum ListenerSocket {
    Fd(Rc<OwnedFd>),
    #[cfg(test)]
    Sim(SimListener),
}

impl Listener {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// Those of `accept(2)`; `EMFILE` and the like pass, so the caller pauses and goes on.
    pub async fn accept(&self) -> io::Result<Stream> {
        #[cfg(test)]
        if let ListenerSocket::Sim(listener) = &self.0 {
            let (socket, peer) = listener.accept().await;
            return Ok(Stream::simulated(socket, peer));
        }
        let socket = self.fd();
        loop {
            // A stream that blocks: the ring would not wait for one that does not.
            match rustix::net::acceptfrom_with(socket, SocketFlags::CLOEXEC) {
                Ok((fd, peer)) => return Stream::new(fd, peer),
                Err(rustix::io::Errno::AGAIN) => wait_until(socket, libc::POLLIN).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn fd(&self) -> &Rc<OwnedFd> {
        match &self.0 {
            ListenerSocket::Fd(fd) => fd,
            #[cfg(test)]
            ListenerSocket::Sim(_) => unreachable!("a simulated socket is asked first"),
        }
    }

    /// A listener of a simulated network.
    #[cfg(test)]
    pub(crate) const fn simulated(listener: SimListener) -> Self {
        Self(ListenerSocket::Sim(listener))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        match &self.0 {
            // The ring may still wait on the socket and so keep it open: this ends both.
            ListenerSocket::Fd(fd) => {
                let _closed = rustix::net::shutdown(fd, Shutdown::Both);
            }
            #[cfg(test)]
            ListenerSocket::Sim(_) => {}
        }
    }
}

/// How much a read waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Whatever is there, at least one byte.
    Some,
    /// Everything that was asked for.
    All,
}

/// A TCP connection. Clones share it: one task reads while another writes. Who ends it calls [`Self::shut_down`]: a read that
/// was given up keeps the connection open until then.
#[derive(Clone, Debug)]
pub struct Stream {
    socket: Socket,
    peer: SocketAddr,
}

#[derive(Clone, Debug)]
enum Socket {
    Fd(Rc<OwnedFd>),
    #[cfg(test)]
    Sim(SimSocket),
}

impl Stream {
    fn new(fd: OwnedFd, peer: Option<rustix::net::SocketAddrAny>) -> io::Result<Self> {
        // Answers are written whole; waiting for more bytes only adds latency.
        sockopt::set_tcp_nodelay(&fd, true)?;
        // A peer that vanished without a word is noticed even where nobody writes to it.
        sockopt::set_socket_keepalive(&fd, true)?;
        sockopt::set_tcp_keepidle(&fd, KEEPALIVE_AFTER)?;
        sockopt::set_tcp_keepintvl(&fd, KEEPALIVE_EVERY)?;
        let peer = SocketAddr::try_from(peer.ok_or(io::ErrorKind::NotConnected)?)?;
        Ok(Self {
            socket: Socket::Fd(Rc::new(fd)),
            peer,
        })
    }

    fn fd(&self) -> &Rc<OwnedFd> {
        match &self.socket {
            Socket::Fd(fd) => fd,
            #[cfg(test)]
            Socket::Sim(_) => unreachable!("a simulated socket is asked first"),
        }
    }

    /// A connection of a simulated network.
    #[cfg(test)]
    pub(crate) const fn simulated(socket: SimSocket, peer: SocketAddr) -> Self {
        Self {
            socket: Socket::Sim(socket),
            peer,
        }
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Reads up to `most` bytes into the unused capacity of `bytes`, behind what is in it; returns how many came, zero at
    /// the end of the stream. With [`Want::All`] fewer than asked means the end.
    ///
    /// Dropping the future loses what arrives: only for giving up the connection.
    pub async fn read(&self, mut bytes: Vec<u8>, most: usize, want: Want) -> (io::Result<usize>, Vec<u8>) {
        #[cfg(test)]
        if let Socket::Sim(socket) = &self.socket {
            return socket.read(bytes, most, want).await;
        }
        let socket = self.fd();
        let room = bytes.spare_capacity_mut();
        let len = room.len().min(most);
        let entry = opcode::Recv::new(
            types::Fd(socket.as_raw_fd()),
            room.as_mut_ptr().cast(),
            u32::try_from(len).unwrap_or(u32::MAX),
        );
        let entry = match want {
            Want::Some => entry,
            Want::All => entry.flags(libc::MSG_WAITALL),
        };
        let keep = Keep::Received {
            socket: Rc::clone(socket),
            bytes,
        };
        let done = Reactor::here().submit(&entry.build(), keep).await;
        let count = done.count();
        let Keep::Received { mut bytes, .. } = done.keep else {
            unreachable!("an operation gives back what it was given")
        };
        let len = bytes.len() + *count.as_ref().unwrap_or(&0);
        // SAFETY: the kernel has written that many bytes behind the first `len`, inside the capacity it was told of.
        unsafe { bytes.set_len(len) };
        (count, bytes)
    }

    /// Writes some of `slices`, in order; returns how many bytes went.
    ///
    /// # Errors
    /// The connection's.
    pub async fn write_some(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(test)]
        if let Socket::Sim(socket) = &self.socket {
            return socket.write_some(slices).await;
        }
        let socket = self.fd();
        let slices = &slices[..slices.len().min(WRITE_SLICES_MAX)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            let sent = match slices {
                [one] => rustix::net::send(socket, one, flags),
                many => rustix::net::sendmsg(socket, many, &mut SendAncillaryBuffer::default(), flags),
            };
            match sent {
                Err(rustix::io::Errno::AGAIN) => wait_until(socket, libc::POLLOUT).await?,
                Err(rustix::io::Errno::INTR) => {}
                sent => return Ok(sent?),
            }
        }
    }

    /// Waits until the kernel has received `bytes` that were not read yet, or as many as it keeps, or the stream has ended or
    /// broken.
    ///
    /// # Errors
    /// The connection's.
    pub async fn wait_for_bytes(&self, bytes: usize) -> io::Result<()> {
        #[cfg(test)]
        if let Socket::Sim(socket) = &self.socket {
            return socket.wait_for_bytes(bytes).await;
        }
        let socket = self.fd();
        let _reset = LowWater::set(socket, bytes)?;
        wait_until(socket, libc::POLLIN).await
    }

    /// Bytes written that the peer's kernel has not taken; 0 where nobody can say.
    #[must_use]
    pub fn bytes_under_way(&self) -> usize {
        #[cfg(test)]
        if let Socket::Sim(socket) = &self.socket {
            return socket.bytes_under_way();
        }
        let socket = self.fd();
        let mut bytes: libc::c_int = 0;
        // SAFETY: the request stores one int where it is told to, which is a live local.
        let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        match asked {
            0 => usize::try_from(bytes).unwrap_or(0),
            _ => 0,
        }
    }

    /// Ends both directions; a blocked reader wakes with end of stream.
    pub fn shut_down(&self) {
        match &self.socket {
            // The peer may be gone already; there is nothing left to do then.
            Socket::Fd(fd) => {
                let _gone = rustix::net::shutdown(fd, Shutdown::Both);
            }
            #[cfg(test)]
            Socket::Sim(socket) => socket.shut_down(),
        }
    }
}

/// A socket that counts as readable from so many bytes on; from one on again when this is dropped, because reads look at
/// it, too.
struct LowWater<'a>(&'a OwnedFd);

impl<'a> LowWater<'a> {
    fn set(fd: &'a OwnedFd, bytes: usize) -> io::Result<Self> {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        set_low_water(fd, bytes)?;
        Ok(Self(fd))
    }
}

impl Drop for LowWater<'_> {
    fn drop(&mut self) {
        // It was set before, so it can be set.
        let _reset = set_low_water(self.0, 1);
    }
}

fn set_low_water(fd: &OwnedFd, bytes: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("an int is small");
    // SAFETY: the option is read from a live local int of the length that is told.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            length,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until `socket` is ready for `events`, or broken.
async fn wait_until(socket: &Rc<OwnedFd>, events: libc::c_short) -> io::Result<()> {
    let events = u32::try_from(events).expect("poll's events are positive");
    let entry = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), events).build();
    let keep = Keep::Socket(Rc::clone(socket));
    Reactor::here().submit(&entry, keep).await.count().map(drop)
}

//! TCP as a shard sees it: listeners that share a port between shards, and streams with a reader and a writer side.
//!
//! `SO_REUSEPORT` is set on every listener, so each shard listens on the base port and the kernel spreads
//! connections. The same flag would let a second broker take the port unnoticed; the data-directory lock
//! (`server::bootstrap`) prevents that.

use futures_lite::{AsyncRead, AsyncWrite};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;

/// Most slices one vectored write hands to the kernel; more are written by further calls.
const WRITE_SLICES_MAX: usize = 64;

/// Connections the kernel queues before the shard accepts them.
const ACCEPT_BACKLOG: i32 = 1024;

/// A bound socket that is not yet tied to a thread, so that every port is taken before any shard starts and a
/// taken port is one clear error.
#[derive(Debug)]
pub struct BoundSocket {
    fd: std::os::fd::OwnedFd,
    address: SocketAddr,
}

impl BoundSocket {
    /// Binds and listens on `address`; port 0 picks a free one, see [`address`](Self::address). With `shared`, other
    /// sockets of this process may bind the same address.
    ///
    /// # Errors
    /// The kernel's, `AddrInUse` among them.
    pub fn bind(address: SocketAddr, shared: bool) -> io::Result<Self> {
        use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
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
    #[expect(unsafe_code, reason = "glommio takes foreign sockets by raw descriptor only")]
    pub fn into_listener(self) -> Listener {
        // SAFETY: the descriptor is a listening socket we own and give up here.
        Listener(unsafe { glommio::net::TcpListener::from_raw_fd(self.fd.into_raw_fd()) })
    }
}

/// A listening socket of one shard.
#[derive(Debug)]
pub struct Listener(glommio::net::TcpListener);

impl Listener {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// Those of `accept(2)`; `EMFILE` and the like pass, so the caller pauses and goes on.
    pub async fn accept(&self) -> io::Result<Stream> {
        let stream = self.0.accept().await.map_err(io::Error::from)?;
        // Answers are written whole; waiting for more bytes only adds latency.
        stream.set_nodelay(true).map_err(io::Error::from)?;
        let peer = stream.peer_addr().map_err(io::Error::from)?;
        Ok(Stream {
            inner: Rc::new(RefCell::new(stream)),
            peer,
        })
    }
}

/// A TCP connection. Clones share it: one task reads while another writes; two readers or two writers would lose
/// each other's wake-ups.
#[derive(Clone, Debug)]
pub struct Stream {
    inner: Rc<RefCell<glommio::net::TcpStream>>,
    peer: SocketAddr,
}

impl Stream {
    /// The other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Reads some bytes; zero at the end of the stream.
    ///
    /// # Errors
    /// The connection's.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *self.inner.borrow_mut()).poll_read(cx, buffer)).await
    }

    /// Writes some of `slices`, in order; returns how many bytes went.
    ///
    /// # Errors
    /// The connection's.
    pub async fn write_some(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let slices = &slices[..slices.len().min(WRITE_SLICES_MAX)];
        poll_fn(|cx| {
            let mut stream = self.inner.borrow_mut();
            match slices {
                [one] => Pin::new(&mut *stream).poll_write(cx, one),
                many => Pin::new(&mut *stream).poll_write_vectored(cx, many),
            }
        })
        .await
    }

    /// Ends both directions; a blocked reader wakes with end of stream.
    pub fn shut_down(&self) {
        use std::os::fd::{AsRawFd, BorrowedFd};
        let stream = self.inner.borrow();
        #[expect(unsafe_code, reason = "the stream only exposes its raw descriptor")]
        // SAFETY: the stream owns the descriptor and is borrowed for the whole call.
        let fd = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
        // The peer may be gone already; there is nothing left to do then.
        let _gone = rustix::net::shutdown(fd, rustix::net::Shutdown::Both);
    }
}

//! Connections of the admin port, under bounds: HTTP libraries leave these to whoever opens the socket.
//!
//! **Promise.** There are at most [`CONNECTIONS_MAX`] connections, whatever is sent on them; one more takes the place of the one
//! that has been there longest, so that a crowd that does nothing does not keep an operator out. A connection that was not
//! written to for [`SILENCE_MAX`] ends: so long may a client take for a request, stay silent between two, or leave its
//! answer unread. Running out of descriptors pauses accepting and ends nothing. The control thread.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// Connections at once; each may hold about half a megabyte of a head that does not end.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// Longer than the minute between two scrapes that metrics collectors are set to.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// Pause after `accept` failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    /// Those that may be there still, the oldest first: dropping a sender ends its connection.
    places: VecDeque<oneshot::Sender<()>>,
}

impl Listener {
    pub(super) const fn new(socket: TcpListener) -> Self {
        Self {
            socket,
            places: VecDeque::new(),
        }
    }

    /// A place for one connection more.
    fn admit(&mut self, stream: TcpStream) -> Connection {
        self.places.retain(|place| !place.is_closed());
        while self.places.len() >= CONNECTIONS_MAX {
            self.places.pop_front();
        }
        let (place, displaced) = oneshot::channel();
        self.places.push_back(place);
        Connection {
            stream,
            displaced,
            silence: Box::pin(sleep(SILENCE_MAX)),
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => return (self.admit(stream), peer),
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection to the admin port failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// One connection and the two reasons to end it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    displaced: oneshot::Receiver<()>,
    silence: Pin<Box<Sleep>>,
}

impl Connection {
    /// Whether it has to go; if not, it is woken when it has.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if Pin::new(&mut self.displaced).poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.silence.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    fn wrote(&mut self) {
        self.silence = Box::pin(sleep(SILENCE_MAX));
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_end(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_end(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            self.wrote();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::serve::Listener as _;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn one_too_many_takes_the_place_of_the_oldest() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut listener = Listener::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let address = listener.local_addr().unwrap();
            let (mut clients, mut served) = (Vec::new(), Vec::new());
            for _ in 0..=CONNECTIONS_MAX {
                clients.push(TcpStream::connect(address).await.unwrap());
                served.push(listener.accept().await.0);
            }
            let displaced = served[0].read(&mut [0]).await.unwrap_err();
            assert_eq!(displaced.kind(), io::ErrorKind::ConnectionAborted);
            clients[1].write_all(b"x").await.unwrap();
            assert_eq!(served[1].read(&mut [0]).await.unwrap(), 1);
            // Places of connections that ended are taken first.
            served.truncate(2);
            clients.push(TcpStream::connect(address).await.unwrap());
            served.push(listener.accept().await.0);
            clients[1].write_all(b"y").await.unwrap();
            assert_eq!(served[1].read(&mut [0]).await.unwrap(), 1);
        });
    }
}

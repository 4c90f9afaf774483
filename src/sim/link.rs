//! A client's connection: Kafka requests out, answers in, over a simulated socket.
//!
//! Requests may be sent before the answers to earlier ones were read; answers come in the order of the requests, and one
//! that does not is an error. Nothing is retried here. After an error the connection is to be dropped, which closes it.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use futures_lite::future::or;

use crate::protocol::kafka::api::ApiKey;
use crate::protocol::kafka::header::{RequestHeader, ResponseHeader};
use crate::protocol::kafka::messages::{Message, Request};
use crate::protocol::kafka::wire::{Reader, Writer};
use crate::runtime::executor;
use crate::runtime::net::{Stream, Want};
use crate::runtime::sim::World;

/// How long a client waits for an answer before it gives the connection up.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// Longest answer a client is ready to read.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// See the module.
pub(super) struct Link {
    stream: Stream,
    correlation: i32,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    api: ApiKey,
    version: i16,
    correlation: i32,
}

/// An answer, not decoded yet.
pub(super) struct Answer {
    frame: Vec<u8>,
    ticket: Ticket,
}

impl Link {
    /// Connects; refused where nobody listens.
    pub(super) fn open(world: &World, address: SocketAddr) -> io::Result<Self> {
        let (socket, peer) = world.net().connect(address)?;
        Ok(Self {
            stream: Stream::simulated(socket, peer),
            correlation: 0,
        })
    }

    /// Sends a request in this version.
    pub(super) async fn send<'q, R: Request<'q>>(&mut self, request: R, version: i16) -> io::Result<Ticket> {
        self.correlation += 1;
        let ticket = Ticket {
            api: R::API,
            version,
            correlation: self.correlation,
        };
        let mut writer = Writer::framed();
        let header = RequestHeader {
            api_key: R::API.key(),
            api_version: version,
            correlation_id: self.correlation,
            client_id: Some("simulated"),
        };
        header.encode(&mut writer);
        request.encode(&mut writer, version);
        let frame = writer.finish().map_err(io::Error::other)?.into_vec();
        let mut sent = 0;
        while sent < frame.len() {
            sent += self.stream.write_some(&[IoSlice::new(&frame[sent..])]).await?;
        }
        Ok(ticket)
    }

    /// Waits for the answer to `ticket`, the oldest that was not read yet.
    pub(super) async fn receive(&mut self, ticket: Ticket) -> io::Result<Answer> {
        within(ANSWER_PATIENCE, self.read_answer(ticket))
            .await
            .unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
    }

    /// One request and its answer.
    pub(super) async fn call<'q, R: Request<'q>>(&mut self, request: R, version: i16) -> io::Result<Answer> {
        let ticket = self.send(request, version).await?;
        self.receive(ticket).await
    }

    async fn read_answer(&self, ticket: Ticket) -> io::Result<Answer> {
        let size = self.read_exactly(4).await?;
        let size = i32::from_be_bytes([size[0], size[1], size[2], size[3]]);
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= ANSWER_BYTES_MAX)
            .ok_or_else(|| nonsense("a frame of an impossible size"))?;
        let frame = self.read_exactly(size).await?;
        let answer = Answer { frame, ticket };
        let header = answer.header()?.0;
        if header == ticket.correlation {
            Ok(answer)
        } else {
            Err(nonsense("the answer to another request"))
        }
    }

    async fn read_exactly(&self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let missing = count - bytes.len();
            let (read, filled) = self.stream.read(bytes, missing, Want::All).await;
            bytes = filled;
            if read? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(bytes)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stream.shut_down();
    }
}

impl Answer {
    /// The body.
    pub(super) fn decode<'r, M: Message<'r>>(&'r self) -> io::Result<M> {
        let (_, body) = self.header()?;
        M::decode(body, self.ticket.version).map_err(|error| nonsense(&error.to_string()))
    }

    fn header(&self) -> io::Result<(i32, &[u8])> {
        let mut reader = Reader::new(&self.frame);
        let header = ResponseHeader::decode(&mut reader, self.ticket.api, self.ticket.version)
            .map_err(|error| nonsense(&error.to_string()))?;
        Ok((header.correlation_id, reader.rest()))
    }
}

/// An answer no broker gives. The book makes a violation of it.
fn nonsense(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

/// The outcome of `work`, if it comes within `limit`.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    or(async { Some(work.await) }, async {
        executor::sleep(limit).await;
        None
    })
    .await
}

//! One connection to one broker: frames out, frames in, and the versions both sides speak.
//!
//! The first exchange on every connection is ApiVersions; each later request uses the newest version both sides
//! know. Answers come in the order of the requests (the protocol's rule), so several may be under way at once: keep the
//! [`Ticket`]s and receive in order. After any error the connection is useless and must be dropped.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;

use crate::protocol::kafka::api::{ApiKey, VersionRange};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::header::{RequestHeader, ResponseHeader};
use crate::protocol::kafka::messages::{ApiVersionsRequest, ApiVersionsResponse, Message, Request};
use crate::protocol::kafka::wire::{Reader, Writer};

use super::error::undecodable;
use super::{ClientError, Patience};

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// An address as a broker gives it; a port that is none becomes 0, to which nobody can connect.
    #[must_use]
    pub fn new(host: &str, port: i32) -> Self {
        Self {
            host: host.to_owned(),
            port: u16::try_from(port).unwrap_or(0),
        }
    }
}

impl FromStr for Address {
    type Err = ClientError;

    /// `host:port`, `[ipv6]:port`, or `host` with the usual port.
    fn from_str(text: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address {
            text: text.to_owned(),
        };
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().map_err(|_| wrong())?),
            Some(_) => return Err(wrong()),
            None => (text, DEFAULT_PORT),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            Err(wrong())
        } else {
            Ok(Self {
                host: host.to_owned(),
                port,
            })
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An open connection that knows what the broker speaks.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: String,
    correlation_id: i32,
    /// By API key.
    versions: Vec<(i16, VersionRange)>,
    /// The answer received last, without its size.
    frame: Vec<u8>,
}

/// A request under way.
#[derive(Debug)]
#[must_use = "an answer that is not received stands in the way of the next"]
pub struct Ticket {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Connection {
    /// Connects to the first of the addresses the name has that answers, and asks for versions.
    pub fn open(address: &Address, patience: Patience) -> Result<Self, ClientError> {
        let stream = dial(address, patience).map_err(|source| ClientError::Connect {
            address: address.to_string(),
            source,
        })?;
        let mut connection = Self {
            stream,
            address: address.to_string(),
            correlation_id: 0,
            versions: Vec::new(),
            frame: Vec::new(),
        };
        connection.versions = connection.ask_versions()?;
        Ok(connection)
    }

    /// Whom this talks to.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request in the newest version both sides speak.
    pub fn send<'q, R: Request<'q>>(&mut self, request: R) -> Result<Ticket, ClientError> {
        let version = self.version_of(R::API)?;
        self.send_as(request, version)
    }

    fn send_as<'q, R: Request<'q>>(&mut self, request: R, version: i16) -> Result<Ticket, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let ticket = Ticket {
            api: R::API,
            version,
            correlation_id: self.correlation_id,
        };
        let mut writer = Writer::framed();
        let header = RequestHeader {
            api_key: R::API.key(),
            api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some(CLIENT_ID),
        };
        header.encode(&mut writer);
        request.encode(&mut writer, version);
        let frame = writer.finish()?;
        for chunk in frame.chunks() {
            self.stream
                .write_all(chunk)
                .map_err(|source| self.broken(source))?;
        }
        Ok(ticket)
    }

    /// Waits for the answer to `ticket`, which must be the oldest one not yet received.
    pub fn receive(&mut self, ticket: &Ticket) -> Result<(), ClientError> {
        let mut size = [0; 4];
        self.stream
            .read_exact(&mut size)
            .map_err(|source| self.broken(source))?;
        let size = u64::try_from(i32::from_be_bytes(size))
            .ok()
            .filter(|size| *size <= ANSWER_BYTES_MAX);
        let Some(size) = size else {
            return Err(ClientError::nonsense(
                &self.address,
                "a frame of an impossible size",
            ));
        };
        self.frame.clear();
        // Grows with what arrives, not with what was announced.
        let read = (&mut self.stream).take(size).read_to_end(&mut self.frame);
        match read {
            Ok(count) if u64::try_from(count) == Ok(size) => {}
            Ok(_) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            Err(source) => return Err(self.broken(source)),
        }
        let found = self.header(ticket)?.0;
        if found == ticket.correlation_id {
            Ok(())
        } else {
            Err(ClientError::nonsense(
                &self.address,
                "the answer to another request",
            ))
        }
    }

    /// Decodes the answer received last.
    pub fn answer<'r, M: Message<'r>>(&'r self, ticket: &Ticket) -> Result<M, ClientError> {
        let (_, body) = self.header(ticket)?;
        M::decode(body, ticket.version).map_err(|error| undecodable(&self.address, &error))
    }

    /// Correlation id and body of the answer received last.
    fn header(&self, ticket: &Ticket) -> Result<(i32, &[u8]), ClientError> {
        let mut reader = Reader::new(&self.frame);
        let header = ResponseHeader::decode(&mut reader, ticket.api, ticket.version)
            .map_err(|error| undecodable(&self.address, &error))?;
        Ok((header.correlation_id, reader.rest()))
    }

    fn ask_versions(&mut self) -> Result<Vec<(i16, VersionRange)>, ClientError> {
        let request = || ApiVersionsRequest {
            client_software_name: CLIENT_ID,
            client_software_version: env!("CARGO_PKG_VERSION"),
        };
        let mut ticket = self.send_as(request(), ApiKey::ApiVersions.versions().max)?;
        self.receive(&ticket)?;
        // A broker that is older than our version answers in version 0, with this error in front.
        let (_, body) = self.header(&ticket)?;
        if body.starts_with(&ErrorCode::UnsupportedVersion.code().to_be_bytes()) {
            ticket = self.send_as(request(), ApiKey::ApiVersions.versions().min)?;
            self.receive(&ticket)?;
        }
        let answer: ApiVersionsResponse<'_> = self.answer(&ticket)?;
        ClientError::check(&self.address, answer.error_code, None)?;
        let ranges = answer.api_keys.iter();
        Ok(ranges
            .map(|one| (one.api_key, VersionRange::new(one.min_version, one.max_version)))
            .collect())
    }

    fn version_of(&self, api: ApiKey) -> Result<i16, ClientError> {
        let ours = api.versions_by_name();
        let unsupported = || ClientError::Unsupported {
            address: self.address.clone(),
            api,
        };
        let (_, theirs) = self
            .versions
            .iter()
            .find(|(key, _)| *key == api.key())
            .ok_or_else(unsupported)?;
        let newest = ours.max.min(theirs.max);
        if newest >= ours.min.max(theirs.min) {
            Ok(newest)
        } else {
            Err(unsupported())
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Io {
            address: self.address.clone(),
            source,
        }
    }
}

fn dial(address: &Address, patience: Patience) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for resolved in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, patience.connect) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(patience.answer))?;
                stream.set_write_timeout(Some(patience.answer))?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// What we call ourselves.
const CLIENT_ID: &str = "corelog-cli";
const DEFAULT_PORT: u16 = 9092;
/// An answer holds at most one batch above what a fetch asks for, and batches are at most 100 MiB by default.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_perhaps_a_port() {
        let parsed = |text: &str| text.parse::<Address>().map(|address| address.to_string()).ok();
        assert_eq!(parsed("broker"), Some("broker:9092".to_owned()));
        assert_eq!(parsed("broker:1"), Some("broker:1".to_owned()));
        assert_eq!(parsed("[::1]:1"), Some("[::1]:1".to_owned()));
        for wrong in ["", ":1", "a:b", "a:99999", "::1", "[]:1"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}

//! Kafka frames written by hand, for what no client library would send and for a client that hides nothing.
//!
//! Independent of the broker's codec on purpose: a shared mistake would cancel out. Only the few old,
//! non-flexible request versions that are needed are here. A [`Connection`] never retries and never
//! reconnects; every surprise is an error for the test to judge.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// API keys used here.
pub(crate) const PRODUCE: i16 = 0;
pub(crate) const FETCH: i16 = 1;
pub(crate) const METADATA: i16 = 3;
pub(crate) const API_VERSIONS: i16 = 18;
/// Longest answer a test is ready to read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What came instead of, or as, an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A frame, without its length.
    Frame(Vec<u8>),
    /// The broker closed the connection.
    Closed,
}

/// A request frame with its length, header version 1 (correlation id and client id, nothing flexible).
pub(crate) fn request(api_key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let client = b"by-hand";
    let mut frame = Vec::new();
    frame.extend(api_key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation.to_be_bytes());
    string(&mut frame, client);
    frame.extend(body);
    let mut out = i32::try_from(frame.len())
        .expect("a frame of ours is short")
        .to_be_bytes()
        .to_vec();
    out.extend(frame);
    out
}

pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(i16::try_from(text.len()).expect("a short string").to_be_bytes());
    out.extend(text);
}

pub(crate) fn bytes(out: &mut Vec<u8>, content: &[u8]) {
    out.extend(
        i32::try_from(content.len())
            .expect("a short byte string")
            .to_be_bytes(),
    );
    out.extend(content);
}

/// Metadata version 4 for one topic, which may be created by it.
pub(crate) fn metadata_body(topic: &str) -> Vec<u8> {
    let mut body = 1_i32.to_be_bytes().to_vec();
    string(&mut body, topic.as_bytes());
    body.push(1);
    body
}

/// Produce version 3 of one batch to partition 0, acks=all.
pub(crate) fn produce_body(topic: &str, batch: &[u8]) -> Vec<u8> {
    let mut body = (-1_i16).to_be_bytes().to_vec();
    body.extend((-1_i16).to_be_bytes());
    body.extend(10_000_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    string(&mut body, topic.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    bytes(&mut body, batch);
    body
}

/// Fetch version 4 of partition 0, up to 1 MiB, waiting at most half a second.
pub(crate) fn fetch_body(topic: &str, offset: i64) -> Vec<u8> {
    let mut body = Vec::new();
    for field in [-1_i32, 500, 1, 1 << 20] {
        body.extend(field.to_be_bytes());
    }
    body.push(0);
    body.extend(1_i32.to_be_bytes());
    string(&mut body, topic.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend((1_i32 << 20).to_be_bytes());
    body
}

/// A record batch (version 2, uncompressed, no producer id) that holds one keyless record of at most 8000 bytes.
pub(crate) fn batch_of(value: &[u8]) -> Vec<u8> {
    // A record: length, then attributes, timestamp delta, offset delta, key length -1, value, no headers.
    let mut record = vec![0, 0, 0, 1];
    varint(&mut record, value.len());
    record.extend(value);
    record.push(0);
    let mut records = Vec::new();
    varint(&mut records, record.len());
    records.extend(record);

    let mut checked = Vec::new();
    checked.extend(0_i16.to_be_bytes()); // attributes
    checked.extend(0_i32.to_be_bytes()); // last offset delta
    checked.extend(1_600_000_000_000_i64.to_be_bytes()); // base timestamp
    checked.extend(1_600_000_000_000_i64.to_be_bytes()); // max timestamp
    checked.extend((-1_i64).to_be_bytes()); // producer id
    checked.extend((-1_i16).to_be_bytes()); // producer epoch
    checked.extend((-1_i32).to_be_bytes()); // base sequence
    checked.extend(1_i32.to_be_bytes()); // record count
    checked.extend(records);

    let mut batch = 0_i64.to_be_bytes().to_vec(); // base offset
    batch.extend(
        i32::try_from(checked.len() + 9)
            .expect("a short batch")
            .to_be_bytes(),
    );
    batch.extend((-1_i32).to_be_bytes()); // leader epoch
    batch.push(2); // magic
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

/// The zigzag variable-length integer of a length.
pub(crate) fn varint(out: &mut Vec<u8>, length: usize) {
    let mut rest = length * 2;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

/// CRC32C, bit by bit: slow, short and not the broker's.
pub(crate) fn crc32c(data: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0x82f6_3b78
        } else {
            crc >> 1
        }
    };
    !data
        .iter()
        .fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

/// Reads big-endian fields off an answer; `None` past its end.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.take(2)
            .map(|b| i16::from_be_bytes(b.try_into().expect("two bytes")))
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    /// An unsigned variable-length integer.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.take(4)
            .map(|b| i32::from_be_bytes(b.try_into().expect("four bytes")))
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.take(8)
            .map(|b| i64::from_be_bytes(b.try_into().expect("eight bytes")))
    }

    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.i16()?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// One connection that does exactly what it is told.
pub(crate) struct Connection {
    stream: TcpStream,
    correlation: i32,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self {
            stream,
            correlation: 0,
        })
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.stream
            .set_read_timeout(Some(patience))
            .expect("a read timeout is set");
    }

    /// Sends bytes as they are. A connection the peer has closed meanwhile is not an error here: what came of
    /// it is the reader's question.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.stream.write_all(bytes) {
            Err(error) if is_closed(&error) => Ok(()),
            other => other,
        }
    }

    /// The next frame, or the end of the connection; an error if neither comes in time.
    pub(crate) fn read(&mut self) -> io::Result<Answer> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Err(error) if is_closed(&error) => return Ok(Answer::Closed),
            other => other?,
        }
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > ANSWER_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "an answer of that length"));
        }
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(Answer::Frame(frame))
    }

    /// One well-formed request; the body of its answer, correlation checked.
    pub(crate) fn call(&mut self, api_key: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
        self.correlation += 1;
        self.stream
            .write_all(&request(api_key, version, self.correlation, body))?;
        match self.read()? {
            Answer::Frame(frame) if frame.get(..4) == Some(&self.correlation.to_be_bytes()[..]) => {
                Ok(frame[4..].to_vec())
            }
            other => Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("no answer in order: {other:?}"),
            )),
        }
    }

    /// Produces one batch to partition 0; the error code and the base offset.
    pub(crate) fn produce(&mut self, topic: &str, batch: &[u8]) -> io::Result<(i16, i64)> {
        let answer = self.call(PRODUCE, 3, &produce_body(topic, batch))?;
        let mut fields = Fields(&answer);
        let verdict = (|| {
            fields.i32()?;
            fields.string()?;
            fields.take(8)?;
            Some((fields.i16()?, fields.i64()?))
        })();
        verdict.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a short produce answer"))
    }

    /// Fetches partition 0; the error code and the raw batches.
    pub(crate) fn fetch(&mut self, topic: &str, offset: i64) -> io::Result<(i16, Vec<u8>)> {
        let answer = self.call(FETCH, 4, &fetch_body(topic, offset))?;
        let mut fields = Fields(&answer);
        let found = (|| {
            fields.take(8)?;
            fields.string()?;
            fields.take(8)?;
            let error = fields.i16()?;
            fields.take(16)?;
            let aborted = usize::try_from(fields.i32()?.max(0)).ok()?;
            fields.take(aborted * 16)?;
            let length = usize::try_from(fields.i32()?).ok()?;
            Some((error, fields.take(length)?.to_vec()))
        })();
        found.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a short fetch answer"))
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

//! `corelog produce`: the lines of standard input, byte for byte, as records.
//!
//! Whatever one read brings is sent at once and acknowledged before the next read: a person who types sees each line
//! written, and a file goes in batches as large as the reads. Lines are bytes, of any encoding; only the line feed
//! at the end is not part of the record. A last line without one counts.

use std::io::BufRead;

use crate::base::Timestamp;
use crate::batch::{Compression, RecordHeader};
use crate::runtime::clock::wall_ms;

use super::args::{Acks, Codec, ProduceArgs};
use super::format::{FormatError, LineReader};
use super::topic::connect;
use super::{CliError, Streams};
use crate::client::kafka::producer::{Identity, Producer, ProducerOptions};

pub(super) fn run(args: &ProduceArgs, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let lines = args.format.reader().map_err(|error| misuse(&error))?;
    if args.key.is_some() && lines.has_key() {
        return Err(CliError::Usage(
            "--key and %k in --format exclude each other".to_owned(),
        ));
    }
    let producer = Producer::new(connect(&args.connection)?, &args.topic, options(args))?;
    let headers = args.headers.iter();
    Sender {
        producer,
        lines,
        key: args.key.as_deref().map(str::as_bytes),
        headers: headers
            .map(|one| RecordHeader::new(&one.key, one.value.as_bytes()))
            .collect(),
        empty: if args.null { Empty::Null } else { Empty::Value },
        line: 0,
    }
    .send_all(streams.input)
}

fn misuse(error: &FormatError) -> CliError {
    CliError::Usage(format!("--format: {error}"))
}

fn options(args: &ProduceArgs) -> ProducerOptions {
    let acks = match args.acks {
        Acks::All => -1,
        Acks::Leader => 1,
        Acks::None => 0,
    };
    // Brokers take sequences only from producers that wait for all replicas.
    let idempotent = !args.no_idempotence && args.acks == Acks::All;
    ProducerOptions {
        compression: match args.compression {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        },
        acks,
        identity: if idempotent {
            Identity::Idempotent
        } else {
            Identity::Anonymous
        },
        partition: args.partition,
    }
}

/// Turns input into records.
struct Sender<'a> {
    producer: Producer,
    lines: LineReader,
    key: Option<&'a [u8]>,
    headers: Vec<RecordHeader<'a>>,
    empty: Empty,
    /// The line last read, counted from 1.
    line: u64,
}

/// What an empty value of a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Empty {
    /// A value of no bytes.
    Value,
    /// Null: a tombstone.
    Null,
}

impl Sender<'_> {
    fn send_all(&mut self, input: &mut dyn BufRead) -> Result<(), CliError> {
        // The beginning of a line whose end has not been read yet.
        let mut begun = Vec::new();
        loop {
            let now = wall_ms();
            let chunk = input
                .fill_buf()
                .map_err(|error| CliError::Failed(format!("standard input: {error}")))?;
            if chunk.is_empty() {
                break;
            }
            let length = chunk.len();
            let mut pieces = chunk.split_inclusive(|byte| *byte == b'\n');
            if let Some(first) = pieces.next() {
                self.take(&mut begun, first, now)?;
            }
            for piece in pieces {
                self.take(&mut begun, piece, now)?;
            }
            input.consume(length);
            self.producer.flush()?;
        }
        if !begun.is_empty() {
            self.send(&begun, wall_ms())?;
        }
        Ok(self.producer.flush()?)
    }

    /// Sends `piece` with what was begun before it, or keeps it if its line goes on.
    fn take(&mut self, begun: &mut Vec<u8>, piece: &[u8], now: Timestamp) -> Result<(), CliError> {
        match piece.strip_suffix(b"\n") {
            Some(line) if begun.is_empty() => self.send(line, now),
            Some(line) => {
                begun.extend_from_slice(line);
                self.send(&std::mem::take(begun), now)
            }
            None if begun.len() + piece.len() > LINE_BYTES_MAX => Err(CliError::Failed(format!(
                "line {} is longer than {LINE_BYTES_MAX} bytes",
                self.line + 1
            ))),
            None => {
                begun.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    fn send(&mut self, line: &[u8], now: Timestamp) -> Result<(), CliError> {
        self.line += 1;
        let Some((key, value)) = self.lines.read(line) else {
            return Err(CliError::Failed(format!(
                "line {} does not look like --format",
                self.line
            )));
        };
        let is_null = self.empty == Empty::Null && value.is_empty();
        Ok(self.producer.push(
            key.as_deref().or(self.key),
            (!is_null).then_some(&*value),
            &self.headers,
            now,
        )?)
    }
}

/// No broker takes a record this long; a line this long is not text.
const LINE_BYTES_MAX: usize = 100 << 20;

#[cfg(test)]
mod tests {
    use super::super::tests::corelog;
    use super::*;
    use crate::client::kafka::peer::{Fault, Peer};

    fn produce(peer: &Peer, line: &[&str], input: &str) -> (u8, String) {
        let (code, out, err) = corelog(
            &[&["produce", "t", "--brokers", &peer.address()], line].concat(),
            input,
        );
        assert_eq!(out, "");
        (code, err)
    }

    #[test]
    fn every_line_is_a_record() {
        let peer = Peer::start();
        let input = "first\n\n spaces \ttabs\r\nümlaut\nlast without an end";
        assert_eq!(produce(&peer, &["-z", "zstd"], input), (0, String::new()));
        assert_eq!(
            peer.values("t", 0),
            ["first", "", " spaces \ttabs\r", "ümlaut", "last without an end"]
        );
    }

    #[test]
    fn lines_longer_than_a_read_stay_whole() {
        let peer = Peer::start();
        let long = "y".repeat(3000);
        let input = format!("a\n{long}\nb\n");
        let mut small_reads = std::io::BufReader::with_capacity(7, input.as_bytes());
        let options = ProducerOptions {
            compression: Compression::None,
            acks: -1,
            identity: Identity::Idempotent,
            partition: None,
        };
        let producer = Producer::new(peer.client(), "t", options).unwrap();
        let lines = "%v\\n"
            .parse::<super::super::format::Format>()
            .unwrap()
            .reader()
            .unwrap();
        let mut sender = Sender {
            producer,
            lines,
            key: None,
            headers: Vec::new(),
            empty: Empty::Value,
            line: 0,
        };
        sender.send_all(&mut small_reads).unwrap();
        assert_eq!(peer.values("t", 0), ["a", &long, "b"]);
    }

    #[test]
    fn nothing_in_nothing_out() {
        let peer = Peer::start();
        assert_eq!(produce(&peer, &[], ""), (0, String::new()));
        assert!(peer.values("t", 0).is_empty());
    }

    #[test]
    fn keys_come_from_the_line_or_the_flag() {
        let peer = Peer::start();
        assert_eq!(produce(&peer, &["-f", "%k:%v\\n"], "k1:v1\nk2:v2\n").0, 0);
        assert_eq!(produce(&peer, &["-k", "k"], "v3\n").0, 0);
        assert_eq!(peer.values("t", 0), ["v1", "v2", "v3"]);
        let (code, err) = produce(&peer, &["-f", "%k:%v\\n"], "k:v\nnokey\n");
        assert_eq!(
            (code, err.as_str()),
            (1, "error: line 2 does not look like --format\n")
        );
        assert_eq!(produce(&peer, &["-f", "%k:%v\\n", "-k", "k"], "").0, 2);
        assert_eq!(produce(&peer, &["-f", "%k%v"], "").0, 2);
    }

    #[test]
    fn a_refusal_is_told_and_fails() {
        let peer = Peer::start();
        peer.create("t", 1);
        // Behind metadata and producer id comes the produce request.
        peer.fail_next(Fault::Refuse(crate::protocol::kafka::errors::ErrorCode::None));
        peer.fail_next(Fault::Refuse(crate::protocol::kafka::errors::ErrorCode::None));
        peer.fail_next(Fault::Refuse(
            crate::protocol::kafka::errors::ErrorCode::MessageTooLarge,
        ));
        let (code, err) = produce(&peer, &[], "x\n");
        assert_eq!(code, 1);
        assert!(err.starts_with("error: t-0: MESSAGE_TOO_LARGE"), "{err}");
    }
}

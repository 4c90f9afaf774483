//! The grammar of `corelog produce` and `corelog consume`.

use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::super::format::Format;
use super::super::moment;
use super::{Assignment, Connection, OutputFormat};
pub use crate::client::kafka::consumer::StartAt;

/// `produce`.
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// The topic
    pub topic: String,
    /// How a line becomes a record: %k key, %v value, between them what separates them; also %k{hex}, %v{base64}
    #[arg(short, long, default_value = "%v\\n")]
    pub format: Format,
    /// Key of every record
    #[arg(short, long)]
    pub key: Option<String>,
    /// Compression of the batches
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::None)]
    pub compression: Codec,
    /// A header of every record; may be given many times
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<Assignment>,
    /// An empty value is null: with a key, it deletes the key from a compacted topic
    #[arg(short = 'Z', long)]
    pub null: bool,
    /// Partition of every record; else by key, and without a key in turn
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Acknowledgements to wait for
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub acks: Acks,
    /// Send without sequence numbers: a retry may then write a record twice
    #[arg(long)]
    pub no_idempotence: bool,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    /// Not at all
    None,
    /// gzip
    Gzip,
    /// Snappy
    Snappy,
    /// LZ4
    Lz4,
    /// Zstandard
    Zstd,
}

/// Which acknowledgement a producer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// Durable on every replica
    All,
    /// Durable on the leader
    #[value(name = "1")]
    Leader,
    /// None: the record may be lost
    #[value(name = "0")]
    None,
}

/// `consume`.
#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// The topic
    pub topic: String,
    /// Where to begin: start, end, an offset, -N (the last N of each partition) or @TIME
    /// (milliseconds since 1970, 2026-11-21T14:00:00Z, or a time ago such as -1h)
    #[arg(short, long, default_value = "start", allow_hyphen_values = true)]
    pub offset: StartAt,
    /// Read as a member of this consumer group: from where it stopped, committing what was printed
    #[arg(short, long, conflicts_with_all = ["offset", "partition"])]
    pub group: Option<String>,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop at the end of the topic instead of waiting for more
    #[arg(short = 'e', long)]
    pub exit_at_end: bool,
    /// How a record is printed: %v value, %k key, %V and %K their bytes, %o offset, %p partition, %t topic, %T timestamp
    /// in ms, %h headers; %v{hex}, %v{base64}, %T{iso}
    #[arg(short, long, default_value = "%v\\n")]
    pub format: Format,
    /// Only this partition
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// "json" prints one object a record instead of the format
    #[arg(long, value_enum, conflicts_with = "format")]
    pub output: Option<OutputFormat>,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
}

impl FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits
                .parse::<i64>()
                .ok()
                .filter(|_| plain)
                .ok_or_else(|| WRONG_START.to_owned())
        };
        match text {
            "start" | "beginning" | "earliest" => Ok(Self::Start),
            "end" | "latest" => Ok(Self::End),
            _ => match (text.strip_prefix('@'), text.strip_prefix('-')) {
                (Some(time), _) => moment::parse(time)
                    .map(Self::Timestamp)
                    .ok_or_else(|| WRONG_START.to_owned()),
                (_, Some(count)) => number(count).map(Self::BeforeEnd),
                _ => number(text).map(Self::Offset),
            },
        }
    }
}

const WRONG_START: &str = "expected start, end, an offset, -N, or @ and milliseconds since 1970, a date such as 2026-11-21T14:00:00Z, or a time ago such as -1h";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_words_numbers_and_times() {
        let cases = [
            ("start", Ok(StartAt::Start)),
            ("end", Ok(StartAt::End)),
            ("42", Ok(StartAt::Offset(42))),
            ("-5", Ok(StartAt::BeforeEnd(5))),
            ("@1700000000000", Ok(StartAt::Timestamp(1_700_000_000_000))),
            ("@2023-11-14T22:13:20Z", Ok(StartAt::Timestamp(1_700_000_000_000))),
            ("--5", Err(WRONG_START.to_owned())),
            ("@", Err(WRONG_START.to_owned())),
            ("99999999999999999999", Err(WRONG_START.to_owned())),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }
}

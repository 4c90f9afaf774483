//! The grammar of the command line. Nothing here does anything.
//!
//! `-o` chooses the output format of commands that list; for `consume`, where `-o` is the offset as in every Kafka
//! tool, the long form `--output` chooses it.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::server::config::load::Profile;
use crate::server::config::{Advertise, Sources};

use super::bench::BenchCommand;
use super::format::Format;

/// A durable, thread-per-core message broker that speaks the Kafka protocol.
#[derive(Debug, Parser)]
#[command(name = "corelog", version, about, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
First steps:
  corelog serve
  corelog topic create hello -p 4
  echo hi | corelog produce hello
  corelog consume hello -e

Exit codes: 0 done, 1 failed, 2 used wrongly.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Create, list, describe, delete and alter topics
    Topic {
        /// What to do with topics.
        #[command(subcommand)]
        command: TopicCommand,
    },
    /// Send the lines of standard input to a topic
    Produce(ProduceArgs),
    /// Print the records of a topic
    Consume(ConsumeArgs),
    /// Look into the files of a stopped server
    Log {
        /// What to do with the files.
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Print or check the configuration
    Config {
        /// What to do with the configuration.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Measure brokers: load, latency, what the machine could do
    Bench {
        /// What to measure.
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Print the version and how it was built
    Version {
        /// How to print it
        #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
}

/// How lists are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Columns for people
    #[default]
    Table,
    /// One JSON document
    Json,
}

/// Where the settings of a server come from.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Development defaults: one core, 64 MiB, debug logs. Durability is the same
    #[arg(long)]
    pub dev: bool,
    /// TOML file with settings (`corelog config default` prints one)
    #[arg(long, value_name = "FILE", env = "CORELOG_CONFIG")]
    pub config: Option<PathBuf>,
    /// One setting, such as log.segment_bytes=64MiB; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Directory of the log and the metadata
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Cores that run shards: all, any:N or a list such as 0-3,6
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// Address of the Kafka port
    #[arg(long, value_name = "IP:PORT")]
    pub kafka: Option<String>,
    /// Address of the admin port
    #[arg(long, value_name = "IP:PORT")]
    pub admin: Option<String>,
    /// Memory budget of each shard
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Which brokers clients are told about
    #[arg(long, value_enum)]
    pub advertise: Option<Advertise>,
    /// Listen on addresses other machines can reach, without authentication
    #[arg(long)]
    pub insecure: bool,
}

impl ServeArgs {
    /// The sources these arguments and `environment` name; `file` is the text of `--config`.
    #[must_use]
    pub fn sources(&self, environment: Vec<(String, String)>, file: Option<(PathBuf, String)>) -> Sources {
        let advertise = self.advertise.map(|advertise| advertise.to_string());
        let insecure = self.insecure.then(|| "true".to_owned());
        let flags = [
            ("--data-dir", "data_dir", self.data_dir.clone()),
            ("--cores", "cores", self.cores.clone()),
            ("--kafka", "kafka.listen", self.kafka.clone()),
            ("--admin", "admin.listen", self.admin.clone()),
            ("--memory", "memory", self.memory.clone()),
            ("--advertise", "kafka.advertise", advertise),
            ("--insecure", "insecure", insecure),
        ];
        Sources {
            profile: if self.dev {
                Profile::Development
            } else {
                Profile::Standard
            },
            file,
            environment,
            assignments: self.set.clone(),
            flags: flags
                .into_iter()
                .filter_map(|(flag, key, value)| Some((flag, key, value?)))
                .collect(),
        }
    }
}

/// Where to find a broker.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    /// Brokers to ask first, separated by commas
    #[arg(short, long, value_name = "HOST:PORT,..", env = "CORELOG_BROKERS", default_value = DEFAULT_BROKERS, value_delimiter = ',')]
    pub brokers: Vec<String>,
}

const DEFAULT_BROKERS: &str = "127.0.0.1:9092";

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create topics
    Create(TopicCreate),
    /// List topics
    List(TopicList),
    /// Show partitions, leaders, offsets and settings
    Describe(TopicDescribe),
    /// Delete topics and everything in them
    Delete(TopicDelete),
    /// Add partitions or change settings
    Alter(TopicAlter),
}

/// `topic create`.
#[derive(Debug, Args)]
pub struct TopicCreate {
    /// Names of the topics
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Partitions of each; the broker's default if not given
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// A setting of the topics, such as retention.ms=3600000; may be given many times
    #[arg(short, long = "config", value_name = "KEY=VALUE")]
    pub config: Vec<Assignment>,
    /// Do not fail for topics that exist
    #[arg(long)]
    pub if_not_exists: bool,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// `topic list`.
#[derive(Debug, Args)]
pub struct TopicList {
    /// Show internal topics too
    #[arg(long)]
    pub internal: bool,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print the list
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// `topic describe`.
#[derive(Debug, Args)]
pub struct TopicDescribe {
    /// Names of the topics
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print the description
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// `topic delete`.
#[derive(Debug, Args)]
pub struct TopicDelete {
    /// Names of the topics
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// `topic alter`.
#[derive(Debug, Args)]
pub struct TopicAlter {
    /// Name of the topic
    pub name: String,
    /// Partitions it shall have; only more than it has
    #[arg(short, long, required_unless_present = "config", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// A setting to change; may be given many times
    #[arg(short, long = "config", value_name = "KEY=VALUE")]
    pub config: Vec<Assignment>,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// A setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("write it as key=value".to_owned()),
        }
    }
}

/// `produce`.
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// The topic
    pub topic: String,
    /// How a line becomes a record: %k key, %v value, between them what separates them
    #[arg(short, long, default_value = "%v\\n")]
    pub format: Format,
    /// Key of every record
    #[arg(short, long)]
    pub key: Option<String>,
    /// Compression of the batches
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::None)]
    pub compression: Codec,
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
    /// Where to begin: start, end, an offset, -N (the last N of each partition) or @MILLISECONDS since 1970
    #[arg(short, long, default_value = "start", allow_hyphen_values = true)]
    pub offset: StartAt,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop at the end of the topic instead of waiting for more
    #[arg(short = 'e', long)]
    pub exit_at_end: bool,
    /// How a record is printed: %v value, %k key, %o offset, %p partition, %t topic, %T timestamp in ms, %h headers
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

/// Where consuming begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The first record there is.
    Start,
    /// What comes from now on.
    End,
    /// This offset, in every partition.
    Offset(i64),
    /// So many records before the end of each partition.
    BeforeEnd(i64),
    /// The first record with this timestamp (milliseconds since 1970) or a later one.
    Timestamp(i64),
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
                (Some(millis), _) => number(millis).map(Self::Timestamp),
                (_, Some(count)) => number(count).map(Self::BeforeEnd),
                _ => number(text).map(Self::Offset),
            },
        }
    }
}

const WRONG_START: &str = "expected start, end, an offset, -N, or @ and milliseconds since 1970";

/// What to do with the files of a stopped server.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Print the frames of a segment, or of all segments of a partition
    Dump {
        /// The segment file, or a partition's directory
        path: PathBuf,
        /// Stop after so many frames
        #[arg(short = 'n', long, value_name = "N")]
        count: Option<u64>,
        /// Print the records of each frame as well
        #[arg(long)]
        records: bool,
        /// How to print them
        #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
    /// Check every frame of every partition and say where damage begins
    Verify {
        /// The data directory, or the directory of a topic or partition, or a segment file
        #[arg(default_value = "./corelog-data")]
        path: PathBuf,
        /// How to print what was found
        #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the default file with every setting explained
    Default,
    /// Check a file: every mistake with its line and column
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print the settings a server started like this would have
    Show {
        /// Say where each value came from
        #[arg(long)]
        origin: bool,
        /// The same arguments as `serve`.
        #[command(flatten)]
        serve: Box<ServeArgs>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from(["corelog"].iter().chain(arguments)).map(|cli| cli.command)
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_flags_become_settings() {
        let line = [
            "serve",
            "--dev",
            "--kafka",
            "127.0.0.1:1",
            "--advertise",
            "single",
            "--insecure",
            "--set",
            "a.b=c",
        ];
        let Command::Serve(args) = parse(&line).unwrap() else {
            panic!("not serve")
        };
        let sources = args.sources(Vec::new(), None);
        assert_eq!(sources.profile, Profile::Development);
        assert_eq!(sources.assignments, ["a.b=c"]);
        let expected = [
            ("--kafka", "kafka.listen", "127.0.0.1:1".to_owned()),
            ("--advertise", "kafka.advertise", "single".to_owned()),
            ("--insecure", "insecure", "true".to_owned()),
        ];
        assert_eq!(sources.flags, expected);
    }

    #[test]
    fn offsets_are_words_numbers_and_times() {
        let cases = [
            ("start", Ok(StartAt::Start)),
            ("end", Ok(StartAt::End)),
            ("42", Ok(StartAt::Offset(42))),
            ("-5", Ok(StartAt::BeforeEnd(5))),
            ("@1700000000000", Ok(StartAt::Timestamp(1_700_000_000_000))),
            ("--5", Err(WRONG_START.to_owned())),
            ("@", Err(WRONG_START.to_owned())),
            ("99999999999999999999", Err(WRONG_START.to_owned())),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }

    #[test]
    fn the_lines_of_the_manual_are_understood() {
        let lines: [&[&str]; 11] = [
            &[
                "topic",
                "create",
                "hello",
                "-p",
                "4",
                "-c",
                "retention.ms=1000",
                "--brokers",
                "a:1,b:2",
            ],
            &["topic", "list", "-o", "json"],
            &["topic", "describe", "a", "b"],
            &["topic", "delete", "a"],
            &["topic", "alter", "a", "-p", "8"],
            &["produce", "t", "-f", "%k:%v\\n", "-z", "lz4", "-p", "0"],
            &["consume", "t", "-o", "-5", "-n", "1", "-e", "-f", "%o %v\\n"],
            &["consume", "t", "-o", "@5", "--output", "json"],
            &["config", "show", "--origin", "--dev"],
            &["log", "dump", "a.log", "-n", "5", "--records", "-o", "json"],
            &["log", "verify"],
        ];
        for line in lines {
            assert!(parse(line).is_ok(), "{line:?}: {:?}", parse(line));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let lines: [&[&str]; 6] = [
            &["topic", "create", "t", "-p", "0"],
            &["topic", "create"],
            &["topic", "alter", "t"],
            &["topic", "create", "t", "-c", "novalue"],
            &["consume", "t", "-f", "%q"],
            &["produce", "t", "-z", "rar"],
        ];
        for line in lines {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}

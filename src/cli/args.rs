//! The grammar of the command line. Nothing here does anything. The commands about topics, groups and records have files of
//! their own.
//!
//! `-o` chooses the output format of commands that list; for `consume`, where `-o` is the offset as in every Kafka
//! tool, the long form `--output` chooses it.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::units::TimeSpan;
use crate::server::config::load::Profile;
use crate::server::config::{Advertise, Sources};

use super::bench::BenchCommand;

mod group;
mod prove;
mod records;
mod topic;

pub use group::*;
pub use prove::*;
pub use records::*;
pub use topic::*;

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

Exit codes: 0 done, 1 failed, 2 used wrongly, 3 could not be tried.";

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
    /// List, describe, move and delete consumer groups
    Group {
        /// What to do with groups.
        #[command(subcommand)]
        command: GroupCommand,
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
    /// Prove on your own disk that acknowledged records survive: load, kill, restart, check
    Prove(Box<ProveArgs>),
    /// Write shell completions and manual pages
    Generate {
        /// What to write.
        #[command(subcommand)]
        command: GenerateCommand,
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

/// How a command that shows something repeats itself.
#[derive(Clone, Copy, Debug, Args)]
pub struct Watch {
    /// Show it again every so often, until interrupted
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s")]
    pub watch: Option<TimeSpan>,
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
        /// Check what a reader would, too: records, indexes, checkpoints, metadata; and name what belongs to nothing
        #[arg(long)]
        deep: bool,
        /// How to print what was found
        #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
}

/// What to write for shells and for `man`.
#[derive(Debug, Subcommand)]
pub enum GenerateCommand {
    /// Completions, to standard output
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Manual pages, one file a command
    Man {
        /// Where to; made if it is not there
        #[arg(default_value = "man")]
        directory: PathBuf,
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
    fn the_lines_of_the_manual_are_understood() {
        let lines: [&[&str]; 25] = [
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
            &[
                "topic",
                "alter",
                "a",
                "-c",
                "retention.ms=1",
                "--reset",
                "segment.ms",
            ],
            &["topic", "add-partitions", "a", "--to", "8"],
            &["topic", "add-partitions", "a", "--by", "1"],
            &["topic", "trim", "a", "--before", "@-1h", "-p", "0", "--dry-run"],
            &["topic", "describe", "a", "--watch"],
            &["group", "list", "--watch=500ms", "-o", "json"],
            &["group", "describe", "g"],
            &[
                "group",
                "seek",
                "g",
                "--to",
                "-5",
                "-t",
                "a",
                "-t",
                "b:0,3",
                "--dry-run",
            ],
            &["group", "delete", "g", "h"],
            &["produce", "t", "-f", "%k:%v\\n", "-z", "lz4", "-p", "0"],
            &["consume", "t", "-o", "-5", "-n", "1", "-e", "-f", "%o %v\\n"],
            &["consume", "t", "-o", "@5", "--output", "json"],
            &["consume", "t", "-g", "g", "-e"],
            &["generate", "completions", "bash"],
            &["config", "show", "--origin", "--dev"],
            &["log", "dump", "a.log", "-n", "5", "--records", "-o", "json"],
            &["log", "verify"],
            &["prove"],
            &["prove", ".", "--power-cuts", "--keep"],
            &["prove", "--power-cuts=xfs", "--self-test"],
            &[
                "prove",
                "data",
                "--for",
                "2m",
                "--seed",
                "7",
                "--set",
                "cores=0",
                "--durability",
                "relaxed",
                "-o",
                "json",
            ],
        ];
        for line in lines {
            assert!(parse(line).is_ok(), "{line:?}: {:?}", parse(line));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let lines: [&[&str]; 12] = [
            &["prove", "--cycles", "0"],
            &["prove", "--cycles", "5", "--for", "1m"],
            &["topic", "add-partitions", "t"],
            &["topic", "add-partitions", "t", "--by", "1", "--to", "2"],
            &["group", "seek", "g"],
            &["consume", "t", "-g", "g", "-o", "5"],
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

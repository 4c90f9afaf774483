//! The grammar of `corelog topic`.

use clap::{Args, Subcommand};

use super::{Assignment, Connection, OutputFormat, StartAt, Watch};

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
    /// Change settings
    Alter(TopicAlter),
    /// Give a topic more partitions
    AddPartitions(TopicAddPartitions),
    /// Delete the oldest records
    Trim(TopicTrim),
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
    /// Whether to go on.
    #[command(flatten)]
    pub watch: Watch,
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
    /// Whether to go on.
    #[command(flatten)]
    pub watch: Watch,
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
    /// A setting to change; may be given many times
    #[arg(
        short,
        long = "config",
        value_name = "KEY=VALUE",
        required_unless_present = "reset"
    )]
    pub config: Vec<Assignment>,
    /// A setting to take back to its default; may be given many times
    #[arg(long, value_name = "KEY")]
    pub reset: Vec<String>,
    /// Only ask whether the broker would accept it
    #[arg(long)]
    pub dry_run: bool,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `topic add-partitions`.
#[derive(Debug, Args)]
#[group(id = "how_many", required = true, multiple = false, args = ["by", "to"])]
pub struct TopicAddPartitions {
    /// Name of the topic
    pub name: String,
    /// So many more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub by: Option<i32>,
    /// So many in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub to: Option<i32>,
    /// Only ask whether the broker would do it
    #[arg(long)]
    pub dry_run: bool,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `topic trim`.
#[derive(Debug, Args)]
pub struct TopicTrim {
    /// Name of the topic
    pub name: String,
    /// What is the first record to stay: end (none does), an offset, -N (the last N of each partition) or @TIME
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub before: StartAt,
    /// Only this partition
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Only show what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

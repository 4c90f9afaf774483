//! The grammar of `corelog group`.

use std::str::FromStr;

use clap::{Args, Subcommand};

use super::{Connection, OutputFormat, StartAt, Watch};

/// What to do with consumer groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List groups
    List(GroupList),
    /// Show members, committed offsets and lag
    Describe(GroupDescribe),
    /// Move the committed offsets of a group that has no members
    Seek(GroupSeek),
    /// Delete groups that have no members, with their offsets
    Delete(GroupDelete),
}

/// `group list`.
#[derive(Debug, Args)]
pub struct GroupList {
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

/// `group describe`.
#[derive(Debug, Args)]
pub struct GroupDescribe {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,
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

/// `group seek`.
#[derive(Debug, Args)]
pub struct GroupSeek {
    /// Name of the group
    pub group: String,
    /// Where to: start, end, an offset, -N (N before the end) or @TIME
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub to: StartAt,
    /// Only this topic, or only these partitions of it; may be given many times. Else whatever the group has committed
    #[arg(short, long = "topic", value_name = "TOPIC[:PARTITION,..]")]
    pub topics: Vec<TopicPartitions>,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// `group delete`.
#[derive(Debug, Args)]
pub struct GroupDelete {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Only this topic's offsets, not the group itself
    #[arg(short, long = "topic", value_name = "TOPIC[:PARTITION,..]")]
    pub topics: Vec<TopicPartitions>,
    /// Only show what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// Where to find a broker.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// The topic.
    pub topic: String,
    /// `None` for all of them.
    pub partitions: Option<Vec<i32>>,
}

impl FromStr for TopicPartitions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Topic names have no colon.
        let (topic, partitions) = match text.split_once(':') {
            None => (text, None),
            Some((topic, list)) => {
                let numbers = list.split(',').map(|number| {
                    let number = number.parse::<i32>().ok().filter(|number| *number >= 0);
                    number.ok_or_else(|| format!("{list:?} is no list of partitions"))
                });
                (topic, Some(numbers.collect::<Result<Vec<_>, _>>()?))
            }
        };
        if topic.is_empty() {
            return Err("the topic is missing".to_owned());
        }
        Ok(Self {
            topic: topic.to_owned(),
            partitions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_listed_behind_the_topic() {
        let parse = |text: &str| text.parse::<TopicPartitions>();
        let given = |partitions| {
            Ok(TopicPartitions {
                topic: "a.b-c".to_owned(),
                partitions,
            })
        };
        assert_eq!(parse("a.b-c"), given(None));
        assert_eq!(parse("a.b-c:0,12"), given(Some(vec![0, 12])));
        for wrong in ["", ":1", "a:", "a:x", "a:-1", "a:1,"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

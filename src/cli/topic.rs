//! `corelog topic`: create, list, describe, delete and alter topics.

use serde_json::{Value, json};

use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{SOURCE_DEFAULT, SOURCE_TOPIC, TIMESTAMP_EARLIEST, TIMESTAMP_LATEST};

use super::args::{
    Assignment, Connection, OutputFormat, TopicAlter, TopicCommand, TopicCreate, TopicDelete, TopicDescribe,
    TopicList,
};
use super::output::Listing;
use super::{CliError, Streams};
use crate::client::kafka::error::describe;
use crate::client::kafka::{Client, ClientError, Missing, NewTopic, Outcome, Patience};

pub(super) fn run(command: &TopicCommand, streams: &mut Streams<'_>) -> Result<(), CliError> {
    match command {
        TopicCommand::Create(args) => create(args, streams),
        TopicCommand::List(args) => list(args, streams),
        TopicCommand::Describe(args) => describe_topics(args, streams),
        TopicCommand::Delete(args) => delete(args, streams),
        TopicCommand::Alter(args) => alter(args),
    }
}

/// A client of the brokers the arguments name.
pub(super) fn connect(connection: &Connection) -> Result<Client, CliError> {
    Client::new(&connection.brokers, Patience::default()).map_err(|error| CliError::Usage(error.to_string()))
}

fn create(args: &TopicCreate, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let new = args.names.iter().map(|name| NewTopic {
        name: name.clone(),
        partitions: args.partitions,
        config: pairs(&args.config),
    });
    let outcomes = connect(&args.connection)?.create_topics(&new.collect::<Vec<_>>())?;
    let exists = |one: &Outcome| one.code == ErrorCode::TopicAlreadyExists.code();
    let well = |one: &Outcome| one.code == 0 || args.if_not_exists && exists(one);
    print_outcomes(&outcomes, "created", args.output, well, streams)
}

fn delete(args: &TopicDelete, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let outcomes = connect(&args.connection)?.delete_topics(&args.names)?;
    print_outcomes(&outcomes, "deleted", args.output, |one| one.code == 0, streams)
}

/// One line a topic; fails if one of them did.
fn print_outcomes(
    outcomes: &[Outcome],
    done: &str,
    output: OutputFormat,
    well: impl Fn(&Outcome) -> bool,
    streams: &mut Streams<'_>,
) -> Result<(), CliError> {
    let mut listing = Listing::new(&["name", "status"]);
    for one in outcomes {
        let status = if one.code == 0 {
            done.to_owned()
        } else {
            describe(one.code, one.message.as_deref())
        };
        listing.push([json!(one.name), json!(status)]);
    }
    listing.print(output, streams.out)?;
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|one| !well(one))
        .map(|one| one.name.as_str())
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(CliError::Failed(format!("not {done}: {}", failed.join(", "))))
    }
}

fn list(args: &TopicList, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let mut topics = connect(&args.connection)?.topics(None, Missing::Fail)?;
    topics.retain(|(topic, _)| args.internal || !topic.internal);
    topics.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let mut listing = Listing::new(&["name", "partitions", "replicas"]);
    for (topic, _) in &topics {
        let replicas = topic
            .partitions
            .values()
            .next()
            .map_or(0, |partition| partition.replicas.len());
        listing.push([json!(topic.name), json!(topic.partitions.len()), json!(replicas)]);
    }
    listing.print(args.output, streams.out)
}

fn describe_topics(args: &TopicDescribe, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let mut client = connect(&args.connection)?;
    let described = args
        .names
        .iter()
        .map(|name| Described::read(&mut client, name))
        .collect::<Result<Vec<_>, _>>()?;
    match args.output {
        OutputFormat::Json => {
            let all: Vec<Value> = described.iter().map(Described::to_json).collect();
            writeln!(streams.out, "{:#}", Value::Array(all))?;
        }
        OutputFormat::Table => {
            for topic in &described {
                topic.print(streams)?;
            }
        }
    }
    Ok(())
}

/// Everything about one topic.
struct Described {
    name: String,
    id: String,
    partitions: Listing,
    config: Listing,
}

impl Described {
    fn read(client: &mut Client, name: &str) -> Result<Self, ClientError> {
        let topic = client.topic(name, Missing::Fail)?;
        let start = client.offsets(name, TIMESTAMP_EARLIEST)?;
        let end = client.offsets(name, TIMESTAMP_LATEST)?;
        let mut partitions = Listing::new(&[
            "partition",
            "leader",
            "epoch",
            "replicas",
            "in_sync",
            "start",
            "end",
        ]);
        for (index, partition) in &topic.partitions {
            partitions.push([
                json!(index),
                json!(partition.leader),
                json!(partition.leader_epoch),
                json!(partition.replicas),
                json!(partition.in_sync),
                json!(start.get(index)),
                json!(end.get(index)),
            ]);
        }
        let mut config = Listing::new(&["key", "value", "source"]);
        for entry in client.topic_config(name)? {
            config.push([json!(entry.name), json!(entry.value), json!(source(entry.source))]);
        }
        Ok(Self {
            name: topic.name,
            id: topic.id,
            partitions,
            config,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "id": self.id,
            "partitions": self.partitions.to_json(),
            "config": self.config.to_json(),
        })
    }

    fn print(&self, streams: &mut Streams<'_>) -> Result<(), CliError> {
        writeln!(streams.out, "{}  id {}\n", self.name, self.id)?;
        self.partitions.print(OutputFormat::Table, streams.out)?;
        writeln!(streams.out)?;
        self.config.print(OutputFormat::Table, streams.out)?;
        writeln!(streams.out)?;
        Ok(())
    }
}

/// Where a value comes from, in a word.
fn source(source: i8) -> &'static str {
    match source {
        SOURCE_TOPIC => "topic",
        SOURCE_DEFAULT => "default",
        _ => "broker",
    }
}

fn alter(args: &TopicAlter) -> Result<(), CliError> {
    let mut client = connect(&args.connection)?;
    if let Some(count) = args.partitions {
        client.create_partitions(&args.name, count)?;
    }
    if !args.config.is_empty() {
        client.alter_topic(&args.name, &pairs(&args.config))?;
    }
    Ok(())
}

fn pairs(assignments: &[Assignment]) -> Vec<(String, String)> {
    assignments
        .iter()
        .map(|one| (one.key.clone(), one.value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::corelog;
    use crate::client::kafka::peer::Peer;

    #[test]
    fn topics_come_and_go() {
        let peer = Peer::start();
        let address = peer.address();
        let topic = |line: &[&str]| corelog(&[&["topic"], line, &["--brokers", &address]].concat(), "");
        let (code, out, err) = topic(&["create", "a", "b", "-p", "2", "-c", "retention.ms=1000"]);
        assert_eq!((code, err.as_str()), (0, ""));
        expect![[r#"
            NAME  STATUS
            a     created
            b     created
        "#]]
        .assert_eq(&out);
        let (code, out, err) = topic(&["create", "a"]);
        assert_eq!((code, err.as_str()), (1, "error: not created: a\n"));
        assert!(out.contains("TOPIC_ALREADY_EXISTS"), "{out}");
        assert_eq!(topic(&["create", "a", "--if-not-exists"]).0, 0);
        assert_eq!(
            topic(&["alter", "a", "-p", "3"]),
            (0, String::new(), String::new())
        );
        let (code, out, _) = topic(&["describe", "a"]);
        assert_eq!(code, 0);
        expect![[r#"
            a  id 00000000-0000-0000-0000-000000000000

            PARTITION  LEADER  EPOCH  REPLICAS  IN_SYNC  START  END
            0          7       -1     [7]       [7]      0      0
            1          7       -1     [7]       [7]      0      0
            2          7       -1     [7]       [7]      0      0

            KEY           VALUE      SOURCE
            retention.ms  604800000  default

        "#]]
        .assert_eq(&out);
        let (code, out, _) = topic(&["delete", "a", "-o", "json"]);
        assert_eq!(code, 0);
        expect![[r#"
            [
              {
                "name": "a",
                "status": "deleted"
              }
            ]
        "#]]
        .assert_eq(&out);
        let (code, _, err) = topic(&["describe", "a"]);
        assert_eq!(
            (code, err.as_str()),
            (1, "error: there is no topic \"a\": corelog topic create a\n")
        );
    }

    #[test]
    fn descriptions_can_be_read_by_programs() {
        let peer = Peer::start();
        peer.create("t", 1);
        peer.append("t", 0, &["x", "y"], 1);
        let (_, out, _) = corelog(
            &[
                "topic",
                "describe",
                "t",
                "-o",
                "json",
                "--brokers",
                &peer.address(),
            ],
            "",
        );
        let parsed: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(parsed[0]["partitions"][0]["end"], 2);
        assert_eq!(parsed[0]["config"][0]["key"], "retention.ms");
    }
}

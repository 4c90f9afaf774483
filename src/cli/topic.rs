//! `corelog topic`: create, list, describe, delete, alter, grow and trim topics.

use std::io::Write;

use serde_json::{Value, json};

use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{SOURCE_DEFAULT, SOURCE_TOPIC, TIMESTAMP_EARLIEST, TIMESTAMP_LATEST};

use super::args::{
    Assignment, Connection, OutputFormat, StartAt, TopicAddPartitions, TopicAlter, TopicCommand, TopicCreate,
    TopicDelete, TopicDescribe, TopicList, TopicTrim,
};
use super::output::{Description, Listing, print_described};
use super::watch::repeat;
use super::{CliError, Streams};
use crate::client::kafka::consumer::starts;
use crate::client::kafka::error::describe;
use crate::client::kafka::{Client, ClientError, Effect, Missing, NewTopic, Outcome, Patience};

pub(super) fn run(command: &TopicCommand, streams: &mut Streams<'_>) -> Result<(), CliError> {
    match command {
        TopicCommand::Create(args) => create(args, streams),
        TopicCommand::List(args) => repeat(args.watch, streams, |streams| list(args, streams)),
        TopicCommand::Describe(args) => repeat(args.watch, streams, |streams| describe_topics(args, streams)),
        TopicCommand::Delete(args) => delete(args, streams),
        TopicCommand::Alter(args) => alter(args),
        TopicCommand::AddPartitions(args) => add_partitions(args),
        TopicCommand::Trim(args) => trim(args, streams),
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
pub(super) fn print_outcomes(
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
    print_described(&described, args.output, streams.out)
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
}

impl Description for Described {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "id": self.id,
            "partitions": self.partitions.to_json(),
            "config": self.config.to_json(),
        })
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), CliError> {
        writeln!(out, "{}  id {}\n", self.name, self.id)?;
        self.partitions.print(OutputFormat::Table, out)?;
        writeln!(out)?;
        self.config.print(OutputFormat::Table, out)?;
        writeln!(out)?;
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
    let set = args
        .config
        .iter()
        .map(|one| (one.key.clone(), Some(one.value.clone())));
    let reset = args.reset.iter().map(|key| (key.clone(), None));
    let changes: Vec<_> = set.chain(reset).collect();
    Ok(connect(&args.connection)?.alter_topic(&args.name, &changes, effect(args.dry_run))?)
}

fn add_partitions(args: &TopicAddPartitions) -> Result<(), CliError> {
    let mut client = connect(&args.connection)?;
    let count = match (args.to, args.by) {
        (Some(count), _) => count,
        (None, more) => {
            let topic = client.topic(&args.name, Missing::Fail)?;
            let now = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            now.saturating_add(more.unwrap_or(0))
        }
    };
    Ok(client.create_partitions(&args.name, count, effect(args.dry_run))?)
}

/// What a `--dry-run` comes to.
pub(super) fn effect(dry_run: bool) -> Effect {
    if dry_run { Effect::None } else { Effect::Change }
}

/// Deletes what is before a place, and shows where each partition begins now and began before.
fn trim(args: &TopicTrim, streams: &mut Streams<'_>) -> Result<(), CliError> {
    if args.before == StartAt::Start {
        return Err(CliError::Usage("nothing is before the start".to_owned()));
    }
    let mut client = connect(&args.connection)?;
    let begun = client.offsets(&args.name, TIMESTAMP_EARLIEST)?;
    let mut targets = starts(&mut client, &args.name, args.before)?;
    targets.retain(|partition, _| args.partition.is_none_or(|only| only == *partition));
    if let (Some(partition), true) = (args.partition, targets.is_empty()) {
        return Err(ClientError::NoSuchPartition {
            topic: args.name.clone(),
            partition,
            count: begun.len(),
        }
        .into());
    }
    // Going back is no deletion.
    for (partition, target) in &mut targets {
        *target = begun.get(partition).copied().unwrap_or(0).max(*target);
    }
    let outcome = match effect(args.dry_run) {
        Effect::None => targets
            .iter()
            .map(|(partition, start)| (*partition, (*start, 0)))
            .collect(),
        Effect::Change => client.delete_records(&args.name, &targets)?,
    };
    let mut listing = Listing::new(&["partition", "start_before", "start", "status"]);
    let mut refused = false;
    for (partition, (start, code)) in &outcome {
        let status = match (code, effect(args.dry_run)) {
            (0, Effect::Change) => "trimmed".to_owned(),
            (0, Effect::None) => "would be trimmed".to_owned(),
            (code, _) => describe(*code, None),
        };
        refused |= *code != 0;
        listing.push([
            json!(partition),
            json!(begun.get(partition)),
            json!(start),
            json!(status),
        ]);
    }
    listing.print(args.output, streams.out)?;
    if refused {
        Err(CliError::Failed(format!(
            "{} was not trimmed everywhere",
            args.name
        )))
    } else {
        Ok(())
    }
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
            topic(&["add-partitions", "a", "--by", "1"]),
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

//! `corelog group`: who consumes, how far they are, and moving them.
//!
//! Lag is what lies between a committed offset and the end of its partition, in records. Offsets are moved only for groups
//! without members: whoever runs would commit its own place over the new one (the broker refuses it for that reason).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde_json::{Value, json};

use super::args::{
    GroupCommand, GroupDelete, GroupDescribe, GroupList, GroupSeek, OutputFormat, TopicPartitions,
};
use super::output::{Description, Listing, print_described};
use super::topic::{connect, effect, print_outcomes};
use super::watch::repeat;
use super::{CliError, Streams};
use crate::client::kafka::consumer::starts;
use crate::client::kafka::error::describe;
use crate::client::kafka::groups::{GroupDescription, OffsetOutcome, TopicPartition};
use crate::client::kafka::{Client, ClientError, Effect, Outcome};
use crate::protocol::kafka::messages::{TIMESTAMP_EARLIEST, TIMESTAMP_LATEST};

pub(super) fn run(command: &GroupCommand, streams: &mut Streams<'_>) -> Result<(), CliError> {
    match command {
        GroupCommand::List(args) => repeat(args.watch, streams, |streams| list(args, streams)),
        GroupCommand::Describe(args) => repeat(args.watch, streams, |streams| describe_groups(args, streams)),
        GroupCommand::Seek(args) => seek(args, streams),
        GroupCommand::Delete(args) if args.topics.is_empty() => delete(args, streams),
        GroupCommand::Delete(args) => delete_offsets(args, streams),
    }
}

fn list(args: &GroupList, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let mut listing = Listing::new(&["group", "state", "type", "protocol_type", "coordinator"]);
    for group in connect(&args.connection)?.list_groups()? {
        listing.push([
            json!(group.id),
            json!(group.state),
            json!(group.kind),
            json!(group.protocol_type),
            json!(group.coordinator),
        ]);
    }
    listing.print(args.output, streams.out)
}

fn describe_groups(args: &GroupDescribe, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let mut client = connect(&args.connection)?;
    let described = args
        .groups
        .iter()
        .map(|group| Described::read(&mut client, group))
        .collect::<Result<Vec<_>, _>>()?;
    print_described(&described, args.output, streams.out)
}

/// Everything about one group.
struct Described {
    group: GroupDescription,
    lag: i64,
    partitions: Listing,
}

impl Described {
    fn read(client: &mut Client, group: &str) -> Result<Self, ClientError> {
        let group = client.describe_group(group)?;
        let committed = client.committed(&group.id)?;
        let mut owners = BTreeMap::new();
        for member in &group.members {
            owners.extend(member.partitions.iter().map(|partition| (partition, member)));
        }
        let all: BTreeSet<&TopicPartition> = committed.keys().chain(owners.keys().copied()).collect();
        let mut ends = Ends::default();
        let mut lag_of_all = 0;
        let mut partitions = Listing::new(&[
            "topic",
            "partition",
            "committed",
            "end",
            "lag",
            "member",
            "client",
            "host",
        ]);
        for partition in all {
            let offset = committed.get(partition).copied();
            let end = ends.of(client, partition)?;
            // A commit beyond the end is one of a topic that was deleted and made again.
            let lag = offset.zip(end).map(|(offset, end)| (end - offset).max(0));
            lag_of_all += lag.unwrap_or(0);
            let owner = owners.get(partition);
            partitions.push([
                json!(partition.topic),
                json!(partition.partition),
                json!(offset),
                json!(end),
                json!(lag),
                json!(owner.map(|member| &member.id)),
                json!(owner.map(|member| &member.client_id)),
                json!(owner.map(|member| &member.host)),
            ]);
        }
        Ok(Self {
            group,
            lag: lag_of_all,
            partitions,
        })
    }
}

impl Description for Described {
    fn to_json(&self) -> Value {
        let members = self.group.members.iter().map(|member| {
            json!({
                "id": member.id,
                "instance": member.instance,
                "client": member.client_id,
                "host": member.host,
                "partitions": member.partitions.len(),
            })
        });
        json!({
            "group": self.group.id,
            "state": self.group.state,
            "type": self.group.kind,
            "protocol": self.group.protocol,
            "coordinator": self.group.coordinator,
            "lag": self.lag,
            "members": members.collect::<Vec<_>>(),
            "partitions": self.partitions.to_json(),
        })
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), CliError> {
        let group = &self.group;
        writeln!(
            out,
            "{}  {}, {} {}, {} members, coordinator {}, lag {}\n",
            group.id,
            group.state,
            group.kind,
            group.protocol,
            group.members.len(),
            group.coordinator,
            self.lag
        )?;
        self.partitions.print(OutputFormat::Table, out)?;
        writeln!(out)?;
        Ok(())
    }
}

/// Where partitions end, asked for once a topic.
#[derive(Default)]
struct Ends(BTreeMap<String, BTreeMap<i32, i64>>);

impl Ends {
    /// `None` for a topic or partition that is gone.
    fn of(&mut self, client: &mut Client, partition: &TopicPartition) -> Result<Option<i64>, ClientError> {
        if !self.0.contains_key(&partition.topic) {
            let ends = match client.offsets(&partition.topic, TIMESTAMP_LATEST) {
                Err(ClientError::NoSuchTopic { .. }) => BTreeMap::new(),
                ends => ends?,
            };
            self.0.insert(partition.topic.clone(), ends);
        }
        let ends = self.0.get(&partition.topic);
        Ok(ends.and_then(|ends| ends.get(&partition.partition)).copied())
    }
}

fn seek(args: &GroupSeek, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let mut client = connect(&args.connection)?;
    let committed = client.committed(&args.group)?;
    let targets = targets(&mut client, args, &committed)?;
    if targets.is_empty() {
        return Err(CliError::Failed(format!(
            "group {:?} has committed nothing: name topics with --topic",
            args.group
        )));
    }
    let outcomes = match effect(args.dry_run) {
        Effect::Change => client.commit_offsets(&args.group, &targets)?,
        Effect::None => Vec::new(),
    };
    let codes: BTreeMap<&TopicPartition, i16> =
        outcomes.iter().map(|one| (&one.partition, one.code)).collect();
    let mut listing = Listing::new(&["topic", "partition", "before", "after", "status"]);
    for (partition, offset) in &targets {
        let status = match codes.get(partition) {
            None => "would move".to_owned(),
            Some(0) => "moved".to_owned(),
            Some(code) => describe(*code, None),
        };
        listing.push([
            json!(partition.topic),
            json!(partition.partition),
            json!(committed.get(partition)),
            json!(offset),
            json!(status),
        ]);
    }
    listing.print(args.output, streams.out)?;
    all_well(
        &outcomes,
        &format!("group {:?} was not moved everywhere", args.group),
    )
}

fn all_well(outcomes: &[OffsetOutcome], otherwise: &str) -> Result<(), CliError> {
    if outcomes.iter().all(|one| one.code == 0) {
        Ok(())
    } else {
        Err(CliError::Failed(otherwise.to_owned()))
    }
}

/// Where each partition shall go, kept within what is there.
fn targets(
    client: &mut Client,
    args: &GroupSeek,
    committed: &BTreeMap<TopicPartition, i64>,
) -> Result<BTreeMap<TopicPartition, i64>, CliError> {
    let wanted: Vec<TopicPartitions> = if args.topics.is_empty() {
        let topics: BTreeSet<&String> = committed.keys().map(|partition| &partition.topic).collect();
        let of = |topic: &&String| TopicPartitions {
            topic: (*topic).clone(),
            partitions: Some(partitions_of(committed, topic)),
        };
        topics.iter().map(of).collect()
    } else {
        args.topics.clone()
    };
    let mut targets = BTreeMap::new();
    for one in wanted {
        let first = client.offsets(&one.topic, TIMESTAMP_EARLIEST)?;
        let end = client.offsets(&one.topic, TIMESTAMP_LATEST)?;
        let places = starts(client, &one.topic, args.to)?;
        let partitions = one.partitions.unwrap_or_else(|| places.keys().copied().collect());
        for partition in partitions {
            let Some(place) = places.get(&partition) else {
                return Err(ClientError::NoSuchPartition {
                    topic: one.topic,
                    partition,
                    count: places.len(),
                }
                .into());
            };
            let floor = first.get(&partition).copied().unwrap_or(0);
            let ceiling = end.get(&partition).copied().unwrap_or(i64::MAX);
            let partition = TopicPartition {
                topic: one.topic.clone(),
                partition,
            };
            targets.insert(partition, (*place).clamp(floor, ceiling.max(floor)));
        }
    }
    Ok(targets)
}

fn partitions_of(committed: &BTreeMap<TopicPartition, i64>, topic: &str) -> Vec<i32> {
    let of_topic = committed.keys().filter(|partition| partition.topic == topic);
    of_topic.map(|partition| partition.partition).collect()
}

fn delete(args: &GroupDelete, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let mut client = connect(&args.connection)?;
    match effect(args.dry_run) {
        Effect::Change => {
            let outcomes = client.delete_groups(&args.groups)?;
            print_outcomes(&outcomes, "deleted", args.output, |one| one.code == 0, streams)
        }
        Effect::None => {
            let mut would = Vec::new();
            for group in &args.groups {
                let group = client.describe_group(group)?;
                would.push(Outcome {
                    code: group.refusal_to_delete(),
                    name: group.id,
                    message: None,
                });
            }
            print_outcomes(
                &would,
                "would be deleted",
                args.output,
                |one| one.code == 0,
                streams,
            )
        }
    }
}

fn delete_offsets(args: &GroupDelete, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let mut client = connect(&args.connection)?;
    let mut listing = Listing::new(&["group", "topic", "partition", "offset", "status"]);
    let mut all = Vec::new();
    for group in &args.groups {
        let committed = client.committed(group)?;
        let named = |partition: &TopicPartition| {
            args.topics.iter().any(|one| {
                let listed = one.partitions.as_ref();
                one.topic == partition.topic && listed.is_none_or(|list| list.contains(&partition.partition))
            })
        };
        let doomed: Vec<TopicPartition> = committed.keys().filter(|one| named(one)).cloned().collect();
        let outcomes = match effect(args.dry_run) {
            Effect::Change => client.delete_offsets(group, &doomed)?,
            Effect::None => Vec::new(),
        };
        let codes: BTreeMap<_, _> = outcomes.iter().map(|one| (&one.partition, one.code)).collect();
        for partition in &doomed {
            let status = match codes.get(partition) {
                None => "would be deleted".to_owned(),
                Some(0) => "deleted".to_owned(),
                Some(code) => describe(*code, None),
            };
            listing.push([
                json!(group),
                json!(partition.topic),
                json!(partition.partition),
                json!(committed.get(partition)),
                json!(status),
            ]);
        }
        all.extend(outcomes);
    }
    listing.print(args.output, streams.out)?;
    all_well(&all, "some offsets were not deleted")
}

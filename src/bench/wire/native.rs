//! Corelog's native protocol.
//!
//! A producer's group is one frame of batches that the broker stores as they are; a consumer subscribes with credit and
//! gives back what each push used, so that the broker always has as much credit as at the beginning. Topic ids are asked
//! for on each connection, behind the hello: the layout names topics.
//!
//! Absent: reading batches that Kafka clients wrote; a run reads what it wrote itself.

mod consumer;
mod greeting;
mod producer;

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::Context;

use super::dial::Line;
use super::{
    Broken, ConsumeOptions, Conversation, Door, Layout, PartitionHome, PartitionIndex, ProduceOptions,
    TopicSpec,
};
use crate::protocol::native::messages::{CreateTopic, DeleteTopic, ErrorFrame, Metadata, MetadataAnswer};
use crate::protocol::native::{ErrorCode, Frame, Kind};

use consumer::Consumer;
use greeting::{broken, frame, hello};
use producer::Producer;

/// The broker.
#[derive(Debug)]
pub struct NativeDoor {
    address: SocketAddr,
}

impl NativeDoor {
    /// The broker at `address`, which names the others.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    fn line(&self) -> anyhow::Result<Line> {
        let mut line = Line::dial(self.address)?;
        ask(&mut line, hello, |answer| expect(answer, Kind::Welcome))?;
        Ok(line)
    }
}

impl Door for NativeDoor {
    fn name(&self) -> &'static str {
        "native"
    }

    fn prepare(&self, spec: &TopicSpec) -> anyhow::Result<Layout> {
        let mut line = self.line()?;
        for name in &spec.names {
            let configs = spec
                .settings
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()));
            let request = CreateTopic {
                name,
                partitions: spec.partitions,
                configs: configs.collect(),
            };
            ask(
                &mut line,
                |out| request.encode(out, 0).map_err(broken),
                |answer| match refusal(answer)? {
                    Some((ErrorCode::TopicExists, _)) => Ok(()),
                    Some((code, text)) => Err(Broken(format!("cannot create topic {name}: {code} {text}"))),
                    None => expect(answer, Kind::TopicCreated),
                },
            )?;
        }
        let names: Vec<&str> = spec.names.iter().map(String::as_str).collect();
        let homes = ask(
            &mut line,
            |out| Metadata::Named(names).encode(out, 0).map_err(broken),
            |answer| {
                expect(answer, Kind::MetadataAnswer)?;
                homes(&MetadataAnswer::decode(answer).map_err(broken)?)
            },
        )?;
        let mut partitions = Vec::new();
        for (topic, partition, host, port) in homes {
            let address = (host.as_str(), port)
                .to_socket_addrs()
                .with_context(|| format!("the broker calls itself {host}:{port}"))?
                .next()
                .with_context(|| format!("{host} has no address"))?;
            partitions.push(PartitionHome {
                topic,
                partition,
                address,
            });
        }
        Ok(Layout { partitions })
    }

    fn producer(
        &self,
        layout: &Layout,
        _address: SocketAddr,
        partitions: &[PartitionIndex],
        options: ProduceOptions,
    ) -> anyhow::Result<Box<dyn Conversation>> {
        Ok(Box::new(Producer::new(layout, partitions, options)))
    }

    fn consumer(
        &self,
        layout: &Layout,
        _address: SocketAddr,
        partitions: &[PartitionIndex],
        options: ConsumeOptions,
    ) -> anyhow::Result<Box<dyn Conversation>> {
        Ok(Box::new(Consumer::new(layout, partitions, options)))
    }

    fn clean_up(&self, spec: &TopicSpec) -> anyhow::Result<()> {
        let mut line = self.line()?;
        for name in &spec.names {
            ask(
                &mut line,
                |out| DeleteTopic { name }.encode(out, 0).map_err(broken),
                |answer| match refusal(answer)? {
                    Some((ErrorCode::UnknownTopic, _)) => Ok(()),
                    Some((code, text)) => Err(Broken(format!("cannot delete topic {name}: {code} {text}"))),
                    None => expect(answer, Kind::TopicDeleted),
                },
            )?;
        }
        Ok(())
    }
}

/// Asks one question and reads its answer.
fn ask<T>(
    line: &mut Line,
    question: impl FnOnce(&mut Vec<u8>) -> Result<(), Broken>,
    mut read: impl FnMut(&Frame<'_>) -> Result<T, Broken>,
) -> anyhow::Result<T> {
    let mut out = Vec::new();
    question(&mut out)?;
    line.send(&out)?;
    line.until(|bytes| match frame(bytes)? {
        Some((answer, used)) => Ok((used, Some(read(&answer)?))),
        None => Ok((0, None)),
    })
}

/// What an error frame says.
fn refusal<'a>(answer: &Frame<'a>) -> Result<Option<(ErrorCode, &'a str)>, Broken> {
    if answer.head.kind != Kind::Error {
        return Ok(None);
    }
    let error = ErrorFrame::decode(answer).map_err(broken)?;
    Ok(Some((error.code, error.text)))
}

/// Refuses every other kind of frame; an error frame with its words.
fn expect(answer: &Frame<'_>, kind: Kind) -> Result<(), Broken> {
    match refusal(answer)? {
        Some((code, text)) => Err(Broken(format!("{code} {text}"))),
        None if answer.head.kind == kind => Ok(()),
        None => Err(Broken(format!(
            "a frame of kind {:?} instead of {kind:?}",
            answer.head.kind
        ))),
    }
}

/// Topic, partition, host and port of every partition.
fn homes(answer: &MetadataAnswer<'_>) -> Result<Vec<(String, u32, String, u16)>, Broken> {
    let mut homes = Vec::new();
    for topic in &answer.topics {
        if let Some(code) = topic.error {
            return Err(Broken(format!("topic {}: {code}", topic.name)));
        }
        for (partition, leader) in (0..).zip(&topic.leaders) {
            let node = answer.nodes.iter().find(|node| node.id == *leader);
            let node =
                node.ok_or_else(|| Broken(format!("the broker names no address for its node {leader}")))?;
            homes.push((topic.name.to_owned(), partition, node.host.to_owned(), node.port));
        }
    }
    Ok(homes)
}

#[cfg(test)]
mod tests;

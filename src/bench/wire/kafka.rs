//! Any Kafka broker: topics by the blocking client, messages by two conversations of bytes.
//!
//! What a connection speaks is negotiated on it by ApiVersions, so old brokers and new ones are driven alike. Producers
//! put the batches of a group into one request, as Kafka's clients do; consumers keep one long poll per connection, in a
//! fetch session where the broker offers one. Messages travel uncompressed unless they come otherwise.
//!
//! Absent: retries, leader changes and re-balancing: what a measured run must not do silently.

mod consumer;
mod encode;
mod handshake;
mod producer;

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::Context;

use super::{
    ConsumeOptions, Conversation, Door, Layout, PartitionHome, PartitionIndex, ProduceOptions, TopicSpec,
};
use crate::client::kafka::{Client, Missing, NewTopic, Patience};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::TIMESTAMP_LATEST;
use crate::runtime::clock::block_for;

use consumer::Consumer;
use producer::Producer;

/// The broker.
#[derive(Debug)]
pub struct KafkaDoor {
    bootstrap: Vec<String>,
}

impl KafkaDoor {
    /// The cluster found at `bootstrap`, each `host` or `host:port`.
    #[must_use]
    pub const fn new(bootstrap: Vec<String>) -> Self {
        Self { bootstrap }
    }

    fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.bootstrap, Patience::default())?)
    }
}

/// Between two looks at topics that are being made.
const PAUSE: Duration = Duration::from_millis(50);
/// Looks before a topic that does not come is given up: half a minute.
const LOOKS_MAX: usize = 600;

impl Door for KafkaDoor {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn prepare(&self, spec: &TopicSpec) -> anyhow::Result<Layout> {
        let mut client = self.client()?;
        let partitions = i32::try_from(spec.partitions)?;
        let topics: Vec<_> = spec
            .names
            .iter()
            .map(|name| NewTopic {
                name: name.clone(),
                partitions: Some(partitions),
                config: spec.settings.clone(),
            })
            .collect();
        for outcome in client.create_topics(&topics)? {
            let exists = outcome.code == ErrorCode::TopicAlreadyExists.code();
            anyhow::ensure!(
                outcome.code == 0 || exists,
                "cannot create topic {}: code {} {}",
                outcome.name,
                outcome.code,
                outcome.message.unwrap_or_default()
            );
        }
        let mut layout = Layout::default();
        for name in &spec.names {
            locate(&mut client, name, &mut layout)?;
        }
        Ok(layout)
    }

    fn producer(
        &self,
        layout: &Layout,
        _address: SocketAddr,
        _partitions: &[PartitionIndex],
        options: ProduceOptions,
    ) -> anyhow::Result<Box<dyn Conversation>> {
        Ok(Box::new(Producer::new(layout, options)))
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
        for outcome in self.client()?.delete_topics(&spec.names)? {
            let gone = outcome.code == ErrorCode::UnknownTopicOrPartition.code();
            anyhow::ensure!(
                outcome.code == 0 || gone,
                "cannot delete topic {}: code {}",
                outcome.name,
                outcome.code
            );
        }
        Ok(())
    }
}

/// Adds the partitions of a topic once it has leaders; a new one takes a moment to be known.
fn locate(client: &mut Client, name: &str, layout: &mut Layout) -> anyhow::Result<()> {
    let mut looks = 0;
    let topic = loop {
        match client.topic(name, Missing::Fail) {
            Ok(topic) => break topic,
            Err(error) if looks >= LOOKS_MAX => return Err(error.into()),
            Err(_) => {
                looks += 1;
                block_for(PAUSE);
            }
        }
    };
    // A leader may be named before it knows that it leads; it knows when it can say where its partitions end.
    client.offsets(name, TIMESTAMP_LATEST)?;
    for (index, partition) in &topic.partitions {
        let address = client
            .address(partition.leader)
            .with_context(|| format!("the broker names no address for its node {}", partition.leader))?
            .to_string();
        let address = address
            .to_socket_addrs()
            .with_context(|| format!("the broker calls itself {address}"))?
            .next()
            .with_context(|| format!("{address} has no address"))?;
        layout.partitions.push(PartitionHome {
            topic: name.to_owned(),
            partition: u32::try_from(*index)?,
            address,
        });
    }
    Ok(())
}

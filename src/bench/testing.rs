//! What the tests of this room share: a spec, a layout.

use std::net::SocketAddr;
use std::time::Duration;

use super::schedule::Arrival;
use super::spec::{Keys, Kind, Rate, RunSpec};
use super::wire::{Acks, Layout, PartitionHome, TopicSpec};

/// A small run of one producer and one consumer.
pub(super) fn spec(kind: Kind) -> RunSpec {
    RunSpec {
        kind,
        name: "test".to_owned(),
        rate: Rate::new(1000.0),
        arrival: Arrival::Fixed,
        size: 100,
        topic: TopicSpec {
            names: vec!["t".to_owned()],
            partitions: 1,
            settings: Vec::new(),
        },
        producers: 1,
        consumers: 1,
        fanout: 1,
        duration: Duration::from_secs(1),
        warmup: Duration::ZERO,
        acks: Acks::All,
        keys: Keys::None,
        idempotent: false,
        stages: false,
        linger: Duration::ZERO,
        batch_bytes: 16 * 1024,
        in_flight: 5,
        threads: 1,
        cores: Vec::new(),
        seed: 1,
        inject_stall: Duration::ZERO,
        messages: 0,
        durability: "unknown".to_owned(),
        broker_pid: None,
        fetch_bytes: 1 << 20,
        fetch_wait: Duration::from_millis(100),
    }
}

/// Topics of `partitions` partitions each, homed at `addresses` addresses in turn.
pub(super) fn layout(topics: &[&str], partitions: u32, addresses: u16) -> Layout {
    let homes = topics.iter().flat_map(|topic| {
        (0..partitions).map(move |partition| PartitionHome {
            topic: (*topic).to_owned(),
            partition,
            address: SocketAddr::from(([127, 0, 0, 1], 1 + u16::try_from(partition).unwrap() % addresses)),
        })
    });
    Layout {
        partitions: homes.collect(),
    }
}

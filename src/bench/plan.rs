//! Who does what: the producers and consumers of a run as connections, spread over workers.
//!
//! A producer is one connection to each broker address that homes partitions of its topics: a [`LanePlan`]. A consumer is
//! likewise one [`ReaderPlan`] for each address. The pure function [`plan`] decides everything before anything is
//! connected, so that the same spec and layout always give the same run.
//!
//! A **stream** is the messages of one lane to one partition, numbered from 0: the unit in which a consumer can tell that
//! something is missing, doubled or out of order. Invariant: within a group every partition has exactly one reader.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::spec::{Kind, RunSpec};
use super::wire::{Layout, PartitionIndex};

/// One producer's connection.
#[derive(Clone, Debug, PartialEq)]
pub struct LanePlan {
    /// Whom it talks to.
    pub address: SocketAddr,
    /// What it sends to.
    pub partitions: Vec<PartitionIndex>,
    /// Its stream to `partitions[i]` has number `first_stream + i`.
    pub first_stream: usize,
    /// Its share of the run's rate; all shares together are 1.
    pub share: f64,
    /// Shift of its schedule, from 0 to below 1.
    pub phase: f64,
}

/// One consumer's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderPlan {
    /// Whom it talks to.
    pub address: SocketAddr,
    /// What it reads.
    pub partitions: Vec<PartitionIndex>,
    /// Its group.
    pub group: usize,
}

/// What one worker does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerPlan {
    /// Producers' connections.
    pub lanes: Vec<LanePlan>,
    /// Consumers' connections.
    pub readers: Vec<ReaderPlan>,
}

/// What all do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// By worker; none is idle unless all are.
    pub workers: Vec<WorkerPlan>,
    /// Streams in all.
    pub streams: usize,
}

/// Spreads the run over workers.
#[must_use]
pub fn plan(spec: &RunSpec, layout: &Layout) -> Plan {
    let (lanes, streams) = match spec.kind {
        Kind::Consume => (Vec::new(), 0),
        Kind::Produce | Kind::E2e => lanes(spec, layout),
    };
    let readers = match spec.kind {
        Kind::Produce => Vec::new(),
        Kind::Consume | Kind::E2e => readers(spec, layout),
    };
    let count = spec.threads.min((lanes.len() + readers.len()).max(1));
    let mut workers = vec![WorkerPlan::default(); count];
    for (number, lane) in lanes.into_iter().enumerate() {
        workers[number % count].lanes.push(lane);
    }
    // From the other end, so that two threads with one producer and one consumer have one each.
    for (number, reader) in readers.into_iter().enumerate() {
        workers[count - 1 - number % count].readers.push(reader);
    }
    Plan { workers, streams }
}

fn lanes(spec: &RunSpec, layout: &Layout) -> (Vec<LanePlan>, usize) {
    let mut lanes = Vec::new();
    let mut streams = 0;
    for producer in 0..spec.producers {
        let mine = partitions_of(spec, layout, producer);
        let count = mine.len();
        for (address, partitions) in by_address(layout, mine.into_iter()) {
            let first_stream = streams;
            streams += partitions.len();
            let share = partitions.len() as f64 / count as f64 / spec.producers as f64;
            lanes.push(LanePlan {
                address,
                partitions,
                first_stream,
                share,
                phase: 0.0,
            });
        }
    }
    let count = lanes.len() as f64;
    for (number, lane) in lanes.iter_mut().enumerate() {
        lane.phase = number as f64 / count;
    }
    (lanes, streams)
}

/// The partitions producer number `producer` sends to: those of its topic if there are enough producers, else of every
/// topic whose turn it is.
fn partitions_of(spec: &RunSpec, layout: &Layout, producer: usize) -> Vec<PartitionIndex> {
    let topics = spec.topic.names.len();
    let serves = |topic: usize| {
        if spec.producers >= topics {
            producer % topics == topic
        } else {
            topic % spec.producers == producer
        }
    };
    let all = layout.partitions.iter().enumerate();
    all.filter(|(_, home)| {
        let topic = spec.topic.names.iter().position(|name| *name == home.topic);
        topic.is_some_and(serves)
    })
    .map(|(index, _)| PartitionIndex(index))
    .collect()
}

fn readers(spec: &RunSpec, layout: &Layout) -> Vec<ReaderPlan> {
    let mut readers = Vec::new();
    for group in 0..spec.fanout {
        for member in 0..spec.consumers {
            let mine = (member..layout.partitions.len())
                .step_by(spec.consumers)
                .map(PartitionIndex);
            for (address, partitions) in by_address(layout, mine) {
                readers.push(ReaderPlan {
                    address,
                    partitions,
                    group,
                });
            }
        }
    }
    readers
}

fn by_address(
    layout: &Layout,
    partitions: impl Iterator<Item = PartitionIndex>,
) -> BTreeMap<SocketAddr, Vec<PartitionIndex>> {
    let mut addresses = BTreeMap::<_, Vec<_>>::new();
    for index in partitions {
        addresses
            .entry(layout.partitions[index.0].address)
            .or_default()
            .push(index);
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::testing::{layout, spec};

    #[test]
    fn every_partition_has_a_lane_of_every_producer_and_one_reader_in_every_group() {
        let mut spec = spec(Kind::E2e);
        (spec.producers, spec.consumers, spec.fanout, spec.threads) = (3, 2, 2, 2);
        let layout = layout(&["t"], 5, 2);
        let plan = plan(&spec, &layout);
        let lanes: Vec<_> = plan.workers.iter().flat_map(|worker| &worker.lanes).collect();
        let readers: Vec<_> = plan.workers.iter().flat_map(|worker| &worker.readers).collect();
        assert_eq!(
            (lanes.len(), plan.streams),
            (6, 15),
            "three producers, two addresses"
        );
        let shares: f64 = lanes.iter().map(|lane| lane.share).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        for group in 0..2 {
            let mut read: Vec<_> = readers
                .iter()
                .filter(|reader| reader.group == group)
                .flat_map(|reader| reader.partitions.iter().map(|index| index.0))
                .collect();
            read.sort_unstable();
            assert_eq!(read, [0, 1, 2, 3, 4]);
        }
        let mut streams: Vec<_> = lanes
            .iter()
            .flat_map(|lane| lane.first_stream..lane.first_stream + lane.partitions.len())
            .collect();
        streams.sort_unstable();
        assert_eq!(streams, (0..15).collect::<Vec<_>>());
    }

    #[test]
    fn producers_are_spread_over_topics_both_ways() {
        let mut spec = spec(Kind::Produce);
        let topics = |spec: &RunSpec, names: &[&str]| {
            let layout = layout(names, 2, 1);
            let plan = plan(spec, &layout);
            let lanes = plan.workers.iter().flat_map(|worker| &worker.lanes);
            lanes
                .map(|lane| {
                    let mut topics: Vec<_> = lane.partitions.iter().map(|index| index.0 / 2).collect();
                    topics.dedup();
                    topics
                })
                .collect::<Vec<_>>()
        };
        spec.topic.names = ["a", "b"].map(str::to_owned).to_vec();
        spec.producers = 3;
        assert_eq!(topics(&spec, &["a", "b"]), [vec![0], vec![1], vec![0]]);
        spec.topic.names = ["a", "b", "c"].map(str::to_owned).to_vec();
        spec.producers = 2;
        assert_eq!(topics(&spec, &["a", "b", "c"]), [vec![0, 2], vec![1]]);
    }

    #[test]
    fn no_worker_is_idle() {
        let mut spec = spec(Kind::E2e);
        spec.threads = 8;
        let plan = plan(&spec, &layout(&["t"], 1, 1));
        assert_eq!(plan.workers.len(), 2);
        assert_eq!(
            (plan.workers[0].lanes.len(), plan.workers[0].readers.len()),
            (1, 0)
        );
        assert_eq!(
            (plan.workers[1].lanes.len(), plan.workers[1].readers.len()),
            (0, 1)
        );
    }
}

//! DescribeLogDirs: the data directory, the logs in it and the room around them.
//!
//! Where every shard is a broker of its own to the outside, each lists the logs it leads, so that a tool that asks all of
//! them counts every log once. Logs that do not exist are left out of the answer, as in Kafka.

use std::collections::BTreeMap;

use super::{log_of, wire_count};
use crate::base::LogId;
use crate::broker::image::Image;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::messages::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use crate::shard::{Advertise, Shard};

/// Memory an answer takes for a log, encoded and not, with its part of the question to its shard.
const LOG_RESERVE_BYTES: usize = 160;

/// Answers with the one directory there is.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: DescribeLogDirsRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let mut logs = match &request.topics {
        None => every_log(&image),
        Some(topics) => {
            let named = topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(move |index| (topic.topic, *index)));
            named
                .filter_map(|(name, index)| find(&image, name, index))
                .collect()
        }
    };
    logs.retain(|_, log| leads(&call.shard, *log));
    let held = call.reserve(logs.len().saturating_mul(LOG_RESERVE_BYTES)).await;
    let sizes = call.shard.sizes(logs.values().copied().collect()).await;
    let root = directory(&call.shard);
    let (total_bytes, usable_bytes) = room(&call.shard);
    let mut topics: Vec<DescribeLogDirsTopic<'_>> = Vec::new();
    for ((name, index), size) in std::iter::zip(logs.into_keys(), sizes) {
        let Some(size) = size else { continue };
        let partition = DescribeLogDirsPartition {
            partition_index: index,
            partition_size: i64::try_from(size).unwrap_or(i64::MAX),
            ..DescribeLogDirsPartition::default()
        };
        match topics.last_mut().filter(|topic| topic.name == name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(DescribeLogDirsTopic {
                name,
                partitions: vec![partition],
            }),
        }
    }
    let result = DescribeLogDirsResult {
        log_dir: &root,
        topics,
        total_bytes,
        usable_bytes,
        ..DescribeLogDirsResult::default()
    };
    let response = DescribeLogDirsResponse {
        results: vec![result],
        ..DescribeLogDirsResponse::default()
    };
    Ok(call.answer_holding(response, held))
}

/// Logs by name and index: once each, those of a topic together.
type Logs<'a> = BTreeMap<(&'a str, i32), LogId>;

fn every_log(image: &Image) -> Logs<'_> {
    let all = image
        .topics()
        .flat_map(|topic| (0..topic.partitions).map(move |index| (&*topic.name, wire_count(index))));
    all.filter_map(|(name, index)| find(image, name, index)).collect()
}

fn find<'a>(image: &'a Image, name: &str, index: i32) -> Option<((&'a str, i32), LogId)> {
    let topic = image.topic(name)?;
    let log = log_of(topic, index)?;
    Some(((&topic.name, index), log))
}

/// Whether this node answers for `log`.
fn leads(shard: &Shard, log: LogId) -> bool {
    match shard.cluster().advertise {
        Advertise::Single => true,
        Advertise::PerCore => shard.cluster().leader_node(log).id == i32::from(shard.id().get()),
    }
}

/// The data directory as tools know it: absolute.
pub(super) fn directory(shard: &Shard) -> String {
    let root = shard.data_root();
    let absolute = std::path::absolute(root);
    absolute.as_deref().unwrap_or(root).to_string_lossy().into_owned()
}

/// Size of the file system and what is left of it, -1 where it does not say.
fn room(shard: &Shard) -> (i64, i64) {
    shard.space().map_or((-1, -1), |space| {
        let wire = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        (wire(space.total_bytes), wire(space.usable_bytes))
    })
}

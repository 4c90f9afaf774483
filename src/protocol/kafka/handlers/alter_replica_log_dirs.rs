//! AlterReplicaLogDirs: there is one directory, so a log can only be asked to stay where it is.

use std::collections::BTreeMap;

use super::describe_log_dirs::directory;
use super::find_log;
use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::messages::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};

/// Answers each log for itself.
pub(in crate::protocol::kafka) fn handle(call: &Call) -> Outcome {
    let request: AlterReplicaLogDirsRequest<'_> = call.decode()?;
    let image = call.shard.image();
    let root = directory(&call.shard);
    let mut results: BTreeMap<&str, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            for &index in &topic.partitions {
                let code = if dir.path.trim_end_matches('/') != root {
                    ErrorCode::LogDirNotFound
                } else if find_log(&image, topic.name, index).is_none() {
                    ErrorCode::UnknownTopicOrPartition
                } else {
                    ErrorCode::None
                };
                results.entry(topic.name).or_default().insert(index, code);
            }
        }
    }
    if results
        .values()
        .flat_map(BTreeMap::values)
        .any(|code| *code != ErrorCode::None)
    {
        call.count_error();
    }
    let topic = |(topic_name, partitions): (_, BTreeMap<i32, ErrorCode>)| {
        let partition = |(partition_index, code): (i32, ErrorCode)| AlterReplicaLogDirPartitionResult {
            partition_index,
            error_code: code.code(),
        };
        AlterReplicaLogDirTopicResult {
            topic_name,
            partitions: partitions.into_iter().map(partition).collect(),
        }
    };
    Ok(call.answer(AlterReplicaLogDirsResponse {
        throttle_time_ms: 0,
        results: results.into_iter().map(topic).collect(),
    }))
}

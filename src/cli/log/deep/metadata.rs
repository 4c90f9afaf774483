//! A whole data directory: its metadata, and whether the directories of topics are those it speaks of.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::super::files::{LogFiles, identify};
use super::Findings;
use crate::base::{LogId, Offset, PartitionId};
use crate::broker::meta_store::LocalMetaStore;
use crate::server::catalog::topics_in;
use crate::storage::layout::DataDir;
use crate::storage::marker::CleanEnd;

/// Where findings about the metadata are.
const METADATA: &str = "meta";

/// Looks at what is no log.
pub(in super::super) fn check_data(
    data: &DataDir,
    logs: &[LogFiles],
    ends: &HashMap<LogId, CleanEnd>,
    findings: &mut Findings,
) {
    check_marker(data, findings);
    let known = match topics(data) {
        Ok(known) => known,
        Err(error) => return findings.error(METADATA, None, error),
    };
    let named: HashMap<String, LogId> = known.into_iter().collect();
    for (name, id) in sorted(&named) {
        if !data.topics().join(name).is_dir() {
            let what =
                "its directory is missing: a topic that was not just being created has lost its records";
            findings.error(name, None, what);
            continue;
        }
        let log = logs.iter().find(|log| log.name == *name);
        match log.map(identify) {
            Some(Ok(Some(found))) if found != *id => {
                let what = format!("it holds segments of {found}, the topic's log is {id}");
                findings.error(name, None, what);
            }
            Some(Err(error)) => findings.error(name, None, error.to_string()),
            _ => {}
        }
        let end = ends.get(id).map_or(Offset::ZERO, |clean| clean.end);
        if log.is_none() && end > Offset::ZERO {
            let what =
                format!("there is no segment, and the clean-stop marker says that the log ends at {end}");
            findings.error(name, Offset::ZERO, what);
        }
    }
    check_strangers(data, &named, findings);
}

/// `topic/partition` and id of every log that the metadata speaks of.
fn topics(data: &DataDir) -> Result<Vec<(String, LogId)>, String> {
    let store = LocalMetaStore::look(&data.meta()).map_err(|error| error.to_string())?;
    let topics = topics_in(&store).map_err(|error| error.to_string())?;
    let logs = topics.into_iter().flat_map(|(name, topic, partitions)| {
        (0..partitions).map(move |partition| {
            let partition = PartitionId::new(partition);
            (format!("{name}/{partition}"), LogId { topic, partition })
        })
    });
    Ok(logs.collect())
}

fn sorted(named: &HashMap<String, LogId>) -> Vec<(&String, &LogId)> {
    let mut sorted: Vec<_> = named.iter().collect();
    sorted.sort_unstable_by_key(|(_, id)| **id);
    sorted
}

fn check_marker(data: &DataDir, findings: &mut Findings) {
    if let Ok(bytes) = std::fs::read(data.marker())
        && crate::storage::marker::decode(&bytes).is_none()
    {
        findings.note("clean-stop", "the marker fails its checks; the next start scans");
    }
}

/// Directories that no topic owns.
fn check_strangers(data: &DataDir, named: &HashMap<String, LogId>, findings: &mut Findings) {
    let topics: HashSet<&str> = named
        .keys()
        .filter_map(|name| name.rsplit_once('/').map(|(topic, _)| topic))
        .collect();
    for topic in names_in(&data.topics()) {
        if !topics.contains(topic.as_str()) {
            findings.note(&topic, "a directory of a topic that the metadata does not know");
            continue;
        }
        for partition in names_in(&data.topic(&topic)) {
            let name = format!("{topic}/{partition}");
            if !named.contains_key(&name) {
                findings.note(
                    &name,
                    "a directory of a partition that the metadata does not know",
                );
            }
        }
    }
    for name in names_in(&data.trash()) {
        findings.note(&format!("trash/{name}"), "a deleted topic on its way out");
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

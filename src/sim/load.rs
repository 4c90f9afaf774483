//! What the clients of a run do, drawn from its seed: which topics there are and how they are kept, who writes and who reads.

use super::book::TopicPlan;
use super::history::Nature;
use super::member::{GroupPlan, Protocol};
use super::producer::Job;
use super::reader::Habits;
use super::scenario::Profile;
use crate::runtime::sim::Random;

/// Smallest segments there are, and a bit: so that many begin and end.
const SEGMENT_BYTES: [u64; 3] = [16 << 10, 16 << 10, 32 << 10];

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) topics: Vec<TopicPlan>,
    pub(super) jobs: Vec<Job>,
    pub(super) readers: Vec<Habits>,
    pub(super) groups: Vec<GroupPlan>,
}

impl Load {
    pub(super) fn draw(dice: &mut Random, profile: Profile) -> Self {
        let size = profile.size();
        let count = 1 + dice.index(size.topics);
        let topics: Vec<TopicPlan> = (0..count).map(|number| draw_topic(dice, number)).collect();
        let jobs = (0..1 + dice.index(size.producers)).map(|_| draw_job(dice, count, size.batches));
        let jobs = jobs.collect();
        let readers = (0..1 + dice.index(size.readers)).map(|_| draw_habits(dice, count));
        let readers = readers.collect();
        let groups = (0..dice.index(size.groups + 1)).map(|number| draw_group(dice, &topics, number));
        let groups = groups.collect();
        Self {
            topics,
            jobs,
            readers,
            groups,
        }
    }
}

fn draw_topic(dice: &mut Random, number: usize) -> TopicPlan {
    let relaxed = number > 0 && dice.one_in(4);
    let compacted = !relaxed && dice.one_in(4);
    let expires = !relaxed && !compacted && dice.one_in(4);
    let mut configs = vec![
        (
            "segment.bytes",
            SEGMENT_BYTES[dice.index(SEGMENT_BYTES.len())].to_string(),
        ),
        ("index.interval.bytes", "2048".to_owned()),
        ("retention.ms", "-1".to_owned()),
        ("message.timestamp.after.max.ms", i64::MAX.to_string()),
    ];
    if relaxed {
        configs.push(("corelog.durability", "relaxed".to_owned()));
        configs.push(("flush.ms", "50".to_owned()));
    }
    if compacted {
        configs.push(("cleanup.policy", "compact".to_owned()));
        configs.push(("min.cleanable.dirty.ratio", "0.01".to_owned()));
        configs.push(("delete.retention.ms", "100".to_owned()));
        configs.push(("max.compaction.lag.ms", "300".to_owned()));
    }
    if expires {
        configs.push(("retention.bytes", (40 << 10).to_string()));
    }
    if dice.one_in(5) {
        configs.push(("compression.type", "lz4".to_owned()));
    }
    TopicPlan {
        name: format!("topic-{number}"),
        partitions: i32::try_from(1 + dice.below(3)).expect("few"),
        nature: Nature {
            compacted,
            relaxed,
            expires,
        },
        configs,
        id: None,
    }
}

fn draw_job(dice: &mut Random, topics: usize, batches: u32) -> Job {
    let topic = dice.index(topics);
    let hurried = dice.one_in(3);
    Job {
        topics: vec![topic],
        batches,
        acks: if dice.one_in(4) { 1 } else { -1 },
        pause: if hurried { 500..15_000 } else { 5_000..80_000 },
    }
}

fn draw_habits(dice: &mut Random, topics: usize) -> Habits {
    Habits {
        topics: (0..topics).collect(),
        sessions: !dice.one_in(3),
        max_bytes: if dice.one_in(2) { 4 << 10 } else { 256 << 10 },
        pause: if dice.one_in(3) {
            20_000..200_000
        } else {
            100..20_000
        },
    }
}

/// A group reads what no crash takes back: its positions would lie behind the end of a log that has forgotten records.
fn draw_group(dice: &mut Random, topics: &[TopicPlan], number: usize) -> GroupPlan {
    let lasting = (0..topics.len()).filter(|topic| !topics[*topic].nature.relaxed);
    GroupPlan {
        name: format!("group-{number}"),
        protocol: if dice.one_in(2) {
            Protocol::Classic
        } else {
            Protocol::Consumer
        },
        topics: lasting.collect(),
        members: u32::try_from(1 + dice.below(3)).expect("few"),
    }
}

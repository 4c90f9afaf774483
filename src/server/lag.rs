//! Consumer lag and what else kafka_exporter shows, under its names, on `/metrics/kafka`.
//!
//! Dashboards and alerts made for that exporter work unchanged; no second process reads the broker. Added to its names is
//! `corelog_group_lag_seconds`: for how long the oldest record that a group has not committed has been in the log, by the
//! broker's clock. That takes a read at the committed offset, so it is made for at most [`LAG_SECONDS_MAX`] partitions a
//! scrape, and what was found is kept as long as the offset stands still.
//!
//! On the control thread. One scrape asks every shard once for its numbers and once for times.

use super::control::Control;
use crate::base::hash::HashMap;
use crate::base::{LogId, Offset, PartitionId, ShardId, Timestamp};
use crate::broker::image::Image;
use crate::broker::placement::owner;
use crate::runtime::clock;
use crate::runtime::mesh::Peer;
use crate::shard::numbers::{GroupNumbers, Numbers};
use crate::shard::request::Body;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// Partitions whose lag is told in seconds, in one scrape.
const LAG_SECONDS_MAX: usize = 1000;

/// How long the shards may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// When records at committed offsets were appended.
pub(super) type KnownTimes = HashMap<(LogId, Offset), Timestamp>;

/// One partition of one group.
#[derive(Clone, Debug)]
struct Position {
    group: Arc<str>,
    topic: Arc<str>,
    partition: i32,
    committed: i64,
    lag: i64,
    lag_ms: Option<u64>,
}

/// One partition.
#[derive(Clone, Debug)]
struct Extent {
    topic: Arc<str>,
    partition: u32,
    leader: u16,
    start: i64,
    end: i64,
}

/// Everything one scrape shows.
#[derive(Clone, Debug, Default)]
pub(super) struct LagSnapshot {
    brokers: u16,
    topics: Vec<(Arc<str>, u32)>,
    extents: Vec<Extent>,
    positions: Vec<Position>,
    members: Vec<(Arc<str>, usize)>,
}

impl LagSnapshot {
    /// Asks the shards; none if they do not answer in time. `brokers` is how many clients are told of.
    pub(super) async fn gather(control: &Control, brokers: u16, known: &mut KnownTimes) -> Option<Self> {
        let work = Self::ask(control, brokers, known);
        tokio::time::timeout(PATIENCE, work).await.ok()
    }

    async fn ask(control: &Control, brokers: u16, known: &mut KnownTimes) -> Self {
        let image = control.image().await;
        let mut logs = HashMap::default();
        let mut groups: Vec<GroupNumbers> = Vec::new();
        for answer in control.ask_all(|| Body::Numbers).await {
            if let Body::NumbersDone(numbers) = answer {
                let Numbers {
                    logs: more,
                    groups: coordinated,
                } = *numbers;
                logs.extend(more.into_iter().map(|(log, start, end)| (log, (start, end))));
                groups.extend(coordinated);
            }
        }
        groups.sort_by(|one, other| one.id.cmp(&other.id));
        let mut snapshot = Self::of(&image, &logs, &groups, brokers, control.shards());
        snapshot.add_times(control, &image, known).await;
        snapshot
    }

    fn of(
        image: &Image,
        logs: &HashMap<LogId, (Offset, Offset)>,
        groups: &[GroupNumbers],
        brokers: u16,
        shards: u16,
    ) -> Self {
        let mut snapshot = Self {
            brokers,
            members: groups
                .iter()
                .map(|group| (Arc::clone(&group.id), group.members))
                .collect(),
            ..Self::default()
        };
        for topic in image.topics() {
            snapshot.topics.push((Arc::clone(&topic.name), topic.partitions));
            for partition in 0..topic.partitions {
                let log = LogId {
                    topic: topic.id,
                    partition: PartitionId::new(partition),
                };
                let Some((start, end)) = logs.get(&log) else {
                    continue;
                };
                snapshot.extents.push(Extent {
                    topic: Arc::clone(&topic.name),
                    partition,
                    leader: if brokers > 1 { owner(log, shards).get() } else { 0 },
                    start: as_number(*start),
                    end: as_number(*end),
                });
            }
        }
        for group in groups {
            for (topic, partition, committed) in &group.offsets {
                let end = log_of(image, topic, *partition).and_then(|log| logs.get(&log));
                let Some((_, end)) = end else { continue };
                snapshot.positions.push(Position {
                    group: Arc::clone(&group.id),
                    topic: Arc::clone(topic),
                    partition: *partition,
                    committed: *committed,
                    // The two numbers are not of one moment: see `shard::numbers`.
                    lag: (as_number(*end) - committed).max(0),
                    lag_ms: None,
                });
            }
        }
        snapshot
    }

    /// Finds out since when the records that are not committed have waited.
    async fn add_times(&mut self, control: &Control, image: &Image, known: &mut KnownTimes) {
        let place = |position: &Position| {
            let log = log_of(image, &position.topic, position.partition)?;
            Some((log, Offset::new(u64::try_from(position.committed).ok()?)))
        };
        let lagging = self.positions.iter().filter(|position| position.lag > 0);
        let mut places: Vec<(LogId, Offset)> = lagging.filter_map(place).collect();
        places.sort_unstable();
        places.dedup();
        known.retain(|place, _| places.binary_search(place).is_ok());
        places.retain(|place| !known.contains_key(place));
        places.truncate(LAG_SECONDS_MAX);
        for shard in 0..control.shards() {
            let owned = |place: &&(LogId, Offset)| owner(place.0, control.shards()) == ShardId::new(shard);
            let asked: Vec<(LogId, Offset)> = places.iter().filter(owned).copied().collect();
            if asked.is_empty() {
                continue;
            }
            let answer = control
                .ask(Peer::new(shard), Body::AppendTimes(asked.clone()))
                .await;
            if let Some(Body::AppendTimesDone(times)) = answer {
                let found = asked.into_iter().zip(times);
                known.extend(found.filter_map(|(place, time)| Some((place, time?))));
            }
        }
        let now = clock::wall_ms();
        for position in &mut self.positions {
            position.lag_ms = match position.lag {
                0 => Some(0),
                _ => place(position)
                    .and_then(|place| known.get(&place))
                    .map(|since| u64::try_from(now.get().saturating_sub(since.get())).unwrap_or(0)),
            };
        }
    }
}

fn log_of(image: &Image, topic: &str, partition: i32) -> Option<LogId> {
    let partition = u32::try_from(partition).ok()?;
    let topic = image.topic(topic).filter(|topic| partition < topic.partitions)?;
    Some(LogId {
        topic: topic.id,
        partition: PartitionId::new(partition),
    })
}

fn as_number(offset: Offset) -> i64 {
    i64::try_from(offset.get()).unwrap_or(i64::MAX)
}

/// A sample: its labels and its value.
type Sample = (Vec<(&'static str, String)>, f64);

impl Collector for LagSnapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let brokers = ConstGauge::new(f64::from(self.brokers));
        let help = "Brokers that clients are told of.";
        brokers.encode(encoder.encode_descriptor("kafka_brokers", help, None, MetricType::Gauge)?)?;
        let mut family = |name: &str, help: &str, samples: Vec<Sample>| -> Result<(), std::fmt::Error> {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, value) in samples {
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        let of_partition = |value: fn(&Extent) -> f64| {
            let sample = |extent: &Extent| {
                let labels = vec![
                    ("partition", extent.partition.to_string()),
                    ("topic", extent.topic.to_string()),
                ];
                (labels, value(extent))
            };
            self.extents.iter().map(sample).collect::<Vec<_>>()
        };
        let partitions =
            |(topic, count): &(Arc<str>, u32)| (vec![("topic", topic.to_string())], f64::from(*count));
        let partitions = self.topics.iter().map(partitions).collect();
        family("kafka_topic_partitions", "Partitions of a topic.", partitions)?;
        family(
            "kafka_topic_partition_current_offset",
            "Next offset of a partition.",
            of_partition(|one| number(one.end)),
        )?;
        family(
            "kafka_topic_partition_oldest_offset",
            "First offset of a partition.",
            of_partition(|one| number(one.start)),
        )?;
        family(
            "kafka_topic_partition_leader",
            "Node id of a partition's leader.",
            of_partition(|one| f64::from(one.leader)),
        )?;
        family(
            "kafka_topic_partition_replicas",
            "Replicas of a partition.",
            of_partition(|_| 1.0),
        )?;
        family(
            "kafka_topic_partition_in_sync_replica",
            "In-sync replicas of a partition.",
            of_partition(|_| 1.0),
        )?;
        family(
            "kafka_topic_partition_leader_is_preferred",
            "1 if the leader is the preferred one.",
            of_partition(|_| 1.0),
        )?;
        family(
            "kafka_topic_partition_under_replicated_partition",
            "1 if replicas are out of sync.",
            of_partition(|_| 0.0),
        )?;
        let of_position = |value: fn(&Position) -> Option<f64>| {
            let sample = |position: &Position| Some((position_labels(position), value(position)?));
            self.positions.iter().filter_map(sample).collect::<Vec<_>>()
        };
        family(
            "kafka_consumergroup_current_offset",
            "Offset a group has committed.",
            of_position(|one| Some(number(one.committed))),
        )?;
        family(
            "kafka_consumergroup_lag",
            "Records a group has not committed.",
            of_position(|one| Some(number(one.lag))),
        )?;
        family(
            "kafka_consumergroup_current_offset_sum",
            "Offsets a group has committed, of all partitions.",
            self.sums(|one| one.committed),
        )?;
        family(
            "kafka_consumergroup_lag_sum",
            "Records a group has not committed, of all partitions.",
            self.sums(|one| one.lag),
        )?;
        let members = |(group, count): &(Arc<str>, usize)| {
            let labels = vec![("consumergroup", group.to_string())];
            (labels, f64::from(u32::try_from(*count).unwrap_or(u32::MAX)))
        };
        family(
            "kafka_consumergroup_members",
            "Members of a group.",
            self.members.iter().map(members).collect(),
        )?;
        let seconds = |one: &Position| one.lag_ms.map(|ms| Duration::from_millis(ms).as_secs_f64());
        family(
            "corelog_group_lag_seconds",
            "How long the oldest record a group has not committed has waited.",
            of_position(seconds),
        )
    }
}

impl LagSnapshot {
    fn sums(&self, value: fn(&Position) -> i64) -> Vec<Sample> {
        let mut samples: Vec<(&Position, i64)> = Vec::new();
        // Positions are in the order of groups and, within a group, of topics.
        for position in &self.positions {
            match samples.last_mut() {
                Some((last, sum)) if last.group == position.group && last.topic == position.topic => {
                    *sum += value(position);
                }
                _ => samples.push((position, value(position))),
            }
        }
        let sample = |(position, sum): (&Position, i64)| {
            let labels = vec![
                ("consumergroup", position.group.to_string()),
                ("topic", position.topic.to_string()),
            ];
            (labels, number(sum))
        };
        samples.into_iter().map(sample).collect()
    }

    /// The text of one scrape.
    pub(super) fn render(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &registry)
            .expect("writing to a string cannot fail");
        out
    }
}

fn position_labels(position: &Position) -> Vec<(&'static str, String)> {
    vec![
        ("consumergroup", position.group.to_string()),
        ("partition", position.partition.to_string()),
        ("topic", position.topic.to_string()),
    ]
}

/// Offsets beyond 2^53 lose their last digits, which no dashboard shows.
fn number(value: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let number = value as f64;
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TopicId;
    use crate::broker::topic::{Topic, TopicDefaults, settings};
    use std::collections::BTreeMap;

    #[test]
    fn lag_is_what_is_not_committed_yet() {
        let mut image = Image::default();
        image.put(Topic {
            name: Arc::from("t"),
            id: TopicId::new([7; 16]),
            partitions: 2,
            overrides: BTreeMap::new(),
            settings: settings(&BTreeMap::new(), &TopicDefaults::default()),
        });
        let log = |partition| log_of(&image, "t", partition).unwrap();
        let extent = |start, end| (Offset::new(start), Offset::new(end));
        let logs = HashMap::from_iter([(log(0), extent(2, 10)), (log(1), extent(0, 3))]);
        let groups = [GroupNumbers {
            id: Arc::from("a \"quoted\" group"),
            members: 2,
            offsets: vec![
                (Arc::from("t"), 0, 4),
                (Arc::from("t"), 1, 5),
                (Arc::from("gone"), 0, 1),
            ],
        }];
        let mut snapshot = LagSnapshot::of(&image, &logs, &groups, 1, 2);
        snapshot.positions[0].lag_ms = Some(1500);
        let text = snapshot.render();
        let group = "consumergroup=\"a \\\"quoted\\\" group\"";
        for line in [
            "kafka_topic_partitions{topic=\"t\"} 2".to_owned(),
            "kafka_topic_partition_current_offset{partition=\"0\",topic=\"t\"} 10".to_owned(),
            "kafka_topic_partition_oldest_offset{partition=\"0\",topic=\"t\"} 2".to_owned(),
            format!("kafka_consumergroup_current_offset{{{group},partition=\"0\",topic=\"t\"}} 4"),
            format!("kafka_consumergroup_lag{{{group},partition=\"0\",topic=\"t\"}} 6"),
            format!("kafka_consumergroup_lag{{{group},partition=\"1\",topic=\"t\"}} 0"),
            format!("kafka_consumergroup_lag_sum{{{group},topic=\"t\"}} 6"),
            format!("kafka_consumergroup_members{{{group}}} 2"),
            format!("corelog_group_lag_seconds{{{group},partition=\"0\",topic=\"t\"}} 1.5"),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("gone"), "{text}");
    }
}

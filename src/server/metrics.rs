//! Prometheus metrics from the shards' plain counters.
//!
//! A scrape asks every shard for its numbers and encodes them; between scrapes nothing is kept, and shards pay for their
//! counters only.

use crate::base::histogram::Histogram;
use crate::shard::ShardStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// What is shown of a latency.
const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];

/// Powers of two, in ns, that bound the buckets of a stage: 1 us to 17 s, each twice the one before.
const BUCKET_BITS: std::ops::RangeInclusive<u32> = 10..=34;

/// Everything one scrape shows.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// One per shard, in order.
    pub shards: Vec<ShardStats>,
    /// Topics.
    pub topics: u64,
    /// Bytes free on the data directory's file system.
    pub free_bytes: u64,
    /// Produce is refused for lack of space.
    pub disk_full: bool,
    /// Time since the process was ready.
    pub uptime_seconds: u64,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        gauge(&mut encoder, "topics", "Topics.", self.topics)?;
        gauge(
            &mut encoder,
            "disk_free_bytes",
            "Bytes free for the data directory.",
            self.free_bytes,
        )?;
        gauge(
            &mut encoder,
            "disk_full",
            "1 while produce is refused for lack of space.",
            self.disk_full.into(),
        )?;
        gauge(
            &mut encoder,
            "uptime_seconds",
            "Time since the broker was ready.",
            self.uptime_seconds,
        )?;
        let gauges: [ShardGauge; 7] = [
            ("partitions", "Partitions owned by a shard.", |s| s.partitions),
            (
                "damaged_partitions",
                "Partitions with ranges that cannot be read.",
                |s| s.damaged_partitions,
            ),
            ("log_size_bytes", "Bytes of log in segments.", |s| s.log_bytes),
            ("buffers_used_bytes", "Tail and read buffers in use.", |s| {
                s.arena_used_bytes
            }),
            ("buffers_bytes", "Tail and read buffers there are.", |s| {
                s.arena_bytes
            }),
            ("request_memory_used_bytes", "Memory held by requests.", |s| {
                s.request_used_bytes
            }),
            ("response_memory_used_bytes", "Memory held by responses.", |s| {
                s.response_used_bytes
            }),
        ];
        for (name, help, value) in gauges {
            self.family(&mut encoder, name, help, value, Kind::Gauge)?;
        }
        self.latencies(&mut encoder)?;
        self.stages(&mut encoder)?;
        self.groups(&mut encoder)?;
        let names: Vec<&'static str> = self
            .shards
            .first()
            .map(|shard| shard.counters.iter().map(|(name, _)| *name).collect())
            .unwrap_or_default();
        for (at, name) in names.into_iter().enumerate() {
            let kind = if name.ends_with("_total") {
                Kind::Counter
            } else {
                Kind::Gauge
            };
            let value = |shard: &ShardStats| shard.counters.get(at).map_or(0, |(_, value)| *value);
            self.family(
                &mut encoder,
                name.trim_end_matches("_total"),
                "See the name.",
                value,
                kind,
            )?;
        }
        Ok(())
    }
}

/// Name, help and value of a gauge each shard has.
type ShardGauge = (&'static str, &'static str, fn(&ShardStats) -> u64);

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

impl Snapshot {
    /// Quantiles over all shards since the start, in seconds, as gauges: the shards keep histograms finer than buckets
    /// could say.
    fn latencies(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(first) = self.shards.first() else {
            return Ok(());
        };
        for (at, (name, _)) in first.latencies.iter().enumerate() {
            let mut all: Option<hdrhistogram::Histogram<u64>> = None;
            for (_, histogram) in self.shards.iter().filter_map(|shard| shard.latencies.get(at)) {
                match &mut all {
                    Some(all) => all.add(histogram).map_err(|_| std::fmt::Error)?,
                    None => all = Some(histogram.clone()),
                }
            }
            let Some(all) = all else { continue };
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let help = "Quantiles since the start; 1 is the largest.";
            let name = format!("{name}_seconds");
            let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
            for quantile in QUANTILES {
                let seconds = Duration::from_micros(all.value_at_quantile(quantile)).as_secs_f64();
                let labels = [("quantile", quantile.to_string())];
                ConstGauge::new(seconds).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// Groups by shard and state.
    fn groups(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let kind = prometheus_client::metrics::MetricType::Gauge;
        let help = "Groups a shard coordinates, by state.";
        let mut family = encoder.encode_descriptor("groups", help, None, kind)?;
        for (shard, stats) in self.shards.iter().enumerate() {
            let shard = shard.to_string();
            for (state, count) in &stats.group_states {
                let labels = [("shard", shard.as_str()), ("state", state)];
                ConstGauge::new(as_gauge(*count)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// A histogram for each stage of each shard, in seconds.
    fn stages(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let kind = prometheus_client::metrics::MetricType::Histogram;
        let help =
            "Time of batches and reads by stage; durable is on the device, visible is a relaxed topic's.";
        let mut family = encoder.encode_descriptor("stage_seconds", help, None, kind)?;
        for (shard, stats) in self.shards.iter().enumerate() {
            let shard = shard.to_string();
            for (stage, times) in &stats.stages {
                let labels = [("shard", shard.as_str()), ("stage", stage.name())];
                encode_histogram(family.encode_family(&labels)?, times)?;
            }
        }
        Ok(())
    }

    /// One metric with a sample per shard.
    fn family(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&ShardStats) -> u64,
        kind: Kind,
    ) -> Result<(), std::fmt::Error> {
        let metric_type = match kind {
            Kind::Counter => prometheus_client::metrics::MetricType::Counter,
            Kind::Gauge => prometheus_client::metrics::MetricType::Gauge,
        };
        let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
        for (shard, stats) in self.shards.iter().enumerate() {
            let labels = [("shard", shard.to_string())];
            let sample = family.encode_family(&labels)?;
            match kind {
                Kind::Counter => ConstCounter::new(value(stats)).encode(sample)?,
                Kind::Gauge => ConstGauge::new(as_gauge(value(stats))).encode(sample)?,
            }
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), std::fmt::Error> {
    let gauge = ConstGauge::new(as_gauge(value));
    gauge.encode(encoder.encode_descriptor(
        name,
        help,
        None,
        prometheus_client::metrics::MetricType::Gauge,
    )?)
}

/// Bounds are powers of two ns, which are bounds of the ledger's buckets: nothing is estimated.
fn encode_histogram(mut sample: MetricEncoder<'_>, times: &Histogram) -> Result<(), std::fmt::Error> {
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    for bits in BUCKET_BITS {
        let up_to = times.count_up_to((1 << bits) - 1);
        buckets.push((Duration::from_nanos(1 << bits).as_secs_f64(), up_to - below));
        below = up_to;
    }
    let count = times.count();
    buckets.push((f64::INFINITY, count - below));
    let sum = Duration::from_nanos(times.sum_ns()).as_secs_f64();
    sample.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

fn as_gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The text of one scrape.
#[must_use]
pub fn render(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix("corelog");
    registry.register_collector(Box::new(snapshot));
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "What is running.", build);
    let mut out = String::new();
    prometheus_client::encoding::text::encode(&mut out, &registry).expect("writing to a string cannot fail");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stages::Stage;

    #[test]
    fn a_stage_is_a_histogram_in_seconds_for_each_shard() {
        let mut times = Histogram::default();
        [1_023, 1_024, 3_000_000, 1 << 40]
            .into_iter()
            .for_each(|ns| times.record(ns));
        let shard = ShardStats {
            stages: vec![(Stage::Durable, times), (Stage::Find, Histogram::default())],
            ..ShardStats::default()
        };
        let text = render(Snapshot {
            shards: vec![ShardStats::default(), shard],
            ..Snapshot::default()
        });
        assert_eq!(
            text.matches("# TYPE corelog_stage_seconds histogram").count(),
            1,
            "{text}"
        );
        let of = |stage: &str, name: &str| {
            let start = format!("corelog_stage_seconds_{name}{{");
            let lines = text.lines().filter(|line| line.starts_with(&start));
            let lines = lines.filter(|line| line.contains(&format!("shard=\"1\",stage=\"{stage}\"")));
            lines
                .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
                .collect::<Vec<_>>()
        };
        let buckets = of("durable", "bucket");
        assert_eq!(buckets.len(), 26, "{text}");
        assert!(buckets.is_sorted());
        assert_eq!(
            (buckets[0], buckets[1], buckets[24], buckets[25]),
            (1.0, 2.0, 3.0, 4.0)
        );
        assert_eq!(of("durable", "count"), [4.0]);
        assert!((of("durable", "sum")[0] - 1099.514).abs() < 0.01, "{text}");
        assert!(text.contains("le=\"0.000001024\""), "{text}");
        assert_eq!(of("find", "bucket"), [0.0; 26]);
        assert!(
            !text.contains("corelog_stage_seconds_count{shard=\"0\""),
            "{text}"
        );
    }

    #[test]
    fn a_scrape_names_every_counter_once_per_shard() {
        let mut took = hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 2).unwrap();
        took.record(1500).unwrap();
        let shard = ShardStats {
            latencies: vec![("produce_latency", took)],
            counters: vec![("requests_total", 7), ("connections_open", 2)],
            ..ShardStats::default()
        };
        let text = render(Snapshot {
            shards: vec![shard.clone(), shard],
            topics: 3,
            ..Snapshot::default()
        });
        assert!(text.contains("corelog_requests_total{shard=\"1\"} 7\n"), "{text}");
        assert!(
            text.contains("corelog_connections_open{shard=\"0\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("corelog_topics 3\n"), "{text}");
        assert!(
            text.contains("corelog_produce_latency_seconds{quantile=\"0.99\"} 0.0015"),
            "{text}"
        );
        assert!(text.contains("corelog_build_info{version="), "{text}");
        assert_eq!(
            text.matches("# TYPE corelog_requests counter").count(),
            1,
            "{text}"
        );
    }
}

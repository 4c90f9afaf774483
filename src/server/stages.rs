//! `GET /v1/stages`: where the time of batches and reads went since the start, for each shard and all together.
//!
//! Everything is cumulative; nothing is reset, so that any number of readers can look. Who wants an interval asks twice and
//! subtracts, bucket by bucket ([`Histogram::since`]): each stage comes with its raw buckets and its sum. A stage nothing went
//! through yet is there with a count of 0. The fields are what tools rely on; `schema` grows when one changes its meaning.

use super::metrics::Snapshot;
use crate::base::histogram::Histogram;
use crate::base::stages::Stage;
use crate::shard::ShardStats;
use serde::Serialize;

/// Version of the answer's fields.
const SCHEMA: u32 = 1;

/// What `durable` and `visible` promise, for people who read the JSON.
const NOTE: &str = "durable: until the device had the batch, in every topic but relaxed ones; visible: relaxed topics, \
     whose answers do not wait for the device. Times are cumulative since the start: subtract two answers for an interval. \
     buckets are [longest time in ns, count], at most 1/32 wide, empty ones left out.";

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct StagesAnswer {
    schema: u32,
    durability: String,
    note: &'static str,
    uptime_seconds: u64,
    merged: Vec<StageRow>,
    shards: Vec<ShardRow>,
}

#[derive(Debug, Serialize)]
struct ShardRow {
    shard: usize,
    stages: Vec<StageRow>,
}

#[derive(Debug, Serialize)]
struct StageRow {
    stage: &'static str,
    path: &'static str,
    count: u64,
    sum_ns: u64,
    mean_us: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p99_9_us: f64,
    max_us: f64,
    buckets: Vec<(u64, u64)>,
}

impl StagesAnswer {
    /// From what the shards say; `durability` is how writes are made durable here.
    pub(super) fn new(snapshot: &Snapshot, durability: String) -> Self {
        let shards = snapshot.shards.iter().enumerate();
        Self {
            schema: SCHEMA,
            durability,
            note: NOTE,
            uptime_seconds: snapshot.uptime_seconds,
            merged: merged(&snapshot.shards)
                .iter()
                .map(|(stage, times)| StageRow::new(*stage, times))
                .collect(),
            shards: shards.map(|(shard, stats)| ShardRow::new(shard, stats)).collect(),
        }
    }
}

impl ShardRow {
    fn new(shard: usize, stats: &ShardStats) -> Self {
        let stages = stats.stages.iter();
        Self {
            shard,
            stages: stages
                .map(|(stage, times)| StageRow::new(*stage, times))
                .collect(),
        }
    }
}

impl StageRow {
    fn new(stage: Stage, times: &Histogram) -> Self {
        let quantile = |parts| us(times.quantile_ns(parts));
        Self {
            stage: stage.name(),
            path: if stage.is_read() { "read" } else { "produce" },
            count: times.count(),
            sum_ns: times.sum_ns(),
            mean_us: us(times.mean_ns()),
            p50_us: quantile(5_000),
            p90_us: quantile(9_000),
            p99_us: quantile(9_900),
            p99_9_us: quantile(9_990),
            max_us: us(times.max_ns()),
            buckets: times.buckets().collect(),
        }
    }
}

/// The stages of all shards together, in the order of [`Stage::ALL`].
fn merged(shards: &[ShardStats]) -> Vec<(Stage, Histogram)> {
    let mut all = Stage::ALL.map(|stage| (stage, Histogram::default())).to_vec();
    for (stage, times) in shards.iter().flat_map(|shard| &shard.stages) {
        all[stage.index()].1.merge(times);
    }
    all
}

/// Nanoseconds as microseconds with their fraction.
fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(durable_us: &[u64]) -> ShardStats {
        let stages = Stage::ALL.map(|stage| {
            let mut times = Histogram::default();
            if stage == Stage::Durable {
                durable_us.iter().for_each(|us| times.record(us * 1000));
            }
            (stage, times)
        });
        ShardStats {
            stages: stages.to_vec(),
            ..ShardStats::default()
        }
    }

    #[test]
    fn the_answer_has_every_stage_for_each_shard_and_merged() {
        let snapshot = Snapshot {
            shards: vec![shard(&[10, 20]), shard(&[70])],
            uptime_seconds: 5,
            ..Snapshot::default()
        };
        let answer = serde_json::to_value(StagesAnswer::new(&snapshot, "durable(dsync)".to_owned())).unwrap();
        assert_eq!(answer["schema"], 1);
        assert_eq!(answer["durability"], "durable(dsync)");
        assert_eq!(answer["uptime_seconds"], 5);
        let stages = |rows: &serde_json::Value| {
            let rows = rows.as_array().unwrap().iter();
            rows.map(|row| {
                (
                    row["stage"].as_str().unwrap().to_owned(),
                    row["count"].as_u64().unwrap(),
                )
            })
            .collect::<Vec<_>>()
        };
        let with =
            |count| Stage::ALL.map(|s| (s.name().to_owned(), if s == Stage::Durable { count } else { 0 }));
        assert_eq!(stages(&answer["merged"]), with(3));
        assert_eq!(stages(&answer["shards"][0]["stages"]), with(2));
        assert_eq!(stages(&answer["shards"][1]["stages"]), with(1));
        assert_eq!(answer["shards"][1]["shard"], 1);
    }

    #[test]
    fn a_stage_is_told_in_microseconds_with_buckets_that_make_it_again() {
        let row =
            serde_json::to_value(StageRow::new(Stage::Durable, &shard(&[10, 20, 70]).stages[5].1)).unwrap();
        let expected = serde_json::json!({
            "stage": "durable", "path": "produce", "count": 3, "sum_ns": 100_000, "mean_us": 33.333,
            "p50_us": 20.479, "p90_us": 70.0, "p99_us": 70.0, "p99_9_us": 70.0, "max_us": 70.0,
            "buckets": [[10_239, 1], [20_479, 1], [71_679, 1]],
        });
        assert_eq!(row, expected);
    }
}

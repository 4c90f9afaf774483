//! What a sweep leaves behind: one `sweep.json`, a step for each rate that was tried.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Distribution, Verdict};

/// Rates tried one after another until the objective broke.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// [`super::SCHEMA_VERSION`].
    pub schema: u32,
    /// A name for tables and charts.
    pub name: String,
    /// Protocol: `native`, `kafka`, ...
    pub protocol: String,
    /// The objective as it was given, such as `p99.9<2ms`; empty for none.
    pub objective: String,
    /// The objective's limit in nanoseconds, for drawing it; 0 for none.
    pub objective_ns: u64,
    /// What the broker promises with an acknowledgement.
    pub durability: String,
    /// One for each rate, ascending by [`SweepStep::target_rate`].
    pub steps: Vec<SweepStep>,
    /// Index into `steps` of the highest rate that met the objective with a valid verdict, every lower one having met it
    /// too; `None` if not even the first did.
    pub knee: Option<usize>,
    /// The machine and the build.
    #[serde(default)]
    pub environment: BTreeMap<String, serde_json::Value>,
}

/// One rate of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepStep {
    /// Messages per second asked for.
    pub target_rate: f64,
    /// Messages per second acknowledged.
    pub achieved_rate: f64,
    /// Bytes of values and keys per second acknowledged.
    pub achieved_bytes_rate: f64,
    /// As in [`super::RunResult::latency`]; at least `response`.
    pub latency: BTreeMap<String, Distribution>,
    /// Whether the objective was met.
    pub met: bool,
    /// Whether the step can be believed.
    pub verdict: Verdict,
    /// Share of one core the busiest worker used.
    #[serde(default)]
    pub client_cpu: f64,
    /// Share of one core the broker used, if known.
    #[serde(default)]
    pub broker_cpu: Option<f64>,
}

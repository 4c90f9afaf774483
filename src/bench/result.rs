//! What a run leaves behind: one `result.json`, complete enough to be judged and compared without the run.
//!
//! Latencies are nanoseconds in HdrHistograms (3 significant digits, 1 ns to 1 hour), kept whole as base64 V2
//! histograms, so that reports and comparisons merge histograms, never percentiles. A result without its
//! [`environment`](RunResult::environment) or with a [`Verdict`] that is not valid is no evidence, and says so.

mod distribution;
mod files;
mod sweep;

use std::collections::BTreeMap;

pub use distribution::{BadHistogram, DIGITS, LONGEST_NS, decode_histogram, encode_histogram, new_histogram};
pub use files::{RESULT_FILE, ResultError, SWEEP_FILE, read_judged, read_runs, write_json};
pub use sweep::{Sweep, SweepStep};

use serde::{Deserialize, Serialize};

/// Version of this schema; readers refuse a newer one.
pub const SCHEMA_VERSION: u32 = 1;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// `produce`, `consume`, `e2e`.
    pub kind: String,
    /// A name for tables and charts.
    pub name: String,
    /// Protocol: `native`, `kafka`, ...
    pub protocol: String,
    /// What was asked for, by the command line's names.
    pub spec: BTreeMap<String, serde_json::Value>,
    /// When the measured part began, milliseconds since 1970.
    pub started_ms: i64,
    /// Length of the measured part.
    pub seconds: f64,
    /// What the broker promises with an acknowledgement, as told by `--durability` or found out; `unknown` else.
    pub durability: String,
    /// Counts of the measured part.
    pub totals: Totals,
    /// Distributions by name: `response` (ack - intended), `service` (ack - actual send), `delay` (actual - intended),
    /// `e2e` (received - intended); and the broker's own stages as `stage.<name>`.
    pub latency: BTreeMap<String, Distribution>,
    /// One point per second.
    pub series: Vec<Point>,
    /// Whether the run can be believed.
    pub verdict: Verdict,
    /// The machine and the build.
    pub environment: BTreeMap<String, serde_json::Value>,
}

/// Counts over the measured part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages per second asked for; 0 for as many as possible.
    pub target_rate: f64,
    /// Messages acknowledged.
    pub acked: u64,
    /// Bytes of values and keys in them.
    pub acked_bytes: u64,
    /// Batches they came in.
    pub batches: u64,
    /// Messages refused.
    pub errors: u64,
    /// Messages received by all consumers.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Messages whose sending began later than [`Verdict`]'s bound after the intended time.
    pub late_sends: u64,
    /// Messages received twice, out of order, or missing at the end. Any is a broker's defect or a broken run.
    pub duplicates: u64,
    /// See `duplicates`.
    pub reordered: u64,
    /// See `duplicates`; messages acknowledged but not received when the run waited for them.
    pub missing: u64,
    /// Share of one core the busiest worker used, 0 to 1.
    pub client_cpu: f64,
    /// Share of one core the broker used, if its process is on this machine and was named; 0 to n cores.
    pub broker_cpu: Option<f64>,
}

/// A distribution: the percentiles people read, and all of it for machines. Nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Values recorded.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Smallest.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th.
    pub p99: u64,
    /// 99.9th.
    pub p999: u64,
    /// 99.99th.
    pub p9999: u64,
    /// Largest.
    pub max: u64,
    /// The HdrHistogram, V2 compressed-or-not serialisation in base64.
    pub histogram: String,
}

/// One second of the measured part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it began, in seconds since the start.
    pub t: f64,
    /// Messages sent, acknowledged and received in it.
    pub sent: u64,
    /// See `sent`.
    pub acked: u64,
    /// See `sent`.
    pub received: u64,
    /// Bytes acknowledged.
    pub acked_bytes: u64,
    /// Response time of what was acknowledged in it (or e2e for consumers), nanoseconds.
    pub p50: u64,
    /// See `p50`.
    pub p99: u64,
    /// See `p50`.
    pub p999: u64,
    /// See `p50`.
    pub max: u64,
    /// Messages produced and not yet received.
    pub backlog: u64,
    /// The second's own histograms, by the names of [`RunResult::latency`] (`response`, `service`, `delay`, `e2e`), each
    /// as [`encode_histogram`] makes it. Heat maps and the OpenMessaging series need them; nothing else does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: BTreeMap<String, String>,
}

/// Whether a run can be believed, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// No reason against it.
    pub valid: bool,
    /// Reasons that make it invalid: missed rate, late sends, saturated client, errors, lost messages.
    pub invalid: Vec<String>,
    /// Things to know.
    pub warnings: Vec<String>,
}

impl RunResult {
    /// From when to when each point of the series counts, in seconds since the start: to the beginning of the next one,
    /// and the last to the end of the run, but no longer than a second.
    #[must_use]
    pub fn spans(&self) -> Vec<(f64, f64)> {
        let ends = self.series.iter().skip(1).map(|point| point.t);
        let last = self.series.last().map(|point| {
            if self.seconds > point.t {
                self.seconds.min(point.t + 1.0)
            } else {
                point.t + 1.0
            }
        });
        let begins = self.series.iter().map(|point| point.t);
        begins.zip(ends.chain(last)).collect()
    }
}

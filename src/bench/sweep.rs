//! The search for the knee: the highest rate that keeps an objective.
//!
//! Rates lie on a ladder with equal ratios between its rungs. [`Search`] climbs it from below; at the first rung that
//! fails it halves the ratio between the last good one and it until the steps are used up. What "fails" means is said
//! by [`met`]. Pure: the caller runs each rate and tells the outcome.

use super::result::{RunResult, SweepStep};
use super::spec::{Objective, Rate};

/// The lowest and the highest rate of a sweep.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RateRange {
    /// Messages per second, more than 0.
    pub low: f64,
    /// At least `low`.
    pub high: f64,
}

impl std::str::FromStr for RateRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected two rates such as 50k..2M, the lower one first".to_owned();
        let (low, high) = text.split_once("..").ok_or_else(wrong)?;
        let (low, high): (Rate, Rate) = (low.parse()?, high.parse()?);
        if low.is_max() || high < low {
            return Err(wrong());
        }
        Ok(Self {
            low: low.per_second(),
            high: high.per_second(),
        })
    }
}

/// The state of a search.
#[derive(Clone, Debug)]
pub struct Search {
    range: RateRange,
    /// Ratio of two rungs.
    ratio: f64,
    left: u32,
    good: Option<f64>,
    bad: Option<f64>,
}

/// Rates closer than this are the same: two percent is less than runs differ by themselves.
const CLOSE: f64 = 1.02;

impl Search {
    /// A search of at most `steps` runs.
    #[must_use]
    pub fn new(range: RateRange, steps: u32) -> Self {
        let rungs = f64::from(steps.max(2) - 1);
        Self {
            range,
            ratio: (range.high / range.low).powf(1.0 / rungs),
            left: steps,
            good: None,
            bad: None,
        }
    }

    /// The rate to run next, if any.
    #[must_use]
    pub fn next(&self) -> Option<f64> {
        if self.left == 0 {
            return None;
        }
        let next = match (self.good, self.bad) {
            (None, None) => self.range.low,
            (None, Some(_)) => return None,
            (Some(good), None) => {
                let next = good * self.ratio;
                // Rounding must not add a rung behind the last.
                if good * CLOSE >= self.range.high {
                    return None;
                }
                next.min(self.range.high)
            }
            (Some(good), Some(bad)) => (good * bad).sqrt(),
        };
        let tried = [self.good, self.bad].into_iter().flatten();
        let close = |one: f64| next.max(one) / next.min(one) < CLOSE;
        tried.into_iter().all(|one| !close(one)).then_some(next)
    }

    /// Takes the outcome of the run at `rate`.
    pub fn tell(&mut self, rate: f64, met: bool) {
        self.left = self.left.saturating_sub(1);
        if met {
            self.good = Some(rate);
        } else {
            self.bad = Some(rate);
        }
    }
}

/// Whether a run kept the objective: it is valid, and the percentile of its end-to-end times (of its response times if
/// nothing was consumed) is below the limit. Without an objective a valid run is enough.
#[must_use]
pub fn met(result: &RunResult, objective: Option<&Objective>) -> bool {
    let kept = |objective: &Objective| {
        let distribution = result
            .latency
            .get("e2e")
            .or_else(|| result.latency.get("response"));
        let histogram = distribution.and_then(|one| one.to_histogram().ok());
        histogram.is_some_and(|one| one.value_at_quantile(objective.quantile) < objective.limit_ns)
    };
    result.verdict.valid && objective.is_none_or(kept)
}

/// What a sweep keeps of a run.
#[must_use]
pub fn step(result: &RunResult, met: bool) -> SweepStep {
    let seconds = if result.seconds > 0.0 { result.seconds } else { 1.0 };
    SweepStep {
        target_rate: result.totals.target_rate,
        achieved_rate: result.totals.acked as f64 / seconds,
        achieved_bytes_rate: result.totals.acked_bytes as f64 / seconds,
        latency: result.latency.clone(),
        met,
        verdict: result.verdict.clone(),
        client_cpu: result.totals.client_cpu,
        broker_cpu: result.totals.broker_cpu,
    }
}

/// The index of the knee among `steps`, ascending by rate: the last of those that met the objective from the first on.
#[must_use]
pub fn knee(steps: &[SweepStep]) -> Option<usize> {
    steps.iter().take_while(|step| step.met).count().checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates a search tries when all up to `limit` are good.
    fn tried(range: &str, steps: u32, limit: f64) -> Vec<f64> {
        let mut search = Search::new(range.parse().unwrap(), steps);
        let mut rates = Vec::new();
        while let Some(rate) = search.next() {
            search.tell(rate, rate <= limit);
            rates.push(rate.round());
        }
        rates
    }

    #[test]
    fn a_ladder_is_climbed_to_its_top_when_all_is_well() {
        assert_eq!(
            tried("1k..16k", 5, 1e9),
            [1_000.0, 2_000.0, 4_000.0, 8_000.0, 16_000.0]
        );
        assert_eq!(tried("5k..5k", 3, 1e9), [5_000.0]);
    }

    #[test]
    fn a_rung_that_breaks_is_closed_in_on() {
        assert_eq!(
            tried("1k..16k", 7, 3_000.0),
            [1_000.0, 1_587.0, 2_520.0, 4_000.0, 3_175.0, 2_828.0, 2_997.0]
        );
        assert_eq!(
            tried("1k..16k", 5, 500.0),
            [1_000.0],
            "below the lowest there is nothing to find"
        );
    }

    #[test]
    fn ranges_are_two_rates_in_order() {
        assert_eq!("50k..2M".parse(), Ok(RateRange { low: 5e4, high: 2e6 }));
        for text in ["50k", "2M..50k", "0..5k", "..", "a..b"] {
            assert!(text.parse::<RateRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_knee_is_the_last_step_before_the_first_that_broke() {
        let steps = |met: &[bool]| {
            met.iter()
                .map(|met| SweepStep {
                    met: *met,
                    ..SweepStep::default()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(knee(&steps(&[true, true, false, true])), Some(1));
        assert_eq!(knee(&steps(&[false, true])), None);
        assert_eq!(knee(&steps(&[])), None);
    }
}

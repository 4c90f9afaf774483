//! When each message is meant to be sent.
//!
//! A [`Schedule`] is one lane's endless, ascending list of intended times. It knows nothing of what happens: it does not
//! wait for slow brokers and does not notice a stalled generator, which is what keeps omission from being coordinated.
//! Times are nanoseconds of the run's clock, computed from the message's number, so that rounding never adds up.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::base::random::Random;

/// How messages arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Arrival {
    /// At equal distances.
    #[default]
    Fixed,
    /// Independently of one another: exponential distances, as many users make.
    Poisson,
    /// So many at once, then silence until the mean is kept.
    Burst(u32),
}

impl FromStr for Arrival {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fixed" => Ok(Self::Fixed),
            "poisson" => Ok(Self::Poisson),
            _ => match text.strip_prefix("burst:").map(str::parse) {
                Some(Ok(count)) if count > 0 => Ok(Self::Burst(count)),
                _ => Err("expected fixed, poisson or burst:N".to_owned()),
            },
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => f.write_str("fixed"),
            Self::Poisson => f.write_str("poisson"),
            Self::Burst(count) => write!(f, "burst:{count}"),
        }
    }
}

impl Serialize for Arrival {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The intended times of one lane.
#[derive(Clone, Debug)]
pub struct Schedule {
    arrival: Arrival,
    /// Mean distance.
    interval_ns: f64,
    /// Of the first message.
    offset_ns: f64,
    /// Number of the next message.
    number: u64,
    next_ns: u64,
    /// Sum of the distances so far, for [`Arrival::Poisson`].
    elapsed_ns: f64,
    random: Random,
}

impl Schedule {
    /// `rate` messages per second, more than 0. `phase`, from 0 to below 1, shifts the first message by that share of an
    /// interval (of a burst's period), so that lanes do not all send at once.
    #[must_use]
    pub fn new(arrival: Arrival, rate: f64, phase: f64, random: Random) -> Self {
        let interval_ns = 1e9 / rate;
        let period_ns = match arrival {
            Arrival::Burst(count) => interval_ns * f64::from(count),
            Arrival::Fixed | Arrival::Poisson => interval_ns,
        };
        let mut schedule = Self {
            arrival,
            interval_ns,
            offset_ns: period_ns * phase,
            number: 0,
            next_ns: 0,
            elapsed_ns: 0.0,
            random,
        };
        schedule.next_ns = schedule.time_of_next();
        schedule
    }

    /// When the next message is meant to be sent.
    #[must_use]
    pub const fn peek(&self) -> u64 {
        self.next_ns
    }

    /// Mean distance of two messages in nanoseconds.
    #[must_use]
    pub const fn interval_ns(&self) -> f64 {
        self.interval_ns
    }

    /// Takes the next message.
    pub fn take(&mut self) -> u64 {
        let taken = self.next_ns;
        self.number += 1;
        self.next_ns = self.time_of_next();
        taken
    }

    fn time_of_next(&mut self) -> u64 {
        let since_start = match self.arrival {
            Arrival::Fixed => self.number as f64 * self.interval_ns,
            Arrival::Burst(count) => {
                (self.number / u64::from(count)) as f64 * (self.interval_ns * f64::from(count))
            }
            Arrival::Poisson => {
                self.elapsed_ns -= self.random.unit().ln() * self.interval_ns;
                self.elapsed_ns
            }
        };
        whole_ns(self.offset_ns + since_start)
    }
}

/// A time, which is never negative, as whole nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a time beyond 500 years is as good as never"
)]
const fn whole_ns(ns: f64) -> u64 {
    ns as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrival: Arrival, rate: f64, phase: f64, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(arrival, rate, phase, Random::new(7, 0));
        (0..count).map(|_| schedule.take()).collect()
    }

    #[test]
    fn fixed_arrivals_are_equally_spaced_and_never_drift() {
        assert_eq!(times(Arrival::Fixed, 1e6, 0.5, 4), [500, 1_500, 2_500, 3_500]);
        // A third of a microsecond cannot be kept in whole nanoseconds, but the millionth message is on time.
        let many = times(Arrival::Fixed, 3e6, 0.0, 3_000_001);
        assert_eq!(many[3_000_000], 1_000_000_000);
        assert!(
            many.windows(2)
                .all(|pair| (333..=334).contains(&(pair[1] - pair[0])))
        );
    }

    #[test]
    fn bursts_come_together_and_keep_the_mean() {
        assert_eq!(
            times(Arrival::Burst(3), 3e6, 0.0, 7),
            [0, 0, 0, 1_000, 1_000, 1_000, 2_000]
        );
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_the_spread_of_independence() {
        let count = 200_000;
        let times = times(Arrival::Poisson, 1e6, 0.0, count);
        assert!(times.is_sorted());
        let distances: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = distances.iter().sum::<f64>() / distances.len() as f64;
        let variance = distances.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / distances.len() as f64;
        // Exponential: the standard deviation is the mean. Five standard errors of each are below 2 %.
        assert!((mean / 1_000.0 - 1.0).abs() < 0.02, "mean {mean}");
        assert!(
            (variance.sqrt() / 1_000.0 - 1.0).abs() < 0.02,
            "deviation {}",
            variance.sqrt()
        );
        let long = distances.iter().filter(|one| **one > 3_000.0).count() as f64;
        let expected = (-3.0_f64).exp() * count as f64;
        assert!((long / expected - 1.0).abs() < 0.1, "{long} of {expected}");
    }

    #[test]
    fn arrivals_are_written_as_they_are_read() {
        for text in ["fixed", "poisson", "burst:12"] {
            assert_eq!(text.parse::<Arrival>().unwrap().to_string(), text);
        }
        for text in ["", "burst", "burst:0", "burst:-1", "Poisson"] {
            assert!(text.parse::<Arrival>().is_err(), "{text}");
        }
    }
}

//! Axes: from a value to a place, and the round values where a tick belongs.

use super::words::real;

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// Evenly.
    Linear {
        /// At the start of the axis.
        from: f64,
        /// At its end.
        to: f64,
    },
    /// Each factor of ten takes the same space.
    Log {
        /// At the start of the axis, above zero.
        from: f64,
        /// At its end.
        to: f64,
    },
}

/// Ticks people can read on one axis.
const TICKS: f64 = 8.0;

impl Scale {
    /// From zero to a round value that covers `max`.
    pub(super) fn linear_to(max: f64) -> Self {
        let step = round_step(max.max(f64::MIN_POSITIVE));
        let to = (max / step).ceil() * step;
        Self::Linear {
            from: 0.0,
            to: if to.is_normal() { to } else { 1.0 },
        }
    }

    /// From zero to just `max`: for time, where white space at the end would look like missing data.
    pub(super) fn exactly_to(max: f64) -> Self {
        Self::Linear {
            from: 0.0,
            to: if max > 0.0 { max } else { 1.0 },
        }
    }

    /// A logarithmic axis over all positive `values`, ends moved out to 1, 2 or 5 times a power of ten.
    pub(super) fn log_over(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| *value > 0.0 && value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if high <= 0.0 {
            return Self::Log { from: 1.0, to: 10.0 };
        }
        let from = steps_125().take_while(|step| *step <= low).last().unwrap_or(low);
        let to = steps_125()
            .find(|step| *step >= high && *step > from)
            .unwrap_or(high);
        Self::Log { from, to }
    }

    /// Where `value` lies: 0 at the start, 1 at the end, clamped.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { from, to } => (value - from) / (to - from),
            Self::Log { from, to } => (value.max(from) / from).ln() / (to / from).ln(),
        };
        place.clamp(0.0, 1.0)
    }

    /// Round values along the axis.
    pub(super) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { from, to } => {
                let step = round_step(to - from);
                let first = (from / step).ceil();
                let steps = (0..100_u64).map(|index| (first + real(index)) * step);
                steps.take_while(|tick| *tick <= to * (1.0 + 1e-9)).collect()
            }
            Self::Log { from, to } => {
                let inside = || steps_125().filter(move |step| *step >= from * 0.999 && *step <= to * 1.001);
                if (to / from).log10() <= 3.5 {
                    inside().collect()
                } else {
                    inside().filter(|step| is_power_of_ten(*step)).collect()
                }
            }
        }
    }
}

fn is_power_of_ten(value: f64) -> bool {
    let exponent = value.log10();
    (exponent - exponent.round()).abs() < 1e-6
}

/// 1, 2, 5, 10, 20, 50, ... far beyond an hour in nanoseconds.
fn steps_125() -> impl Iterator<Item = f64> {
    (0..16_i32).flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(exponent)))
}

/// The round step that divides `range` into about [`TICKS`] parts.
fn round_step(range: f64) -> f64 {
    let raw = range / TICKS;
    let power = 10_f64.powf(raw.log10().floor());
    let digit = raw / power;
    let round = match digit {
        digit if digit <= 1.0 => 1.0,
        digit if digit <= 2.0 => 2.0,
        digit if digit <= 5.0 => 5.0,
        _ => 10.0,
    };
    round * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_round_and_cover_the_values() {
        assert_eq!(
            Scale::log_over([130.0, 2_900.0].into_iter()),
            Scale::Log {
                from: 100.0,
                to: 5_000.0
            }
        );
        assert_eq!(
            Scale::log_over([100.0].into_iter()),
            Scale::Log {
                from: 100.0,
                to: 200.0
            }
        );
        assert_eq!(
            Scale::log_over([].into_iter()),
            Scale::Log { from: 1.0, to: 10.0 }
        );
        assert_eq!(Scale::linear_to(0.0), Scale::Linear { from: 0.0, to: 1.0 });
        let Scale::Linear { to, .. } = Scale::linear_to(193.0) else {
            unreachable!()
        };
        assert!((200.0 - to).abs() < 1e-9, "{to}");
    }

    #[test]
    fn ticks_lie_on_the_axis() {
        for scale in [
            Scale::Log {
                from: 100.0,
                to: 5_000.0,
            },
            Scale::Log { from: 1.0, to: 1e9 },
            Scale::linear_to(193.0),
            Scale::exactly_to(59.7),
        ] {
            let ticks = scale.ticks();
            assert!((2..=14).contains(&ticks.len()), "{scale:?} {ticks:?}");
            assert!(
                ticks
                    .windows(2)
                    .all(|pair| scale.place(pair[0]) < scale.place(pair[1]))
            );
        }
        assert!((Scale::Log { from: 1.0, to: 100.0 }.place(10.0) - 0.5).abs() < 1e-9);
    }
}

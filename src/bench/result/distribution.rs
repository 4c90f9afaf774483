//! Histograms as the results keep them: one shape for all, whole in base64, percentiles beside it for people.
//!
//! Everything that records, merges or reads latencies goes through [`new_histogram`], so that any two can be added.
//! What is kept is HdrHistogram's V2 encoding, deflated, as the field's other tools read it. Absent: merging
//! percentiles, which is not arithmetic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

use super::Distribution;

/// The longest latency kept apart, in nanoseconds: one hour. Longer ones count as one hour.
pub const LONGEST_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits kept.
pub const DIGITS: u8 = 3;

/// An empty histogram of the one shape all results have.
///
/// # Panics
/// Never: the bounds are constants and valid.
#[must_use]
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("constant bounds that are valid")
}

/// `histogram` as base64 text of its V2 encoding, deflated.
///
/// # Panics
/// Never: counts are far below 2^63, and memory takes any bytes.
#[must_use]
pub fn encode_histogram(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("counts fit 63 bits and a vector takes every byte");
    STANDARD.encode(bytes)
}

/// The histogram in `text`, encoded V2, deflated or not. Empty text is an empty histogram.
///
/// # Errors
/// What is wrong with the text.
pub fn decode_histogram(text: &str) -> Result<Histogram<u64>, BadHistogram> {
    let mut whole = new_histogram();
    if text.is_empty() {
        return Ok(whole);
    }
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| BadHistogram(error.to_string()))?;
    let read: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| BadHistogram(error.to_string()))?;
    whole
        .add(&read)
        .map_err(|error| BadHistogram(error.to_string()))?;
    Ok(whole)
}

/// Text that is no histogram, or one of values this crate does not record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a usable histogram: {0}")]
pub struct BadHistogram(pub String);

impl Distribution {
    /// What `histogram` says, and all of it.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            count: histogram.len(),
            mean: histogram.mean(),
            min: histogram.min(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            p9999: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
            histogram: encode_histogram(histogram),
        }
    }

    /// All of it, for merging and drawing.
    ///
    /// # Errors
    /// When [`histogram`](Self::histogram) holds none.
    pub fn to_histogram(&self) -> Result<Histogram<u64>, BadHistogram> {
        decode_histogram(&self.histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_comes_back_whole() {
        let mut histogram = new_histogram();
        for value in 1..=10_000u64 {
            histogram.record(value * 1_000).unwrap();
        }
        let distribution = Distribution::of(&histogram);
        assert_eq!((distribution.count, distribution.min / 1_000), (10_000, 1));
        let p99 = distribution.p99 as f64;
        assert!((p99 / 9_900_000.0 - 1.0).abs() < 0.001, "{p99}");
        assert_eq!(distribution.to_histogram(), Ok(histogram));
    }

    #[test]
    fn nothing_recorded_is_nothing_kept() {
        assert_eq!(Distribution::of(&new_histogram()), Distribution::default());
        assert_eq!(Distribution::default().to_histogram(), Ok(new_histogram()));
    }

    #[test]
    fn text_that_is_no_histogram_is_refused() {
        for text in ["?", "AAAA", "HISTFAAAAB"] {
            assert!(decode_histogram(text).is_err(), "{text}");
        }
    }
}

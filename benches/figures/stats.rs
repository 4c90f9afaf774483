//! Medians and percentiles of a handful of samples.

/// The value a share `q` (0 to 1) of the samples lies below; the nearest one there is.
pub(crate) fn quantile(samples: &mut [f64], q: f64) -> f64 {
    assert!(!samples.is_empty(), "a quantile of nothing");
    samples.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index between 0 and the number of samples"
    )]
    let at = ((samples.len() - 1) as f64 * q).round() as usize;
    samples[at]
}

/// The middle one.
pub(crate) fn median(samples: &mut [f64]) -> f64 {
    quantile(samples, 0.5)
}

//! Percentiles.

/// The `percent`-th percentile of `values`, between two of them by linear interpolation, as NumPy's `percentile` gives it; `None`
/// without values. `percent` is between 0 and 100.
pub fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = (percent.clamp(0.0, 100.0) / 100.0) * last as f64;
    let below = place.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    Some(low + (high - low) * (place - below as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_numpy() {
        let values = [3.0, -1.0, 4.0, 1.5, 9.0, 2.0, 6.0];
        // numpy.percentile(values, [0, 10, 50, 90, 100])
        for (percent, expected) in [(0.0, -1.0), (10.0, 0.5), (50.0, 3.0), (90.0, 7.2), (100.0, 9.0)] {
            assert!((percentile(&values, percent).unwrap() - expected).abs() < 1e-12, "{percent}");
        }
        assert_eq!(percentile(&[7.0], 90.0), Some(7.0));
        assert_eq!(percentile(&[], 90.0), None);
    }
}

//! The Inception score: "Improved techniques for training GANs", Salimans et al. 2016, arXiv 1606.03498.

use ndarray::ArrayView2;

use super::checked_rows;
use crate::BehaviorError;

/// `exp(mean_x KL(p(y|x) || p(y)))`, natural logarithm, one split.
///
/// `p(y|x)` is the softmax of a row of `logits` `[N, classes]` and `p(y)` the mean over the rows. Between 1 (every image
/// alike, or no opinion) and the smaller of N and the number of classes; it grows with N, so compare equal N only.
///
/// # Errors
/// Fewer than one row, or a NaN or an infinity.
pub fn inception_score(logits: ArrayView2<f32>) -> Result<f64, BehaviorError> {
    let mut log_p = checked_rows("the Inception score", "logits", logits, 1)?;
    let count = log_p.nrows() as f64;
    let mut marginal = vec![0.0; log_p.ncols()];
    for mut row in log_p.rows_mut() {
        let top = row.fold(f64::NEG_INFINITY, |top, &value| top.max(value));
        let log_total = top + row.iter().map(|value| (value - top).exp()).sum::<f64>().ln();
        row -= log_total;
        for (total, value) in marginal.iter_mut().zip(&row) {
            *total += value.exp() / count;
        }
    }
    let log_marginal: Vec<f64> = marginal.iter().map(|p| p.ln()).collect();
    let divergence: f64 = log_p
        .rows()
        .into_iter()
        .map(|row| {
            let terms = row.iter().zip(&log_marginal);
            // A class whose probability underflows to zero adds nothing: p ln p -> 0.
            terms
                .map(|(value, mean)| (value.exp(), value - mean))
                .map(|(p, d)| if p > 0.0 { p * d } else { 0.0 })
                .sum::<f64>()
        })
        .sum();
    Ok((divergence / count).exp())
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::super::fixture;
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        let fixture = fixture::open();
        let found = inception_score(fixture.rows("logits").view()).unwrap();
        assert!((found - fixture.value("inception_score")).abs() < 1e-10, "{found}");
    }

    #[test]
    fn ranges_from_one_to_the_number_of_classes() {
        let same = Array2::from_shape_fn((5, 3), |(_, class)| class as f32);
        assert!((inception_score(same.view()).unwrap() - 1.0).abs() < 1e-12);
        // Logits so far apart that every other class underflows.
        let sure =
            Array2::from_shape_fn((6, 3), |(image, class)| if image % 3 == class { 2000.0 } else { 0.0 });
        assert!((inception_score(sure.view()).unwrap() - 3.0).abs() < 1e-12);
    }

    #[test]
    fn damaged_or_missing_rows_are_refused() {
        let mut logits = Array2::zeros((3, 2));
        logits[[1, 0]] = f32::NAN;
        assert!(matches!(inception_score(logits.view()), Err(BehaviorError::NotFinite { image: 1, .. })));
        let none = Array2::zeros((0, 2));
        assert!(matches!(inception_score(none.view()), Err(BehaviorError::TooFewSamples { .. })));
    }
}

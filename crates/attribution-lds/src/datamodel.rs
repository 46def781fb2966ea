//! Datamodels: ridge regression of the utility on who is in.

use ndarray::{Array1, Array2, ArrayView1, Axis};
use serde::{Deserialize, Serialize};

use crate::attribution::{Attribution, Diagnostics};
use crate::banzhaf::{CenteredRegression, regression_diagnostics};
use crate::bootstrap::resample_intervals;
use crate::factor::Factor;
use crate::interval::check_level;
use crate::lasso::subset_regression;
use crate::least_squares::to_nalgebra;
use crate::upper::Upper;
use crate::{AttributionError, Bootstrap, Estimator, UtilityRow, UtilityTable};

/// A datamodel (Ilyas et al. 2022) with squared penalty: the minimum over a and beta of
/// `sum of w_j (y_j - a - x_j'beta)^2 + alpha |beta|^2`, alpha chosen among `alphas` by leave-one-out cross-validation.
///
/// The left-out residuals are exact and free: r_j / (1 - h_j) with the hat matrix H of the fit with its intercept, as
/// scikit-learn's `RidgeCV` has them. [`Datamodel::fit`] gives no intervals; [`Datamodel::fit_resampled`] gives those of the
/// shrunk coefficients, as a ridge fit is biased by design.
///
/// ```
/// use attribution_lds::{Datamodel, FnGame, Game};
/// use removal::{Coalition, RemovalDistribution};
/// use streams::Streams;
///
/// let game = FnGame::new(6, |c: &Coalition| c.members().map(|i| i as f64).sum());
/// let observations = game.observe(RemovalDistribution::Datamodel { alpha: 0.5 }, 80, &Streams::new(1))?;
/// let fit = Datamodel::default().fit(observations.draws())?;
/// assert_eq!(fit.alpha, 0.01); // without noise, the smallest penalty is best
/// assert!((fit.attribution.values[5] - fit.attribution.values[0] - 5.0).abs() < 0.02);
/// # Ok::<(), attribution_lds::AttributionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Datamodel {
    /// The penalties to choose from, each positive; one for a fixed penalty.
    pub alphas: Vec<f64>,
}

impl Default for Datamodel {
    /// 100 penalties evenly in 0.01..10.
    fn default() -> Datamodel {
        Datamodel { alphas: (0..100).map(|step| 0.01 + (10.0 - 0.01) * f64::from(step) / 99.0).collect() }
    }
}

/// A fitted datamodel.
#[derive(Clone, Debug, PartialEq)]
pub struct DatamodelFit {
    /// Coefficients and intercept.
    pub attribution: Attribution,
    /// The penalty chosen.
    pub alpha: f64,
    /// Its mean squared leave-one-out error.
    pub leave_one_out_error: f64,
}

impl Datamodel {
    /// Fits the datamodel.
    ///
    /// # Errors
    /// [`AttributionError::Empty`] without rows or penalties, [`AttributionError::OutOfRange`] for a penalty that is not
    /// positive and finite, [`AttributionError::TooFewContributors`] for n = 0.
    pub fn fit(&self, table: &UtilityTable) -> Result<DatamodelFit, AttributionError> {
        if let Some(&value) = self.alphas.iter().find(|alpha| !(alpha.is_finite() && **alpha > 0.0)) {
            let (setting, range) = ("a ridge penalty (alpha)", "positive and finite");
            return Err(AttributionError::OutOfRange { setting, value, range });
        }
        let regression = CenteredRegression::new(table)?;
        let spectrum = Spectrum::new(&regression);
        let errors = spectrum.leave_one_out_errors(&regression, &self.alphas);
        let errors = self.alphas.iter().copied().zip(errors);
        let best = errors.min_by(|(_, one), (_, two)| one.total_cmp(two));
        let (alpha, leave_one_out_error) =
            best.ok_or_else(|| AttributionError::Empty { what: "ridge penalties (alphas)".into() })?;
        let values = spectrum.coefficients(alpha);
        Ok(DatamodelFit {
            attribution: Attribution {
                estimator: Estimator::Datamodel,
                intercept: regression.target_mean - regression.presence.dot(&values),
                values: values.to_vec(),
                closed_form: None,
                bootstrap: None,
                size_effect: Vec::new(),
                penalty: Some(alpha),
                diagnostics: Diagnostics { rank: table.n(), ..regression_diagnostics(table) },
            },
            alpha,
            leave_one_out_error,
        })
    }
}

impl Datamodel {
    /// As [`Datamodel::fit`], with percentile intervals from refits on resampled rows, the penalty kept. They say how far other
    /// draws would move the coefficients, not how far shrinkage moved them.
    ///
    /// # Errors
    /// Those of [`Datamodel::fit`], and [`AttributionError::OutOfRange`] for a level outside of (0, 1) or fewer than 2
    /// resamples.
    pub fn fit_resampled(
        &self,
        table: &UtilityTable,
        level: f64,
        bootstrap: Bootstrap,
    ) -> Result<DatamodelFit, AttributionError> {
        check_level(level)?;
        bootstrap.check()?;
        let mut fit = self.fit(table)?;
        let rows: Vec<&UtilityRow> = table.rows().iter().collect();
        let (intervals, _) = resample_intervals(bootstrap, level, table.n(), |resample| {
            let counts = resample.counts(rows.len());
            let kept: Vec<usize> = (0..rows.len()).filter(|&row| counts[row] > 0).collect();
            let again = subset_regression(&rows, &kept, |row| f64::from(counts[row]));
            let weighted = &again.rows * &again.design.weights.view().insert_axis(Axis(1));
            let mut gram = again.rows.t().dot(&weighted);
            gram.diag_mut().iter_mut().for_each(|entry| *entry += fit.alpha);
            let cross = weighted.t().dot(&again.targets);
            Factor::of(&Upper::of(&gram)).map(|factor| factor.solve(&cross.to_vec()))
        });
        fit.attribution.bootstrap = Some(intervals);
        Ok(fit)
    }
}

/// Z'WZ = Q diag(eigenvalues) Q', and the rows and targets in that basis.
pub(crate) struct Spectrum {
    vectors: Array2<f64>,
    eigenvalues: Array1<f64>,
    /// ZQ.
    rows: Array2<f64>,
    /// Q'Z'Wt.
    cross: Array1<f64>,
}

impl Spectrum {
    pub(crate) fn new(regression: &CenteredRegression) -> Spectrum {
        let weighted = &regression.rows * &regression.design.weights.view().insert_axis(Axis(1));
        let eigen = to_nalgebra(&regression.rows.t().dot(&weighted)).symmetric_eigen();
        let vectors = Array2::from_shape_fn(eigen.eigenvectors.shape(), |place| eigen.eigenvectors[place]);
        let rows = regression.rows.dot(&vectors);
        let cross = vectors.t().dot(&weighted.t().dot(&regression.targets));
        // A positive semi-definite matrix: what is below zero is rounding.
        let eigenvalues = eigen.eigenvalues.iter().map(|value| value.max(0.0)).collect();
        Spectrum { vectors, eigenvalues, rows, cross }
    }

    /// The mean of the eigenvalues: the mean weight of a column.
    pub(crate) fn mean_eigenvalue(&self) -> f64 {
        self.eigenvalues.sum() / self.eigenvalues.len().max(1) as f64
    }

    pub(crate) fn coefficients(&self, alpha: f64) -> Array1<f64> {
        self.vectors.dot(&(&self.cross / &(&self.eigenvalues + alpha)))
    }

    /// The mean squared leave-one-out error of each penalty, from two products for all of them.
    pub(crate) fn leave_one_out_errors(&self, regression: &CenteredRegression, alphas: &[f64]) -> Vec<f64> {
        let weights = &regression.design.weights;
        let total = weights.sum();
        let penalties = ArrayView1::from(alphas).insert_axis(Axis(0));
        let shrunk = 1.0 / (&self.eigenvalues.view().insert_axis(Axis(1)) + &penalties);
        let fitted = self.rows.dot(&(&shrunk * &self.cross.view().insert_axis(Axis(1))));
        // x'(Z'WZ + alpha)^-1 x of each row.
        let spread = self.rows.mapv(|entry| entry * entry).dot(&shrunk);
        let error = |(fitted, spread): (ArrayView1<f64>, ArrayView1<f64>)| {
            let rows = fitted.into_iter().zip(spread).zip(weights).zip(&regression.targets);
            let errors = rows.map(|(((fitted, spread), weight), target)| {
                let leverage = weight * (1.0 / total + spread);
                weight * ((target - fitted) / (1.0 - leverage)).powi(2)
            });
            errors.sum::<f64>() / total
        };
        fitted.columns().into_iter().zip(spread.columns()).map(error).collect()
    }
}

#[cfg(test)]
mod tests {
    use removal::{Coalition, RemovalDistribution};
    use streams::Streams;

    use super::*;
    use crate::{FnGame, Game};

    fn table(count: usize) -> UtilityTable {
        let game =
            FnGame::new(6, |c: &Coalition| 1.0 + c.members().map(|i| (i as f64).sin()).sum::<f64>().powi(2));
        let distribution = RemovalDistribution::Datamodel { alpha: 0.5 };
        game.observe(distribution, count, &Streams::new(8)).unwrap().draws().clone()
    }

    #[test]
    fn the_leave_one_out_error_is_what_leaving_out_gives() {
        let table = table(15);
        let fixed = Datamodel { alphas: vec![0.7] };
        let sum: f64 = (0..15)
            .map(|left_out| {
                let fit = fixed.fit(&table.filtered(|place, _| place != left_out)).unwrap();
                let row = &table.rows()[left_out];
                (row.mean() - fit.attribution.predict(row.coalition())).powi(2)
            })
            .sum();
        let error = fixed.fit(&table).unwrap().leave_one_out_error;
        assert!((error - sum / 15.0).abs() < 1e-12, "{error} {}", sum / 15.0);
    }

    #[test]
    fn bad_penalties_are_refused() {
        for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Datamodel { alphas: vec![1.0, alpha] }.fit(&table(10)).unwrap_err();
            assert!(error.to_string().contains("positive"), "{error}");
        }
        assert!(matches!(Datamodel { alphas: vec![] }.fit(&table(10)), Err(AttributionError::Empty { .. })));
    }
}

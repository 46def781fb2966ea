//! Datamodels with absolute penalty.

use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::attribution::{Attribution, Diagnostics};
use crate::banzhaf::{CenteredRegression, regression_diagnostics};
use crate::bootstrap::resample_intervals;
use crate::interval::check_level;
use crate::moments::Design;
use crate::{AttributionError, Bootstrap, Estimator, UtilityRow, UtilityTable};

/// Sweeps over all coordinates, at most. Reached only by penalties near zero on singular designs.
const SWEEPS: usize = 10_000;
/// The duality gap at which a fit is done, as a share of the targets' mean square: scikit-learn's meaning of `tol`, but
/// smaller than its 1e-4 so that the solution does not depend on the path.
const GAP: f64 = 1e-10;

/// A datamodel (Ilyas et al. 2022, section 3) with absolute penalty: the minimum over a and beta of
/// ```text
/// sum of w_j (y_j - a - x_j'beta)^2 / (2 sum of w_j) + alpha |beta|_1
/// ```
/// by coordinate descent on the Gram matrix (Friedman, Hastie & Tibshirani 2010), as scikit-learn's `Lasso` has it. alpha is
/// chosen among `alphas` by cross-validation in `folds` contiguous parts of the rows, as `LassoCV` does: the smallest mean over
/// folds of the mean squared error.
///
/// Intervals: percentiles of refits on resampled rows, with alpha kept. They are of the shrunk coefficients: a LASSO fit is
/// biased towards 0 by design, and a contributor whose coefficient is 0 in all refits has an interval of width 0.
///
/// ```
/// use attribution_lds::{FnGame, Game, Lasso};
/// use removal::{Coalition, RemovalDistribution};
/// use streams::Streams;
///
/// // Of twenty contributors one matters.
/// let game = FnGame::new(20, |c: &Coalition| 3.0 * f64::from(u8::from(c.contains(4))));
/// let observations = game.observe(RemovalDistribution::Datamodel { alpha: 0.5 }, 60, &Streams::new(1))?;
/// let fit = Lasso { bootstrap: None, ..Lasso::default() }.fit(observations.draws())?;
/// assert!((fit.values[4] - 3.0).abs() < 0.05 && fit.values[5].abs() < 0.01);
/// # Ok::<(), attribution_lds::AttributionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lasso {
    /// The penalties to choose from; one for a fixed penalty; empty for 100 in geometric steps from the smallest that makes
    /// all coefficients 0 down to 1/1000 of it, scikit-learn's grid.
    pub alphas: Vec<f64>,
    /// Parts of the cross-validation, at least 2.
    pub folds: usize,
    /// Confidence level of the intervals.
    pub level: f64,
    /// The bootstrap; `None` for no intervals.
    pub bootstrap: Option<Bootstrap>,
}

impl Default for Lasso {
    /// scikit-learn's grid, 5 folds, level 0.95, 1,000 resamples.
    fn default() -> Lasso {
        Lasso { alphas: Vec::new(), folds: 5, level: 0.95, bootstrap: Some(Bootstrap::default()) }
    }
}

impl Lasso {
    /// Fits the datamodel; [`Attribution::penalty`] is the alpha chosen.
    ///
    /// # Errors
    /// [`AttributionError::Empty`] without rows, [`AttributionError::TooFewDraws`] for fewer rows than folds,
    /// [`AttributionError::OutOfRange`] for a penalty that is not positive and finite, fewer than 2 folds, a level outside of
    /// (0, 1) or fewer than 2 resamples, [`AttributionError::TooFewContributors`] for n = 0.
    pub fn fit(&self, table: &UtilityTable) -> Result<Attribution, AttributionError> {
        check_level(self.level)?;
        if let Some(&value) = self.alphas.iter().find(|alpha| !(alpha.is_finite() && **alpha > 0.0)) {
            let (setting, range) = ("a LASSO penalty (alpha)", "positive and finite");
            return Err(AttributionError::OutOfRange { setting, value, range });
        }
        let regression = CenteredRegression::new(table)?;
        let problem = Quadratic::new(&regression);
        let alphas = if self.alphas.is_empty() { problem.grid() } else { self.alphas.clone() };
        let alpha = if alphas.len() == 1 { alphas[0] } else { self.best(table, alphas)? };
        let mut values = Array1::zeros(table.n());
        problem.descend(alpha, &mut values);
        let rows: Vec<&UtilityRow> = table.rows().iter().collect();
        let bootstrap = match self.bootstrap {
            None => None,
            Some(settings) => {
                settings.check()?;
                let (intervals, _) = resample_intervals(settings, self.level, table.n(), |resample| {
                    let counts = resample.counts(rows.len());
                    let kept: Vec<usize> = (0..rows.len()).filter(|&row| counts[row] > 0).collect();
                    let again = subset_regression(&rows, &kept, |row| f64::from(counts[row]));
                    let mut refit = values.clone();
                    Quadratic::new(&again).descend(alpha, &mut refit);
                    Some(refit.to_vec())
                });
                Some(intervals)
            }
        };
        Ok(Attribution {
            estimator: Estimator::Lasso,
            intercept: regression.target_mean - regression.presence.dot(&values),
            values: values.to_vec(),
            size_effect: Vec::new(),
            penalty: Some(alpha),
            closed_form: None,
            bootstrap,
            diagnostics: Diagnostics { rank: table.n(), ..regression_diagnostics(table) },
        })
    }

    /// The penalty with the smallest cross-validated error; the largest one of equals.
    fn best(&self, table: &UtilityTable, mut alphas: Vec<f64>) -> Result<f64, AttributionError> {
        let rows: Vec<&UtilityRow> = table.rows().iter().collect();
        if self.folds < 2 {
            let (setting, value) = ("the number of folds", self.folds as f64);
            return Err(AttributionError::OutOfRange { setting, value, range: "at least 2" });
        }
        if rows.len() < self.folds {
            let what = "a cross-validated LASSO";
            return Err(AttributionError::TooFewDraws { what, needed: self.folds, found: rows.len() });
        }
        alphas.sort_by(|one, two| two.total_cmp(one));
        let errors: Vec<Vec<f64>> = (0..self.folds)
            .into_par_iter()
            .map(|fold| {
                // The first rows mod folds parts have one row more, as scikit-learn's KFold.
                let (size, longer) = (rows.len() / self.folds, rows.len() % self.folds);
                let start = fold * size + fold.min(longer);
                let end = start + size + usize::from(fold < longer);
                let training: Vec<usize> = (0..start).chain(end..rows.len()).collect();
                let regression = subset_regression(&rows, &training, |_| 1.0);
                let problem = Quadratic::new(&regression);
                let mut values = Array1::zeros(table.n());
                let weight: f64 = rows[start..end].iter().map(|row| f64::from(row.times())).sum();
                let error = |alpha: &f64| {
                    problem.descend(*alpha, &mut values);
                    let intercept = regression.target_mean - regression.presence.dot(&values);
                    let squares = rows[start..end].iter().map(|row| {
                        let fitted: f64 = row.coalition().members().map(|member| values[member]).sum();
                        f64::from(row.times()) * (row.mean() - intercept - fitted).powi(2)
                    });
                    squares.sum::<f64>() / weight
                };
                alphas.iter().map(error).collect()
            })
            .collect();
        let mean = |place: usize| errors.iter().map(|fold| fold[place]).sum::<f64>();
        let best = (0..alphas.len()).min_by(|&one, &two| mean(one).total_cmp(&mean(two)));
        best.map(|place| alphas[place])
            .ok_or_else(|| AttributionError::Empty { what: "LASSO penalties".into() })
    }
}

/// The regression on some rows, each row's weight multiplied by `factor(row)`.
pub(crate) fn subset_regression(
    rows: &[&UtilityRow],
    places: &[usize],
    factor: impl Fn(usize) -> f64,
) -> CenteredRegression {
    let kept: Vec<&UtilityRow> = places.iter().map(|&place| rows[place]).collect();
    let weights = places.iter().map(|&place| f64::from(rows[place].times()) * factor(place)).collect();
    let n = kept.first().map_or(0, |row| row.coalition().n());
    let targets = kept.iter().map(|row| row.mean()).collect();
    CenteredRegression::from_parts(Design::new(n, &kept, weights), targets)
}

/// beta'G beta / 2 - c'beta + yy/2 with G = Z'WZ/w, c = Z'Wt/w, yy = t'Wt/w.
struct Quadratic {
    gram: Array2<f64>,
    cross: Array1<f64>,
    square: f64,
}

impl Quadratic {
    fn new(regression: &CenteredRegression) -> Quadratic {
        let weights = &regression.design.weights;
        let total = weights.sum();
        let weighted = &regression.rows * &weights.view().insert_axis(Axis(1));
        Quadratic {
            gram: regression.rows.t().dot(&weighted) / total,
            cross: weighted.t().dot(&regression.targets) / total,
            square: (&regression.targets * &regression.targets).dot(weights) / total,
        }
    }

    fn grid(&self) -> Vec<f64> {
        let largest =
            self.cross.iter().fold(0.0f64, |largest, c| largest.max(c.abs())).max(f64::MIN_POSITIVE * 1e6);
        (0..100).map(|step| largest * 10f64.powf(-3.0 * f64::from(step) / 99.0)).collect()
    }

    /// Coordinate descent from `values` until the duality gap is small.
    fn descend(&self, alpha: f64, values: &mut Array1<f64>) {
        let n = values.len();
        // c - G beta.
        let mut slopes = &self.cross - &self.gram.dot(values);
        for sweep in 0..SWEEPS {
            for i in 0..n {
                let curvature = self.gram[[i, i]];
                let old = values[i];
                let reach = slopes[i] + curvature * old;
                let new = if curvature > 1e-14 { soften(reach, alpha) / curvature } else { 0.0 };
                if new != old {
                    values[i] = new;
                    slopes.scaled_add(old - new, &self.gram.row(i));
                }
            }
            if sweep % 5 == 4 && self.gap(alpha, values, &slopes) <= GAP * self.square {
                break;
            }
        }
    }

    /// The duality gap, with the residuals scaled to be dual feasible.
    fn gap(&self, alpha: f64, values: &Array1<f64>, slopes: &Array1<f64>) -> f64 {
        let largest = slopes.iter().fold(0.0f64, |largest, slope| largest.max(slope.abs()));
        // |r|^2/w and r't/w from the moments.
        let fitted_target = self.cross.dot(values);
        let residual = self.square - fitted_target - slopes.dot(values);
        let with_target = self.square - fitted_target;
        let scale = if largest > alpha { alpha / largest } else { 1.0 };
        let one_norm: f64 = values.iter().map(|value| value.abs()).sum();
        0.5 * residual * (1.0 + scale * scale) + alpha * one_norm - scale * with_target
    }
}

fn soften(value: f64, by: f64) -> f64 {
    value.signum() * (value.abs() - by).max(0.0)
}

#[cfg(test)]
mod tests {
    use removal::{Coalition, RemovalDistribution};
    use streams::Streams;

    use super::*;
    use crate::{FnGame, Game};

    fn table(count: usize) -> UtilityTable {
        let game =
            FnGame::new(8, |c: &Coalition| 1.0 + c.members().map(|i| (i as f64).sin()).sum::<f64>().powi(2));
        game.observe(RemovalDistribution::Uniform, count, &Streams::new(8)).unwrap().draws().clone()
    }

    /// The conditions that only the minimum meets: |gradient| <= alpha, and = alpha with the right sign where beta is not 0.
    #[test]
    fn the_optimality_conditions_hold() {
        for (count, alpha) in [(60, 0.05), (60, 0.3), (6, 0.01)] {
            let table = table(count);
            let regression = CenteredRegression::new(&table).unwrap();
            let fit = Lasso { alphas: vec![alpha], bootstrap: None, ..Lasso::default() }.fit(&table).unwrap();
            let residuals = &regression.targets - &regression.rows.dot(&Array1::from(fit.values.clone()));
            for (slope, value) in (regression.rows.t().dot(&residuals) / count as f64).iter().zip(&fit.values)
            {
                assert!(slope.abs() <= alpha + 1e-5, "{slope} {alpha}");
                assert!(*value == 0.0 || (slope - alpha * value.signum()).abs() < 1e-5, "{slope} {value}");
            }
        }
    }

    #[test]
    fn the_largest_penalty_keeps_nobody_and_bad_input_is_refused() {
        let table = table(40);
        let grid = Quadratic::new(&CenteredRegression::new(&table).unwrap()).grid();
        let fixed =
            |alpha| Lasso { alphas: vec![alpha], bootstrap: None, ..Lasso::default() }.fit(&table).unwrap();
        assert!(fixed(grid[0] * 1.000001).values.iter().all(|value| *value == 0.0));
        assert!(fixed(grid[5]).values.iter().any(|value| *value != 0.0));
        for lasso in [Lasso { alphas: vec![0.0], ..Lasso::default() }, Lasso { folds: 1, ..Lasso::default() }]
        {
            assert!(matches!(lasso.fit(&table), Err(AttributionError::OutOfRange { .. })));
        }
        assert!(matches!(Lasso::default().fit(&table.first(3)), Err(AttributionError::TooFewDraws { .. })));
    }

    #[test]
    fn intervals_hold_the_estimate_of_many_rows() {
        let many =
            Lasso { alphas: vec![0.02], bootstrap: None, ..Lasso::default() }.fit(&table(20_000)).unwrap();
        let settings = Some(Bootstrap { resamples: 200, seed: 1 });
        let few =
            Lasso { alphas: vec![0.02], bootstrap: settings, ..Lasso::default() }.fit(&table(200)).unwrap();
        let held =
            few.intervals().iter().zip(&many.values).filter(|(interval, value)| interval.contains(**value));
        assert!(held.count() >= 6, "{few:?} {many:?}");
    }
}

//! Banzhaf values by regression.

use ndarray::{Array1, Axis};
use serde::{Deserialize, Serialize};

use crate::attribution::{Attribution, Diagnostics};
use crate::interval::{check_level, student_factor};
use crate::least_squares::{invert, sandwich_variances};
use crate::moments::Design;
use crate::upper::Upper;
use crate::{AttributionError, Estimator, Interval, IntervalMethod, Intervals, UtilityRow, UtilityTable};

/// Banzhaf values: the slopes of the least-squares fit of y by X with an intercept, over coalitions drawn uniformly.
///
/// Over all coalitions these slopes are exactly the Banzhaf values (Hammer & Holzman 1992), the mean of
/// v(S + i) - v(S) over all S; the intercept takes up what the reference's form, a fit on X - 1/2 without intercept,
/// leaves as noise. Intervals: HC3 sandwich and Student's t with m - n - 1 degrees of freedom, unbounded where the rows do
/// not determine a value or leave no residual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Banzhaf {
    /// Confidence level of the intervals.
    pub level: f64,
}

impl Default for Banzhaf {
    fn default() -> Banzhaf {
        Banzhaf { level: 0.95 }
    }
}

impl Banzhaf {
    /// Estimates the values. The empty and the full coalition are rows like any other.
    ///
    /// # Errors
    /// [`AttributionError::Empty`] for a table without rows, [`AttributionError::TooFewContributors`] for n = 0,
    /// [`AttributionError::OutOfRange`] for a level outside of (0, 1).
    pub fn fit(&self, table: &UtilityTable) -> Result<Attribution, AttributionError> {
        check_level(self.level)?;
        let n = table.n();
        let regression = CenteredRegression::new(table)?;
        let CenteredRegression { design, rows, presence, targets, target_mean } = &regression;
        let total = design.weights.sum();
        let weighted = rows * &design.weights.view().insert_axis(Axis(1));
        let inverse = invert(&Upper::of(&(rows.t().dot(&weighted) / total)));
        let values = inverse.matrix.dot(&(weighted.t().dot(targets) / total));
        let residuals = targets - &rows.dot(&values);
        let variances = sandwich_variances(rows, &design.weights, &residuals, &inverse.matrix, true);

        let distinct = table.coalitions().len();
        let no_residual = distinct <= inverse.rank + 1;
        let factor = student_factor(self.level, design.rows() as f64 - inverse.rank as f64 - 1.0);
        let mut standard_errors = variances.mapv(f64::sqrt).to_vec();
        for &contributor in &inverse.unidentified {
            standard_errors[contributor] = f64::INFINITY;
        }
        let intervals = values
            .iter()
            .zip(&standard_errors)
            .map(|(value, error)| Interval::around(*value, factor * error));
        let closed_form = if no_residual {
            Intervals::unbounded(IntervalMethod::Sandwich, self.level, n)
        } else {
            let (method, level) = (IntervalMethod::Sandwich, self.level);
            Intervals { method, level, intervals: intervals.collect(), standard_errors }
        };
        Ok(Attribution {
            estimator: Estimator::Banzhaf,
            intercept: target_mean - presence.dot(&values),
            values: values.to_vec(),
            closed_form: Some(closed_form),
            bootstrap: None,
            size_effect: Vec::new(),
            penalty: None,
            diagnostics: Diagnostics {
                rank: inverse.rank,
                pseudo_inverse: inverse.rank < n,
                unidentified: inverse.unidentified,
                no_residual,
                ..regression_diagnostics(table)
            },
        })
    }
}

/// Rows and targets with their weighted means taken off, so that an intercept need not be estimated.
pub(crate) struct CenteredRegression {
    pub(crate) design: Design,
    /// X - 1 presence'.
    pub(crate) rows: ndarray::Array2<f64>,
    /// Weighted mean of each column of X.
    pub(crate) presence: Array1<f64>,
    /// y minus its weighted mean.
    pub(crate) targets: Array1<f64>,
    /// The weighted mean of y.
    pub(crate) target_mean: f64,
}

impl CenteredRegression {
    pub(crate) fn new(table: &UtilityTable) -> Result<CenteredRegression, AttributionError> {
        let n = table.n();
        if n == 0 {
            return Err(AttributionError::TooFewContributors { what: "a regression", needed: 1, found: 0 });
        }
        if table.is_empty() {
            return Err(AttributionError::Empty { what: "observed coalitions".into() });
        }
        let all: Vec<&UtilityRow> = table.rows().iter().collect();
        let design = Design::new(n, &all, all.iter().map(|row| f64::from(row.times())).collect());
        Ok(CenteredRegression::from_parts(design, all.iter().map(|row| row.mean()).collect()))
    }

    /// Of at least one row.
    pub(crate) fn from_parts(design: Design, mut targets: Array1<f64>) -> CenteredRegression {
        let total = design.weights.sum();
        let mut rows = design.indicators();
        let presence = rows.t().dot(&design.weights) / total;
        rows -= &presence.view().insert_axis(Axis(0));
        let target_mean = targets.dot(&design.weights) / total;
        targets -= target_mean;
        CenteredRegression { design, rows, presence, targets, target_mean }
    }
}

/// What is known of a table before it is fitted.
pub(crate) fn regression_diagnostics(table: &UtilityTable) -> Diagnostics {
    Diagnostics {
        contributors: table.n(),
        draws: table.len(),
        distinct_coalitions: table.coalitions().len(),
        full_rank: table.n(),
        constant_utilities: table.is_constant(),
        ..Diagnostics::default()
    }
}

#[cfg(test)]
mod tests {
    use removal::{Coalition, RemovalDistribution};
    use streams::Streams;

    use super::*;
    use crate::{FnGame, Game, exact_banzhaf, utility_of_all};

    #[test]
    fn all_coalitions_give_the_exact_values() {
        let utility = |c: &Coalition| f64::from(u8::from(c.contains(0) && c.len() >= 2)) + c.len() as f64;
        let utilities = utility_of_all(4, utility).unwrap();
        let coalitions = (0..16usize)
            .map(|mask| Coalition::from_members(4, (0..4).filter(|i| mask >> i & 1 == 1)).unwrap());
        let table = UtilityTable::from_pairs(4, coalitions.zip(utilities.iter().copied())).unwrap();
        let fit = Banzhaf::default().fit(&table).unwrap();
        for (value, exact) in fit.values.iter().zip(exact_banzhaf(4, &utilities).unwrap()) {
            assert!((value - exact).abs() < 1e-12, "{value} {exact}");
        }
    }

    #[test]
    fn additive_games_and_too_few_rows() {
        let game = FnGame::new(6, |c: &Coalition| 5.0 + c.members().map(|i| i as f64).sum::<f64>());
        let streams = Streams::new(2);
        let table =
            |count| game.observe(RemovalDistribution::Uniform, count, &streams).unwrap().draws().clone();
        let fit = Banzhaf::default().fit(&table(40)).unwrap();
        assert!(fit.values.iter().enumerate().all(|(i, value)| (value - i as f64).abs() < 1e-12), "{fit:?}");
        assert!((fit.intercept - 5.0).abs() < 1e-12 && fit.diagnostics.warnings().is_empty());
        let few = Banzhaf::default().fit(&table(4)).unwrap();
        assert!(few.diagnostics.pseudo_inverse && few.diagnostics.no_residual);
        assert!(few.closed_form.unwrap().intervals.iter().all(|interval| !interval.is_bounded()));
    }
}

//! Estimators by name for games whose rows do not fit as numbers: [`LargeGame`] behind them.

use serde::{Deserialize, Serialize};

use crate::attribution::{Attribution, Diagnostics};
use crate::size_adjusted::size_adjusted;
use crate::{AttributionError, Estimator, LargeFit, LargeGame, Observations, UtilityTable, Weighting};

/// Ridge penalties that are tried for a large datamodel, at most.
const PENALTIES: usize = 5;
/// One row in so many is held out to choose among them.
const HELD_OUT: usize = 5;

/// How the iterations behind a large game's scores went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LargeSolve {
    /// Iterations made.
    pub iterations: usize,
    /// Length of the gradient over its length at the start.
    pub residual: f64,
    /// Whether the tolerance was reached.
    pub converged: bool,
}

/// Kernel SHAP.
pub(crate) fn kernel_shap(
    weighting: Weighting,
    observations: &Observations,
) -> Result<Attribution, AttributionError> {
    let fit = LargeGame { weighting, ..LargeGame::default() }.fit_shapley(observations)?;
    let ends = Some((observations.full_runs().len(), observations.none_runs().len()));
    let n = observations.n();
    Ok(attribution(Estimator::KernelShap, fit, observations.draws(), n.saturating_sub(1), ends))
}

/// Size-adjusted Kernel SHAP.
pub(crate) fn kernel_shap_size_adjusted(
    weighting: Weighting,
    observations: &Observations,
) -> Result<Attribution, AttributionError> {
    size_adjusted(observations, |centered| kernel_shap(weighting, centered))
}

/// Banzhaf values.
pub(crate) fn banzhaf(table: &UtilityTable) -> Result<Attribution, AttributionError> {
    let fit = LargeGame::default().fit_banzhaf(table)?;
    Ok(attribution(Estimator::Banzhaf, fit, table, table.n(), None))
}

/// A datamodel: ridge regression with an intercept. The penalty is the one of up to five among `alphas`, evenly by their place,
/// that predicts every fifth row best from the others.
pub(crate) fn datamodel(alphas: &[f64], table: &UtilityTable) -> Result<Attribution, AttributionError> {
    if let Some(&value) = alphas.iter().find(|alpha| !(alpha.is_finite() && **alpha > 0.0)) {
        let (setting, range) = ("a ridge penalty (alpha)", "positive and finite");
        return Err(AttributionError::OutOfRange { setting, value, range });
    }
    let mut sorted = alphas.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1);
    let last = last.ok_or_else(|| AttributionError::Empty { what: "ridge penalties (alphas)".into() })?;
    let mut tried: Vec<f64> = (0..PENALTIES).map(|place| sorted[place * last / (PENALTIES - 1)]).collect();
    tried.dedup();
    let rows = |held_out: bool| table.filtered(|place, _| (place % HELD_OUT == 0) == held_out);
    let (train, test) = (rows(false), rows(true));
    let mut best = (f64::INFINITY, tried[0]);
    if tried.len() > 1 && !train.is_empty() {
        for &alpha in &tried {
            let fit = ridge(&train, alpha)?;
            let errors = test
                .rows()
                .iter()
                .map(|row| f64::from(row.times()) * (row.mean() - fit.predict(row.coalition())).powi(2));
            let error: f64 = errors.sum();
            if error < best.0 {
                best = (error, alpha);
            }
        }
    }
    let mut fitted = attribution(Estimator::Datamodel, ridge(table, best.1)?, table, table.n(), None);
    fitted.penalty = Some(best.1);
    Ok(fitted)
}

/// `sum of w_j (y_j - a - x_j'beta)^2 + alpha |beta|^2`: [`LargeGame`] divides by the sum of the weights.
fn ridge(table: &UtilityTable, alpha: f64) -> Result<LargeFit, AttributionError> {
    let weight: f64 = table.rows().iter().map(|row| f64::from(row.times())).sum();
    LargeGame { ridge: alpha / weight.max(1.0), ..LargeGame::default() }.fit_banzhaf(table)
}

fn attribution(
    estimator: Estimator,
    fit: LargeFit,
    table: &UtilityTable,
    full_rank: usize,
    endpoint_runs: Option<(usize, usize)>,
) -> Attribution {
    let n = table.n();
    let distinct = table.coalitions().len();
    // What the rows determine is counted nowhere; fewer rows than directions certainly leave some open.
    let too_few = distinct < full_rank && estimator != Estimator::Datamodel;
    Attribution {
        estimator,
        intercept: fit.intercept,
        size_effect: Vec::new(),
        penalty: None,
        closed_form: None,
        bootstrap: None,
        diagnostics: Diagnostics {
            contributors: n,
            draws: fit.draws,
            distinct_coalitions: distinct,
            left_out: fit.left_out,
            rank: distinct.min(full_rank),
            full_rank,
            pseudo_inverse: too_few,
            unidentified: if too_few { (0..n).collect() } else { Vec::new() },
            no_residual: false,
            constant_utilities: table.is_constant(),
            singular_resamples: 0,
            endpoint_runs,
            large: Some(LargeSolve {
                iterations: fit.iterations,
                residual: fit.residual,
                converged: fit.converged,
            }),
        },
        values: fit.values,
    }
}

#[cfg(test)]
mod tests {
    use removal::{Coalition, RemovalDistribution};
    use streams::Streams;

    use crate::{Datamodel, Estimator, FitSettings, FnGame, Game, fit};

    /// Every estimator that has a large form gives the same scores by it.
    #[test]
    fn large_forms_give_the_scores_of_the_dense_ones() {
        let game = FnGame::new(30, |c: &Coalition| {
            let sum: f64 = c.members().map(|i| (i as f64).sin()).sum();
            if c.is_empty() { 40.0 } else { sum + (0.3 * sum).cos() }
        });
        for (estimator, distribution) in [
            (Estimator::KernelShap, RemovalDistribution::Shapley),
            (Estimator::KernelShap, RemovalDistribution::LeveragePaired),
            (Estimator::KernelShapSizeAdjusted, RemovalDistribution::Shapley),
            (Estimator::Banzhaf, RemovalDistribution::Uniform),
            (Estimator::Datamodel, RemovalDistribution::Datamodel { alpha: 0.5 }),
        ] {
            let observations = game.observe(distribution, 200, &Streams::new(6)).unwrap();
            // One penalty: the two forms choose by different folds.
            let dense = FitSettings { bootstrap: None, ridge_alphas: vec![0.5], ..FitSettings::default() };
            let large = FitSettings { large_beyond: 0, ..dense.clone() };
            let [dense, large] = [dense, large]
                .map(|settings| fit(estimator, &observations, distribution, &settings).unwrap());
            assert!(large.closed_form.is_none() && large.bootstrap.is_none());
            assert!(large.diagnostics.large.unwrap().converged);
            assert_eq!((large.estimator, large.penalty), (dense.estimator, dense.penalty));
            assert!(large.diagnostics.warnings().iter().any(|warning| warning.contains("no intervals")));
            let largest = dense.values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
            for (one, two) in large.values.iter().zip(&dense.values) {
                assert!((one - two).abs() < 1e-7 * largest, "{estimator} {one} {two}");
            }
            let coalition = Coalition::from_members(30, [0, 7, 21]).unwrap();
            assert!((large.predict(&coalition) - dense.predict(&coalition)).abs() < 1e-6);
        }
    }

    #[test]
    fn the_penalty_of_a_large_datamodel_is_chosen_by_held_out_rows() {
        let game = FnGame::new(20, |c: &Coalition| c.members().map(|i| i as f64).sum());
        let distribution = RemovalDistribution::Datamodel { alpha: 0.5 };
        let observations = game.observe(distribution, 120, &Streams::new(1)).unwrap();
        let settings = FitSettings { large_beyond: 0, ..FitSettings::default() };
        let large = fit(Estimator::Datamodel, &observations, distribution, &settings).unwrap();
        // Without noise, the smallest.
        assert_eq!(large.penalty, Some(Datamodel::default().alphas[0]));
        let few = game.observe(distribution, 6, &Streams::new(1)).unwrap();
        let large = fit(Estimator::Datamodel, &few, distribution, &settings).unwrap();
        assert!(!large.diagnostics.pseudo_inverse, "a penalty leaves nothing open");
        let none = FitSettings { ridge_alphas: vec![], ..settings };
        assert!(fit(Estimator::Datamodel, &few, distribution, &none).is_err());
    }
}

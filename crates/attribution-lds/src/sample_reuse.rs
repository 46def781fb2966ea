//! Maximum sample reuse: every utility informs every contributor's value.

use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;
use removal::{Coalition, RemovalDistribution};
use serde::{Deserialize, Serialize};

use crate::attribution::{Attribution, Diagnostics};
use crate::banzhaf::{CenteredRegression, regression_diagnostics};
use crate::datamodel::Spectrum;
use crate::interval::{check_level, student_intervals};
use crate::least_squares::invert;
use crate::moments::Design;
use crate::trees::{Boosting, TreeRow, Trees};
use crate::units::units;
use crate::upper::Upper;
use crate::{
    AttributionError, Estimator, Interval, IntervalMethod, Intervals, Observations, Semivalue, UtilityRow,
    UtilityTable,
};

/// The trees of [`Surrogate::Trees`].
const BOOSTING: Boosting = Boosting { trees: 60, depth: 3, learning_rate: 0.15, penalty: 1.0, min_leaf: 4.0 };

/// What is fitted to the utilities and taken from them before they are reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surrogate {
    /// Nothing: plain Monte Carlo. Its error grows with the utilities' distance from 0.
    None,
    /// A function of the size, a + b s/n + c/s, and a weighted ridge regression on who is in.
    #[default]
    Linear,
    /// As linear, and boosted trees (60 of depth 3) for what that leaves.
    Trees,
}

/// Maximum sample reuse with regression adjustment, for any [`Semivalue`] (Witter, Liu & Musco 2025, "Regression-adjusted Monte
/// Carlo estimators for Shapley values and probabilistic values"; plain reuse: Wang & Jia 2023, Kolpaczki et al. 2024).
///
/// For draws S of size s with probability q_s / C(n, s), and P the semivalue's weights,
/// ```text
/// phi_i(v) = E[ v(S) g_i(S) ],   g_i(S) = n P_(s-1) / (s q_s) if i is in S,  - n P_s / ((n - s) q_s) if not
/// ```
/// plus P_(n-1) v(all) - P_0 v(none) where draws are never full and never empty. The variance is that of v g. So a surrogate f
/// with known values is fitted, and `phi(v) = phi(f) + phi(v - f)`, only the last being estimated: without bias, because f is
/// fitted on other folds of the draws than those it is corrected on. Rows weigh in the fit as their |g|^2, whereby it minimises
/// the estimate's variance. Shapley values are shifted to sum to v(all) - v(none), draw by draw.
///
/// Intervals: Student's t over independent draws (pairs, under a paired distribution) of `phi(f) + (v - f) g`. The folds share
/// draws, which makes their estimates slightly dependent; the coverage tests bound what that does. From `uniform` draws, whose
/// sizes are almost all middle ones, intervals of Shapley and Beta-Shapley values are too narrow (coverage around 80 % at n = 6
/// and 120 draws): prefer the leverage distributions.
///
/// ```
/// use attribution_lds::{FnGame, Game, SampleReuse, Semivalue, Surrogate};
/// use removal::{Coalition, RemovalDistribution};
/// use streams::Streams;
///
/// let game = FnGame::new(8, |c: &Coalition| c.members().map(|i| i as f64).sum());
/// let distribution = RemovalDistribution::LeveragePaired;
/// let observations = game.observe(distribution, 200, &Streams::new(2))?;
/// let fit = SampleReuse::default().fit(&observations, distribution)?;
/// assert!((fit.values[7] - 7.0).abs() < 1e-3);
/// # Ok::<(), attribution_lds::AttributionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleReuse {
    /// Which value is estimated.
    pub semivalue: Semivalue,
    /// What is taken off first.
    pub surrogate: Surrogate,
    /// Parts of the draws; each is corrected with a surrogate fitted on the others. Not used without a surrogate.
    pub folds: usize,
    /// Confidence level of the intervals.
    pub level: f64,
}

impl Default for SampleReuse {
    /// Shapley values, linear surrogate, 10 folds, level 0.95.
    fn default() -> SampleReuse {
        SampleReuse { semivalue: Semivalue::Shapley, surrogate: Surrogate::Linear, folds: 10, level: 0.95 }
    }
}

impl SampleReuse {
    /// Estimates the values from draws of `distribution`.
    ///
    /// # Errors
    /// [`AttributionError::OutOfRange`] for the level, the folds (at least 2) or the semivalue's parameters;
    /// [`AttributionError::TooFewContributors`] for n < 2; [`AttributionError::Unaccepted`] for a distribution that lacks sizes
    /// which count; [`AttributionError::TooFewDraws`] for fewer independent draws than two a fold;
    /// [`AttributionError::ImpossibleDraw`] for a row that the distribution never draws.
    pub fn fit(
        &self,
        observations: &Observations,
        distribution: RemovalDistribution,
    ) -> Result<Attribution, AttributionError> {
        check_level(self.level)?;
        let n = observations.n();
        if n < 2 {
            return Err(AttributionError::TooFewContributors {
                what: "maximum sample reuse",
                needed: 2,
                found: n,
            });
        }
        if self.folds < 2 {
            let (setting, value) = ("the number of folds", self.folds as f64);
            return Err(AttributionError::OutOfRange { setting, value, range: "at least 2" });
        }
        let multipliers = Multipliers::new(n, self.semivalue, distribution)?;
        let rows: Vec<&UtilityRow> = observations.draws().rows().iter().collect();
        if let Some((row, found)) =
            rows.iter().enumerate().find(|(_, row)| !multipliers.possible(row.coalition().len()))
        {
            let (size, distribution) = (found.coalition().len(), distribution.to_string());
            return Err(AttributionError::ImpossibleDraw { row, size, distribution });
        }
        let units = units(&rows, distribution);
        let folds = if self.surrogate == Surrogate::None { 1 } else { self.folds };
        let needed = if folds == 1 { 1 } else { 2 * folds };
        if units.len() < needed {
            let what = "maximum sample reuse";
            return Err(AttributionError::TooFewDraws { what, needed, found: units.len() });
        }
        // Fold of unit u: u mod folds, so that the folds grow together with the draws.
        let surrogates: Vec<Fitted> = (0..folds)
            .into_par_iter()
            .map(|fold| {
                let training: Vec<&UtilityRow> = units
                    .iter()
                    .enumerate()
                    .filter(|(unit, _)| unit % folds != fold)
                    .flat_map(|(_, range)| rows[range.clone()].iter().copied())
                    .collect();
                Fitted::new(self.surrogate, self.semivalue, &multipliers, observations, &training)
            })
            .collect();
        let total = observations.full() - observations.none();
        let mean_times = rows.iter().map(|row| f64::from(row.times())).sum::<f64>() / units.len() as f64;
        let estimates: Vec<Vec<f64>> = units
            .par_iter()
            .enumerate()
            .map(|(unit, range)| {
                let surrogate = &surrogates[unit % folds];
                let mut estimate = vec![0.0; n];
                let times: f64 = rows[range.clone()].iter().map(|row| f64::from(row.times())).sum();
                for row in &rows[range.clone()] {
                    let size = row.coalition().len();
                    let residual = (row.mean() - surrogate.predict(row.coalition())) * f64::from(row.times())
                        / mean_times;
                    let (inside, outside) =
                        (multipliers.inside[size] * residual, multipliers.outside[size] * residual);
                    estimate.iter_mut().for_each(|value| *value += outside);
                    row.coalition().members().for_each(|member| estimate[member] += inside - outside);
                }
                let share = times / mean_times;
                estimate.iter_mut().zip(&surrogate.values).for_each(|(value, known)| *value += known * share);
                if self.semivalue == Semivalue::Shapley {
                    let short = (total * share - estimate.iter().sum::<f64>()) / n as f64;
                    estimate.iter_mut().for_each(|value| *value += short);
                }
                estimate
            })
            .collect();
        let (values, closed_form) = student_intervals(IntervalMethod::Sampling, self.level, n, &estimates);
        let table = observations.draws();
        Ok(Attribution {
            estimator: match (self.semivalue, self.surrogate) {
                (Semivalue::BetaShapley { .. }, _) => Estimator::BetaShapley,
                (_, Surrogate::None) => Estimator::SampleReuse,
                (_, Surrogate::Linear) => Estimator::RegressionAdjusted,
                (_, Surrogate::Trees) => Estimator::TreeAdjusted,
            },
            values,
            intercept: observations.none(),
            size_effect: Vec::new(),
            penalty: None,
            closed_form: Some(closed_form),
            bootstrap: None,
            diagnostics: Diagnostics {
                rank: n,
                no_residual: units.len() < 2,
                endpoint_runs: Some((observations.full_runs().len(), observations.none_runs().len())),
                ..regression_diagnostics(table)
            },
        })
    }
}

/// g by coalition size.
struct Multipliers {
    inside: Vec<f64>,
    outside: Vec<f64>,
    /// q_s.
    sizes: Vec<f64>,
    /// P_s.
    weights: Vec<f64>,
}

impl Multipliers {
    fn new(
        n: usize,
        semivalue: Semivalue,
        distribution: RemovalDistribution,
    ) -> Result<Multipliers, AttributionError> {
        let sizes = distribution.size_probabilities(n)?;
        let weights = semivalue.size_weights(n)?;
        if sizes[1..n].contains(&0.0) {
            return Err(AttributionError::Unaccepted {
                estimator: "maximum sample reuse".into(),
                distribution: distribution.to_string(),
                accepted: "distributions with all sizes between 1 and n - 1".into(),
            });
        }
        let (mut inside, mut outside) = (vec![0.0; n + 1], vec![0.0; n + 1]);
        for (size, &probability) in sizes.iter().enumerate().filter(|(_, probability)| **probability > 0.0) {
            if size > 0 {
                inside[size] = n as f64 * weights[size - 1] / (size as f64 * probability);
            }
            if size < n {
                outside[size] = -(n as f64) * weights[size] / ((n - size) as f64 * probability);
            }
        }
        Ok(Multipliers { inside, outside, sizes, weights })
    }

    fn possible(&self, size: usize) -> bool {
        self.sizes[size] > 0.0
    }

    /// |g|^2 of a coalition of this size.
    fn square(&self, size: usize) -> f64 {
        let n = self.sizes.len() - 1;
        size as f64 * self.inside[size].powi(2) + (n - size) as f64 * self.outside[size].powi(2)
    }
}

/// A fitted surrogate game f(S) = by_size(|S|) + sum of slopes + trees, and its semivalues. They include what the known
/// residuals at the ends contribute where draws never are the ends.
struct Fitted {
    by_size: Vec<f64>,
    slopes: Vec<f64>,
    trees: Trees,
    values: Vec<f64>,
}

impl Fitted {
    fn new(
        surrogate: Surrogate,
        semivalue: Semivalue,
        multipliers: &Multipliers,
        observations: &Observations,
        training: &[&UtilityRow],
    ) -> Fitted {
        let n = observations.n();
        let weights: Vec<f64> = training
            .iter()
            .map(|row| f64::from(row.times()) * multipliers.square(row.coalition().len()))
            .collect();
        let mut fitted = Fitted {
            by_size: vec![0.0; n + 1],
            slopes: vec![0.0; n],
            trees: Trees::default(),
            values: vec![0.0; n],
        };
        if surrogate != Surrogate::None {
            // Both parts together (Frisch & Waugh 1933): slopes from what the size leaves of rows and utilities, then the
            // size's part from what the slopes leave.
            let targets = training.iter().map(|row| row.mean()).collect();
            let mut regression =
                CenteredRegression::from_parts(Design::new(n, training, weights.clone()), targets);
            let basis = size_basis(n, training);
            let weighted = &basis * &regression.design.weights.view().insert_axis(Axis(1));
            let total = regression.design.weights.sum();
            let projection = basis.dot(&invert(&Upper::of(&(basis.t().dot(&weighted) / total))).matrix);
            regression.rows =
                &regression.rows - &projection.dot(&(weighted.t().dot(&regression.rows) / total));
            regression.targets =
                &regression.targets - &projection.dot(&(weighted.t().dot(&regression.targets) / total));
            fitted.slopes = best_ridge(&regression);
            let left = training
                .iter()
                .map(|row| row.mean() - crate::predict_additive(&fitted.slopes, row.coalition()));
            fitted.by_size = size_function(n, training, &left.collect::<Vec<f64>>(), &weights);
        }
        if surrogate == Surrogate::Trees {
            // Weights of mean 1, against which the penalty is measured.
            let scale = training.len() as f64 / weights.iter().sum::<f64>();
            let rows = training.iter().zip(&weights).map(|(row, &weight)| {
                let target = row.mean() - fitted.predict(row.coalition());
                TreeRow { coalition: row.coalition(), target, weight: weight * scale, count: 1.0 }
            });
            fitted.trees = Trees::fit(n, BOOSTING, &mut rows.collect::<Vec<_>>());
        }
        // Ends that are never drawn are known: there f is set to v.
        for (end, value) in
            [(Coalition::empty(n), observations.none()), (Coalition::full(n), observations.full())]
        {
            if !multipliers.possible(end.len()) {
                fitted.by_size[end.len()] += value - fitted.predict(&end);
            }
        }
        let steps = fitted.by_size.windows(2).zip(&multipliers.weights);
        let common: f64 = steps.map(|(pair, weight)| weight * (pair[1] - pair[0])).sum();
        let mut values: Vec<f64> = fitted.slopes.iter().map(|slope| slope + common).collect();
        fitted.trees.add_values(semivalue, &mut values);
        fitted.values = values;
        fitted
    }

    fn predict(&self, coalition: &Coalition) -> f64 {
        self.by_size[coalition.len()]
            + crate::predict_additive(&self.slopes, coalition)
            + self.trees.predict(coalition)
    }
}

/// 1, s/n and 1/s of a size (1/1 for s = 0).
fn basis_of(n: usize, size: usize) -> [f64; 3] {
    [1.0, size as f64 / n as f64, 1.0 / size.max(1) as f64]
}

fn size_basis(n: usize, rows: &[&UtilityRow]) -> Array2<f64> {
    Array2::from_shape_fn((rows.len(), 3), |(row, term)| basis_of(n, rows[row].coalition().len())[term])
}

/// a + b s/n + c/s by weighted least squares, for sizes 0..=n.
fn size_function(n: usize, rows: &[&UtilityRow], targets: &[f64], weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    let basis = size_basis(n, rows);
    let weighted =
        &basis * &(Array1::from_iter(weights.iter().map(|weight| weight / total)).insert_axis(Axis(1)));
    let cross = weighted.t().dot(&Array1::from_iter(targets.iter().copied()));
    let coefficients = invert(&Upper::of(&basis.t().dot(&weighted))).matrix.dot(&cross);
    (0..=n).map(|size| basis_of(n, size).iter().zip(&coefficients).map(|(x, c)| x * c).sum()).collect()
}

/// Slopes of the ridge regression whose penalty leaves the smallest leave-one-out error, among 1e-6 to 100 times the mean
/// weight of a contributor's column.
fn best_ridge(regression: &CenteredRegression) -> Vec<f64> {
    let spectrum = Spectrum::new(regression);
    let scale = spectrum.mean_eigenvalue().max(f64::MIN_POSITIVE);
    let alphas: Vec<f64> = (0..17).map(|step| scale * 10f64.powf(-6.0 + 0.5 * f64::from(step))).collect();
    let errors = alphas.iter().copied().zip(spectrum.leave_one_out_errors(regression, &alphas));
    // There always are 17 candidates; errors that are not numbers (a row alone) lose.
    let best = errors.min_by(|(_, one), (_, two)| one.total_cmp(two)).map_or(scale, |(alpha, _)| alpha);
    spectrum.coefficients(best).to_vec()
}

/// Data Banzhaf by maximum sample reuse (Wang & Jia 2023, eq. 5): for coalitions drawn uniformly, the mean utility of those
/// with i less the mean utility of those without i. The empty and the full coalition are rows like any other.
///
/// Intervals: Welch's t for the two means, unbounded for a contributor with fewer than two rows on a side.
///
/// # Errors
/// [`AttributionError::Empty`] without rows, [`AttributionError::TooFewContributors`] for n = 0,
/// [`AttributionError::OneSided`] for contributors that are in all rows or in none, [`AttributionError::OutOfRange`] for the
/// level.
///
/// ```
/// use attribution_lds::{FnGame, Game, banzhaf_sample_reuse};
/// use removal::{Coalition, RemovalDistribution};
/// use streams::Streams;
///
/// let majority = FnGame::new(3, |c: &Coalition| f64::from(u8::from(c.len() >= 2)));
/// let observations = majority.observe(RemovalDistribution::Uniform, 2000, &Streams::new(5))?;
/// let banzhaf = banzhaf_sample_reuse(observations.draws(), 0.95)?;
/// assert!((banzhaf.values[0] - 0.5).abs() < 0.05);
/// # Ok::<(), attribution_lds::AttributionError>(())
/// ```
pub fn banzhaf_sample_reuse(table: &UtilityTable, level: f64) -> Result<Attribution, AttributionError> {
    check_level(level)?;
    let n = table.n();
    if n == 0 {
        return Err(AttributionError::TooFewContributors { what: "Banzhaf values", needed: 1, found: 0 });
    }
    if table.is_empty() {
        return Err(AttributionError::Empty { what: "observed coalitions".into() });
    }
    let mut sides = vec![[Side::default(); 2]; n];
    for row in table.rows() {
        for (contributor, sides) in sides.iter_mut().enumerate() {
            sides[usize::from(!row.coalition().contains(contributor))].add(row);
        }
    }
    let one_sided: Vec<usize> =
        (0..n).filter(|&contributor| sides[contributor].iter().any(|side| side.weight == 0.0)).collect();
    if !one_sided.is_empty() {
        return Err(AttributionError::OneSided {
            estimator: "Banzhaf sample reuse",
            contributors: one_sided,
        });
    }
    for row in table.rows() {
        for (contributor, sides) in sides.iter_mut().enumerate() {
            sides[usize::from(!row.coalition().contains(contributor))].add_square(row);
        }
    }
    let values: Vec<f64> = sides.iter().map(|[with, without]| with.mean() - without.mean()).collect();
    let mut intervals = Vec::with_capacity(n);
    let mut standard_errors = Vec::with_capacity(n);
    for (value, sides) in values.iter().zip(&sides) {
        let [one, two] = sides.map(|side| side.variance_of_mean());
        let error = (one + two).sqrt();
        let freedom =
            (one + two).powi(2) / (one.powi(2) / (sides[0].rows - 1.0) + two.powi(2) / (sides[1].rows - 1.0));
        let half_width =
            if error == 0.0 { 0.0 } else { crate::interval::student_factor(level, freedom) * error };
        intervals.push(Interval::around(*value, half_width));
        standard_errors.push(error);
    }
    let total: f64 = table.rows().iter().map(|row| f64::from(row.times())).sum();
    let mean = table.rows().iter().map(|row| row.mean() * f64::from(row.times())).sum::<f64>() / total;
    let presence = sides.iter().map(|sides| sides[0].weight / total);
    let intercept = mean - presence.zip(&values).map(|(share, value)| share * value).sum::<f64>();
    Ok(Attribution {
        estimator: Estimator::BanzhafSampleReuse,
        values,
        intercept,
        size_effect: Vec::new(),
        penalty: None,
        closed_form: Some(Intervals { method: IntervalMethod::Welch, level, intervals, standard_errors }),
        bootstrap: None,
        diagnostics: Diagnostics { rank: n, ..regression_diagnostics(table) },
    })
}

/// Rows with (or without) a contributor.
#[derive(Clone, Copy, Default)]
struct Side {
    rows: f64,
    weight: f64,
    sum: f64,
    squares: f64,
}

impl Side {
    fn add(&mut self, row: &UtilityRow) {
        let times = f64::from(row.times());
        self.rows += 1.0;
        self.weight += times;
        self.sum += times * row.mean();
    }

    /// After all rows were added.
    fn add_square(&mut self, row: &UtilityRow) {
        self.squares += (f64::from(row.times()) * (row.mean() - self.mean())).powi(2);
    }

    fn mean(&self) -> f64 {
        self.sum / self.weight
    }

    /// Infinite for one row. A row that stands for several draws is one unit.
    fn variance_of_mean(&self) -> f64 {
        if self.rows < 2.0 {
            return f64::INFINITY;
        }
        self.squares * self.rows / (self.rows - 1.0) / self.weight.powi(2)
    }
}

#[cfg(test)]
mod tests {
    use streams::Streams;

    use super::*;
    use crate::{FnGame, Game, exact_semivalue, utility_of_all};

    const N: usize = 6;

    fn utility(c: &Coalition) -> f64 {
        if c.is_empty() {
            return 30.0;
        }
        let sum: f64 = c.members().map(|i| 1.0 + i as f64).sum();
        sum + if c.contains(0) && c.contains(5) { 4.0 } else { 0.0 }
            - if c.contains(1) && !c.contains(2) { 3.0 } else { 0.0 }
    }

    const SEMIVALUES: [Semivalue; 3] =
        [Semivalue::Shapley, Semivalue::Banzhaf, Semivalue::BetaShapley { alpha: 4.0, beta: 1.0 }];
    const DISTRIBUTIONS: [RemovalDistribution; 5] = [
        RemovalDistribution::Shapley,
        RemovalDistribution::ShapleyPaired,
        RemovalDistribution::Leverage,
        RemovalDistribution::LeveragePaired,
        RemovalDistribution::Uniform,
    ];

    /// The mean of many estimates is the value (no bias), and the intervals cover.
    #[test]
    fn unbiased_and_covering_for_all_values_draws_and_surrogates() {
        let game = FnGame::new(N, utility);
        for semivalue in SEMIVALUES {
            let exact = exact_semivalue(semivalue, N, &utility_of_all(N, utility).unwrap()).unwrap();
            for distribution in DISTRIBUTIONS {
                for surrogate in [Surrogate::None, Surrogate::Linear, Surrogate::Trees] {
                    let estimator = SampleReuse { semivalue, surrogate, folds: 5, level: 0.95 };
                    let repetitions = if surrogate == Surrogate::Trees { 30 } else { 100 };
                    let (mut covered, mut values) = (0, vec![Vec::new(); N]);
                    for seed in 0..repetitions {
                        let observations = game.observe(distribution, 120, &Streams::new(seed)).unwrap();
                        let fit = estimator.fit(&observations, distribution).unwrap();
                        let intervals = fit.closed_form.unwrap().intervals;
                        covered +=
                            intervals.iter().zip(&exact).filter(|(one, value)| one.contains(**value)).count();
                        values.iter_mut().zip(&fit.values).for_each(|(all, value)| all.push(*value));
                    }
                    let name = format!("{semivalue:?}, {distribution}, {surrogate:?}");
                    let rate = covered as f64 / (repetitions as usize * N) as f64;
                    // Uniform draws rarely are of the sizes that weigh most: what is rare enough is in no interval.
                    let least = if distribution == RemovalDistribution::Uniform { 0.75 } else { 0.86 };
                    assert!((least..=1.0).contains(&rate), "{name}: coverage {rate}");
                    for (all, exact) in values.iter().zip(&exact) {
                        let mean = crate::observations::mean(all);
                        let error = (crate::observations::variance(all).unwrap() / repetitions as f64).sqrt();
                        assert!(
                            (mean - exact).abs() < 4.5 * error + 1e-9,
                            "{name}: mean {mean} of {exact} ({error})"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn adjustment_pays() {
        let game = FnGame::new(N, utility);
        let exact = exact_semivalue(Semivalue::Shapley, N, &utility_of_all(N, utility).unwrap()).unwrap();
        let error = |surrogate| -> f64 {
            let distribution = RemovalDistribution::LeveragePaired;
            (0..20)
                .map(|seed| {
                    let observations = game.observe(distribution, 200, &Streams::new(seed)).unwrap();
                    let estimator = SampleReuse { surrogate, ..SampleReuse::default() };
                    let fit = estimator.fit(&observations, distribution).unwrap();
                    fit.values.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
                })
                .sum()
        };
        let [none, linear, trees] = [Surrogate::None, Surrogate::Linear, Surrogate::Trees].map(error);
        assert!(linear < none / 20.0 && trees < linear, "{none} {linear} {trees}");
    }

    #[test]
    fn what_cannot_be_estimated_is_refused() {
        let game = FnGame::new(N, utility);
        let half = RemovalDistribution::Datamodel { alpha: 0.5 };
        let observations = game.observe(half, 30, &Streams::new(0)).unwrap();
        let error = SampleReuse::default().fit(&observations, half).unwrap_err().to_string();
        assert!(error.contains("datamodel(0.5)") && error.contains("all sizes"), "{error}");
        let ends = UtilityTable::from_pairs(N, [(Coalition::full(N), 1.0)]).unwrap();
        let ends = observations.with_draws(ends).unwrap();
        let error = SampleReuse::default().fit(&ends, RemovalDistribution::Shapley).unwrap_err().to_string();
        assert!(error.contains("row 0") && error.contains("6 contributors"), "{error}");
        let few = game.observe(RemovalDistribution::Shapley, 19, &Streams::new(0)).unwrap();
        let error = SampleReuse::default().fit(&few, RemovalDistribution::Shapley).unwrap_err().to_string();
        assert!(error.contains("20") && error.contains("19"), "{error}");
    }

    /// All coalitions once: both means are over half of them, which is the definition.
    #[test]
    fn banzhaf_of_all_coalitions_is_exact() {
        let table = utility_of_all(N, utility).unwrap();
        let all = (0..1usize << N)
            .map(|mask| Coalition::from_members(N, (0..N).filter(|i| mask >> i & 1 == 1)).unwrap());
        let rows = UtilityTable::from_pairs(N, all.zip(table.iter().copied())).unwrap();
        let fit = banzhaf_sample_reuse(&rows, 0.95).unwrap();
        for (value, exact) in fit.values.iter().zip(crate::exact_banzhaf(N, &table).unwrap()) {
            assert!((value - exact).abs() < 1e-12);
        }
        let error =
            banzhaf_sample_reuse(&rows.filtered(|_, row| row.coalition().contains(3)), 0.95).unwrap_err();
        assert!(error.to_string().contains("[3]"), "{error}");
        let two = banzhaf_sample_reuse(&rows.filtered(|place, _| place == 0 || place == 63), 0.95).unwrap();
        assert!(!two.intervals()[0].is_bounded());
    }
}

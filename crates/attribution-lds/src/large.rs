//! Shapley and Banzhaf values of games with thousands of contributors, by conjugate gradients on bit masks.

use removal::Coalition;
use serde::{Deserialize, Serialize};

use crate::attribution::predict_additive;
use crate::bits::Bits;
use crate::{AttributionError, Observations, UtilityRow, UtilityTable, Weighting};

/// Least-squares values of large games: Kernel SHAP and Banzhaf without any matrix of numbers.
///
/// [`crate::KernelShap`] and [`crate::Banzhaf`] hold the rows X `[m, n]` in double precision, and invert an n x n matrix. Here
/// X and its transpose stay one bit an entry, 2 m n / 8 bytes together, and each iteration takes one product with each.
///
/// # What is fitted
/// *Shapley*, [`LargeGame::fit_shapley`]: with total = v(all) - v(none) and w the sum of the weights w_j,
/// ```text
/// phi = total/n 1 + d,   d = argmin  1/w sum_j w_j (y_j - v0 - total |S_j|/n - x_j'd)^2 + ridge |d|^2   subject to 1'd = 0
/// ```
/// (Lundberg & Lee 2017; Covert & Lee 2021, eq. 7, whose `phi = A^-1 (b - 1 lambda)` it is for `ridge` 0). The constraint is
/// kept by projection: gradients are multiplied by C = I - 11'/n, so phi sums to v(all) - v(none) to rounding.
///
/// *Banzhaf*, [`LargeGame::fit_banzhaf`]: the slopes of y on X with an intercept (Hammer & Holzman 1992),
/// ```text
/// beta = argmin  1/w sum_j w_j (y_j - mean(y) - (x_j - mean(x))'beta)^2 + ridge |beta|^2
/// ```
///
/// Both by CGLS from zero (Hestenes & Stiefel 1952; Björck 1996, algorithm 7.4.1). If rows are fewer than unknowns and `ridge` is 0,
/// this leads to the least-squares solution closest to equal shares (to zero for Banzhaf), as the pseudo-inverse of the other
/// estimators does. Sums have a fixed order: the bits of the result do not depend on the number of threads.
///
/// There are **no intervals**: closed forms need the inverse, and a bootstrap as many fits as resamples. Where
/// uncertainty matters, fit halves of the draws and compare, as [`crate::split_half`] does for the other estimators.
///
/// # Cost
/// n = 10,000 contributors and m = 20,000 coalitions, by
/// `time cargo run --release -p attribution-lds --example large_game`: 83 MiB at most, 308 iterations to a gradient of 1e-10, 23 seconds
/// of processor time with drawing the coalitions; 69 seconds from start to end of the fit on two cores busy with other work.
/// The many iterations are the Shapley distribution's: most of its coalitions are nearly empty or nearly full, and say little
/// about all others.
///
/// ```
/// use attribution_lds::{FnGame, Game, LargeGame};
/// use removal::{Coalition, RemovalDistribution};
/// use streams::Streams;
///
/// let game = FnGame::new(300, |coalition: &Coalition| coalition.members().map(|i| i as f64).sum());
/// let observations = game.observe(RemovalDistribution::Shapley, 900, &Streams::new(7))?;
/// let shapley = LargeGame::default().fit_shapley(&observations)?;
/// assert!(shapley.converged && (shapley.values[299] - 299.0).abs() < 1e-6);
/// # Ok::<(), attribution_lds::AttributionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LargeGame {
    /// How rows weigh in [`LargeGame::fit_shapley`]; Banzhaf rows weigh alike.
    pub weighting: Weighting,
    /// Penalty on the square of what the values differ from equal shares (Shapley) or from 0 (Banzhaf), in mean squared utility;
    /// at least 0. Something above 0 makes values of few rows less noisy, and iterations fewer.
    pub ridge: f64,
    /// Iterations end when the gradient's length is at most this share of what it was at first; in (0, 1).
    pub tolerance: f64,
    /// Iterations after which the fit ends anyhow, with [`LargeFit::converged`] false; at least 1.
    pub max_iterations: usize,
}

impl Default for LargeGame {
    /// Rows as drawn, no ridge, tolerance 1e-10, at most 1,000 iterations.
    fn default() -> LargeGame {
        LargeGame { weighting: Weighting::AsDrawn, ridge: 0.0, tolerance: 1e-10, max_iterations: 1000 }
    }
}

/// Values by [`LargeGame`], and how the iterations went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LargeFit {
    /// The values, by contributor, in units of the utility.
    pub values: Vec<f64>,
    /// The predicted utility of the empty coalition.
    pub intercept: f64,
    /// Rows used.
    pub draws: usize,
    /// Rows left out: the empty and the full coalition, in a Shapley fit.
    pub left_out: usize,
    /// Iterations made.
    pub iterations: usize,
    /// Length of the gradient, computed afresh from the values, over its length at the start; 0 if that was 0.
    pub residual: f64,
    /// Whether the tolerance was reached. If not, allow more iterations, or set a ridge.
    pub converged: bool,
}

impl LargeFit {
    /// The utility that the values predict for a coalition: intercept plus the sum of its members' values.
    pub fn predict(&self, coalition: &Coalition) -> f64 {
        self.intercept + predict_additive(&self.values, coalition)
    }
}

impl LargeGame {
    /// Estimates Shapley values. Rows that are the empty or the full coalition are left out.
    ///
    /// # Errors
    /// [`AttributionError::TooFewContributors`] for n < 2, [`AttributionError::NothingBetween`], and
    /// [`AttributionError::OutOfRange`] for a setting.
    pub fn fit_shapley(&self, observations: &Observations) -> Result<LargeFit, AttributionError> {
        self.check()?;
        let n = observations.n();
        if n < 2 {
            return Err(AttributionError::TooFewContributors { what: "Kernel SHAP", needed: 2, found: n });
        }
        let all = observations.draws().rows();
        let between = |row: &&UtilityRow| !row.coalition().is_empty() && !row.coalition().is_full();
        let rows: Vec<&UtilityRow> = all.iter().filter(between).collect();
        if rows.is_empty() {
            return Err(AttributionError::NothingBetween { rows: all.len() });
        }
        let weights = self.weighting.of_rows(n, &rows)?;
        let share = (observations.full() - observations.none()) / n as f64;
        let rest =
            |row: &&UtilityRow| row.mean() - observations.none() - share * row.coalition().len() as f64;
        let targets = rows.iter().map(rest).collect();
        let problem = Problem::new(n, &rows, weights, Projection::SumZero);
        let solution = self.solve(&problem, targets);
        let values = solution.coefficients.iter().map(|difference| share + difference).collect();
        Ok(solution.fit(values, observations.none(), rows.len(), all.len() - rows.len()))
    }

    /// Estimates Banzhaf values, of coalitions drawn uniformly. The empty and the full coalition are rows like any other.
    ///
    /// # Errors
    /// [`AttributionError::Empty`] for a table without rows, [`AttributionError::TooFewContributors`] for n = 0, and
    /// [`AttributionError::OutOfRange`] for a setting.
    pub fn fit_banzhaf(&self, table: &UtilityTable) -> Result<LargeFit, AttributionError> {
        self.check()?;
        let n = table.n();
        if n == 0 {
            return Err(AttributionError::TooFewContributors { what: "a regression", needed: 1, found: 0 });
        }
        if table.is_empty() {
            return Err(AttributionError::Empty { what: "observed coalitions".into() });
        }
        let rows: Vec<&UtilityRow> = table.rows().iter().collect();
        let weights = rows.iter().map(|row| f64::from(row.times())).collect();
        let problem = Problem::new(n, &rows, weights, Projection::Intercept);
        let utilities: Vec<f64> = rows.iter().map(|row| row.mean()).collect();
        let mean = dot(&problem.shares, &utilities);
        let solution = self.solve(&problem, utilities.iter().map(|utility| utility - mean).collect());
        let intercept = mean - dot(&problem.presence, &solution.coefficients);
        Ok(solution.fit(solution.coefficients.clone(), intercept, rows.len(), 0))
    }

    fn check(&self) -> Result<(), AttributionError> {
        let refuse = |setting, value, range| Err(AttributionError::OutOfRange { setting, value, range });
        if !(self.ridge >= 0.0 && self.ridge.is_finite()) {
            return refuse("ridge", self.ridge, "finite and at least 0");
        }
        if !(self.tolerance > 0.0 && self.tolerance < 1.0) {
            return refuse("tolerance", self.tolerance, "between 0 and 1");
        }
        if self.max_iterations == 0 {
            return refuse("max_iterations", 0.0, "at least 1");
        }
        Ok(())
    }

    /// CGLS on min 1/w |W^1/2 (t - Z b)|^2 + ridge |b|^2, from b = 0.
    fn solve(&self, problem: &Problem, targets: Vec<f64>) -> Solution {
        let mut coefficients = vec![0.0; problem.n];
        let mut residuals = targets.clone();
        let mut gradient = problem.gradient(&residuals, &coefficients, self.ridge);
        let first = dot(&gradient, &gradient);
        let goal = first * self.tolerance * self.tolerance;
        let (mut square, mut iterations) = (first, 0);
        let mut direction = gradient.clone();
        while square > goal && iterations < self.max_iterations {
            let product = problem.times(&direction);
            let curvature = problem.weighted_square(&product) + self.ridge * dot(&direction, &direction);
            if curvature <= 0.0 {
                break; // The direction is 0 to rounding: there is nothing left to gain.
            }
            let step = square / curvature;
            add(&mut coefficients, step, &direction);
            add(&mut residuals, -step, &product);
            gradient = problem.gradient(&residuals, &coefficients, self.ridge);
            let next = dot(&gradient, &gradient);
            let turn = next / square;
            direction.iter_mut().zip(&gradient).for_each(|(old, new)| *old = new + turn * *old);
            square = next;
            iterations += 1;
        }
        // What is reported does not rest on the recurrence.
        let mut fresh = targets;
        add(&mut fresh, -1.0, &problem.times(&coefficients));
        let gradient = problem.gradient(&fresh, &coefficients, self.ridge);
        let residual = if first > 0.0 { (dot(&gradient, &gradient) / first).sqrt() } else { 0.0 };
        Solution { coefficients, iterations, residual, converged: square <= goal }
    }
}

struct Solution {
    coefficients: Vec<f64>,
    iterations: usize,
    residual: f64,
    converged: bool,
}

impl Solution {
    fn fit(&self, values: Vec<f64>, intercept: f64, draws: usize, left_out: usize) -> LargeFit {
        let Solution { iterations, residual, converged, .. } = *self;
        LargeFit { values, intercept, draws, left_out, iterations, residual, converged }
    }
}

/// What is taken off the rows.
#[derive(Clone, Copy, PartialEq)]
enum Projection {
    /// Coefficients sum to zero: Z = X C.
    SumZero,
    /// Columns have mean zero: Z = X - 1 presence'.
    Intercept,
}

/// The rows Z with their weights, as operators.
struct Problem {
    n: usize,
    rows: Bits,
    columns: Bits,
    /// w_j / w.
    shares: Vec<f64>,
    /// Weighted mean of each column of X.
    presence: Vec<f64>,
    projection: Projection,
}

impl Problem {
    fn new(n: usize, rows: &[&UtilityRow], weights: Vec<f64>, projection: Projection) -> Problem {
        let rows = Bits::new(n, rows.iter().map(|row| row.coalition().members()));
        let columns = rows.transposed();
        let total: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
        let presence = columns.times(&shares);
        Problem { n, rows, columns, shares, presence, projection }
    }

    /// Z b, for a b that gradients made: one that sums to zero, if it must.
    fn times(&self, coefficients: &[f64]) -> Vec<f64> {
        let mut product = self.rows.times(coefficients);
        if self.projection == Projection::Intercept {
            let mean = dot(&self.presence, coefficients);
            product.iter_mut().for_each(|entry| *entry -= mean);
        }
        product
    }

    /// Z'W r / w - ridge b: the direction of steepest descent.
    fn gradient(&self, residuals: &[f64], coefficients: &[f64], ridge: f64) -> Vec<f64> {
        let weighted: Vec<f64> = residuals.iter().zip(&self.shares).map(|(r, share)| r * share).collect();
        let mut gradient = self.columns.times(&weighted);
        if self.projection == Projection::Intercept {
            add(&mut gradient, -weighted.iter().sum::<f64>(), &self.presence);
        }
        add(&mut gradient, -ridge, coefficients);
        if self.projection == Projection::SumZero {
            let mean = gradient.iter().sum::<f64>() / self.n as f64;
            gradient.iter_mut().for_each(|entry| *entry -= mean);
        }
        gradient
    }

    /// |W^1/2 z|^2 / w.
    fn weighted_square(&self, product: &[f64]) -> f64 {
        product.iter().zip(&self.shares).map(|(entry, share)| entry * entry * share).sum()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// a += factor b.
fn add(a: &mut [f64], factor: f64, b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += factor * b);
}

#[cfg(test)]
mod tests {
    use removal::RemovalDistribution;
    use streams::Streams;

    use super::*;
    use crate::{Banzhaf, FnGame, Game, KernelShap};

    /// A game of 40 that is not additive.
    fn observed(distribution: RemovalDistribution, count: usize) -> Observations {
        let game = FnGame::new(40, |coalition: &Coalition| {
            let sum: f64 = coalition.members().map(|i| (i as f64).sin()).sum();
            3.0 + sum
                + (0.3 * sum).cos()
                + f64::from(u8::from(coalition.contains(3) && coalition.contains(9)))
        });
        game.observe(distribution, count, &Streams::new(5)).unwrap()
    }

    #[track_caller]
    fn assert_close(values: &[f64], expected: &[f64]) {
        let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() <= 1e-8 * largest, "{value} {expected}");
        }
    }

    /// Cholesky and conjugate gradients meet: with more rows than unknowns, with fewer, and with uneven weights.
    #[test]
    fn shapley_values_are_those_of_the_dense_fit() {
        for (count, weighting, distribution) in [
            (600, Weighting::AsDrawn, RemovalDistribution::Shapley),
            (25, Weighting::AsDrawn, RemovalDistribution::Shapley),
            (600, Weighting::UniformSizes, RemovalDistribution::Leverage),
        ] {
            let observations = observed(distribution, count);
            let dense = KernelShap { weighting, bootstrap: None, ..KernelShap::default() };
            let dense = dense.fit(&observations).unwrap();
            let fit = LargeGame { weighting, ..LargeGame::default() }.fit_shapley(&observations).unwrap();
            assert!(fit.converged && fit.residual < 1e-9 && fit.iterations > 3, "{fit:?}");
            assert_eq!((fit.draws, fit.left_out, fit.intercept), (count, 0, dense.intercept));
            assert_close(&fit.values, &dense.values);
            let total: f64 = fit.values.iter().sum();
            assert!((total - (observations.full() - observations.none())).abs() < 1e-12 * 40.0);
        }
    }

    #[test]
    fn banzhaf_values_are_those_of_the_dense_fit() {
        for count in [600, 25] {
            let table = observed(RemovalDistribution::Uniform, count).draws().clone();
            let dense = Banzhaf::default().fit(&table).unwrap();
            let fit = LargeGame::default().fit_banzhaf(&table).unwrap();
            assert!(fit.converged, "{fit:?}");
            assert_close(&fit.values, &dense.values);
            let coalition = Coalition::from_members(40, [1, 7, 30]).unwrap();
            assert!((fit.predict(&coalition) - dense.predict(&coalition)).abs() < 1e-8);
        }
    }

    /// At the minimum, the penalty's gradient is the data's: for C A C + ridge I by its definition.
    #[test]
    fn a_ridge_shrinks_towards_equal_shares() {
        let observations = observed(RemovalDistribution::Shapley, 100);
        let ridge = 0.3;
        let fit = LargeGame { ridge, ..LargeGame::default() }.fit_shapley(&observations).unwrap();
        let share = (observations.full() - observations.none()) / 40.0;
        let mut gradient = vec![0.0; 40];
        for row in observations.draws().rows() {
            let residual = row.mean() - fit.predict(row.coalition());
            row.coalition().members().for_each(|member| gradient[member] += residual / 100.0);
        }
        let mean = gradient.iter().sum::<f64>() / 40.0;
        for (gradient, value) in gradient.iter().zip(&fit.values) {
            assert!((gradient - mean - ridge * (value - share)).abs() < 1e-9);
        }
        let free = LargeGame::default().fit_shapley(&observations).unwrap();
        let spread = |fit: &LargeFit| fit.values.iter().map(|value| (value - share).powi(2)).sum::<f64>();
        assert!(spread(&fit) < 0.5 * spread(&free) && fit.iterations < free.iterations);
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let n = 700;
        let game = FnGame::new(n, |coalition: &Coalition| {
            coalition.members().map(|i| (i as f64).sqrt()).sum::<f64>().sin()
        });
        let observations = game.observe(RemovalDistribution::Shapley, 1500, &Streams::new(1)).unwrap();
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| LargeGame::default().fit_shapley(&observations).unwrap())
        };
        let (one, three) = (fit(1), fit(3));
        assert!(one.values.iter().zip(&three.values).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert_eq!((one.iterations, one.residual.to_bits()), (three.iterations, three.residual.to_bits()));
    }

    #[test]
    fn what_did_not_converge_says_so_and_bad_settings_are_refused() {
        let observations = observed(RemovalDistribution::Shapley, 100);
        let hasty = LargeGame { max_iterations: 2, ..LargeGame::default() };
        let fit = hasty.fit_shapley(&observations).unwrap();
        assert!(!fit.converged && fit.iterations == 2 && fit.residual > 1e-6, "{fit:?}");
        for settings in [
            LargeGame { ridge: -1.0, ..hasty },
            LargeGame { ridge: f64::NAN, ..hasty },
            LargeGame { tolerance: 0.0, ..hasty },
            LargeGame { max_iterations: 0, ..hasty },
        ] {
            let refused = settings.fit_shapley(&observations);
            assert!(matches!(refused, Err(AttributionError::OutOfRange { .. })), "{refused:?}");
        }
    }
}

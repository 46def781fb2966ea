//! Kernel SHAP: Shapley values by least squares over drawn coalitions.

use ndarray::{Array1, Array2, Axis};
use pulp::{Arch, Simd, WithSimd};
use removal::{Coalition, RemovalDistribution};
use serde::{Deserialize, Serialize};

use crate::attribution::{Attribution, Diagnostics};
use crate::bootstrap::{Resample, resample_intervals};
use crate::factor::Factor;
use crate::interval::{check_level, student_factor};
use crate::least_squares::{invert, paired_variances, sandwich_variances_of_bits};
use crate::moments::{Design, Moments};
use crate::observations::variance;
use crate::units::pairs;
use crate::upper::{STRIP, Upper};
use crate::{
    AttributionError, Bootstrap, Estimator, Interval, IntervalMethod, Intervals, Observations, UtilityRow,
};

/// How rows weigh in the regression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// All alike: the coalitions were drawn from the Shapley distribution, which is the weighting.
    #[default]
    AsDrawn,
    /// By the Shapley kernel 1 / (C(n, s) s (n - s)): the coalitions were enumerated, or drawn uniformly.
    ShapleyKernel,
    /// By 1 / (s (n - s)): sizes were drawn uniformly, as by leverage-score sampling (Musco & Witter 2025), where the kernel's
    /// share of a size over the share it was drawn with is this.
    UniformSizes,
}

impl Weighting {
    /// The weights of rows between the empty and the full coalition of n.
    pub(crate) fn of_rows(self, n: usize, rows: &[&UtilityRow]) -> Result<Vec<f64>, AttributionError> {
        let by_size = match self {
            Weighting::AsDrawn => return Ok(rows.iter().map(|row| f64::from(row.times())).collect()),
            Weighting::ShapleyKernel => kernel_weights(n)?,
            Weighting::UniformSizes => {
                // Relative to the largest, which is size 1.
                (0..=n).map(|size| (n - 1) as f64 / (size * (n - size)).max(1) as f64).collect()
            }
        };
        Ok(rows.iter().map(|row| f64::from(row.times()) * by_size[row.coalition().len()]).collect())
    }
}

/// Kernel SHAP with the efficiency constraint, and its confidence intervals.
///
/// With rows X `[m, n]` (0/1), utilities y, `A = X'X/m` and `b = X'(y - v0)/m`, the values are
/// ```text
/// phi = A^-1 ( b - 1 (1'A^-1 b - (v1 - v0)) / (1'A^-1 1) )
/// ```
/// (Lundberg & Lee 2017; Covert & Lee 2021, eq. 7): the least-squares fit of `y - v0` by X phi among all phi that sum to
/// v1 - v0. It is computed in the equivalent form `phi = (v1 - v0)/n 1 + P X'(y - v0 - (v1 - v0) |S|/n)/m`, where
/// `P = (CAC)^+` and `C = I - 11'/n` projects the constraint out. If CAC has a larger null space than 1 (fewer coalitions
/// than contributors, for instance), the pseudo-inverse picks the least-squares fit closest to equal shares, and
/// [`Diagnostics`] says so. (The first formula with a pseudo-inverse in place of the inverse need not be a least-squares
/// fit then.)
///
/// # Intervals
/// *Closed form*: the delta method, with residuals r_j = y_j - v0 - x_j'phi. phi depends on draw j through P x_j r_j, so
/// `Var(phi) = P (sum r_j^2 x_j x_j') P / m^2`, with each r_j divided by 1 - (its leverage) (HC3), times Student's t with
/// m - (n - 1) degrees of freedom. r holds both what the game has beyond an additive one and the noise of training, so both
/// are in the interval. With two or more runs of v(all) or v(none), their variance is carried through
/// `dphi/dv1 = (1 - P A 1)/n` and `dphi/dv0 = -dphi/dv1 - P X'1/m`; one run counts as exact.
///
/// *Bootstrap*: percentiles over resampled rows (and resampled endpoint runs), each refitted. A singular resample counts
/// as unbounded on both sides.
///
/// Intervals are unbounded for contributors whose value the rows do not determine, and for all if there are no more
/// different coalitions than unknowns: such a fit meets every row and cannot see its own error.
///
/// ```
/// use attribution_lds::{FnGame, Game, KernelShap};
/// use removal::{Coalition, RemovalDistribution};
/// use streams::Streams;
///
/// let game = FnGame::new(4, |coalition: &Coalition| coalition.members().map(|i| i as f64).sum());
/// let observations = game.observe(RemovalDistribution::Shapley, 100, &Streams::new(7))?;
/// let shapley = KernelShap::default().fit(&observations)?;
/// assert!((shapley.values[3] - 3.0).abs() < 1e-10);
/// # Ok::<(), attribution_lds::AttributionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KernelShap {
    /// How rows weigh.
    pub weighting: Weighting,
    /// Whether rows were drawn in pairs of a coalition and its complement (Covert & Lee 2021, section 4.2). Two rows in a row
    /// that are complements then count as one draw in intervals: their residuals add up within the sandwich (a cluster-robust
    /// variance with the leverage of the pair, CR3 of Bell & McCaffrey 2002), and the bootstrap resamples pairs.
    pub paired: bool,
    /// Confidence level of the intervals.
    pub level: f64,
    /// The bootstrap; `None` for closed-form intervals only.
    pub bootstrap: Option<Bootstrap>,
}

impl Default for KernelShap {
    /// Rows as drawn, level 0.95, 1,000 bootstrap resamples.
    fn default() -> KernelShap {
        KernelShap {
            weighting: Weighting::AsDrawn,
            paired: false,
            level: 0.95,
            bootstrap: Some(Bootstrap::default()),
        }
    }
}

impl KernelShap {
    /// The values of [`KernelShap::fit`] alone, without intervals and diagnostics, in a fraction of the time.
    ///
    /// # Errors
    /// [`AttributionError::TooFewContributors`] for n < 2, [`AttributionError::NothingBetween`].
    pub fn values(&self, observations: &Observations) -> Result<Vec<f64>, AttributionError> {
        let n = observations.n();
        let problem = Problem::new(self.weighting, observations)?;
        let ends = Ends { full: observations.full(), none: observations.none() };
        let fit = problem.fit(ends);
        let mut values = match Factor::of(&fit.raised) {
            Some(factor) => factor.solve(&fit.target.to_vec()),
            None => center(invert(&fit.raised).matrix).dot(&fit.target).to_vec(),
        };
        values.iter_mut().for_each(|value| *value += ends.total() / n as f64);
        Ok(values)
    }

    /// Estimates the Shapley values and their intervals. Rows that are the empty or the full coalition are left out.
    ///
    /// # Errors
    /// [`AttributionError::TooFewContributors`] for n < 2, [`AttributionError::NothingBetween`],
    /// [`AttributionError::OutOfRange`] for a level outside of (0, 1) or fewer than 2 resamples.
    pub fn fit(&self, observations: &Observations) -> Result<Attribution, AttributionError> {
        check_level(self.level)?;
        let n = observations.n();
        let problem = Problem::new(self.weighting, observations)?;
        let ends = Ends { full: observations.full(), none: observations.none() };
        let fit = problem.fit(ends);
        let inverse = invert(&fit.raised);
        let projector = center(inverse.matrix);
        let mut values = projector.dot(&fit.target);
        values += ends.total() / n as f64;

        let rank = inverse.rank - 1;
        let distinct = distinct(problem.rows.iter().map(|row| row.coalition()));
        let table = observations.draws();
        let mut diagnostics = Diagnostics {
            contributors: n,
            draws: problem.design.rows(),
            distinct_coalitions: distinct,
            left_out: table.len() - problem.design.rows(),
            rank,
            full_rank: n - 1,
            pseudo_inverse: rank < n - 1,
            unidentified: inverse.unidentified,
            no_residual: if self.paired { problem.distinct_pairs() } else { distinct } <= rank,
            constant_utilities: problem.targets.iter().all(|target| *target == problem.targets[0]),
            singular_resamples: 0,
            endpoint_runs: Some((observations.full_runs().len(), observations.none_runs().len())),
            large: None,
        };
        let closed_form = self.closed_form(&problem, observations, &fit, &projector, &values, &diagnostics);
        let bootstrap = match self.bootstrap {
            Some(settings) => {
                settings.check()?;
                let (intervals, singular) = self.resampled(&problem, observations, settings, &diagnostics);
                diagnostics.singular_resamples = singular;
                Some(intervals)
            }
            None => None,
        };
        Ok(Attribution {
            estimator: Estimator::KernelShap,
            values: values.to_vec(),
            intercept: ends.none,
            size_effect: Vec::new(),
            penalty: None,
            closed_form: Some(closed_form),
            bootstrap,
            diagnostics,
        })
    }

    fn closed_form(
        &self,
        problem: &Problem<'_>,
        observations: &Observations,
        fit: &Fit,
        projector: &Array2<f64>,
        values: &Array1<f64>,
        diagnostics: &Diagnostics,
    ) -> Intervals {
        let n = values.len();
        if diagnostics.no_residual {
            return Intervals::unbounded(IntervalMethod::Sandwich, self.level, n);
        }
        let fitted = Array1::from(problem.design.bits().times(&values.to_vec()));
        let residuals = &problem.targets - observations.none() - fitted;
        let weights = &problem.design.weights;
        let mut variances = if self.paired {
            let indicators = problem.design.indicators();
            // Rows with the constraint projected out: C x.
            let means = indicators.mean_axis(Axis(1)).unwrap_or_else(|| Array1::zeros(indicators.nrows()));
            let rows = &indicators - &means.insert_axis(Axis(1));
            paired_variances(&rows, weights, &residuals, projector, &problem.units(true))
        } else {
            sandwich_variances_of_bits(problem.design.bits(), weights, &residuals, projector)
        };
        let by_full = (1.0 - projector.dot(&fit.sums)) / n as f64;
        let by_none = -&by_full - projector.dot(&fit.presence);
        for (runs, effect) in [(observations.full_runs(), by_full), (observations.none_runs(), by_none)] {
            if let Some(variance) = variance(runs) {
                variances.scaled_add(variance / runs.len() as f64, &(&effect * &effect));
            }
        }
        let independent = if self.paired { problem.units(true).len() } else { problem.design.rows() };
        let factor = student_factor(self.level, independent as f64 - diagnostics.rank as f64);
        let mut standard_errors = variances.mapv(f64::sqrt).to_vec();
        for &contributor in &diagnostics.unidentified {
            standard_errors[contributor] = f64::INFINITY;
        }
        let intervals = values
            .iter()
            .zip(&standard_errors)
            .map(|(value, error)| Interval::around(*value, factor * error));
        Intervals {
            method: IntervalMethod::Sandwich,
            level: self.level,
            intervals: intervals.collect(),
            standard_errors,
        }
    }

    fn resampled(
        &self,
        problem: &Problem<'_>,
        observations: &Observations,
        settings: Bootstrap,
        diagnostics: &Diagnostics,
    ) -> (Intervals, usize) {
        let n = problem.n;
        if diagnostics.pseudo_inverse || diagnostics.no_residual {
            let method = IntervalMethod::Bootstrap { resamples: settings.resamples };
            return (Intervals::unbounded(method, self.level, n), settings.resamples);
        }
        let units = problem.units(self.paired);
        resample_intervals(settings, self.level, n, |resample: &mut Resample| {
            let of_units = resample.counts(units.len());
            let mut counts = vec![0; problem.design.rows()];
            for (unit, count) in units.iter().zip(of_units) {
                counts[unit.clone()].fill(count);
            }
            let full = resample.mean(observations.full_runs());
            let none = resample.mean(observations.none_runs());
            let ends = Ends { full, none };
            let fit = problem.fit_weighted(ends, |row| f64::from(counts[row]));
            let factor = Factor::of(&fit.raised)?;
            let mut values = factor.solve(&fit.target.to_vec());
            values.iter_mut().for_each(|value| *value += ends.total() / n as f64);
            Some(values)
        })
    }
}

/// v(all) and v(none).
#[derive(Clone, Copy)]
struct Ends {
    full: f64,
    none: f64,
}

impl Ends {
    fn total(&self) -> f64 {
        self.full - self.none
    }
}

/// The rows between the empty and the full coalition.
struct Problem<'a> {
    n: usize,
    design: Design,
    targets: Array1<f64>,
    rows: Vec<&'a UtilityRow>,
}

/// Normal equations with the constraint projected out.
struct Fit {
    /// CAC with the direction 1 given back: [`raise`].
    raised: Upper,
    /// C X'W(y - v0 - (v1 - v0)|S|/n) / w.
    target: Array1<f64>,
    /// A 1.
    sums: Array1<f64>,
    /// X'W1 / w.
    presence: Array1<f64>,
}

/// Number of different coalitions.
fn distinct<'a>(coalitions: impl Iterator<Item = &'a Coalition>) -> usize {
    // Sorted by a mixture of their bits first: comparing whole coalitions is left to those that are alike.
    let mixed = |coalition: &Coalition| {
        coalition
            .words()
            .iter()
            .fold(0u64, |mixed, word| (mixed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    };
    let mut all: Vec<(u64, &Coalition)> = coalitions.map(|coalition| (mixed(coalition), coalition)).collect();
    all.sort_unstable();
    all.dedup();
    all.len()
}

impl<'a> Problem<'a> {
    fn new(weighting: Weighting, observations: &'a Observations) -> Result<Problem<'a>, AttributionError> {
        let n = observations.n();
        if n < 2 {
            return Err(AttributionError::TooFewContributors { what: "Kernel SHAP", needed: 2, found: n });
        }
        let all = observations.draws().rows();
        let rows: Vec<&UtilityRow> =
            all.iter().filter(|row| !row.coalition().is_empty() && !row.coalition().is_full()).collect();
        if rows.is_empty() {
            return Err(AttributionError::NothingBetween { rows: all.len() });
        }
        let weights = weighting.of_rows(n, &rows)?;
        Ok(Problem {
            n,
            targets: Array1::from_iter(rows.iter().map(|row| row.mean())),
            design: Design::new(n, &rows, weights),
            rows,
        })
    }

    /// The rows that count as one draw: complements that stand side by side, if they were drawn in pairs.
    fn units(&self, paired: bool) -> Vec<std::ops::Range<usize>> {
        if paired { pairs(&self.rows) } else { (0..self.design.rows()).map(|row| row..row + 1).collect() }
    }

    /// Number of different pairs.
    fn distinct_pairs(&self) -> usize {
        // A pair by the lesser of its two coalitions.
        let least =
            |pair: &std::ops::Range<usize>| self.rows[pair.clone()].iter().map(|row| row.coalition()).min();
        distinct(pairs(&self.rows).iter().filter_map(least))
    }

    fn fit(&self, ends: Ends) -> Fit {
        self.fit_weighted(ends, |_| 1.0)
    }

    fn fit_weighted(&self, ends: Ends, factor: impl Fn(usize) -> f64) -> Fit {
        let moments = self.design.moments(self.targets.view(), factor);
        // X'W(y - v0 - (v1 - v0)/n X1) from the moments, then C.
        let Moments { gram, sums, cross, presence } = moments;
        let mut target = cross - &(ends.none * &presence) - ends.total() / self.n as f64 * &sums;
        target -= target.sum() / self.n as f64;
        Fit { raised: raise(gram, &sums), target, sums, presence }
    }
}

/// The Shapley kernel by coalition size, relative to its largest value; computed in logarithms, as C(n, s) overflows.
fn kernel_weights(n: usize) -> Result<Vec<f64>, AttributionError> {
    let sizes = RemovalDistribution::Shapley.size_probabilities(n)?;
    let mut logarithms = vec![f64::NEG_INFINITY; n + 1];
    let mut ln_binomial = 0.0;
    for size in 1..n {
        ln_binomial += ((n + 1 - size) as f64 / size as f64).ln();
        logarithms[size] = sizes[size].ln() - ln_binomial;
    }
    let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Ok(logarithms.iter().map(|logarithm| (logarithm - largest).exp()).collect())
}

/// C M C for a symmetric M, with C = I - 11'/n.
fn center(mut matrix: Array2<f64>) -> Array2<f64> {
    let n = matrix.nrows() as f64;
    let means = matrix.sum_axis(Axis(1)) / n;
    let mean = means.sum() / n;
    for (mut row, own) in matrix.outer_iter_mut().zip(&means) {
        row.zip_mut_with(&means, |entry, other| *entry += mean - own - other);
    }
    matrix
}

/// C M C + s 11'/n with s the mean of the diagonal of C M C, for a symmetric M with the given sums of rows: gives a centered M the
/// direction 1 back, so that it can be inverted.
fn raise(mut matrix: Upper, sums: &Array1<f64>) -> Upper {
    let n = matrix.n();
    let means = sums / n as f64;
    let mean = means.sum() / n as f64;
    let scale = (matrix.diagonal().sum::<f64>() - 2.0 * means.sum()) / n as f64 + mean;
    let raised = mean + if scale > 0.0 { scale / n as f64 } else { 1.0 / n as f64 };
    let means = means.to_vec();
    Arch::new().dispatch(Raise { matrix: &mut matrix, raised, means: &means });
    matrix
}

/// Adds `raised` less the row's and the column's mean to each entry.
struct Raise<'a> {
    matrix: &'a mut Upper,
    raised: f64,
    means: &'a [f64],
}

impl WithSimd for Raise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { matrix, raised, means } = self;
        for (strip, entries) in matrix.strips_mut().into_iter().enumerate() {
            let means = &means[strip * STRIP..];
            let stride = entries.len() / STRIP;
            for (entries, own) in entries.chunks_exact_mut(stride).zip(means) {
                // Whole vectors, and one by one what does not fill one. What is below the diagonal means nothing.
                let (whole, rest) = S::as_mut_simd_f64s(&mut entries[..means.len()]);
                let (whole_means, rest_means) = S::as_simd_f64s(means);
                let less = simd.splat_f64s(raised - own);
                for (entries, others) in whole.iter_mut().zip(whole_means) {
                    *entries = simd.add_f64s(*entries, simd.sub_f64s(less, *others));
                }
                for (entry, other) in rest.iter_mut().zip(rest_means) {
                    *entry += raised - own - other;
                }
            }
        }
    }
}

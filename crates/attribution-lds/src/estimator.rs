//! All estimators by name.

use std::fmt;
use std::str::FromStr;

use removal::{Coalition, RemovalDistribution};
use serde::{Deserialize, Serialize};

use crate::interval::check_level;
use crate::large_fit;
use crate::observations::variance;
use crate::{
    Attribution, AttributionError, Banzhaf, Bootstrap, Datamodel, Diagnostics, EXACT_LIMIT, Interval,
    IntervalMethod, Intervals, KernelShap, Lasso, Observations, PermutationSampling, SampleReuse, Semivalue,
    Surrogate, UtilityTable, Weighting, add_one_in, banzhaf_sample_reuse, exact_semivalue, leave_one_out,
};

/// The estimators of this crate: what [`fit`] can be asked for.
///
/// As text (`Display`, `FromStr`, serde): the names in the table of [`Estimator::ALL`], such as `kernel_shap`. `FromStr` also
/// reads `shapley` (kernel_shap), `loo`, `aoi` and `ridge` (datamodel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// Shapley values: [`KernelShap::fit`]. With `shapley_paired`, `leverage` and `leverage_paired` draws this is paired and
    /// leverage-score sampling: rows are weighted so that they stand for the Shapley kernel, and pairs count as units.
    KernelShap,
    /// [`crate::leave_one_out`].
    LeaveOneOut,
    /// [`crate::add_one_in`].
    AddOneIn,
    /// Ridge regression, penalty by leave-one-out: [`crate::Datamodel`].
    Datamodel,
    /// Banzhaf values by regression: [`crate::Banzhaf`].
    Banzhaf,
    /// [`KernelShap::fit_size_adjusted`].
    KernelShapSizeAdjusted,
    /// Shapley values by permutation sampling: [`crate::PermutationSampling`].
    Permutation,
    /// Shapley values by plain maximum sample reuse: [`crate::SampleReuse`] without a surrogate.
    SampleReuse,
    /// Shapley values by regression-adjusted sample reuse: [`crate::SampleReuse`] with the linear surrogate.
    RegressionAdjusted,
    /// As that, with boosted trees on top.
    TreeAdjusted,
    /// Banzhaf values by maximum sample reuse: [`crate::banzhaf_sample_reuse`].
    BanzhafSampleReuse,
    /// Beta-Shapley values: permutation sampling from permutations, regression-adjusted sample reuse from other draws.
    BetaShapley,
    /// Regression with absolute penalty: [`crate::Lasso`].
    Lasso,
    /// Shapley values from all 2^n coalitions: [`crate::exact_shapley`].
    ExactShapley,
    /// Banzhaf values from all 2^n coalitions: [`crate::exact_banzhaf`].
    ExactBanzhaf,
}

/// What [`fit`] may choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitSettings {
    /// Confidence level of intervals.
    pub level: f64,
    /// The bootstrap, for estimators that have one.
    pub bootstrap: Option<Bootstrap>,
    /// Penalties that `datamodel` chooses from.
    pub ridge_alphas: Vec<f64>,
    /// Penalties that `lasso` chooses from; empty for scikit-learn's grid.
    pub lasso_alphas: Vec<f64>,
    /// alpha of `beta_shapley`.
    pub beta_shapley_alpha: f64,
    /// beta of `beta_shapley`.
    pub beta_shapley_beta: f64,
    /// Contributors times rows or contributors, whichever are more, beyond which `kernel_shap`, `kernel_shap_size_adjusted`, `banzhaf` and `datamodel` are fitted by
    /// [`crate::LargeGame`]: the same scores without matrices of numbers, and without intervals.
    pub large_beyond: usize,
}

impl Default for FitSettings {
    /// Level 0.95, 1,000 resamples, 100 ridge penalties in 0.01..10, Beta(16, 1), which looks at small coalitions first, and large
    /// games beyond 4,000,000 entries (1,000 contributors in 4,000 coalitions), where a bootstrap takes minutes.
    fn default() -> FitSettings {
        FitSettings {
            level: 0.95,
            bootstrap: Some(Bootstrap::default()),
            ridge_alphas: Datamodel::default().alphas,
            lasso_alphas: Vec::new(),
            beta_shapley_alpha: 16.0,
            beta_shapley_beta: 1.0,
            large_beyond: 4_000_000,
        }
    }
}

impl FitSettings {
    /// Whether a table of numbers for `rows` coalitions of `contributors`, or the square matrix that is solved, has more than
    /// [`FitSettings::large_beyond`] entries.
    pub fn is_large(&self, contributors: usize, rows: usize) -> bool {
        contributors.saturating_mul(rows.max(contributors)) > self.large_beyond
    }
}

impl Estimator {
    /// Every estimator.
    pub const ALL: [Estimator; 15] = [
        Estimator::KernelShap,
        Estimator::KernelShapSizeAdjusted,
        Estimator::Permutation,
        Estimator::SampleReuse,
        Estimator::RegressionAdjusted,
        Estimator::TreeAdjusted,
        Estimator::BetaShapley,
        Estimator::Banzhaf,
        Estimator::BanzhafSampleReuse,
        Estimator::Datamodel,
        Estimator::Lasso,
        Estimator::LeaveOneOut,
        Estimator::AddOneIn,
        Estimator::ExactShapley,
        Estimator::ExactBanzhaf,
    ];

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Estimator::KernelShap => "kernel_shap",
            Estimator::LeaveOneOut => "leave_one_out",
            Estimator::AddOneIn => "add_one_in",
            Estimator::Datamodel => "datamodel",
            Estimator::Banzhaf => "banzhaf",
            Estimator::KernelShapSizeAdjusted => "kernel_shap_size_adjusted",
            Estimator::Permutation => "permutation",
            Estimator::SampleReuse => "sample_reuse",
            Estimator::RegressionAdjusted => "regression_adjusted",
            Estimator::TreeAdjusted => "tree_adjusted",
            Estimator::BanzhafSampleReuse => "banzhaf_sample_reuse",
            Estimator::BetaShapley => "beta_shapley",
            Estimator::Lasso => "lasso",
            Estimator::ExactShapley => "exact_shapley",
            Estimator::ExactBanzhaf => "exact_banzhaf",
        }
    }

    /// The draws that suit it best: what a study should draw if it asks for this estimator and says no more.
    pub fn usual_distribution(&self) -> RemovalDistribution {
        match self {
            Estimator::KernelShap | Estimator::KernelShapSizeAdjusted => RemovalDistribution::Shapley,
            Estimator::Permutation => RemovalDistribution::PermutationAntithetic,
            Estimator::SampleReuse
            | Estimator::RegressionAdjusted
            | Estimator::TreeAdjusted
            | Estimator::BetaShapley => RemovalDistribution::LeveragePaired,
            Estimator::Datamodel | Estimator::Lasso => RemovalDistribution::Datamodel { alpha: 0.5 },
            Estimator::Banzhaf | Estimator::BanzhafSampleReuse => RemovalDistribution::Uniform,
            Estimator::LeaveOneOut => RemovalDistribution::Loo,
            Estimator::AddOneIn => RemovalDistribution::AddOneIn,
            Estimator::ExactShapley | Estimator::ExactBanzhaf => RemovalDistribution::Uniform,
        }
    }

    /// Whether it has a form for games with thousands of contributors, that [`FitSettings::large_beyond`] switches to.
    pub fn has_large_form(&self) -> bool {
        matches!(
            self,
            Estimator::KernelShap
                | Estimator::KernelShapSizeAdjusted
                | Estimator::Banzhaf
                | Estimator::Datamodel
        )
    }

    /// Whether its values are estimated by draws of this distribution. What a datamodel estimates depends on the distribution
    /// itself, so it takes any that mixes contributors.
    pub fn accepts(&self, distribution: RemovalDistribution) -> bool {
        use RemovalDistribution as D;
        let kernel = matches!(
            distribution,
            D::Shapley | D::ShapleyPaired | D::Leverage | D::LeveragePaired | D::Uniform
        );
        let permutation = matches!(distribution, D::Permutation | D::PermutationAntithetic);
        match self {
            Estimator::KernelShap | Estimator::KernelShapSizeAdjusted => kernel,
            Estimator::SampleReuse | Estimator::RegressionAdjusted | Estimator::TreeAdjusted => kernel,
            Estimator::BetaShapley => kernel || permutation,
            Estimator::Permutation => permutation,
            Estimator::Datamodel | Estimator::Lasso => {
                kernel || permutation || matches!(distribution, D::Datamodel { .. })
            }
            Estimator::Banzhaf | Estimator::BanzhafSampleReuse => matches!(distribution, D::Uniform),
            Estimator::LeaveOneOut => matches!(distribution, D::Loo),
            Estimator::AddOneIn => matches!(distribution, D::AddOneIn),
            Estimator::ExactShapley | Estimator::ExactBanzhaf => true,
        }
    }

    /// The distributions that it accepts, as text.
    pub fn accepted(&self) -> String {
        let distributions = [
            RemovalDistribution::Shapley,
            RemovalDistribution::ShapleyPaired,
            RemovalDistribution::Leverage,
            RemovalDistribution::LeveragePaired,
            RemovalDistribution::Uniform,
            RemovalDistribution::Permutation,
            RemovalDistribution::PermutationAntithetic,
            RemovalDistribution::Datamodel { alpha: 0.5 },
            RemovalDistribution::Loo,
            RemovalDistribution::AddOneIn,
        ];
        let names = distributions.iter().filter(|one| self.accepts(**one)).map(ToString::to_string);
        names.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Estimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Estimator {
    type Err = AttributionError;

    fn from_str(text: &str) -> Result<Estimator, AttributionError> {
        let known = match text {
            "shapley" => Some(Estimator::KernelShap),
            "loo" => Some(Estimator::LeaveOneOut),
            "aoi" => Some(Estimator::AddOneIn),
            "ridge" => Some(Estimator::Datamodel),
            _ => Estimator::ALL.into_iter().find(|estimator| estimator.name() == text),
        };
        let names = || Estimator::ALL.map(|estimator| estimator.name()).join(", ");
        known.ok_or_else(|| AttributionError::UnknownEstimator { text: text.into(), known: names() })
    }
}

/// Scores contributors by the named estimator, from observations drawn from `distribution`, in their order.
///
/// [`Estimator::accepts`] says which distributions are right for which estimator; others are refused. Kernel SHAP weighs the
/// rows as the distribution asks. [`Attribution::intervals`] gives the intervals, made by the bootstrap for `datamodel` and
/// `lasso`, and by a closed form for all others (`kernel_shap` has both). `exact_*` have intervals only where every coalition
/// was run twice or more.
///
/// ```
/// use attribution_lds::{Estimator, FitSettings, FnGame, Game, fit};
/// use removal::{Coalition, RemovalDistribution};
/// use streams::Streams;
///
/// let gloves = FnGame::new(3, |c: &Coalition| f64::from(u8::from(c.contains(2) && c.len() > 1)));
/// let distribution = RemovalDistribution::LeveragePaired;
/// let observations = gloves.observe(distribution, 400, &Streams::new(1))?;
/// for estimator in ["kernel_shap", "regression_adjusted"] {
///     let scores = fit(estimator.parse()?, &observations, distribution, &FitSettings::default())?;
///     assert!((scores.values[2] - 2.0 / 3.0).abs() < 0.05, "{estimator}");
/// }
/// assert!(fit(Estimator::Banzhaf, &observations, distribution, &FitSettings::default()).is_err());
/// # Ok::<(), attribution_lds::AttributionError>(())
/// ```
///
/// # Errors
/// [`AttributionError::Unaccepted`] for a distribution that the estimator does not take, [`AttributionError::Incomplete`] if
/// `exact_*` lacks coalitions, and those of the estimators themselves.
pub fn fit(
    estimator: Estimator,
    observations: &Observations,
    distribution: RemovalDistribution,
    settings: &FitSettings,
) -> Result<Attribution, AttributionError> {
    if !estimator.accepts(distribution) {
        return Err(AttributionError::Unaccepted {
            estimator: estimator.to_string(),
            distribution: distribution.to_string(),
            accepted: estimator.accepted(),
        });
    }
    let FitSettings { level, bootstrap, .. } = *settings;
    let draws = observations.draws();
    let kernel = KernelShap {
        level,
        bootstrap,
        weighting: match distribution {
            RemovalDistribution::Leverage | RemovalDistribution::LeveragePaired => Weighting::UniformSizes,
            RemovalDistribution::Uniform => Weighting::ShapleyKernel,
            _ => Weighting::AsDrawn,
        },
        paired: distribution.is_paired(),
    };
    let beta =
        Semivalue::BetaShapley { alpha: settings.beta_shapley_alpha, beta: settings.beta_shapley_beta };
    let reuse = |surrogate| SampleReuse { surrogate, level, ..SampleReuse::default() };
    let large = settings.is_large(draws.n(), draws.len());
    let attribution = match estimator {
        Estimator::KernelShap if large => large_fit::kernel_shap(kernel.weighting, observations),
        Estimator::KernelShapSizeAdjusted if large => {
            large_fit::kernel_shap_size_adjusted(kernel.weighting, observations)
        }
        Estimator::Banzhaf if large => large_fit::banzhaf(draws),
        Estimator::Datamodel if large => large_fit::datamodel(&settings.ridge_alphas, draws),
        Estimator::KernelShap => kernel.fit(observations),
        Estimator::KernelShapSizeAdjusted => kernel.fit_size_adjusted(observations),
        Estimator::Permutation => PermutationSampling { level, ..Default::default() }.fit(observations),
        Estimator::SampleReuse => reuse(Surrogate::None).fit(observations, distribution),
        Estimator::RegressionAdjusted => reuse(Surrogate::Linear).fit(observations, distribution),
        Estimator::TreeAdjusted => reuse(Surrogate::Trees).fit(observations, distribution),
        Estimator::BetaShapley => match distribution {
            RemovalDistribution::Permutation | RemovalDistribution::PermutationAntithetic => {
                PermutationSampling { semivalue: beta, level }.fit(observations)
            }
            _ => SampleReuse { semivalue: beta, ..reuse(Surrogate::Linear) }.fit(observations, distribution),
        },
        Estimator::Banzhaf => Banzhaf { level }.fit(draws),
        Estimator::BanzhafSampleReuse => banzhaf_sample_reuse(draws, level),
        Estimator::Datamodel => {
            let ridge = Datamodel { alphas: settings.ridge_alphas.clone() };
            match bootstrap {
                Some(bootstrap) => ridge.fit_resampled(draws, level, bootstrap).map(|fit| fit.attribution),
                None => ridge.fit(draws).map(|fit| fit.attribution),
            }
        }
        Estimator::Lasso => {
            Lasso { alphas: settings.lasso_alphas.clone(), level, bootstrap, ..Lasso::default() }.fit(draws)
        }
        Estimator::LeaveOneOut => leave_one_out(observations, level),
        Estimator::AddOneIn => add_one_in(observations, level),
        Estimator::ExactShapley => exact(Semivalue::Shapley, observations, level),
        Estimator::ExactBanzhaf => exact(Semivalue::Banzhaf, observations, level),
    }?;
    Ok(Attribution { estimator, ..attribution })
}

/// Exact values from a table with every coalition; the ends may be among the draws or not. Runs of one coalition, in one row
/// or several, are averaged. The values are linear in these means, so their variances add up: intervals are Student's t with
/// the fewest degrees of freedom that any coalition has, if all have two runs or more.
fn exact(
    semivalue: Semivalue,
    observations: &Observations,
    level: f64,
) -> Result<Attribution, AttributionError> {
    check_level(level)?;
    let n = observations.n();
    if n > EXACT_LIMIT {
        let what = "exact attribution";
        return Err(AttributionError::TooManyContributors { what, limit: EXACT_LIMIT, found: n });
    }
    let mut runs: Vec<Vec<f64>> = vec![Vec::new(); 1 << n];
    let mask = |coalition: &Coalition| coalition.members().map(|member| 1usize << member).sum::<usize>();
    for row in observations.draws().rows() {
        runs[mask(row.coalition())].extend_from_slice(row.runs());
    }
    runs[0].extend_from_slice(observations.none_runs());
    runs[(1 << n) - 1].extend_from_slice(observations.full_runs());
    let missing = runs.iter().filter(|runs| runs.is_empty()).count();
    if missing > 0 {
        return Err(AttributionError::Incomplete { missing, needed: 1 << n });
    }
    let utilities: Vec<f64> = runs.iter().map(|runs| crate::observations::mean(runs)).collect();
    let values = exact_semivalue(semivalue, n, &utilities)?;
    let spread: Option<Vec<f64>> =
        runs.iter().map(|runs| Some(variance(runs)? / runs.len() as f64)).collect();
    let closed_form = match spread {
        None => None,
        Some(spread) => {
            let weights = semivalue.size_weights(n)?;
            let freedom = runs.iter().map(Vec::len).min().unwrap_or(1) - 1;
            let factor = crate::interval::student_factor(level, freedom as f64);
            let standard_errors = exact_errors(n, &weights, &spread);
            let intervals = values.iter().zip(&standard_errors);
            Some(Intervals {
                method: IntervalMethod::Sampling,
                level,
                intervals: intervals.map(|(value, error)| Interval::around(*value, factor * error)).collect(),
                standard_errors,
            })
        }
    };
    let table: &UtilityTable = observations.draws();
    Ok(Attribution {
        estimator: Estimator::ExactShapley,
        values,
        intercept: observations.none(),
        size_effect: Vec::new(),
        penalty: None,
        closed_form,
        bootstrap: None,
        diagnostics: Diagnostics {
            rank: n,
            endpoint_runs: Some((observations.full_runs().len(), observations.none_runs().len())),
            ..crate::banzhaf::regression_diagnostics(table)
        },
    })
}

/// Standard errors of a semivalue whose utilities have these variances: each coalition's coefficient squared.
fn exact_errors(n: usize, weights: &[f64], spread: &[f64]) -> Vec<f64> {
    let mut coefficients = vec![0.0; n];
    let mut binomial = 1.0;
    for size in 0..n {
        coefficients[size] = weights[size] / binomial;
        binomial = binomial * (n - 1 - size) as f64 / (size + 1) as f64;
    }
    let error = |member: usize| {
        let terms = spread.iter().enumerate().map(|(mask, variance)| {
            let size = mask.count_ones() as usize - (mask >> member & 1);
            variance * coefficients[size].powi(2)
        });
        terms.sum::<f64>().sqrt()
    };
    (0..n).map(error).collect()
}

#[cfg(test)]
mod tests {
    use streams::{Streams, standard_normal};

    use super::*;
    use crate::{FnGame, Game};

    #[test]
    fn names_round_trip_and_are_those_of_serde() {
        for estimator in Estimator::ALL {
            assert_eq!(estimator.to_string().parse::<Estimator>().unwrap(), estimator);
            assert_eq!(serde_json::to_string(&estimator).unwrap(), format!("\"{estimator}\""));
            assert!(estimator.accepts(estimator.usual_distribution()));
        }
        assert_eq!("loo".parse::<Estimator>().unwrap(), Estimator::LeaveOneOut);
        let error = "kernelshap".parse::<Estimator>().unwrap_err().to_string();
        assert!(error.contains("kernelshap") && error.contains("tree_adjusted"), "{error}");
    }

    /// Every estimator, from every distribution it takes, on a game whose values are known and the same for all of them.
    #[test]
    fn all_of_them_find_the_values_of_an_additive_game() {
        let n = 5;
        let worth = [1.0, -2.0, 0.5, 3.0, 0.0];
        let game = FnGame::new(n, |c: &Coalition| 4.0 + c.members().map(|i| worth[i]).sum::<f64>());
        let settings = FitSettings {
            bootstrap: Some(Bootstrap { resamples: 30, seed: 0 }),
            lasso_alphas: vec![1e-6],
            ridge_alphas: vec![1e-6, 1e-5],
            ..FitSettings::default()
        };
        let mut fits = 0;
        for text in [
            "shapley",
            "shapley_paired",
            "leverage",
            "leverage_paired",
            "uniform",
            "permutation",
            "permutation_antithetic",
            "datamodel(0.5)",
            "loo",
            "add_one_in",
        ] {
            let distribution: RemovalDistribution = text.parse().unwrap();
            for estimator in Estimator::ALL {
                let count = if text.contains('o') && distribution.support(n).unwrap() == 5 { 5 } else { 600 };
                let observations = game.observe(distribution, count, &Streams::new(3)).unwrap();
                let result = fit(estimator, &observations, distribution, &settings);
                if !estimator.accepts(distribution) {
                    assert!(matches!(result, Err(AttributionError::Unaccepted { .. })), "{estimator} {text}");
                    continue;
                }
                if matches!(estimator, Estimator::ExactShapley | Estimator::ExactBanzhaf)
                    && (count == 5 || text == "datamodel(0.5)")
                {
                    assert!(matches!(result, Err(AttributionError::Incomplete { .. })), "{estimator} {text}");
                    continue;
                }
                let found = result.unwrap();
                assert_eq!(found.estimator, estimator);
                // Estimators that average draws are as close as draws allow, the others are exact or nearly so.
                let close = match estimator {
                    Estimator::SampleReuse | Estimator::BanzhafSampleReuse => 1.5,
                    // Weighs the places of an order, few of which fall to a contributor early.
                    Estimator::BetaShapley if text.starts_with("permutation") => 1.5,
                    // A size function fitted to the draws is not quite constant, and the game minus it not quite additive.
                    Estimator::KernelShapSizeAdjusted
                    | Estimator::RegressionAdjusted
                    | Estimator::TreeAdjusted
                    | Estimator::BetaShapley => 0.05,
                    _ => 1e-3,
                };
                // Coalitions of one size do not tell a constant share from the intercept.
                let fixed_size = matches!(distribution, RemovalDistribution::Datamodel { .. });
                let mean = |values: &[f64]| values.iter().sum::<f64>() / n as f64;
                let shift = if fixed_size { mean(&found.values) - mean(&worth) } else { 0.0 };
                for (value, known) in found.values.iter().zip(worth) {
                    assert!(
                        (value - shift - known).abs() < close,
                        "{estimator} from {text}: {value} is not {known}"
                    );
                }
                fits += 1;
            }
        }
        assert!(fits > 40, "{fits}");
    }

    #[test]
    fn exact_values_of_noisy_runs_have_intervals_that_cover() {
        let n = 3;
        let utility = |c: &Coalition| (c.len() as f64).powi(2) + f64::from(u8::from(c.contains(1)));
        let truth =
            exact_semivalue(Semivalue::Shapley, n, &crate::utility_of_all(n, utility).unwrap()).unwrap();
        let mut held = 0;
        for seed in 0..200 {
            let mut noise = standard_normal(&mut Streams::new(seed).rng("noise", 0), 40).into_iter();
            let mut runs = |c: &Coalition| -> Vec<f64> {
                (0..4).map(|_| utility(c) + f64::from(noise.next().unwrap())).collect()
            };
            let mut table = UtilityTable::new(n);
            for mask in 1..7usize {
                let c = Coalition::from_members(n, (0..n).filter(|i| mask >> i & 1 == 1)).unwrap();
                let of = runs(&c);
                table.push_runs(c, of).unwrap();
            }
            let (full, none) = (runs(&Coalition::full(n)), runs(&Coalition::empty(n)));
            let observations = Observations::new(table, full, none).unwrap();
            let found = fit(
                Estimator::ExactShapley,
                &observations,
                RemovalDistribution::None,
                &FitSettings::default(),
            );
            let intervals = found.unwrap().closed_form.unwrap().intervals;
            held += intervals.iter().zip(&truth).filter(|(one, value)| one.contains(**value)).count();
        }
        // t with 3 degrees of freedom for a sum of eight variances errs on the wide side.
        let rate = held as f64 / 600.0;
        assert!(rate >= 0.93, "{rate}");
    }
}

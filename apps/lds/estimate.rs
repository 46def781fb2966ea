//! Which estimator, of which draws.

use anyhow::Context as _;
use attribution_lds::{
    Attribution, AttributionError, Bootstrap, Estimator, FitSettings, Observations, UtilityTable, fit,
};
use removal::RemovalDistribution;
use terminal::usage;

use crate::arguments::Arguments;
use crate::evidence::Evidence;

/// Contributors times coalitions (or contributors, if those are more) beyond which matrices of numbers, of which there are
/// several, pass 0.5 GB.
const LARGEST_TABLE: usize = 64_000_000;

/// An estimator and what its draws come from.
#[derive(Debug, Clone)]
pub struct Estimation {
    /// The estimator.
    pub estimator: Estimator,
    /// The distribution of the training coalitions.
    pub distribution: RemovalDistribution,
    /// Level, bootstrap and so on.
    pub settings: FitSettings,
}

impl Estimation {
    /// What the command line asks for: --estimator and --removal-dist, else what the records say, else what suits either.
    ///
    /// # Errors
    /// An estimator that is not made for draws of this distribution.
    pub fn chosen(arguments: &Arguments, evidence: &Evidence) -> anyhow::Result<Self> {
        let known = arguments.removal_dist.or(evidence.distribution);
        let fitting = |distribution: RemovalDistribution| usual_estimator(distribution, evidence.reference);
        let (estimator, distribution) = match (arguments.estimator, known) {
            (Some(estimator), Some(distribution)) => (estimator, distribution),
            (Some(estimator), None) => (estimator, estimator.usual_distribution()),
            (None, known) => {
                let distribution = known.unwrap_or(RemovalDistribution::Shapley);
                (fitting(distribution), distribution)
            }
        };
        if !estimator.accepts(distribution) {
            return Err(usage(format!(
                "`{estimator}` does not estimate from coalitions of the distribution {distribution}; choose another --estimator \
                 (`{}` suits them), or other records with --removal-dist",
                fitting(distribution)
            )));
        }
        let entries = evidence.n.saturating_mul(evidence.train.len().max(evidence.n));
        if entries > LARGEST_TABLE && solves_equations(estimator) && !estimator.has_large_form() {
            return Err(usage(format!(
                "{} contributors in {} coalitions are too many for `{estimator}`, which holds them as numbers of {:.1} GB, several \
                 times: take kernel_shap, banzhaf or datamodel, which work on bits (`{}` suits these draws), or one that averages (sample_reuse, permutation, \
                 banzhaf_sample_reuse, loo, aoi), or make classes the contributors with --by-class",
                evidence.n,
                evidence.train.len(),
                8e-9 * entries as f64,
                fitting(distribution),
            )));
        }
        let settings = FitSettings {
            level: arguments.confidence,
            bootstrap: Some(Bootstrap { resamples: arguments.resamples(), seed: arguments.seed }),
            beta_shapley_alpha: arguments.beta_shapley_alpha,
            beta_shapley_beta: arguments.beta_shapley_beta,
            large_beyond: arguments.large_beyond,
            ..FitSettings::default()
        };
        Ok(Self { estimator, distribution, settings })
    }

    /// Training coalitions and the utilities of everybody and nobody, which may be missing where the estimator does not need
    /// them.
    ///
    /// # Errors
    /// Missing endpoints.
    pub fn observations(
        &self,
        draws: UtilityTable,
        full: &[f64],
        none: &[f64],
    ) -> anyhow::Result<Observations> {
        let (needs_full, needs_none) = match self.estimator {
            Estimator::Datamodel | Estimator::Lasso | Estimator::Banzhaf | Estimator::BanzhafSampleReuse => {
                (false, false)
            }
            Estimator::LeaveOneOut => (true, false),
            Estimator::AddOneIn => (false, true),
            _ => (true, true),
        };
        let end = |runs: &[f64], needed: bool, option: &str, what: &str| match (runs, needed) {
            ([], true) => Err(usage(format!(
                "there is no record of {what}, which `{}` needs: give it with {option}",
                self.estimator
            ))),
            // It changes no score.
            ([], false) => Ok(vec![0.0]),
            (runs, _) => Ok(runs.to_vec()),
        };
        let full = end(full, needs_full, "--full", "everybody")?;
        let none = end(none, needs_none, "--null", "nobody")?;
        Ok(Observations::new(draws, full, none)?)
    }

    /// Scores with their intervals.
    ///
    /// # Errors
    /// What the estimator refuses.
    pub fn fit(&self, observations: &Observations) -> anyhow::Result<Attribution> {
        fit(self.estimator, observations, self.distribution, &self.settings)
            .with_context(|| format!("the scores by `{}`", self.estimator))
    }

    /// Scores without a bootstrap.
    ///
    /// # Errors
    /// What the estimator refuses.
    pub fn values(&self, observations: &Observations) -> Result<Vec<f64>, AttributionError> {
        let settings = FitSettings { bootstrap: None, ..self.settings.clone() };
        Ok(fit(self.estimator, observations, self.distribution, &settings)?.values)
    }
}

/// What the reference takes for draws of a distribution; for records of Tribute, the better form of it.
fn usual_estimator(distribution: RemovalDistribution, reference: bool) -> Estimator {
    use RemovalDistribution as D;
    match distribution {
        D::Datamodel { .. } => Estimator::Datamodel,
        D::Uniform => Estimator::Banzhaf,
        D::Loo => Estimator::LeaveOneOut,
        D::AddOneIn => Estimator::AddOneIn,
        D::Permutation | D::PermutationAntithetic => Estimator::Permutation,
        _ if reference => Estimator::KernelShap,
        _ => Estimator::KernelShapSizeAdjusted,
    }
}

/// Whether an estimator works with n x n matrices.
fn solves_equations(estimator: Estimator) -> bool {
    !matches!(
        estimator,
        Estimator::SampleReuse
            | Estimator::Permutation
            | Estimator::BanzhafSampleReuse
            | Estimator::LeaveOneOut
            | Estimator::AddOneIn
    )
}

/// An estimator by its name, in either spelling.
pub fn parse_estimator(text: &str) -> Result<Estimator, AttributionError> {
    match text.replace('-', "_").as_str() {
        "banzhaf_msr" => Ok(Estimator::BanzhafSampleReuse),
        "size_adjusted_shapley" => Ok(Estimator::KernelShapSizeAdjusted),
        name => name.parse(),
    }
}

/// A distribution by its name; `datamodel` alone has alpha 0.5 until --datamodel-alpha says otherwise.
pub fn parse_distribution(text: &str) -> Result<RemovalDistribution, removal::RemovalError> {
    match text.replace('-', "_").as_str() {
        "datamodel" => Ok(RemovalDistribution::Datamodel { alpha: 0.5 }),
        "aoi" => Ok(RemovalDistribution::AddOneIn),
        name => name.parse(),
    }
}

/// How reference databases spell a distribution.
pub fn spellings(distribution: RemovalDistribution) -> Vec<String> {
    match distribution {
        RemovalDistribution::Shapley => vec!["shapley".into(), "datashapley".into()],
        RemovalDistribution::Datamodel { .. } => vec!["datamodel".into()],
        RemovalDistribution::AddOneIn => vec!["add_one_in".into(), "aoi".into()],
        other => vec![other.to_string()],
    }
}

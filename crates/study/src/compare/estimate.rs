//! Estimators by name.

use attribution_lds::{
    Attribution, AttributionError, Banzhaf, Datamodel, Estimator, FitSettings, KernelShap, Observations,
    add_one_in, leave_one_out,
};
use removal::RemovalDistribution;

use crate::config::StudyConfig;

/// What an estimator draws its coalitions from.
pub fn distribution_of(estimator: Estimator, config: &StudyConfig) -> RemovalDistribution {
    match estimator {
        Estimator::KernelShap => RemovalDistribution::Shapley,
        Estimator::LeaveOneOut => RemovalDistribution::Loo,
        Estimator::AddOneIn => RemovalDistribution::AddOneIn,
        Estimator::Datamodel => RemovalDistribution::Datamodel { alpha: config.evaluation.datamodel_alpha },
        Estimator::Banzhaf => RemovalDistribution::Uniform,
        other => other.usual_distribution(),
    }
}

/// The estimator for people.
pub fn title(estimator: Estimator) -> &'static str {
    match estimator {
        Estimator::KernelShap => "Kernel SHAP",
        Estimator::LeaveOneOut => "leave-one-out",
        Estimator::AddOneIn => "add-one-in",
        Estimator::Datamodel => "datamodel",
        Estimator::Banzhaf => "Banzhaf",
        Estimator::KernelShapSizeAdjusted => "size-adjusted Kernel SHAP",
        Estimator::Permutation => "permutation sampling",
        Estimator::SampleReuse => "maximum sample reuse",
        Estimator::RegressionAdjusted => "regression-adjusted sample reuse",
        Estimator::TreeAdjusted => "tree-adjusted sample reuse",
        Estimator::BanzhafSampleReuse => "Banzhaf by sample reuse",
        Estimator::BetaShapley => "Beta-Shapley",
        Estimator::Lasso => "LASSO datamodel",
        Estimator::ExactShapley => "exact Shapley",
        Estimator::ExactBanzhaf => "exact Banzhaf",
    }
}

/// Scores from observations.
///
/// # Errors
/// Those of the estimator.
pub fn fit(
    estimator: Estimator,
    config: &StudyConfig,
    observations: &Observations,
) -> Result<Attribution, AttributionError> {
    let level = config.coalitions.confidence;
    match estimator {
        Estimator::KernelShap => {
            KernelShap { level, bootstrap: None, ..KernelShap::default() }.fit_size_adjusted(observations)
        }
        Estimator::LeaveOneOut => leave_one_out(observations, level),
        Estimator::AddOneIn => add_one_in(observations, level),
        Estimator::Datamodel => Ok(Datamodel::default().fit(observations.draws())?.attribution),
        Estimator::Banzhaf => Banzhaf { level }.fit(observations.draws()),
        other => {
            let settings = FitSettings { level, bootstrap: None, ..FitSettings::default() };
            attribution_lds::fit(other, observations, distribution_of(other, config), &settings)
        }
    }
}

//! Estimators by name.

use attribution_lds::{Attribution, AttributionError, Estimator, FitSettings, Observations};
use removal::RemovalDistribution;

use crate::config::StudyConfig;

/// What an estimator draws its coalitions from.
pub fn distribution_of(estimator: Estimator, config: &StudyConfig) -> RemovalDistribution {
    match estimator {
        Estimator::Datamodel => RemovalDistribution::Datamodel { alpha: config.evaluation.datamodel_alpha },
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
    // As in the study's own scores.
    let fitted = match estimator {
        Estimator::KernelShap => Estimator::KernelShapSizeAdjusted,
        other => other,
    };
    let settings =
        FitSettings { level: config.coalitions.confidence, bootstrap: None, ..FitSettings::default() };
    attribution_lds::fit(fitted, observations, distribution_of(estimator, config), &settings)
}

//! Which estimator.

use anyhow::Context as _;
use attribution_lds::{
    Attribution, Banzhaf, Bootstrap, Datamodel, KernelShap, Observations, UtilityTable, add_one_in,
    leave_one_out,
};
use clap::ValueEnum;
use terminal::usage;

use crate::arguments::{Arguments, Distribution};

/// Estimators of contributors' scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Estimator {
    /// Shapley values by Kernel SHAP, as the reference has them
    Shapley,
    /// Shapley values by Kernel SHAP, after taking out what coalitions of one size have in common
    SizeAdjustedShapley,
    /// Coefficients of a ridge regression, the penalty chosen by cross-validation
    Datamodel,
    /// Banzhaf values by least squares
    Banzhaf,
    /// What leaving each one out takes away
    Loo,
    /// What each one adds to nobody
    Aoi,
}

impl Estimator {
    /// What the command line asks for: --estimator, else what fits --removal-dist.
    pub fn chosen(arguments: &Arguments, reference: bool) -> Self {
        let shapley = if reference { Self::Shapley } else { Self::SizeAdjustedShapley };
        let fitting = match arguments.removal_dist {
            None | Some(Distribution::Shapley) => shapley,
            Some(Distribution::Datamodel) => Self::Datamodel,
            Some(Distribution::Uniform) => Self::Banzhaf,
            Some(Distribution::Loo) => Self::Loo,
            Some(Distribution::AddOneIn) => Self::Aoi,
        };
        arguments.estimator.unwrap_or(fitting)
    }

    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Scores from training coalitions and the utilities of everybody and nobody, which may be missing where the estimator
    /// does not need them.
    ///
    /// # Errors
    /// Missing endpoints; what the estimator refuses.
    pub fn fit(
        self,
        draws: UtilityTable,
        full: &[f64],
        none: &[f64],
        arguments: &Arguments,
    ) -> anyhow::Result<Attribution> {
        let bootstrap = Some(Bootstrap { resamples: arguments.resamples(), seed: arguments.seed });
        let kernel_shap = KernelShap { level: arguments.confidence, bootstrap, ..KernelShap::default() };
        let observations = |draws: UtilityTable| -> anyhow::Result<Observations> {
            for (runs, option, what) in [(full, "--full", "everybody"), (none, "--null", "nobody")] {
                if runs.is_empty() {
                    return Err(usage(format!(
                        "there is no record of {what}, which `{}` needs: give it with {option}",
                        self.name()
                    )));
                }
            }
            Ok(Observations::new(draws, full.to_vec(), none.to_vec())?)
        };
        let fit = match self {
            Self::Shapley => kernel_shap.fit(&observations(draws)?),
            Self::SizeAdjustedShapley => kernel_shap.fit_size_adjusted(&observations(draws)?),
            Self::Datamodel => Datamodel::default().fit(&draws).map(|fit| fit.attribution),
            Self::Banzhaf => Banzhaf { level: arguments.confidence }.fit(&draws),
            Self::Loo => leave_one_out(&observations(draws)?, arguments.confidence),
            Self::Aoi => add_one_in(&observations(draws)?, arguments.confidence),
        };
        fit.with_context(|| format!("the scores by `{}`", self.name()))
    }
}

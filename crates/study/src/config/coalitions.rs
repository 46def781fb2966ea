//! `[coalitions]`: what the scores are estimated from, how, and when there is enough.

use attribution_lds::{Estimator, StoppingRule};
use removal::RemovalDistribution;
use serde::{Deserialize, Serialize};

use super::{MOST_MODELS, require};
use crate::error::StudyError;

/// How coalitions come from their distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoalitionChoice {
    /// As they are drawn.
    #[default]
    Drawn,
    /// Each is the one of several candidates whose utility is known least after those before it:
    /// [`removal::ActiveDraws`].
    Active,
}

/// The coalitions that the scores are estimated from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoalitionsConfig {
    /// Distribution of the draws.
    #[serde(default = "default_distribution")]
    pub distribution: RemovalDistribution,
    /// Number of draws, at most. Draw `k` does not depend on how many are made, so a study can grow.
    pub count: usize,
    /// How scores are estimated from them; what suits the distribution when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimator: Option<Estimator>,
    /// How they come from the distribution.
    #[serde(default, skip_serializing_if = "is_default")]
    pub choice: CoalitionChoice,
    /// Candidates for each draw, with `choice = "active"`.
    #[serde(default = "default_candidates", skip_serializing_if = "are_default_candidates")]
    pub candidates: usize,
    /// Stop before `count` draws once the primary behaviour's scores are sure enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<StoppingRule>,
    /// Bootstrap resamples behind each confidence interval.
    #[serde(default = "default_bootstrap")]
    pub bootstrap: usize,
    /// Coverage of the confidence intervals.
    #[serde(default = "default_confidence")]
    pub confidence: f64,
}

fn default_distribution() -> RemovalDistribution {
    RemovalDistribution::Shapley
}

fn default_candidates() -> usize {
    32
}

fn default_bootstrap() -> usize {
    1000
}

fn default_confidence() -> f64 {
    0.95
}

fn is_default(choice: &CoalitionChoice) -> bool {
    *choice == CoalitionChoice::default()
}

fn are_default_candidates(candidates: &usize) -> bool {
    *candidates == default_candidates()
}

impl CoalitionsConfig {
    /// The estimator of the study's own scores: the one asked for, or the one that suits the distribution. Kernel SHAP is
    /// always size-adjusted.
    pub fn estimator(&self) -> Estimator {
        use RemovalDistribution as D;
        let suited = match self.distribution {
            D::Datamodel { .. } => Estimator::Datamodel,
            D::Uniform => Estimator::Banzhaf,
            D::Loo => Estimator::LeaveOneOut,
            D::AddOneIn => Estimator::AddOneIn,
            D::Permutation | D::PermutationAntithetic => Estimator::Permutation,
            _ => Estimator::KernelShapSizeAdjusted,
        };
        self.estimator.unwrap_or(suited)
    }

    pub(super) fn validate(&self) -> Result<(), StudyError> {
        let count = (1..=MOST_MODELS).contains(&self.count);
        require(count, "coalitions.count", self.count, "1 to 1,000,000")?;
        self.validate_estimator()?;
        let chosen = self.choice == CoalitionChoice::Active;
        require(
            !chosen || self.distribution.leaves_choice(),
            "coalitions.choice",
            "active",
            "`drawn` for this distribution, each draw of which has its own coalition; `active` for shapley, shapley_paired, \
             leverage, leverage_paired, datamodel and uniform",
        )?;
        let candidates = (1..=10_000).contains(&self.candidates);
        require(candidates, "coalitions.candidates", self.candidates, "1 to 10,000")?;
        if let Some(rule) = &self.until {
            rule.validate().map_err(|source| StudyError::StoppingRule { source })?;
            let sampled =
                !matches!(self.distribution, RemovalDistribution::Loo | RemovalDistribution::AddOneIn);
            require(
                sampled,
                "coalitions.until",
                "given",
                "left out with `loo` and `add_one_in`, which need the draw of every contributor",
            )?;
        }
        let bootstrap = (100..=1_000_000).contains(&self.bootstrap);
        require(bootstrap, "coalitions.bootstrap", self.bootstrap, "100 to 1,000,000")?;
        let confidence = self.confidence;
        require(
            confidence > 0.0 && confidence < 1.0,
            "coalitions.confidence",
            confidence,
            "above 0 and below 1",
        )
    }

    fn validate_estimator(&self) -> Result<(), StudyError> {
        require(
            self.distribution != RemovalDistribution::None,
            "coalitions.distribution",
            self.distribution,
            "a distribution that removes somebody",
        )?;
        let estimator = self.estimator();
        if estimator.accepts(self.distribution) {
            return Ok(());
        }
        Err(StudyError::EstimatorOfDraws {
            estimator: estimator.to_string(),
            distribution: self.distribution.to_string(),
            accepted: estimator.accepted(),
        })
    }

    /// Checks what depends on the number of contributors.
    ///
    /// # Errors
    /// [`StudyError::WrongCount`] unless distributions with one draw for each contributor make all of them, or for the baseline
    /// none.
    pub(crate) fn fits(&self, contributors: usize, retrained: usize) -> Result<(), StudyError> {
        if !matches!(self.distribution, RemovalDistribution::Loo | RemovalDistribution::AddOneIn) {
            return Ok(());
        }
        for (key, count) in [("coalitions.count", self.count), ("evaluation.retrain_coalitions", retrained)] {
            if count != contributors && (count > 0 || key == "coalitions.count") {
                let distribution = self.distribution.to_string();
                return Err(StudyError::WrongCount { key, distribution, count, contributors });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> CoalitionsConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_distribution_has_an_estimator_and_others_are_refused() {
        for (distribution, estimator) in [
            ("\"shapley\"", Estimator::KernelShapSizeAdjusted),
            ("\"shapley_paired\"", Estimator::KernelShapSizeAdjusted),
            ("\"leverage\"", Estimator::KernelShapSizeAdjusted),
            ("\"leverage_paired\"", Estimator::KernelShapSizeAdjusted),
            ("\"uniform\"", Estimator::Banzhaf),
            ("{ datamodel = { alpha = 0.5 } }", Estimator::Datamodel),
            ("\"permutation\"", Estimator::Permutation),
            ("\"permutation_antithetic\"", Estimator::Permutation),
            ("\"loo\"", Estimator::LeaveOneOut),
            ("\"add_one_in\"", Estimator::AddOneIn),
        ] {
            let config = read(&format!("count = 6\ndistribution = {distribution}"));
            assert_eq!(config.estimator(), estimator);
            config.validate().unwrap();
        }
        let message = |text: &str| read(text).validate().unwrap_err().to_string();
        let wrong = message("count = 6\ndistribution = 'uniform'\nestimator = 'permutation'");
        assert!(wrong.contains("uniform") && wrong.contains("permutation_antithetic"), "{wrong}");
        assert!(message("count = 6\ndistribution = 'none'").contains("coalitions.distribution"));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let message = |text: &str| read(&format!("count = 6\n{text}")).validate().unwrap_err().to_string();
        assert!(message("distribution = 'loo'\nchoice = 'active'").contains("coalitions.choice"));
        assert!(message("candidates = 0").contains("coalitions.candidates"));
        assert!(message("until = { kendall_tau = { least = 2.0 } }").contains("coalitions.until"));
        assert!(message("distribution = 'loo'\nuntil = { half_width = { most = 1.0 } }").contains("until"));
        let few = read("count = 6\ndistribution = 'loo'").fits(5, 0).unwrap_err().to_string();
        assert!(few.contains("6") && few.contains("5") && few.contains("coalitions.count"), "{few}");
        assert!(read("count = 5\ndistribution = 'loo'").fits(5, 5).is_ok());
        let baseline = read("count = 5\ndistribution = 'loo'").fits(5, 1).unwrap_err().to_string();
        assert!(baseline.contains("evaluation.retrain_coalitions"), "{baseline}");
    }

    #[test]
    fn defaults_are_left_out() {
        let text = toml::to_string(&read("count = 6")).unwrap();
        for key in ["estimator", "choice", "candidates", "until"] {
            assert!(!text.contains(key), "{text}");
        }
    }
}

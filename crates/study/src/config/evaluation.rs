//! `[sample]` and `[evaluation]`: what is generated and tested.

use std::path::{Path, PathBuf};

use diffusion_core::samplers::{SampleConfig, Sampler};
use diffusion_core::schedule::NoiseSchedule;
use serde::{Deserialize, Serialize};

use super::{MOST_MODELS, require};
use crate::error::StudyError;

/// How images are generated from a model: with the EMA weights, image k from its own noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingConfig {
    /// Images per model.
    pub count: usize,
    /// Denoising steps.
    #[serde(default = "default_inference_steps")]
    pub num_inference_steps: usize,
    /// DDIM or DDPM, with its options.
    #[serde(default)]
    pub sampler: Sampler,
    /// Images denoised together; changes speed and memory, never a sample.
    #[serde(default = "default_sample_batch")]
    pub batch_size: usize,
}

fn default_inference_steps() -> usize {
    100
}

fn default_sample_batch() -> usize {
    64
}

impl SamplingConfig {
    /// The settings of the sampler.
    pub fn process(&self) -> SampleConfig {
        SampleConfig {
            sampler: self.sampler.clone(),
            steps: self.num_inference_steps,
            batch_size: self.batch_size,
            ..SampleConfig::default()
        }
    }

    pub(super) fn validate(&self, schedule: &NoiseSchedule) -> Result<(), StudyError> {
        let count = (2..=1_000_000).contains(&self.count);
        require(count, "sample.count", self.count, "2 to 1,000,000")?;
        self.process().validate(schedule).map_err(|source| StudyError::Section { section: "sample", source })
    }
}

/// How the scores are judged against really retrained models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Share of contributors in each held-out test coalition.
    #[serde(default = "default_alpha")]
    pub datamodel_alpha: f64,
    /// Distinct test coalitions.
    pub test_coalitions: usize,
    /// Independently seeded retrainings of each test coalition; two or more give the noise ceiling.
    #[serde(default = "default_test_seeds")]
    pub test_seeds: usize,
    /// Retrained draws for the retraining baseline at equal compute; 0 leaves it out.
    #[serde(default)]
    pub retrain_coalitions: usize,
    /// Shares of contributors removed, best first and worst first, for the counterfactual.
    #[serde(default = "default_counterfactual")]
    pub counterfactual: Vec<f64>,
    /// JSONL file of records of retrained models that come with the study (the truth); computed when missing there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<PathBuf>,
}

fn default_alpha() -> f64 {
    0.5
}

fn default_test_seeds() -> usize {
    2
}

fn default_counterfactual() -> Vec<f64> {
    vec![0.2, 0.4]
}

impl EvaluationConfig {
    pub(super) fn resolve(&mut self, base: &Path) {
        if let Some(truth) = &mut self.truth {
            *truth = base.join(&*truth);
        }
    }

    pub(super) fn validate(&self) -> Result<(), StudyError> {
        let alpha = self.datamodel_alpha;
        require(alpha > 0.0 && alpha < 1.0, "evaluation.datamodel_alpha", alpha, "above 0 and below 1")?;
        require(
            (3..=10_000).contains(&self.test_coalitions),
            "evaluation.test_coalitions",
            self.test_coalitions,
            "3 to 10,000: a rank correlation of two points is always 1 or -1",
        )?;
        let seeds = (1..=1_000).contains(&self.test_seeds);
        require(seeds, "evaluation.test_seeds", self.test_seeds, "1 to 1,000")?;
        let retrained = self.retrain_coalitions;
        require(retrained <= MOST_MODELS, "evaluation.retrain_coalitions", retrained, "0 to 1,000,000")?;
        for &fraction in &self.counterfactual {
            let ok = fraction > 0.0 && fraction < 1.0;
            require(ok, "evaluation.counterfactual", fraction, "shares above 0 and below 1")?;
        }
        Ok(())
    }
}

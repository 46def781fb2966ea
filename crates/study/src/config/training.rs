//! `[train]`, `[fine_tune]` and `[unlearn]`: how models are made.

use diffusion_core::training::TrainingConfig;
use serde::{Deserialize, Serialize};
use unlearn::{Method, MethodOn, ParentModel};

use super::require;
use crate::error::StudyError;

/// Training of the full model; retrained models use the same settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser updates.
    pub steps: u64,
    /// Updates between two checkpoints.
    #[serde(default = "default_checkpoint_every")]
    pub checkpoint_every: u64,
    /// Batch size, optimiser, clipping and EMA.
    #[serde(default)]
    pub optimization: TrainingConfig,
}

fn default_checkpoint_every() -> u64 {
    500
}

impl TrainConfig {
    pub(super) fn validate(&self) -> Result<(), StudyError> {
        require(self.steps > 0, "train.steps", self.steps, "1 or more")?;
        require(self.checkpoint_every > 0, "train.checkpoint_every", self.checkpoint_every, "1 or more")?;
        self.optimization
            .validate()
            .map_err(|source| StudyError::Section { section: "train.optimization", source })
    }
}

/// Fine-tuning of the pruned model on all contributors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuneConfig {
    /// Optimiser updates.
    pub steps: u64,
    /// Batch size, optimiser, clipping and EMA; those of `[train]` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimization: Option<TrainingConfig>,
}

impl FineTuneConfig {
    pub(super) fn validate(&self) -> Result<(), StudyError> {
        require(self.steps > 0, "fine_tune.steps", self.steps, "1 or more")?;
        validate_optional("fine_tune.optimization", self.optimization.as_ref())
    }
}

/// From the parent model to the model of a coalition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnlearnConfig {
    /// The unlearning method.
    #[serde(default)]
    pub method: Method,
    /// Which model it starts from: pruned (sparsified fine-tuning) or full.
    #[serde(default)]
    pub parent: ParentModel,
    /// Optimiser updates per coalition.
    pub steps: u64,
    /// Batch size, optimiser, clipping and EMA; those of `[train]` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimization: Option<TrainingConfig>,
}

impl UnlearnConfig {
    /// Method and parent as one word.
    pub fn method_on(&self) -> MethodOn {
        MethodOn { method: self.method, parent: self.parent }
    }

    pub(super) fn validate(&self) -> Result<(), StudyError> {
        require(self.steps > 0, "unlearn.steps", self.steps, "1 or more")?;
        validate_optional("unlearn.optimization", self.optimization.as_ref())
    }
}

fn validate_optional(section: &'static str, config: Option<&TrainingConfig>) -> Result<(), StudyError> {
    config.map_or(Ok(()), |c| c.validate().map_err(|source| StudyError::Section { section, source }))
}

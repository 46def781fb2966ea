//! `[train]`, `[fine_tune]` and `[unlearn]`: how models are made.

use std::path::{Path, PathBuf};

use diffusion_core::training::{Objective, TrainingConfig};
use serde::{Deserialize, Serialize};
use unlearn::{
    AscentSettings, InfluenceSettings, InfluenceVariant, LoraSettings, Method, MethodOn, ParentModel,
};

use super::{TrainLog, require};
use crate::error::StudyError;

/// Training of the full model; retrained models use the same settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser updates of the full model; 0 for a loaded model as it is.
    pub steps: u64,
    /// Folder of a model that was trained elsewhere, from whose weights the full model starts: a model folder or a pipeline of
    /// diffusers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<PathBuf>,
    /// With `load`: optimiser updates of models that are retrained from scratch; `steps` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrain_steps: Option<u64>,
    /// Updates between two checkpoints.
    #[serde(default = "default_checkpoint_every")]
    pub checkpoint_every: u64,
    /// Batch size, optimiser, clipping and EMA.
    #[serde(default)]
    pub optimization: TrainingConfig,
    /// Seed of data order, noise and timesteps of every training; the study's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What the full model's training leaves beside the model.
    #[serde(default, skip_serializing_if = "TrainLog::is_empty")]
    pub log: TrainLog,
}

fn default_checkpoint_every() -> u64 {
    500
}

impl TrainConfig {
    /// Optimiser updates of a model that is trained from scratch on a coalition.
    pub fn retrain_steps(&self) -> u64 {
        self.retrain_steps.unwrap_or(self.steps)
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        if let Some(load) = &mut self.load {
            *load = base.join(&*load);
        }
    }

    pub(super) fn validate(&self) -> Result<(), StudyError> {
        let loads = self.load.is_some();
        require(self.steps > 0 || loads, "train.steps", self.steps, "1 or more, or 0 with `train.load`")?;
        let retrain = self.retrain_steps.map_or_else(|| "missing".to_owned(), |steps| steps.to_string());
        require(
            loads || self.retrain_steps.is_none(),
            "train.retrain_steps",
            &retrain,
            "nothing without `train.load`: the full model and retrained ones have `train.steps`",
        )?;
        require(
            self.retrain_steps() > 0,
            "train.retrain_steps",
            retrain,
            "1 or more where `train.steps` is 0: the models that are retrained to judge the scores are trained from scratch, for as \
             many steps as the loaded model was, if it can be afforded",
        )?;
        require(self.checkpoint_every > 0, "train.checkpoint_every", self.checkpoint_every, "1 or more")?;
        validate_optimization("train.optimization", "train.optimization.objective", &self.optimization)
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
        let key = "fine_tune.optimization.objective";
        self.optimization.as_ref().map_or(Ok(()), |c| validate_optimization("fine_tune.optimization", key, c))
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
    /// Optimiser updates per coalition, of `gd` and `lora`.
    #[serde(default = "default_unlearning_steps")]
    pub steps: u64,
    /// Batch size, optimiser, clipping and EMA; those of `[train]` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimization: Option<TrainingConfig>,
    /// `ga`: by how much the batches of the removed images are divided to give the steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ga_ratio: Option<f64>,
    /// `ga`: learning rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ga_learning_rate: Option<f64>,
    /// `iu`: length of the jump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iu_ratio: Option<f64>,
    /// `iu`: damping of the Fisher matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iu_damping: Option<f64>,
    /// `iu`: the exact inverse, or the reference's recursion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iu_variant: Option<InfluenceVariant>,
    /// `lora`: rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_rank: Option<usize>,
    /// `lora`: what is added is multiplied by this over the rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_alpha: Option<f64>,
    /// `lora`: share of an adapter's inputs that is zeroed in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_dropout: Option<f64>,
    /// `lora`: how many times faster the second matrix learns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_lr_ratio: Option<f64>,
    /// `conditional`: optimiser updates that teach the parent its contributors, once; `train.steps` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional_steps: Option<u64>,
}

/// The reference's default of `--gd_steps`.
fn default_unlearning_steps() -> u64 {
    4000
}

impl UnlearnConfig {
    /// Settings of `ga`.
    pub fn ascent(&self) -> AscentSettings {
        let usual = AscentSettings::default();
        AscentSettings {
            ratio: self.ga_ratio.unwrap_or(usual.ratio),
            learning_rate: self.ga_learning_rate.unwrap_or(usual.learning_rate),
        }
    }

    /// Settings of `iu`.
    pub fn influence(&self) -> InfluenceSettings {
        let usual = InfluenceSettings::default();
        InfluenceSettings {
            ratio: self.iu_ratio.unwrap_or(usual.ratio),
            damping: self.iu_damping.unwrap_or(usual.damping),
            variant: self.iu_variant.unwrap_or(usual.variant),
        }
    }

    /// Settings of `lora`.
    pub fn lora(&self) -> LoraSettings {
        let usual = LoraSettings::default();
        LoraSettings {
            rank: self.lora_rank.unwrap_or(usual.rank),
            alpha: self.lora_alpha.unwrap_or(usual.alpha),
            dropout: self.lora_dropout.unwrap_or(usual.dropout),
            learning_rate_ratio: self.lora_lr_ratio.unwrap_or(usual.learning_rate_ratio),
        }
    }

    /// Method and parent as one word.
    pub fn method_on(&self) -> MethodOn {
        MethodOn { method: self.method, parent: self.parent }
    }

    pub(super) fn validate(&self) -> Result<(), StudyError> {
        require(self.steps > 0, "unlearn.steps", self.steps, "1 or more")?;
        let taught = self.conditional_steps != Some(0);
        require(taught, "unlearn.conditional_steps", 0, "1 or more, or left out for `train.steps`")?;
        require(
            self.method != Method::PruneFineTune,
            "unlearn.method",
            self.method,
            "`gd`, `ga`, `iu`, `lora`, `conditional` or `retrain`: `prune_fine_tune` is the stage before, which every study has",
        )?;
        self.ascent().validate()?;
        self.influence().validate()?;
        self.lora().validate()?;
        let key = "unlearn.optimization.objective";
        self.optimization.as_ref().map_or(Ok(()), |c| validate_optimization("unlearn.optimization", key, c))
    }
}

/// The direction is not for a study to choose: models of contributors learn, and a method that forgets says so itself.
pub(super) fn validate_optimization(
    section: &'static str,
    objective: &'static str,
    config: &TrainingConfig,
) -> Result<(), StudyError> {
    require(
        config.objective == Objective::Descend,
        objective,
        "\"ascend\"",
        "\"descend\" or left out: it would make the model forget; to unlearn by ascent, set `unlearn.method = \"ga\"`",
    )?;
    config.validate().map_err(|source| StudyError::Section { section, source })
}

#[cfg(test)]
mod tests {
    use crate::config::{DatasetPreset, Overrides, StudyConfig};

    #[test]
    fn ascent_is_refused_in_every_section() {
        for section in ["train", "fine_tune", "unlearn"] {
            let key = format!("{section}.optimization.objective");
            let mut set = Overrides::default();
            set.set("data.path", Some("images"));
            set.set(&key, Some("descend"));
            StudyConfig::layered(Some(DatasetPreset::Cifar), None, &set).unwrap();
            set.set(&key, Some("ascend"));
            let error = StudyConfig::layered(Some(DatasetPreset::Cifar), None, &set).unwrap_err().to_string();
            assert!(error.contains(&key) && error.contains("\"ga\""), "{error}");
        }
    }
}

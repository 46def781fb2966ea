//! Settings of training.

use serde::{Deserialize, Serialize};

use crate::DiffusionError;
use crate::ema::EmaConfig;
use crate::nn::MixedPrecision;
use crate::optim::OptimizerConfig;

/// Which way the loss is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The loss falls: the model learns the images.
    #[default]
    Descend,
    /// The loss rises: the model forgets the images.
    Ascend,
}

impl Objective {
    /// What the loss is multiplied by before it is minimised.
    pub fn sign(self) -> f32 {
        match self {
            Self::Descend => 1.0,
            Self::Ascend => -1.0,
        }
    }
}

/// Settings of a training run. The number of steps is not among them: it is given to
/// [`Trainer::step_to`](super::Trainer::step_to), so that a run can be made longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Images that go through the network at once.
    pub batch_size: usize,
    /// Slices of `batch_size` images that a step's batch of `batch_size` times this many images goes through the network
    /// in; their gradients are averaged for one step.
    pub gradient_accumulation_steps: usize,
    /// The optimiser, with its constant learning rate.
    pub optimizer: OptimizerConfig,
    /// Largest common norm of the gradients; larger ones are scaled down to it.
    pub max_grad_norm: f32,
    /// The average of the parameters.
    pub ema: EmaConfig,
    /// Which way the loss is driven.
    pub objective: Objective,
    /// A loss above this counts as exploded and stops the run. An untrained network's is about 1.
    pub max_loss: f32,
    /// The type that layers with weights round their numbers to.
    #[serde(skip_serializing_if = "MixedPrecision::is_no")]
    pub mixed_precision: MixedPrecision,
    /// Whether the blocks of the network are computed again in the backward pass in place of keeping what they compute on
    /// the way: less memory and more time for the same numbers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            batch_size: 64,
            gradient_accumulation_steps: 1,
            optimizer: OptimizerConfig::default(),
            max_grad_norm: 1.0,
            ema: EmaConfig::default(),
            objective: Objective::Descend,
            max_loss: 1e3,
            mixed_precision: MixedPrecision::No,
            gradient_checkpointing: false,
        }
    }
}

/// Most images behind one update of the weights.
const MOST_IMAGES: usize = 1_000_000;

impl TrainingConfig {
    /// The settings without those that change no number: what records and checkpoints are bound to.
    #[must_use]
    pub fn of_results(&self) -> Self {
        Self { gradient_checkpointing: false, ..self.clone() }
    }

    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] naming the key.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        for (key, count) in [
            ("batch_size", self.batch_size),
            ("gradient_accumulation_steps", self.gradient_accumulation_steps),
        ] {
            if count == 0 {
                return Err(DiffusionError::setting(
                    format!("training.{key}"),
                    "is 0, but must be at least 1",
                ));
            }
        }
        // The images of a batch are listed before it is cut into slices.
        let batch = self.batch_size.checked_mul(self.gradient_accumulation_steps);
        if batch.is_none_or(|images| images > MOST_IMAGES) {
            let Self { batch_size, gradient_accumulation_steps: slices, .. } = self;
            return Err(DiffusionError::setting(
                "training.batch_size",
                format!(
                    "is {batch_size}, in gradient_accumulation_steps = {slices} slices: an update takes at most {MOST_IMAGES} images"
                ),
            ));
        }
        for (key, value) in [("max_grad_norm", self.max_grad_norm), ("max_loss", self.max_loss)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(DiffusionError::setting(
                    format!("training.{key}"),
                    format!("is {value}, but must be a positive number"),
                ));
            }
        }
        self.optimizer.validate()?;
        self.ema.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_setting_is_named() {
        let base = TrainingConfig::default;
        base().validate().unwrap();
        let optimizer = OptimizerConfig::default;
        let bad = [
            ("batch_size", TrainingConfig { batch_size: 0, ..base() }),
            ("gradient_accumulation_steps", TrainingConfig { gradient_accumulation_steps: 0, ..base() }),
            ("batch_size", TrainingConfig { batch_size: 1_000_001, ..base() }),
            ("batch_size", TrainingConfig { gradient_accumulation_steps: usize::MAX, ..base() }),
            ("max_grad_norm", TrainingConfig { max_grad_norm: f32::NAN, ..base() }),
            ("max_loss", TrainingConfig { max_loss: 0.0, ..base() }),
            (
                "learning_rate",
                TrainingConfig {
                    optimizer: OptimizerConfig { learning_rate: -1.0, ..optimizer() },
                    ..base()
                },
            ),
            ("beta2", TrainingConfig { optimizer: OptimizerConfig { beta2: 1.0, ..optimizer() }, ..base() }),
            (
                "block_size",
                TrainingConfig { optimizer: OptimizerConfig { block_size: 256, ..optimizer() }, ..base() },
            ),
            ("ema.power", TrainingConfig { ema: EmaConfig { power: 0.0, ..EmaConfig::default() }, ..base() }),
        ];
        for (key, config) in bad {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn what_is_default_is_not_written() {
        // Keys of records hold this text: it must not change with settings that came later.
        let text = serde_json::to_string(&TrainingConfig::default()).unwrap();
        assert_eq!(
            text,
            r#"{"batch_size":64,"gradient_accumulation_steps":1,"optimizer":{"kind":"adam","learning_rate":0.0001,"beta1":0.9,"beta2":0.999,"epsilon":1e-8,"weight_decay":0.0},"max_grad_norm":1.0,"ema":{"inv_gamma":1.0,"power":0.75,"max_decay":0.9999},"objective":"descend","max_loss":1000.0}"#
        );
        let all = r#"{"optimizer":{"bits":8,"block_size":256},"mixed_precision":"fp16","gradient_checkpointing":true}"#;
        let config: TrainingConfig = serde_json::from_str(all).unwrap();
        config.validate().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TrainingConfig>(&text).unwrap(), config);
        assert!(text.contains("gradient_checkpointing"));
        let text = serde_json::to_string(&config.of_results()).unwrap();
        assert!(!text.contains("gradient_checkpointing") && text.contains("fp16"), "{text}");
        let bits = serde_json::from_str::<TrainingConfig>(r#"{"optimizer":{"bits":4}}"#).unwrap_err();
        assert!(bits.to_string().contains("8 or 32 bits, not 4"), "{bits}");
    }

    #[test]
    fn settings_read_back_and_unknown_keys_are_refused() {
        let text = serde_json::to_string(&TrainingConfig::default()).unwrap();
        assert_eq!(serde_json::from_str::<TrainingConfig>(&text).unwrap(), TrainingConfig::default());
        let read =
            serde_json::from_str::<TrainingConfig>(r#"{"optimizer":{"kind":"adamw","learning_rat":1}}"#);
        assert!(read.unwrap_err().to_string().contains("learning_rat"));
    }
}

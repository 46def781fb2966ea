//! Gradient ascent: the model forgets D by raising its loss on it.

use diffusion_core::training::{Objective, TrainingConfig};
use serde::{Deserialize, Serialize};

use crate::UnlearnError;
use crate::error::require;

/// Settings of gradient ascent on the removed images D.
///
/// Each step moves the parameters along the gradient of the noise-prediction loss on a batch of D, clipped as in training.
/// There are floor(batches of D / `ratio`) steps, where D has ceil(|D| / batch size) batches: at ratio 1 every removed image
/// is seen about once. Where nobody is removed there are no steps, and the model is the parent itself.
///
/// Source: Golatkar, Achille and Soatto 2020 and Graves, Nagisetty and Ganesh 2021 (amnesiac unlearning,
/// <https://arxiv.org/abs/2010.10981>), in the form that Jia et al. 2023 (<https://arxiv.org/abs/2304.04934>) compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AscentSettings {
    /// By how much the batches of D are divided: 0.5 sees every removed image twice, 2 half of them.
    pub ratio: f64,
    /// Learning rate, in place of the training's. Ascent has no minimum to settle in, so it is small.
    pub learning_rate: f64,
}

impl Default for AscentSettings {
    fn default() -> Self {
        Self { ratio: 1.0, learning_rate: 1e-5 }
    }
}

impl AscentSettings {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`UnlearnError::Setting`] naming the key.
    pub fn validate(&self) -> Result<(), UnlearnError> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        require(positive(self.ratio), "ga_ratio", self.ratio, "a positive number")?;
        require(positive(self.learning_rate), "ga_learning_rate", self.learning_rate, "a positive number")
    }

    /// Number of steps for `images` removed images: floor(ceil(images / batch size) / ratio).
    pub fn steps(&self, images: usize, training: &TrainingConfig) -> u64 {
        let per_step = training.batch_size * training.gradient_accumulation_steps;
        let batches = images.div_ceil(per_step.max(1));
        (batches as f64 / self.ratio).floor() as u64
    }

    /// The training's settings with this learning rate, and the loss driven up.
    pub fn training(&self, training: &TrainingConfig) -> TrainingConfig {
        let mut training = TrainingConfig { objective: Objective::Ascend, ..training.clone() };
        training.optimizer.learning_rate = self.learning_rate;
        training
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_the_batches_of_the_removed_over_the_ratio() {
        let training = |batch_size, gradient_accumulation_steps| TrainingConfig {
            batch_size,
            gradient_accumulation_steps,
            ..TrainingConfig::default()
        };
        let steps = |images, ratio, training: &TrainingConfig| {
            AscentSettings { ratio, ..AscentSettings::default() }.steps(images, training)
        };
        // CIFAR-20 with half of its 10,000 images removed.
        assert_eq!(steps(5000, 1.0, &training(128, 1)), 40);
        assert_eq!(steps(5000, 8.0, &training(128, 1)), 5);
        assert_eq!(steps(5000, 0.5, &training(128, 1)), 80);
        assert_eq!(steps(5000, 1.0, &training(64, 2)), 40);
        assert_eq!(steps(1, 1.0, &training(128, 1)), 1);
        assert_eq!(steps(0, 1.0, &training(128, 1)), 0);
        assert_eq!(steps(300, 4.0, &training(128, 1)), 0);
    }

    #[test]
    fn bad_settings_are_named() {
        for (key, settings) in [
            ("ga_ratio", AscentSettings { ratio: 0.0, ..AscentSettings::default() }),
            ("ga_ratio", AscentSettings { ratio: f64::NAN, ..AscentSettings::default() }),
            ("ga_learning_rate", AscentSettings { learning_rate: -1.0, ..AscentSettings::default() }),
        ] {
            let error = settings.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        AscentSettings::default().validate().unwrap();
    }
}

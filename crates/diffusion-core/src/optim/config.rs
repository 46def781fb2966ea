//! Settings of the optimisers.

use serde::{Deserialize, Serialize};

use crate::DiffusionError;

/// Which optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// `torch.optim.Adam` (Kingma and Ba 2015): weight decay is added to the gradient.
    #[default]
    Adam,
    /// `torch.optim.AdamW` (Loshchilov and Hutter 2019): weight decay shrinks the parameters directly.
    #[serde(rename = "adamw")]
    AdamW,
}

/// Settings of Adam and AdamW, with PyTorch's defaults except for the learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Which optimiser.
    pub kind: OptimizerKind,
    /// Constant learning rate.
    pub learning_rate: f64,
    /// Decay of the mean of the gradients, in [0, 1).
    pub beta1: f64,
    /// Decay of the mean of the squared gradients, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Weight decay; 0 for none.
    pub weight_decay: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Adam,
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

impl OptimizerConfig {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] naming the key.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        let refuse = |key: &str, value: f64, right: &str| {
            Err(DiffusionError::setting(format!("optimizer.{key}"), format!("is {value}, but must {right}")))
        };
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return refuse(
                "learning_rate",
                self.learning_rate,
                "be a positive number (usually 1e-5 to 1e-3)",
            );
        }
        for (key, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return refuse(key, beta, "lie in [0, 1)");
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return refuse("epsilon", self.epsilon, "be a positive number (usually 1e-8)");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse("weight_decay", self.weight_decay, "be 0 or a positive number");
        }
        Ok(())
    }
}

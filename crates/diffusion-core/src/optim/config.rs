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

/// Bits of each number of an optimiser's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum StateBits {
    /// Floats.
    #[default]
    ThirtyTwo,
    /// Codes of a [`DynamicMap`](super::DynamicMap), on the host, with one scale a block. On devices other than the CPU
    /// the state of one parameter after the other goes there and back in each step.
    Eight,
}

impl TryFrom<u8> for StateBits {
    type Error = String;

    fn try_from(bits: u8) -> Result<Self, String> {
        match bits {
            32 => Ok(Self::ThirtyTwo),
            8 => Ok(Self::Eight),
            other => Err(format!("an optimiser's state has 8 or 32 bits, not {other}")),
        }
    }
}

impl From<StateBits> for u8 {
    fn from(bits: StateBits) -> u8 {
        match bits {
            StateBits::ThirtyTwo => 32,
            StateBits::Eight => 8,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// bitsandbytes' block size.
const USUAL_BLOCK: usize = 2048;

fn usual_block() -> usize {
    USUAL_BLOCK
}

fn is_usual_block(size: &usize) -> bool {
    *size == USUAL_BLOCK
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
    /// Bits of each number of the state.
    #[serde(skip_serializing_if = "is_default")]
    pub bits: StateBits,
    /// Numbers of an 8-bit state that share a scale.
    #[serde(default = "usual_block", skip_serializing_if = "is_usual_block")]
    pub block_size: usize,
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
            bits: StateBits::ThirtyTwo,
            block_size: USUAL_BLOCK,
        }
    }
}

impl OptimizerConfig {
    /// Whether the state of a parameter of so many values is 8-bit.
    pub fn quantizes(&self, values: usize) -> bool {
        self.bits == StateBits::Eight && values >= super::SMALLEST_QUANTIZED
    }

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
        if ![64, 128, 256, 512, 1024, USUAL_BLOCK, 4096].contains(&self.block_size) {
            return refuse("block_size", self.block_size as f64, "be a power of two from 64 to 4096");
        }
        if self.bits == StateBits::ThirtyTwo && self.block_size != USUAL_BLOCK {
            return refuse(
                "block_size",
                self.block_size as f64,
                "be left out unless bits = 8: 32-bit states have no blocks",
            );
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

//! Group normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::{ops, parameter};
use crate::{DiffusionError, StateDict};

/// Normalisation over groups of channels, as `torch.nn.GroupNorm`; see [`ops::group_norm`].
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[channels]`
    pub weight: Param<Tensor<1>>,
    /// `[channels]`
    pub bias: Param<Tensor<1>>,
    groups: usize,
    epsilon: f64,
}

impl GroupNorm {
    /// The layer with parameters `{name}.weight` and `{name}.bias` of `weights`.
    ///
    /// # Errors
    /// [`DiffusionError::MissingTensor`], or [`DiffusionError::ShapeMismatch`] if a tensor's rank is wrong.
    pub fn load(
        weights: &StateDict,
        name: &str,
        groups: usize,
        epsilon: f64,
        device: &Device,
    ) -> Result<Self, DiffusionError> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        Ok(Self {
            weight: parameter(&weight, weights.get(&weight)?, device)?,
            bias: parameter(&bias, weights.get(&bias)?, device)?,
            groups,
            epsilon,
        })
    }

    /// `[batch, channels, height, width]` to the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        ops::group_norm(x, self.weight.val(), self.bias.val(), self.groups, self.epsilon, false)
    }

    /// The norm followed by SiLU.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        ops::group_norm(x, self.weight.val(), self.bias.val(), self.groups, self.epsilon, true)
    }
}

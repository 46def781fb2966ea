//! Affine map.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::layer_calls::{LayerCall, probed, recording};
use super::{ops, parameter};
use crate::{DiffusionError, StateDict};

/// `y = x W^T + b`, as `torch.nn.Linear`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// The layer with parameters `{name}.weight` and `{name}.bias` of `weights`.
    ///
    /// # Errors
    /// [`DiffusionError::MissingTensor`], or [`DiffusionError::ShapeMismatch`] if a tensor's rank is wrong.
    pub fn load(weights: &StateDict, name: &str, device: &Device) -> Result<Self, DiffusionError> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        Ok(Self {
            weight: parameter(&weight, weights.get(&weight)?, device)?,
            bias: parameter(&bias, weights.get(&bias)?, device)?,
        })
    }

    /// `[rows, in]` to `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        if !recording() {
            return ops::linear(x, self.weight.val(), self.bias.val());
        }
        let y = ops::linear(x.clone(), self.weight.val(), self.bias.val());
        probed(y, |probe| LayerCall::Linear {
            weight: self.weight.id,
            bias: self.bias.id,
            input: x.without_autodiff(),
            probe,
        })
    }

    /// The same map at every position: `[batch, in, height, width]` to `[batch, out, height, width]`.
    pub fn forward_at_positions(&self, x: Tensor<4>) -> Tensor<4> {
        if !recording() {
            return ops::linear_at_positions(x, self.weight.val(), self.bias.val());
        }
        let y = ops::linear_at_positions(x.clone(), self.weight.val(), self.bias.val());
        probed(y, |probe| LayerCall::Conv2d {
            weight: self.weight.id,
            bias: self.bias.id,
            kernel: 1,
            stride: 1,
            padding: 0,
            input: x.without_autodiff(),
            probe,
        })
    }
}

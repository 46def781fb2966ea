//! Convolution.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::layer_calls::{LayerCall, probed, recording};
use super::{ops, parameter};
use crate::{DiffusionError, StateDict};

/// A square convolution with bias, as `torch.nn.Conv2d`.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out, in, kernel, kernel]`
    pub weight: Param<Tensor<4>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// The layer with parameters `{name}.weight` and `{name}.bias` of `weights`.
    ///
    /// # Errors
    /// [`DiffusionError::MissingTensor`], or [`DiffusionError::ShapeMismatch`] if a tensor's rank is wrong.
    pub fn load(
        weights: &StateDict,
        name: &str,
        stride: usize,
        padding: usize,
        device: &Device,
    ) -> Result<Self, DiffusionError> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        Ok(Self {
            weight: parameter(&weight, weights.get(&weight)?, device)?,
            bias: parameter(&bias, weights.get(&bias)?, device)?,
            stride,
            padding,
        })
    }

    /// `[batch, in, height, width]` to `[batch, out, height', width']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        if !recording() {
            return ops::conv2d(x, self.weight.val(), self.bias.val(), self.stride, self.padding);
        }
        let y = ops::conv2d(x.clone(), self.weight.val(), self.bias.val(), self.stride, self.padding);
        probed(y, |probe| LayerCall::Conv2d {
            weight: self.weight.id,
            bias: self.bias.id,
            kernel: self.weight.lazy_shape().dims::<4>()[2],
            stride: self.stride,
            padding: self.padding,
            input: x.without_autodiff(),
            probe,
        })
    }

    /// [`forward`](Self::forward) of `x` plus `added`, of the result's shape.
    pub fn forward_added(&self, x: Tensor<4>, added: Tensor<4>) -> Tensor<4> {
        if recording() {
            return self.forward(x) + added;
        }
        ops::conv2d_added(x, self.weight.val(), self.bias.val(), self.stride, self.padding, added)
    }
}

//! Group normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::layer_calls::{LayerCall, probed, recording};
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
        if recording() {
            return self.recorded(x);
        }
        ops::group_norm(x, self.weight.val(), self.bias.val(), self.groups, self.epsilon, false)
    }

    /// The norm followed by SiLU.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        if recording() {
            return ops::silu(self.recorded(x));
        }
        ops::group_norm(x, self.weight.val(), self.bias.val(), self.groups, self.epsilon, true)
    }

    /// The norm of `x + shift` followed by SiLU, with `shift` `[batch, channels]` added to all pixels of a channel.
    pub fn forward_silu_shifted(&self, x: Tensor<4>, shift: Tensor<2>) -> Tensor<4> {
        if recording() {
            let [batch, channels] = shift.dims();
            return ops::silu(self.recorded(x + shift.reshape([batch, channels, 1, 1])));
        }
        ops::group_norm_shifted(x, shift, self.weight.val(), self.bias.val(), self.groups, self.epsilon)
    }

    /// The norm, as a call in the recording.
    fn recorded(&self, x: Tensor<4>) -> Tensor<4> {
        let (groups, epsilon) = (self.groups, self.epsilon);
        let y = ops::group_norm(x.clone(), self.weight.val(), self.bias.val(), groups, epsilon, false);
        probed(y, |probe| LayerCall::GroupNorm {
            weight: self.weight.id,
            bias: self.bias.id,
            groups,
            epsilon,
            input: x.without_autodiff(),
            probe,
        })
    }
}

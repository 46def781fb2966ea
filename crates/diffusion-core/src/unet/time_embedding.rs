//! From a timestep to the vector that steers every residual block.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};

use super::parts::Parts;
use crate::DiffusionError;
use crate::nn::{Linear, ops};

/// Sinusoids of a timestep at geometrically spaced frequencies.
///
/// With h = width / 2 and frequencies w_i = 10000^(-i / (h - shift)), the embedding of t is
/// `[sin(t w_0), .., sin(t w_{h-1}), cos(t w_0), .., cos(t w_{h-1})]`, or cosines first if `flip`.
///
/// Source: Vaswani et al. 2017, section 3.5 (<https://arxiv.org/abs/1706.03762>), as in Ho et al. 2020.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sinusoids {
    frequencies: Vec<f32>,
    flip: bool,
}

impl Sinusoids {
    pub(super) fn new(width: usize, shift: usize, flip: bool) -> Self {
        let half = width / 2;
        // In 32-bit floats and in PyTorch's order of operations: at t = 999 the last bit of a frequency is visible.
        let scale = -(10_000f64.ln()) as f32;
        let frequencies =
            (0..half).map(|i| (scale * i as f32 / (half as f32 - shift as f32)).exp()).collect();
        Self { frequencies, flip }
    }

    /// Timesteps `[batch]` to `[batch, width]`.
    fn forward(&self, timesteps: Tensor<1, Int>) -> Tensor<2> {
        let device = timesteps.device();
        let half = self.frequencies.len();
        let frequencies =
            Tensor::<2>::from_data(TensorData::new(self.frequencies.clone(), [1, half]), &device);
        let phases = timesteps.float().unsqueeze_dim::<2>(1) * frequencies;
        let (sines, cosines) = (phases.clone().sin(), phases.cos());
        if self.flip { Tensor::cat(vec![cosines, sines], 1) } else { Tensor::cat(vec![sines, cosines], 1) }
    }
}

/// `linear_2(silu(linear_1(sinusoids(t))))`
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
    #[module(skip)]
    sinusoids: Sinusoids,
}

impl TimestepEmbedding {
    pub(super) fn build(parts: &Parts<'_>) -> Result<Self, DiffusionError> {
        let config = parts.config;
        Ok(Self {
            linear_1: parts.linear("time_embedding.linear_1")?,
            linear_2: parts.linear("time_embedding.linear_2")?,
            sinusoids: Sinusoids::new(
                config.block_out_channels[0],
                config.freq_shift,
                config.flip_sin_to_cos,
            ),
        })
    }

    /// Timesteps `[batch]` to `[batch, width]`.
    pub fn forward(&self, timesteps: Tensor<1, Int>) -> Tensor<2> {
        let hidden = self.linear_1.forward(self.sinusoids.forward(timesteps));
        self.linear_2.forward(ops::silu(hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    // The digits are as diffusers prints them.
    #[allow(clippy::excessive_precision)]
    fn sinusoids_as_in_diffusers() {
        // diffusers.models.embeddings.get_timestep_embedding(torch.tensor([0, 10, 999]), 6, flip, shift), 0.42.1.
        let timesteps = Tensor::<1, Int>::from_data([0, 10, 999], &Device::flex());
        let plain = Sinusoids::new(6, 1, false).forward(timesteps.clone()).into_data();
        let expected = [
            [0.0, 0.0, 0.0, 1.0, 1.0, 1.0],
            [-0.54402113, 0.09983341, 0.001, -0.83907151, 0.99500418, 0.99999952],
            [-0.02646075, -0.53560317, 0.09973391, 0.99964982, -0.84446979, 0.99501413f32],
        ];
        plain.assert_approx_eq::<f32>(&TensorData::from(expected), burn::tensor::Tolerance::absolute(1e-6));
        let flipped = Sinusoids::new(6, 0, true).forward(timesteps).into_data();
        let expected = [
            [1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
            [-0.83907151, 0.89419842, 0.9997679, -0.54402113, 0.44767088, 0.02154268],
            [0.99964982, -0.72867334, -0.54926467, -0.02646075, 0.68486142, 0.83564848f32],
        ];
        flipped.assert_approx_eq::<f32>(&TensorData::from(expected), burn::tensor::Tolerance::absolute(1e-6));
    }
}

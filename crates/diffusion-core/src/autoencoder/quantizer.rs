//! The codebook.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

use crate::nn::parameter;
use crate::parameters::to_vec;
use crate::{DiffusionError, StateDict};

/// Name of the codebook's array.
pub(super) const CODEBOOK: &str = "quantize.embedding.weight";

/// A table of vectors, as `torch.nn.Embedding`.
#[derive(Module, Debug)]
struct Embedding {
    /// `[entries, dimension]`
    weight: Param<Tensor<2>>,
}

/// Replaces each latent z (a vector over the channels) by the nearest entry e of a codebook, diffusers' `VectorQuantizer`.
///
/// Source: van den Oord et al. 2017, equations 1 and 3, <https://arxiv.org/abs/1711.00937>.
#[derive(Module, Debug)]
pub struct VectorQuantizer {
    embedding: Embedding,
}

/// Latents after quantisation.
#[derive(Debug)]
pub struct Quantized {
    /// z + sg(e - z), `[batch, dimension, height, width]`: the entries in value, with the gradient of the latents (the
    /// straight-through estimator); sg stops gradients.
    pub latents: Tensor<4>,
    /// The number of the entry at each position, row-major `[batch, height, width]`; the lowest of equally near ones.
    pub indices: Vec<u32>,
    /// mean |sg(z) - e|^2 over all numbers, `[1]`: draws entries to the latents.
    pub codebook_loss: Tensor<1>,
    /// mean |z - sg(e)|^2, `[1]`: draws latents to their entries.
    pub commitment_loss: Tensor<1>,
}

impl VectorQuantizer {
    pub(super) fn load(weights: &StateDict, device: &Device) -> Result<Self, DiffusionError> {
        Ok(Self { embedding: Embedding { weight: parameter(CODEBOOK, weights.get(CODEBOOK)?, device)? } })
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.embedding.weight.dims()[0]
    }

    /// Replaces latents `[batch, dimension, height, width]`.
    ///
    /// # Errors
    /// [`DiffusionError::InputShape`] for another number of channels, [`DiffusionError::Device`] if the device fails.
    pub fn forward(&self, latents: Tensor<4>) -> Result<Quantized, DiffusionError> {
        let [batch, channels, height, width] = latents.dims();
        let dimension = self.embedding.weight.dims()[1];
        if channels != dimension {
            return Err(DiffusionError::InputShape {
                what: "a batch of latents",
                expected: format!("[batch, {dimension}, height, width]"),
                actual: vec![batch, channels, height, width],
            });
        }
        let indices = self.nearest(&latents)?;
        let numbers: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
        let count = numbers.len();
        let numbers = Tensor::<1, Int>::from_data(TensorData::new(numbers, [count]), &latents.device());
        let entries = self.embedding.weight.val().select(0, numbers);
        let entries = entries.reshape([batch, height, width, dimension]).permute([0, 3, 1, 2]);
        let to_entries = entries.clone() - latents.clone().detach();
        let to_latents = latents.clone() - entries.clone().detach();
        Ok(Quantized {
            latents: latents.clone() + (entries - latents).detach(),
            indices,
            codebook_loss: to_entries.square().mean(),
            commitment_loss: to_latents.square().mean(),
        })
    }

    /// The entry nearest to each latent, found on the host.
    fn nearest(&self, latents: &Tensor<4>) -> Result<Vec<u32>, DiffusionError> {
        let [batch, dimension, height, width] = latents.dims();
        let plane = height * width;
        let values = to_vec(latents.clone().without_autodiff())?;
        let entries = to_vec(self.embedding.weight.val().without_autodiff())?;
        let find = |position: usize| {
            let start = position / plane * dimension * plane + position % plane;
            let latent: Vec<f32> = (0..dimension).map(|c| values[start + c * plane]).collect();
            let mut best = (0, f32::INFINITY);
            for (number, entry) in entries.chunks_exact(dimension).enumerate() {
                let distance: f32 = entry.iter().zip(&latent).map(|(e, z)| (e - z) * (e - z)).sum();
                if distance < best.1 {
                    best = (number as u32, distance);
                }
            }
            best.0
        };
        Ok((0..batch * plane).into_par_iter().map(find).collect())
    }
}

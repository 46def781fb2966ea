//! Gradients of batches as plain rows of numbers.

use burn::tensor::{Device, Tensor, TensorData};
use data::Batches;
use diffusion_core::parameters::{parameter_infos, take_flat_gradients};
use diffusion_core::schedule::NoiseSchedule;
use diffusion_core::training::noise_loss;
use diffusion_core::{Denoiser, DiffusionError};
use streams::Streams;

use crate::UnlearnError;

/// Gives the gradient of each batch of one pass to `take`, all parameters in one row, with the batch's number of images.
/// `whose` names the images in errors.
pub(super) fn batch_gradients<M: Denoiser>(
    whose: &'static str,
    model: &M,
    images: &Batches,
    batch_size: usize,
    schedule: &NoiseSchedule,
    streams: &Streams,
    mut take: impl FnMut(Vec<f32>, usize) -> Result<(), UnlearnError>,
) -> Result<(), UnlearnError> {
    let lengths: Vec<usize> = parameter_infos(model).iter().map(|info| info.len()).collect();
    for number in 0..images.per_pass(batch_size) {
        let batch = images.of_pass(number, batch_size)?;
        let count = batch.indices.len();
        let loss = noise_loss(model, &batch, number as u64, schedule, streams)?;
        let mut gradients = loss.backward();
        let mut row = Vec::with_capacity(lengths.iter().sum());
        for (gradient, &length) in take_flat_gradients(model, &mut gradients).into_iter().zip(&lengths) {
            match gradient {
                Some(gradient) => row.extend(to_vec(gradient)?),
                // The loss does not depend on this parameter.
                None => row.resize(row.len() + length, 0.0),
            }
        }
        if !row.iter().all(|value| value.is_finite()) {
            return Err(UnlearnError::NotFinite { images: whose, batch: number });
        }
        take(row, count)?;
    }
    Ok(())
}

/// A mean over images of the gradients of batches, in 64 bits.
pub(super) struct Mean {
    sum: Vec<f64>,
    images: usize,
}

/// The mean of no gradients yet, over `images` images in all.
pub(super) fn mean_gradient(parameters: usize, images: usize) -> Mean {
    Mean { sum: vec![0.0; parameters], images }
}

impl Mean {
    /// Adds the gradient of a batch of `count` images.
    pub fn add(&mut self, gradient: &[f32], count: usize) {
        let weight = count as f64 / self.images as f64;
        for (sum, &value) in self.sum.iter_mut().zip(gradient) {
            *sum += weight * f64::from(value);
        }
    }

    /// The mean, once all batches are added.
    pub fn values(&self) -> &[f64] {
        &self.sum
    }
}

/// Copies a row off its device.
pub(super) fn to_vec(values: Tensor<1>) -> Result<Vec<f32>, UnlearnError> {
    values
        .try_into_vec_as::<f32>()
        .map_err(|error| DiffusionError::Device { reason: error.to_string() }.into())
}

/// Puts a row onto a device.
pub(super) fn on_device(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

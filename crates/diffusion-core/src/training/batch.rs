//! From images to what the network is trained on.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};
use data::ImageBatch;
use streams::{Streams, standard_normal};

use super::timesteps::antithetic_timesteps;
use crate::DiffusionError;
use crate::denoiser::Denoiser;
use crate::parameters::module_device;
use crate::schedule::NoiseSchedule;

/// The training loss of one batch, `[1]`: the mean squared error of the predicted noise (Ho et al. 2020, equation 14) at
/// antithetic timesteps, on the device of `model` and with its gradient if that is an autodiff device.
///
/// Noise and timesteps are those of `streams` under the `number` of the batch.
///
/// # Errors
/// [`DiffusionError::InputShape`] if the images are not of the model's shape or there are none.
pub fn noise_loss<M: Denoiser>(
    model: &M,
    images: &ImageBatch,
    number: u64,
    schedule: &NoiseSchedule,
    streams: &Streams,
) -> Result<Tensor<1>, DiffusionError> {
    let batch = NoisyBatch::new(images, number, model.sample_shape(), schedule, streams)?;
    batch.loss(model, 0..batch.len(), streams, number)
}

/// Noisy images, their timesteps, and the noise to be predicted, on the host.
///
/// A batch is drawn whole and may go through the network in slices: which images, noises and timesteps belong to a step
/// does not depend on how its batch is divided.
#[derive(Debug)]
pub struct NoisyBatch {
    /// x_t, `[batch, channels, height, width]`.
    noisy: Vec<f32>,
    /// t, `[batch]`.
    timesteps: Vec<i32>,
    /// epsilon, of `noisy`'s shape.
    noise: Vec<f32>,
    shape: [usize; 4],
}

impl NoisyBatch {
    /// Adds the noise of stream ("training noise", `number`) at the antithetic timesteps of stream
    /// ("timesteps", `number`).
    ///
    /// # Errors
    /// [`DiffusionError::InputShape`] if the images are not of `expected` shape `[channels, height, width]` or there
    /// are none.
    pub(super) fn new(
        images: &ImageBatch,
        number: u64,
        expected: [usize; 3],
        schedule: &NoiseSchedule,
        streams: &Streams,
    ) -> Result<Self, DiffusionError> {
        let [count, channels, height, width] = images.shape;
        if count == 0
            || [channels, height, width] != expected
            || images.pixels.len() != images.shape.iter().product::<usize>()
        {
            return Err(DiffusionError::InputShape {
                what: "a batch of training images",
                expected: format!(
                    "[at least 1, {}, {}, {}], all filled",
                    expected[0], expected[1], expected[2]
                ),
                actual: images.shape.to_vec(),
            });
        }
        let timesteps =
            antithetic_timesteps(&mut streams.rng("timesteps", number), schedule.timesteps(), count);
        let noise = standard_normal(&mut streams.rng("training noise", number), images.pixels.len());
        let noisy = schedule.add_noise(&images.pixels, &noise, &timesteps)?;
        let timesteps = timesteps.iter().map(|&t| t as i32).collect();
        Ok(Self { noisy, timesteps, noise, shape: images.shape })
    }

    /// Number of images.
    pub(super) fn len(&self) -> usize {
        self.shape[0]
    }

    /// The mean squared error over the images of `slice`, `[1]`. `number` and `streams` are those that a network with
    /// dropout draws from.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if the model has no parameters.
    pub(super) fn loss<M: Denoiser>(
        &self,
        model: &M,
        slice: Range<usize>,
        streams: &Streams,
        number: u64,
    ) -> Result<Tensor<1>, DiffusionError> {
        let predict = |noisy, times| model.predict_noise_in_training(noisy, times, streams, number);
        Ok(self.error(slice, &module_device(model)?, predict))
    }

    /// The mean squared error over the images of `slice` of what `predict` gives for noisy images and timesteps on `device`,
    /// `[1]`.
    pub(super) fn error(
        &self,
        slice: Range<usize>,
        device: &Device,
        predict: impl FnOnce(Tensor<4>, Tensor<1, Int>) -> Tensor<4>,
    ) -> Tensor<1> {
        let noise = self.images(&self.noise, slice.clone(), device);
        let noisy = self.images(&self.noisy, slice.clone(), device);
        let times = self.timesteps[slice.clone()].to_vec();
        let times = Tensor::<1, Int>::from_data(TensorData::new(times, [slice.len()]), device);
        let error = predict(noisy, times) - noise;
        (error.clone() * error).mean()
    }

    fn images(&self, values: &[f32], slice: Range<usize>, device: &Device) -> Tensor<4> {
        let [_, channels, height, width] = self.shape;
        let size = channels * height * width;
        let values = values[slice.start * size..slice.end * size].to_vec();
        Tensor::from_data(TensorData::new(values, [slice.len(), channels, height, width]), device)
    }
}

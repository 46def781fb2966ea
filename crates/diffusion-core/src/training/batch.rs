//! From images to what the network is trained on.

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
    let device = module_device(model)?;
    let batch = NoisyBatch::new(images, number, model.sample_shape(), schedule, streams, &device)?;
    let predicted = model.predict_noise_in_training(batch.noisy, batch.timesteps, streams, number);
    let error = predicted - batch.noise;
    Ok((error.clone() * error).mean())
}

/// Noisy images, their timesteps, and the noise to be predicted.
struct NoisyBatch {
    /// x_t, `[batch, channels, height, width]`.
    noisy: Tensor<4>,
    /// t, `[batch]`.
    timesteps: Tensor<1, Int>,
    /// epsilon, of `noisy`'s shape.
    noise: Tensor<4>,
}

impl NoisyBatch {
    /// Adds the noise of stream ("training noise", `number`) at the antithetic timesteps of stream
    /// ("timesteps", `number`).
    ///
    /// # Errors
    /// [`DiffusionError::InputShape`] if the images are not of `expected` shape `[channels, height, width]` or there
    /// are none.
    fn new(
        images: &ImageBatch,
        number: u64,
        expected: [usize; 3],
        schedule: &NoiseSchedule,
        streams: &Streams,
        device: &Device,
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
        let times: Vec<i32> = timesteps.iter().map(|&t| t as i32).collect();
        Ok(Self {
            noisy: Tensor::from_data(TensorData::new(noisy, images.shape), device),
            timesteps: Tensor::from_data(TensorData::new(times, [count]), device),
            noise: Tensor::from_data(TensorData::new(noise, images.shape), device),
        })
    }
}

//! From images to what the network is trained on.

use burn::tensor::{Device, Int, Tensor, TensorData};
use data::ImageBatch;
use streams::{Streams, standard_normal};

use super::timesteps::antithetic_timesteps;
use crate::DiffusionError;
use crate::schedule::NoiseSchedule;

/// Noisy images, their timesteps, and the noise to be predicted.
pub(super) struct NoisyBatch {
    /// x_t, `[batch, channels, height, width]`.
    pub noisy: Tensor<4>,
    /// t, `[batch]`.
    pub timesteps: Tensor<1, Int>,
    /// epsilon, of `noisy`'s shape.
    pub noise: Tensor<4>,
}

impl NoisyBatch {
    /// Adds the noise of stream ("training noise", `number`) at the antithetic timesteps of stream
    /// ("timesteps", `number`).
    ///
    /// # Errors
    /// [`DiffusionError::InputShape`] if the images are not of `expected` shape `[channels, height, width]` or there
    /// are none.
    pub fn new(
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

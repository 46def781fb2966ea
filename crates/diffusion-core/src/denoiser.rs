//! What the training loop and the samplers need of a network.

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use serde_json::Value;
use streams::Streams;

use crate::DiffusionError;

/// A network that predicts the noise in a noisy image.
///
/// Training, sampling and checkpoints work for any module of this kind; its parameters are named by their path of
/// fields.
pub trait Denoiser: Module {
    /// The predicted noise epsilon(x_t, t), of `x`'s shape.
    ///
    /// `x` is `[batch, channels, height, width]`, `timesteps` `[batch]` with values in 0..T.
    fn predict_noise(&self, x: Tensor<4>, timesteps: Tensor<1, Int>) -> Tensor<4>;

    /// As [`predict_noise`](Self::predict_noise), in training: a network with dropout takes its randomness from
    /// `streams`, under the `number` of the batch.
    fn predict_noise_in_training(
        &self,
        x: Tensor<4>,
        timesteps: Tensor<1, Int>,
        streams: &Streams,
        number: u64,
    ) -> Tensor<4> {
        // Most networks are the same in training.
        let _ = (streams, number);
        self.predict_noise(x, timesteps)
    }

    /// What the learning rate of the parameter with this name is multiplied by.
    fn learning_rate_scale(&self, parameter: &str) -> f64 {
        let _ = parameter;
        1.0
    }

    /// The architecture as the JSON object of its `config.json`: all that is needed, with the parameters, to rebuild
    /// the network.
    ///
    /// # Errors
    /// If the architecture cannot be written as JSON.
    fn config_json(&self) -> Result<Value, DiffusionError>;

    /// Shape `[channels, height, width]` of the images that it makes.
    fn sample_shape(&self) -> [usize; 3];
}

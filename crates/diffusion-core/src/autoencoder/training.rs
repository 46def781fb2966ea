//! What an autoencoder is trained to do: give its images back.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use data::ImageBatch;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use streams::{Streams, standard_normal};

use super::config::Bottleneck;
use super::model::Autoencoder;
use crate::DiffusionError;
use crate::parameters::module_device;
use crate::training::TrainingTask;

/// How far a decoded image is from its original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconstructionError {
    /// Mean absolute difference.
    L1,
    /// Mean squared difference.
    #[default]
    L2,
}

/// The loss of an autoencoder on a batch of images x:
///
/// ```text
/// error(decode(z + sg(e - z)), x) + codebook + commitment * mean |z - sg(e)|^2     with a codebook
/// error(decode(z), x) + divergence * mean KL of an image / numbers of an image      with a Gaussian
/// ```
///
/// with codebook = mean |sg(z) - e|^2, and z drawn from its distribution by stream ("latent noise", batch) for a Gaussian.
/// There is no perceptual and no adversarial term, so that edges stay softer than those of published autoencoders.
///
/// Source: van den Oord et al. 2017, equation 3, <https://arxiv.org/abs/1711.00937>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconstruction {
    /// How far an image is from its original.
    pub error: ReconstructionError,
    /// Weight of the commitment loss, the paper's beta; of no meaning to a Gaussian.
    pub commitment: f64,
    /// Weight of the Kullback-Leibler divergence; of no meaning to a codebook.
    pub divergence: f64,
}

impl Default for Reconstruction {
    fn default() -> Self {
        Self { error: ReconstructionError::default(), commitment: 0.25, divergence: 1e-6 }
    }
}

/// The parts of the loss, each `[1]`.
#[derive(Debug, Clone)]
pub struct ReconstructionTerms {
    /// The error of the decoded images.
    pub error: Tensor<1>,
    /// The weighted rest.
    pub bottleneck: Tensor<1>,
    /// The numbers of the codebook entries used, if there is a codebook.
    pub indices: Vec<u32>,
}

impl Reconstruction {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] naming the key.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        for (key, value) in [("commitment", self.commitment), ("divergence", self.divergence)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(DiffusionError::setting(
                    key,
                    format!("is {value}, but must be 0 or a positive number"),
                ));
            }
        }
        Ok(())
    }

    /// The parts of the loss on `images`, `[batch, channels, height, width]`. `noise` gives as many standard normal numbers as it
    /// is asked for.
    ///
    /// # Errors
    /// As [`Autoencoder::decode`].
    pub fn terms(
        &self,
        model: &Autoencoder,
        images: Tensor<4>,
        noise: impl FnOnce(usize) -> Vec<f32>,
    ) -> Result<ReconstructionTerms, DiffusionError> {
        let (latents, bottleneck, indices) = match model.config().bottleneck {
            Bottleneck::Codebook { .. } => {
                let quantized = model.quantize(model.encode(images.clone()))?;
                let rest = quantized.codebook_loss + quantized.commitment_loss * self.commitment;
                (quantized.latents, rest, quantized.indices)
            }
            Bottleneck::Gaussian { .. } => {
                let distribution = model.encode_distribution(images.clone())?;
                let shape = distribution.mean.dims();
                let noise = TensorData::new(noise(shape.iter().product()), shape);
                let noise = Tensor::from_data(noise, &images.device());
                let size: usize = images.dims()[1..].iter().product();
                let divergence = distribution.divergence().mean() * (self.divergence / size as f64);
                (distribution.sample(noise), divergence, Vec::new())
            }
        };
        let difference = model.decode_quantized(latents) - images;
        let error = match self.error {
            ReconstructionError::L1 => difference.abs().mean(),
            ReconstructionError::L2 => difference.square().mean(),
        };
        Ok(ReconstructionTerms { error, bottleneck, indices })
    }
}

impl TrainingTask<Autoencoder> for Reconstruction {
    type Batch = ImageBatch;

    fn draw(
        &self,
        model: &Autoencoder,
        images: ImageBatch,
        _number: u64,
        _streams: &Streams,
    ) -> Result<ImageBatch, DiffusionError> {
        let [count, channels, height, width] = images.shape;
        let (expected, factor) = (model.config().in_channels, model.config().factor());
        let fits = channels == expected && height.is_multiple_of(factor) && width.is_multiple_of(factor);
        if count == 0 || !fits || images.pixels.len() != images.shape.iter().product::<usize>() {
            return Err(DiffusionError::InputShape {
                what: "a batch of training images",
                expected: format!(
                    "[at least 1, {expected}, multiple of {factor}, multiple of {factor}], all filled"
                ),
                actual: images.shape.to_vec(),
            });
        }
        Ok(images)
    }

    fn images(batch: &ImageBatch) -> usize {
        batch.shape[0]
    }

    fn loss(
        &self,
        model: &Autoencoder,
        batch: &ImageBatch,
        slice: Range<usize>,
        streams: &Streams,
        number: u64,
    ) -> Result<Tensor<1>, DiffusionError> {
        let [_, channels, height, width] = batch.shape;
        let size = channels * height * width;
        let pixels = batch.pixels[slice.start * size..slice.end * size].to_vec();
        let shape = [slice.len(), channels, height, width];
        let images = Tensor::from_data(TensorData::new(pixels, shape), &module_device(model)?);
        let noise = |count| standard_normal(&mut streams.rng("latent noise", number), count);
        let terms = self.terms(model, images, noise)?;
        Ok(terms.error + terms.bottleneck)
    }

    fn config_json(&self, model: &Autoencoder) -> Result<Value, DiffusionError> {
        Ok(model.config().to_value())
    }

    fn settings(&self) -> Map<String, Value> {
        Map::from_iter([("reconstruction".to_owned(), json!(self))])
    }
}

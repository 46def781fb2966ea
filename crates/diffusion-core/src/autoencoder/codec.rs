//! Images and latents on the host, for callers without tensors.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use data::LatentScaling;
use streams::Streams;

use super::config::Bottleneck;
use super::model::Autoencoder;
use crate::DiffusionError;
use crate::parameters::{module_device, to_vec};

impl Autoencoder {
    /// Latents `[images, channels, height / factor, width / factor]` of images in [-1, 1], row-major `shape` `[images, in,
    /// height, width]`; in tiles if `tiled`. With `noise` (a standard normal number for each number of the latents), they are
    /// drawn from their distributions; else they are those of [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`DiffusionError::InputShape`] for images that the autoencoder cannot take; as [`encode_tiled`](Self::encode_tiled) and
    /// [`encode_distribution`](Self::encode_distribution); drawing from tiles is [`DiffusionError::Setting`].
    pub fn encode_values(
        &self,
        images: &[f32],
        shape: [usize; 4],
        noise: Option<&[f32]>,
        tiled: bool,
    ) -> Result<Vec<f32>, DiffusionError> {
        let model = self.valid();
        let factor = self.config().factor();
        let [count, channels, height, width] = shape;
        let fits = channels == self.config().in_channels
            && height.is_multiple_of(factor)
            && width.is_multiple_of(factor)
            && shape.iter().product::<usize>() == images.len();
        if count == 0 || !fits {
            return Err(DiffusionError::InputShape {
                what: "a batch of images for the autoencoder",
                expected: format!(
                    "[at least 1, {}, multiple of {factor}, multiple of {factor}], all filled",
                    self.config().in_channels
                ),
                actual: shape.to_vec(),
            });
        }
        let device = module_device(&model)?;
        let images = Tensor::<4>::from_data(TensorData::new(images.to_vec(), shape), &device);
        to_vec(match (noise, tiled) {
            (None, true) => model.encode_tiled(images)?,
            (None, false) => model.encode(images),
            (Some(_), true) => {
                return Err(DiffusionError::setting(
                    "posterior",
                    "cannot be drawn from in tiles: use the mean, or no tiling",
                ));
            }
            (Some(noise), false) => {
                let distribution = model.encode_distribution(images)?;
                let shape = distribution.mean.dims();
                if noise.len() != shape.iter().product::<usize>() {
                    let (shape, actual) = (shape.to_vec(), noise.len());
                    let expected = shape.iter().product();
                    return Err(DiffusionError::TensorSize { shape, expected, actual });
                }
                distribution.sample(Tensor::from_data(TensorData::new(noise.to_vec(), shape), &device))
            }
        })
    }

    /// As [`with_codebook_of`](Self::with_codebook_of), of images on the host.
    ///
    /// # Errors
    /// As [`with_codebook_of`](Self::with_codebook_of).
    pub fn with_codebook_of_values(
        self,
        images: &[f32],
        shape: [usize; 4],
        streams: &Streams,
    ) -> Result<Self, DiffusionError> {
        let device = module_device(&self)?.without_autodiff();
        let images = Tensor::<4>::from_data(TensorData::new(images.to_vec(), shape), &device);
        self.with_codebook_of(images, streams)
    }

    /// The latents of images, as [`encode_values`](Self::encode_values) gives them, and the codes that stand for them, row-major
    /// `[images, height, width]`; no codes without a codebook.
    ///
    /// # Errors
    /// As [`encode_values`](Self::encode_values).
    pub fn latents_and_codes(
        &self,
        images: &[f32],
        shape: [usize; 4],
    ) -> Result<(Vec<f32>, Vec<u32>), DiffusionError> {
        let latents = self.encode_values(images, shape, None, false)?;
        if matches!(self.config().bottleneck, Bottleneck::Gaussian { .. }) {
            return Ok((latents, Vec::new()));
        }
        let [count, _, height, width] = shape;
        let factor = self.config().factor();
        let latent_shape = [count, self.config().channels(), height / factor, width / factor];
        let device = module_device(self)?.without_autodiff();
        let tensor = Tensor::<4>::from_data(TensorData::new(latents.clone(), latent_shape), &device);
        let indices = self.valid().quantize(tensor)?.indices;
        Ok((latents, indices))
    }

    /// Images `[images, out, factor height, factor width]`, about in [-1, 1], of latents, row-major `shape` `[images, channels,
    /// height, width]`; in tiles if `tiled`.
    ///
    /// # Errors
    /// [`DiffusionError::TensorSize`] for another number of values; as [`decode_tiled`](Self::decode_tiled).
    pub fn decode_values(
        &self,
        latents: &[f32],
        shape: [usize; 4],
        tiled: bool,
    ) -> Result<Vec<f32>, DiffusionError> {
        let model = self.valid();
        let expected = shape.iter().product();
        if latents.len() != expected {
            return Err(DiffusionError::TensorSize {
                shape: shape.to_vec(),
                expected,
                actual: latents.len(),
            });
        }
        let latents =
            Tensor::<4>::from_data(TensorData::new(latents.to_vec(), shape), &module_device(&model)?);
        to_vec(if tiled { model.decode_tiled(latents)? } else { model.decode(latents)? })
    }

    /// How latents become what is diffused, by `shift_factor` and `scaling_factor`.
    pub fn scaling(&self) -> LatentScaling {
        let config = self.config();
        LatentScaling {
            shift: config.shift_factor.unwrap_or(0.0) as f32,
            factor: config.scaling_factor as f32,
        }
    }

    /// Turns latents into what is diffused.
    pub fn scale_values(&self, latents: &mut [f32]) {
        let scaling = self.scaling();
        latents.iter_mut().for_each(|value| *value = scaling.diffused(*value));
    }

    /// Turns what was diffused into latents.
    pub fn unscale_values(&self, diffused: &mut [f32]) {
        let scaling = self.scaling();
        diffused.iter_mut().for_each(|value| *value = scaling.latent(*value));
    }
}

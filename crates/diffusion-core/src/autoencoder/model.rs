//! The whole autoencoder.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use streams::{Streams, permutation};

use super::blocks::{Decoder, Encoder};
use super::config::{AutoencoderConfig, Bottleneck};
use super::gaussian::DiagonalGaussian;
use super::layout::autoencoder_layout;
use super::quantizer::{CODEBOOK, Quantized, VectorQuantizer};
use crate::nn::Conv2d;
use crate::parameters::to_vec;
use crate::unet::init::{initial_weights_of, uniform_tensor};
use crate::unet::parts::Parts;
use crate::{DiffusionError, StateDict, TensorF32, parameters};

/// diffusers' `VQModel` or `AutoencoderKL`. Every parameter's path of fields is its diffusers key.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use diffusion_core::autoencoder::{Autoencoder, AutoencoderConfig};
/// use streams::{Streams, permutation};
///
/// let device = Device::flex();
/// let model = Autoencoder::new(&AutoencoderConfig::vq(&[8, 16], 3, 32), &device, &Streams::new(0))?;
/// let latents = model.encode(Tensor::zeros([2, 3, 16, 16], &device));
/// assert_eq!(latents.dims(), [2, 3, 8, 8]);
/// assert_eq!(model.decode(latents)?.dims(), [2, 3, 16, 16]);
/// # Ok::<(), diffusion_core::DiffusionError>(())
/// ```
#[derive(Module, Debug)]
pub struct Autoencoder {
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
    quantize: Option<VectorQuantizer>,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
    #[module(skip)]
    config: AutoencoderConfig,
}

impl Autoencoder {
    /// An autoencoder with fresh weights: layers as those of the UNet, the codebook uniform in [-1/entries, 1/entries) as in
    /// diffusers.
    ///
    /// # Errors
    /// As [`AutoencoderConfig::validate`].
    pub fn new(
        config: &AutoencoderConfig,
        device: &Device,
        streams: &Streams,
    ) -> Result<Self, DiffusionError> {
        let mut weights = initial_weights_of(&autoencoder_layout(config)?, streams)?;
        if let Bottleneck::Codebook { entries, .. } = config.bottleneck {
            let shape = vec![entries, config.channels()];
            weights.insert(CODEBOOK, uniform_tensor(shape, 1.0 / entries as f64, streams, CODEBOOK)?);
        }
        Self::from_state_dict(config, &weights, device)
    }

    /// An autoencoder with the given weights.
    ///
    /// # Errors
    /// As [`AutoencoderConfig::validate`]; [`DiffusionError::MissingTensor`], [`DiffusionError::ShapeMismatch`] or
    /// [`DiffusionError::UnexpectedTensor`] if the weights are not exactly those of the configuration.
    pub fn from_state_dict(
        config: &AutoencoderConfig,
        weights: &StateDict,
        device: &Device,
    ) -> Result<Self, DiffusionError> {
        let layout = autoencoder_layout(config)?;
        let mut shapes = layout.parameter_shapes();
        if let Bottleneck::Codebook { entries, .. } = config.bottleneck {
            shapes.insert(CODEBOOK.to_owned(), vec![entries, config.channels()]);
        }
        weights.check_shapes(&shapes)?;
        // diffusers fixes the epsilon of all norms of its autoencoders.
        let parts = Parts::of_network(config, 1e-6, &layout, weights, device);
        let optional = |name: &str| parts.has(name).then(|| parts.conv(name)).transpose();
        let has_codebook = matches!(config.bottleneck, Bottleneck::Codebook { .. });
        Ok(Self {
            encoder: Encoder::build(&parts)?,
            quant_conv: optional("quant_conv")?,
            quantize: has_codebook.then(|| VectorQuantizer::load(weights, device)).transpose()?,
            post_quant_conv: optional("post_quant_conv")?,
            decoder: Decoder::build(&parts)?,
            config: config.clone(),
        })
    }

    /// The weights, copied off their device.
    ///
    /// # Errors
    /// [`DiffusionError::Device`] if the device fails to deliver them.
    pub fn state_dict(&self) -> Result<StateDict, DiffusionError> {
        parameters::state_dict_of(self)
    }

    /// The architecture.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// The same network with another factor that latents are multiplied by before they are diffused.
    #[must_use]
    pub fn with_scaling_factor(mut self, factor: f64) -> Self {
        self.config.scaling_factor = factor;
        self
    }

    /// The encoder's output and the 1 x 1 convolution after it, if there is one.
    fn moments(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.encoder.forward(x);
        match &self.quant_conv {
            Some(conv) => conv.forward(x),
            None => x,
        }
    }

    /// Latents of images `[batch, in, height, width]` in [-1, 1]: before quantisation, or the means of their distributions.
    /// `[batch, channels, height / factor, width / factor]`.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<4> {
        let moments = self.moments(images);
        match self.quantize {
            Some(_) => moments,
            None => DiagonalGaussian::from_moments(moments).mean,
        }
    }

    /// The distributions of the latents of images.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for an autoencoder with a codebook, which has none.
    pub fn encode_distribution(&self, images: Tensor<4>) -> Result<DiagonalGaussian, DiffusionError> {
        match self.quantize {
            None => Ok(DiagonalGaussian::from_moments(self.moments(images))),
            Some(_) => Err(DiffusionError::setting(
                "posterior",
                "is asked for, but a VQModel encodes each image to one latent; use its `mean`",
            )),
        }
    }

    /// Replaces latents by the nearest entries of the codebook.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for an autoencoder without a codebook; as [`VectorQuantizer::forward`].
    pub fn quantize(&self, latents: Tensor<4>) -> Result<Quantized, DiffusionError> {
        match &self.quantize {
            Some(quantizer) => quantizer.forward(latents),
            None => Err(DiffusionError::setting("model", "is an AutoencoderKL, which has no codebook")),
        }
    }

    /// Images `[batch, out, factor height, factor width]` of latents `[batch, channels, height, width]`, which a codebook replaces
    /// by its entries first. Values are about -1 to 1, not clipped.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize), for an autoencoder with a codebook.
    pub fn decode(&self, latents: Tensor<4>) -> Result<Tensor<4>, DiffusionError> {
        let latents = match &self.quantize {
            Some(quantizer) => quantizer.forward(latents)?.latents,
            None => latents,
        };
        Ok(self.decode_quantized(latents))
    }

    /// Images of latents as they are.
    pub(super) fn decode_quantized(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(match &self.post_quant_conv {
            Some(conv) => conv.forward(latents),
            None => latents,
        })
    }

    /// The same network with a codebook of latents that it has itself: those at positions of `images` drawn from stream
    /// ("codebook", 0). Training then begins with entries where latents are. Without a codebook, the network as it is.
    ///
    /// # Errors
    /// [`DiffusionError::Device`] if the device fails.
    pub fn with_codebook_of(self, images: Tensor<4>, streams: &Streams) -> Result<Self, DiffusionError> {
        let Bottleneck::Codebook { entries, .. } = self.config.bottleneck else { return Ok(self) };
        let latents = self.valid().encode(images.without_autodiff());
        let [batch, channels, height, width] = latents.dims();
        let (plane, values) = (height * width, to_vec(latents)?);
        let mut rng = streams.rng("codebook", 0);
        let mut order = Vec::new();
        while order.len() < entries {
            // With fewer positions than entries, some entries are equal at first.
            order.extend(permutation(&mut rng, batch * plane));
        }
        let mut codebook = Vec::with_capacity(entries * channels);
        for &position in &order[..entries] {
            let start = position / plane * channels * plane + position % plane;
            codebook.extend((0..channels).map(|channel| values[start + channel * plane]));
        }
        let mut weights = self.state_dict()?;
        weights.insert(CODEBOOK, TensorF32::new([entries, channels], codebook)?);
        Self::from_state_dict(&self.config, &weights, &parameters::module_device(&self)?)
    }
}

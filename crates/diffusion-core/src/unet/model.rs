//! The whole network.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde_json::Value;
use streams::Streams;

use super::adapter::{NoAdapter, ProjectionAdapter};
use super::blocks::{DownBlock, UNetMidBlock2D, UpBlock};
use super::config::UNet2DConfig;
use super::init::initial_weights;
use super::layout::Layout;
use super::parts::Parts;
use super::time_embedding::TimestepEmbedding;
use crate::denoiser::Denoiser;
use crate::nn::{Conv2d, GroupNorm, ops};
use crate::{DiffusionError, StateDict, parameters};

/// Diffusers' `UNet2DModel`: predicts the noise in an image from the image and its timestep.
///
/// A contracting path of residual blocks, a middle, and an expanding path whose blocks also see the contracting path's
/// maps of their size; attention at chosen levels. Every parameter's path of fields is its diffusers key.
///
/// Source: Ho et al. 2020, appendix B (<https://arxiv.org/abs/2006.11239>), in the form that diffusers gave it.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use diffusion_core::{UNet2DConfig, UNet2DModel};
/// use streams::Streams;
///
/// let device = Device::flex();
/// let model = UNet2DModel::new(&UNet2DConfig::small(8, &[8, 16]), &device, &Streams::new(0))?;
/// let noise = model.forward(Tensor::zeros([2, 3, 8, 8], &device), Tensor::<1, Int>::from_data([0, 999], &device));
/// assert_eq!(noise.dims(), [2, 3, 8, 8]);
/// # Ok::<(), diffusion_core::DiffusionError>(())
/// ```
#[derive(Module, Debug)]
pub struct UNet2DModel {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    down_blocks: Vec<DownBlock>,
    mid_block: UNetMidBlock2D,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    config: UNet2DConfig,
}

impl UNet2DModel {
    /// A network with fresh weights, see [`initial_weights`].
    ///
    /// # Errors
    /// As [`UNet2DConfig::validate`].
    pub fn new(config: &UNet2DConfig, device: &Device, streams: &Streams) -> Result<Self, DiffusionError> {
        Self::from_state_dict(config, &initial_weights(config, streams)?, device)
    }

    /// A network with the given weights.
    ///
    /// Parameters are trainable if `device` is an autodiff device.
    ///
    /// # Errors
    /// As [`UNet2DConfig::validate`]; [`DiffusionError::MissingTensor`], [`DiffusionError::ShapeMismatch`] or
    /// [`DiffusionError::UnexpectedTensor`] if the weights are not exactly those of the configuration.
    pub fn from_state_dict(
        config: &UNet2DConfig,
        weights: &StateDict,
        device: &Device,
    ) -> Result<Self, DiffusionError> {
        let layout = Layout::of(config)?;
        let parts = Parts::new(config, &layout, weights, device)?;
        Ok(Self {
            conv_in: parts.conv("conv_in")?,
            time_embedding: TimestepEmbedding::build(&parts)?,
            down_blocks: (0..config.levels())
                .map(|i| DownBlock::build(&parts, i))
                .collect::<Result<_, _>>()?,
            mid_block: UNetMidBlock2D::build(&parts)?,
            up_blocks: (0..config.levels()).map(|i| UpBlock::build(&parts, i)).collect::<Result<_, _>>()?,
            conv_norm_out: parts.norm("conv_norm_out")?,
            conv_out: parts.conv("conv_out")?,
            config: config.clone(),
        })
    }

    /// The parameters by their diffusers keys, copied off the device.
    ///
    /// # Errors
    /// If the device fails to deliver them.
    pub fn state_dict(&self) -> Result<StateDict, DiffusionError> {
        parameters::state_dict_of(self)
    }

    /// The architecture.
    pub fn config(&self) -> &UNet2DConfig {
        &self.config
    }

    /// Number of parameters.
    pub fn parameter_count(&self) -> usize {
        self.num_params()
    }

    /// The predicted noise, `[batch, out, height, width]`.
    ///
    /// `x` is `[batch, in, height, width]` with height and width that can be halved once for each level after the
    /// first, `timesteps` `[batch]`. Both must live where the parameters do (on the autodiff device, if they do).
    ///
    /// # Panics
    /// As burn's operations do, if the shapes are others.
    pub fn forward(&self, x: Tensor<4>, timesteps: Tensor<1, Int>) -> Tensor<4> {
        self.forward_adapted(x, timesteps, None::<&NoAdapter>)
    }

    /// As [`forward`](Self::forward), with what `adapter` adds to the projections of the attention blocks.
    ///
    /// # Panics
    /// As [`forward`](Self::forward), and if what is added has another shape.
    pub fn forward_adapted<A: ProjectionAdapter>(
        &self,
        x: Tensor<4>,
        timesteps: Tensor<1, Int>,
        adapter: Option<&A>,
    ) -> Tensor<4> {
        self.forward_conditioned(x, timesteps, None, adapter)
    }

    /// As [`forward_adapted`](Self::forward_adapted), with `condition` `[batch, width]` added to the embedding of the timesteps.
    ///
    /// # Panics
    /// As [`forward_adapted`](Self::forward_adapted), and if the condition has another shape.
    pub fn forward_conditioned<A: ProjectionAdapter>(
        &self,
        x: Tensor<4>,
        timesteps: Tensor<1, Int>,
        condition: Option<Tensor<2>>,
        adapter: Option<&A>,
    ) -> Tensor<4> {
        let time = self.time_embedding.forward(timesteps);
        let mut time = ops::silu(match condition {
            Some(condition) => time + condition,
            None => time,
        });
        let x = if self.config.center_input_sample { x * 2.0 - 1.0 } else { x };
        let mut x = self.conv_in.forward(x);
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, &mut time, &mut skips, adapter);
        }
        x = self.mid_block.forward(x, &mut time, adapter);
        for block in &self.up_blocks {
            x = block.forward(x, &mut time, &mut skips, adapter);
        }
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}

impl Denoiser for UNet2DModel {
    fn predict_noise(&self, x: Tensor<4>, timesteps: Tensor<1, Int>) -> Tensor<4> {
        self.forward(x, timesteps)
    }

    fn config_json(&self) -> Result<Value, DiffusionError> {
        // Plain data always become a JSON object.
        Ok(serde_json::to_value(&self.config).expect("a configuration is plain data"))
    }

    fn sample_shape(&self) -> [usize; 3] {
        [self.config.in_channels, self.config.sample_size, self.config.sample_size]
    }
}

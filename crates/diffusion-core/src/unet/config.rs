//! The architecture of a UNet as data: diffusers' `UNet2DModel` configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::DiffusionError;
use crate::config_keys::{check_layers, check_levels, check_positive, refuse};
use crate::unet::layout::Layout;

/// A level of the contracting path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum DownBlockType {
    /// Residual blocks only.
    DownBlock2D,
    /// Each residual block is followed by self-attention.
    AttnDownBlock2D,
}

/// A level of the expanding path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum UpBlockType {
    /// Residual blocks only.
    UpBlock2D,
    /// Each residual block is followed by self-attention.
    AttnUpBlock2D,
}

/// The architecture of a [`UNet2DModel`](crate::UNet2DModel): what diffusers keeps in a model folder's `config.json`.
///
/// Fields have diffusers' names and meanings. Options of diffusers that are not fields have one supported value (SiLU
/// activations, positional time embedding, `default` time-scale-shift, convolutional resampling, no dropout, no class
/// embedding); it is written to the file, and reading any other value is an error that names the key.
///
/// The [`Default`] is the default of diffusers, with a sample size of 64 where diffusers has none.
///
/// ```
/// use diffusion_core::UNet2DConfig;
///
/// let config = UNet2DConfig { layers_per_block: 2, ..UNet2DConfig::small(16, &[16, 32, 32]) };
/// config.validate()?;
/// assert_eq!(UNet2DConfig::from_json(&config.to_json(), "config.json")?, config);
/// # Ok::<(), diffusion_core::DiffusionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "super::config_json::ConfigFile", try_from = "serde_json::Map<String, serde_json::Value>")]
pub struct UNet2DConfig {
    /// Height and width of the images (or latents) that the model was made for, in pixels.
    pub sample_size: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Whether the input is given in `[0, 1]` and the network maps it to `[-1, 1]` first.
    pub center_input_sample: bool,
    /// Width of the time embedding; `None` is four times the first level's width.
    pub time_embedding_dim: Option<usize>,
    /// The `s` in the frequencies `10000^(-i / (half - s))` of the time embedding.
    pub freq_shift: usize,
    /// Whether the time embedding is `[cos, sin]` rather than `[sin, cos]`.
    pub flip_sin_to_cos: bool,
    /// The contracting path, finest level first.
    pub down_block_types: Vec<DownBlockType>,
    /// The expanding path, coarsest level first.
    pub up_block_types: Vec<UpBlockType>,
    /// Width of each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each contracting level; an expanding level has one more.
    pub layers_per_block: usize,
    /// What the outputs of the middle block's residual and attention blocks are divided by.
    pub mid_block_scale_factor: f64,
    /// Padding of the stride-2 convolutions: 1 on all sides, or 0, which pads right and bottom only.
    pub downsample_padding: usize,
    /// Channels of one attention head; `None` is a single head.
    pub attention_head_dim: Option<usize>,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Groups of the group norm before the middle block's attention; `None` is `norm_num_groups`.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in every group norm.
    pub norm_eps: f64,
    /// Whether the middle block has attention.
    pub add_attention: bool,
    /// Output channels of each convolution and linear layer that has fewer than the fields above give it, by the
    /// layer's diffusers name (`down_blocks.0.resnets.1.conv1`). Empty for an unpruned model. All input widths follow
    /// from these. Diffusers itself has no such key.
    pub pruned_channels: BTreeMap<String, usize>,
}

impl Default for UNet2DConfig {
    fn default() -> Self {
        use {DownBlockType::*, UpBlockType::*};
        Self {
            sample_size: 64,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_dim: None,
            freq_shift: 0,
            flip_sin_to_cos: true,
            down_block_types: vec![DownBlock2D, AttnDownBlock2D, AttnDownBlock2D, AttnDownBlock2D],
            up_block_types: vec![AttnUpBlock2D, AttnUpBlock2D, AttnUpBlock2D, UpBlock2D],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            add_attention: true,
            pruned_channels: BTreeMap::new(),
        }
    }
}

impl UNet2DConfig {
    /// The 35.75 M parameter network for 32 x 32 colour images of Ho et al. 2020 (<https://arxiv.org/abs/2006.11239>),
    /// with attention at 16 x 16.
    pub fn cifar() -> Self {
        Self {
            sample_size: 32,
            freq_shift: 1,
            flip_sin_to_cos: false,
            block_out_channels: vec![128, 256, 256, 256],
            downsample_padding: 0,
            attention_head_dim: None,
            norm_eps: 1e-6,
            ..Self::default().with_attention_at(&[1])
        }
    }

    /// The 274 M parameter network for 3 x 64 x 64 latents of CelebA-HQ of Rombach et al. 2022
    /// (<https://arxiv.org/abs/2112.10752>).
    pub fn celeba_latent() -> Self {
        Self { attention_head_dim: Some(32), ..Self::default() }
    }

    /// The network for digits, 1 x 32 x 32.
    pub fn mnist() -> Self {
        Self {
            sample_size: 32,
            in_channels: 1,
            out_channels: 1,
            block_out_channels: vec![128, 128, 256, 512],
            ..Self::default().with_attention_at(&[2])
        }
    }

    /// A network for a CPU: colour images of `sample_size`, levels of the given widths (multiples of 4), one residual
    /// block a level, attention in the middle block only, four groups to a norm.
    pub fn small(sample_size: usize, block_out_channels: &[usize]) -> Self {
        let levels = block_out_channels.len();
        Self {
            sample_size,
            block_out_channels: block_out_channels.to_vec(),
            down_block_types: vec![DownBlockType::DownBlock2D; levels],
            up_block_types: vec![UpBlockType::UpBlock2D; levels],
            layers_per_block: 1,
            attention_head_dim: None,
            norm_num_groups: 4,
            ..Self::default()
        }
    }

    /// The same network with attention at exactly these levels (0 is the finest), in both paths.
    pub fn with_attention_at(mut self, levels: &[usize]) -> Self {
        let count = self.block_out_channels.len();
        self.down_block_types = (0..count)
            .map(|level| match levels.contains(&level) {
                true => DownBlockType::AttnDownBlock2D,
                false => DownBlockType::DownBlock2D,
            })
            .collect();
        self.up_block_types = (0..count)
            .rev()
            .map(|level| match levels.contains(&level) {
                true => UpBlockType::AttnUpBlock2D,
                false => UpBlockType::UpBlock2D,
            })
            .collect();
        self
    }

    /// Number of resolutions.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Width of the time embedding before any pruning.
    pub fn time_embed_dim(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    /// Attention heads of a level `channels` wide before any pruning; pruning keeps them.
    pub fn heads(&self, channels: usize) -> usize {
        channels / self.head_dim(channels)
    }

    /// Channels of one attention head of a level `channels` wide before any pruning.
    ///
    /// Attention scores are divided by the square root of this, pruned or not: so a pruned network computes what the
    /// full one does with the removed channels at zero.
    pub fn head_dim(&self, channels: usize) -> usize {
        self.attention_head_dim.unwrap_or(channels)
    }

    /// Checks every value, and that all layers' widths fit together.
    ///
    /// # Errors
    /// [`DiffusionError::ConfigKey`] for a value out of range, [`DiffusionError::Architecture`] for the first layer
    /// whose width does not fit.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        Layout::of(self).map(drop)
    }

    /// The checks that concern single keys; [`Layout::of`] runs them before it looks at widths.
    pub(super) fn check_keys(&self) -> Result<(), DiffusionError> {
        let levels = self.levels();
        check_levels(levels, self.down_block_types.len(), self.up_block_types.len())?;
        check_layers(self.layers_per_block)?;
        check_positive(&[
            ("sample_size", self.sample_size),
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("norm_num_groups", self.norm_num_groups),
            ("time_embedding_dim", self.time_embedding_dim.unwrap_or(1)),
            ("attention_head_dim", self.attention_head_dim.unwrap_or(1)),
            ("attn_norm_num_groups", self.attn_norm_num_groups.unwrap_or(1)),
            ("block_out_channels", self.block_out_channels.iter().copied().min().unwrap_or(0)),
        ])?;
        let step = 1usize << (levels - 1);
        if !self.sample_size.is_multiple_of(step) {
            return refuse(
                "sample_size",
                format!(
                    "{} cannot be halved {} times; with {levels} levels it must be a multiple of {step}",
                    self.sample_size,
                    levels - 1
                ),
            );
        }
        let first = self.block_out_channels[0];
        if !first.is_multiple_of(2) || self.freq_shift >= first / 2 {
            return refuse(
                "block_out_channels",
                format!(
                    "starts with {first}, which is also the width of the sinusoidal time embedding: it must be even, \
                     and half of it more than freq_shift = {}",
                    self.freq_shift
                ),
            );
        }
        if self.downsample_padding > 1 {
            return refuse(
                "downsample_padding",
                format!("{} is not supported; use 0 or 1", self.downsample_padding),
            );
        }
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            return refuse("norm_eps", format!("{} must be positive", self.norm_eps));
        }
        if !(self.mid_block_scale_factor.is_finite() && self.mid_block_scale_factor != 0.0) {
            return refuse(
                "mid_block_scale_factor",
                format!("{} must not be zero", self.mid_block_scale_factor),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid() {
        for config in [
            UNet2DConfig::default(),
            UNet2DConfig::cifar(),
            UNet2DConfig::celeba_latent(),
            UNet2DConfig::mnist(),
            UNet2DConfig::small(16, &[16, 32, 32]),
        ] {
            config.validate().unwrap();
        }
    }

    #[test]
    fn attention_is_mirrored() {
        use {DownBlockType::*, UpBlockType::*};
        let config = UNet2DConfig::cifar();
        assert_eq!(config.down_block_types, [DownBlock2D, AttnDownBlock2D, DownBlock2D, DownBlock2D]);
        assert_eq!(config.up_block_types, [UpBlock2D, UpBlock2D, AttnUpBlock2D, UpBlock2D]);
    }

    #[test]
    fn bad_values_are_refused_by_key() {
        let good = UNet2DConfig::small(16, &[8, 16]);
        let bad: [(&str, UNet2DConfig); 10] = [
            ("block_out_channels", UNet2DConfig { block_out_channels: vec![], ..good.clone() }),
            ("block_out_channels", UNet2DConfig { block_out_channels: vec![7, 16], ..good.clone() }),
            ("down_block_types", UNet2DConfig { down_block_types: vec![], ..good.clone() }),
            ("sample_size", UNet2DConfig { sample_size: 15, ..good.clone() }),
            ("in_channels", UNet2DConfig { in_channels: 0, ..good.clone() }),
            ("layers_per_block", UNet2DConfig { layers_per_block: usize::MAX, ..good.clone() }),
            ("downsample_padding", UNet2DConfig { downsample_padding: 2, ..good.clone() }),
            ("norm_eps", UNet2DConfig { norm_eps: f64::NAN, ..good.clone() }),
            ("mid_block_scale_factor", UNet2DConfig { mid_block_scale_factor: 0.0, ..good.clone() }),
            ("attention_head_dim", UNet2DConfig { attention_head_dim: Some(0), ..good }),
        ];
        for (key, config) in bad {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("config key `{key}`")), "{key}: {error}");
        }
    }
}

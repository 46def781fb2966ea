//! `[model]`: the denoising network.

use diffusion_core::UNet2DConfig;
use serde::{Deserialize, Serialize};

use crate::error::StudyError;

/// Named architectures of the reference system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelPreset {
    /// A network for a CPU; `block_out_channels` gives its widths.
    Small,
    /// The 35.75 M parameter network for 32 x 32 images.
    Cifar,
    /// The network for 1 x 32 x 32 digits.
    Mnist,
    /// The 274 M parameter network for 3 x 64 x 64 faces, or latents of faces.
    Celeba,
}

/// The architecture: a preset, and what differs from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Whether the study has no such section, as it may where a loaded model says the architecture.
    #[serde(skip)]
    left_out: bool,
    /// What the other keys change.
    #[serde(default = "default_preset")]
    pub preset: ModelPreset,
    /// Width of each level, finest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_out_channels: Option<Vec<usize>>,
    /// Levels with self-attention, 0 being the finest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_levels: Option<Vec<usize>>,
    /// Residual blocks of each contracting level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers_per_block: Option<usize>,
    /// Groups of every group norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm_num_groups: Option<usize>,
    /// Channels of one attention head; a single head when left out of preset and file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_head_dim: Option<usize>,
    /// Whether the middle block has attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid_attention: Option<bool>,
}

fn default_preset() -> ModelPreset {
    ModelPreset::Small
}

impl ModelConfig {
    /// No section.
    pub(super) fn left_out() -> Self {
        Self {
            left_out: true,
            preset: default_preset(),
            block_out_channels: None,
            attention_levels: None,
            layers_per_block: None,
            norm_num_groups: None,
            attention_head_dim: None,
            mid_attention: None,
        }
    }

    /// Whether the study has no such section.
    pub fn is_left_out(&self) -> bool {
        self.left_out
    }

    /// The network's configuration for `channels` x `resolution` x `resolution` images or latents.
    ///
    /// # Errors
    /// [`StudyError::Model`] names the key that does not fit.
    pub fn unet(&self, channels: usize, resolution: usize) -> Result<UNet2DConfig, StudyError> {
        let widths = self.block_out_channels.clone();
        let mut unet = match self.preset {
            ModelPreset::Small => UNet2DConfig::small(resolution, widths.as_deref().unwrap_or(&[32, 64, 64])),
            ModelPreset::Cifar => UNet2DConfig::cifar(),
            ModelPreset::Mnist => UNet2DConfig::mnist(),
            ModelPreset::Celeba => UNet2DConfig::celeba_latent(),
        };
        unet.sample_size = resolution;
        (unet.in_channels, unet.out_channels) = (channels, channels);
        if let Some(widths) = widths {
            let same_depth = widths.len() == unet.block_out_channels.len();
            unet.block_out_channels = widths;
            if !same_depth && self.attention_levels.is_none() {
                return Err(StudyError::InvalidKey {
                    key: "model.block_out_channels",
                    value: format!("{:?}", unet.block_out_channels),
                    allowed: "as many levels as the preset has, unless `attention_levels` is given too",
                });
            }
        }
        if let Some(levels) = &self.attention_levels {
            if let Some(level) = levels.iter().find(|&&level| level >= unet.levels()) {
                return Err(StudyError::InvalidKey {
                    key: "model.attention_levels",
                    value: level.to_string(),
                    allowed: "levels of the network, counted from 0",
                });
            }
            unet = unet.with_attention_at(levels);
        }
        unet.layers_per_block = self.layers_per_block.unwrap_or(unet.layers_per_block);
        unet.norm_num_groups = self.norm_num_groups.unwrap_or(unet.norm_num_groups);
        unet.attention_head_dim = self.attention_head_dim.or(unet.attention_head_dim);
        unet.add_attention = self.mid_attention.unwrap_or(unet.add_attention);
        unet.validate().map_err(|source| StudyError::Model { source })?;
        Ok(unet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ModelConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_presets_are_valid_and_can_be_changed() {
        assert_eq!(parse("preset = 'cifar'").unet(3, 32).unwrap(), UNet2DConfig::cifar());
        let small = parse("block_out_channels = [16, 32]\nattention_levels = [1]\nlayers_per_block = 2")
            .unet(3, 8)
            .unwrap();
        assert_eq!((small.levels(), small.layers_per_block, small.sample_size), (2, 2, 8));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |text: &str, size| parse(text).unet(3, size).unwrap_err().to_string();
        assert!(error("attention_levels = [3]", 16).contains("model.attention_levels"));
        assert!(
            error("preset = 'cifar'\nblock_out_channels = [16, 32]", 16).contains("model.block_out_channels")
        );
        assert!(error("block_out_channels = [16, 30]\nattention_levels = []", 16).contains("30"));
        assert!(error("", 18).contains("18"));
    }
}

//! `[vqvae]`: an autoencoder trained on the study's own images.

use diffusion_core::autoencoder::{AutoencoderConfig, Reconstruction, ReconstructionError};
use diffusion_core::training::TrainingConfig;
use serde::{Deserialize, Serialize};

use super::require;
use super::training::validate_optimization;
use crate::error::StudyError;

/// What `tribute-train --model vqvae` trains. No record depends on it: latents are bound to the finished autoencoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VqvaeConfig {
    /// Width of each level, finest first; each level after the first halves height and width.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level of the encoder.
    pub layers_per_block: usize,
    /// Channels of the latents, and numbers of a code.
    pub latent_channels: usize,
    /// Codes.
    pub num_vq_embeddings: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Whether the middles of encoder and decoder have attention.
    pub mid_attention: bool,
    /// How far a decoded image is from its original.
    pub reconstruction: ReconstructionError,
    /// Weight of the commitment loss.
    pub commitment: f64,
    /// Optimiser updates.
    pub steps: u64,
    /// Batch size, optimiser, clipping and average; those of `[train]` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimization: Option<TrainingConfig>,
}

impl Default for VqvaeConfig {
    fn default() -> Self {
        Self {
            block_out_channels: vec![32, 64, 64],
            layers_per_block: 1,
            latent_channels: 3,
            num_vq_embeddings: 256,
            norm_num_groups: 4,
            mid_attention: true,
            reconstruction: ReconstructionError::L2,
            commitment: 0.25,
            steps: 5000,
            optimization: None,
        }
    }
}

impl VqvaeConfig {
    /// Whether all keys have their defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The architecture, for images of `resolution` pixels.
    ///
    /// # Errors
    /// [`StudyError::Section`] naming the key that does not fit.
    pub fn autoencoder(&self, resolution: usize) -> Result<AutoencoderConfig, StudyError> {
        let config = AutoencoderConfig {
            layers_per_block: self.layers_per_block,
            norm_num_groups: self.norm_num_groups,
            mid_block_add_attention: self.mid_attention,
            sample_size: resolution,
            ..AutoencoderConfig::vq(&self.block_out_channels, self.latent_channels, self.num_vq_embeddings)
        };
        let checked = config.validate().and_then(|()| config.latent_side(resolution));
        checked.map_err(|source| StudyError::Section { section: "vqvae", source })?;
        Ok(config)
    }

    /// The loss.
    pub fn task(&self) -> Reconstruction {
        Reconstruction {
            error: self.reconstruction,
            commitment: self.commitment,
            ..Reconstruction::default()
        }
    }

    pub(super) fn validate(&self) -> Result<(), StudyError> {
        require(self.steps > 0, "vqvae.steps", self.steps, "1 or more")?;
        self.task().validate().map_err(|source| StudyError::Section { section: "vqvae", source })?;
        let key = "vqvae.optimization.objective";
        self.optimization.as_ref().map_or(Ok(()), |c| validate_optimization("vqvae.optimization", key, c))
    }
}

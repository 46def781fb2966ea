//! `[latent]`: diffusion in the latent space of an autoencoder.

use std::path::{Path, PathBuf};

use diffusion_core::samplers::Sampler;
use serde::{Deserialize, Serialize};

use super::require;
use crate::error::StudyError;

/// Models of latents in place of pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentConfig {
    /// Folder of the autoencoder: diffusers' `VQModel` or `AutoencoderKL`.
    #[serde(default)]
    pub model: PathBuf,
    /// Whether latents are kept on disk; images are encoded at each start when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precompute: Option<Precompute>,
    /// Folder of the latents on disk.
    #[serde(default = "default_folder")]
    pub folder: PathBuf,
    /// What latents are multiplied by before they are diffused; the autoencoder's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_factor: Option<f64>,
    /// Which latent an image of an `AutoencoderKL` has.
    #[serde(default)]
    pub posterior: Posterior,
    /// Whether images larger than the autoencoder was made for go through it in tiles.
    #[serde(default)]
    pub tiling: bool,
    /// Images that go through the autoencoder at once; changes speed and memory, never a latent.
    #[serde(default = "default_batch")]
    pub batch_size: usize,
}

/// `latent.precompute`, and `--precompute_stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precompute {
    /// Take latents from the folder, encode the images that it lacks, and keep those too.
    Save,
    /// Take all latents from the folder; an image that it lacks is an error.
    Reuse,
}

/// `latent.posterior`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Posterior {
    /// The mean of its distribution.
    #[default]
    Mean,
    /// One draw from its distribution, by the image's pixels and the study's seed.
    Sample,
}

pub(super) fn default_folder() -> PathBuf {
    PathBuf::from("latents")
}

fn default_batch() -> usize {
    16
}

impl LatentConfig {
    /// The latent space of the autoencoder in a folder, with defaults for all else.
    pub(super) fn of(model: PathBuf) -> Self {
        Self {
            model,
            precompute: None,
            folder: default_folder(),
            scaling_factor: None,
            posterior: Posterior::default(),
            tiling: false,
            batch_size: default_batch(),
        }
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        // Left out, it stays empty and is told about.
        if !self.model.as_os_str().is_empty() {
            self.model = base.join(&self.model);
        }
        self.folder = base.join(&self.folder);
    }

    pub(super) fn validate(&self, sampler: &Sampler) -> Result<(), StudyError> {
        require(
            !self.model.as_os_str().is_empty(),
            "latent.model",
            "missing",
            "the folder of an autoencoder, a diffusers VQModel or AutoencoderKL; tribute-train --model vqvae makes one",
        )?;
        require(self.batch_size > 0, "latent.batch_size", self.batch_size, "1 or more")?;
        let factor = self.scaling_factor.unwrap_or(1.0);
        require(
            factor != 0.0 && factor.is_finite(),
            "latent.scaling_factor",
            factor,
            "a number other than 0, or left out for the autoencoder's",
        )?;
        let clips = match sampler {
            Sampler::Ddim(config) => config.clip_sample,
            Sampler::Ddpm(config) => config.clip_sample,
        };
        require(
            !clips,
            "sample.sampler.clip_sample",
            clips,
            "false in latent space: latents are not limited to [-1, 1], so clipping would spoil them. Write \
             sampler = { kind = \"ddim\", clip_sample = false } in [sample]",
        )
    }
}

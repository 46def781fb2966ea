//! `[measures]`: what behaviours refer to.

use std::path::{Path, PathBuf};

use behavior::measure::held_out_loss::HeldOutLossConfig;
use data::{Dataset, OpenOptions};
use serde::{Deserialize, Serialize};

use super::require;
use crate::error::StudyError;

/// What behaviours are measured against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MeasuresConfig {
    /// Noises of each held-out image in `diffusion_loss`.
    pub noises: usize,
    /// Images that distances, manifolds and clusters refer to; the training images when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<PathBuf>,
}

impl Default for MeasuresConfig {
    fn default() -> Self {
        Self { noises: HeldOutLossConfig::default().noises, reference: None }
    }
}

impl MeasuresConfig {
    /// Whether all keys have their defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Opens the reference images at the side of the training images.
    pub(crate) fn open_reference(&self, resolution: usize) -> Result<Option<Dataset>, StudyError> {
        let Some(path) = &self.reference else { return Ok(None) };
        let resolution = u32::try_from(resolution).ok();
        Ok(Some(Dataset::open(path, &OpenOptions { resolution, ..OpenOptions::default() })?))
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        self.reference = self.reference.take().map(|path| base.join(path));
    }

    pub(super) fn validate(&self) -> Result<(), StudyError> {
        require((1..=10_000).contains(&self.noises), "measures.noises", self.noises, "1 to 10,000")
    }
}

//! What becomes of latents.

use clap::ValueEnum;
use study::{Overrides, Precompute};

/// `--precompute-stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecomputeStage {
    /// Encode the images that the folder of latents lacks, and keep their latents there
    Save,
    /// Take all latents from the folder
    Reuse,
}

impl PrecomputeStage {
    /// Sets `latent.precompute`, if the option was given.
    pub fn lay_over(stage: Option<Self>, set: &mut Overrides) {
        let stage = stage.map(|stage| match stage {
            Self::Save => Precompute::Save,
            Self::Reuse => Precompute::Reuse,
        });
        set.set("latent.precompute", stage);
    }
}

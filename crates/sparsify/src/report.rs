//! What pruning saves.

use diffusion_core::UNet2DConfig;
use diffusion_core::unet::layout::Layout;
use serde::Serialize;

use crate::SparsifyError;

/// How large a network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NetworkSize {
    /// Number of weights and biases.
    pub parameters: usize,
    /// Multiply-accumulates of one forward pass of one image of the configuration's sample size (for a latent model, one
    /// latent).
    pub macs: u64,
}

impl NetworkSize {
    /// The size of this network.
    ///
    /// # Errors
    /// [`SparsifyError::Model`] if the configuration is not valid.
    pub fn of(config: &UNet2DConfig) -> Result<Self, SparsifyError> {
        let layout = Layout::of(config)?;
        let macs = layout.macs(config.sample_size, config.sample_size)?;
        Ok(Self { parameters: layout.parameter_count(), macs })
    }
}

/// A network's size before and after pruning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PruningReport {
    /// The network that was pruned.
    pub before: NetworkSize,
    /// What is left of it.
    pub after: NetworkSize,
}

impl PruningReport {
    /// Compares two configurations.
    ///
    /// # Errors
    /// [`SparsifyError::Model`] if one of them is not valid.
    pub fn of(before: &UNet2DConfig, after: &UNet2DConfig) -> Result<Self, SparsifyError> {
        Ok(Self { before: NetworkSize::of(before)?, after: NetworkSize::of(after)? })
    }

    /// The fraction of parameters that is left, 0 to 1.
    pub fn parameters_left(&self) -> f64 {
        self.after.parameters as f64 / self.before.parameters as f64
    }

    /// The fraction of multiply-accumulates that is left, 0 to 1.
    pub fn macs_left(&self) -> f64 {
        self.after.macs as f64 / self.before.macs as f64
    }
}

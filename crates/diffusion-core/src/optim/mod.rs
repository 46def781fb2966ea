//! Optimisers as PyTorch computes them, and global-norm clipping.

mod adam;
mod clip;
mod config;

pub use adam::{Moments, Optimizer};
pub use clip::{clip_coefficient, squared_norm};
pub use config::{OptimizerConfig, OptimizerKind};

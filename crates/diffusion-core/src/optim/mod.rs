//! Optimisers as PyTorch computes them, and global-norm clipping.

mod adam;
mod clip;
mod config;
mod quantized;
mod state_file;

pub use adam::{Moments, Optimizer};
pub use clip::{clip_coefficient, squared_norm};
pub use config::{OptimizerConfig, OptimizerKind, StateBits};
pub use quantized::{DynamicMap, QuantizedRow, SMALLEST_QUANTIZED};

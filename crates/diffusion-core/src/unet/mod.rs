//! Diffusers' `UNet2DModel`: the network that predicts the noise in an image.

mod adapter;
mod attention;
pub(crate) mod blocks;
mod conditional;
mod config;
pub(crate) mod config_json;
pub(crate) mod init;
pub mod layout;
mod model;
pub(crate) mod parts;
pub(crate) mod refinement;
mod resnet;
mod time_embedding;

pub use adapter::{NoAdapter, Projection, ProjectionAdapter};
pub use attention::Attention;
pub use blocks::{DownBlock, Downsample2D, UNetMidBlock2D, UpBlock, Upsample2D};
pub use conditional::ConditionalUNet;
pub use config::{DownBlockType, UNet2DConfig, UpBlockType};
pub(crate) use config_json::DIFFUSERS_VERSION;
pub use init::initial_weights;
pub use model::UNet2DModel;
pub use resnet::ResnetBlock2D;
pub use time_embedding::TimestepEmbedding;

use crate::DiffusionError;

/// Multiply-accumulates of one forward pass of one image of `height` x `width`; see [`layout::Layout::macs`].
///
/// # Errors
/// As [`UNet2DConfig::validate`] and [`layout::Layout::macs`].
pub fn macs(config: &UNet2DConfig, height: usize, width: usize) -> Result<u64, DiffusionError> {
    layout::Layout::of(config)?.macs(height, width)
}

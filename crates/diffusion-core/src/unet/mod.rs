//! Diffusers' `UNet2DModel`: the network that predicts the noise in an image.

mod config;
mod config_json;
pub mod layout;

pub use config::{DownBlockType, UNet2DConfig, UpBlockType};

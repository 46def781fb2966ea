//! UNet, noise schedules, samplers, optimisers, EMA and the training loop.
//!
//! A diffusion model here is diffusers' `UNet2DModel` in the layout of diffusers' folders. Its architecture is data
//! ([`UNet2DConfig`]), its weights are named arrays ([`StateDict`]), and both can be read, changed and written without
//! a device; the network itself runs on any burn backend.

mod atomic_file;
mod error;
mod state_dict;
pub mod unet;

pub use atomic_file::write_atomically;
pub use error::DiffusionError;
pub use state_dict::{StateDict, TensorF32};
pub use unet::{DownBlockType, UNet2DConfig, UpBlockType};

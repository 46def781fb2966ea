//! UNet, noise schedules, samplers, optimisers, EMA and the training loop.
//!
//! A diffusion model here is diffusers' `UNet2DModel` in the layout of diffusers' folders. Its architecture is data
//! ([`UNet2DConfig`]), its weights are named arrays ([`StateDict`]), and both can be read, changed and written without
//! a device; the network itself runs on any burn backend.

mod atomic_file;
pub mod autoencoder;
mod config_keys;
mod denoiser;
pub mod device;
pub mod ema;
mod error;
pub mod model_folder;
pub mod nn;
pub mod optim;
pub mod parameters;
pub mod pipeline;
pub mod samplers;
pub mod schedule;
mod state_dict;
pub mod training;
pub mod unet;
mod weight_files;

pub use atomic_file::{create_file, remove_if_abandoned, write_atomically};
/// What a network is to the training loop: its parameters.
pub use burn::module::Module;
/// Where tensors live; see [`device::DeviceChoice`] to open one by name.
pub use burn::tensor::Device;
pub use denoiser::Denoiser;
pub use error::{DiffusionError, remedy};
pub use schedule::{NoiseSchedule, NoiseScheduleConfig};
pub use state_dict::{StateDict, TensorF32};
pub use unet::{DownBlockType, UNet2DConfig, UNet2DModel, UpBlockType};

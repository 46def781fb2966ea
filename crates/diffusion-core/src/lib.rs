//! UNet, noise schedules, samplers, optimisers, EMA and the training loop.
//!
//! A diffusion model here is diffusers' `UNet2DModel` in the layout of diffusers' folders. Its architecture is data
//! ([`UNet2DConfig`]), its weights are named arrays ([`StateDict`]), and both can be read, changed and written without
//! a device; the network itself runs on any burn backend.
//!
//! Training takes images by the batch ([`data::BatchSource`]), sampling the averaged weights:
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use data::Dataset;
//! use diffusion_core::samplers::{SampleConfig, sample};
//! use diffusion_core::training::{StepReport, Trainer, TrainingConfig};
//! use diffusion_core::{Device, NoiseScheduleConfig, UNet2DConfig, UNet2DModel, model_folder};
//! use streams::Streams;
//!
//! let streams = Streams::new(1);
//! let images = (0..8u8).map(|k| (if k < 4 { "Ann" } else { "Bob" }, vec![30 * k; 8 * 8 * 3]));
//! let batches = Dataset::from_images((8, 8), images)?.all().batches(streams, true)?;
//!
//! // The network and the forward process of noise; `Device::flex()` is the CPU.
//! let model = UNet2DModel::new(&UNet2DConfig::small(8, &[8, 16]), &Device::flex(), &streams)?;
//! let forward = NoiseScheduleConfig::default();
//! let schedule = forward.build()?;
//!
//! let settings = TrainingConfig { batch_size: 4, ..TrainingConfig::default() };
//! let mut trainer = Trainer::new(model, settings, schedule.clone(), streams)?;
//! trainer.step_to(&batches, 3, &mut |report: &StepReport| {
//!     println!("step {}: loss {:.3}", report.step, report.loss);
//!     ControlFlow::Continue(())
//! })?;
//! let trained = trainer.ema_model()?;
//!
//! // Pictures 0 and 1, which do not depend on what else is sampled.
//! let how = SampleConfig { steps: 5, ..SampleConfig::default() };
//! let pictures = sample(&trained, &schedule, &how, &[0, 1], &streams, &mut |_| ControlFlow::Continue(()))?;
//! assert_eq!(pictures.shape, [2, 8, 8, 3]);
//!
//! // A folder that diffusers loads, too, and back.
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().join("model");
//! model_folder::write(&folder, trained.config(), &trained.state_dict()?, Some((&forward).into()))?;
//! let (config, weights) = model_folder::read(&folder)?;
//! let read = UNet2DModel::from_state_dict(&config, &weights, &Device::flex())?;
//! assert_eq!(read.state_dict()?, trained.state_dict()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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

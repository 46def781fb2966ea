//! From a model and a coalition to the model of that coalition.
//!
//! R are the images of those who remain, D those of the removed. [`Method::Retrain`] is the truth; [`Method::Gd`] on a
//! pruned parent is sparsified fine-tuning, the cheap stand-in that makes thousands of coalitions affordable. The others
//! are what the literature offers besides.
//!
//! Most methods are a set of values given to the one training loop of `diffusion-core`: where it starts, whose images it
//! sees, which way it drives the loss and for how long ([`prepare`]). [`lora`] trains low-rank adapters in that loop, and
//! [`influence`] makes one jump without it.
//!
//! ```
//! use data::Dataset;
//! use diffusion_core::training::{Silent, TrainingConfig};
//! use diffusion_core::{Device, NoiseScheduleConfig, UNet2DConfig, UNet2DModel};
//! use removal::Coalition;
//! use streams::Streams;
//! use unlearn::{Images, Method, Start, prepare};
//!
//! let streams = Streams::new(1);
//! let pictures = (0..8u8).map(|k| (if k < 4 { "Ann" } else { "Bob" }, vec![30 * k; 8 * 8 * 3]));
//! let dataset = Dataset::from_images((8, 8), pictures)?;
//! let architecture = UNet2DConfig::small(8, &[8, 16]);
//! let fresh = || Ok(UNet2DModel::new(&architecture, &Device::flex(), &streams)?);
//! // In practice trained on everybody's images, and pruned.
//! let parent = fresh()?;
//!
//! // The model without Bob.
//! let method = Method::Gd;
//! let remaining = Coalition::from_members(2, [0])?;
//! let images = match method.images() {
//!     Images::Remaining => dataset.view(&remaining)?,
//!     Images::Removed => dataset.view(&remaining.complement())?,
//!     Images::All => dataset.all(),
//! };
//! let start = Start { fresh: &fresh, parent: Some(&parent) };
//! let settings = TrainingConfig { batch_size: 4, ..TrainingConfig::default() };
//! let mut trainer = prepare(method, &start, &settings, NoiseScheduleConfig::default().build()?, streams)?;
//! trainer.step_to(&images.batches(streams, false)?, 2, &mut Silent)?;
//! let without_bob = trainer.ema_model()?;
//! assert_ne!(without_bob.state_dict()?, parent.state_dict()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ascent;
mod error;
pub mod influence;
pub mod lora;
mod method;
mod run;

pub use ascent::AscentSettings;
pub use error::UnlearnError;
pub use influence::{InfluenceSettings, InfluenceVariant};
pub use lora::LoraSettings;
pub use method::{Images, Method, MethodOn, ParentModel};
pub use run::{Start, prepare};

//! Comparison methods: scores of training images, and of the contributors who supplied them, from one trained model and
//! its samples, without making a model for any coalition.
//!
//! [`InfluenceMethod`] lists them with formula and source. [`similarity`] compares pixels or features. The others compare
//! gradients: [`GradientModel`] gives the gradient of each image from one backward pass for many, and [`Projection`] makes
//! it small, [`Kernel`] scores them, and [`GradientScorer`] does all of it.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use diffusion_core::samplers::SampleConfig;
//! use diffusion_core::{Device, NoiseScheduleConfig, UNet2DConfig, UNet2DModel};
//! use influence::{CleanImages, GradientScorer, InfluenceConfig, InfluenceMethod};
//! use streams::Streams;
//!
//! let streams = Streams::new(1);
//! let model = UNet2DModel::new(&UNet2DConfig::small(8, &[8, 16]), &Device::flex(), &streams)?;
//! // Four training images, two each of contributors 0 and 1, and one sample: 8-bit pixels `[height, width, 3]`.
//! let owners = [0, 0, 1, 1];
//! let pixels: Vec<u8> = (0..4u8).flat_map(|image| [60 * image; 8 * 8 * 3]).collect();
//! let train = CleanImages::from_bytes(&pixels, [3, 8, 8], vec![0, 1, 2, 3])?;
//! let samples = CleanImages::from_bytes(&[90; 8 * 8 * 3], [3, 8, 8], vec![0])?;
//!
//! let scorer = GradientScorer {
//!     model: &model,
//!     schedule: &NoiseScheduleConfig::default().build()?,
//!     config: &InfluenceConfig { timesteps: 2, dimension: 16, ..InfluenceConfig::default() },
//!     train: &train,
//!     samples: &samples,
//!     sampling: &SampleConfig::default(),
//!     sampling_streams: &streams,
//!     streams,
//! };
//! let scores = scorer.scores(&[InfluenceMethod::Trak], &mut |_| ControlFlow::Continue(()))?;
//! assert_eq!(scores[0].scores.len(), 4);
//! let of_contributors = InfluenceMethod::Trak.aggregate().of(&scores[0].scores, &owners, 2)?;
//! assert_eq!(of_contributors.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod error;
mod features;
mod gradient_scores;
mod image_gradients;
mod kernel;
mod method;
mod projection;
pub mod similarity;

pub use config::{InfluenceConfig, ProjectionKind};
pub use error::InfluenceError;
pub use features::{CleanImages, even_timesteps, gradient_features};
pub use gradient_scores::{GradientProgress, GradientScorer, ImageScores};
pub use image_gradients::{GradientModel, NoisyImages, TakeGradients, Target};
pub use kernel::{Kernel, gradient_similarity};
pub use method::{Aggregate, Evidence, InfluenceMethod};
pub use projection::Projection;

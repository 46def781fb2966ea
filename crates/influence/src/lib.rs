//! Comparison methods: scores of training images, and of the contributors who supplied them, from one trained model and
//! its samples, without making a model for any coalition.
//!
//! [`InfluenceMethod`] lists them with formula and source. [`similarity`] compares pixels or features. The others compare
//! gradients: [`GradientModel`] gives the gradient of each image from one backward pass for many, and [`Projection`] makes
//! it small, [`Kernel`] scores them, and [`GradientScorer`] does all of it.

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

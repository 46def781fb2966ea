//! Comparison methods: scores of training images, and of the contributors who supplied them, from one trained model and
//! its samples, without making a model for any coalition.
//!
//! [`InfluenceMethod`] lists them with formula and source. [`similarity`] compares pixels or features.

mod config;
mod error;
mod method;
pub mod similarity;

pub use config::{InfluenceConfig, ProjectionKind};
pub use error::InfluenceError;
pub use method::{Aggregate, Evidence, InfluenceMethod};

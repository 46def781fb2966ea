//! From a model and a coalition to the model of that coalition.
//!
//! R are the images of those who remain, D those of the removed. [`Method::Retrain`] is the truth; [`Method::Gd`] on a
//! pruned parent is sparsified fine-tuning, the cheap stand-in that makes thousands of coalitions affordable. The others
//! are what the literature offers besides.
//!
//! Most methods are a set of values given to the one training loop of `diffusion-core`: where it starts, whose images it
//! sees, which way it drives the loss and for how long ([`prepare`]). [`lora`] trains low-rank adapters in that loop, and
//! [`influence`] makes one jump without it.

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

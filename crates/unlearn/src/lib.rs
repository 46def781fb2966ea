//! From a model and a coalition to the model of that coalition.
//!
//! Every method is a set of values given to the one training loop of `diffusion-core`: where it starts, whose images
//! it sees, which way it drives the loss and for how long. [`Method::Retrain`] is the truth; [`Method::Gd`] on a pruned
//! parent is sparsified fine-tuning, the cheap stand-in that makes thousands of coalitions affordable.

mod error;
mod method;
mod run;

pub use error::UnlearnError;
pub use method::{Method, MethodOn, ParentModel};
pub use run::{Start, prepare};

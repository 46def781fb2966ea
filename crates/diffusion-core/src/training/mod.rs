//! The training loop: one for training from scratch, fine-tuning, and gradient descent or ascent on any images.
//!
//! What differs between the methods of Tribute are values given to it: the model, the images (a
//! [`BatchSource`](data::BatchSource)), the [`Objective`], the number of steps; and, for autoencoders, the [`TrainingTask`].
//!
//! Everything random in step k comes from streams numbered by k, so that a run that stops and resumes makes the same
//! numbers as one that does not. A step's batch is drawn whole, whether it goes through the network at once or in
//! slices.

mod batch;
mod checkpoint;
mod conditional;
mod config;
mod exchange;
mod loss_scaler;
mod observer;
mod task;
mod timesteps;
mod trainer;

pub use crate::nn::MixedPrecision;
pub use batch::noise_loss;
pub(crate) use checkpoint::verify_files;
pub use checkpoint::{CHECKPOINT_FORMAT, CheckpointState, check_destination, checkpoint_exists};
pub use conditional::ConditionalNoisePrediction;
pub use config::{Objective, TrainingConfig};
pub use exchange::GradientExchange;
pub use loss_scaler::LossScaler;
pub use observer::{Observer, Silent, StepReport};
pub use task::{NoisePrediction, TrainingTask};
pub use timesteps::antithetic_timesteps;
pub use trainer::{Outcome, Trainer};

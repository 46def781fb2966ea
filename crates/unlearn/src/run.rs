//! From a start to the trainer of a method.

use diffusion_core::Denoiser;
use diffusion_core::schedule::NoiseSchedule;
use diffusion_core::training::{Trainer, TrainingConfig};
use streams::Streams;

use crate::{Method, UnlearnError};

/// The models that a method may start from.
pub struct Start<'a, M> {
    /// Makes a freshly initialised network, for `retrain`.
    pub fresh: &'a dyn Fn() -> Result<M, UnlearnError>,
    /// The trained parent (its averaged weights), for the other methods.
    pub parent: Option<&'a M>,
}

impl<'a, M> Start<'a, M> {
    /// The parent.
    ///
    /// # Errors
    /// [`UnlearnError::NoParent`] if there is none.
    pub fn parent_of(&self, method: Method) -> Result<&'a M, UnlearnError> {
        self.parent.ok_or_else(|| UnlearnError::NoParent { method: method.to_string() })
    }
}

/// The trainer of a method that is nothing but training (`retrain`, `prune_fine_tune`, `gd`, `ga`): fresh weights or the
/// parent's, a fresh optimiser and average, and the method's objective in place of `training.objective`.
///
/// Give it the images of [`Method::images`] and step it to the method's number of steps with
/// [`Trainer::step_to`]; sample from [`Trainer::ema_model`]. For `iu` and `lora` it is where their result is put: without a
/// step, weights and average are those of the start.
///
/// # Errors
/// [`UnlearnError::NoParent`] if the method needs a parent and `start` has none; settings out of range.
pub fn prepare<M: Denoiser>(
    method: Method,
    start: &Start<'_, M>,
    training: &TrainingConfig,
    schedule: NoiseSchedule,
    streams: Streams,
) -> Result<Trainer<M>, UnlearnError> {
    let model = if method.starts_from_parent() { start.parent_of(method)?.clone() } else { (start.fresh)()? };
    let training = TrainingConfig { objective: method.objective(), ..training.clone() };
    Ok(Trainer::new(model, training, schedule, streams)?)
}

//! Influence unlearning: one damped natural-gradient jump away from D.
//!
//! With g_D and g_R the mean gradients of the noise-prediction loss over the removed and the remaining images, taken at the
//! parent's parameters theta, and g_1 ... g_m the gradients of the m batches of R,
//!
//! ```text
//! v      = |D| / (|D| + |R|) (g_D - g_R)
//! F      = lambda I + 1/m sum_i g_i g_i'          damped empirical Fisher matrix of R
//! theta <- theta + ratio F^-1 v
//! ```
//!
//! F^-1 v is exact, by Woodbury's identity in the space of the m batches: with G the m x p matrix of the g_i,
//!
//! ```text
//! F^-1 v = 1/lambda ( v - G' (m lambda I + G G')^-1 G v )
//! ```
//!
//! so only an m x m system is solved, in 64 bits. G is m x p numbers of 32 bits: up to 256 MiB are kept in memory, more in a
//! temporary file (in `TMPDIR`) that is read by blocks of columns, so memory stays at a few times p.
//!
//! Sources: Koh and Liang 2017 (<https://arxiv.org/abs/1703.04730>) for influence, Izzo et al. 2021
//! (<https://arxiv.org/abs/2002.10077>) for deletion by it, Singh and Alistarh 2020 (WoodFisher,
//! <https://arxiv.org/abs/2004.14340>) for the Fisher matrix, Jia et al. 2023 (<https://arxiv.org/abs/2304.04934>) for the
//! method as it stands.

mod fisher;
mod gradients;
mod rows;
mod settings;

use std::ops::ControlFlow;

use data::Batches;
use diffusion_core::Denoiser;
use diffusion_core::parameters::{flat_values, map_flat_values, module_device};
use diffusion_core::schedule::NoiseSchedule;
use streams::Streams;

pub use settings::{InfluenceSettings, InfluenceVariant};

use crate::{Method, UnlearnError};
use gradients::{batch_gradients, mean_gradient, on_device, to_vec};
use rows::Rows;

/// What influence unlearning looks at.
pub struct Influence<'a> {
    /// R, the images of those who remain; `None` if nobody does.
    pub remaining: Option<&'a Batches>,
    /// D, the images of those who are removed; `None` if nobody is.
    pub removed: Option<&'a Batches>,
    /// Images of one batch.
    pub batch_size: usize,
    /// The forward process.
    pub schedule: &'a NoiseSchedule,
    /// Noise and timesteps of batch k of R are those of the child (`remaining`, 0) under number k, of D of (`removed`, 0).
    pub streams: &'a Streams,
}

/// Called after each gradient with the gradients done and all gradients; [`ControlFlow::Break`] stops.
pub type OnGradient<'a> = &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>;

/// The model after the jump, without autodiff. Where nobody is removed, v is zero and the model is the parent.
///
/// There is no training and so no average that could lag behind: sample from these weights.
///
/// # Errors
/// [`UnlearnError::NothingRemains`] if R is empty; [`UnlearnError::NotFinite`] for a parent whose gradients are no numbers;
/// [`UnlearnError::GradientFile`] if the disk is full; [`UnlearnError::Stopped`]; settings out of range.
pub fn influence_unlearn<M: Denoiser>(
    parent: &M,
    images: &Influence<'_>,
    settings: &InfluenceSettings,
    progress: OnGradient<'_>,
) -> Result<M, UnlearnError> {
    settings.validate()?;
    let remaining =
        images.remaining.ok_or_else(|| UnlearnError::NothingRemains { method: Method::Iu.to_string() })?;
    let model = parent.valid();
    let Some(removed) = images.removed else { return Ok(model) };

    let trained = if module_device(parent)?.is_autodiff() { parent.clone() } else { parent.clone().train() };
    let size = images.batch_size;
    let (of_removed, of_remaining) = (removed.per_pass(size), remaining.per_pass(size));
    let total = of_removed + of_remaining;
    let mut done = 0;
    let mut advance = || {
        done += 1;
        match progress(done, total) {
            ControlFlow::Break(()) => Err(UnlearnError::Stopped),
            ControlFlow::Continue(()) => Ok(()),
        }
    };

    let parameters = flat_values(&model).into_iter().map(|values| values.dims()[0]).sum();
    let mut mean_removed = mean_gradient(parameters, removed.view().len());
    let streams = images.streams.child("removed", 0);
    batch_gradients("removed", &trained, removed, size, images.schedule, &streams, |gradient, images| {
        mean_removed.add(&gradient, images);
        advance()
    })?;
    let mut rows = Rows::new(of_remaining, parameters)?;
    let mut weights = Vec::with_capacity(of_remaining);
    let streams = images.streams.child("remaining", 0);
    batch_gradients("remaining", &trained, remaining, size, images.schedule, &streams, |gradient, count| {
        rows.push(&gradient)?;
        weights.push(count as f64 / remaining.view().len() as f64);
        advance()
    })?;

    let scale = removed.view().len() as f64 / (removed.view().len() + remaining.view().len()) as f64;
    let problem = fisher::Problem { rows: &rows, weights: &weights, removed: mean_removed.values(), scale };
    let jump = match settings.variant {
        InfluenceVariant::Exact => problem.exact(settings.damping)?,
        InfluenceVariant::Reference => problem.reference()?,
    };
    add(model, &jump, settings.ratio)
}

/// The parameters plus `ratio` times the jump, added in 64 bits.
fn add<M: Denoiser>(model: M, jump: &[f64], ratio: f64) -> Result<M, UnlearnError> {
    let mut moved = Vec::new();
    let mut start = 0;
    for values in flat_values(&model) {
        let device = values.device();
        let mut values = to_vec(values)?;
        for (value, change) in values.iter_mut().zip(&jump[start..]) {
            *value = (f64::from(*value) + ratio * change) as f32;
        }
        start += values.len();
        moved.push(on_device(values, &device));
    }
    let mut moved = moved.into_iter();
    Ok(map_flat_values(model, |_, old| moved.next().unwrap_or(old)))
}

//! The gradients that [`Importance::Taylor`](crate::Importance::Taylor) and
//! [`Importance::DiffPruning`](crate::Importance::DiffPruning) rank by.

use std::ops::ControlFlow;

use burn::tensor::{Int, Tensor, TensorData};
use diffusion_core::parameters::{module_device, named_tensors, parameter_infos, take_flat_gradients};
use diffusion_core::{Denoiser, DiffusionError, NoiseSchedule, StateDict};
use streams::{Streams, standard_normal};

use crate::threshold::StoppingRule;
use crate::{SparsifyError, Threshold};

/// The one batch of images, with one noise each, on which the loss is taken at every timestep.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationBatch {
    pixels: Vec<f32>,
    noise: Vec<f32>,
    shape: [usize; 4],
}

impl CalibrationBatch {
    /// Images `[batch, channels, height, width]` in row-major order, usually in [-1, 1], with standard normal noise from
    /// stream (`pruning noise`, 0).
    ///
    /// # Errors
    /// As [`CalibrationBatch::with_noise`].
    pub fn new(pixels: Vec<f32>, shape: [usize; 4], streams: &Streams) -> Result<Self, SparsifyError> {
        let noise = standard_normal(&mut streams.rng("pruning noise", 0), pixels.len());
        Self::with_noise(pixels, noise, shape)
    }

    /// Images and their noise, both `[batch, channels, height, width]` in row-major order.
    ///
    /// # Errors
    /// [`SparsifyError::Calibration`] if there are no images, or not as many values as the shape says.
    pub fn with_noise(pixels: Vec<f32>, noise: Vec<f32>, shape: [usize; 4]) -> Result<Self, SparsifyError> {
        let count = shape.iter().product::<usize>();
        if count == 0 || pixels.len() != count || noise.len() != count {
            return Err(SparsifyError::Calibration {
                what: "images",
                given: format!("{} values with {} of noise in shape {shape:?}", pixels.len(), noise.len()),
                right: "one image or more, and as many values of each as the shape says".to_owned(),
            });
        }
        Ok(Self { pixels, noise, shape })
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.shape[0]
    }
}

/// `count` of the timesteps 0..`all`, evenly spread from 0 upwards: `floor(i all / count)`. All of them if `count` is `None`
/// or not below `all`.
pub fn spread_timesteps(all: usize, count: Option<usize>) -> Vec<usize> {
    match count.filter(|&count| count < all) {
        None => (0..all).collect(),
        Some(count) => (0..count).map(|i| i * all / count).collect(),
    }
}

/// One timestep's part in [`accumulate_gradients`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimestepLoss {
    /// The timestep.
    pub timestep: usize,
    /// The mean squared error of the predicted noise over the batch.
    pub loss: f32,
}

/// What [`accumulate_gradients`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct AccumulatedGradients {
    /// The sum of the gradients, by the parameters' names.
    pub gradients: StateDict,
    /// The loss at each timestep that was used, in the order of use.
    pub losses: Vec<TimestepLoss>,
    /// The timestep at which the loss fell under the threshold; `None` if all timesteps were used.
    pub stopped_at: Option<usize>,
}

/// Adds up the gradients of the diffusion loss over timesteps, on one batch.
///
/// For each timestep t in the given order, `L_t` is the mean squared error of the noise that `model` predicts for the images
/// with their noise at t, and its gradients are added to those before. With a threshold, the first timestep with
/// `L_t < threshold * max(L of the timesteps so far)` is the last one, and still counts (Fang et al. 2023, "Structural
/// Pruning for Diffusion Models", and its authors' program). The noise is the same at every timestep.
///
/// `observe` is told each timestep's loss, and can break off.
///
/// # Errors
/// [`SparsifyError::Calibration`] if the images are not of the model's shape or there are no timesteps,
/// [`SparsifyError::Loss`] if a loss is not finite, [`SparsifyError::Model`] if a timestep is beyond the schedule, the
/// device fails, or `observe` breaks off ([`DiffusionError::Stopped`]).
pub fn accumulate_gradients<M: Denoiser>(
    model: &M,
    batch: &CalibrationBatch,
    schedule: &NoiseSchedule,
    timesteps: &[usize],
    threshold: Option<Threshold>,
    observe: &mut dyn FnMut(TimestepLoss) -> ControlFlow<()>,
) -> Result<AccumulatedGradients, SparsifyError> {
    let expected = model.sample_shape();
    if batch.shape[1..] != expected || timesteps.is_empty() {
        let images = batch.shape[1..] != expected;
        return Err(SparsifyError::Calibration {
            what: if images { "images" } else { "a number of timesteps" },
            given: if images { format!("{:?} each", &batch.shape[1..]) } else { "0".to_owned() },
            right: if images {
                format!("the network takes {expected:?} (channels, height, width)")
            } else {
                "at least one is needed".to_owned()
            },
        });
    }
    // A module is a handle on its parameters: this copies none of them.
    let model = model.clone();
    let model = if module_device(&model)?.is_autodiff() { model } else { model.train() };
    let device = module_device(&model)?;
    let noise = Tensor::<4>::from_data(TensorData::new(batch.noise.clone(), batch.shape), &device);
    let mut rule = threshold.map(StoppingRule::new);
    let mut sum: Vec<Option<Tensor<1>>> = Vec::new();
    let mut losses = Vec::with_capacity(timesteps.len());
    let mut stopped_at = None;
    for &timestep in timesteps {
        let images = batch.images();
        let noisy = schedule.add_noise(&batch.pixels, &batch.noise, &vec![timestep; images])?;
        let noisy = Tensor::<4>::from_data(TensorData::new(noisy, batch.shape), &device);
        let times = TensorData::new(vec![timestep as i32; images], [images]);
        let error = model.predict_noise(noisy, Tensor::<1, Int>::from_data(times, &device)) - noise.clone();
        let loss = (error.clone() * error).mean();
        let mut gradients = loss.backward();
        let gradients = take_flat_gradients(&model, &mut gradients);
        sum = if sum.is_empty() { gradients } else { add(sum, gradients) };
        let loss = scalar(loss.without_autodiff())?;
        if !loss.is_finite() {
            return Err(SparsifyError::Loss { timestep, value: loss });
        }
        losses.push(TimestepLoss { timestep, loss });
        if observe(TimestepLoss { timestep, loss }).is_break() {
            let (done, total) = (losses.len(), timesteps.len());
            return Err(DiffusionError::Stopped { done, total, unit: "timesteps" }.into());
        }
        if rule.as_mut().is_some_and(|rule| rule.is_last(loss)) {
            stopped_at = Some(timestep);
            break;
        }
    }
    let infos = parameter_infos(&model);
    let sum: Vec<Tensor<1>> = sum
        .into_iter()
        .zip(&infos)
        // A parameter that has no part in the loss has the gradient zero.
        .map(|(gradient, info)| {
            gradient.unwrap_or_else(|| Tensor::zeros([info.len()], &device.clone().without_autodiff()))
        })
        .collect();
    Ok(AccumulatedGradients { gradients: named_tensors(&infos, &sum)?, losses, stopped_at })
}

/// Adds gradients parameter by parameter.
fn add(left: Vec<Option<Tensor<1>>>, right: Vec<Option<Tensor<1>>>) -> Vec<Option<Tensor<1>>> {
    left.into_iter()
        .zip(right)
        .map(|pair| match pair {
            (Some(left), Some(right)) => Some(left + right),
            (left, right) => left.or(right),
        })
        .collect()
}

fn scalar(value: Tensor<1>) -> Result<f32, DiffusionError> {
    let values = value
        .try_into_vec_as::<f32>()
        .map_err(|error| DiffusionError::Device { reason: error.to_string() })?;
    values.first().copied().ok_or_else(|| DiffusionError::Device { reason: "it gave no value".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timesteps_are_spread_evenly() {
        assert_eq!(spread_timesteps(10, Some(4)), [0, 2, 5, 7]);
        assert_eq!(spread_timesteps(10, Some(1)), [0]);
        for count in [None, Some(10), Some(11)] {
            assert_eq!(spread_timesteps(10, count), (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn batches_must_be_whole() {
        for (values, shape) in [(11, [1, 3, 2, 2]), (0, [0, 3, 2, 2]), (12, [2, 3, 2, 2])] {
            let error = CalibrationBatch::new(vec![0.0; values], shape, &Streams::new(0)).unwrap_err();
            assert!(error.to_string().contains("one image or more"), "{error}");
        }
        assert_eq!(CalibrationBatch::new(vec![0.0; 12], [1, 3, 2, 2], &Streams::new(0)).unwrap().images(), 1);
    }
}

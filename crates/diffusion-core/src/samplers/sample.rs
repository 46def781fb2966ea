//! Sampling images by index.
//!
//! Image k starts from the noise of stream ("sample noise", k) and gets, where the sampler adds noise at timestep t,
//! that of stream ("step", t) among the streams of child ("sample step noise", k). The numbers of an image hence
//! depend on its index alone, never on its batch or on what else is sampled.

use std::ops::ControlFlow;

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use streams::{Streams, standard_normal};

use super::{Sampler, TimestepSpacing};
use crate::DiffusionError;
use crate::denoiser::Denoiser;
use crate::parameters::{module_device, to_vec};
use crate::schedule::NoiseSchedule;

/// How images are sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleConfig {
    /// The formula of a step.
    pub sampler: Sampler,
    /// Number of steps, 1..=T.
    pub steps: usize,
    /// Which timesteps are visited.
    pub spacing: TimestepSpacing,
    /// Images that go through the network at once; changes the speed, not the images.
    pub batch_size: usize,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self { sampler: Sampler::default(), steps: 100, spacing: TimestepSpacing::Leading, batch_size: 32 }
    }
}

impl SampleConfig {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] naming the key.
    pub fn validate(&self, schedule: &NoiseSchedule) -> Result<(), DiffusionError> {
        self.sampler.validate()?;
        self.spacing.timesteps(schedule.timesteps(), self.steps)?;
        if self.batch_size == 0 {
            return Err(DiffusionError::setting("sampling.batch_size", "is 0, but must be at least 1"));
        }
        Ok(())
    }
}

/// How far sampling is, told after each step of each batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleProgress {
    /// Finished images.
    pub images_done: usize,
    /// All images.
    pub images: usize,
    /// Finished steps of the batch under way.
    pub steps_done: usize,
    /// Steps of each batch.
    pub steps: usize,
}

/// Images of 8 bits a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledImages {
    /// Row-major `[images, height, width, channels]`.
    pub pixels: Vec<u8>,
    /// `[images, height, width, channels]`.
    pub shape: [usize; 4],
}

impl SampledImages {
    /// The pixels of image `i`, row-major `[height, width, channels]`; `None` beyond the last.
    pub fn image(&self, i: usize) -> Option<&[u8]> {
        let size = self.shape[1] * self.shape[2] * self.shape[3];
        self.pixels.get(i * size..(i + 1) * size)
    }

    /// Rounds values in [-1, 1] to 8 bits as diffusers' pipelines do: (x / 2 + 0.5) limited to 0..=1, times 255, to
    /// the nearest integer (halves to even).
    ///
    /// `values` is row-major `[images, channels, height, width]` and must be finite.
    pub fn from_values(values: &[f32], [images, channels, height, width]: [usize; 4]) -> Self {
        let mut pixels = Vec::with_capacity(values.len());
        let plane = height * width;
        for image in values.chunks_exact((channels * plane).max(1)) {
            for position in 0..plane {
                pixels.extend((0..channels).map(|c| to_byte(image[c * plane + position])));
            }
        }
        Self { pixels, shape: [images, height, width, channels] }
    }

    /// Pictures of one channel with three equal ones; others as they are.
    pub fn into_rgb(self) -> Self {
        let [images, height, width, channels] = self.shape;
        if channels != 1 {
            return self;
        }
        let pixels = self.pixels.into_iter().flat_map(|grey| [grey; 3]).collect();
        Self { pixels, shape: [images, height, width, 3] }
    }
}

/// 8-bit images `[images, height, width, channels]` as networks take them: numbers c / 127.5 - 1 in planes, `[images, channels,
/// height, width]`. [`SampledImages::from_values`] goes back.
pub fn planar_values(pixels: &[u8], [channels, height, width]: [usize; 3]) -> Vec<f32> {
    let mut values = Vec::with_capacity(pixels.len());
    for image in pixels.chunks_exact((channels * height * width).max(1)) {
        for channel in 0..channels {
            let bytes = image.iter().skip(channel).step_by(channels);
            values.extend(bytes.map(|&byte| f32::from(byte) / 127.5 - 1.0));
        }
    }
    values
}

fn to_byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// Samples the images of the given indices as 8-bit pixels.
///
/// Use a model with EMA weights ([`Trainer::ema_model`](crate::training::Trainer::ema_model)). Runs without autodiff.
/// Called after each step, `progress` may break off.
///
/// # Errors
/// [`DiffusionError::Setting`] for settings out of range, [`DiffusionError::NonFiniteSample`] if the model gives NaN,
/// [`DiffusionError::Stopped`] if `progress` breaks off, [`DiffusionError::Device`] if the device fails.
pub fn sample<M: Denoiser>(
    model: &M,
    schedule: &NoiseSchedule,
    config: &SampleConfig,
    indices: &[u64],
    streams: &Streams,
    progress: &mut dyn FnMut(SampleProgress) -> ControlFlow<()>,
) -> Result<SampledImages, DiffusionError> {
    let [channels, height, width] = model.sample_shape();
    let values = sample_values(model, schedule, config, indices, streams, progress)?;
    Ok(SampledImages::from_values(&values, [indices.len(), channels, height, width]))
}

/// Samples the images (or latents) of the given indices as numbers, row-major `[images, channels, height, width]`.
///
/// # Errors
/// As [`sample`].
pub fn sample_values<M: Denoiser>(
    model: &M,
    schedule: &NoiseSchedule,
    config: &SampleConfig,
    indices: &[u64],
    streams: &Streams,
    progress: &mut dyn FnMut(SampleProgress) -> ControlFlow<()>,
) -> Result<Vec<f32>, DiffusionError> {
    config.validate(schedule)?;
    let model = model.valid();
    let size: usize = model.sample_shape().iter().product();
    let mut values = Vec::with_capacity(indices.len() * size);
    for batch in indices.chunks(config.batch_size) {
        let images_done = values.len() / size.max(1);
        let mut report = |steps_done| {
            let told = SampleProgress { images_done, images: indices.len(), steps_done, steps: config.steps };
            match progress(told) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => {
                    Err(DiffusionError::Stopped { done: images_done, total: indices.len(), unit: "images" })
                }
            }
        };
        let finished = run_batch(&model, schedule, config, batch, streams, &mut report, &mut |_, _| Ok(()))?;
        let finished = to_vec(finished)?;
        for (image, &index) in finished.chunks_exact(size.max(1)).zip(batch) {
            if image.iter().any(|v| !v.is_finite()) {
                return Err(DiffusionError::NonFiniteSample { image: index });
            }
        }
        values.extend(finished);
    }
    Ok(values)
}

/// The clean images that the model predicts on its way, as its sampler clips them: for each of the images of the given
/// indices, those at the timesteps `kept`, row-major `[images, kept, channels, height, width]`.
///
/// # Errors
/// As [`sample`]; [`DiffusionError::Setting`] for a timestep that the sampler does not visit.
pub fn predicted_originals<M: Denoiser>(
    model: &M,
    schedule: &NoiseSchedule,
    config: &SampleConfig,
    indices: &[u64],
    streams: &Streams,
    kept: &[usize],
    progress: &mut dyn FnMut(SampleProgress) -> ControlFlow<()>,
) -> Result<Vec<f32>, DiffusionError> {
    config.validate(schedule)?;
    let visited = config.spacing.timesteps(schedule.timesteps(), config.steps)?;
    if let Some(missing) = kept.iter().find(|timestep| !visited.contains(timestep)) {
        return Err(DiffusionError::setting(
            "timestep",
            format!("is {missing}, which the sampler does not visit in {} steps", config.steps),
        ));
    }
    let model = model.valid();
    let size: usize = model.sample_shape().iter().product();
    let mut originals = vec![0.0; indices.len() * kept.len() * size];
    for (number, batch) in indices.chunks(config.batch_size).enumerate() {
        let first = number * config.batch_size;
        let mut report = |steps_done| {
            let (images_done, images) = (first, indices.len());
            match progress(SampleProgress { images_done, images, steps_done, steps: config.steps }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => {
                    Err(DiffusionError::Stopped { done: images_done, total: images, unit: "images" })
                }
            }
        };
        let mut observe = |timestep: usize, original: &Tensor<4>| {
            for (place, _) in kept.iter().enumerate().filter(|&(_, &kept)| kept == timestep) {
                let values = to_vec(original.clone())?;
                for (image, values) in values.chunks_exact(size.max(1)).enumerate() {
                    if values.iter().any(|value| !value.is_finite()) {
                        return Err(DiffusionError::NonFiniteSample { image: batch[image] });
                    }
                    let start = ((first + image) * kept.len() + place) * size;
                    originals[start..start + size].copy_from_slice(values);
                }
            }
            Ok(())
        };
        run_batch(&model, schedule, config, batch, streams, &mut report, &mut observe)?;
    }
    Ok(originals)
}

/// One batch from noise to image, `[batch, channels, height, width]`. `observe` gets each timestep with the clean images
/// predicted there.
fn run_batch<M: Denoiser>(
    model: &M,
    schedule: &NoiseSchedule,
    config: &SampleConfig,
    batch: &[u64],
    streams: &Streams,
    report: &mut dyn FnMut(usize) -> Result<(), DiffusionError>,
    observe: &mut dyn FnMut(usize, &Tensor<4>) -> Result<(), DiffusionError>,
) -> Result<Tensor<4>, DiffusionError> {
    let _awake = kernels::Awake::new();
    let device = module_device(model)?.without_autodiff();
    let [channels, height, width] = model.sample_shape();
    let shape = [batch.len(), channels, height, width];
    let size = channels * height * width;
    let timesteps = config.spacing.timesteps(schedule.timesteps(), config.steps)?;

    let mut sample = noise(shape, &device, |image| image_noise(streams, image, size), batch);
    for (position, &timestep) in timesteps.iter().enumerate() {
        // T is at most a million, so the timestep fits.
        let times = Tensor::<1, Int>::full([batch.len()], timestep as i64, &device);
        let epsilon = model.predict_noise(sample.clone(), times);
        let added = config.sampler.adds_noise(timestep).then(|| {
            let step_noise = |image| {
                let image_streams = streams.child("sample step noise", image);
                standard_normal(&mut image_streams.rng("step", timestep as u64), size)
            };
            noise(shape, &device, step_noise, batch)
        });
        let previous = config.sampler.previous_timestep(schedule, &timesteps, position);
        let step = config.sampler.step(schedule, timestep, previous, sample, epsilon, added)?;
        observe(timestep, &step.pred_original)?;
        sample = step.prev_sample;
        report(position + 1)?;
    }
    Ok(sample)
}

/// The noise that the images of the given indices start from, row-major `[images, channels, height, width]`, for images of
/// `shape` `[channels, height, width]`.
pub fn initial_noise(shape: [usize; 3], indices: &[u64], streams: &Streams) -> Vec<f32> {
    let size = shape.iter().product();
    indices.iter().flat_map(|&image| image_noise(streams, image, size)).collect()
}

fn image_noise(streams: &Streams, image: u64, size: usize) -> Vec<f32> {
    standard_normal(&mut streams.rng("sample noise", image), size)
}

/// A tensor of each image's own noise.
fn noise(shape: [usize; 4], device: &Device, of: impl Fn(u64) -> Vec<f32>, batch: &[u64]) -> Tensor<4> {
    let values: Vec<f32> = batch.iter().flat_map(|&image| of(image)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

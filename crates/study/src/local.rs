//! Local behaviours: what a change of the model does to single pictures of the full model.

use std::collections::BTreeMap;

use behavior::measure::held_out_loss::{HeldOutImages, HeldOutLoss, HeldOutLossConfig};
use behavior::measure::image_similarity::{mean_squared_error, normalized_root_mse, structural_similarity};
use diffusion_core::UNet2DModel;
use diffusion_core::samplers::SampledImages;
use ledger::Value;
use streams::Streams;

use crate::context::Context;
use crate::error::StudyError;

/// For each picture k of the full model: `mse`, `nrmse` and `ssim` between it and picture k of the model, which begins at the
/// same noise, and `diffusion_loss`, the model's noise-prediction error on it, with `measures.noises` noises at timesteps
/// spread over all noise levels. Each as a vector over k, and its mean as `avg_...`.
///
/// # Errors
/// Pictures too small for SSIM; a model that gives NaN.
pub(crate) fn local_behaviors(
    context: &Context,
    model: &UNet2DModel,
    samples: &SampledImages,
    of_full: &SampledImages,
) -> Result<BTreeMap<String, Value>, StudyError> {
    let [count, height, width, channels] = of_full.shape;
    let bytes = height * width * channels;
    let mut columns: [(&str, Vec<f64>); 3] = ["mse", "nrmse", "ssim"].map(|name| (name, Vec::new()));
    for (full, own) in of_full.pixels.chunks_exact(bytes).zip(samples.pixels.chunks_exact(bytes)) {
        let values = [
            mean_squared_error(full, own)?,
            normalized_root_mse(full, own)?,
            structural_similarity(full, own, [height, width])?,
        ];
        columns.iter_mut().zip(values).for_each(|((_, column), value)| column.push(value));
    }
    let mut behaviors = BTreeMap::new();
    let losses = losses(context, model, of_full)?;
    for (name, column) in columns.into_iter().chain([("diffusion_loss", losses)]) {
        let mean = column.iter().sum::<f64>() / count as f64;
        behaviors.insert(format!("avg_{name}"), Value::from(mean));
        behaviors.insert(name.to_owned(), Value::from(column));
    }
    Ok(behaviors)
}

/// The model's loss on each picture.
///
/// # Errors
/// A model that gives NaN.
pub(crate) fn losses(
    context: &Context,
    model: &UNet2DModel,
    pictures: &SampledImages,
) -> Result<Vec<f64>, StudyError> {
    if let Some(latents) = context.latents_of(pictures)? {
        return losses_on(context, model, latents.values, latents.shape);
    }
    let [_, height, width, channels] = pictures.shape;
    let plane = height * width;
    let mut pixels = Vec::with_capacity(pictures.pixels.len());
    for picture in pictures.pixels.chunks_exact(plane * channels) {
        for channel in 0..channels {
            pixels
                .extend(picture.iter().skip(channel).step_by(channels).map(|&c| f32::from(c) / 127.5 - 1.0));
        }
    }
    losses_on(context, model, pixels, [channels, height, width])
}

/// The model's loss on each of its inputs, `[images, channels, height, width]`.
fn losses_on(
    context: &Context,
    model: &UNet2DModel,
    pixels: Vec<f32>,
    shape: [usize; 3],
) -> Result<Vec<f64>, StudyError> {
    let count = pixels.len() / shape.iter().product::<usize>().max(1);
    let images = HeldOutImages {
        pixels,
        shape,
        // The loss is wanted for each picture.
        contributor: (0..count).collect(),
        contributors: count,
    };
    let config = HeldOutLossConfig { noises: context.config.measures.noises, ..HeldOutLossConfig::default() };
    let streams = Streams::new(context.config.seed).child("local measures", 0);
    let loss = HeldOutLoss::new(images, config, context.schedule.clone(), streams, &context.device)?;
    // Every picture has draws, so none lacks a loss.
    Ok(loss.evaluate_model(model)?.per_contributor.into_iter().flatten().collect())
}

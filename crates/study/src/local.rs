//! Local behaviours: what a change of the model does to single pictures of the full model.

use std::collections::BTreeMap;

use behavior::measure::held_out_loss::{HeldOutImages, HeldOutLoss, HeldOutLossConfig};
use behavior::measure::image_similarity::{mean_squared_error, normalized_root_mse, structural_similarity};
use behavior::{Behavior, LocalMeasure};
use diffusion_core::UNet2DModel;
use diffusion_core::samplers::SampledImages;
use ledger::Value;
use streams::Streams;

use crate::context::Context;
use crate::error::StudyError;
use crate::latent::ModelInputs;

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
    let mut behaviors = BTreeMap::new();
    for measure in LocalMeasure::ALL {
        let values = measured(context, measure, model, samples, of_full)?;
        behaviors.insert(Behavior::Local { measure, image: None }.key(), Value::from(mean(&values)));
        behaviors.insert(measure.name().to_owned(), Value::from(values));
    }
    Ok(behaviors)
}

/// The local ones among the study's behaviours by their keys, and each of their measures as a vector over the pictures under
/// `<measure>_by_image`.
///
/// # Errors
/// As [`local_behaviors`].
pub(crate) fn local_study_behaviors(
    context: &Context,
    model: &UNet2DModel,
    samples: &SampledImages,
    of_full: &SampledImages,
) -> Result<BTreeMap<String, Value>, StudyError> {
    let mut behaviors = BTreeMap::new();
    for measure in LocalMeasure::ALL {
        let own =
            |behavior: &&Behavior| matches!(behavior, Behavior::Local { measure: m, .. } if *m == measure);
        let asked: Vec<&Behavior> = context.config.behaviors.iter().filter(own).collect();
        if asked.is_empty() {
            continue;
        }
        let values = measured(context, measure, model, samples, of_full)?;
        for behavior in asked {
            let value = match behavior {
                // The study file's validation saw to it that there is such a picture.
                Behavior::Local { image: Some(image), .. } => values.get(*image).copied(),
                _ => Some(mean(&values)),
            };
            behaviors.extend(value.map(|value| (behavior.key(), Value::from(value))));
        }
        behaviors.insert(format!("{}_by_image", measure.name()), Value::from(values));
    }
    Ok(behaviors)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A measure of each picture.
fn measured(
    context: &Context,
    measure: LocalMeasure,
    model: &UNet2DModel,
    samples: &SampledImages,
    of_full: &SampledImages,
) -> Result<Vec<f64>, StudyError> {
    let [_, height, width, channels] = of_full.shape;
    let bytes = height * width * channels;
    let compare = |pair: (&[u8], &[u8])| match measure {
        LocalMeasure::Mse => mean_squared_error(pair.0, pair.1),
        LocalMeasure::Nrmse => normalized_root_mse(pair.0, pair.1),
        _ => structural_similarity(pair.0, pair.1, [height, width]),
    };
    match measure {
        LocalMeasure::DiffusionLoss => losses(context, model, of_full),
        _ => {
            let pairs = of_full.pixels.chunks_exact(bytes).zip(samples.pixels.chunks_exact(bytes));
            Ok(pairs.map(compare).collect::<Result<_, _>>()?)
        }
    }
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
    let ModelInputs { values: pixels, shape } = context.inputs_of(pictures)?;
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

//! The comparison methods on a study: scores of its contributors from one model and its samples.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use behavior::{ExtractorNetwork, ExtractorSpec, FeatureExtractor, Samples, WeightFiles};
use diffusion_core::UNet2DModel;
use diffusion_core::samplers::SampledImages;
use influence::similarity::{mean_cosine, mean_negated_distance, pixel_rows};
use influence::{CleanImages, Evidence, GradientProgress, GradientScorer, InfluenceError, InfluenceMethod};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::StudyError;
use crate::group_unlearning::unlearned_likelihoods;
use crate::measuring::rgb_images;
use crate::progress::{Progress, Task, TaskProgress, Unit};

/// Input size of the extractor, in pixels: enough for small images.
const INPUT_SIZE: usize = 64;

/// The scores of a study's contributors by one comparison method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodScores {
    /// The method.
    pub method: InfluenceMethod,
    /// Of each contributor, in their order.
    pub scores: Vec<f64>,
    /// Of each training image, in the order of the study's training view; empty for a method that scores no images.
    pub image_scores: Vec<f64>,
    /// Seconds that the method takes alone. Methods share what they are computed from, so several take less than the sum.
    pub seconds: f64,
    /// The part of them behind features or gradients that another of the methods uses, too.
    pub shared_seconds: f64,
}

/// Scores the contributors by each of `methods`, in their order and each once. `model` has the weights that `samples` were
/// made with; sample k is that of index k, as [`Context::sample`] makes it for repetition 0.
///
/// `parent` is what [`InfluenceMethod::Guda`] unlearns from by the study's method, which may do without (`retrain`).
///
/// Training images are taken as they are, not mirrored.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop; [`StudyError::Influence`] for settings out of range and a model that
/// gives NaN; missing weights of the feature extractor.
pub fn baseline_scores(
    context: &Context,
    model: &UNet2DModel,
    parent: Option<&UNet2DModel>,
    samples: &SampledImages,
    methods: &[InfluenceMethod],
    progress: &dyn Progress,
) -> Result<Vec<MethodScores>, StudyError> {
    let mut scores: BTreeMap<InfluenceMethod, MethodScores> = BTreeMap::new();
    let mut keep = |method: InfluenceMethod, image_scores: Vec<f64>, seconds: f64, shared_seconds: f64| {
        let scored = by_contributor(context, method, &image_scores)?;
        scores.insert(method, MethodScores { method, scores: scored, image_scores, seconds, shared_seconds });
        Ok::<_, StudyError>(())
    };
    for evidence in [Evidence::Pixels, Evidence::Features] {
        let wanted: Vec<InfluenceMethod> =
            methods.iter().copied().filter(|method| method.evidence() == evidence).collect();
        if wanted.is_empty() {
            continue;
        }
        let start = Instant::now();
        let (images, sampled, what) = match evidence {
            Evidence::Pixels => (training_pixels(context)?, sample_pixels(samples)?, "pixels"),
            _ => {
                let (images, sampled) = features(context, samples, progress)?;
                (images, sampled, "features")
            }
        };
        let common = start.elapsed().as_secs_f64();
        let shared = if wanted.len() > 1 { common } else { 0.0 };
        for method in wanted {
            let start = Instant::now();
            let of_images = match method {
                InfluenceMethod::FeatureDistanceMean | InfluenceMethod::FeatureDistanceMax => {
                    mean_negated_distance(&images, &sampled, what)?
                }
                _ => mean_cosine(&images, &sampled, what)?,
            };
            keep(method, of_images, common + start.elapsed().as_secs_f64(), shared)?;
        }
    }
    for scored in gradient_scores(context, model, samples, methods, progress)? {
        keep(scored.method, scored.scores, scored.seconds, scored.shared_seconds)?;
    }
    if methods.contains(&InfluenceMethod::Guda) {
        let start = Instant::now();
        let (method, of_contributors) =
            (InfluenceMethod::Guda, unlearned_likelihoods(context, parent, samples, progress)?);
        let seconds = start.elapsed().as_secs_f64();
        let (image_scores, shared_seconds) = (Vec::new(), 0.0);
        let scored = MethodScores { method, scores: of_contributors, image_scores, seconds, shared_seconds };
        scores.insert(method, scored);
    }
    let mut order = Vec::with_capacity(methods.len());
    for method in methods {
        order.extend(scores.remove(method));
    }
    Ok(order)
}

/// Mean cosine similarity between the SqueezeNet features (64 px) of each contributor's training images and of `samples`.
///
/// # Errors
/// If the weights of SqueezeNet are missing from the study's weights folder.
pub(crate) fn mean_feature_similarity(
    context: &Context,
    samples: &SampledImages,
) -> Result<Vec<f64>, StudyError> {
    let (images, sampled) = features(context, samples, &crate::progress::Silent)?;
    let of_images = mean_cosine(&images, &sampled, "features")?;
    by_contributor(context, InfluenceMethod::FeatureSimilarityMean, &of_images)
}

/// The owner of each training image.
fn owners(context: &Context) -> Vec<usize> {
    let train = &context.split.train;
    train.indices().iter().filter_map(|&image| train.dataset().owner(image)).collect()
}

fn by_contributor(
    context: &Context,
    method: InfluenceMethod,
    image_scores: &[f64],
) -> Result<Vec<f64>, StudyError> {
    Ok(method.aggregate().of(image_scores, &owners(context), context.contributors())?)
}

fn training_pixels(context: &Context) -> Result<Array2<f32>, StudyError> {
    let train = &context.split.train;
    let (pixels, shape) = rgb_images(train.dataset(), train.indices())?;
    Ok(pixel_rows(&pixels, shape[1..].iter().product())?)
}

fn sample_pixels(samples: &SampledImages) -> Result<Array2<f32>, StudyError> {
    Ok(pixel_rows(&samples.pixels, samples.shape[1..].iter().product())?)
}

/// Features of the training images and of the samples.
fn features(
    context: &Context,
    samples: &SampledImages,
    progress: &dyn Progress,
) -> Result<(Array2<f32>, Array2<f32>), StudyError> {
    let spec = ExtractorSpec::at(ExtractorNetwork::SqueezeNet, INPUT_SIZE)?;
    let extractor =
        FeatureExtractor::load(spec, &WeightFiles::shipped(&context.config.weights), &context.device)?;
    let train = &context.split.train;
    let (pixels, shape) = rgb_images(train.dataset(), train.indices())?;
    let total = (shape[0] + samples.shape[0]) as u64;
    let mut bar = progress.begin(Task { label: "features".to_owned(), total, unit: Unit::Images });
    let images = extractor
        .extract(&Samples::new(&pixels, shape)?, &mut |done, _| bar.advance(done as u64, ""))?
        .features;
    if progress.stop_requested() {
        return Err(StudyError::Stopped);
    }
    let sampled = Samples::new(&samples.pixels, samples.shape)?;
    let first = shape[0];
    let sampled =
        extractor.extract(&sampled, &mut |done, _| bar.advance((first + done) as u64, ""))?.features;
    Ok((images, sampled))
}

fn gradient_scores(
    context: &Context,
    model: &UNet2DModel,
    samples: &SampledImages,
    methods: &[InfluenceMethod],
    progress: &dyn Progress,
) -> Result<Vec<influence::ImageScores>, StudyError> {
    if methods.iter().all(|method| method.evidence() != Evidence::Gradients) {
        return Ok(Vec::new());
    }
    let train = &context.split.train;
    let numbers = train.indices().iter().map(|&image| image as u64).collect();
    let count = context.config.influence.samples.unwrap_or(usize::MAX).min(samples.shape[0]);
    let size: usize = samples.shape[1..].iter().product();
    let [_, height, width, channels] = samples.shape;
    let kept = SampledImages {
        pixels: samples.pixels[..count * size].to_vec(),
        shape: [count, height, width, channels],
    };
    let clean = |pixels, numbers| CleanImages { pixels, versions: 1, numbers };
    let images = clean(train.load(0..train.len())?.pixels, numbers);
    let sampled = clean(context.inputs_of(&kept)?.values, (0..count as u64).collect());
    let sampling = context.config.sample.process();
    let streams = context.streams(0);
    let scorer = GradientScorer {
        model,
        schedule: &context.schedule,
        config: &context.config.influence,
        train: &images,
        samples: &sampled,
        sampling: &sampling,
        sampling_streams: &streams.child("samples", 0),
        streams: streams.child("influence", 0),
    };
    let mut bar: Option<(&'static str, Box<dyn TaskProgress + '_>)> = None;
    let scores = scorer.scores(methods, &mut |state: GradientProgress| {
        let begun = bar.as_ref().is_some_and(|(part, _)| *part == state.part);
        if !begun {
            bar = None;
            let label = state.part.to_owned();
            let task = Task { label, total: state.total as u64, unit: Unit::Images };
            bar = Some((state.part, progress.begin(task)));
        }
        if let Some((_, bar)) = &mut bar {
            bar.advance(state.done as u64, "");
        }
        if progress.stop_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match scores {
        Err(InfluenceError::Stopped) => Err(StudyError::Stopped),
        other => Ok(other?),
    }
}

//! A trivial baseline: how alike a contributor's images are to what the full model makes.

use behavior::{ExtractorNetwork, ExtractorSpec, FeatureExtractor, Samples};
use diffusion_core::samplers::SampledImages;
use ndarray::{Array1, Array2, Axis};

use crate::context::Context;
use crate::error::StudyError;
use crate::measuring::rgb_images;

/// Input size of the extractor, in pixels: enough for small images.
const INPUT_SIZE: usize = 64;

/// Mean cosine similarity between the SqueezeNet features (64 px) of each contributor's training images and of `samples`.
///
/// With unit features f, the mean over all pairs is the product of the two means of f.
///
/// # Errors
/// If the weights of SqueezeNet are missing from the study's weights folder.
pub(crate) fn mean_feature_similarity(
    context: &Context,
    samples: &SampledImages,
) -> Result<Vec<f64>, StudyError> {
    let spec = ExtractorSpec::at(ExtractorNetwork::SqueezeNet, INPUT_SIZE)?;
    let extractor = FeatureExtractor::load(spec, &context.config.weights, &context.device)?;
    let unit_features = |pixels: &[u8], shape: [usize; 4]| -> Result<Array2<f64>, StudyError> {
        let features =
            extractor.extract(&Samples::new(pixels, shape)?, &mut |_, _| {})?.features.mapv(f64::from);
        let norms = features.map_axis(Axis(1), |row| row.dot(&row).sqrt().max(f64::MIN_POSITIVE));
        Ok(features / norms.insert_axis(Axis(1)))
    };
    let train = &context.split.train;
    let (pixels, shape) = rgb_images(train.dataset(), train.indices())?;
    let images = unit_features(&pixels, shape)?;
    let sampled = unit_features(&samples.pixels, samples.shape)?;
    let mean_sample = sampled.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(images.ncols()));
    let similarities = images.dot(&mean_sample);
    let n = context.contributors();
    let (mut sums, mut counts) = (vec![0.0; n], vec![0.0f64; n]);
    for (similarity, &image) in similarities.iter().zip(train.indices()) {
        if let Some(owner) = train.dataset().owner(image) {
            sums[owner] += similarity;
            counts[owner] += 1.0;
        }
    }
    Ok(sums.iter().zip(&counts).map(|(sum, count)| sum / count.max(1.0)).collect())
}

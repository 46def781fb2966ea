//! Feature extractors and the model behaviours measured on samples.
//!
//! A [`Behavior`] is one number about a diffusion model: of its samples (quality, diversity, colour) or of its noise
//! predictions on held-out images. [`Measurer`] prepares a list of behaviours once (networks, statistics of the reference
//! images) and then measures them on any number of sample sets; the measures themselves are plain functions in
//! [`measure`], in float64, checked against NumPy, SciPy and scikit-learn.
//!
//! | key | what | better |
//! | --- | --- | --- |
//! | `is_EXTRACTOR` | [Inception score](measure::inception_score) | higher |
//! | `fid_EXTRACTOR` | [Fréchet distance](measure::frechet_distance) to the reference images | lower |
//! | `precision_EXTRACTOR`, `recall_EXTRACTOR` | [k-nearest-neighbour manifolds](measure::precision_recall) | higher |
//! | `density_EXTRACTOR`, `coverage_EXTRACTOR` | [nearest-neighbour balls](measure::density_coverage) | higher |
//! | `demographic_entropy_EXTRACTOR` | [entropy over true labels](measure::label_entropy) of the reference images | higher |
//! | `aesthetic_p90`, `aesthetic_mean` | [people's taste](extractor::AestheticHead) by CLIP's features | higher |
//! | `entropy_EXTRACTOR` | [entropy over clusters](measure::cluster_entropy) of the reference images | higher |
//! | `colourfulness`, `brightness`, `saturation`, `background` | [of the pixels](measure::pixel_properties) | neither |
//! | `diffusion_loss` | [error on held-out images](measure::held_out_loss), also per contributor | lower |
//!
//! | `avg_MEASURE`, `MEASURE_K` | what became of the full model's pictures, or of picture K: [mse, nrmse, ssim](measure::image_similarity), diffusion_loss | |
//! | `command_NAME` | what [a program of the user's](measure::command) prints | |
//!
//! EXTRACTOR is `squeezenet`, `lite0`, `inception` or `clip`, the first two with the input size where it is not the network's own:
//! `fid_lite0_64px`. With `inception`, scores are those of the literature; with the others they have the same form: never compare
//! scores of different extractors, sizes or numbers of samples.
//!
//! # Preprocessing
//! Images are 8-bit RGB of any size. They are resized to the square that the network expects by bilinear interpolation
//! with half-pixel centres, antialiased where they shrink, without keeping the aspect ratio and without rounding; then
//! SqueezeNet sees B, G, R minus (103.939, 116.779, 123.68) and EfficientNet-Lite0 R, G, B as (x - 127) / 128. Inception's images are
//! not antialiased, as in pytorch-fid; CLIP's are resized by Pillow's bicubic filter in 8 bits and cut to the square in the middle.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use behavior::{Behavior, Ingredients, Measurer, Samples, WeightFiles};
//! use burn::tensor::Device;
//!
//! # fn main() -> Result<(), behavior::BehaviorError> {
//! let behaviors = ["colourfulness", "fid_lite0_64px"].map(|key| key.parse::<Behavior>());
//! let behaviors: Vec<Behavior> = behaviors.into_iter().collect::<Result<_, _>>()?;
//! let (training_pixels, sample_pixels) = (vec![200; 1932 * 32 * 32 * 3], vec![100; 256 * 32 * 32 * 3]);
//! let reference = Samples::new(&training_pixels, [1932, 32, 32, 3])?;
//! let weights = WeightFiles::shipped(Path::new("datasets/weights"));
//! let ingredients = Ingredients { reference: Some(reference), ..Ingredients::new(&weights) };
//! let quiet = &mut |_, _, _| {};
//! let measurer = Measurer::prepare(&behaviors, ingredients, &Device::flex(), quiet)?;
//! for score in measurer.measure(&Samples::new(&sample_pixels, [256, 32, 32, 3])?, None, quiet)? {
//!     println!("{}: {}", score.label(), score.value);
//! }
//! # Ok(())
//! # }
//! ```

mod behavior;
mod error;
pub mod extractor;
pub mod measure;
mod measurer;
mod samples;

pub use behavior::{
    Behavior, CommandName, DEFAULT_CLUSTERS, DEFAULT_NEAREST, DEFAULT_NEIGHBOURS, Direction, LocalMeasure,
    Needs, Statistic,
};
pub use error::BehaviorError;
pub use extractor::{
    AestheticHead, ExtractorNetwork, ExtractorSpec, FeatureExtractor, Features, WeightFiles,
};
pub use measure::command::CommandConfig;
pub use measure::held_out_loss::{HeldOutImages, HeldOutLoss, HeldOutLossConfig, HeldOutLosses};
pub use measurer::{Ingredients, Measurer, NoisePrediction, Progress, Score, ScoreDetail};
pub use samples::Samples;

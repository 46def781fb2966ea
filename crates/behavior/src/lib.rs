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
//! | `entropy_EXTRACTOR` | [entropy over clusters](measure::cluster_entropy) of the reference images | higher |
//! | `colourfulness`, `brightness`, `saturation`, `background` | [of the pixels](measure::pixel_properties) | neither |
//! | `diffusion_loss` | [error on held-out images](measure::held_out_loss), also per contributor | lower |
//!
//! EXTRACTOR is `squeezenet` or `lite0`, with the input size where it is not the network's own: `fid_lite0_64px`. The
//! scores have the form of the published Inception scores and Fréchet distances but another network: never compare the
//! two, nor scores of different extractors, sizes or numbers of samples.
//!
//! # Preprocessing
//! Images are 8-bit RGB of any size. They are resized to the square that the network expects by bilinear interpolation
//! with half-pixel centres, antialiased where they shrink, without keeping the aspect ratio and without rounding; then
//! SqueezeNet sees B, G, R minus (103.939, 116.779, 123.68) and EfficientNet-Lite0 R, G, B as (x - 127) / 128.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use behavior::{Behavior, Measurer, Samples};
//! use burn::tensor::Device;
//!
//! # fn main() -> Result<(), behavior::BehaviorError> {
//! let behaviors = ["colourfulness", "fid_lite0_64px"].map(|key| key.parse::<Behavior>());
//! let behaviors: Vec<Behavior> = behaviors.into_iter().collect::<Result<_, _>>()?;
//! let (training_pixels, sample_pixels) = (vec![200; 1932 * 32 * 32 * 3], vec![100; 256 * 32 * 32 * 3]);
//! let reference = Samples::new(&training_pixels, [1932, 32, 32, 3])?;
//! let weights = Path::new("datasets/weights");
//! let quiet = &mut |_, _, _| {};
//! let measurer = Measurer::prepare(&behaviors, Some(&reference), None, weights, &Device::flex(), quiet)?;
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

pub use behavior::{Behavior, DEFAULT_CLUSTERS, DEFAULT_NEIGHBOURS, Direction, Needs};
pub use error::BehaviorError;
pub use extractor::{ExtractorNetwork, ExtractorSpec, FeatureExtractor, Features};
pub use measure::held_out_loss::{HeldOutImages, HeldOutLoss, HeldOutLossConfig, HeldOutLosses};
pub use measurer::{Measurer, NoisePrediction, Progress, Score, ScoreDetail};
pub use samples::Samples;

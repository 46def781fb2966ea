//! What can go wrong while training images are scored.

use diffusion_core::DiffusionError;
use thiserror::Error;

use crate::method::InfluenceMethod;

/// Why there are no scores.
#[derive(Debug, Error)]
pub enum InfluenceError {
    /// A word that names no method.
    #[error("unknown method `{word}`; known are {}", known())]
    UnknownMethod {
        /// What was written.
        word: String,
    },
    /// A setting out of its range.
    #[error("`{name}` is {value}, but must be {valid}")]
    Parameter {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// The valid range, in words.
        valid: &'static str,
    },
    /// Nothing to score, or nothing to score by.
    #[error("there are no {what}: at least one is needed")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// Arrays whose extents do not fit each other.
    #[error("{what}: {found} were given, but {expected} are needed")]
    Mismatch {
        /// What is counted.
        what: &'static str,
        /// The number needed.
        expected: usize,
        /// The number given.
        found: usize,
    },
    /// A NaN or an infinity.
    #[error("{what} of image {image} hold {value}: the model has diverged, or the images are damaged")]
    NotFinite {
        /// The array, such as `the gradients of conv_in.weight`.
        what: String,
        /// The number of the image in its set.
        image: usize,
        /// The offending value.
        value: f64,
    },
    /// A row of zeros where a direction is needed.
    #[error(
        "{what} of image {image} are all zero, so that their direction is undefined; choose another method"
    )]
    NoDirection {
        /// The array.
        what: &'static str,
        /// The number of the image in its set.
        image: usize,
    },
    /// The kernel has no inverse.
    #[error(
        "the kernel of {images} training gradients in {dimension} dimensions is singular with damping {damping}: \
         raise the damping (0.5 is usual)"
    )]
    Singular {
        /// Training images.
        images: usize,
        /// Dimensions of the projection.
        dimension: usize,
        /// The damping.
        damping: f64,
    },
    /// A layer was passed whose parameters are not the model's.
    #[error(
        "a layer with unknown parameters took part; per-image gradients need a model whose layers are diffusion-core's own"
    )]
    ForeignLayer,
    /// The user asked to stop.
    #[error("stopped as asked")]
    Stopped,
    /// The model or the device failed.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
}

fn known() -> String {
    InfluenceMethod::ALL.map(InfluenceMethod::name).join(", ")
}

//! Errors of unlearning.

use diffusion_core::DiffusionError;
use thiserror::Error;

/// Why no model came out.
#[derive(Debug, Error)]
pub enum UnlearnError {
    /// A method that starts from a trained model got none.
    #[error("method `{method}` starts from a trained model, but none was given; train (and prune) one first")]
    NoParent {
        /// The method.
        method: String,
    },
    /// A word that names no method.
    #[error("unknown method `{word}`; known are retrain, gd and gd_u (gd on the unpruned model)")]
    UnknownMethod {
        /// What was written.
        word: String,
    },
    /// The training loop failed.
    #[error(transparent)]
    Training(#[from] DiffusionError),
}

//! Errors of unlearning.

use std::path::PathBuf;

use data::DataError;
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
    #[error(
        "unknown method `{word}`; known are retrain, prune_fine_tune, gd, ga, iu, lora and conditional, and gd_u, ga_u, iu_u, \
         lora_u and conditional_u (on the unpruned model)"
    )]
    UnknownMethod {
        /// What was written.
        word: String,
    },
    /// The model of a coalition was asked for by a method that makes none.
    #[error(
        "method `conditional` makes no model of a coalition: it samples one network under the conditions of those who remain, \
         in studies, comparisons and `tribute-unlearn`; take gd, ga, iu, lora or retrain here"
    )]
    NoCoalitionModel,
    /// A setting is out of its range.
    #[error("`{key}` is {value}, must be {allowed}")]
    Setting {
        /// The setting, as study files name it.
        key: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// Low-rank adapters have nothing to adapt.
    #[error(
        "method `lora` adapts the query, key and value projections of attention blocks, but the model has none; give the \
         network attention (`attention_levels` or `mid_attention` in [model]) or choose another method"
    )]
    NoAttention,
    /// Nobody remains, where the method needs somebody.
    #[error(
        "method `{method}` needs images of those who remain, but nobody does; use the untrained model instead"
    )]
    NothingRemains {
        /// The method.
        method: String,
    },
    /// A stage that knows everybody only was asked for some.
    #[error(
        "method `prune_fine_tune` trains on everybody's images; leave the coalition out, or use `gd` for some of them"
    )]
    NotEverybody,
    /// A gradient is NaN or infinite.
    #[error(
        "the gradient of batch {batch} of the {images} images is not finite, so the model cannot be moved along it; \
         the parent has diverged: train it anew with a lower learning rate"
    )]
    NotFinite {
        /// Whose images.
        images: &'static str,
        /// Which batch, from 0.
        batch: usize,
    },
    /// The damped Fisher matrix could not be inverted.
    #[error(
        "the Fisher matrix of {batches} batches is singular in 64 bits at `iu_damping` = {damping}; raise the damping"
    )]
    Singular {
        /// Batches of the remaining images.
        batches: usize,
        /// The damping.
        damping: f64,
    },
    /// Gradients cannot be kept on disk.
    #[error(
        "cannot {action} the temporary file for {batches} gradients ({mebibytes} MiB): {source}; free some disk space, or \
         set TMPDIR to a folder with room"
    )]
    GradientFile {
        /// What was tried.
        action: &'static str,
        /// Gradients to keep.
        batches: usize,
        /// Their size.
        mebibytes: u64,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A folder holds no adapter for this model.
    #[error("{}: {reason}", path.display())]
    BadAdapter {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The caller asked to stop.
    #[error("stopped as asked")]
    Stopped,
    /// The images could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The training loop failed.
    #[error(transparent)]
    Training(#[from] DiffusionError),
}

impl UnlearnError {
    /// Whether the cause is a choice of the user (a setting, a method that does not fit) and not a failure.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::NoParent { .. }
                | Self::UnknownMethod { .. }
                | Self::Setting { .. }
                | Self::NoAttention
                | Self::NothingRemains { .. }
                | Self::NotEverybody
                | Self::NoCoalitionModel
        )
    }
}

/// Fails with a message that names the key, its value and what is allowed.
pub(crate) fn require(
    ok: bool,
    key: &'static str,
    value: f64,
    allowed: &'static str,
) -> Result<(), UnlearnError> {
    if ok { Ok(()) } else { Err(UnlearnError::Setting { key, value, allowed }) }
}

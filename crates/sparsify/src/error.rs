//! What can go wrong in this crate.

use diffusion_core::DiffusionError;

/// Every error of `sparsify`. Each message says what was wrong, where, and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SparsifyError {
    /// A pruning ratio outside the open interval from 0 to 1.
    #[error(
        "pruning ratio {given} is not between 0 and 1 (both excluded); \
         0.3 removes three tenths of the channels of each group"
    )]
    Ratio {
        /// The text or number given.
        given: String,
    },

    /// `--pruner` names no importance.
    #[error("unknown pruner `{given}`; use one of: {known}")]
    UnknownImportance {
        /// The text given.
        given: String,
        /// The names there are.
        known: String,
    },

    /// A weight is NaN or infinite, so channels cannot be ranked.
    #[error("tensor `{tensor}` holds {value} at index {index}; a network that has diverged cannot be pruned")]
    NonFinite {
        /// The tensor's name.
        tensor: String,
        /// Position in row-major order.
        index: usize,
        /// The value.
        value: f32,
    },

    /// A list of kept channels is not in order, or not a list.
    #[error("kept channels `{given}`: {reason}; write increasing numbers and ranges, like `0-3 5 8-9`")]
    KeptChannels {
        /// The text given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A plan is not for this network, or cannot be carried out.
    #[error(
        "the pruning plan does not fit this network, at group `{group}`: {reason}; make a new plan for it"
    )]
    PlanMismatch {
        /// The group's name.
        group: String,
        /// What does not fit.
        reason: String,
    },

    /// A plan file is not a plan.
    #[error("{origin} is not a pruning plan ({reason}); write it again with tribute-prune")]
    PlanFile {
        /// The file.
        origin: String,
        /// What the JSON reader stumbled over.
        reason: String,
    },

    /// Architecture and weights that do not fit together, or are not right in themselves.
    #[error(transparent)]
    Model(#[from] DiffusionError),
}

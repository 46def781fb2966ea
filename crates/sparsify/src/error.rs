//! What can go wrong in this crate.

use diffusion_core::DiffusionError;

use crate::Importance;

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

    /// A threshold outside its range.
    #[error(
        "threshold {given} must be 0 or more and below 1; 0.05 stops adding up gradients at the first timestep whose loss \
         is under a twentieth of the largest"
    )]
    Threshold {
        /// The text or number given.
        given: String,
    },

    /// A number of steps that is not possible.
    #[error("{given} iterative steps are not possible: give {allowed}")]
    IterativeSteps {
        /// The number given.
        given: u32,
        /// What is possible.
        allowed: &'static str,
    },

    /// A scope that is none.
    #[error("unknown scope `{given}`; use `group` to rank each group's channels by themselves, or `global`")]
    UnknownScope {
        /// The text given.
        given: String,
    },

    /// A rounding that is none.
    #[error(
        "unknown rounding `{given}`; use `up` as Torch-Pruning does since 1.4, or `down` as it did before"
    )]
    UnknownRounding {
        /// The text given.
        given: String,
    },

    /// An importance without the gradients that it ranks by.
    #[error("`{importance}` ranks channels by gradients of the loss on images, but none were given")]
    NoGradients {
        /// The importance.
        importance: Importance,
    },

    /// Images from which no gradients can be taken.
    #[error("{what} of {given} cannot be pruned by: {right}")]
    Calibration {
        /// What does not fit.
        what: &'static str,
        /// What was given.
        given: String,
        /// What would be right.
        right: String,
    },

    /// The loss whose gradients are added up is not a number.
    #[error("the loss at timestep {timestep} is {value}; a network that has diverged cannot be pruned")]
    Loss {
        /// The timestep.
        timestep: usize,
        /// The loss.
        value: f32,
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

impl SparsifyError {
    /// Whether the cause is a setting, not a network, a file or a device.
    pub fn is_about_settings(&self) -> bool {
        matches!(
            self,
            Self::Ratio { .. }
                | Self::Threshold { .. }
                | Self::IterativeSteps { .. }
                | Self::UnknownScope { .. }
                | Self::UnknownRounding { .. }
                | Self::UnknownImportance { .. }
                | Self::NoGradients { .. }
                | Self::Calibration { .. }
        )
    }
}

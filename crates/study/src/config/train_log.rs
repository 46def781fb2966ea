//! `[train.log]`: what a training leaves beside its model.

use serde::{Deserialize, Serialize};

/// What the full model's training leaves in `<model>-log`. Nothing of it changes the model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainLog {
    /// Steps between two rows of metrics, as CSV and for TensorBoard; 0 for none.
    pub every: u64,
    /// Steps between two sheets of samples; 0 for none.
    pub sample_every: u64,
    /// Whether every checkpoint is kept, not only the newest.
    pub keep_checkpoints: bool,
    /// Whether the model is saved before its first step.
    pub null_model: bool,
}

impl TrainLog {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

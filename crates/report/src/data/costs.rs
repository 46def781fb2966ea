//! What a study cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Number;

/// The time of every stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// The stages in the order in which they ran.
    pub stages: Vec<StageCost>,
    /// Seconds that one retraining from scratch takes on this device (mean), by which the speed-up is judged.
    pub retraining_seconds: Number,
    /// Where `retraining_seconds` comes from, in plain text ("mean of 24 retrainings in this study").
    pub retraining_source: String,
}

/// One stage's time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageCost {
    /// Its name in plain language, for example "Sparsified fine-tuning on coalitions".
    pub stage: String,
    /// What it was for.
    pub purpose: StagePurpose,
    /// How many runs it had.
    pub runs: u64,
    /// Seconds of all its runs together (sum over workers and threads, not wall-clock time).
    pub seconds: Number,
    /// Whether one run of it stands in for one retraining, so that a speed-up makes sense.
    pub replaces_retraining: bool,
}

/// What a stage was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StagePurpose {
    /// To have the model at all; spent with or without attribution.
    Model,
    /// To make the coalitions cheap: once for a study (pruning and its fine-tuning).
    Preparation,
    /// For the scores: once a coalition (fine-tuning, sampling, measuring).
    Scores,
    /// To test the scores (retraining); nobody needs it to have them.
    Validation,
}

impl StageCost {
    /// Seconds of one run.
    pub fn seconds_per_run(&self) -> Option<f64> {
        (self.runs > 0).then_some(())?;
        self.seconds.get().map(|seconds| seconds / self.runs as f64)
    }
}

impl Costs {
    /// How many times faster one run of `stage` is than one retraining, where that makes sense.
    pub fn speed_up(&self, stage: &StageCost) -> Option<f64> {
        let per_run = stage.seconds_per_run().filter(|seconds| *seconds > 0.0)?;
        let retraining = self.retraining_seconds.get()?;
        stage.replaces_retraining.then_some(retraining / per_run)
    }
}

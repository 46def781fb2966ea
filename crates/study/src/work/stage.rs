//! The stages of a study whose work can be shared out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::StudyError;

/// A stage, and what must be finished before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Training of the full model: one task.
    Train,
    /// Pruning and fine-tuning: one task, after `train`; no task where the method starts from the full model.
    Prune,
    /// The models of the coalitions: after `prune`, or `train`.
    Coalitions,
    /// The retrained test coalitions and baseline: after nothing.
    Retrain,
}

impl Stage {
    /// All stages, in an order in which they can be done.
    pub const ALL: [Self; 4] = [Self::Train, Self::Prune, Self::Coalitions, Self::Retrain];

    /// The stages that must be finished first.
    pub fn needs(self) -> &'static [Self] {
        match self {
            Self::Train | Self::Retrain => &[],
            Self::Prune => &[Self::Train],
            Self::Coalitions => &[Self::Train, Self::Prune],
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Prune => "prune",
            Self::Coalitions => "coalitions",
            Self::Retrain => "retrain",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = StudyError;

    fn from_str(word: &str) -> Result<Self, StudyError> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.name() == word)
            .ok_or_else(|| StudyError::UnknownStage { word: word.to_owned() })
    }
}

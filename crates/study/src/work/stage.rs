//! The stages of a study whose work can be shared out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unlearn::{Method, ParentModel};

use crate::config::StudyConfig;
use crate::error::StudyError;
use crate::runs::parent_of;

/// A stage, and what must be finished before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Training of the full model: one task.
    Train,
    /// Pruning and fine-tuning: one task, after `train`; no task where the method starts from the full model.
    Prune,
    /// Teaching the parent its contributors: one task, after `prune`, or `train`; no task but with the method `conditional`.
    Condition,
    /// The models of the coalitions: after `prune`, or `train`, and `condition`.
    Coalitions,
    /// The retrained test coalitions and baseline: after nothing.
    Retrain,
}

impl Stage {
    /// All stages, in an order in which they can be done.
    pub const ALL: [Self; 5] = [Self::Train, Self::Prune, Self::Condition, Self::Coalitions, Self::Retrain];

    /// Whether a study has it.
    pub(crate) fn is_in(self, config: &StudyConfig) -> bool {
        match self {
            Self::Prune => parent_of(config) == Some(ParentModel::Pruned),
            Self::Condition => config.unlearn.method == Method::Conditional,
            Self::Train | Self::Coalitions | Self::Retrain => true,
        }
    }

    /// The stages that must be finished first, where a study has them.
    pub fn needs(self) -> &'static [Self] {
        match self {
            Self::Train | Self::Retrain => &[],
            Self::Prune => &[Self::Train],
            Self::Condition => &[Self::Train, Self::Prune],
            Self::Coalitions => &[Self::Train, Self::Prune, Self::Condition],
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Prune => "prune",
            Self::Condition => "condition",
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

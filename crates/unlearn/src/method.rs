//! The unlearning methods, by name.

use std::fmt;
use std::str::FromStr;

use diffusion_core::training::Objective;
use serde::{Deserialize, Serialize};

use crate::UnlearnError;

/// How the model of a coalition is made. R is the data of those who remain, D of those who are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Train from fresh weights on R: the truth that the other methods approximate.
    Retrain,
    /// Continue training the pruned model on everybody's images: the stage between pruning and unlearning, and no method
    /// for coalitions.
    PruneFineTune,
    /// Continue training the parent on R by gradient descent. On a pruned parent this is sparsified fine-tuning (Lu et
    /// al. 2025, <https://arxiv.org/abs/2407.03153>).
    #[default]
    Gd,
    /// Gradient ascent on D; see [`AscentSettings`](crate::AscentSettings).
    Ga,
    /// Influence unlearning, one damped natural-gradient jump; see [`influence`](crate::influence).
    Iu,
    /// Low-rank adapters on attention, trained on R and merged; see [`lora`](crate::lora).
    Lora,
    /// No model for a coalition: one network, trained once from the parent to know whose image it makes, is sampled under the
    /// conditions of those who remain (SurrogateSHAP's proxy game, Lu et al. 2026, <https://arxiv.org/abs/2601.22276>).
    Conditional,
}

/// Whose images a method trains on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// R: of those who remain.
    Remaining,
    /// D: of those who are removed.
    Removed,
    /// Everybody's.
    All,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 7] =
        [Self::Retrain, Self::PruneFineTune, Self::Gd, Self::Ga, Self::Iu, Self::Lora, Self::Conditional];

    /// Its name in study files, in records and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retrain => "retrain",
            Self::PruneFineTune => "prune_fine_tune",
            Self::Gd => "gd",
            Self::Ga => "ga",
            Self::Iu => "iu",
            Self::Lora => "lora",
            Self::Conditional => "conditional",
        }
    }

    /// Whether the method needs a trained parent.
    pub fn starts_from_parent(self) -> bool {
        self != Self::Retrain
    }

    /// Whether it may start from either parent, the pruned or (suffix `_u`) the full model.
    pub fn has_unpruned_form(self) -> bool {
        !matches!(self, Self::Retrain | Self::PruneFineTune)
    }

    /// Whose images it trains on. Influence unlearning also looks at those of the removed.
    pub fn images(self) -> Images {
        match self {
            Self::Retrain | Self::Gd | Self::Iu | Self::Lora => Images::Remaining,
            Self::Ga => Images::Removed,
            Self::PruneFineTune | Self::Conditional => Images::All,
        }
    }

    /// Which way the loss is driven.
    pub fn objective(self) -> Objective {
        match self {
            Self::Ga => Objective::Ascend,
            _ => Objective::Descend,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which trained model a method starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentModel {
    /// The pruned and fine-tuned model.
    #[default]
    Pruned,
    /// The full model.
    Full,
}

/// A method with the model that it starts from, as one word: `retrain`, `gd`, `ga`, `iu`, `lora`, `conditional`, or with the suffix
/// `_u` for the unpruned parent, as in `gd_u`; and `prune_fine_tune`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MethodOn {
    /// The method.
    pub method: Method,
    /// Its parent; without meaning for `retrain` and `prune_fine_tune`.
    pub parent: ParentModel,
}

impl fmt::Display for MethodOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unpruned = self.method.has_unpruned_form() && self.parent == ParentModel::Full;
        write!(f, "{}{}", self.method, if unpruned { "_u" } else { "" })
    }
}

impl FromStr for MethodOn {
    type Err = UnlearnError;

    fn from_str(word: &str) -> Result<Self, UnlearnError> {
        let (stem, parent) = match word.strip_suffix("_u") {
            Some(stem) => (stem, ParentModel::Full),
            None => (word, ParentModel::Pruned),
        };
        Method::ALL
            .into_iter()
            .find(|method| method.name() == stem)
            .filter(|method| parent == ParentModel::Pruned || method.has_unpruned_form())
            .map(|method| Self { method, parent })
            .ok_or_else(|| UnlearnError::UnknownMethod { word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        let words = [
            "retrain",
            "prune_fine_tune",
            "gd",
            "gd_u",
            "ga",
            "ga_u",
            "iu",
            "iu_u",
            "lora",
            "lora_u",
            "conditional",
            "conditional_u",
        ];
        for word in words {
            assert_eq!(word.parse::<MethodOn>().unwrap().to_string(), word);
        }
        for word in ["", "GD", "retrain_u", "prune_fine_tune_u", "gd_u_u", "dora", "_u"] {
            let error = word.parse::<MethodOn>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{word}`")) && error.contains("gd_u"), "{error}");
        }
    }

    #[test]
    fn study_files_use_the_same_names() {
        for method in Method::ALL {
            assert_eq!(serde_json::to_value(method).unwrap(), method.name());
        }
    }
}

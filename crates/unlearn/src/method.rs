//! The unlearning methods, by name.

use std::fmt;
use std::str::FromStr;

use diffusion_core::training::Objective;
use serde::{Deserialize, Serialize};

use crate::UnlearnError;

/// How the model of a coalition is made. R is the data of those who remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Train from fresh weights on R: the truth that the other methods approximate.
    Retrain,
    /// Continue training the parent on R by gradient descent. On a pruned parent this is sparsified fine-tuning (Lu et
    /// al. 2025, <https://arxiv.org/abs/2407.03153>).
    #[default]
    Gd,
}

impl Method {
    /// Whether the method needs a trained parent.
    pub fn starts_from_parent(self) -> bool {
        match self {
            Self::Retrain => false,
            Self::Gd => true,
        }
    }

    /// Which way the loss is driven.
    pub fn objective(self) -> Objective {
        match self {
            Self::Retrain | Self::Gd => Objective::Descend,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retrain => "retrain",
            Self::Gd => "gd",
        })
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

/// A method with the model that it starts from, as one word: `retrain`, `gd`, or with the suffix `_u` for the unpruned
/// parent, `gd_u`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MethodOn {
    /// The method.
    pub method: Method,
    /// Its parent; without meaning for `retrain`.
    pub parent: ParentModel,
}

impl fmt::Display for MethodOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unpruned = self.method.starts_from_parent() && self.parent == ParentModel::Full;
        write!(f, "{}{}", self.method, if unpruned { "_u" } else { "" })
    }
}

impl FromStr for MethodOn {
    type Err = UnlearnError;

    fn from_str(word: &str) -> Result<Self, UnlearnError> {
        let unknown = || UnlearnError::UnknownMethod { word: word.to_owned() };
        let (stem, parent) = match word.strip_suffix("_u") {
            Some(stem) => (stem, ParentModel::Full),
            None => (word, ParentModel::Pruned),
        };
        let method = match stem {
            "retrain" => Method::Retrain,
            "gd" => Method::Gd,
            _ => return Err(unknown()),
        };
        if !method.starts_from_parent() && parent == ParentModel::Full {
            return Err(unknown());
        }
        Ok(Self { method, parent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for word in ["retrain", "gd", "gd_u"] {
            assert_eq!(word.parse::<MethodOn>().unwrap().to_string(), word);
        }
        for word in ["", "GD", "retrain_u", "gd_u_u", "lora"] {
            let error = word.parse::<MethodOn>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{word}`")) && error.contains("gd_u"), "{error}");
        }
    }
}

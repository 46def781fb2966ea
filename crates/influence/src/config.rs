//! The settings of the comparison methods.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::InfluenceError;

/// What the entries of the random projection are drawn from; both have mean 0 and variance 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectionKind {
    /// -1 or 1: one random bit an entry.
    #[default]
    Rademacher,
    /// Standard normal.
    Normal,
}

impl fmt::Display for ProjectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rademacher => "rademacher",
            Self::Normal => "normal",
        })
    }
}

impl FromStr for ProjectionKind {
    type Err = InfluenceError;

    fn from_str(word: &str) -> Result<Self, InfluenceError> {
        match word {
            "rademacher" => Ok(Self::Rademacher),
            "normal" => Ok(Self::Normal),
            _ => Err(InfluenceError::Parameter {
                name: "projection",
                value: word.to_owned(),
                valid: "`rademacher` or `normal`",
            }),
        }
    }
}

/// Settings of the methods that work on gradients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InfluenceConfig {
    /// Timesteps an image, K: 0, T / K, 2 T / K... (rounded down), each with one noise of its own.
    pub timesteps: usize,
    /// Dimensions of the projected gradients, d. With as many as the model has parameters, or more, nothing is projected.
    pub dimension: usize,
    /// What the projection's entries are drawn from.
    pub projection: ProjectionKind,
    /// Added to the diagonal of the kernel of unnormalised projections (entries of variance 1), as published systems do;
    /// on projections over sqrt(d), as here, it is `damping / d`.
    pub damping: f64,
    /// Noisy images that go through the network at once; bounds the memory.
    pub batch_size: usize,
    /// Use only the first so many samples; all when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
}

impl Default for InfluenceConfig {
    fn default() -> Self {
        Self {
            timesteps: 10,
            dimension: 1024,
            projection: ProjectionKind::Rademacher,
            damping: 0.5,
            batch_size: 32,
            samples: None,
        }
    }
}

impl InfluenceConfig {
    /// Checks the ranges of the settings for a model with `train_timesteps` timesteps.
    ///
    /// # Errors
    /// [`InfluenceError::Parameter`] naming the setting.
    pub fn validate(&self, train_timesteps: usize) -> Result<(), InfluenceError> {
        let refuse = |name, value: String, valid| Err(InfluenceError::Parameter { name, value, valid });
        if self.timesteps == 0 || self.timesteps > train_timesteps {
            let valid = "at least 1 and at most the timesteps that the model was trained on";
            return refuse("influence.timesteps", self.timesteps.to_string(), valid);
        }
        for (name, value) in
            [("influence.dimension", self.dimension), ("influence.batch_size", self.batch_size)]
        {
            if value == 0 {
                return refuse(name, "0".to_owned(), "at least 1");
            }
        }
        if self.samples == Some(0) {
            return refuse("influence.samples", "0".to_owned(), "at least 1, or left out for all");
        }
        if !(self.damping >= 0.0 && self.damping.is_finite()) {
            return refuse("influence.damping", self.damping.to_string(), "a number of at least 0");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let base = InfluenceConfig::default;
        assert!(base().validate(1000).is_ok());
        for (config, name) in [
            (InfluenceConfig { timesteps: 0, ..base() }, "timesteps"),
            (InfluenceConfig { timesteps: 1001, ..base() }, "timesteps"),
            (InfluenceConfig { dimension: 0, ..base() }, "dimension"),
            (InfluenceConfig { batch_size: 0, ..base() }, "batch_size"),
            (InfluenceConfig { samples: Some(0), ..base() }, "samples"),
            (InfluenceConfig { damping: -0.1, ..base() }, "damping"),
            (InfluenceConfig { damping: f64::NAN, ..base() }, "damping"),
        ] {
            let message = config.validate(1000).unwrap_err().to_string();
            assert!(message.contains(&format!("influence.{name}")), "{message}");
        }
        for kind in [ProjectionKind::Rademacher, ProjectionKind::Normal] {
            assert_eq!(kind.to_string().parse::<ProjectionKind>().unwrap(), kind);
        }
        assert!("gauss".parse::<ProjectionKind>().unwrap_err().to_string().contains("normal"));
    }
}

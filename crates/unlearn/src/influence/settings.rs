//! Settings of influence unlearning.

use serde::{Deserialize, Serialize};

use crate::UnlearnError;
use crate::error::require;

/// How the inverse Fisher matrix is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InfluenceVariant {
    /// The exact inverse, by Woodbury's identity.
    #[default]
    Exact,
    /// The recursion of the reference and of Jia et al. 2023, which keeps one vector o for all batches in place of
    /// F_i^-1 g_i, and so is no inverse of any Fisher matrix: with o = g_1, k = v and N = 1000, for i = 2 ... m
    ///
    /// ```text
    /// s = o'g_i
    /// k <- k - k'g_i / (N + s) o
    /// o <- o - s / (N + s) o
    /// ```
    ///
    /// To compare with published numbers only; it has no damping.
    Reference,
}

/// Settings of [`influence_unlearn`](super::influence_unlearn).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfluenceSettings {
    /// Length of the jump, in units of F^-1 v.
    pub ratio: f64,
    /// lambda. At 1, where the recursions of WoodFisher begin, F is near the identity if gradients are small, and the jump
    /// is near a step of plain gradient ascent; the smaller, the longer the jump in directions that no batch of R has.
    pub damping: f64,
    /// How the inverse is applied.
    pub variant: InfluenceVariant,
}

impl Default for InfluenceSettings {
    fn default() -> Self {
        Self { ratio: 0.5, damping: 1.0, variant: InfluenceVariant::Exact }
    }
}

impl InfluenceSettings {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`UnlearnError::Setting`] naming the key.
    pub fn validate(&self) -> Result<(), UnlearnError> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        require(positive(self.ratio), "iu_ratio", self.ratio, "a positive number")?;
        require(positive(self.damping), "iu_damping", self.damping, "a positive number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named() {
        let base = InfluenceSettings::default;
        base().validate().unwrap();
        for (key, settings) in [
            ("iu_ratio", InfluenceSettings { ratio: 0.0, ..base() }),
            ("iu_ratio", InfluenceSettings { ratio: f64::INFINITY, ..base() }),
            ("iu_damping", InfluenceSettings { damping: 0.0, ..base() }),
        ] {
            let error = settings.validate().unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("positive"), "{error}");
        }
    }
}

//! When the loss of a timestep is too small for its gradient to matter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::SparsifyError;

/// A share of the largest loss: 0 or more, and below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Threshold(f64);

impl Threshold {
    /// The threshold of this value.
    ///
    /// # Errors
    /// [`SparsifyError::Threshold`] for negative numbers, 1 and above, and NaN.
    pub fn new(value: f64) -> Result<Self, SparsifyError> {
        if (0.0..1.0).contains(&value) {
            return Ok(Self(value));
        }
        Err(SparsifyError::Threshold { given: value.to_string() })
    }

    /// The value.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Whether it is the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Threshold {
    /// 0.05.
    fn default() -> Self {
        Self(0.05)
    }
}

impl TryFrom<f64> for Threshold {
    type Error = SparsifyError;

    fn try_from(value: f64) -> Result<Self, SparsifyError> {
        Self::new(value)
    }
}

impl From<Threshold> for f64 {
    fn from(threshold: Threshold) -> f64 {
        threshold.0
    }
}

impl FromStr for Threshold {
    type Err = SparsifyError;

    fn from_str(text: &str) -> Result<Self, SparsifyError> {
        let refused = || SparsifyError::Threshold { given: text.to_owned() };
        Self::new(text.trim().parse().map_err(|_| refused())?).map_err(|_| refused())
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The rule by which diff-pruning ends: at the first timestep whose loss is under `threshold` times the largest loss so far,
/// its own included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoppingRule {
    threshold: f32,
    largest: f32,
}

impl StoppingRule {
    pub(crate) fn new(threshold: Threshold) -> Self {
        Self { threshold: threshold.0 as f32, largest: 0.0 }
    }

    /// Whether the timestep with this loss is the last one. Computed in 32 bits, as PyTorch does for its losses.
    pub(crate) fn is_last(&mut self, loss: f32) -> bool {
        self.largest = self.largest.max(loss);
        loss < self.largest * self.threshold
    }
}

/// The place of the first of these losses, in the order of their timesteps, at which diff-pruning stops adding up
/// gradients; the gradient of that timestep is still added. `None` if the loss never falls so far.
pub fn stopping_step(losses: &[f32], threshold: Threshold) -> Option<usize> {
    let mut rule = StoppingRule::new(threshold);
    losses.iter().position(|&loss| rule.is_last(loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_under_the_share_of_the_largest_so_far() {
        let at = |losses: &[f32], thr: f64| stopping_step(losses, Threshold::new(thr).unwrap());
        assert_eq!(at(&[1.0, 0.5, 0.04, 0.01], 0.05), Some(2));
        assert_eq!(at(&[1.0, 0.5, 0.05], 0.05), None);
        // The largest loss comes late: what was large enough before it stays so.
        assert_eq!(at(&[0.4, 0.3, 8.0, 0.5, 0.3], 0.05), Some(4));
        assert_eq!(at(&[1.0, 0.999], 0.9999), Some(1));
        assert_eq!(at(&[1.0, 0.0], 0.0), None);
        assert_eq!(at(&[], 0.5), None);
    }

    #[test]
    fn the_range_is_checked_everywhere() {
        for bad in ["-0.1", "1", "1.5", "NaN", "inf", "0,05", ""] {
            let error = bad.parse::<Threshold>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("threshold {bad} must be 0 or more")), "{error}");
        }
        assert!(serde_json::from_str::<Threshold>("1.0").unwrap_err().to_string().contains("below 1"));
        for good in ["0", "0.05", "0.999"] {
            assert_eq!(good.parse::<Threshold>().unwrap().get(), good.parse::<f64>().unwrap());
        }
        assert!("0.05".parse::<Threshold>().unwrap().is_default());
    }
}

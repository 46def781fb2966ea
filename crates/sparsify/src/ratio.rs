//! The fraction of channels to remove.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::SparsifyError;

/// A fraction of channels to remove from each group: greater than 0 and less than 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Ratio(f64);

impl Ratio {
    /// The ratio of this value.
    ///
    /// # Errors
    /// [`SparsifyError::Ratio`] for 0, 1, NaN and everything outside.
    pub fn new(value: f64) -> Result<Self, SparsifyError> {
        if value > 0.0 && value < 1.0 {
            return Ok(Self(value));
        }
        Err(SparsifyError::Ratio { given: value.to_string() })
    }

    /// The value.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Ratio {
    type Error = SparsifyError;

    fn try_from(value: f64) -> Result<Self, SparsifyError> {
        Self::new(value)
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> f64 {
        ratio.0
    }
}

impl FromStr for Ratio {
    type Err = SparsifyError;

    fn from_str(text: &str) -> Result<Self, SparsifyError> {
        let refused = || SparsifyError::Ratio { given: text.to_owned() };
        Self::new(text.trim().parse().map_err(|_| refused())?).map_err(|_| refused())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_open_interval_is_accepted() {
        for bad in ["0", "1", "-0.1", "-0", "NaN", "inf", "1.5", "0,3", "", "30%"] {
            let error = bad.parse::<Ratio>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("pruning ratio {bad} is not between 0 and 1")), "{error}");
        }
        for good in ["0.3", "1e-20", " 0.999 "] {
            assert_eq!(good.parse::<Ratio>().unwrap().get(), good.trim().parse::<f64>().unwrap());
        }
    }

    #[test]
    fn files_are_checked_too() {
        assert_eq!(serde_json::from_str::<Ratio>("0.25").unwrap().get(), 0.25);
        for bad in ["0", "1", "-0.1", "2"] {
            let error = serde_json::from_str::<Ratio>(bad).unwrap_err().to_string();
            assert!(error.contains("between 0 and 1"), "{error}");
        }
    }
}

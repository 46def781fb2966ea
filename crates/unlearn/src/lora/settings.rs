//! Settings of low-rank adaptation.

use serde::{Deserialize, Serialize};

use crate::UnlearnError;
use crate::error::require;

/// The largest rank: beyond any attention block's width.
const MAX_RANK: usize = 65_536;

/// Settings of low-rank adaptation, with the reference's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSettings {
    /// r, the rank of what is added to a projection.
    pub rank: usize,
    /// alpha: what is added is multiplied by alpha / r.
    pub alpha: f64,
    /// Share of the adapter's input channels, at each position, that is zeroed in training; the others are scaled up by
    /// 1 / (1 - dropout).
    pub dropout: f64,
    /// How many times faster B learns than A.
    pub learning_rate_ratio: f64,
}

impl Default for LoraSettings {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, dropout: 0.05, learning_rate_ratio: 16.0 }
    }
}

impl LoraSettings {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`UnlearnError::Setting`] naming the key.
    pub fn validate(&self) -> Result<(), UnlearnError> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let rank = self.rank as f64;
        require((1..=MAX_RANK).contains(&self.rank), "lora_rank", rank, "1 to 65,536")?;
        require(positive(self.alpha), "lora_alpha", self.alpha, "a positive number")?;
        require((0.0..1.0).contains(&self.dropout), "lora_dropout", self.dropout, "0 or more, below 1")?;
        let ratio = self.learning_rate_ratio;
        require(positive(ratio), "lora_lr_ratio", ratio, "a positive number")
    }

    /// alpha / r.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named() {
        let base = LoraSettings::default;
        base().validate().unwrap();
        assert_eq!(base().scale(), 2.0);
        for (key, settings) in [
            ("lora_rank", LoraSettings { rank: 0, ..base() }),
            ("lora_rank", LoraSettings { rank: 100_000, ..base() }),
            ("lora_alpha", LoraSettings { alpha: 0.0, ..base() }),
            ("lora_dropout", LoraSettings { dropout: 1.0, ..base() }),
            ("lora_dropout", LoraSettings { dropout: -0.1, ..base() }),
            ("lora_lr_ratio", LoraSettings { learning_rate_ratio: f64::NAN, ..base() }),
        ] {
            let error = settings.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}

//! Which of the training timesteps a sampler visits.

use serde::{Deserialize, Serialize};

use crate::DiffusionError;

/// How the visited timesteps are spread over 0..T (Lin et al. 2023, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// Multiples of floor(T / n), starting at 0; diffusers' default.
    #[default]
    Leading,
    /// Multiples of T / n counted down from T, less one: always visits T - 1.
    Trailing,
    /// n values evenly from 0 to T - 1, rounded.
    Linspace,
}

impl TimestepSpacing {
    /// The visited timesteps in the order of the visit, largest first.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] unless 1 <= `steps` <= `train_timesteps`.
    pub fn timesteps(self, train_timesteps: usize, steps: usize) -> Result<Vec<usize>, DiffusionError> {
        if steps == 0 || steps > train_timesteps {
            return Err(DiffusionError::setting(
                "sampling.steps",
                format!(
                    "is {steps}, but must lie in 1..={train_timesteps}, the number of training timesteps"
                ),
            ));
        }
        let (total, count) = (train_timesteps as f64, steps as f64);
        Ok(match self {
            Self::Leading => (0..steps).rev().map(|i| i * (train_timesteps / steps)).collect(),
            // Every value is at least T/n - 1 >= 0.
            Self::Trailing => (0..steps)
                .map(|i| ((total - i as f64 * (total / count)).round_ties_even() as usize).saturating_sub(1))
                .collect(),
            Self::Linspace if steps == 1 => vec![0],
            Self::Linspace => {
                let step = (total - 1.0) / (count - 1.0);
                (0..steps).rev().map(|i| (i as f64 * step).round_ties_even() as usize).collect()
            }
        })
    }
}

//! Dynamic scaling of the loss, so that small gradients do not vanish in half precision.

use serde::{Deserialize, Serialize};

/// The factor of the loss before the backward pass, as `torch.amp.GradScaler`'s defaults have it: 65536 at first, halved
/// after a step whose gradients overflow, doubled after 2000 steps in a row without overflow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScaler {
    /// The factor, a power of two.
    pub scale: f32,
    /// Steps without overflow since the factor last changed.
    pub good_steps: u32,
}

/// Steps without overflow after which the factor is doubled.
const GROWTH_INTERVAL: u32 = 2000;

impl Default for LossScaler {
    fn default() -> Self {
        Self { scale: 65536.0, good_steps: 0 }
    }
}

impl LossScaler {
    /// Takes note of a step's gradients.
    pub(super) fn after_step(&mut self, overflow: bool) {
        if overflow {
            self.scale *= 0.5;
            self.good_steps = 0;
            return;
        }
        self.good_steps += 1;
        if self.good_steps == GROWTH_INTERVAL {
            self.good_steps = 0;
            // Torch keeps the last finite factor, too.
            if (self.scale * 2.0).is_finite() {
                self.scale *= 2.0;
            }
        }
    }

    /// Whether a smaller factor could help against overflow. Below 1, the gradients themselves leave the range.
    pub(super) fn can_shrink(&self) -> bool {
        self.scale >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_after_2000_good_steps_in_a_row_and_shrinks_at_once() {
        let mut scaler = LossScaler::default();
        for _ in 0..1999 {
            scaler.after_step(false);
        }
        assert_eq!(scaler, LossScaler { scale: 65536.0, good_steps: 1999 });
        scaler.after_step(true);
        assert_eq!(scaler, LossScaler { scale: 32768.0, good_steps: 0 });
        for _ in 0..2000 {
            scaler.after_step(false);
        }
        assert_eq!(scaler, LossScaler { scale: 65536.0, good_steps: 0 });
        let mut largest = LossScaler { scale: 2f32.powi(127), good_steps: 1999 };
        largest.after_step(false);
        assert_eq!(largest, LossScaler { scale: 2f32.powi(127), good_steps: 0 });
    }
}

//! Denoising diffusion implicit models: Song, Meng and Ermon 2021, arXiv 2010.02502.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{DenoisingStep, check_clip_range, predicted_original};
use crate::DiffusionError;
use crate::schedule::NoiseSchedule;

/// Settings of the DDIM step, with diffusers' names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DdimConfig {
    /// Share of the noise that DDPM would add, in 0..=1; 0 is deterministic.
    pub eta: f32,
    /// Whether the predicted clean image is clipped to +-`clip_sample_range`.
    pub clip_sample: bool,
    /// Half width of the clipping range.
    pub clip_sample_range: f32,
    /// Whether the step past timestep 0 ends at the clean image (abar = 1) rather than at abar_0.
    pub set_alpha_to_one: bool,
}

impl Default for DdimConfig {
    fn default() -> Self {
        Self { eta: 0.0, clip_sample: true, clip_sample_range: 1.0, set_alpha_to_one: true }
    }
}

impl DdimConfig {
    pub(super) fn validate(&self) -> Result<(), DiffusionError> {
        if !(0.0..=1.0).contains(&self.eta) {
            return Err(DiffusionError::setting(
                "sampler.eta",
                format!("is {}, but must lie between 0 (deterministic) and 1 (as noisy as DDPM)", self.eta),
            ));
        }
        check_clip_range("sampler.clip_sample_range", self.clip_sample_range)
    }

    /// x_prev = sqrt(abar_prev) x0 + sqrt(1 - abar_prev - sigma^2) epsilon + sigma z, with x0 the predicted clean
    /// image and sigma = eta sqrt((1 - abar_prev) / (1 - abar_t)) sqrt(1 - abar_t / abar_prev)
    /// (equations 12 and 16).
    ///
    /// `previous` is the timestep stepped to, `None` past timestep 0. All scalars are computed in 32 bits as diffusers
    /// does.
    pub(super) fn step(
        &self,
        schedule: &NoiseSchedule,
        timestep: usize,
        previous: Option<usize>,
        sample: Tensor<4>,
        epsilon: Tensor<4>,
        noise: Option<Tensor<4>>,
    ) -> Result<DenoisingStep, DiffusionError> {
        let alpha_prod = schedule.alpha_cumprod(timestep)?;
        let alpha_prod_prev = match previous {
            Some(t) => schedule.alpha_cumprod(t)?,
            None if self.set_alpha_to_one => 1.0,
            None => schedule.alpha_cumprod(0)?,
        };
        let variance = (1.0 - alpha_prod_prev) / (1.0 - alpha_prod) * (1.0 - alpha_prod / alpha_prod_prev);
        let sigma = self.eta * variance.sqrt();

        let clip = self.clip_sample.then_some(self.clip_sample_range);
        let pred_original = predicted_original(sample, epsilon.clone(), alpha_prod, clip);
        // Not negative but for rounding: sigma^2 <= 1 - abar_prev when eta <= 1.
        let direction = (1.0 - alpha_prod_prev - sigma * sigma).max(0.0).sqrt();
        let mut prev_sample =
            pred_original.clone().mul_scalar(alpha_prod_prev.sqrt()) + epsilon.mul_scalar(direction);
        if let Some(noise) = noise {
            prev_sample = prev_sample + noise.mul_scalar(sigma);
        }
        Ok(DenoisingStep { prev_sample, pred_original })
    }
}

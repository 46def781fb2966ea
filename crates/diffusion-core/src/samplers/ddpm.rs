//! Denoising diffusion probabilistic models: Ho, Jain and Abbeel 2020, arXiv 2006.11239.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{DenoisingStep, check_clip_range, predicted_original};
use crate::DiffusionError;
use crate::schedule::NoiseSchedule;

/// The variance of the noise that a DDPM step adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// The posterior's, (1 - abar_prev) / (1 - abar_t) beta_t: right if the image is known.
    #[default]
    FixedSmall,
    /// beta_t: right if the image is standard normal.
    FixedLarge,
}

/// Settings of the DDPM step, with diffusers' names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DdpmConfig {
    /// Variance of the added noise.
    pub variance_type: VarianceType,
    /// Whether the predicted clean image is clipped to +-`clip_sample_range`.
    pub clip_sample: bool,
    /// Half width of the clipping range.
    pub clip_sample_range: f32,
}

impl Default for DdpmConfig {
    fn default() -> Self {
        Self { variance_type: VarianceType::FixedSmall, clip_sample: true, clip_sample_range: 1.0 }
    }
}

impl DdpmConfig {
    pub(super) fn validate(&self) -> Result<(), DiffusionError> {
        check_clip_range("sampler.clip_sample_range", self.clip_sample_range)
    }

    /// x_prev = sqrt(abar_prev) beta / (1 - abar_t) x0 + sqrt(alpha) (1 - abar_prev) / (1 - abar_t) x_t + sigma z,
    /// with alpha = abar_t / abar_prev, beta = 1 - alpha and x0 the predicted clean image (equation 7).
    ///
    /// `previous` is the timestep stepped to, `None` for the clean image (abar_prev = 1). No noise is added without
    /// `noise`. All scalars are computed in 32 bits as diffusers does.
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
        let alpha_prod_prev = previous.map_or(Ok(1.0), |t| schedule.alpha_cumprod(t))?;
        let beta_prod = 1.0 - alpha_prod;
        let beta_prod_prev = 1.0 - alpha_prod_prev;
        let alpha = alpha_prod / alpha_prod_prev;
        let beta = 1.0 - alpha;

        let clip = self.clip_sample.then_some(self.clip_sample_range);
        let pred_original = predicted_original(sample.clone(), epsilon, alpha_prod, clip);
        let original_share = alpha_prod_prev.sqrt() * beta / beta_prod;
        let sample_share = alpha.sqrt() * beta_prod_prev / beta_prod;
        let mut prev_sample =
            pred_original.clone().mul_scalar(original_share) + sample.mul_scalar(sample_share);
        if let Some(noise) = noise {
            let variance = match self.variance_type {
                VarianceType::FixedSmall => (beta_prod_prev / beta_prod * beta).max(1e-20),
                VarianceType::FixedLarge => beta,
            };
            prev_sample = prev_sample + noise.mul_scalar(variance.sqrt());
        }
        Ok(DenoisingStep { prev_sample, pred_original })
    }
}

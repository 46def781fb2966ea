//! The reverse process: from noise to images.
//!
//! [`Sampler`] chooses one step's formula ([`ddpm`] or [`ddim`]), [`TimestepSpacing`] the timesteps that are visited,
//! and [`sample`](sample::sample) runs the chain for a list of image indices.

pub mod ddim;
pub mod ddpm;
pub mod sample;
mod spacing;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use ddim::DdimConfig;
pub use ddpm::{DdpmConfig, VarianceType};
pub use sample::{
    SampleConfig, SampledImages, initial_noise, planar_values, predicted_originals, sample, sample_values,
};
pub use spacing::TimestepSpacing;

use crate::DiffusionError;
use crate::schedule::NoiseSchedule;

/// Which formula takes x_t to the next, less noisy x.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Sampler {
    /// Ancestral sampling (Ho et al. 2020): noise is added at every step but the last.
    Ddpm(DdpmConfig),
    /// Implicit sampling (Song et al. 2021): deterministic at eta = 0, so few steps suffice.
    Ddim(DdimConfig),
}

impl Default for Sampler {
    fn default() -> Self {
        Self::Ddim(DdimConfig::default())
    }
}

/// What one reverse step gives, each `[batch, channels, height, width]`.
#[derive(Debug, Clone)]
pub struct DenoisingStep {
    /// The sample at the next (earlier) timestep.
    pub prev_sample: Tensor<4>,
    /// The clean image that the predicted noise implies, clipped if the sampler clips.
    pub pred_original: Tensor<4>,
}

impl Sampler {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] naming the key.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        match self {
            Self::Ddpm(config) => config.validate(),
            Self::Ddim(config) => config.validate(),
        }
    }

    /// The timestep stepped to from `timesteps[position]`, where `timesteps` fall; `None` for the clean image.
    ///
    /// DDPM steps to the next timestep of the list. DDIM steps down by floor(T / number of steps), as diffusers does:
    /// with `leading` spacing that is the same.
    pub fn previous_timestep(
        &self,
        schedule: &NoiseSchedule,
        timesteps: &[usize],
        position: usize,
    ) -> Option<usize> {
        match self {
            Self::Ddpm(_) => timesteps.get(position + 1).copied(),
            Self::Ddim(_) => timesteps.get(position)?.checked_sub(schedule.timesteps() / timesteps.len()),
        }
    }

    /// Whether the step at `timestep` adds noise.
    pub fn adds_noise(&self, timestep: usize) -> bool {
        match self {
            Self::Ddpm(_) => timestep > 0,
            Self::Ddim(config) => config.eta > 0.0,
        }
    }

    /// One reverse step; `noise` is needed where [`Sampler::adds_noise`], and ignored elsewhere.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if a timestep is not below T or the noise is missing.
    pub fn step(
        &self,
        schedule: &NoiseSchedule,
        timestep: usize,
        previous: Option<usize>,
        sample: Tensor<4>,
        epsilon: Tensor<4>,
        noise: Option<Tensor<4>>,
    ) -> Result<DenoisingStep, DiffusionError> {
        let noise = match (self.adds_noise(timestep), noise) {
            (false, _) => None,
            (true, Some(noise)) => Some(noise),
            (true, None) => {
                return Err(DiffusionError::setting(
                    "noise",
                    format!("is missing, but this sampler adds noise at timestep {timestep}"),
                ));
            }
        };
        match self {
            Self::Ddpm(config) => config.step(schedule, timestep, previous, sample, epsilon, noise),
            Self::Ddim(config) => config.step(schedule, timestep, previous, sample, epsilon, noise),
        }
    }
}

/// The clean image that predicted noise implies: (x_t - sqrt(1 - abar_t) epsilon) / sqrt(abar_t), clipped to
/// +-`clip` if given (Ho et al. 2020, equation 15).
fn predicted_original(
    sample: Tensor<4>,
    epsilon: Tensor<4>,
    alpha_cumprod: f32,
    clip: Option<f32>,
) -> Tensor<4> {
    let clean = (sample - epsilon.mul_scalar((1.0 - alpha_cumprod).sqrt())).div_scalar(alpha_cumprod.sqrt());
    match clip {
        Some(range) => clean.clamp(-range, range),
        None => clean,
    }
}

fn check_clip_range(key: &str, range: f32) -> Result<(), DiffusionError> {
    if range > 0.0 && range.is_finite() {
        return Ok(());
    }
    Err(DiffusionError::setting(
        key,
        format!("is {range}, but must be a positive number (1 for images in [-1, 1])"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_back_and_unknown_keys_are_refused() {
        for sampler in [Sampler::default(), Sampler::Ddpm(DdpmConfig::default())] {
            let text = serde_json::to_string(&sampler).unwrap();
            assert_eq!(serde_json::from_str::<Sampler>(&text).unwrap(), sampler);
        }
        let read = |text| serde_json::from_str::<Sampler>(text);
        assert_eq!(read(r#"{"kind":"ddim"}"#).unwrap(), Sampler::default());
        for (text, named) in [
            (r#"{"kind":"ddim","etta":0.5}"#, "etta"),
            (r#"{"kind":"ddpm","eta":0.5}"#, "eta"),
            (r#"{"kind":"pndm"}"#, "pndm"),
            (r#"{"kind":"ddpm","variance_type":"learned"}"#, "learned"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}

//! The forward process: how much signal and how much noise an image holds at each timestep.
//!
//! With variances beta_t, alpha_t = 1 - beta_t and abar_t = alpha_0 ... alpha_t, an image x at timestep t is
//! x_t = sqrt(abar_t) x + sqrt(1 - abar_t) epsilon, epsilon ~ N(0, I) (Ho et al. 2020, equation 4).
//!
//! The tables are those of diffusers bit for bit: 32-bit floats, with the running product kept in 64 bits as PyTorch's
//! `cumprod` does on the CPU.

use serde::{Deserialize, Serialize};

use crate::DiffusionError;

/// How the noise variance beta_t grows with the timestep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// beta_t evenly spaced from `beta_start` to `beta_end` (Ho et al. 2020).
    Linear,
    /// sqrt(beta_t) evenly spaced (Rombach et al. 2022, latent diffusion).
    ScaledLinear,
    /// abar(u) = cos^2((u + 0.008) / 1.008 * pi / 2) at u = t / T, beta_t capped at 0.999 (Nichol and Dhariwal 2021,
    /// equation 17); `beta_start` and `beta_end` have no part in it. diffusers calls it `squaredcos_cap_v2`.
    #[serde(alias = "squaredcos_cap_v2")]
    Cosine,
}

/// The settings of a [`NoiseSchedule`], with diffusers' names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoiseScheduleConfig {
    /// Number of timesteps T.
    pub num_train_timesteps: usize,
    /// The shape of the variances.
    pub beta_schedule: BetaSchedule,
    /// First variance, in (0, 1).
    pub beta_start: f64,
    /// Last variance, in (0, 1).
    pub beta_end: f64,
}

impl Default for NoiseScheduleConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_schedule: BetaSchedule::Linear,
            beta_start: 1e-4,
            beta_end: 0.02,
        }
    }
}

impl NoiseScheduleConfig {
    /// Checks the ranges and computes the tables.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] naming the key.
    pub fn build(&self) -> Result<NoiseSchedule, DiffusionError> {
        NoiseSchedule::new(self.clone())
    }

    fn validate(&self) -> Result<(), DiffusionError> {
        if !(1..=1_000_000).contains(&self.num_train_timesteps) {
            return Err(DiffusionError::setting(
                "schedule.num_train_timesteps",
                format!("is {}, but must lie in 1..=1000000 (usually 1000)", self.num_train_timesteps),
            ));
        }
        for (key, beta) in [("schedule.beta_start", self.beta_start), ("schedule.beta_end", self.beta_end)] {
            if !(beta > 0.0 && beta < 1.0) {
                return Err(DiffusionError::setting(key, format!("is {beta}, but must lie between 0 and 1")));
            }
        }
        if self.beta_start > self.beta_end {
            return Err(DiffusionError::setting(
                "schedule.beta_start",
                format!("is {}, above beta_end = {}; swap them", self.beta_start, self.beta_end),
            ));
        }
        Ok(())
    }
}

/// The tables of a noise schedule. Timesteps are 0..T, 0 the cleanest.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    config: NoiseScheduleConfig,
    betas: Vec<f32>,
    alphas_cumprod: Vec<f32>,
}

impl NoiseSchedule {
    /// Computes the tables.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for a variance outside (0, 1) or a number of timesteps outside 1..=1000000.
    pub fn new(config: NoiseScheduleConfig) -> Result<Self, DiffusionError> {
        config.validate()?;
        let steps = config.num_train_timesteps;
        let betas: Vec<f32> = match config.beta_schedule {
            BetaSchedule::Linear => linspace(config.beta_start as f32, config.beta_end as f32, steps),
            BetaSchedule::ScaledLinear => {
                linspace(config.beta_start.sqrt() as f32, config.beta_end.sqrt() as f32, steps)
                    .into_iter()
                    .map(|root| root * root)
                    .collect()
            }
            BetaSchedule::Cosine => cosine_betas(steps),
        };
        let mut product = 1.0f64;
        let alphas_cumprod = betas
            .iter()
            .map(|&beta| {
                product *= f64::from(1.0 - beta);
                product as f32
            })
            .collect();
        Ok(Self { config, betas, alphas_cumprod })
    }

    /// The settings it was made from.
    pub fn config(&self) -> &NoiseScheduleConfig {
        &self.config
    }

    /// Number of timesteps T.
    pub fn timesteps(&self) -> usize {
        self.betas.len()
    }

    /// beta_t for t = 0..T.
    pub fn betas(&self) -> &[f32] {
        &self.betas
    }

    /// abar_t = (1 - beta_0) ... (1 - beta_t) for t = 0..T.
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// abar_t.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if t >= T.
    pub fn alpha_cumprod(&self, timestep: usize) -> Result<f32, DiffusionError> {
        self.alphas_cumprod.get(timestep).copied().ok_or_else(|| {
            DiffusionError::setting(
                "timestep",
                format!("is {timestep}, but the schedule has the timesteps 0..{}", self.timesteps()),
            )
        })
    }

    /// x_t = sqrt(abar_t) x + sqrt(1 - abar_t) epsilon for a batch.
    ///
    /// `clean` and `noise` hold the items one after the other, `timesteps` one timestep an item; the result has their
    /// layout. The square roots and products are those of diffusers' `add_noise` in 32 bits.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if a timestep is not below T, or the lengths do not fit together.
    pub fn add_noise(
        &self,
        clean: &[f32],
        noise: &[f32],
        timesteps: &[usize],
    ) -> Result<Vec<f32>, DiffusionError> {
        let items = timesteps.len();
        if clean.len() != noise.len() || items == 0 || !clean.len().is_multiple_of(items) || clean.is_empty()
        {
            return Err(DiffusionError::setting(
                "add_noise",
                format!(
                    "{} values, {} noises and {items} timesteps do not fit: \
                     as many noises as values are needed, and a whole number of values for each timestep",
                    clean.len(),
                    noise.len()
                ),
            ));
        }
        let per_item = clean.len() / items;
        let mut noisy = Vec::with_capacity(clean.len());
        for (item, &timestep) in timesteps.iter().enumerate() {
            let alpha = self.alpha_cumprod(timestep)?;
            let (signal, spread) = (alpha.sqrt(), (1.0 - alpha).sqrt());
            let range = item * per_item..(item + 1) * per_item;
            noisy
                .extend(clean[range.clone()].iter().zip(&noise[range]).map(|(x, e)| signal * x + spread * e));
        }
        Ok(noisy)
    }
}

/// `torch.linspace` in 32 bits: counted up from the start in the first half and down from the end in the second, each
/// value rounded once.
fn linspace(start: f32, end: f32, steps: usize) -> Vec<f32> {
    if steps == 1 {
        return vec![start];
    }
    let step = (end - start) / (steps - 1) as f32;
    (0..steps)
        .map(|i| {
            if i < steps / 2 {
                step.mul_add(i as f32, start)
            } else {
                (-step).mul_add((steps - 1 - i) as f32, end)
            }
        })
        .collect()
}

/// diffusers' `betas_for_alpha_bar`: beta_t = min(1 - abar((t + 1) / T) / abar(t / T), 0.999).
fn cosine_betas(steps: usize) -> Vec<f32> {
    let alpha_bar = |u: f64| ((u + 0.008) / 1.008 * std::f64::consts::PI / 2.0).cos().powi(2);
    (0..steps)
        .map(|i| {
            let now = alpha_bar(i as f64 / steps as f64);
            let next = alpha_bar((i + 1) as f64 / steps as f64);
            (1.0 - next / now).min(0.999) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: NoiseScheduleConfig) -> String {
        config.build().unwrap_err().to_string()
    }

    #[test]
    fn out_of_range_settings_are_named() {
        let base = NoiseScheduleConfig::default;
        assert!(
            refused(NoiseScheduleConfig { num_train_timesteps: 0, ..base() }).contains("num_train_timesteps")
        );
        for beta in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(
                refused(NoiseScheduleConfig { beta_start: beta, ..base() }).contains("beta_start"),
                "{beta}"
            );
        }
        assert!(refused(NoiseScheduleConfig { beta_end: f64::INFINITY, ..base() }).contains("beta_end"));
        assert!(refused(NoiseScheduleConfig { beta_start: 0.5, ..base() }).contains("swap"));
    }

    #[test]
    fn one_timestep_is_a_schedule() {
        for beta_schedule in [BetaSchedule::Linear, BetaSchedule::ScaledLinear, BetaSchedule::Cosine] {
            let schedule =
                NoiseScheduleConfig { num_train_timesteps: 1, beta_schedule, ..Default::default() };
            assert_eq!(schedule.build().unwrap().timesteps(), 1);
        }
    }

    #[test]
    fn lengths_that_do_not_fit_and_late_timesteps_are_refused() {
        let schedule = NoiseScheduleConfig::default().build().unwrap();
        assert!(schedule.add_noise(&[0.0; 4], &[0.0; 3], &[1]).is_err());
        assert!(schedule.add_noise(&[0.0; 4], &[0.0; 4], &[1, 2, 3]).is_err());
        assert!(schedule.add_noise(&[], &[], &[]).is_err());
        let error = schedule.add_noise(&[0.0; 4], &[0.0; 4], &[1, 1000]).unwrap_err().to_string();
        assert!(error.contains("1000"), "{error}");
    }

    #[test]
    fn config_reads_both_names_of_cosine_and_refuses_unknown_keys() {
        let read = |text: &str| serde_json::from_str::<NoiseScheduleConfig>(text);
        assert_eq!(
            read(r#"{"beta_schedule":"squaredcos_cap_v2"}"#).unwrap().beta_schedule,
            BetaSchedule::Cosine
        );
        assert_eq!(read(r#"{"beta_schedule":"cosine"}"#).unwrap().beta_schedule, BetaSchedule::Cosine);
        assert!(read(r#"{"beta_strat":0.1}"#).unwrap_err().to_string().contains("beta_strat"));
    }
}

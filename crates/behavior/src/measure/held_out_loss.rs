//! The diffusion loss on held-out images, with noises and timesteps fixed once for all models.

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::Denoiser;
use diffusion_core::schedule::NoiseSchedule;
use serde::{Deserialize, Serialize};
use streams::{Streams, permutation, standard_normal, uniform};

use crate::BehaviorError;
use crate::measurer::NoisePrediction;

/// How the held-out loss is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeldOutLossConfig {
    /// Noises a held-out image, each at its own timestep.
    pub noises: usize,
    /// Noisy images a forward pass; changes nothing but memory and rounding.
    pub batch_size: usize,
}

impl Default for HeldOutLossConfig {
    fn default() -> Self {
        Self { noises: 8, batch_size: 64 }
    }
}

/// Held-out images, one row an image.
#[derive(Clone, Debug)]
pub struct HeldOutImages {
    /// Values in [-1, 1], images one after the other.
    pub pixels: Vec<f32>,
    /// Shape `[channels, height, width]` of one image.
    pub shape: [usize; 3],
    /// The contributor of each image, in `0..contributors`.
    pub contributor: Vec<usize>,
    /// The number of contributors, n.
    pub contributors: usize,
}

/// The mean squared error of the predicted noise on fixed noisy images: `|e - e_theta(x_t, t)|^2 / (C H W)`, averaged.
///
/// Every image comes with `noises` draws of `(t, e)`. The noise of a draw is the stream `held-out loss noise` at
/// `image * noises + draw`. The timesteps of a contributor's m images are stratified: the draws j of all its images lie
/// in the j-th of `noises` equal parts of `0..T`, and there one image lies in each of m equal parts, in an order and at
/// places of the stream `held-out loss timestep` at `contributor * noises + j`. So every contributor sees all noise levels
/// alike, and two models, or two runs, see the same noisy images.
#[derive(Clone, Debug)]
pub struct HeldOutLoss {
    images: HeldOutImages,
    config: HeldOutLossConfig,
    schedule: NoiseSchedule,
    streams: Streams,
    /// Of draw `image * noises + j`.
    timesteps: Vec<usize>,
    device: Device,
}

/// Mean losses of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOutLosses {
    /// Over all draws.
    pub total: f64,
    /// Over the draws of each contributor's images; none for a contributor without any.
    pub per_contributor: Vec<Option<f64>>,
}

impl HeldOutLoss {
    /// Fixes noises and timesteps for `images`; models are run on `device`, without its autodiff.
    ///
    /// # Errors
    /// No image, pixels that do not fill the shape, a NaN or an infinity among them, a contributor out of range, and a
    /// number of noises or a batch size of 0.
    pub fn new(
        images: HeldOutImages,
        config: HeldOutLossConfig,
        schedule: NoiseSchedule,
        streams: Streams,
        device: &Device,
    ) -> Result<Self, BehaviorError> {
        validate(&images, config)?;
        let timesteps = stratified_timesteps(&images, config.noises, schedule.timesteps(), &streams);
        let device = device.clone().without_autodiff();
        Ok(Self { images, config, schedule, streams, timesteps, device })
    }

    /// The number of noisy images: held-out images times noises.
    pub fn draws(&self) -> usize {
        self.timesteps.len()
    }

    /// The losses of `model`, run without gradients; its parameters must be on this device.
    ///
    /// # Errors
    /// As [`HeldOutLoss::evaluate`].
    pub fn evaluate_model<D: Denoiser>(&self, model: &D) -> Result<HeldOutLosses, BehaviorError> {
        let model = model.valid();
        self.evaluate(&|x, timesteps| model.predict_noise(x, timesteps))
    }

    /// The losses of the model with this noise `prediction`, which gets tensors without gradients: its parameters must
    /// not track any either.
    ///
    /// # Errors
    /// A prediction of another shape than the noisy images, or with a NaN or an infinity, and a failure of the device.
    pub fn evaluate(&self, prediction: NoisePrediction) -> Result<HeldOutLosses, BehaviorError> {
        let _awake = kernels::Awake::new();
        let noises = self.config.noises;
        let mut sums = vec![(0.0, 0usize); self.images.contributors];
        for start in (0..self.draws()).step_by(self.config.batch_size) {
            let end = (start + self.config.batch_size).min(self.draws());
            for (draw, loss) in (start..end).zip(self.batch_losses(start..end, prediction)?) {
                let (sum, count) = &mut sums[self.images.contributor[draw / noises]];
                *sum += loss;
                *count += 1;
            }
        }
        let total = sums.iter().map(|(sum, _)| sum).sum::<f64>() / self.draws() as f64;
        let per_contributor =
            sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / count as f64)).collect();
        Ok(HeldOutLosses { total, per_contributor })
    }

    fn batch_losses(
        &self,
        draws: std::ops::Range<usize>,
        prediction: NoisePrediction,
    ) -> Result<Vec<f64>, BehaviorError> {
        let size = self.images.shape.iter().product();
        let [channels, height, width] = self.images.shape;
        let shape = [draws.len(), channels, height, width];
        let mut clean = Vec::with_capacity(draws.len() * size);
        let mut noise = Vec::with_capacity(draws.len() * size);
        for draw in draws.clone() {
            let image = draw / self.config.noises;
            clean.extend_from_slice(&self.images.pixels[image * size..(image + 1) * size]);
            noise.extend(standard_normal(&mut self.streams.rng("held-out loss noise", draw as u64), size));
        }
        let timesteps = &self.timesteps[draws.clone()];
        let device_error =
            |reason: String| BehaviorError::Device { what: "the held-out diffusion loss", reason };
        let noisy = self
            .schedule
            .add_noise(&clean, &noise, timesteps)
            .map_err(|error| device_error(error.to_string()))?;
        let x = Tensor::<4>::from_data(TensorData::new(noisy, shape), &self.device);
        let steps: Vec<i32> = timesteps.iter().map(|&timestep| timestep as i32).collect();
        let steps = Tensor::<1, Int>::from_data(TensorData::new(steps, [draws.len()]), &self.device);
        let predicted = prediction(x, steps);
        if predicted.dims() != shape {
            return Err(BehaviorError::Mismatch {
                what: "number of values of the predicted noise",
                expected: noise.len(),
                found: predicted.dims().iter().product(),
                remedy: "the model must predict noise of its input's shape; check its sample size and channels",
            });
        }
        let predicted =
            predicted.try_into_data().map_err(|error| device_error(format!("{error:?}")))?.convert::<f32>();
        let predicted = predicted.as_slice::<f32>().map_err(|error| device_error(format!("{error:?}")))?;
        let pairs = predicted.chunks_exact(size).zip(noise.chunks_exact(size));
        draws
            .zip(pairs)
            .map(|(draw, (predicted, noise))| {
                let square = |(p, e): (&f32, &f32)| (f64::from(*p) - f64::from(*e)).powi(2);
                let loss = predicted.iter().zip(noise).map(square).sum::<f64>() / size as f64;
                let image = draw / self.config.noises;
                let what = "predicted noises";
                if loss.is_finite() {
                    Ok(loss)
                } else {
                    Err(BehaviorError::NotFinite { what, image, value: loss })
                }
            })
            .collect()
    }
}

fn validate(images: &HeldOutImages, config: HeldOutLossConfig) -> Result<(), BehaviorError> {
    for (name, value) in [("noises", config.noises), ("batch_size", config.batch_size)] {
        if value == 0 {
            let valid = "at least 1".to_string();
            return Err(BehaviorError::Parameter { name, value: "0".to_string(), valid });
        }
    }
    let count = images.contributor.len();
    if count == 0 {
        return Err(BehaviorError::TooFewSamples {
            measure: "the held-out diffusion loss",
            what: "held-out images",
            needed: 1,
            found: 0,
        });
    }
    let size: usize = images.shape.iter().product();
    if size == 0 || images.pixels.len() != count * size {
        return Err(BehaviorError::Mismatch {
            what: "number of values of the held-out images",
            expected: count * size,
            found: images.pixels.len(),
            remedy: "give channels * height * width values for each image",
        });
    }
    if let Some(position) = images.pixels.iter().position(|value| !value.is_finite()) {
        let value = f64::from(images.pixels[position]);
        return Err(BehaviorError::NotFinite { what: "held-out pixels", image: position / size, value });
    }
    match images.contributor.iter().find(|&&contributor| contributor >= images.contributors) {
        None => Ok(()),
        Some(contributor) => Err(BehaviorError::Parameter {
            name: "contributor of a held-out image",
            value: contributor.to_string(),
            valid: format!("below the number of contributors, {}", images.contributors),
        }),
    }
}

fn stratified_timesteps(
    images: &HeldOutImages,
    noises: usize,
    steps: usize,
    streams: &Streams,
) -> Vec<usize> {
    let mut timesteps = vec![0; images.contributor.len() * noises];
    for contributor in 0..images.contributors {
        let own: Vec<usize> =
            (0..images.contributor.len()).filter(|&image| images.contributor[image] == contributor).collect();
        for draw in 0..noises {
            let mut rng = streams.rng("held-out loss timestep", (contributor * noises + draw) as u64);
            for (&image, place) in own.iter().zip(permutation(&mut rng, own.len())) {
                let within = (place as f64 + uniform(&mut rng)) / own.len() as f64;
                let timestep = ((draw as f64 + within) / noises as f64 * steps as f64) as usize;
                timesteps[image * noises + draw] = timestep.min(steps - 1);
            }
        }
    }
    timesteps
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use diffusion_core::schedule::NoiseScheduleConfig;
    use diffusion_core::{UNet2DConfig, UNet2DModel};

    use super::*;

    fn images(contributor: Vec<usize>, contributors: usize) -> HeldOutImages {
        let shape = [1, 4, 4];
        let pixels = (0..contributor.len() * 16).map(|i| (i as f32 * 0.37).sin()).collect();
        HeldOutImages { pixels, shape, contributor, contributors }
    }

    fn loss(contributor: Vec<usize>, contributors: usize, config: HeldOutLossConfig) -> HeldOutLoss {
        let schedule = NoiseScheduleConfig::default().build().unwrap();
        HeldOutLoss::new(
            images(contributor, contributors),
            config,
            schedule,
            Streams::new(3),
            &Device::flex(),
        )
        .unwrap()
    }

    #[test]
    fn predicting_nothing_costs_the_variance_of_the_noise_and_half_the_noise_a_quarter() {
        let config = HeldOutLossConfig { noises: 40, batch_size: 7 };
        let held_out = loss(vec![0, 2, 0, 2, 2], 3, config);
        let zero = held_out.evaluate(&|x, _| x.zeros_like()).unwrap();
        // 5 * 40 * 16 squared standard normals: standard deviation sqrt(2 / 3200) = 0.025.
        assert!((zero.total - 1.0).abs() < 0.1, "{zero:?}");
        assert_eq!(zero.per_contributor[1], None);
        let [first, last] = [0, 2].map(|c| zero.per_contributor[c].unwrap());
        assert!(((2.0 * first + 3.0 * last) / 5.0 - zero.total).abs() < 1e-12);
    }

    /// With abar_t known, the noise follows from x_t and the clean image: a perfect prediction has no loss.
    #[test]
    fn the_true_noise_costs_nothing() {
        let config = HeldOutLossConfig { noises: 3, batch_size: 6 };
        let held_out = loss(vec![0, 1], 2, config);
        let clean = held_out.images.pixels.clone();
        let alphas = held_out.schedule.alphas_cumprod().to_vec();
        let prediction = |x: Tensor<4>, t: Tensor<1, Int>| {
            let device = x.device();
            let steps = t.into_data().convert::<i64>();
            let noisy = x.into_data();
            let values: Vec<f32> = noisy
                .as_slice::<f32>()
                .unwrap()
                .chunks_exact(16)
                .zip(steps.as_slice::<i64>().unwrap())
                .enumerate()
                .flat_map(|(draw, (noisy, &step))| {
                    let alpha = alphas[step as usize];
                    let own = &clean[draw / 3 * 16..][..16];
                    noisy
                        .iter()
                        .zip(own)
                        .map(move |(n, c)| (n - alpha.sqrt() * c) / (1.0 - alpha).sqrt())
                        .collect::<Vec<_>>()
                })
                .collect();
            Tensor::from_data(TensorData::new(values, [6, 1, 4, 4]), &device)
        };
        assert!(held_out.evaluate(&prediction).unwrap().total < 1e-6);
    }

    #[test]
    fn a_network_with_gradients_is_measured_without_them() {
        let config = UNet2DConfig { in_channels: 1, out_channels: 1, ..UNet2DConfig::small(4, &[8, 8]) };
        let device = Device::flex().autodiff();
        let model = UNet2DModel::new(&config, &device, &Streams::new(5)).unwrap();
        let held_out = loss(vec![0, 1], 2, HeldOutLossConfig { noises: 2, batch_size: 3 });
        let found = held_out.evaluate_model(&model).unwrap();
        let inner = model.valid();
        assert_eq!(found, held_out.evaluate(&|x, t| inner.forward(x, t)).unwrap());
        // An untrained network is about as good as predicting nothing.
        assert!(found.total > 0.2 && found.total < 5.0, "{found:?}");
    }

    #[test]
    fn the_batch_size_changes_nothing_and_the_seed_does() {
        let config = |batch_size| HeldOutLossConfig { noises: 3, batch_size };
        let half = |x: Tensor<4>, _: Tensor<1, Int>| x * 0.5;
        let whole = loss(vec![0, 1, 1], 2, config(64)).evaluate(&half).unwrap();
        assert_eq!(loss(vec![0, 1, 1], 2, config(2)).evaluate(&half).unwrap(), whole);
        let schedule = NoiseScheduleConfig::default().build().unwrap();
        let other = HeldOutLoss::new(
            images(vec![0, 1, 1], 2),
            config(64),
            schedule,
            Streams::new(4),
            &Device::flex(),
        )
        .unwrap();
        assert_ne!(other.evaluate(&half).unwrap(), whole);
    }

    #[test]
    fn timesteps_are_stratified_within_each_contributor() {
        let config = HeldOutLossConfig { noises: 4, batch_size: 1 };
        let held_out = loss(vec![0, 1, 0, 0, 0, 0], 2, config);
        let mut strata: Vec<usize> = [0, 2, 3, 4, 5]
            .iter()
            .flat_map(|image| &held_out.timesteps[image * 4..][..4])
            .map(|timestep| timestep / 50)
            .collect();
        strata.sort_unstable();
        assert_eq!(strata, (0..20).collect::<Vec<_>>());
        let alone: Vec<usize> = held_out.timesteps[4..8].iter().map(|timestep| timestep / 250).collect();
        assert_eq!(alone, [0, 1, 2, 3]);
    }

    #[test]
    fn wrong_images_and_predictions_are_named() {
        let schedule = || NoiseScheduleConfig::default().build().unwrap();
        let new = |images, config| {
            HeldOutLoss::new(images, config, schedule(), Streams::new(0), &Device::flex()).unwrap_err()
        };
        let config = HeldOutLossConfig::default();
        assert!(matches!(new(images(vec![], 1), config), BehaviorError::TooFewSamples { .. }));
        assert!(matches!(new(images(vec![0, 2], 2), config), BehaviorError::Parameter { .. }));
        let mut short = images(vec![0, 1], 2);
        short.pixels.pop();
        assert!(matches!(new(short, config), BehaviorError::Mismatch { expected: 32, found: 31, .. }));
        let none = HeldOutLossConfig { noises: 0, ..config };
        assert!(matches!(new(images(vec![0], 1), none), BehaviorError::Parameter { name: "noises", .. }));

        let held_out = loss(vec![0, 1], 2, config);
        let diverged = held_out.evaluate(&|x, _| x * f32::NAN).unwrap_err();
        assert!(matches!(diverged, BehaviorError::NotFinite { what: "predicted noises", image: 0, .. }));
        let narrow = held_out.evaluate(&|x, _| x.narrow(2, 0, 1)).unwrap_err();
        assert!(matches!(narrow, BehaviorError::Mismatch { .. }));
    }
}

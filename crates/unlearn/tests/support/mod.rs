//! Small networks and images for the tests of the methods.

#![allow(dead_code, reason = "each test binary uses its own part")]

use burn::tensor::{Device, Tensor};
use data::{Batches, Dataset, View};
use diffusion_core::optim::OptimizerConfig;
use diffusion_core::schedule::{NoiseSchedule, NoiseScheduleConfig};
use diffusion_core::training::{Silent, Trainer, TrainingConfig, noise_loss};
use diffusion_core::{Denoiser, StateDict, UNet2DConfig, UNet2DModel};
use removal::Coalition;
use sparsify::{Plan, PruningSettings, Ratio, surgery};
use streams::{Streams, standard_normal};

pub const SIZE: usize = 8;

pub fn schedule() -> NoiseSchedule {
    NoiseScheduleConfig::default().build().unwrap()
}

/// A network with attention at its coarser level and in the middle.
pub fn architecture() -> UNet2DConfig {
    UNet2DConfig::small(SIZE, &[8, 16]).with_attention_at(&[1])
}

pub fn fresh(config: &UNet2DConfig) -> UNet2DModel {
    UNet2DModel::new(config, &Device::flex(), &Streams::new(1)).unwrap()
}

/// Two contributors with twelve images each: horizontal and vertical stripes of random colours.
pub fn dataset() -> Dataset {
    let images = (0..24u64).map(|i| {
        let shade = standard_normal(&mut Streams::new(2).rng("shade", i), 3);
        let vertical = i % 2 == 1;
        let pixels: Vec<u8> = (0..SIZE * SIZE)
            .flat_map(|p| {
                let line = if vertical { p % SIZE } else { p / SIZE };
                let sign = if (line / 2) % 2 == 0 { 1.0 } else { -1.0 };
                [0, 1, 2].map(|c| (128.0 + 60.0 * sign * shade[c]).clamp(0.0, 255.0) as u8)
            })
            .collect();
        (if vertical { "Vera" } else { "Hugo" }, pixels)
    });
    Dataset::from_images((SIZE as u32, SIZE as u32), images).unwrap()
}

pub fn images_of(members: &[usize]) -> View {
    let coalition = Coalition::from_members(2, members.iter().copied()).unwrap();
    dataset().view(&coalition).unwrap()
}

pub fn batches(view: &View) -> Batches {
    view.batches(Streams::new(7), false).unwrap()
}

pub fn training(learning_rate: f64) -> TrainingConfig {
    TrainingConfig {
        batch_size: 8,
        optimizer: OptimizerConfig { learning_rate, ..OptimizerConfig::default() },
        ..TrainingConfig::default()
    }
}

/// A network trained for some steps on everybody's images; its averaged weights.
pub fn trained(config: &UNet2DConfig, steps: u64) -> UNet2DModel {
    let mut trainer = Trainer::new(fresh(config), training(2e-3), schedule(), Streams::new(3)).unwrap();
    trainer.step_to(&batches(&images_of(&[0, 1])), steps, &mut Silent).unwrap();
    trainer.ema_model().unwrap()
}

/// A third of the channels removed.
pub fn pruned(model: &UNet2DModel) -> UNet2DModel {
    let weights = model.state_dict().unwrap();
    let settings = PruningSettings::new(Ratio::new(0.3).unwrap());
    let plan = Plan::new(model.config(), &weights, settings).unwrap();
    let (config, weights) = surgery(model.config(), &weights, &plan).unwrap();
    assert!(!config.pruned_channels.is_empty());
    UNet2DModel::from_state_dict(&config, &weights, &Device::flex()).unwrap()
}

/// The mean loss on a view's images over the same eight noises and timesteps each time.
pub fn loss_on<M: Denoiser>(model: &M, view: &View) -> f64 {
    let images = view.load(0..view.len()).unwrap();
    let losses = (0..8).map(|number| {
        let loss = noise_loss(model, &images, number, &schedule(), &Streams::new(99)).unwrap();
        f64::from(loss.into_scalar::<f32>())
    });
    losses.sum::<f64>() / 8.0
}

/// The largest difference of any parameter.
pub fn distance(left: &StateDict, right: &StateDict) -> f32 {
    let pairs = left.iter().map(|(name, tensor)| (tensor.data(), right.get(name).unwrap().data()));
    pairs.flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b).abs())).fold(0.0, f32::max)
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

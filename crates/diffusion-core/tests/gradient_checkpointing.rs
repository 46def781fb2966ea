//! Gradient checkpointing changes no bit of a training.

mod support;

use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use data::BatchSource;
use diffusion_core::autoencoder::{Autoencoder, AutoencoderConfig, Reconstruction};
use diffusion_core::parameters::state_dict_of;
use diffusion_core::schedule::{NoiseSchedule, NoiseScheduleConfig};
use diffusion_core::training::{
    ConditionalNoisePrediction, MixedPrecision, NoisePrediction, StepReport, Trainer, TrainingConfig,
    TrainingTask,
};
use diffusion_core::unet::ConditionalUNet;
use diffusion_core::{StateDict, UNet2DConfig, UNet2DModel};
use streams::Streams;
use support::Blobs;

const SIZE: usize = 16;
const IMAGES: Blobs = Blobs { size: SIZE, spoiled_from: None };

fn schedule() -> NoiseSchedule {
    NoiseScheduleConfig::default().build().unwrap()
}

/// Three levels with attention in one and in the middle, two blocks each: skips, shortcuts, and maps that go three ways.
fn unet() -> UNet2DModel {
    let config = UNet2DConfig { layers_per_block: 2, ..UNet2DConfig::small(SIZE, &[8, 16, 16]) };
    let config = UNet2DConfig { norm_num_groups: 4, ..config.with_attention_at(&[1]) };
    UNet2DModel::new(&config, &Device::flex(), &Streams::new(1)).unwrap()
}

fn settings() -> TrainingConfig {
    TrainingConfig { batch_size: 3, ..TrainingConfig::default() }
}

/// Parameters, average and optimiser after three steps, and what each step reported.
fn after_three_steps<M: Module, T: TrainingTask<M>>(
    mut trainer: Trainer<M, T>,
) -> (Vec<StateDict>, Vec<(f32, f32)>) {
    let mut reports = Vec::new();
    let mut watch = |report: &StepReport| {
        reports.push((report.loss, report.grad_norm));
        ControlFlow::Continue(())
    };
    trainer.step_to(&IMAGES, 3, &mut watch).unwrap();
    let state = vec![
        state_dict_of(trainer.model()).unwrap(),
        trainer.ema().state_dict().unwrap(),
        trainer.optimizer().state_dict().unwrap(),
    ];
    (state, reports)
}

/// Trains with and without, and compares.
fn is_the_same<M: Module, T: TrainingTask<M>>(settings: &TrainingConfig, start: impl Fn() -> (M, T)) {
    let [(kept, reports), (again, others)] = [false, true].map(|gradient_checkpointing| {
        let (model, task) = start();
        let settings = TrainingConfig { gradient_checkpointing, ..settings.clone() };
        after_three_steps(Trainer::for_task(model, settings, task, Streams::new(5)).unwrap())
    });
    assert_eq!(reports, others);
    assert!(kept == again, "the steps report the same, but leave other numbers");
}

#[test]
fn the_unet_of_diffusers_trains_to_the_same_bits() {
    let noise = || (unet(), NoisePrediction { schedule: schedule() });
    is_the_same(&settings(), noise);
    is_the_same(&TrainingConfig { gradient_accumulation_steps: 2, ..settings() }, noise);
    is_the_same(&TrainingConfig { mixed_precision: MixedPrecision::Bf16, ..settings() }, noise);
}

#[test]
fn a_conditional_network_trains_to_the_same_bits() {
    is_the_same(&settings(), || {
        let model = ConditionalUNet::new(&unet(), 2).unwrap();
        (model, ConditionalNoisePrediction { schedule: schedule(), conditions: vec![0, 1, 1].into() })
    });
}

#[test]
fn an_autoencoder_trains_to_the_same_bits() {
    is_the_same(&settings(), || {
        let device = Device::flex();
        let config = AutoencoderConfig::vq(&[8, 16], 2, 16);
        let model = Autoencoder::new(&config, &device, &Streams::new(1)).unwrap();
        let batch = IMAGES.batch(0, 3).unwrap();
        let images = Tensor::from_data(TensorData::new(batch.pixels, batch.shape), &device);
        (model.with_codebook_of(images, &Streams::new(2)).unwrap(), Reconstruction::default())
    });
}

#[test]
fn a_training_goes_on_from_its_checkpoint_with_it_or_without() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("checkpoint");
    let trainer = |gradient_checkpointing| {
        let settings = TrainingConfig { gradient_checkpointing, ..settings() };
        Trainer::new(unet(), settings, schedule(), Streams::new(5)).unwrap()
    };
    let mut watch = |_: &StepReport| ControlFlow::Continue(());
    let mut first = trainer(false);
    first.step_to(&IMAGES, 2, &mut watch).unwrap();
    first.save(&dir).unwrap();
    let mut second = trainer(true).restore(&dir).unwrap();
    second.step_to(&IMAGES, 3, &mut watch).unwrap();
    let (straight, _) = after_three_steps(trainer(false));
    assert_eq!(state_dict_of(second.model()).unwrap(), straight[0]);
}

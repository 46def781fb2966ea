//! The loop, the checkpoints and the samplers on diffusers' UNet itself.

mod support;

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use diffusion_core::parameters::state_dict_of;
use diffusion_core::samplers::{DdpmConfig, SampleConfig, Sampler, sample_values};
use diffusion_core::schedule::NoiseScheduleConfig;
use diffusion_core::training::{Silent, Trainer, TrainingConfig};
use diffusion_core::{StateDict, UNet2DConfig, UNet2DModel, model_folder};
use streams::Streams;
use support::{Blobs, largest_difference};

const SIZE: usize = 16;
const IMAGES: Blobs = Blobs { size: SIZE, spoiled_from: None };

fn architecture() -> UNet2DConfig {
    UNet2DConfig::small(SIZE, &[16, 32]).with_attention_at(&[1])
}

fn model(seed: u64) -> UNet2DModel {
    UNet2DModel::new(&architecture(), &Device::flex(), &Streams::new(seed)).unwrap()
}

fn config() -> TrainingConfig {
    TrainingConfig { batch_size: 4, ..TrainingConfig::default() }
}

fn trainer() -> Trainer<UNet2DModel> {
    Trainer::new(model(1), config(), NoiseScheduleConfig::default().build().unwrap(), Streams::new(5))
        .unwrap()
}

fn everything(trainer: &Trainer<UNet2DModel>) -> Vec<StateDict> {
    vec![
        state_dict_of(trainer.model()).unwrap(),
        trainer.ema().state_dict().unwrap(),
        trainer.optimizer().state_dict().unwrap(),
    ]
}

fn resume(dir: &Path) -> Trainer<UNet2DModel> {
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    Trainer::resume(dir, model(2), config(), schedule, Streams::new(5)).unwrap()
}

#[test]
fn ten_steps_at_once_are_four_and_six() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("checkpoint");
    let mut straight = trainer();
    straight.step_to(&IMAGES, 10, &mut Silent).unwrap();
    let mut first = trainer();
    first.step_to(&IMAGES, 4, &mut Silent).unwrap();
    first.save(&dir).unwrap();
    let mut second = resume(&dir);
    second.step_to(&IMAGES, 10, &mut Silent).unwrap();
    for (ours, theirs) in everything(&second).iter().zip(&everything(&straight)) {
        assert_eq!(ours.sha256(), theirs.sha256());
    }
}

#[test]
fn every_parameter_is_trained() {
    let before = state_dict_of(&model(1)).unwrap();
    let mut trainer = trainer();
    trainer.step_to(&IMAGES, 2, &mut Silent).unwrap();
    let after = state_dict_of(trainer.model()).unwrap();
    let still: Vec<&str> =
        before.iter().filter(|(name, t)| after.get(name).unwrap() == *t).map(|(name, _)| name).collect();
    // Keys shift all scores of a softmax alike, so the key biases' gradient is zero but for rounding.
    assert!(still.iter().all(|name| name.ends_with("to_k.bias")), "{still:?}");
}

#[test]
fn a_checkpoint_is_a_model_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("checkpoint");
    let mut trainer = trainer();
    trainer.step_to(&IMAGES, 2, &mut Silent).unwrap();
    trainer.save(&dir).unwrap();
    let (read, weights) = model_folder::read(&dir).unwrap();
    assert_eq!(read, architecture());
    assert_eq!(weights, state_dict_of(trainer.model()).unwrap());
    assert_eq!(model_folder::read_ema(&dir).unwrap().1, trainer.ema().state_dict().unwrap());
}

/// On Flex the network gives an image the same bits in every batch, so this is exact.
#[test]
fn a_sample_depends_on_its_index_alone() {
    let model = model(1);
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    let indices = [0, 1, 2, 3, 4];
    for sampler in [Sampler::default(), Sampler::Ddpm(DdpmConfig::default())] {
        let values = |batch_size| {
            let config =
                SampleConfig { sampler: sampler.clone(), steps: 4, batch_size, ..SampleConfig::default() };
            let mut go_on = |_| ControlFlow::Continue(());
            sample_values(&model, &schedule, &config, &indices, &Streams::new(3), &mut go_on).unwrap()
        };
        let alone = values(1);
        for batch_size in [2, 3, 5] {
            let batched = values(batch_size);
            let largest = largest_difference(&alone, &batched);
            assert!(alone == batched, "batch {batch_size}: differs by up to {largest}");
        }
    }
}

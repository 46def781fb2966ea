//! The training loop on the task of an autoencoder.

mod support;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use data::BatchSource;
use diffusion_core::autoencoder::{Autoencoder, AutoencoderConfig, Reconstruction};
use diffusion_core::optim::OptimizerConfig;
use diffusion_core::training::{Silent, StepReport, Trainer, TrainingConfig};
use streams::Streams;
use support::Blobs;

type AutoencoderTrainer = Trainer<Autoencoder, Reconstruction>;

const IMAGES: Blobs = Blobs { size: 8, spoiled_from: None };

fn trainer(slices: usize) -> AutoencoderTrainer {
    let config = TrainingConfig {
        batch_size: 8 / slices,
        gradient_accumulation_steps: slices,
        optimizer: OptimizerConfig { learning_rate: 3e-3, ..OptimizerConfig::default() },
        ..TrainingConfig::default()
    };
    let device = Device::flex();
    let model = Autoencoder::new(&AutoencoderConfig::vq(&[8, 8], 2, 16), &device, &Streams::new(1)).unwrap();
    let batch = IMAGES.batch(0, 8).unwrap();
    let images = Tensor::from_data(TensorData::new(batch.pixels, batch.shape), &device);
    let model = model.with_codebook_of(images, &Streams::new(2)).unwrap();
    Trainer::for_task(model, config, Reconstruction::default(), Streams::new(3)).unwrap()
}

#[test]
fn images_are_learnt_and_a_resumed_training_goes_on_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    let mut whole = trainer(1);
    let mut losses = Vec::new();
    whole
        .step_to(&IMAGES, 60, &mut |report: &StepReport| {
            losses.push(report.loss);
            ControlFlow::Continue(())
        })
        .unwrap();
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    assert!(mean(&losses[40..]) < 0.7 * mean(&losses[..10]), "{losses:?}");

    let mut first = trainer(1);
    first.step_to(&IMAGES, 20, &mut Silent).unwrap();
    first.save(&checkpoint).unwrap();
    let mut second = trainer(1).restore(&checkpoint).unwrap();
    assert_eq!(second.step(), 20);
    second.step_to(&IMAGES, 60, &mut Silent).unwrap();
    assert_eq!(second.model().state_dict().unwrap(), whole.model().state_dict().unwrap());

    let other = Reconstruction { commitment: 0.5, ..Reconstruction::default() };
    let model = whole.ema_model().unwrap();
    let config = TrainingConfig { batch_size: 8, optimizer: first_optimizer(), ..TrainingConfig::default() };
    let refused = Trainer::for_task(model, config, other, Streams::new(3)).unwrap().restore(&checkpoint);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("`reconstruction.commitment` = 0.25") && message.contains("0.5"), "{message}");
}

fn first_optimizer() -> OptimizerConfig {
    OptimizerConfig { learning_rate: 3e-3, ..OptimizerConfig::default() }
}

#[test]
fn slices_of_a_batch_train_as_the_batch() {
    let loss = |slices| {
        let mut told = Vec::new();
        trainer(slices)
            .step_to(&IMAGES, 3, &mut |report: &StepReport| {
                told.push((report.loss, report.grad_norm));
                ControlFlow::Continue(())
            })
            .unwrap();
        told
    };
    for (whole, sliced) in loss(1).into_iter().zip(loss(2)) {
        // The mean over the batch is that of the slices' means, up to rounding.
        assert!((whole.0 - sliced.0).abs() < 1e-5 * whole.0, "{whole:?} {sliced:?}");
        assert!((whole.1 - sliced.1).abs() < 1e-3 * whole.1, "{whole:?} {sliced:?}");
    }
}

#[test]
fn a_codebook_of_latents_holds_latents() {
    let device = Device::flex();
    let model = Autoencoder::new(&AutoencoderConfig::vq(&[8, 8], 2, 16), &device, &Streams::new(1)).unwrap();
    let batch = IMAGES.batch(0, 4).unwrap();
    let images = || Tensor::from_data(TensorData::new(batch.pixels.clone(), batch.shape), &device);
    let seeded = model.with_codebook_of(images(), &Streams::new(2)).unwrap();
    let latents = seeded.encode(images());
    let [_, channels, height, width] = latents.dims();
    let values = latents.try_into_vec_as::<f32>().unwrap();
    let plane = height * width;
    let weights = seeded.state_dict().unwrap();
    for entry in weights.get("quantize.embedding.weight").unwrap().data().chunks_exact(channels) {
        let found = (0..4 * plane).any(|position| {
            let start = position / plane * channels * plane + position % plane;
            (0..channels).all(|channel| values[start + channel * plane] == entry[channel])
        });
        assert!(found, "{entry:?} is no latent");
    }
}

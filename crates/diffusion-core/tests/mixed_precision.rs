//! Training in half precision: its rounding is PyTorch's, it learns as 32 bits do, and overflow skips a step.

mod support;

use std::ops::ControlFlow;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use data::{BatchSource, DataError, ImageBatch};
use diffusion_core::nn::{Conv2d, Linear, ops, with_precision};
use diffusion_core::optim::OptimizerConfig;
use diffusion_core::parameters::state_dict_of;
use diffusion_core::schedule::NoiseScheduleConfig;
use diffusion_core::training::{
    CheckpointState, LossScaler, MixedPrecision, Silent, StepReport, Trainer, TrainingConfig,
};
use diffusion_core::{DiffusionError, StateDict, TensorF32};
use serde_json::Value;
use streams::Streams;
use support::{Blobs, TinyDenoiser, fixture, floats, largest_difference};

const SIZE: usize = 8;
const IMAGES: Blobs = Blobs { size: SIZE, spoiled_from: None };

fn tensor<const D: usize>(json: &Value, device: &Device) -> Tensor<D> {
    let shape = json["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize);
    Tensor::from_data(TensorData::new(floats(&json["data"]), shape.collect::<Vec<_>>()), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// The numbers rounded to 16 bits and back.
fn rounded(values: &[f32], low: FloatDType) -> Vec<f32> {
    Tensor::<1>::from_data(values, &Device::flex())
        .cast(low)
        .cast(FloatDType::F32)
        .try_into_vec_as::<f32>()
        .unwrap()
}

/// Result and gradients of the network of `generate_mixed_precision.py`.
fn results(json: &Value, precision: MixedPrecision) -> Vec<(&'static str, Vec<f32>)> {
    let device = Device::flex().autodiff();
    let weights: StateDict = ["conv.weight", "conv.bias", "linear.weight", "linear.bias"]
        .into_iter()
        .map(|name| {
            let json = &json["tensors"][name];
            let shape = json["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize);
            (name.to_owned(), TensorF32::new(shape.collect::<Vec<_>>(), floats(&json["data"])).unwrap())
        })
        .collect();
    let conv = Conv2d::load(&weights, "conv", 1, 1, &device).unwrap();
    let linear = Linear::load(&weights, "linear", &device).unwrap();
    let y = with_precision(precision, || {
        let hidden = ops::silu(conv.forward(tensor(&json["x"], &device)));
        linear.forward(hidden.reshape([2, 48]))
    });
    let mut gradients = (y.clone() * tensor::<2>(&json["factor"], &device)).sum().backward();
    vec![
        ("output", values(y)),
        ("conv.weight", values(conv.weight.val().grad_remove(&mut gradients).unwrap())),
        ("conv.bias", values(conv.bias.val().grad_remove(&mut gradients).unwrap())),
        ("linear.weight", values(linear.weight.val().grad_remove(&mut gradients).unwrap())),
        ("linear.bias", values(linear.bias.val().grad_remove(&mut gradients).unwrap())),
    ]
}

#[test]
fn gradients_are_those_of_autocast() {
    let json = fixture("mixed_precision.json");
    let exact = results(&json, MixedPrecision::No);
    for (name, precision, low, unit) in [
        ("bf16", MixedPrecision::Bf16, FloatDType::BF16, 2f32.powi(-8)),
        ("fp16", MixedPrecision::Fp16, FloatDType::F16, 2f32.powi(-11)),
    ] {
        for ((what, found), (_, exact)) in results(&json, precision).into_iter().zip(&exact) {
            // Every number is one of the low type, and 32 bits give other ones.
            assert_eq!(found, rounded(&found, low), "{name} {what}");
            assert_ne!(&found, exact, "{name} {what}");
            let expected = floats(&json[name][what]["data"]);
            let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
            // Sums in another order round to a neighbour at times, and what follows carries that on: two units of the
            // largest number.
            let difference = largest_difference(&found, &expected);
            assert!(difference <= 2.0 * unit * largest, "{name} {what}: {difference} of {largest}");
        }
    }
}

fn config(mixed_precision: MixedPrecision) -> TrainingConfig {
    TrainingConfig {
        batch_size: 4,
        optimizer: OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() },
        max_loss: 1e9,
        mixed_precision,
        ..TrainingConfig::default()
    }
}

fn trainer(mixed_precision: MixedPrecision) -> Trainer<TinyDenoiser> {
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    let model = TinyDenoiser::new(SIZE, 1, &Device::flex());
    Trainer::new(model, config(mixed_precision), schedule, Streams::new(5)).unwrap()
}

fn everything(trainer: &Trainer<TinyDenoiser>) -> Vec<StateDict> {
    vec![
        state_dict_of(trainer.model()).unwrap(),
        trainer.ema().state_dict().unwrap(),
        trainer.optimizer().state_dict().unwrap(),
    ]
}

fn reports(trainer: &mut Trainer<TinyDenoiser>, source: &dyn BatchSource, to: u64) -> Vec<(f32, f32, bool)> {
    let mut reports = Vec::new();
    let mut watch = |report: &StepReport| {
        reports.push((report.loss, report.grad_norm, report.skipped));
        ControlFlow::Continue(())
    };
    trainer.step_to(source, to, &mut watch).unwrap();
    reports
}

#[test]
fn losses_of_300_steps_are_those_of_32_bits() {
    let run = |precision| reports(&mut trainer(precision), &IMAGES, 300);
    let full = run(MixedPrecision::No);
    let mean = |run: &[(f32, f32, bool)]| run.iter().map(|r| r.0).sum::<f32>() / run.len() as f32;
    assert!(mean(&full[250..]) < 0.6 * full[0].0);
    for (precision, tolerance) in [(MixedPrecision::Bf16, 0.03), (MixedPrecision::Fp16, 0.01)] {
        let low = run(precision);
        assert_ne!(low, full);
        assert!(low.iter().all(|report| !report.2), "{precision:?}");
        // The images and noises of each step are the same, so that windows of 50 steps differ by rounding alone.
        for (low, full) in low.chunks(50).zip(full.chunks(50)) {
            let (low, full) = (mean(low), mean(full));
            assert!((low - full).abs() < tolerance * full, "{precision:?}: {low} against {full}");
        }
    }
}

/// Images 1000 times too bright in one step, which overflows half precision's gradients.
struct Flash {
    at: u64,
}

impl BatchSource for Flash {
    fn batch(&self, step: u64, batch_size: usize) -> Result<ImageBatch, DataError> {
        let mut batch = IMAGES.batch(step, batch_size)?;
        if step == self.at {
            batch.pixels.iter_mut().for_each(|pixel| *pixel *= 1000.0);
        }
        Ok(batch)
    }
}

#[test]
fn overflow_skips_the_step_and_halves_the_factor() {
    let mut trainer = trainer(MixedPrecision::Fp16);
    assert_eq!(trainer.loss_scaler(), Some(LossScaler::default()));
    reports(&mut trainer, &IMAGES, 3);
    let before = everything(&trainer);
    let updates = trainer.ema().updates();
    let [(loss, norm, skipped)] = reports(&mut trainer, &Flash { at: 3 }, 4)[..] else { panic!("one step") };
    assert!(loss.is_finite() && !norm.is_finite() && skipped, "{loss} {norm} {skipped}");
    assert_eq!((trainer.step(), trainer.ema().updates()), (4, updates));
    assert_eq!(everything(&trainer), before);
    assert_eq!(trainer.loss_scaler(), Some(LossScaler { scale: 32768.0, good_steps: 0 }));
    let [(_, norm, false)] = reports(&mut trainer, &IMAGES, 5)[..] else { panic!("a step that counts") };
    assert!(norm.is_finite() && everything(&trainer) != before);
    assert_eq!(trainer.loss_scaler(), Some(LossScaler { scale: 32768.0, good_steps: 1 }));
    // The range of bf16 is that of 32 bits.
    let mut wide = self::trainer(MixedPrecision::Bf16);
    assert_eq!(wide.loss_scaler(), None);
    assert!(reports(&mut wide, &Flash { at: 0 }, 1).iter().all(|report| !report.2));
}

#[test]
fn stopping_and_resuming_in_half_precision_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    let images = Flash { at: 2 };
    let mut straight = trainer(MixedPrecision::Fp16);
    let all = reports(&mut straight, &images, 10);
    let mut first = trainer(MixedPrecision::Fp16);
    reports(&mut first, &images, 5);
    first.save(&dir).unwrap();
    let mut second = trainer(MixedPrecision::Fp16).restore(&dir).unwrap();
    assert_eq!(second.loss_scaler(), Some(LossScaler { scale: 32768.0, good_steps: 2 }));
    assert_eq!(reports(&mut second, &images, 10), all[5..]);
    assert_eq!(everything(&second), everything(&straight));
    assert_eq!(second.loss_scaler(), straight.loss_scaler());

    let error = trainer(MixedPrecision::Bf16).restore(&dir).unwrap_err();
    assert!(matches!(error, DiffusionError::CheckpointMismatch { .. }), "{error}");
}

#[test]
fn checkpoints_in_32_bits_are_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    let mut trainer = trainer(MixedPrecision::No);
    trainer.step_to(&IMAGES, 1, &mut Silent).unwrap();
    trainer.save(&dir).unwrap();
    let text = std::fs::read_to_string(dir.join("state.json")).unwrap();
    assert!(!text.contains("mixed_precision") && !text.contains("loss_scaler"), "{text}");
    assert_eq!(serde_json::from_str::<CheckpointState>(&text).unwrap().loss_scaler, None);
}

#[cfg(feature = "ndarray")]
#[test]
fn devices_without_the_type_are_refused() {
    let device = "ndarray".parse::<diffusion_core::device::DeviceChoice>().unwrap().open().unwrap();
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    let model = TinyDenoiser::new(SIZE, 1, &device);
    let error = Trainer::new(model, config(MixedPrecision::Fp16), schedule, Streams::new(5)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("mixed_precision") && text.contains("fp16"), "{text}");
}

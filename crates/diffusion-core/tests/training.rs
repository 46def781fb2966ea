//! The training loop and its checkpoints.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use data::BatchSource;
use diffusion_core::DiffusionError;
use diffusion_core::optim::{OptimizerConfig, OptimizerKind, StateBits};
use diffusion_core::parameters::state_dict_of;
use diffusion_core::schedule::{NoiseSchedule, NoiseScheduleConfig};
use diffusion_core::training::{
    Objective, Outcome, Silent, StepReport, Trainer, TrainingConfig, antithetic_timesteps, checkpoint_exists,
};
use streams::{Streams, standard_normal};
use support::{Blobs, TinyDenoiser, largest_difference};

const SIZE: usize = 8;
const IMAGES: Blobs = Blobs { size: SIZE, spoiled_from: None };

fn config() -> TrainingConfig {
    TrainingConfig {
        batch_size: 4,
        optimizer: OptimizerConfig {
            kind: OptimizerKind::AdamW,
            learning_rate: 1e-2,
            weight_decay: 0.01,
            ..OptimizerConfig::default()
        },
        // Low enough that the first steps are clipped and later ones are not.
        max_grad_norm: 0.5,
        ..TrainingConfig::default()
    }
}

fn schedule() -> NoiseSchedule {
    NoiseScheduleConfig::default().build().unwrap()
}

fn model() -> TinyDenoiser {
    TinyDenoiser::new(SIZE, 1, &Device::flex())
}

fn trainer(config: TrainingConfig) -> Trainer<TinyDenoiser> {
    Trainer::new(model(), config, schedule(), Streams::new(5)).unwrap()
}

fn resume(dir: &Path, config: TrainingConfig) -> Result<Trainer<TinyDenoiser>, DiffusionError> {
    // Another seed for the initial weights: they must be replaced.
    let model = TinyDenoiser::new(SIZE, 2, &Device::flex());
    Trainer::resume(dir, model, config, schedule(), Streams::new(5))
}

/// Everything that training has made: parameters, average, moments.
fn everything(trainer: &Trainer<TinyDenoiser>) -> Vec<diffusion_core::StateDict> {
    vec![
        state_dict_of(trainer.model()).unwrap(),
        trainer.ema().state_dict().unwrap(),
        trainer.optimizer().state_dict().unwrap(),
    ]
}

fn losses(trainer: &mut Trainer<TinyDenoiser>, to: u64) -> Vec<f32> {
    let mut losses = Vec::new();
    let mut watch = |report: &StepReport| {
        losses.push(report.loss);
        ControlFlow::Continue(())
    };
    assert_eq!(trainer.step_to(&IMAGES, to, &mut watch).unwrap(), Outcome::Finished);
    losses
}

#[test]
fn the_loss_falls_and_ascent_raises_it() {
    let mut down = trainer(config());
    let falling = losses(&mut down, 60);
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    assert!(mean(&falling[50..]) < 0.7 * mean(&falling[..3]), "{falling:?}");

    let mut up = trainer(TrainingConfig { objective: Objective::Ascend, ..config() });
    let rising = losses(&mut up, 20);
    assert_eq!(rising[0], falling[0]);
    assert!(mean(&rising[15..]) > 1.2 * rising[0], "{rising:?}");
}

#[test]
fn the_first_loss_is_the_documented_one() {
    // Computed again by hand from the streams that the documentation names.
    let mut trainer = trainer(config());
    let found = losses(&mut trainer, 1)[0];

    let streams = Streams::new(5);
    let images = IMAGES.batch(0, 4).unwrap();
    let timesteps = antithetic_timesteps(&mut streams.rng("timesteps", 0), 1000, 4);
    let noise = standard_normal(&mut streams.rng("training noise", 0), images.pixels.len());
    let noisy = schedule().add_noise(&images.pixels, &noise, &timesteps).unwrap();
    let device = Device::flex();
    let x = burn::tensor::Tensor::from_data(burn::tensor::TensorData::new(noisy, images.shape), &device);
    let t: Vec<i32> = timesteps.iter().map(|&t| t as i32).collect();
    let t = burn::tensor::Tensor::from_data(burn::tensor::TensorData::new(t, [4]), &device);
    let predicted = diffusion_core::Denoiser::predict_noise(&model(), x, t).try_into_vec_as::<f32>().unwrap();
    let expected =
        predicted.iter().zip(&noise).map(|(p, e)| f64::from(p - e).powi(2)).sum::<f64>() / noise.len() as f64;
    assert!((f64::from(found) - expected).abs() < 1e-6 * expected, "{found} against {expected}");
}

#[test]
fn stopping_and_resuming_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("runs/model");
    for accumulation in [1, 2] {
        let config = || TrainingConfig { gradient_accumulation_steps: accumulation, ..config() };
        let mut straight = trainer(config());
        let all = losses(&mut straight, 10);

        let mut first = trainer(config());
        let mut some = losses(&mut first, 4);
        first.save(&dir).unwrap();
        let mut second = resume(&dir, config()).unwrap();
        assert_eq!(second.step(), 4);
        assert!((second.elapsed_seconds() - first.elapsed_seconds()).abs() < 1e-9);
        assert_eq!(everything(&second), everything(&first));
        some.extend(losses(&mut second, 10));

        assert_eq!(some, all);
        assert_eq!(everything(&second), everything(&straight));
        assert_eq!(
            state_dict_of(&second.ema_model().unwrap()).unwrap(),
            state_dict_of(&straight.ema_model().unwrap()).unwrap()
        );
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn slices_of_a_batch_have_its_gradients() {
    // k slices of 12 / k images against one batch of 12: the same images, noises and timesteps.
    let gradients = |slices: usize| {
        let config = TrainingConfig {
            batch_size: 12 / slices,
            gradient_accumulation_steps: slices,
            max_grad_norm: 1e9,
            optimizer: OptimizerConfig { beta1: 0.0, ..OptimizerConfig::default() },
            ..config()
        };
        let mut trainer = trainer(config);
        let loss = losses(&mut trainer, 1)[0];
        // Without momentum, Adam's first moment after one step is the gradient.
        let moments = trainer.optimizer().state_dict().unwrap();
        let of = |(name, tensor): (&str, &diffusion_core::TensorF32)| {
            name.starts_with("exp_avg.").then(|| tensor.data().to_vec())
        };
        (loss, moments.iter().filter_map(of).flatten().collect::<Vec<f32>>())
    };
    let (whole_loss, whole) = gradients(1);
    let largest = whole.iter().fold(0.0f32, |m, g| m.max(g.abs()));
    assert!(largest > 0.01 && whole.len() > 400, "{largest}");
    for slices in [2, 3, 4, 12] {
        let (loss, sliced) = gradients(slices);
        let difference = largest_difference(&whole, &sliced);
        // Rounding alone: the same numbers are added in another order.
        assert!(difference < 1e-6 * largest.max(1.0), "{slices} slices: {difference} of {largest}");
        assert!((loss - whole_loss).abs() < 1e-6 * whole_loss, "{slices} slices: {loss} {whole_loss}");
    }
}

#[test]
fn eight_bit_checkpoints_resume_to_the_bit_and_refuse_other_bits() {
    // 64 channels, so that a convolution has more than the 4096 values from which on states are 8-bit.
    let unet = || {
        let config = diffusion_core::UNet2DConfig {
            layers_per_block: 1,
            ..diffusion_core::UNet2DConfig::small(8, &[24])
        };
        diffusion_core::UNet2DModel::new(&config, &Device::flex(), &Streams::new(3)).unwrap()
    };
    let with =
        |bits| TrainingConfig { optimizer: OptimizerConfig { bits, ..config().optimizer }, ..config() };
    let start = || Trainer::new(unet(), with(StateBits::Eight), schedule(), Streams::new(5)).unwrap();
    let everything = |trainer: &Trainer<diffusion_core::UNet2DModel>| {
        (state_dict_of(trainer.model()).unwrap(), trainer.optimizer().to_safetensors().unwrap())
    };
    let mut straight = start();
    straight.step_to(&IMAGES, 6, &mut Silent).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    let mut first = start();
    first.step_to(&IMAGES, 3, &mut Silent).unwrap();
    first.save(&dir).unwrap();
    let resume = |bits| Trainer::resume(&dir, unet(), with(bits), schedule(), Streams::new(5));
    let mut second = resume(StateBits::Eight).unwrap();
    second.step_to(&IMAGES, 6, &mut Silent).unwrap();
    assert_eq!(everything(&second), everything(&straight));

    let bytes = fs::read(dir.join("optimizer.safetensors")).unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains("\"U8\""));
    let error = resume(StateBits::ThirtyTwo).unwrap_err();
    assert!(matches!(error, DiffusionError::OptimizerBits { saved: 8, wanted: 32, .. }), "{error}");
}

#[test]
fn the_observer_can_stop_and_the_loop_goes_on() {
    let mut straight = trainer(config());
    losses(&mut straight, 5);
    let mut stopped = trainer(config());
    let mut at_two = |report: &StepReport| {
        assert!(report.images_per_second > 0.0 && report.grad_norm > 0.0);
        if report.step == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(stopped.step_to(&IMAGES, 5, &mut at_two).unwrap(), Outcome::Stopped { step: 2 });
    assert_eq!(stopped.step_to(&IMAGES, 5, &mut Silent).unwrap(), Outcome::Finished);
    assert_eq!(everything(&stopped), everything(&straight));
    // A target that is reached already changes nothing.
    assert_eq!(stopped.step_to(&IMAGES, 3, &mut Silent).unwrap(), Outcome::Finished);
    assert_eq!(stopped.step(), 5);
}

#[test]
fn a_loss_that_is_no_number_stops_before_the_update() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    let mut trainer = trainer(config());
    trainer.step_to(&IMAGES, 3, &mut Silent).unwrap();
    trainer.save(&dir).unwrap();
    let good = everything(&trainer);
    let spoiled = Blobs { spoiled_from: Some(4), ..IMAGES };
    let error = trainer.step_to(&spoiled, 10, &mut Silent).unwrap_err();
    assert!(matches!(error, DiffusionError::Diverged { step: 4, what: "loss", .. }), "{error}");
    assert!(error.to_string().contains("step 4"), "{error}");
    assert_eq!(trainer.step(), 4);
    assert!(
        state_dict_of(trainer.model()).unwrap().iter().all(|(_, t)| t.data().iter().all(|v| v.is_finite()))
    );
    assert_eq!(everything(&resume(&dir, config()).unwrap()), good);
}

#[test]
fn an_exploding_loss_stops() {
    let optimizer = OptimizerConfig { learning_rate: 10.0, ..config().optimizer };
    let mut trainer = trainer(TrainingConfig { optimizer, max_loss: 50.0, ..config() });
    let error = trainer.step_to(&IMAGES, 100, &mut Silent).unwrap_err();
    match error {
        DiffusionError::Diverged { step, what: "loss", value } => {
            assert!(step > 0 && value > 50.0, "{step} {value}");
            assert_eq!(trainer.step(), step);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn images_of_the_wrong_size_are_refused() {
    let large = Blobs { size: 2 * SIZE, ..IMAGES };
    let error = trainer(config()).step_to(&large, 1, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("[4, 3, 16, 16]"), "{error}");
}

#[test]
fn fine_tuning_starts_from_the_given_weights_with_a_fresh_optimiser() {
    let mut parent = trainer(config());
    parent.step_to(&IMAGES, 5, &mut Silent).unwrap();
    let child = Trainer::new(parent.ema_model().unwrap(), config(), schedule(), Streams::new(6)).unwrap();
    assert_eq!(state_dict_of(child.model()).unwrap(), parent.ema().state_dict().unwrap());
    assert_eq!((child.step(), child.optimizer().steps(), child.ema().updates()), (0, 0, 0));
    let mut child = child;
    child.step_to(&IMAGES, 1, &mut Silent).unwrap();
    assert_ne!(state_dict_of(child.model()).unwrap(), parent.ema().state_dict().unwrap());
    // The first update of the average takes the parameters as they are.
    assert_eq!(child.ema().state_dict().unwrap(), state_dict_of(child.model()).unwrap());
}

#[test]
fn checkpoints_of_other_settings_are_refused_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    trainer(config()).save(&dir).unwrap();
    let mut other = config();
    other.optimizer.learning_rate = 2e-2;
    let error = resume(&dir, other).unwrap_err();
    assert!(
        matches!(&error, DiffusionError::CheckpointMismatch { key, .. } if key == "training.optimizer.learning_rate")
    );
    let text = error.to_string();
    assert!(text.contains("0.01") && text.contains("0.02"), "{text}");

    let key = |result: Result<Trainer<TinyDenoiser>, DiffusionError>| match result.unwrap_err() {
        DiffusionError::CheckpointMismatch { key, .. } => key,
        other => panic!("{other}"),
    };
    let cosine: NoiseScheduleConfig = serde_json::from_str(r#"{"beta_schedule":"cosine"}"#).unwrap();
    let with = |size, schedule, seed| {
        Trainer::resume(
            &dir,
            TinyDenoiser::new(size, 1, &Device::flex()),
            config(),
            schedule,
            Streams::new(seed),
        )
    };
    assert_eq!(key(with(SIZE, cosine.build().unwrap(), 5)), "schedule.beta_schedule");
    assert_eq!(key(with(SIZE, schedule(), 6)), "seed");
    assert_eq!(key(with(16, schedule(), 5)), "model.sample_size");
    let identity = BTreeMap::from([("images".to_owned(), "abc".to_owned())]);
    assert_eq!(key(trainer(config()).with_identity(identity).restore(&dir)), "identity.images");
}

#[test]
fn damaged_checkpoints_are_refused_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    trainer(config()).save(&dir).unwrap();
    for name in
        ["diffusion_pytorch_model.safetensors", "ema.safetensors", "optimizer.safetensors", "config.json"]
    {
        let path = dir.join(name);
        let good = fs::read(&path).unwrap();
        let mut altered = good.clone();
        *altered.last_mut().unwrap() ^= 1;
        for bad in [altered, good[..good.len() - 1].to_vec(), Vec::new()] {
            fs::write(&path, bad).unwrap();
            let error = resume(&dir, config()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("altered or cut short"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        assert!(resume(&dir, config()).unwrap_err().to_string().contains(name));
        fs::write(&path, good).unwrap();
    }
    resume(&dir, config()).unwrap();
    let state = fs::read_to_string(dir.join("state.json")).unwrap();
    for bad in [
        "",
        "{}",
        &state[..state.len() / 2],
        &state.replace("tribute-checkpoint/1", "tribute-checkpoint/9"),
        &state.replace("\"step\": 0", "\"step\": 7"),
        &state.replace("\"ema_updates\": 0", "\"ema_updates\": 1"),
    ] {
        assert_ne!(bad, state);
        fs::write(dir.join("state.json"), bad).unwrap();
        let error = resume(&dir, config()).unwrap_err();
        assert!(matches!(error, DiffusionError::BadCheckpoint { .. }), "{error}");
    }
    assert!(resume(&folder.path().join("nowhere"), config()).unwrap_err().to_string().contains("nowhere"));
}

#[test]
fn a_save_cut_short_leaves_the_previous_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    let mut trainer = trainer(config());
    trainer.step_to(&IMAGES, 2, &mut Silent).unwrap();
    trainer.save(&dir).unwrap();
    let names = || {
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["model"]);

    // Killed while writing: a half-written folder lies beside the good one.
    let half = folder.path().join(".model.4711-0.tmp");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("config.json"), "{").unwrap();
    assert_eq!(resume(&dir, config()).unwrap().step(), 2);

    // Killed between the renames: the previous one has been set aside, the new one not yet named.
    fs::rename(&dir, folder.path().join(".model.previous")).unwrap();
    assert!(checkpoint_exists(&dir));
    assert_eq!(resume(&dir, config()).unwrap().step(), 2);

    // The next save cleans up.
    fs::rename(&dir, folder.path().join(".model.previous")).unwrap();
    trainer.step_to(&IMAGES, 3, &mut Silent).unwrap();
    trainer.save(&dir).unwrap();
    assert_eq!(names(), ["model"]);
    assert_eq!(resume(&dir, config()).unwrap().step(), 3);

    // Saving fails: the old one stays, nothing else does.
    assert!(trainer.save(&dir.join("config.json")).is_err());
    assert_eq!(names(), ["model"]);
    assert_eq!(resume(&dir, config()).unwrap().step(), 3);
}

#[test]
fn saving_never_deletes_other_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    let error = trainer(config()).save(folder.path()).unwrap_err();
    assert!(error.to_string().contains("other files"), "{error}");
    assert_eq!(fs::read_to_string(folder.path().join("thesis.txt")).unwrap(), "years of work");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    trainer(config()).save(&empty).unwrap();
    assert!(checkpoint_exists(&empty));
}

#[test]
fn average_lags_behind_the_parameters() {
    let mut trainer = trainer(config());
    trainer.step_to(&IMAGES, 10, &mut Silent).unwrap();
    let weights = state_dict_of(trainer.model()).unwrap();
    let average = trainer.ema().state_dict().unwrap();
    let difference = largest_difference(
        weights.get("first.weight").unwrap().data(),
        average.get("first.weight").unwrap().data(),
    );
    assert!(difference > 1e-4 && difference < 0.1, "{difference}");
}

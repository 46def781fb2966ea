//! A network with conditions: as diffusers has them, folded into an ordinary one, and learnt.

use burn::tensor::{Device, Int, Tensor, TensorData};
use data::{BatchSource, DataError, ImageBatch};
use diffusion_core::training::{ConditionalNoisePrediction, Silent, Trainer, TrainingConfig};
use diffusion_core::unet::ConditionalUNet;
use diffusion_core::{NoiseScheduleConfig, UNet2DConfig, UNet2DModel};
use streams::{Streams, standard_normal};

fn network() -> UNet2DModel {
    UNet2DModel::new(&UNet2DConfig::small(8, &[8, 8]), &Device::flex(), &Streams::new(1)).unwrap()
}

/// Grey pictures: images of condition 0 are dark, those of condition 1 bright.
struct Pictures;

impl BatchSource for Pictures {
    fn batch(&self, step: u64, batch_size: usize) -> Result<ImageBatch, DataError> {
        let indices: Vec<usize> = (0..batch_size).map(|place| (place + step as usize) % 2).collect();
        let pixels =
            indices.iter().flat_map(|&image| [if image == 0 { -0.8f32 } else { 0.8 }; 192]).collect();
        Ok(ImageBatch { pixels, shape: [batch_size, 3, 8, 8], indices })
    }
}

fn trained(steps: u64) -> Trainer<ConditionalUNet, ConditionalNoisePrediction> {
    let task = ConditionalNoisePrediction {
        schedule: NoiseScheduleConfig::default().build().unwrap(),
        conditions: vec![0, 1].into(),
    };
    let mut config = TrainingConfig { batch_size: 8, ..TrainingConfig::default() };
    config.optimizer.learning_rate = 3e-3;
    config.ema.max_decay = 0.9;
    let model = ConditionalUNet::new(&network(), 2).unwrap();
    let mut trainer = Trainer::for_task(model, config, task, Streams::new(2)).unwrap();
    trainer.step_to(&Pictures, steps, &mut Silent).unwrap();
    trainer
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// The loss at the condition of each image, and at the other one.
fn losses(model: &ConditionalUNet) -> [f64; 2] {
    let device = Device::flex();
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    let batch = Pictures.batch(0, 64).unwrap();
    let noise = standard_normal(&mut Streams::new(9).rng("noise", 0), batch.pixels.len());
    let timesteps: Vec<usize> = (0..64).map(|k| 100 + 14 * k).collect();
    let noisy = schedule.add_noise(&batch.pixels, &noise, &timesteps).unwrap();
    let times: Vec<i32> = timesteps.iter().map(|&t| t as i32).collect();
    [0, 1].map(|shift| {
        let conditions: Vec<usize> = batch.indices.iter().map(|&image| (image + shift) % 2).collect();
        let x = Tensor::<4>::from_data(TensorData::new(noisy.clone(), [64, 3, 8, 8]), &device);
        let t = Tensor::<1, Int>::from_data(TensorData::new(times.clone(), [64]), &device);
        let predicted = values(model.predict_noise(x, t, &conditions));
        predicted.iter().zip(&noise).map(|(p, e)| f64::from(p - e).powi(2)).sum::<f64>() / noise.len() as f64
    })
}

#[test]
fn conditions_are_learnt_and_begin_as_none() {
    let [own, other] = losses(&trained(0).ema_model().unwrap());
    assert_eq!(own, other);
    let [own, other] = losses(&trained(250).ema_model().unwrap());
    assert!(own < 0.995 * other, "{own} {other}");
}

/// A fixed condition is a bias: the folded network says what the conditional one says, to rounding.
#[test]
fn a_network_at_a_condition_is_an_ordinary_one() {
    let model = trained(20).ema_model().unwrap();
    let device = Device::flex();
    let x = || {
        let numbers = standard_normal(&mut Streams::new(3).rng("x", 0), 2 * 192);
        Tensor::<4>::from_data(TensorData::new(numbers, [2, 3, 8, 8]), &device)
    };
    let t = || Tensor::<1, Int>::from_data([10, 900], &device);
    for condition in 0..2 {
        let mut weights = [0.0; 2];
        weights[condition] = 3.0;
        let folded = values(model.at(&weights).unwrap().forward(x(), t()));
        let own = values(model.predict_noise(x(), t(), &[condition; 2]));
        for (a, b) in folded.iter().zip(&own) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
    let [one, two, mean] =
        [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]].map(|weights| model.at(&weights).unwrap().state_dict().unwrap());
    let name = "time_embedding.linear_2.bias";
    let [one, two, mean] = [&one, &two, &mean].map(|state| state.get(name).unwrap().data());
    assert_ne!(one, two);
    for ((a, b), m) in one.iter().zip(two).zip(mean) {
        assert!(((a + b) / 2.0 - m).abs() < 1e-6, "{a} {b} {m}");
    }
    for weights in [&[1.0][..], &[0.0, 0.0], &[-1.0, 2.0]] {
        assert!(model.at(weights).unwrap_err().to_string().contains("weights of conditions"));
    }
}

#[test]
fn a_conditional_training_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    trained(5).save(&path).unwrap();
    let mut resumed = trained(0).restore(&path).unwrap();
    resumed.step_to(&Pictures, 9, &mut Silent).unwrap();
    let states = [trained(9), resumed].map(|trainer| {
        let model = trainer.ema_model().unwrap();
        model.at(&[1.0, 0.0]).unwrap().state_dict().unwrap().get("conv_in.weight").unwrap().data().to_vec()
    });
    assert_eq!(states[0], states[1]);
}

//! Per-image gradients against one backward pass an image.

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::parameters::{parameter_infos, take_flat_gradients};
use diffusion_core::{Denoiser, UNet2DConfig, UNet2DModel};
use influence::{GradientModel, NoisyImages, Target};
use streams::{Streams, standard_normal};

const SIDE: usize = 8;

/// A network with every kind of layer: shortcuts, attention, both ways of downsampling.
fn network(downsample_padding: usize) -> UNet2DModel {
    let mut config = UNet2DConfig::small(SIDE, &[8, 16]);
    config.norm_num_groups = 4;
    config.downsample_padding = downsample_padding;
    UNet2DModel::new(&config, &Device::flex(), &Streams::new(3)).unwrap()
}

struct Batch {
    noisy: Vec<f32>,
    noise: Vec<f32>,
    timesteps: Vec<usize>,
}

fn batch(count: usize) -> Batch {
    let streams = Streams::new(5);
    let size = count * 3 * SIDE * SIDE;
    Batch {
        noisy: standard_normal(&mut streams.rng("noisy", 0), size),
        noise: standard_normal(&mut streams.rng("noise", 0), size),
        timesteps: (0..count).map(|i| (i * 137 + 5) % 1000).collect(),
    }
}

/// The gradients of one image, a row a parameter, by an ordinary backward pass.
fn one_backward(
    model: &UNet2DModel,
    batch: &Batch,
    of: std::ops::Range<usize>,
    target: Target,
) -> Vec<Vec<f32>> {
    let model = burn::module::Module::train(model.clone());
    let device = Device::flex().autodiff();
    let size = 3 * SIDE * SIDE;
    let shape = [of.len(), 3, SIDE, SIDE];
    let values = of.start * size..of.end * size;
    let tensor =
        |v: &[f32]| Tensor::<4>::from_data(TensorData::new(v[values.clone()].to_vec(), shape), &device);
    let times: Vec<i32> = batch.timesteps[of.clone()].iter().map(|&t| t as i32).collect();
    let times = Tensor::<1, Int>::from_data(TensorData::new(times, [of.len()]), &device);
    let output = model.predict_noise(tensor(&batch.noisy), times);
    let output = match target {
        Target::Loss => output - tensor(&batch.noise),
        Target::SquaredOutput => output,
    };
    // The mean over all values is (1 / noisy images) times the sum of the targets.
    let mut gradients = (output.clone() * output).mean().backward();
    take_flat_gradients(&model, &mut gradients)
        .into_iter()
        .map(|gradient| gradient.expect("every parameter has a part").try_into_vec_as::<f32>().unwrap())
        .collect()
}

#[test]
fn equal_one_backward_an_image() {
    for (padding, group, images) in [(1, 1, 3), (0, 2, 2), (1, 3, 1)] {
        let model = network(padding);
        let ready = GradientModel::new(&model).unwrap();
        let batch = batch(group * images);
        for target in [Target::Loss, Target::SquaredOutput] {
            let infos = parameter_infos(&model);
            let mut found: Vec<Vec<f32>> = vec![Vec::new(); infos.len()];
            let noisy =
                NoisyImages { noisy: &batch.noisy, noise: &batch.noise, timesteps: &batch.timesteps, images };
            ready
                .for_each_layer(&noisy, target, 1.0 / group as f64, &mut |place, rows| {
                    assert!(found[place].is_empty());
                    found[place] = rows.iter().copied().collect();
                    Ok(())
                })
                .unwrap();
            for image in 0..images {
                let expected = one_backward(&model, &batch, image * group..(image + 1) * group, target);
                for ((info, found), expected) in infos.iter().zip(&found).zip(&expected) {
                    let found = &found[image * info.len()..(image + 1) * info.len()];
                    let difference: f64 =
                        found.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
                    let norm: f64 = expected.iter().map(|&b| f64::from(b).powi(2)).sum::<f64>().sqrt();
                    // Both ways round in 32 bits and sum in orders of their own: 1.1e-5 is the most that was seen.
                    // The keys' bias shifts all scores of a query alike: its gradient is zero but for rounding.
                    let floor = if info.name.ends_with("to_k.bias") { 1e-5 } else { 3e-5 * norm };
                    assert!(difference <= floor, "{} of image {image}: {difference} of {norm}", info.name);
                }
            }
        }
    }
}

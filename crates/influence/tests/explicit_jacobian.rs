//! The whole chain against the explicit Jacobian of a small network: a row an image, by ordinary backward passes.

use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use diffusion_core::parameters::take_flat_gradients;
use diffusion_core::samplers::{SampleConfig, predicted_originals, sample_values};
use diffusion_core::{Denoiser, Device, NoiseSchedule, NoiseScheduleConfig, UNet2DConfig, UNet2DModel};
use influence::{
    CleanImages, GradientScorer, InfluenceConfig, InfluenceMethod, Kernel, Target, even_timesteps,
    gradient_similarity,
};
use ndarray::Array2;
use streams::{Streams, standard_normal};

const SIDE: usize = 4;
const SIZE: usize = 3 * SIDE * SIDE;
const SEED: u64 = 17;

struct Setting {
    model: UNet2DModel,
    schedule: NoiseSchedule,
    train: CleanImages,
    samples: CleanImages,
    sampling: SampleConfig,
}

fn setting() -> Setting {
    let config = UNet2DConfig { norm_num_groups: 2, ..UNet2DConfig::small(SIDE, &[4]) };
    let model = UNet2DModel::new(&config, &Device::flex(), &Streams::new(1)).unwrap();
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    let sampling = SampleConfig { steps: 5, ..SampleConfig::default() };
    let pixels = standard_normal(&mut Streams::new(2).rng("pixels", 0), 6 * SIZE);
    let train = CleanImages { pixels, versions: 1, numbers: vec![3, 0, 9, 4, 1, 7] };
    let indices = [0, 1, 2];
    let pixels = sample_values(&model, &schedule, &sampling, &indices, &Streams::new(3), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let samples = CleanImages { pixels, versions: 1, numbers: indices.to_vec() };
    Setting { model, schedule, train, samples, sampling }
}

/// One image's gradient of the mean target over timesteps, by an ordinary backward pass. The noises are those that the
/// documentation of `gradient_features` names.
fn gradient(
    setting: &Setting,
    clean: &[&[f32]],
    number: u64,
    times: &[usize],
    set: &str,
    target: Target,
) -> Vec<f64> {
    let streams = Streams::new(SEED).child(set, 0);
    let noise: Vec<f32> = times
        .iter()
        .flat_map(|&t| standard_normal(&mut streams.rng("influence noise", number * 1000 + t as u64), SIZE))
        .collect();
    let noisy = setting.schedule.add_noise(&clean.concat(), &noise, times).unwrap();
    let model = setting.model.clone().train();
    let device = Device::flex().autodiff();
    let shape = [times.len(), 3, SIDE, SIDE];
    let tensor = |values: Vec<f32>| Tensor::<4>::from_data(TensorData::new(values, shape), &device);
    let steps: Vec<i32> = times.iter().map(|&t| t as i32).collect();
    let steps = Tensor::<1, Int>::from_data(TensorData::new(steps, [times.len()]), &device);
    let output = model.predict_noise(tensor(noisy), steps);
    let output = if target == Target::Loss { output - tensor(noise) } else { output };
    let mut gradients = (output.clone() * output).mean().backward();
    take_flat_gradients(&model, &mut gradients)
        .into_iter()
        .flat_map(|g| g.unwrap().try_into_vec_as::<f32>().unwrap())
        .map(f64::from)
        .collect()
}

/// The Jacobian of a set of images: `[images, parameters]`.
fn jacobian(
    setting: &Setting,
    images: &CleanImages,
    times: &[usize],
    set: &str,
    target: Target,
) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = (0..images.len())
        .map(|image| {
            let clean: Vec<&[f32]> = (0..times.len())
                .map(|k| {
                    let version = if images.versions == 1 { 0 } else { k };
                    &images.pixels[(image * images.versions + version) * SIZE..][..SIZE]
                })
                .collect();
            gradient(setting, &clean, images.numbers[image], times, set, target)
        })
        .collect();
    let parameters = rows[0].len();
    Array2::from_shape_vec((rows.len(), parameters), rows.concat()).unwrap()
}

fn scores(setting: &Setting, config: &InfluenceConfig) -> Vec<(InfluenceMethod, Vec<f64>)> {
    let scorer = GradientScorer {
        model: &setting.model,
        schedule: &setting.schedule,
        config,
        train: &setting.train,
        samples: &setting.samples,
        sampling: &setting.sampling,
        sampling_streams: &Streams::new(3),
        streams: Streams::new(SEED),
    };
    let scores = scorer.scores(&InfluenceMethod::ALL, &mut |_| ControlFlow::Continue(())).unwrap();
    scores.into_iter().map(|scored| (scored.method, scored.scores)).collect()
}

#[test]
fn without_projection_scores_are_those_of_the_explicit_jacobian() {
    let setting = setting();
    let config = InfluenceConfig { timesteps: 4, dimension: 1_000_000, batch_size: 7, ..Default::default() };
    let times = even_timesteps(1000, 4);
    let of = |images, times: &[usize], set, target| jacobian(&setting, images, times, set, target);
    let train = of(&setting.train, &times, "training images", Target::Loss);
    let samples = of(&setting.samples, &times, "samples", Target::Loss);
    let output_train = of(&setting.train, &times, "training images", Target::SquaredOutput);
    let output_samples = of(&setting.samples, &times, "samples", Target::SquaredOutput);
    // Five steps visit 800, 600, .., 0; four of them, evenly from the smallest, are kept.
    let kept = [0, 200, 400, 600];
    let journey = CleanImages {
        pixels: predicted_originals(
            &setting.model,
            &setting.schedule,
            &setting.sampling,
            &[0, 1, 2],
            &Streams::new(3),
            &kept,
            &mut |_| ControlFlow::Continue(()),
        )
        .unwrap(),
        versions: 4,
        numbers: vec![0, 1, 2],
    };
    let journey = of(&journey, &kept, "samples", Target::Loss);

    let kernel = Kernel::new(&train, 0.5).unwrap();
    let output_kernel = Kernel::new(&output_train, 0.5).unwrap();
    let found = scores(&setting, &config);
    assert_eq!(found.len(), 6);
    for (method, found) in found {
        let expected = match method {
            InfluenceMethod::GradientSimilarity => gradient_similarity(&train, &samples),
            InfluenceMethod::Trak => kernel.trak(&samples),
            InfluenceMethod::DTrak => output_kernel.trak(&output_samples),
            InfluenceMethod::JourneyTrak => kernel.trak(&journey),
            InfluenceMethod::RelativeInfluence => kernel.relative_influence(&samples),
            InfluenceMethod::RenormalisedInfluence => kernel.renormalised_influence(&samples),
            other => panic!("{other} does not work on gradients"),
        }
        .unwrap();
        let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for (a, b) in found.iter().zip(&expected) {
            // Gradients agree to 1e-6; the kernel's inverse magnifies that.
            assert!((a - b).abs() < 1e-3 * largest, "{method}: {found:?} {expected:?}");
        }
    }
}

#[test]
fn a_wide_projection_comes_close_to_the_explicit_jacobian() {
    let setting = setting();
    let times = even_timesteps(1000, 4);
    let train = jacobian(&setting, &setting.train, &times, "training images", Target::Loss);
    let samples = jacobian(&setting, &setting.samples, &times, "samples", Target::Loss);
    let exact = gradient_similarity(&train, &samples).unwrap();
    for projection in [influence::ProjectionKind::Rademacher, influence::ProjectionKind::Normal] {
        let config = InfluenceConfig { timesteps: 4, dimension: 1024, projection, ..Default::default() };
        let found = scores(&setting, &config);
        let (_, found) = found.iter().find(|(m, _)| *m == InfluenceMethod::GradientSimilarity).unwrap();
        for (a, b) in found.iter().zip(&exact) {
            // A projected cosine has a standard error of at most 1 / sqrt(d) = 0.031.
            assert!((a - b).abs() < 4.0 / 1024f64.sqrt(), "{projection}: {found:?} {exact:?}");
        }
    }
    assert!(train.ncols() > 1024, "{} parameters would not be projected", train.ncols());
}

#[test]
fn journeys_end_where_the_samples_are() {
    let setting = setting();
    // With abar = 1 past the last step, the clean image predicted at timestep 0 is the sample.
    let last = predicted_originals(
        &setting.model,
        &setting.schedule,
        &SampleConfig { batch_size: 2, ..setting.sampling.clone() },
        &[0, 1, 2],
        &Streams::new(3),
        &[0],
        &mut |_| ControlFlow::Continue(()),
    )
    .unwrap();
    for (a, b) in last.iter().zip(&setting.samples.pixels) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
    let missing = predicted_originals(
        &setting.model,
        &setting.schedule,
        &setting.sampling,
        &[0],
        &Streams::new(3),
        &[1],
        &mut |_| ControlFlow::Continue(()),
    );
    assert!(missing.unwrap_err().to_string().contains("does not visit"));
}

//! Parity of the sampler steps with diffusers, and independence of samples from their batch.

mod support;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use diffusion_core::DiffusionError;
use diffusion_core::samplers::sample::SampleProgress;
use diffusion_core::samplers::{
    DdimConfig, DdpmConfig, SampleConfig, SampledImages, Sampler, TimestepSpacing, VarianceType, sample,
    sample_values,
};
use diffusion_core::schedule::{NoiseSchedule, NoiseScheduleConfig};
use serde_json::Value;
use streams::Streams;
use support::{TinyDenoiser, fixture, floats, largest_difference};

fn schedule(name: &str) -> NoiseSchedule {
    let options = &fixture("schedule/schedules.json")["schedules"][name]["options"];
    serde_json::from_value::<NoiseScheduleConfig>(options.clone()).unwrap().build().unwrap()
}

fn go_on(_: SampleProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Each step of a recorded chain from diffusers' own input, within 1e-5.
fn check_chain(chain: &Value, sampler: &Sampler, what: &str) {
    let schedule = schedule(chain["schedule"].as_str().unwrap());
    let shape: Vec<usize> =
        chain["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let tensor = |value: &Value| -> Tensor<4> {
        Tensor::from_data(TensorData::new(floats(value), shape.clone()), &Device::flex())
    };
    let rows = chain["rows"].as_array().unwrap();
    let spacing: TimestepSpacing = serde_json::from_value(chain["spacing"].clone()).unwrap();
    let timesteps = spacing.timesteps(1000, rows.len()).unwrap();
    let mut own: Option<Tensor<4>> = None;
    for (position, row) in rows.iter().enumerate() {
        let timestep = row["timestep"].as_u64().unwrap() as usize;
        assert_eq!(timestep, timesteps[position]);
        let noise = (!row["noise"].is_null()).then(|| tensor(&row["noise"]));
        assert_eq!(sampler.adds_noise(timestep), noise.is_some(), "{what} at {timestep}");
        let previous = sampler.previous_timestep(&schedule, &timesteps, position);
        let step = |sample: Tensor<4>| {
            sampler
                .step(&schedule, timestep, previous, sample, tensor(&row["epsilon"]), noise.clone())
                .unwrap()
        };
        let found = step(tensor(&row["sample"]));
        for (name, ours) in [("prev_sample", found.prev_sample), ("pred_original", found.pred_original)] {
            let ours = ours.try_into_vec_as::<f32>().unwrap();
            let theirs = floats(&row[name]);
            // Without clipping, the implied image can be large at late timesteps; so is its rounding.
            let scale = theirs.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            let largest = largest_difference(&ours, &theirs) / scale;
            assert!(largest <= 1e-5, "{what}: {name} at {timestep} differs by {largest}");
        }
        own = Some(step(own.unwrap_or_else(|| tensor(&row["sample"]))).prev_sample);
    }
    let last = own.unwrap().try_into_vec_as::<f32>().unwrap();
    let theirs = floats(&rows.last().unwrap()["prev_sample"]);
    let scale = theirs.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    let largest = largest_difference(&last, &theirs) / scale;
    assert!(largest <= 1e-5, "{what}: the chain's end differs by {largest}");
}

#[test]
fn ddpm_steps_are_those_of_diffusers() {
    let fixture = fixture("samplers/ddpm.json");
    let chains = fixture["chains"].as_array().unwrap();
    assert_eq!(chains.len(), 14);
    for chain in chains {
        let variance_type: VarianceType = serde_json::from_value(chain["variance"].clone()).unwrap();
        let clip_sample = chain["clip_sample"].as_bool().unwrap();
        let config = DdpmConfig { variance_type, clip_sample, ..DdpmConfig::default() };
        check_chain(chain, &Sampler::Ddpm(config.clone()), &format!("{} {config:?}", chain["schedule"]));
    }
}

#[test]
fn ddim_steps_are_those_of_diffusers() {
    let fixture = fixture("samplers/ddim.json");
    let chains = fixture["chains"].as_array().unwrap();
    assert_eq!(chains.len(), 14);
    for chain in chains {
        let config = DdimConfig {
            eta: chain["eta"].as_f64().unwrap() as f32,
            clip_sample: chain["clip_sample"].as_bool().unwrap(),
            set_alpha_to_one: chain["set_alpha_to_one"].as_bool().unwrap(),
            ..DdimConfig::default()
        };
        check_chain(chain, &Sampler::Ddim(config.clone()), &format!("{} {config:?}", chain["schedule"]));
    }
}

#[test]
fn bytes_are_those_of_the_diffusers_pipelines() {
    let fixture = fixture("samplers/rounding.json");
    let values = floats(&fixture["values"]);
    let bytes: Vec<u8> =
        fixture["bytes"].as_array().unwrap().iter().map(|b| b.as_u64().unwrap() as u8).collect();
    let images = SampledImages::from_values(&values, [1, 1, 1, values.len()]);
    assert_eq!(images.shape, [1, 1, values.len(), 1]);
    assert_eq!(images.pixels, bytes);
}

#[test]
fn channels_come_last_and_images_in_order() {
    // Two images of two channels, 1 x 2: value = image + channel + column in hundredths.
    let values: Vec<f32> = [0.0, 0.1, 0.2, 0.3, -0.0, -0.1, -0.2, -0.3].to_vec();
    let images = SampledImages::from_values(&values, [2, 2, 1, 2]);
    let byte = |v: f32| ((v / 2.0 + 0.5) * 255.0).round_ties_even() as u8;
    assert_eq!(images.image(0).unwrap(), [0.0, 0.2, 0.1, 0.3].map(byte));
    assert_eq!(images.image(1).unwrap(), [0.0, -0.2, -0.1, -0.3].map(byte));
    assert!(images.image(2).is_none());
}

fn samplers() -> [Sampler; 3] {
    [
        Sampler::Ddim(DdimConfig::default()),
        Sampler::Ddim(DdimConfig { eta: 0.5, ..DdimConfig::default() }),
        Sampler::Ddpm(DdpmConfig { variance_type: VarianceType::FixedLarge, ..DdpmConfig::default() }),
    ]
}

#[test]
fn a_sample_depends_on_its_index_alone() {
    let model = TinyDenoiser::new(8, 1, &Device::flex());
    let schedule = schedule("linear");
    let streams = Streams::new(4);
    for sampler in samplers() {
        let values = |batch_size, indices: &[u64]| {
            let config =
                SampleConfig { sampler: sampler.clone(), steps: 5, batch_size, ..SampleConfig::default() };
            sample_values(&model, &schedule, &config, indices, &streams, &mut go_on).unwrap()
        };
        let indices = [0, 1, 2, 3, 4, 5, 6];
        let alone = values(1, &indices);
        for batch_size in [2, 3, 7, 32] {
            assert_eq!(values(batch_size, &indices), alone, "{sampler:?}, batch {batch_size}");
        }
        let image = alone.len() / indices.len();
        assert_eq!(values(2, &[5, 1]), [&alone[5 * image..6 * image], &alone[image..2 * image]].concat());
        assert_ne!(alone[..image], alone[image..2 * image]);
    }
}

#[test]
fn autodiff_models_sample_the_same() {
    let schedule = schedule("linear");
    let config = SampleConfig { steps: 3, ..SampleConfig::default() };
    let of = |device: &Device| {
        let model = TinyDenoiser::new(8, 1, device);
        sample(&model, &schedule, &config, &[3, 4], &Streams::new(4), &mut go_on).unwrap()
    };
    let plain = of(&Device::flex());
    assert_eq!(plain.shape, [2, 8, 8, 3]);
    assert_eq!(of(&Device::flex().autodiff()), plain);
}

#[test]
fn progress_counts_and_can_stop() {
    let model = TinyDenoiser::new(8, 1, &Device::flex());
    let config = SampleConfig { steps: 4, batch_size: 2, ..SampleConfig::default() };
    let mut told = Vec::new();
    let mut watch = |progress: SampleProgress| {
        told.push((progress.images_done, progress.steps_done));
        if progress.images_done == 2 && progress.steps_done == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let error = sample(&model, &schedule("linear"), &config, &[0, 1, 2, 3, 4], &Streams::new(1), &mut watch)
        .unwrap_err();
    assert!(matches!(error, DiffusionError::Stopped { done: 2, total: 5, .. }), "{error}");
    assert_eq!(told, [(0, 1), (0, 2), (0, 3), (0, 4), (2, 1), (2, 2), (2, 3)]);
}

#[test]
fn bad_settings_and_diverged_models_are_refused() {
    let model = TinyDenoiser::new(8, 1, &Device::flex());
    let linear = schedule("linear");
    let refused = |config: SampleConfig| {
        sample(&model, &linear, &config, &[0], &Streams::new(1), &mut go_on).unwrap_err().to_string()
    };
    let base = SampleConfig::default;
    assert!(refused(SampleConfig { batch_size: 0, ..base() }).contains("batch_size"));
    assert!(refused(SampleConfig { steps: 1001, ..base() }).contains("steps"));
    let noisy = Sampler::Ddim(DdimConfig { eta: 1.5, ..DdimConfig::default() });
    assert!(refused(SampleConfig { sampler: noisy, ..base() }).contains("eta"));

    let weights = diffusion_core::parameters::state_dict_of(&model).unwrap();
    let mut spoiled = weights.clone();
    spoiled.get_mut("second.bias").unwrap().data_mut()[0] = f32::NAN;
    let model = diffusion_core::parameters::with_state_dict(model, &spoiled).unwrap();
    let config = SampleConfig { steps: 2, ..base() };
    let error = sample(&model, &linear, &config, &[7], &Streams::new(1), &mut go_on).unwrap_err();
    assert!(matches!(error, DiffusionError::NonFiniteSample { image: 7 }), "{error}");
}

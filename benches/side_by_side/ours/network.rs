//! Training, sampling, pruning, and a plain matrix product.

use std::ops::ControlFlow;
use std::path::Path;

use data::{BatchSource, DataError, ImageBatch};
use diffusion_core::samplers::{SampleConfig, sample_values};
use diffusion_core::schedule::{NoiseSchedule, NoiseScheduleConfig};
use diffusion_core::training::{Observer, StepReport, Trainer, TrainingConfig, antithetic_timesteps};
use diffusion_core::{Device, StateDict, TensorF32, UNet2DConfig, UNet2DModel, model_folder, unet};
use serde::Deserialize;
use serde_json::{Value, json};
use sparsify::{Plan, PruningSettings, Ratio, surgery};
use streams::{Streams, standard_normal};

use super::{Result, Work};

/// The networks that are compared.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The demo's, at 16 x 16.
    Demo16,
    /// The demo's, at 32 x 32.
    Demo32,
    /// Widths (64, 128, 128), two blocks a level, attention at 16 x 16.
    Medium,
    /// 35.75 million parameters.
    Cifar,
    /// The same without 30 % of its channels.
    CifarPruned,
    /// 274 million parameters, for latents of 256 x 256 images.
    CelebaLatent,
}

const WEIGHTS: u64 = 0;
const IMAGES: u64 = 1;
const TRAINING: u64 = 2;
const PRUNED: f64 = 0.3;

impl Network {
    fn config(self) -> UNet2DConfig {
        let demo = |side| UNet2DConfig { norm_num_groups: 8, ..UNet2DConfig::small(side, &[16, 32, 32]) };
        match self {
            Self::Demo16 => demo(16),
            Self::Demo32 => demo(32),
            Self::Medium => {
                let medium = UNet2DConfig::small(32, &[64, 128, 128]);
                let medium = UNet2DConfig { layers_per_block: 2, norm_num_groups: 32, ..medium };
                medium.with_attention_at(&[1])
            }
            Self::Cifar | Self::CifarPruned => UNet2DConfig::cifar(),
            Self::CelebaLatent => UNet2DConfig::celeba_latent(),
        }
    }

    /// Architecture and weights; the unpruned ones are written to `folder` for the other side.
    fn make(self, folder: Option<&Path>) -> Result<(UNet2DConfig, StateDict)> {
        let config = self.config();
        let weights = unet::initial_weights(&config, &Streams::new(WEIGHTS))?;
        if let Some(folder) = folder {
            model_folder::write(&folder.join("model"), &config, &weights, None)?;
        }
        if !matches!(self, Self::CifarPruned) {
            return Ok((config, weights));
        }
        let plan = Plan::new(&config, &weights, PruningSettings::new(Ratio::new(PRUNED)?))?;
        Ok(surgery(&config, &weights, &plan)?)
    }
}

/// The same images in every step.
struct OneBatch(ImageBatch);

impl OneBatch {
    fn new(config: &UNet2DConfig, batch: usize) -> Self {
        let shape = [batch, config.in_channels, config.sample_size, config.sample_size];
        let pixels = standard_normal(&mut Streams::new(IMAGES).rng("pixels", 0), shape.iter().product());
        Self(ImageBatch { pixels, shape, indices: (0..batch).collect() })
    }
}

impl BatchSource for OneBatch {
    fn batch(&self, _step: u64, _batch_size: usize) -> std::result::Result<ImageBatch, DataError> {
        Ok(self.0.clone())
    }
}

/// Keeps what the last step reported.
#[derive(Default)]
struct Last(Option<StepReport>);

impl Observer for Last {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.0 = Some(*report);
        ControlFlow::Continue(())
    }
}

struct Train {
    trainer: Trainer<UNet2DModel>,
    source: OneBatch,
}

impl Train {
    fn new(
        config: &UNet2DConfig,
        weights: &StateDict,
        batch: usize,
        settings: TrainingConfig,
    ) -> Result<Self> {
        let model = UNet2DModel::from_state_dict(config, weights, &Device::flex())?;
        let settings = TrainingConfig { batch_size: batch, ..settings };
        let trainer = Trainer::new(model, settings, schedule()?, Streams::new(TRAINING))?;
        Ok(Self { trainer, source: OneBatch::new(config, batch) })
    }
}

impl Work for Train {
    /// One whole step: noise, forward, backward, clipping, Adam, average.
    fn run(&mut self) -> Result<Value> {
        let mut last = Last::default();
        self.trainer.step_to(&self.source, self.trainer.step() + 1, &mut last)?;
        let report = last.0.ok_or("the step reported nothing")?;
        Ok(json!({"loss": report.loss, "norm": report.grad_norm}))
    }
}

fn schedule() -> Result<NoiseSchedule> {
    Ok(NoiseScheduleConfig::default().build()?)
}

/// Writes the batches of the first two steps, then does these steps.
pub fn train(network: Network, batch: usize, folder: &Path) -> Result<(Box<dyn Work>, Value)> {
    let (config, weights) = network.make(Some(folder))?;
    let mut train = Train::new(&config, &weights, batch, TrainingConfig::default())?;
    let streams = Streams::new(TRAINING);
    let images = &train.source.0;
    let mut arrays = StateDict::new();
    arrays.insert("images", TensorF32::new(images.shape, images.pixels.clone())?);
    for step in 0..2 {
        let times = antithetic_timesteps(&mut streams.rng("timesteps", step), 1000, batch);
        let noise = standard_normal(&mut streams.rng("training noise", step), images.pixels.len());
        arrays.insert(format!("noise{step}"), TensorF32::new(images.shape, noise)?);
        let times = times.into_iter().map(|t| t as f32).collect();
        arrays.insert(format!("timesteps{step}"), TensorF32::new([batch], times)?);
    }
    arrays.write(&folder.join("batches.safetensors"))?;
    let steps = [train.run()?, train.run()?];
    let macs = unet::macs(&config, config.sample_size, config.sample_size)?;
    // Forward, and as much again for each of the two gradients.
    let answer = json!({
        "check": steps,
        "prune": matches!(network, Network::CifarPruned).then_some(PRUNED),
        "training": TrainingConfig::default(),
        "parameters": weights.parameter_count(),
        "flops": 6 * macs * batch as u64,
    });
    Ok((Box::new(train), answer))
}

/// Trains for `count` steps.
pub fn steps(network: Network, batch: usize, count: usize, settings: TrainingConfig) -> Result<()> {
    let (config, weights) = network.make(None)?;
    let mut train = Train::new(&config, &weights, batch, settings)?;
    drop(weights);
    for _ in 0..count {
        let before = processor_seconds()?;
        let report = train.run()?;
        println!("loss {}, {:.4} s of processor time", report["loss"], processor_seconds()? - before);
    }
    Ok(())
}

/// What the threads of this process spent on a processor.
fn processor_seconds() -> Result<f64> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let spent = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += spent.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(nanoseconds / 1e9)
}

#[derive(Clone)]
struct Sample {
    model: UNet2DModel,
    schedule: NoiseSchedule,
    settings: SampleConfig,
}

impl Sample {
    fn values(&self) -> Result<Vec<f32>> {
        let indices: Vec<u64> = (0..self.settings.batch_size as u64).collect();
        let watch = &mut |_| ControlFlow::Continue(());
        let streams = Streams::new(TRAINING);
        Ok(sample_values(&self.model, &self.schedule, &self.settings, &indices, &streams, watch)?)
    }
}

impl Work for Sample {
    fn run(&mut self) -> Result<Value> {
        self.values().map(|_| Value::Null)
    }
}

/// Steps after which images are compared: an untrained network multiplies rounding errors by ten in each.
const COMPARED_STEPS: usize = 5;

/// Writes the starting noise and the images that a few steps make of it.
pub fn sample(
    network: Network,
    images: usize,
    steps: usize,
    folder: &Path,
) -> Result<(Box<dyn Work>, Value)> {
    let (config, weights) = network.make(Some(folder))?;
    let settings = SampleConfig { steps, batch_size: images, ..SampleConfig::default() };
    let model = UNet2DModel::from_state_dict(&config, &weights, &Device::flex())?;
    let sample = Sample { model, schedule: schedule()?, settings };
    let shape = [images, config.in_channels, config.sample_size, config.sample_size];
    let size = shape[1..].iter().product();
    let streams = Streams::new(TRAINING);
    let noise = (0..images as u64)
        .flat_map(|image| standard_normal(&mut streams.rng("sample noise", image), size))
        .collect();
    let mut arrays = StateDict::new();
    arrays.insert("noise", TensorF32::new(shape, noise)?);
    let compared = steps.min(COMPARED_STEPS);
    let few =
        Sample { settings: SampleConfig { steps: compared, ..sample.settings.clone() }, ..sample.clone() };
    arrays.insert("images", TensorF32::new(shape, few.values()?)?);
    arrays.write(&folder.join("samples.safetensors"))?;
    let macs = unet::macs(&config, config.sample_size, config.sample_size)?;
    Ok((Box::new(sample), json!({"compared": compared, "flops": 2 * macs * (images * steps) as u64})))
}

struct Prune {
    config: UNet2DConfig,
    weights: StateDict,
    settings: PruningSettings,
}

impl Prune {
    fn pruned(&self) -> Result<StateDict> {
        let plan = Plan::new(&self.config, &self.weights, self.settings)?;
        Ok(surgery(&self.config, &self.weights, &plan)?.1)
    }
}

impl Work for Prune {
    /// Dependency graph, importance, plan and surgery.
    fn run(&mut self) -> Result<Value> {
        Ok(json!({"parameters": self.pruned()?.parameter_count()}))
    }
}

/// Writes the pruned weights.
pub fn prune(network: Network, ratio: f64, folder: &Path) -> Result<(Box<dyn Work>, Value)> {
    let (config, weights) = network.make(Some(folder))?;
    let prune = Prune { config, weights, settings: PruningSettings::new(Ratio::new(ratio)?) };
    let pruned = prune.pruned()?;
    pruned.write(&folder.join("pruned.safetensors"))?;
    Ok((Box::new(prune), json!({"parameters": pruned.parameter_count()})))
}

struct Gemm {
    left: burn::tensor::Tensor<2>,
    right: burn::tensor::Tensor<2>,
}

impl Work for Gemm {
    fn run(&mut self) -> Result<Value> {
        let product = kernels::linear(self.left.clone(), self.right.clone(), None);
        Ok(json!({"shape": product.dims()}))
    }
}

/// A product of two square matrices.
pub fn gemm(size: usize) -> (Box<dyn Work>, Value) {
    let random = |stream| {
        let values = standard_normal(&mut Streams::new(stream).rng("matrix", 0), size * size);
        let data = burn::tensor::TensorData::new(values, [size, size]);
        burn::tensor::Tensor::from_data(data, &Device::flex())
    };
    let gemm = Gemm { left: random(0), right: random(1) };
    (Box::new(gemm), json!({"flops": 2 * (size as u64).pow(3)}))
}

//! Pruning a model by a study's `[prune]` section, with the gradients that it needs, and the table of what each ratio does.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use behavior::measure::held_out_loss::{HeldOutImages, HeldOutLoss, HeldOutLossConfig};
use data::BatchSource;
use diffusion_core::training::{StepReport, Trainer};
use diffusion_core::{DiffusionError, StateDict, UNet2DConfig, UNet2DModel};
use removal::Coalition;
use serde::Serialize;
use sparsify::{
    CalibrationBatch, DependencyGraph, NetworkSize, Pruned, PruningSettings, Ratio, SparsifyError,
    accumulate_gradients, prune, spread_timesteps,
};
use streams::{Streams, subset};

use crate::config::StudyConfig;
use crate::context::Context;
use crate::error::StudyError;
use crate::progress::{Progress, Task, TaskProgress, Unit};

/// Held-out images that a scan measures the loss on, at most; a seeded choice of them beyond.
const MOST_SCAN_IMAGES: usize = 256;

/// How far the gradients of one step of pruning were added up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GradientsUsed {
    /// Timesteps whose gradients were added up.
    pub timesteps: usize,
    /// The largest loss among them.
    pub largest_loss: f32,
    /// The loss of the last one.
    pub last_loss: f32,
    /// The timestep whose loss fell under the threshold; `None` if none did, or there is no threshold.
    pub stopped_at: Option<usize>,
}

/// A pruned model before its fine-tuning.
#[derive(Debug, Clone, PartialEq)]
pub struct PrunedWeights {
    /// Architecture, weights and kept channels.
    pub pruned: Pruned,
    /// The gradients of each step, for an importance that ranks by them.
    pub gradients: Vec<GradientsUsed>,
}

/// The streams that pruning draws from: random ranks, new weights, and the noise of the images behind gradients.
pub fn pruning_streams(seed: u64) -> Streams {
    Streams::new(seed).child("repetition", 0).child("pruning", 0)
}

/// Prunes a model without images.
///
/// # Errors
/// [`StudyError::NoGradientImages`] for an importance that ranks by gradients; else those of [`prune`].
pub fn prune_without_images(
    config: &UNet2DConfig,
    weights: &StateDict,
    settings: PruningSettings,
    seed: u64,
) -> Result<PrunedWeights, StudyError> {
    let pruned = prune(config, weights, settings, &pruning_streams(seed), &mut |_, _| {
        Err(StudyError::NoGradientImages { pruner: settings.importance })
    })?;
    Ok(PrunedWeights { pruned, gradients: Vec::new() })
}

/// Prunes a model by a study's settings. Gradients are those of everybody's first training batch.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop; a ratio or images that do not fit the network; a loss that is not a
/// number.
pub fn prune_weights(
    context: &Context,
    config: &UNet2DConfig,
    weights: &StateDict,
    progress: &dyn Progress,
) -> Result<PrunedWeights, StudyError> {
    Pruning::new(context, progress).prune(config, weights, context.config.prune.pruning())
}

/// Prunes with gradients from a study's images. Those of the network before the first step are kept.
struct Pruning<'a> {
    context: &'a Context,
    progress: &'a dyn Progress,
    batch: Option<CalibrationBatch>,
    first: Option<(Arc<StateDict>, GradientsUsed)>,
}

impl<'a> Pruning<'a> {
    fn new(context: &'a Context, progress: &'a dyn Progress) -> Self {
        Self { context, progress, batch: None, first: None }
    }

    /// Always of the same network, whatever the settings.
    fn prune(
        &mut self,
        config: &UNet2DConfig,
        weights: &StateDict,
        settings: PruningSettings,
    ) -> Result<PrunedWeights, StudyError> {
        let streams = pruning_streams(self.context.config.seed);
        let mut used = Vec::new();
        let pruned = prune(config, weights, settings, &streams, &mut |config, weights| {
            let (gradients, report) = match (&self.first, used.is_empty()) {
                (Some(first), true) => first.clone(),
                (_, first) => {
                    let found = self.gradients(config, weights, &streams)?;
                    if first {
                        self.first = Some(found.clone());
                    }
                    found
                }
            };
            used.push(report);
            Ok::<_, StudyError>(gradients)
        })?;
        Ok(PrunedWeights { pruned, gradients: used })
    }

    fn gradients(
        &mut self,
        config: &UNet2DConfig,
        weights: &StateDict,
        streams: &Streams,
    ) -> Result<(Arc<StateDict>, GradientsUsed), StudyError> {
        let settings = &self.context.config.prune;
        let batch = match &mut self.batch {
            Some(batch) => batch,
            empty => empty.insert(first_batch(self.context, streams)?),
        };
        let schedule = &self.context.schedule;
        let timesteps = spread_timesteps(schedule.timesteps(), settings.timesteps);
        let task = Task {
            label: "gradients for pruning".to_owned(),
            total: timesteps.len() as u64,
            unit: Unit::Timesteps,
        };
        let mut bar = self.progress.begin(task);
        let mut done = 0;
        let model = UNet2DModel::from_state_dict(config, weights, &self.context.device)?;
        let threshold = settings.stopping_threshold();
        let found = accumulate_gradients(&model, batch, schedule, &timesteps, threshold, &mut |at| {
            done += 1;
            bar.advance(done, &format!("timestep {}  loss {:.4}", at.timestep, at.loss));
            if self.progress.stop_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let found = found.map_err(|error| match error {
            SparsifyError::Model(DiffusionError::Stopped { .. }) => StudyError::Stopped,
            other => other.into(),
        })?;
        let used = GradientsUsed {
            timesteps: found.losses.len(),
            largest_loss: found.losses.iter().map(|at| at.loss).fold(0.0, f32::max),
            last_loss: found.losses.last().map_or(f32::NAN, |at| at.loss),
            stopped_at: found.stopped_at,
        };
        Ok((Arc::new(found.gradients), used))
    }
}

/// Everybody's first training batch.
fn first_batch(context: &Context, streams: &Streams) -> Result<CalibrationBatch, StudyError> {
    let size = context.config.prune.batch_size.unwrap_or(context.config.train.optimization.batch_size);
    let everybody = Coalition::full(context.contributors());
    let images = context.batches(&everybody, 0)?.batch(0, size)?;
    Ok(CalibrationBatch::new(images.pixels, images.shape, streams)?)
}

/// What a ratio does to a model, before any fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScanRow {
    /// The ratio; 0 for the model as it is.
    pub ratio: f64,
    /// Mean squared error of the predicted noise on held-out images.
    pub loss: f64,
    /// Number of weights and biases.
    pub parameters: usize,
    /// Multiply-accumulates of one forward pass of one image of the network's sample size.
    pub macs: u64,
    /// Share of the parameters that is left, 0 to 1.
    pub parameters_left: f64,
    /// Share of the multiply-accumulates that is left, 0 to 1.
    pub macs_left: f64,
    /// Groups of channels from which nothing is removed, because the ratio does not amount to a channel of each of the
    /// group's blocks or would take them all; all groups for the model as it is.
    pub whole_groups: usize,
    /// Seconds of one training step with the study's fine-tuning settings, the median of those measured; `None` if none
    /// was.
    pub step_seconds: Option<f64>,
}

/// The ratios of a scan when none are given: 0.1, 0.2, ..., 0.9.
///
/// # Errors
/// None: all of them lie between 0 and 1.
pub fn scan_ratios() -> Result<Vec<Ratio>, SparsifyError> {
    (1..10).map(|tenths| Ratio::new(f64::from(tenths) / 10.0)).collect()
}

/// Prunes a model by each ratio and measures what is left: loss on held-out images (with the same noises for all), size,
/// and the time of `timed_steps` training steps after one that is not counted. The first row is the model itself.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop; a study without held-out images; as [`prune_weights`].
pub fn scan_pruning(
    context: &Context,
    config: &UNet2DConfig,
    weights: &StateDict,
    ratios: &[Ratio],
    timed_steps: usize,
    progress: &dyn Progress,
) -> Result<Vec<ScanRow>, StudyError> {
    let held_out = scan_loss(context, [config.in_channels, config.sample_size, config.sample_size])?;
    let before = NetworkSize::of(config)?;
    let groups = DependencyGraph::of(config)?.groups().len();
    let task = Task { label: "scan".to_owned(), total: ratios.len() as u64 + 1, unit: Unit::Ratios };
    let mut bar = progress.begin(task);
    let mut pruning = Pruning::new(context, progress);
    let mut rows = Vec::with_capacity(ratios.len() + 1);
    for ratio in std::iter::once(None).chain(ratios.iter().copied().map(Some)) {
        if progress.stop_requested() {
            return Err(StudyError::Stopped);
        }
        let pruned = ratio
            .map(|ratio| {
                let settings = PruningSettings { ratio, ..context.config.prune.pruning() };
                pruning.prune(config, weights, settings)
            })
            .transpose()?;
        let whole_groups = match &pruned {
            Some(made) => made.pruned.plan.whole_groups().count(),
            None => groups,
        };
        let (config, weights) =
            pruned.as_ref().map_or((config, weights), |made| (&made.pruned.config, &made.pruned.weights));
        let model = UNet2DModel::from_state_dict(config, weights, &context.device)?;
        let loss = held_out.evaluate_model(&model)?.total;
        let size = NetworkSize::of(config)?;
        let row = ScanRow {
            ratio: ratio.map_or(0.0, Ratio::get),
            loss,
            parameters: size.parameters,
            macs: size.macs,
            parameters_left: size.parameters as f64 / before.parameters as f64,
            macs_left: size.macs as f64 / before.macs as f64,
            whole_groups,
            step_seconds: step_seconds(context, model, timed_steps, progress)?,
        };
        rows.push(row);
        advance(&mut *bar, &rows);
    }
    Ok(rows)
}

fn advance(bar: &mut dyn TaskProgress, rows: &[ScanRow]) {
    if let Some(last) = rows.last() {
        bar.advance(rows.len() as u64, &format!("ratio {}  loss {:.4}", last.ratio, last.loss));
    }
}

/// The loss on held-out images, which must be of the network's shape `[channels, height, width]`.
fn scan_loss(context: &Context, expected: [usize; 3]) -> Result<HeldOutLoss, StudyError> {
    let StudyConfig { seed, .. } = context.config;
    let view = &context.split.held_out;
    if view.is_empty() {
        return Err(StudyError::InvalidKey {
            key: "data.held_out",
            value: context.config.data.held_out.to_string(),
            allowed: "above 0 for a scan: it measures the loss on held-out images",
        });
    }
    let streams = Streams::new(seed).child("measures", 0);
    let mut places: Vec<usize> = match view.len() {
        n if n > MOST_SCAN_IMAGES => subset(&mut streams.rng("scan images", 0), n, MOST_SCAN_IMAGES),
        n => (0..n).collect(),
    };
    places.sort_unstable();
    let (mut pixels, mut shape, mut indices) = (Vec::new(), [0; 3], Vec::new());
    for place in places {
        let one = view.load(place..place + 1)?;
        shape.copy_from_slice(&one.shape[1..]);
        pixels.extend_from_slice(&one.pixels);
        indices.extend(one.indices);
    }
    if shape != expected {
        return Err(StudyError::Prune(SparsifyError::Calibration {
            what: "images",
            given: format!("{shape:?} each"),
            right: format!("the network takes {expected:?} (channels, height, width)"),
        }));
    }
    let images = HeldOutImages {
        pixels,
        shape,
        contributor: indices.iter().filter_map(|&image| view.dataset().owner(image)).collect(),
        contributors: context.contributors(),
    };
    let config = HeldOutLossConfig::default();
    Ok(HeldOutLoss::new(images, config, context.schedule.clone(), streams, &context.device)?)
}

/// The median time of a training step.
fn step_seconds(
    context: &Context,
    model: UNet2DModel,
    timed_steps: usize,
    progress: &dyn Progress,
) -> Result<Option<f64>, StudyError> {
    if timed_steps == 0 {
        return Ok(None);
    }
    let settings = context.config.fine_tune_optimization().clone();
    let streams = context.streams(0).child("scan", 0);
    let mut trainer = Trainer::new(model, settings, context.schedule.clone(), streams)?;
    let batches = context.batches(&Coalition::full(context.contributors()), 0)?;
    let mut times = Vec::with_capacity(timed_steps);
    // The first step fills caches and allocates what the others use again.
    for step in 0..=timed_steps as u64 {
        if progress.stop_requested() {
            return Err(StudyError::Stopped);
        }
        let start = Instant::now();
        trainer.step_to(&batches, step + 1, &mut |_: &StepReport| ControlFlow::Continue(()))?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.remove(0);
    times.sort_unstable_by(f64::total_cmp);
    Ok(Some(times[times.len() / 2]))
}

//! The loop itself.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use data::BatchSource;
use streams::Streams;

use super::config::TrainingConfig;
use super::exchange::GradientExchange;
use super::loss_scaler::LossScaler;
use super::observer::{Observer, StepReport};
use super::task::{NoisePrediction, TrainingTask};
use crate::DiffusionError;
use crate::autoencoder::Autoencoder;
use crate::denoiser::Denoiser;
use crate::ema::Ema;
use crate::nn::{with_gradient_checkpointing, with_precision};
use crate::optim::{Optimizer, clip_coefficient, squared_norm};
use crate::parameters::{from_slice, module_device, take_flat_gradients, to_vec};
use crate::schedule::NoiseSchedule;

/// How [`Trainer::step_to`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// The observer asked to stop after this many steps.
    Stopped {
        /// Steps done in all.
        step: u64,
    },
}

/// A model in training: parameters, optimiser, average, and how far it is.
///
/// Each step draws a batch and moves the parameters along the gradient of its loss, clipped to a common norm. The average
/// follows each update. The task says what the loss is: for diffusion models, the mean squared error of the predicted noise at
/// antithetic timesteps (Ho et al. 2020, equation 14).
#[derive(Debug)]
pub struct Trainer<M, T = NoisePrediction> {
    /// On the autodiff device. `None` only inside [`Self::update`], which takes it and puts it back.
    model: Option<M>,
    pub(super) optimizer: Optimizer,
    pub(super) ema: Ema,
    pub(super) config: TrainingConfig,
    pub(super) task: T,
    pub(super) streams: Streams,
    pub(super) identity: BTreeMap<String, String>,
    pub(super) step: u64,
    pub(super) elapsed_seconds: f64,
    /// In half precision only.
    pub(super) loss_scaler: Option<LossScaler>,
    /// The autoencoder on whose latents the model is trained, which checkpoints hold, too.
    pub(super) autoencoder: Option<Autoencoder>,
    exchange: Option<Box<dyn GradientExchange>>,
    /// Whether this rank's observer asked to stop; all ranks stop after the step that tells them.
    wants_to_stop: bool,
    /// Whether the ranks agreed to stop after the last step.
    ranks_stop: bool,
}

/// What a step's backward pass gave.
struct Gradients {
    /// Of each parameter, times the scale of the loss.
    values: Vec<Option<Tensor<1>>>,
    /// `[1]`, without the scale.
    loss: Tensor<1>,
    /// Number of images of the step, those of other ranks included.
    images: usize,
    /// Whether a rank asked to stop.
    stop: bool,
}

impl<M: Denoiser> Trainer<M> {
    /// Starts from the weights of `model`, with a fresh optimiser and average: training from scratch if the weights
    /// are initial ones, else fine-tuning. The model may be on a device with or without autodiff.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for settings out of range, a model without parameters, or a device without the numbers
    /// of [`mixed_precision`](TrainingConfig::mixed_precision).
    pub fn new(
        model: M,
        config: TrainingConfig,
        schedule: NoiseSchedule,
        streams: Streams,
    ) -> Result<Self, DiffusionError> {
        Self::for_task(model, config, NoisePrediction { schedule }, streams)
    }
}

impl<M: Module, T: TrainingTask<M>> Trainer<M, T> {
    /// As [`new`](Trainer::new), for a task of any kind.
    ///
    /// # Errors
    /// As [`new`](Trainer::new).
    pub fn for_task(
        model: M,
        config: TrainingConfig,
        task: T,
        streams: Streams,
    ) -> Result<Self, DiffusionError> {
        config.validate()?;
        let device = module_device(&model)?;
        config.mixed_precision.require_on(&device, &format!("{device:?}"))?;
        let loss_scaler = config.mixed_precision.scales_loss().then(LossScaler::default);
        let model = if device.is_autodiff() { model } else { model.train() };
        let optimizer = Optimizer::new(config.optimizer.clone(), &model)?
            .with_learning_rates_scaled(|name| task.learning_rate_scale(&model, name));
        let ema = Ema::new(config.ema.clone(), &model)?;
        Ok(Self {
            model: Some(model),
            optimizer,
            ema,
            config,
            task,
            streams,
            identity: BTreeMap::new(),
            step: 0,
            elapsed_seconds: 0.0,
            loss_scaler,
            autoencoder: None,
            exchange: None,
            wants_to_stop: false,
            ranks_stop: false,
        })
    }

    /// Makes this trainer one rank of a data-parallel training. Each rank is given the same model, settings, streams and
    /// images; of every slice that goes through the network at once it takes its own part, and all ranks take the step of
    /// the whole batch. When an observer asks to stop, all ranks stop after the next step.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if there are more ranks than images in a batch.
    pub fn with_exchange(mut self, exchange: Box<dyn GradientExchange>) -> Result<Self, DiffusionError> {
        if exchange.ranks() > self.config.batch_size {
            return Err(DiffusionError::setting(
                "training.batch_size",
                format!(
                    "is {}, fewer than the {} ranks of the data-parallel training: each needs an image",
                    self.config.batch_size,
                    exchange.ranks()
                ),
            ));
        }
        self.exchange = Some(exchange);
        Ok(self)
    }

    /// Binds checkpoints to further facts that fix the run, such as the hash of the images: a checkpoint with other
    /// facts is not resumed.
    #[must_use]
    pub fn with_identity(mut self, identity: BTreeMap<String, String>) -> Self {
        self.identity = identity;
        self
    }

    /// Puts the autoencoder on whose latents the model is trained into checkpoints, which are then pipelines of latents.
    #[must_use]
    pub fn with_autoencoder(mut self, autoencoder: Option<Autoencoder>) -> Self {
        self.autoencoder = autoencoder;
        self
    }

    /// Counts `seconds` as spent before the first step, for weights whose making is no training.
    #[must_use]
    pub fn after_seconds(mut self, seconds: f64) -> Self {
        self.elapsed_seconds += seconds;
        self
    }

    /// Images that go through the model at once.
    pub fn batch_size(&self) -> usize {
        self.config.batch_size
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Seconds spent in steps, those before a resume included.
    pub fn elapsed_seconds(&self) -> f64 {
        self.elapsed_seconds
    }

    /// The factor of the loss, in half precision.
    pub fn loss_scaler(&self) -> Option<LossScaler> {
        self.loss_scaler
    }

    /// The model as trained so far, on the autodiff device.
    pub fn model(&self) -> &M {
        // `update` is the only method that takes the model, and always puts one back.
        self.model.as_ref().expect("the model is put back by the method that takes it")
    }

    /// The model with the averaged weights, without autodiff, for sampling.
    ///
    /// # Errors
    /// None in practice: the average is always that of this model.
    pub fn ema_model(&self) -> Result<M, DiffusionError> {
        self.ema.apply_to(self.model())
    }

    /// The average of the weights.
    pub fn ema(&self) -> &Ema {
        &self.ema
    }

    /// The optimiser with its state.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Replaces the trained parts, for resuming.
    pub(super) fn replace(
        &mut self,
        model: M,
        optimizer: Optimizer,
        ema: Ema,
        step: u64,
        elapsed_seconds: f64,
    ) {
        self.model = Some(model);
        self.optimizer = optimizer;
        self.ema = ema;
        self.step = step;
        self.elapsed_seconds = elapsed_seconds;
    }

    /// Trains until `to_step` steps are done in all, or the observer asks to stop. Does nothing if they are.
    ///
    /// # Errors
    /// [`DiffusionError::Diverged`] naming the step, if the loss or the gradients are not finite or the loss exceeds
    /// [`max_loss`](TrainingConfig::max_loss); the parameters are then those before that step. Errors of the images,
    /// of their shape, and of the device likewise leave the last whole step.
    pub fn step_to(
        &mut self,
        source: &dyn BatchSource,
        to_step: u64,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, DiffusionError> {
        while self.step < to_step {
            // Agreed in the last step of an earlier call: ranks may be called with different targets.
            if self.ranks_stop {
                (self.ranks_stop, self.wants_to_stop) = (false, false);
                return Ok(Outcome::Stopped { step: self.step });
            }
            let (report, ranks_stop) = self.one_step(source)?;
            let asked = observer.on_step(&report) == ControlFlow::Break(());
            if self.exchange.is_some() {
                self.wants_to_stop |= asked;
                self.ranks_stop = ranks_stop;
            } else if asked && self.step < to_step {
                return Ok(Outcome::Stopped { step: self.step });
            }
        }
        Ok(Outcome::Finished)
    }

    /// One step, and whether a rank asked to stop after it.
    fn one_step(&mut self, source: &dyn BatchSource) -> Result<(StepReport, bool), DiffusionError> {
        let start = Instant::now();
        let _awake = kernels::Awake::new();
        let Gradients { values, loss, images, stop } = self.gradients(source)?;
        let (loss, scaled_norm) = read_loss_and_norm(loss, &values)?;
        let scale = self.loss_scale();
        let grad_norm = scaled_norm / scale;
        // Only while a smaller factor could help; after that, it is the gradients that have left the range.
        let skipped = !grad_norm.is_finite() && self.loss_scaler.is_some_and(|scaler| scaler.can_shrink());
        for (what, value, limit) in
            [("loss", loss, self.config.max_loss), ("gradient norm", grad_norm, f32::MAX)]
        {
            if (value.is_nan() || value > limit) && !(skipped && what == "gradient norm") {
                return Err(DiffusionError::Diverged { step: self.step, what, value });
            }
        }
        if !skipped {
            self.update(values, clip_coefficient(grad_norm, self.config.max_grad_norm) / scale)?;
        }
        if let Some(scaler) = &mut self.loss_scaler {
            scaler.after_step(skipped);
        }
        self.step += 1;
        let seconds = start.elapsed().as_secs_f64();
        self.elapsed_seconds += seconds;
        let report = StepReport {
            step: self.step,
            loss,
            grad_norm,
            skipped,
            images_per_second: images as f64 / seconds.max(1e-9),
        };
        Ok((report, stop))
    }

    /// What the loss is multiplied by for the backward pass, and the gradients are divided by.
    fn loss_scale(&self) -> f32 {
        self.loss_scaler.map_or(1.0, |scaler| scaler.scale)
    }

    /// The gradients of the step's loss over all slices and ranks.
    ///
    /// The step's batch is drawn whole; slice j of k is its j-th run of [`batch_size`](TrainingConfig::batch_size) images,
    /// so that k slices of B / k images have the gradients of one batch of B. Each rank takes its part of each slice.
    fn gradients(&mut self, source: &dyn BatchSource) -> Result<Gradients, DiffusionError> {
        let model = self.model();
        let parts = self.config.gradient_accumulation_steps;
        let (rank, ranks) = self.exchange.as_ref().map_or((0, 1), |e| (e.rank(), e.ranks()));
        // Ranks draw dropout of their own.
        let streams = if rank == 0 { self.streams } else { self.streams.child("rank", rank as u64) };
        let batch = source.batch(self.step, self.config.batch_size * parts)?;
        let batch = self.task.draw(model, batch, self.step, &self.streams)?;
        let images = T::images(&batch);
        let mut sum: Option<(Vec<Option<Tensor<1>>>, Tensor<1>)> = None;
        for part in 0..parts {
            // Sources give as many images as are asked for; one that gives fewer is divided as evenly as can be.
            let slice = part_of(part_of(0..images, part, parts), rank, ranks);
            if slice.is_empty() {
                continue;
            }
            let share = slice.len() as f32 / images as f32;
            let number = self.step * parts as u64 + part as u64;
            let precision = self.config.mixed_precision;
            let loss = with_gradient_checkpointing(self.config.gradient_checkpointing, || {
                with_precision(precision, || self.task.loss(model, &batch, slice, &streams, number))
            })?;
            let factor = self.config.objective.sign() * share * self.loss_scale();
            let mut gradients = loss.clone().mul_scalar(factor).backward();
            let gradients = take_flat_gradients(model, &mut gradients);
            let loss = loss.without_autodiff().mul_scalar(share);
            sum = Some(match sum {
                None => (gradients, loss),
                Some((earlier, earlier_loss)) => (add(earlier, gradients), earlier_loss + loss),
            });
        }
        // validate() refuses zero slices, and a batch has an image at least.
        let (values, loss) = sum.ok_or_else(|| {
            DiffusionError::setting("training.batch_size", "leaves a rank without an image; use fewer ranks")
        })?;
        let mut gradients = Gradients { values, loss, images, stop: false };
        if let Some(exchange) = &mut self.exchange {
            sum_over_ranks(exchange.as_mut(), &mut gradients, self.wants_to_stop)?;
        }
        Ok(gradients)
    }

    /// Moves the parameters, and the average after them.
    fn update(&mut self, gradients: Vec<Option<Tensor<1>>>, scale: f32) -> Result<(), DiffusionError> {
        self.optimizer.check_count(gradients.len())?;
        // Taken rather than cloned, so that the optimiser holds the only handle and can work in place.
        if let Some(model) = self.model.take() {
            self.model = Some(self.optimizer.step_with_average(model, gradients, scale, &mut self.ema)?);
        }
        Ok(())
    }
}

/// Run `part` of `parts` nearly equal runs of `range`.
fn part_of(range: Range<usize>, part: usize, parts: usize) -> Range<usize> {
    let at = |part: usize| range.start + range.len() * part / parts;
    at(part)..at(part + 1)
}

/// Adds loss, gradients and votes to stop over the ranks.
fn sum_over_ranks(
    exchange: &mut dyn GradientExchange,
    gradients: &mut Gradients,
    wants_to_stop: bool,
) -> Result<(), DiffusionError> {
    let device = gradients.loss.device();
    let mut row = vec![f32::from(u8::from(wants_to_stop))];
    row.extend(to_vec(gradients.loss.clone())?);
    for values in gradients.values.iter().flatten() {
        row.extend(to_vec(values.clone())?);
    }
    exchange.sum(&mut row)?;
    gradients.stop = row[0] > 0.0;
    gradients.loss = from_slice(&row[1..2], &device);
    let mut at = 2;
    for values in gradients.values.iter_mut().flatten() {
        let count = values.dims()[0];
        *values = from_slice(&row[at..at + count], &device);
        at += count;
    }
    Ok(())
}

/// Adds gradients parameter by parameter.
fn add(left: Vec<Option<Tensor<1>>>, right: Vec<Option<Tensor<1>>>) -> Vec<Option<Tensor<1>>> {
    left.into_iter()
        .zip(right)
        .map(|pair| match pair {
            (Some(left), Some(right)) => Some(left + right),
            (left, right) => left.or(right),
        })
        .collect()
}

/// Reads the loss and the common norm of the gradients off the device. The squares are added in 64 bits on the host.
fn read_loss_and_norm(
    loss: Tensor<1>,
    gradients: &[Option<Tensor<1>>],
) -> Result<(f32, f32), DiffusionError> {
    let gradients = gradients.iter().flatten().cloned();
    if loss.device() == Device::flex() {
        let squares: f64 = gradients.map(kernels::squared_norm).sum();
        return Ok((to_vec(loss)?[0], squares.sqrt() as f32));
    }
    // One transfer for all, where each would wait for the device.
    let scalars: Vec<Tensor<1>> = std::iter::once(loss).chain(gradients.map(squared_norm)).collect();
    let values = to_vec(Tensor::cat(scalars, 0))?;
    let squares: f64 = values[1..].iter().map(|&square| f64::from(square)).sum();
    Ok((values[0], squares.sqrt() as f32))
}

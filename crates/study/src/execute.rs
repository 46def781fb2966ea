//! From a run to its record: make the model, sample, measure.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use diffusion_core::samplers::SampledImages;
use diffusion_core::training::{Outcome, StepReport, Trainer, TrainingTask};
use diffusion_core::{DiffusionError, Module, UNet2DModel};
use ledger::{Record, RunKey, Value};
use removal::Coalition;
use unlearn::Method;

use crate::context::Context;
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::models::full_model;
use crate::progress::{Progress, Task, Unit};
use crate::runs::{Recipe, Run};
use crate::samples::write_sheet;
use crate::stages::load_model;
use crate::unlearning::{Goal, Saves, Wanted, coalition_model};

/// Longest time of training that a sudden end costs, where checkpoints are written against loss.
const AT_RISK: Duration = Duration::from_secs(600);

/// A training that took longer is saved before the model is sampled from.
const WORTH_SAVING: Duration = Duration::from_secs(60);

/// Steps `trainer` to the goal, showing progress; saves to the goal's folder as it says, and when stopped.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop; those of the training loop and of saving.
pub(crate) fn train_to<M: Module, T: TrainingTask<M>>(
    trainer: &mut Trainer<M, T>,
    batches: &data::Batches,
    goal: &Goal<'_>,
    progress: &dyn Progress,
) -> Result<(), StudyError> {
    let Goal { steps, metrics, folder, saves, .. } = *goal;
    let saved = Cell::new(Instant::now());
    let pausing = Cell::new(false);
    let mut bar = progress.begin(Task { label: goal.label.to_owned(), total: goal.last, unit: Unit::Steps });
    let mut smooth: Option<f32> = None;
    let mut watch = |report: &StepReport| {
        if let Some(metrics) = metrics {
            metrics.on_step(report);
        }
        let loss = smooth.map_or(report.loss, |s| 0.98 * s + 0.02 * report.loss);
        smooth = Some(loss);
        bar.advance(report.step, &format!("loss {loss:.4}  {:.0} images/s", report.images_per_second));
        let stop = progress.stop_requested();
        let due = saves == Saves::AgainstLoss && folder.is_some() && saved.get().elapsed() > AT_RISK;
        pausing.set(due && !stop);
        if due || stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    loop {
        let target = match (folder, saves) {
            (Some(_), Saves::Steps(every)) => steps.min((trainer.step() / every + 1) * every),
            _ => steps,
        };
        let outcome = trainer.step_to(batches, target, &mut watch)?;
        let stopped = matches!(outcome, Outcome::Stopped { .. }) && !pausing.get();
        let finished = trainer.step() >= steps;
        let due = match saves {
            Saves::Steps(_) => true,
            Saves::AgainstLoss => !finished || saved.get().elapsed() > WORTH_SAVING,
        };
        if let Some(folder) = folder.filter(|_| due) {
            trainer.save(folder)?;
            saved.set(Instant::now());
        }
        if let Some(metrics) = metrics {
            metrics.check()?;
        }
        if stopped {
            return Err(StudyError::Stopped);
        }
        if finished {
            return Ok(());
        }
    }
}

/// Makes the model of a run (averaged weights) by `method`, with the seconds its training took. A training that was stopped, or takes
/// long, has its checkpoint in the folder `unfinished`.
fn make_model(
    context: &Context,
    run: &Run,
    method: Method,
    parent: Option<&UNet2DModel>,
    unfinished: &Path,
    label: &str,
    progress: &dyn Progress,
) -> Result<(UNet2DModel, f64), StudyError> {
    let wanted = Wanted {
        method,
        coalition: &run.coalition,
        repetition: run.repetition(),
        parent,
        label,
        folder: Some(unfinished),
        saves: Saves::AgainstLoss,
    };
    match coalition_model(context, &wanted, progress) {
        Err(StudyError::Diffusion(
            error @ (DiffusionError::BadCheckpoint { .. } | DiffusionError::CheckpointMismatch { .. }),
        )) => {
            progress.note(&format!("{error}\nthis run begins anew"));
            std::fs::remove_dir_all(unfinished).map_err(StudyError::io("remove", unfinished))?;
            coalition_model(context, &wanted, progress)
        }
        other => other,
    }
}

/// Executes a run and gives its record; writes its sheet of samples.
///
/// # Errors
/// [`StudyError::Stopped`], and whatever training, sampling, measuring and writing can fail with.
pub fn execute(
    context: &Context,
    dir: &StudyDir,
    run: &Run,
    parent: Option<&UNet2DModel>,
    label: &str,
    progress: &dyn Progress,
) -> Result<Record, StudyError> {
    let key = run.key(&context.run_settings())?;
    if let (Recipe::Unlearn { .. }, Method::Conditional) = (&run.recipe, context.config.unlearn.method) {
        // What is measured without pictures.
        let model = context.proxy()?.at_mean(&run.coalition)?;
        let full = || trained_full_model(context, dir);
        let repetition = run.repetition();
        let measure = |samples: &SampledImages| context.measure(&model, samples, repetition, &full, progress);
        let (record, samples) = proxy_record(context, key, &run.coalition, label, progress, &measure)?;
        write_sheet(&dir.samples(&record.id()), &samples)?;
        return Ok(record);
    }
    let unfinished = dir.unfinished(&key.id()?);
    let make = |method| make_model(context, run, method, parent, &unfinished, label, progress);
    let (model, train_seconds) = match run.recipe {
        Recipe::Null => (context.fresh_model(0)?, 0.0),
        Recipe::Loaded { .. } => {
            let full = full_model(context, dir, progress)?;
            (full.model, full.seconds)
        }
        Recipe::Retrain { .. } => make(Method::Retrain)?,
        Recipe::Unlearn { .. } => make(context.config.unlearn.method)?,
    };
    measure_model(context, dir, key, &model, run.repetition(), train_seconds, label, progress)
}

/// The full model that the study has trained, for local behaviours.
fn trained_full_model(context: &Context, dir: &StudyDir) -> Result<UNet2DModel, StudyError> {
    load_model(context, &dir.model(&context.full_run().id(&context.run_settings())?))
}

/// Samples from a finished model, measures, and gives the record under `key`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn measure_model(
    context: &Context,
    dir: &StudyDir,
    key: RunKey,
    model: &UNet2DModel,
    repetition: u64,
    train_seconds: f64,
    label: &str,
    progress: &dyn Progress,
) -> Result<Record, StudyError> {
    let full = || trained_full_model(context, dir);
    let measure = |samples: &SampledImages| context.measure(model, samples, repetition, &full, progress);
    let (record, samples) =
        measured_record(context, key, model, repetition, train_seconds, label, progress, &measure)?;
    write_sheet(&dir.samples(&record.id()), &samples)?;
    Ok(record)
}

/// What was measured, by name.
type Behaviors = BTreeMap<String, Value>;

/// As [`measure_model`], without a file and by any measure of the samples; gives the samples too.
#[allow(clippy::too_many_arguments)]
pub(crate) fn measured_record(
    context: &Context,
    key: RunKey,
    model: &UNet2DModel,
    repetition: u64,
    train_seconds: f64,
    label: &str,
    progress: &dyn Progress,
    measure: &dyn Fn(&SampledImages) -> Result<Behaviors, StudyError>,
) -> Result<(Record, SampledImages), StudyError> {
    let sample = || context.sample(model, repetition, label, progress);
    record_of(context, key, train_seconds, &sample, measure)
}

/// As [`measured_record`], of a coalition's pictures by the network that all coalitions share. No time of training is its own.
pub(crate) fn proxy_record(
    context: &Context,
    key: RunKey,
    coalition: &Coalition,
    label: &str,
    progress: &dyn Progress,
    measure: &dyn Fn(&SampledImages) -> Result<Behaviors, StudyError>,
) -> Result<(Record, SampledImages), StudyError> {
    let sample = || context.proxy()?.sample(context, coalition, label, progress);
    record_of(context, key, 0.0, &sample, measure)
}

/// The record of a run whose pictures `sample` makes, and the pictures.
fn record_of(
    context: &Context,
    key: RunKey,
    train_seconds: f64,
    sample: &dyn Fn() -> Result<SampledImages, StudyError>,
    measure: &dyn Fn(&SampledImages) -> Result<Behaviors, StudyError>,
) -> Result<(Record, SampledImages), StudyError> {
    let start = Instant::now();
    let samples = sample()?;
    let sampled = start.elapsed().as_secs_f64();
    let behaviors = measure(&samples)?;
    let measured = start.elapsed().as_secs_f64() - sampled;

    let mut record = Record::new(key)?;
    record.behaviors = behaviors;
    record.device.clone_from(&context.device_name);
    record.program = format!("tribute {}", env!("CARGO_PKG_VERSION"));
    let spent = [("train", train_seconds), ("sample", sampled), ("measure", measured)];
    let record =
        spent.into_iter().fold(record, |record, (stage, elapsed)| record.seconds(stage, computing(elapsed)));
    Ok((record, samples))
}

/// Seconds of computing: those that passed, times the threads that the calling pool has for the work. So runs that share the
/// cores with others compare with the full model, which has them all.
pub(crate) fn computing(elapsed: f64) -> f64 {
    elapsed * rayon::current_num_threads() as f64
}

#[cfg(test)]
mod tests {
    use super::computing;

    #[test]
    fn computing_counts_the_threads_of_the_worker() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| computing(0.5)), 0.5 * threads as f64);
        }
    }
}

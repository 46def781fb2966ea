//! From a run to its record: make the model, sample, measure.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use diffusion_core::samplers::SampledImages;
use diffusion_core::training::{Outcome, StepReport, Trainer};
use diffusion_core::{Denoiser, UNet2DModel};
use ledger::{Record, RunKey, Value};
use unlearn::Method;

use crate::context::Context;
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::progress::{Progress, Task, Unit};
use crate::runs::{Recipe, Run};
use crate::samples::write_sheet;
use crate::unlearning::{Goal, Wanted, coalition_model};

/// Steps `trainer` to `steps`, showing progress; saves to `checkpoint` at a cadence, at the end and when stopped.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop; those of the training loop and of saving.
pub(crate) fn train_to<M: Denoiser>(
    trainer: &mut Trainer<M>,
    batches: &data::Batches,
    goal: &Goal<'_>,
    checkpoint: Option<(&Path, u64)>,
    progress: &dyn Progress,
) -> Result<(), StudyError> {
    let Goal { steps, metrics, .. } = *goal;
    let mut bar = progress.begin(Task { label: goal.label.to_owned(), total: goal.last, unit: Unit::Steps });
    let mut smooth: Option<f32> = None;
    let mut watch = |report: &StepReport| {
        if let Some(metrics) = metrics {
            metrics.on_step(report);
        }
        let loss = smooth.map_or(report.loss, |s| 0.98 * s + 0.02 * report.loss);
        smooth = Some(loss);
        bar.advance(report.step, &format!("loss {loss:.4}  {:.0} images/s", report.images_per_second));
        if progress.stop_requested() {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        }
    };
    loop {
        let target = checkpoint.map_or(steps, |(_, every)| steps.min((trainer.step() / every + 1) * every));
        let outcome = trainer.step_to(batches, target, &mut watch)?;
        if let Some((dir, _)) = checkpoint {
            trainer.save(dir)?;
        }
        if let Some(metrics) = metrics {
            metrics.check()?;
        }
        match outcome {
            Outcome::Stopped { .. } => return Err(StudyError::Stopped),
            Outcome::Finished if trainer.step() >= steps => return Ok(()),
            Outcome::Finished => {}
        }
    }
}

/// Makes the model of a run (averaged weights), with the seconds its training took.
fn make_model(
    context: &Context,
    run: &Run,
    parent: Option<&UNet2DModel>,
    label: &str,
    progress: &dyn Progress,
) -> Result<(UNet2DModel, f64), StudyError> {
    let method = match run.recipe {
        Recipe::Null => return Ok((context.fresh_model(0)?, 0.0)),
        Recipe::Retrain { .. } => Method::Retrain,
        Recipe::Unlearn { .. } => context.config.unlearn.method,
    };
    let wanted = Wanted { method, coalition: &run.coalition, repetition: run.repetition(), parent, label };
    coalition_model(context, &wanted, None, progress)
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
    let (model, train_seconds) = make_model(context, run, parent, label, progress)?;
    let key = run.key(&context.run_settings())?;
    measure_model(context, dir, key, &model, run.repetition(), train_seconds, label, progress)
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
    let measure = |samples: &SampledImages| context.measure(model, samples);
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
    let start = Instant::now();
    let samples = context.sample(model, repetition, label, progress)?;
    let sampled = start.elapsed().as_secs_f64();
    let behaviors = measure(&samples)?;
    let measured = start.elapsed().as_secs_f64() - sampled;

    let mut record = Record::new(key)?;
    record.behaviors = behaviors;
    record.device.clone_from(&context.device_name);
    record.program = format!("tribute {}", env!("CARGO_PKG_VERSION"));
    let record =
        record.seconds("train", train_seconds).seconds("sample", sampled).seconds("measure", measured);
    Ok((record, samples))
}

//! Doing one slice of a stage.

use std::time::Duration;

use ledger::{Claim, ClaimOutcome, Ledger, RunId};

use super::Stage;
use super::list::{check_method, prunes, runs};
use crate::begun::join;
use crate::context::Context;
use crate::driver::{Workers, execute_all};
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::models::{TrainedModel, full_model, pruned_model};
use crate::progress::Progress;
use crate::records::Records;
use crate::runs::{Run, pruned_key};
use crate::study::record_full_model;

/// Which part of a stage's tasks: tasks `index`, `index + of`, `index + 2 of`...
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The slice, from 0.
    pub index: usize,
    /// Number of slices.
    pub of: usize,
}

impl Slice {
    /// A slice of `of`.
    ///
    /// # Errors
    /// [`StudyError::BadSlice`] unless `index` is below `of`.
    pub fn new(index: usize, of: usize) -> Result<Self, StudyError> {
        if index < of { Ok(Self { index, of }) } else { Err(StudyError::BadSlice { index, of }) }
    }

    /// Its tasks out of `tasks`.
    fn of<T: Clone>(self, tasks: &[T]) -> Vec<T> {
        tasks.iter().skip(self.index).step_by(self.of).cloned().collect()
    }
}

/// Does one slice of a stage; what has a record is not done again. Returns the number of tasks in the slice.
///
/// An interrupted training continues from its newest checkpoint when its slice is asked for again, on whatever machine.
///
/// # Errors
/// [`StudyError::StageNotReady`] if a stage that this one needs is not finished; [`StudyError::Stopped`] if the user or the
/// system asked to stop; whatever the runs can fail with.
pub fn work(
    context: &Context,
    dir: &StudyDir,
    stage: Stage,
    slice: Slice,
    workers: Workers,
    progress: &dyn Progress,
) -> Result<usize, StudyError> {
    check_method(&context.config)?;
    let ledger = join(context, dir)?;
    match stage {
        Stage::Train | Stage::Prune if slice.index > 0 => Ok(0),
        Stage::Train => train(context, dir, &ledger, progress).map(|()| 1),
        Stage::Prune if !prunes(&context.config) => Ok(0),
        Stage::Prune => prune(context, dir, &ledger, progress).map(|()| 1),
        Stage::Coalitions => {
            let parent = finished_parent(context, dir, &ledger, progress)?;
            let mine = slice.of(&runs(context, stage, &parent.hash)?);
            shared(context, dir, &ledger, &mine, Some(&parent), stage, workers, progress)
        }
        Stage::Retrain => {
            let mine = slice.of(&runs(context, stage, "")?);
            shared(context, dir, &ledger, &mine, None, stage, workers, progress)
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn shared(
    context: &Context,
    dir: &StudyDir,
    ledger: &Ledger,
    runs: &[Run],
    parent: Option<&TrainedModel>,
    stage: Stage,
    workers: Workers,
    progress: &dyn Progress,
) -> Result<usize, StudyError> {
    let records = Records::new(ledger.clone(), context.config.evaluation.truth.as_deref())?;
    let settings = context.run_settings();
    let mut own = Vec::new();
    for run in runs {
        if !records.is_shipped(run.id(&settings)?) {
            own.push(run.clone());
        }
    }
    let model = parent.map(|parent| &parent.model);
    execute_all(context, dir, ledger, &own, model, stage.name(), workers, progress)?;
    Ok(runs.len())
}

fn train(
    context: &Context,
    dir: &StudyDir,
    ledger: &Ledger,
    progress: &dyn Progress,
) -> Result<(), StudyError> {
    let run = context.full_run();
    let id = run.id(&context.run_settings())?;
    let Some(_claim) = claim(ledger, id, progress)? else { return Ok(()) };
    let full = full_model(context, dir, progress)?;
    let records = Records::new(ledger.clone(), None)?;
    record_full_model(context, dir, &records, &run, &full, progress)
}

fn prune(
    context: &Context,
    dir: &StudyDir,
    ledger: &Ledger,
    progress: &dyn Progress,
) -> Result<(), StudyError> {
    let full = finished_full(context, dir, ledger, progress)?;
    let key = pruned_key(&full.hash, &context.run_settings(), context.contributors())?;
    // It never has a record, so the claim is always had in the end.
    let _claim = claim(ledger, key.id()?, progress)?;
    pruned_model(context, dir, &full, progress).map(|_| ())
}

/// The full model, if its training is finished.
fn finished_full(
    context: &Context,
    dir: &StudyDir,
    ledger: &Ledger,
    progress: &dyn Progress,
) -> Result<TrainedModel, StudyError> {
    // Its record is written last.
    if !ledger.contains(context.full_run().id(&context.run_settings())?) {
        return Err(StudyError::StageNotReady { stage: Stage::Train });
    }
    full_model(context, dir, progress)
}

/// What the study's method starts from, if it is finished.
fn finished_parent(
    context: &Context,
    dir: &StudyDir,
    ledger: &Ledger,
    progress: &dyn Progress,
) -> Result<TrainedModel, StudyError> {
    let full = finished_full(context, dir, ledger, progress)?;
    if !prunes(&context.config) {
        return Ok(full);
    }
    let key = pruned_key(&full.hash, &context.run_settings(), context.contributors())?;
    if !crate::models::is_finished(&dir.model(&key.id()?), context.config.fine_tune.steps) {
        return Err(StudyError::StageNotReady { stage: Stage::Prune });
    }
    pruned_model(context, dir, &full, progress)
}

/// The claim of a run, after whoever holds it has finished or died; `None` if the run has a record.
fn claim(ledger: &Ledger, id: RunId, progress: &dyn Progress) -> Result<Option<Claim>, StudyError> {
    loop {
        match ledger.claim(id)? {
            ClaimOutcome::Claimed(claim) => return Ok(Some(claim)),
            ClaimOutcome::Done => return Ok(None),
            ClaimOutcome::Busy(_) if progress.stop_requested() => return Err(StudyError::Stopped),
            ClaimOutcome::Busy(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_out_every_task_once() {
        let tasks: Vec<usize> = (0..10).collect();
        let mut all: Vec<usize> = (0..4).flat_map(|index| Slice::new(index, 4).unwrap().of(&tasks)).collect();
        all.sort_unstable();
        assert_eq!(all, tasks);
        assert_eq!(Slice::new(9, 12).unwrap().of(&tasks), [9]);
        assert!(Slice::new(11, 12).unwrap().of(&tasks).is_empty());
        let error = Slice::new(4, 4).unwrap_err().to_string();
        assert!(error.contains("0 to 3"), "{error}");
    }
}

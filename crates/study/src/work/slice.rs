//! Doing one slice of a stage.

use std::time::Duration;

use ledger::{Claim, ClaimOutcome, Ledger, RunId};

use super::Stage;
use super::list::runs;
use crate::begun::join;
use crate::context::Context;
use crate::driver::{Workers, execute_all};
use crate::enough::Watch;
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::models::{TrainedModel, full_model, is_finished, pruned_model};
use crate::plan::CoalitionPlan;
use crate::progress::Progress;
use crate::proxy::{Proxy, ProxySettings};
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
/// Where the study draws until its scores are sure enough, the rule is asked before each coalition, on the records of all
/// machines, and once it holds no coalition is made any more.
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
    let ledger = join(context, dir)?;
    let records = || Records::new(ledger.clone(), context.config.evaluation.truth.as_deref());
    match stage {
        Stage::Train | Stage::Prune | Stage::Condition if slice.index > 0 => Ok(0),
        _ if !stage.is_in(&context.config) => Ok(0),
        Stage::Train => train(context, dir, &ledger, progress).map(|()| 1),
        Stage::Prune => prune(context, dir, &ledger, progress).map(|()| 1),
        Stage::Condition => condition(context, dir, &ledger, progress).map(|()| 1),
        Stage::Coalitions => {
            let (parent, records) = (finished_parent(context, dir, &ledger, progress)?, records()?);
            let plan = CoalitionPlan::draw(context)?;
            let mine = slice.of(&plan.score_runs(context.contributors(), &parent.hash));
            let watch = Watch::new(context, dir, &records, &plan, &parent.hash)?;
            let met = || watch.as_ref().map_or(Ok(false), |watch| watch.is_met(progress));
            if !met()? {
                finished_condition(context, dir, &parent, progress)?;
                let shared = Shared { context, dir, records: &records, stage, workers };
                shared.execute(&mine, Some(&parent), watch.as_ref(), progress)?;
                // The last record of a look may be this slice's last one.
                met()?;
            }
            Ok(mine.len())
        }
        Stage::Retrain => {
            let mine = slice.of(&runs(context, stage, "")?);
            let shared = Shared { context, dir, records: &records()?, stage, workers };
            shared.execute(&mine, None, None, progress)?;
            Ok(mine.len())
        }
    }
}

/// Runs of a stage that many machines do.
struct Shared<'a> {
    context: &'a Context,
    dir: &'a StudyDir,
    records: &'a Records,
    stage: Stage,
    workers: Workers,
}

impl Shared<'_> {
    /// Executes those that have no record, until there is enough.
    fn execute(
        &self,
        runs: &[Run],
        parent: Option<&TrainedModel>,
        enough: Option<&Watch<'_>>,
        progress: &dyn Progress,
    ) -> Result<(), StudyError> {
        let settings = self.context.run_settings();
        let mut own = Vec::new();
        for run in runs {
            if !self.records.is_shipped(run.id(&settings)?) {
                own.push(run.clone());
            }
        }
        execute_all(
            self.context,
            self.dir,
            self.records.ledger(),
            &own,
            parent.map(|parent| &parent.model),
            self.stage.name(),
            self.workers,
            enough,
            progress,
        )
    }
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

fn condition(
    context: &Context,
    dir: &StudyDir,
    ledger: &Ledger,
    progress: &dyn Progress,
) -> Result<(), StudyError> {
    let parent = finished_parent(context, dir, ledger, progress)?;
    // It never has a record, so the claim is always had in the end.
    let _claim = claim(ledger, Proxy::id(context, &parent.hash)?, progress)?;
    context.prepare_proxy(dir, &parent, progress).map(|_| ())
}

/// Loads the network that stands for the models of coalitions, where the study has one.
fn finished_condition(
    context: &Context,
    dir: &StudyDir,
    parent: &TrainedModel,
    progress: &dyn Progress,
) -> Result<(), StudyError> {
    if !Stage::Condition.is_in(&context.config) {
        return Ok(());
    }
    let steps = ProxySettings::of(&context.config).steps();
    if !is_finished(&Proxy::folder(context, dir, &parent.hash)?, steps) {
        return Err(StudyError::StageNotReady { stage: Stage::Condition });
    }
    context.prepare_proxy(dir, parent, progress).map(|_| ())
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
    if !Stage::Prune.is_in(&context.config) {
        return Ok(full);
    }
    let key = pruned_key(&full.hash, &context.run_settings(), context.contributors())?;
    if !is_finished(&dir.model(&key.id()?), context.config.fine_tune.steps) {
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

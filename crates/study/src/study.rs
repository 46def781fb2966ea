//! A whole study: from images to a report.

use std::path::Path;

use diffusion_core::write_atomically;
use report::{render_html, render_json};
use unlearn::ParentModel;

use crate::baseline_scores::mean_feature_similarity;
use crate::begun::{Begun, begin};
use crate::context::Context;
use crate::driver::Workers;
use crate::enough::{Stopped, draw_enough};
use crate::error::StudyError;
use crate::execute::measure_model;
use crate::layout::StudyDir;
use crate::models::{TrainedModel, full_model, pruned_model};
use crate::parts::PartDriver;
use crate::plan::CoalitionPlan;
use crate::progress::Progress;
use crate::records::{Records, reproduced};
use crate::reporting::{Findings, Summary, report_data};
use crate::runs::{Run, parent_of};
use crate::samples::read_sheet;
use crate::scores::{Evaluated, Utilities};

/// Where the retrained models that judge the scores come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truth {
    /// Records that come with the study, where it names some; what they lack is retrained.
    #[default]
    Shipped,
    /// Everything is retrained.
    Recompute,
}

/// How a study is run; nothing here changes a record.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// How the work is shared out.
    pub workers: Workers,
    /// Where the truth comes from.
    pub truth: Truth,
}

/// The models of a study.
pub(crate) struct StudyModels {
    /// Trained on everybody's images.
    pub full: TrainedModel,
    /// Pruned and fine-tuned, where the method starts from it.
    pub pruned: Option<TrainedModel>,
    /// Seconds that teaching the parent its contributors took, where the method needs that.
    pub proxy_seconds: f64,
}

impl StudyModels {
    /// What the study's method starts from.
    pub fn parent(&self) -> &TrainedModel {
        self.pruned.as_ref().unwrap_or(&self.full)
    }
}

/// Runs a study, or what is left of it, and writes its report.
///
/// Finished runs are never recomputed. Interrupted at any moment, the next call continues: at most the runs being
/// executed are lost, and training continues from its newest checkpoint.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop; whatever the stages can fail with.
pub fn run_study(
    context: &Context,
    dir: &StudyDir,
    options: RunOptions,
    progress: &dyn Progress,
) -> Result<Summary, StudyError> {
    let study = RunningStudy::begin(context, dir, options, progress)?;
    let made = study.make()?;
    study.report(&made)
}

/// A study whose folder is this process's.
pub(crate) struct RunningStudy<'a> {
    context: &'a Context,
    dir: &'a StudyDir,
    options: RunOptions,
    progress: &'a dyn Progress,
    plan: CoalitionPlan,
    pub records: Records,
    _begun: Begun,
}

/// What a study has made.
pub(crate) struct MadeStudy {
    pub models: StudyModels,
    /// The draws that were made, which may be fewer than planned.
    pub plan: CoalitionPlan,
    stopped: Option<Stopped>,
    evaluated: Vec<Evaluated>,
    removals: Vec<attribution_lds::CounterfactualRemoval>,
    /// Runs for the scores, of the test, of the baseline, and without some contributors.
    stages: [Vec<Run>; 4],
}

impl<'a> RunningStudy<'a> {
    /// Takes the study's folder.
    ///
    /// # Errors
    /// What the settings do not allow, before anything is written; a folder that cannot be taken.
    pub fn begin(
        context: &'a Context,
        dir: &'a StudyDir,
        options: RunOptions,
        progress: &'a dyn Progress,
    ) -> Result<Self, StudyError> {
        let config = &context.config;
        context.can_train([
            &config.train.optimization,
            config.fine_tune_optimization(),
            config.unlearn_optimization(),
        ])?;
        let plan = CoalitionPlan::draw(context)?;
        let begun = begin(context, dir)?;
        if !begun.lock.is_exclusive() {
            progress.note(&format!(
                "the file system of {} has no locks: do not drive this study twice at a time",
                dir.root().display()
            ));
        }
        let truth = context.config.evaluation.truth.as_deref().filter(|_| options.truth == Truth::Shipped);
        let records = Records::new(begun.ledger.clone(), truth)?;
        Ok(Self { context, dir, options, progress, plan, records, _begun: begun })
    }

    /// Makes all models and records, and scores and judges.
    ///
    /// # Errors
    /// As [`run_study`].
    pub fn make(&self) -> Result<MadeStudy, StudyError> {
        let Self { context, dir, progress, records, .. } = self;
        let n = context.contributors();
        let full = full_model(context, dir, *progress)?;
        let full_run = context.full_run();
        record_full_model(context, dir, records, &full_run, &full, *progress)?;
        let pruned = match parent_of(&context.config) {
            Some(ParentModel::Pruned) => Some(pruned_model(context, dir, &full, *progress)?),
            _ => None,
        };
        let mut models = StudyModels { full, pruned, proxy_seconds: 0.0 };
        models.proxy_seconds = context.prepare_proxy(dir, models.parent(), *progress)?;
        let parent = models.parent().hash.clone();

        let mut driver = PartDriver {
            context,
            dir,
            records,
            parent: Some(&models.parent().model),
            workers: self.options.workers,
            progress: *progress,
            parts: Vec::new(),
        };
        let (plan, stopped) =
            draw_enough(&mut driver, context, dir, records, &self.plan, &parent, *progress)?;
        let score_runs = plan.score_runs(n, &parent);
        let mut test_runs = plan.test_runs(context.config.evaluation.test_seeds);
        test_runs.extend(context.everybody_retrained());
        let baseline_runs = plan.baseline_runs();
        driver.run("retrained test coalitions", &test_runs)?;
        driver.run("retraining baseline", &baseline_runs)?;

        let evaluated = {
            let utilities = Utilities::new(context, records, &plan, &parent);
            let sheet = dir.samples(&full_run.id(&context.run_settings())?);
            let samples = read_sheet(&sheet, context.config.sample.count, context.config.data.resolution)?;
            let similarity = mean_feature_similarity(context, &samples)?;
            let behaviors = context.config.behaviors.iter();
            behaviors
                .map(|&behavior| utilities.evaluate(behavior, &similarity))
                .collect::<Result<Vec<Evaluated>, _>>()?
        };
        let removals = counterfactual_removals(context, &evaluated)?;
        let removal_runs: Vec<Run> =
            removals.iter().map(|removal| Run::retrained(removal.remaining.clone(), 0)).collect();
        driver.run("retrained without some", &removal_runs)?;
        let stages = [score_runs, test_runs, baseline_runs, removal_runs];
        Ok(MadeStudy { models, plan, stopped, evaluated, removals, stages })
    }

    /// Writes the report.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn report(&self, made: &MadeStudy) -> Result<Summary, StudyError> {
        let Self { context, dir, records, .. } = self;
        let parent = made.models.parent().hash.clone();
        let utilities = Utilities::new(context, records, &made.plan, &parent);
        let findings = Findings {
            context,
            dir,
            records,
            plan: &made.plan,
            stopped: made.stopped.as_ref(),
            models: &made.models,
            utilities: &utilities,
            evaluated: &made.evaluated,
            removals: &made.removals,
            stages: made.stages.each_ref().map(Vec::as_slice),
        };
        let data = report_data(&findings)?;
        write(&dir.report_html(), &render_html(&data)?)?;
        write(&dir.report_json(), &render_json(&data)?)?;
        let mut summary = Summary::of(&data, context.config.coalitions.estimator());
        if let (Truth::Recompute, Some(path)) =
            (self.options.truth, context.config.evaluation.truth.as_deref())
            && path.is_file()
        {
            let (common, same) = reproduced(records.ledger(), path)?;
            summary.verdicts.push(format!(
                "Of {common} records that come with the study, {same} were reproduced exactly."
            ));
        }
        Ok(summary)
    }
}

fn write(path: &Path, text: &str) -> Result<(), StudyError> {
    Ok(write_atomically(path, text.as_bytes())?)
}

/// Measures the full model once.
pub(crate) fn record_full_model(
    context: &Context,
    dir: &StudyDir,
    records: &Records,
    run: &Run,
    full: &TrainedModel,
    progress: &dyn Progress,
) -> Result<(), StudyError> {
    let key = run.key(&context.run_settings())?;
    let id = key.id()?;
    if records.ledger().contains(id) && dir.samples(&id).is_file() {
        return Ok(());
    }
    let record = measure_model(context, dir, key, &full.model, 0, full.seconds, "full model", progress)?;
    Ok(records.ledger().put(&record)?)
}

/// Who to remove, by the primary behaviour's scores.
fn counterfactual_removals(
    context: &Context,
    evaluated: &[Evaluated],
) -> Result<Vec<attribution_lds::CounterfactualRemoval>, StudyError> {
    let fractions = &context.config.evaluation.counterfactual;
    match evaluated.first() {
        Some(primary) if !fractions.is_empty() => {
            Ok(attribution_lds::counterfactual_removals(&primary.goodness(), fractions)?)
        }
        _ => Ok(Vec::new()),
    }
}

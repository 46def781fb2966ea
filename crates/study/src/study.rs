//! A whole study: from images to a report.

use std::path::Path;

use diffusion_core::write_atomically;
use removal::Coalition;
use report::{render_html, render_json};
use unlearn::ParentModel;

use crate::baseline_scores::mean_feature_similarity;
use crate::begun::begin;
use crate::context::Context;
use crate::driver::Workers;
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
    // What the settings do not allow is refused before anything is written.
    let plan = CoalitionPlan::draw(context)?;
    let begun = begin(context, dir)?;
    let truth = context.config.evaluation.truth.as_deref().filter(|_| options.truth == Truth::Shipped);
    let records = Records::new(begun.ledger.clone(), truth)?;
    let n = context.contributors();

    let full = full_model(context, dir, progress)?;
    let full_run = Run::retrained(Coalition::full(n), 0);
    record_full_model(context, dir, &records, &full_run, &full, progress)?;
    let pruned = match parent_of(&context.config) {
        Some(ParentModel::Pruned) => Some(pruned_model(context, dir, &full, progress)?),
        _ => None,
    };
    let models = StudyModels { full, pruned };
    let parent = models.parent().hash.clone();

    let mut driver = PartDriver {
        context,
        dir,
        records: &records,
        parent: Some(&models.parent().model),
        workers: options.workers,
        progress,
        parts: Vec::new(),
    };
    let score_runs = plan.score_runs(n, &parent);
    let test_runs = plan.test_runs(context.config.evaluation.test_seeds);
    let baseline_runs = plan.baseline_runs();
    driver.run("coalitions", &score_runs)?;
    driver.run("retrained test coalitions", &test_runs)?;
    driver.run("retraining baseline", &baseline_runs)?;

    let utilities = Utilities::new(context, &records, &plan, &parent);
    let sheet = dir.samples(&full_run.id(&context.run_settings())?);
    let samples = read_sheet(&sheet, context.config.sample.count, context.config.data.resolution)?;
    let similarity = mean_feature_similarity(context, &samples)?;
    let evaluated = context
        .config
        .behaviors
        .iter()
        .map(|&behavior| utilities.evaluate(behavior, &similarity))
        .collect::<Result<Vec<Evaluated>, _>>()?;

    let removals = counterfactual_removals(context, &evaluated)?;
    let removal_runs: Vec<Run> = removals.iter().map(|r| Run::retrained(r.remaining.clone(), 0)).collect();
    driver.run("retrained without some", &removal_runs)?;

    let findings = Findings {
        context,
        dir,
        records: &records,
        plan: &plan,
        models: &models,
        utilities: &utilities,
        evaluated: &evaluated,
        removals: &removals,
        stages: [&score_runs, &test_runs, &baseline_runs, &removal_runs],
    };
    let data = report_data(&findings)?;
    write(&dir.report_html(), &render_html(&data)?)?;
    write(&dir.report_json(), &render_json(&data)?)?;
    let mut summary = Summary::of(&data);
    if let (Truth::Recompute, Some(path)) = (options.truth, context.config.evaluation.truth.as_deref())
        && path.is_file()
    {
        let (common, same) = reproduced(records.ledger(), path)?;
        summary
            .verdicts
            .push(format!("Of {common} records that come with the study, {same} were reproduced exactly."));
    }
    Ok(summary)
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

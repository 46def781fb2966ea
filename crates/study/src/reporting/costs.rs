//! What the study cost, from the times in its records.

use ledger::Record;
use report::{Costs, Number, StageCost, StagePurpose};

use super::Findings;
use crate::error::StudyError;
use crate::execute::computing;
use crate::runs::{Recipe, Run};

/// Seconds of all stages of the records of these runs.
pub(super) fn seconds(findings: &Findings<'_>, runs: &[Run]) -> Result<f64, StudyError> {
    Ok(records(findings, runs)?.iter().map(|record| record.times.total()).sum())
}

/// Seconds behind the study's scores: the coalitions, and what prepares them.
pub(super) fn score_seconds(findings: &Findings<'_>) -> Result<f64, StudyError> {
    let preparation = findings.models.pruned.as_ref().map_or(0.0, |pruned| pruned.seconds);
    Ok(computing(preparation + findings.models.proxy_seconds) + seconds(findings, findings.stages[0])?)
}

/// Number of runs whose record came with the study.
pub(super) fn shipped_count(findings: &Findings<'_>) -> Result<usize, StudyError> {
    let settings = findings.context.run_settings();
    let mut count = 0;
    for run in findings.stages.iter().flat_map(|runs| runs.iter()) {
        count += usize::from(findings.records.is_shipped(run.id(&settings)?));
    }
    Ok(count)
}

fn records(findings: &Findings<'_>, runs: &[Run]) -> Result<Vec<Record>, StudyError> {
    let settings = findings.context.run_settings();
    runs.iter().map(|run| findings.records.get(run.id(&settings)?)).collect()
}

pub(super) fn costs(findings: &Findings<'_>) -> Result<Costs, StudyError> {
    let [scores, test, baseline, removals] = findings.stages;
    let cheap: Vec<Run> = scores.iter().filter(|run| !matches!(run.recipe, Recipe::Null)).cloned().collect();
    let stage = |stage: &str, purpose, runs: &[Run], replaces_retraining| -> Result<StageCost, StudyError> {
        let seconds = seconds(findings, runs)?.into();
        Ok(StageCost {
            stage: stage.to_owned(),
            purpose,
            runs: runs.len() as u64,
            seconds,
            replaces_retraining,
        })
    };
    let one = |stage: &str, purpose, seconds: f64| StageCost {
        stage: stage.to_owned(),
        purpose,
        runs: 1,
        seconds: computing(seconds).into(),
        replaces_retraining: false,
    };
    let mut stages =
        vec![one("Training of the full model", StagePurpose::Model, findings.models.full.seconds)];
    if let Some(pruned) = &findings.models.pruned {
        stages.push(one("Pruning and fine-tuning", StagePurpose::Preparation, pruned.seconds));
    }
    if findings.models.proxy_seconds > 0.0 {
        let seconds = findings.models.proxy_seconds;
        stages.push(one("Teaching the model its contributors", StagePurpose::Preparation, seconds));
    }
    let name = format!("{} of coalitions, sampling and measuring", method_verb(findings));
    stages.push(stage(&name, StagePurpose::Scores, &cheap, true)?);
    stages.push(stage("Retraining of test coalitions", StagePurpose::Validation, test, false)?);
    if !baseline.is_empty() {
        stages.push(stage("Retraining for the baseline", StagePurpose::Validation, baseline, false)?);
    }
    if !removals.is_empty() {
        stages.push(stage(
            "Retraining without some contributors",
            StagePurpose::Validation,
            removals,
            false,
        )?);
    }
    let (retraining, source) = if shipped_count(findings)? > 0 && findings.context.loaded_hash().is_none() {
        // The seconds of shipped records are another machine's, or another build's.
        (
            Some(computing(findings.models.full.seconds)),
            "training of the full model here, without sampling and measuring".into(),
        )
    } else {
        let retrained: Vec<Run> = test.iter().chain(baseline).cloned().collect();
        let retrained_records = records(findings, &retrained)?;
        let total: f64 = retrained_records.iter().map(|record| record.times.total()).sum();
        let mean = (!retrained_records.is_empty()).then(|| total / retrained_records.len() as f64);
        (mean, format!("mean of {} retrainings", retrained.len()))
    };
    Ok(Costs { stages, retraining_seconds: Number::from(retraining), retraining_source: source })
}

fn method_verb(findings: &Findings<'_>) -> &'static str {
    let unlearn = &findings.context.config.unlearn;
    match (unlearn.method, unlearn.parent) {
        (unlearn::Method::Gd, unlearn::ParentModel::Pruned) => "Sparsified fine-tuning",
        (unlearn::Method::Gd, unlearn::ParentModel::Full) => "Fine-tuning",
        (unlearn::Method::Retrain, _) => "Retraining",
        // No method of a study, as its validation says.
        (unlearn::Method::PruneFineTune, _) => "Fine-tuning",
        (unlearn::Method::Ga, _) => "Gradient ascent",
        (unlearn::Method::Iu, _) => "Influence unlearning",
        (unlearn::Method::Lora, _) => "Low-rank adaptation",
        (unlearn::Method::Conditional, _) => "Conditional sampling",
    }
}

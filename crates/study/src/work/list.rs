//! The list: `work.json`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Stage;
use crate::begun::{begin, join, write_json};
use crate::config::StudyConfig;
use crate::context::Context;
use crate::enough::forget_end;
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::plan::CoalitionPlan;
use crate::runs::{Recipe, Run};

const FORMAT: &str = "tribute-work/2";

/// Stands for the parent's hash in runs that are only listed.
const UNKNOWN_PARENT: &str = "";

/// What there is to do for a study, stage by stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkList {
    format: String,
    /// Folder of the study's results, relative to the list's own folder.
    pub folder: PathBuf,
    /// Hash of the study's images, by which a machine that has others is found out.
    pub data_hash: String,
    /// SHA-256 of the study without `[slurm]`, by which a study file that was edited afterwards is found out.
    pub study_sha256: String,
    /// The stages in an order in which they can be done.
    pub stages: Vec<WorkStage>,
}

/// One stage's tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkStage {
    /// Which stage.
    pub stage: Stage,
    /// The stages that must be finished first.
    pub needs: Vec<Stage>,
    /// The tasks in words: a model's name, or a coalition, with `#` and the repetition where it is retrained.
    pub tasks: Vec<String>,
}

impl WorkList {
    /// Reads a list.
    ///
    /// # Errors
    /// [`StudyError::BadWorkList`] if it is none, with what is wrong.
    pub fn read(path: &Path) -> Result<Self, StudyError> {
        let bad = |reason: String| StudyError::BadWorkList { path: path.to_owned(), reason };
        let bytes = fs::read(path).map_err(|error| bad(error.to_string()))?;
        let list: Self = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if list.format != FORMAT {
            return Err(bad(format!("its format is {}, this version writes {FORMAT}", list.format)));
        }
        Ok(list)
    }

    /// The study's folder, for a list that was read from `path`.
    pub fn dir(&self, path: &Path) -> StudyDir {
        StudyDir::new(path.parent().unwrap_or(Path::new("")).join(&self.folder))
    }

    /// Checks that a study is the one that was planned; `path` is its file, for the message.
    ///
    /// # Errors
    /// [`StudyError::PlanOutdated`].
    pub fn check(&self, config: &StudyConfig, path: &Path) -> Result<(), StudyError> {
        if config.fingerprint()? == self.study_sha256 {
            Ok(())
        } else {
            Err(StudyError::PlanOutdated { path: path.to_owned() })
        }
    }

    /// SHA-256 of the list itself, which tells plans apart.
    ///
    /// # Errors
    /// None in practice: a list is plain data.
    pub fn sha256(&self) -> Result<String, StudyError> {
        let bytes = serde_json::to_vec(self).map_err(|source| StudyError::NotJson { source })?;
        Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A stage's tasks.
    pub fn tasks(&self, stage: Stage) -> usize {
        self.stages.iter().find(|one| one.stage == stage).map_or(0, |one| one.tasks.len())
    }
}

/// Begins the study in its folder and writes `work.json` there.
///
/// # Errors
/// As [`crate::run_study`] before its first run.
pub fn write_work_list(context: &Context, dir: &StudyDir) -> Result<(PathBuf, WorkList), StudyError> {
    let list = list_of(context)?;
    // Held until the list is written: a driver at work would write the same folder.
    let _begun = begin(context, dir)?;
    // Where the draws of another plan ended says nothing about this one's.
    forget_end(dir)?;
    let path = dir.work_list();
    write_json(&path, &list)?;
    Ok((path, list))
}

/// The study's work, without writing anything.
///
/// # Errors
/// Distributions that do not fit the number of contributors.
pub fn list_of(context: &Context) -> Result<WorkList, StudyError> {
    Ok(WorkList {
        format: FORMAT.to_owned(),
        folder: PathBuf::from("."),
        data_hash: context.data_hash.clone(),
        study_sha256: context.config.fingerprint()?,
        stages: stages(context)?,
    })
}

/// Whether the folder holds this very plan, so that it need not be begun again.
///
/// # Errors
/// As [`list_of`].
pub fn is_planned(context: &Context, dir: &StudyDir) -> Result<bool, StudyError> {
    let list = list_of(context)?;
    let same_list = WorkList::read(&dir.work_list()).is_ok_and(|found| found == list);
    let same_study = StudyConfig::read(&dir.study_file())
        .and_then(|config| config.fingerprint())
        .is_ok_and(|found| found == list.study_sha256);
    Ok(same_list && same_study && join(context, dir).is_ok())
}

fn stages(context: &Context) -> Result<Vec<WorkStage>, StudyError> {
    let has = |stage: Stage| stage.is_in(&context.config);
    let mut stages = Vec::new();
    for stage in Stage::ALL.into_iter().filter(|&stage| has(stage)) {
        let tasks = match stage {
            Stage::Train => vec!["the full model".to_owned()],
            Stage::Prune => vec!["the pruned model".to_owned()],
            Stage::Condition => vec!["the model that knows its contributors".to_owned()],
            Stage::Coalitions | Stage::Retrain => {
                runs(context, stage, UNKNOWN_PARENT)?.iter().map(in_words).collect()
            }
        };
        let needs = stage.needs().iter().copied().filter(|&need| has(need)).collect();
        stages.push(WorkStage { stage, needs, tasks });
    }
    Ok(stages)
}

/// The runs of a stage, in the order of its tasks.
///
/// # Errors
/// A distribution that does not fit the number of contributors.
pub fn runs(context: &Context, stage: Stage, parent: &str) -> Result<Vec<Run>, StudyError> {
    let plan = CoalitionPlan::draw(context)?;
    Ok(match stage {
        Stage::Train | Stage::Prune | Stage::Condition => Vec::new(),
        Stage::Coalitions => plan.score_runs(context.contributors(), parent),
        Stage::Retrain => {
            let mut runs = plan.test_runs(context.config.evaluation.test_seeds);
            runs.extend(context.everybody_retrained());
            runs.extend(plan.baseline_runs());
            runs
        }
    })
}

fn in_words(run: &Run) -> String {
    match run.recipe {
        Recipe::Retrain { seed } => format!("{}#{seed}", run.coalition),
        _ => run.coalition.to_string(),
    }
}

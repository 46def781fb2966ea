//! How far a study is, from its folder alone.

use std::fs;

use ledger::{Ledger, RunId};
use serde::{Deserialize, Serialize};

use crate::begun::write_json;
use crate::error::StudyError;
use crate::layout::StudyDir;

/// The runs that a part of the study needs computed: `plan.json` holds these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlannedPart {
    /// What the part is, for a person.
    pub name: String,
    /// Runs without a shipped record.
    pub ids: Vec<RunId>,
}

/// How far a study is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyStatus {
    /// The study's folder name.
    pub name: String,
    /// Its parts in the order they run; parts that were not reached yet are missing.
    pub parts: Vec<PartStatus>,
}

/// How far a part of a study is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartStatus {
    /// What the part is.
    pub name: String,
    /// Runs to compute in all.
    pub total: usize,
    /// Runs with a record.
    pub done: usize,
    /// Runs being worked on.
    pub running: usize,
    /// Runs not begun.
    pub left: usize,
    /// Seconds until all are done, from the mean of those done.
    pub eta_seconds: Option<f64>,
    /// Runs whose last attempt failed.
    pub failures: Vec<FailedRun>,
}

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedRun {
    /// The run's id.
    pub id: String,
    /// How often it failed.
    pub attempts: u32,
    /// What went wrong the last time.
    pub message: String,
}

/// Reads how far the study in `dir` is; `workers` work at once.
///
/// # Errors
/// [`StudyError::NoStudyFolder`] if the folder holds none; damaged records.
pub fn study_status(dir: &StudyDir, workers: usize) -> Result<StudyStatus, StudyError> {
    dir.check()?;
    let ledger = Ledger::open(dir.ledger())?;
    let parts = read_plan(dir)?
        .into_iter()
        .map(|part| {
            let status = ledger.status(&part.ids)?;
            Ok(PartStatus {
                total: status.total(),
                done: status.done,
                running: status.running.len(),
                left: status.left,
                eta_seconds: status.eta_seconds(workers),
                failures: status.failed.iter().map(FailedRun::of).collect(),
                name: part.name,
            })
        })
        .collect::<Result<Vec<_>, StudyError>>()?;
    let name = dir.root().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(StudyStatus { name, parts })
}

/// Reads `plan.json`; no parts if no study was started in the folder.
pub(crate) fn read_plan(dir: &StudyDir) -> Result<Vec<PlannedPart>, StudyError> {
    let no_study = |reason: String| StudyError::NoStudyFolder { path: dir.root().to_owned(), reason };
    match fs::read(dir.plan()) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| no_study(format!("plan.json: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StudyError::io("read", &dir.plan())(error)),
    }
}

/// Writes `plan.json`.
pub(crate) fn write_plan(dir: &StudyDir, parts: &[PlannedPart]) -> Result<(), StudyError> {
    write_json(&dir.plan(), &parts)
}

impl FailedRun {
    fn of(failure: &ledger::Failure) -> Self {
        Self { id: failure.id.to_string(), attempts: failure.attempts, message: failure.message.clone() }
    }
}

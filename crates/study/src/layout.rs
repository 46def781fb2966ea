//! Where a study keeps its files.
//!
//! ```text
//! <dir>/study.toml            the study as it was started, normalised
//! <dir>/state.json           name and data hash that the folder is bound to
//! <dir>/plan.json            which runs each part of the study needs
//! <dir>/work.json            what there is to do, if the work was shared out
//! <dir>/driver.lock           held by the process that drives the study
//! <dir>/models/<id>/          a model in the diffusers layout, finished or the newest checkpoint of its training
//! <dir>/unfinished/<id>/      the newest checkpoint of a run that was stopped, or takes long
//! <dir>/slurm/                scripts, logs and states of the jobs on a cluster
//! <dir>/ledger/               one record per run, claims and failures
//! <dir>/samples/<id>.png      sample sheets of the models shown in the report
//! <dir>/stopped.json         where the draws ended, with `coalitions.until`
//! <dir>/compare.json         methods side by side, if they were compared
//! <dir>/report.html           the report, and report.json with its numbers
//! ```

use std::path::{Path, PathBuf};

use ledger::RunId;

use crate::error::StudyError;

/// The folder of one study's results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyDir {
    root: PathBuf,
}

impl StudyDir {
    /// The study in folder `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Checks that the folder holds a study.
    ///
    /// # Errors
    /// [`StudyError::NoStudyFolder`], saying what is missing.
    pub fn check(&self) -> Result<(), StudyError> {
        let reason = if !self.root.exists() {
            "there is no such folder"
        } else if !self.root.is_dir() {
            "it is a file"
        } else if !self.state().is_file() {
            "it has no state.json"
        } else {
            return Ok(());
        };
        Err(StudyError::NoStudyFolder { path: self.root.clone(), reason: reason.to_owned() })
    }

    /// The normalised study file.
    pub fn study_file(&self) -> PathBuf {
        self.root.join("study.toml")
    }

    /// What the folder is bound to.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Which runs each part needs.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    /// Finished model of a run.
    pub fn model(&self, id: &RunId) -> PathBuf {
        self.root.join("models").join(short(id))
    }

    /// Where runs that were stopped, or take long, keep their checkpoints.
    pub fn all_unfinished(&self) -> PathBuf {
        self.root.join("unfinished")
    }

    /// The newest checkpoint of a run without a record.
    pub fn unfinished(&self, id: &RunId) -> PathBuf {
        self.all_unfinished().join(id.to_string())
    }

    /// What there is to do, for machines that share the work.
    pub fn work_list(&self) -> PathBuf {
        self.root.join("work.json")
    }

    /// Records, claims and failures.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    /// Sample sheet of a run.
    pub fn samples(&self, id: &RunId) -> PathBuf {
        self.root.join("samples").join(format!("{}.png", short(id)))
    }

    /// Where the draws ended, if the study draws until its scores are sure enough.
    pub fn stopped(&self) -> PathBuf {
        self.root.join("stopped.json")
    }

    /// A comparison of methods.
    pub fn comparison(&self) -> PathBuf {
        self.root.join("compare.json")
    }

    /// The page.
    pub fn report_html(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// The page's numbers.
    pub fn report_json(&self) -> PathBuf {
        self.root.join("report.json")
    }
}

/// The first 16 hexadecimal digits: 64 bits tell the few models of one study apart.
fn short(id: &RunId) -> String {
    id.to_string().chars().take(16).collect()
}

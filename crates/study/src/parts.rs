//! Drives the parts of a study one after the other, and says in `plan.json` what each needs.

use diffusion_core::UNet2DModel;
use ledger::RunId;

use crate::context::Context;
use crate::driver::{Workers, execute_all};
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::progress::Progress;
use crate::records::Records;
use crate::runs::Run;
use crate::status::{PlannedPart, write_plan};

/// Executes runs part by part.
pub(crate) struct PartDriver<'a> {
    /// The study.
    pub context: &'a Context,
    /// Its folder.
    pub dir: &'a StudyDir,
    /// Where finished runs are found.
    pub records: &'a Records,
    /// The model that unlearning starts from.
    pub parent: Option<&'a UNet2DModel>,
    /// How the work is shared out.
    pub workers: Workers,
    /// Where progress is told.
    pub progress: &'a dyn Progress,
    /// The parts so far.
    pub parts: Vec<PlannedPart>,
}

impl PartDriver<'_> {
    /// Executes those of the runs that have no record, own or shipped, and tells how many it executed.
    ///
    /// # Errors
    /// As [`execute_all`].
    pub fn run(&mut self, name: &str, runs: &[Run]) -> Result<usize, StudyError> {
        let settings = self.context.run_settings();
        let mut own = Vec::new();
        let mut ids: Vec<RunId> = Vec::new();
        for run in runs {
            let id = run.id(&settings)?;
            if !self.records.is_shipped(id) && !ids.contains(&id) {
                own.push(run.clone());
                ids.push(id);
            }
        }
        let open = ids.iter().filter(|id| !self.records.ledger().contains(**id)).count();
        self.parts.retain(|part| part.name != name);
        self.parts.push(PlannedPart { name: name.to_owned(), ids });
        write_plan(self.dir, &self.parts)?;
        execute_all(
            self.context,
            self.dir,
            self.records.ledger(),
            &own,
            self.parent,
            name,
            self.workers,
            None,
            self.progress,
        )?;
        Ok(open)
    }
}

//! Drives a study: models first, then all runs by workers that share one ledger.

use std::sync::Mutex;
use std::time::Duration;

use diffusion_core::{DiffusionError, UNet2DModel};
use ledger::{Claim, Ledger, Next, RunId};

use crate::context::Context;
use crate::enough::Watch;
use crate::error::StudyError;
use crate::execute::execute;
use crate::layout::StudyDir;
use crate::progress::{Progress, Task, TaskProgress, Unit};
use crate::runs::Run;

/// How often a failing run is tried in one start of the study.
const MAX_ATTEMPTS: u32 = 2;

/// How the work is shared out.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// Runs at the same time.
    pub count: usize,
    /// CPU threads of each; 0 divides the cores evenly.
    pub threads: usize,
}

impl Default for Workers {
    fn default() -> Self {
        Self { count: 1, threads: 0 }
    }
}

/// Executes all runs that have no record yet; with `enough`, until that is met.
///
/// Each worker claims a run in the ledger, so processes on one study never do a run twice, and the records do not
/// depend on the number of workers.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop; [`StudyError::RunsFailed`] if some runs failed every time; errors
/// of the ledger.
#[allow(clippy::too_many_arguments)]
pub(crate) fn execute_all(
    context: &Context,
    dir: &StudyDir,
    ledger: &Ledger,
    runs: &[Run],
    parent: Option<&UNet2DModel>,
    what: &str,
    workers: Workers,
    enough: Option<&Watch<'_>>,
    progress: &dyn Progress,
) -> Result<(), StudyError> {
    let settings = context.run_settings();
    let ids = runs.iter().map(|run| run.id(&settings)).collect::<Result<Vec<RunId>, _>>()?;
    let open: Vec<RunId> = ids.iter().copied().filter(|id| !ledger.contains(*id)).collect();
    if open.is_empty() {
        return Ok(());
    }
    for id in &open {
        ledger.clear_failure(*id)?;
    }
    let total = Task { label: what.to_owned(), total: ids.len() as u64, unit: Unit::Runs };
    let bar = Mutex::new(Total { bar: progress.begin(total), done: (ids.len() - open.len()) as u64 });
    let count = workers.count.clamp(1, open.len());
    let job = Job { context, dir, ledger, runs, ids: &ids, parent, enough, progress, total: &bar };
    let outcomes: Vec<Result<(), StudyError>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..count)
            .map(|worker| {
                let job = &job;
                scope.spawn(move || in_own_threads(workers, count, || job.work(worker, count)))
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    outcomes.into_iter().collect()
}

/// Runs `work` in a thread pool of the worker's own.
fn in_own_threads<T: Send>(workers: Workers, count: usize, work: impl FnOnce() -> T + Send) -> T {
    let threads =
        if workers.threads > 0 { workers.threads } else { (rayon::current_num_threads() / count).max(1) };
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(work),
        // The system refuses more threads: the common pool does the same work, only slower.
        Err(_) => work(),
    }
}

struct Total<'a> {
    bar: Box<dyn TaskProgress + 'a>,
    done: u64,
}

struct Job<'a, 't> {
    context: &'a Context,
    dir: &'a StudyDir,
    ledger: &'a Ledger,
    runs: &'a [Run],
    ids: &'a [RunId],
    parent: Option<&'a UNet2DModel>,
    enough: Option<&'a Watch<'a>>,
    progress: &'a dyn Progress,
    total: &'a Mutex<Total<'t>>,
}

impl Job<'_, '_> {
    /// Claims and executes runs until none is left, or none is needed.
    fn work(&self, worker: usize, workers: usize) -> Result<(), StudyError> {
        loop {
            if self.progress.stop_requested() {
                return Err(StudyError::Stopped);
            }
            if let Some(enough) = self.enough
                && enough.is_met(self.progress)?
            {
                return Ok(());
            }
            match self.ledger.next_claim(self.ids, MAX_ATTEMPTS)? {
                Next::Claimed(claim) => self.one(&claim, worker, workers)?,
                Next::Busy { .. } => std::thread::sleep(Duration::from_millis(100)),
                Next::Finished { failed: 0 } => return Ok(()),
                Next::Finished { failed } => {
                    return Err(StudyError::RunsFailed { failed, total: self.ids.len() });
                }
            }
        }
    }

    fn one(&self, claim: &Claim, worker: usize, workers: usize) -> Result<(), StudyError> {
        let run = &self.runs[claim.index()];
        let label = if workers > 1 {
            format!("  worker {worker} {}", run.coalition)
        } else {
            format!("  {}", run.coalition)
        };
        match execute(self.context, self.dir, run, self.parent, &label, self.progress) {
            Ok(record) => {
                self.ledger.put(&record)?;
                self.discard_checkpoint(claim)?;
                if let Ok(mut total) = self.total.lock() {
                    total.done += 1;
                    let done = total.done;
                    total.bar.advance(done, "");
                }
                Ok(())
            }
            Err(error) if ends_the_study(&error) => Err(error),
            Err(error) => {
                self.progress.note(&format!("run {} failed: {error}", claim.id().short()));
                self.ledger.fail(claim, error.to_string())?;
                self.discard_checkpoint(claim)
            }
        }
    }

    /// Removes the run's checkpoint, which has served or led to a failure.
    fn discard_checkpoint(&self, claim: &Claim) -> Result<(), StudyError> {
        let folder = self.dir.unfinished(&claim.id());
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StudyError::io("remove", &folder)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Whether an error is no fault of the run: trying other runs would only repeat it.
fn ends_the_study(error: &StudyError) -> bool {
    matches!(
        error,
        StudyError::Stopped
            | StudyError::Io { .. }
            | StudyError::Ledger(_)
            | StudyError::Diffusion(DiffusionError::Io { .. })
    )
}

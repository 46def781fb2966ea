//! What a study tells while it works, and how it is asked to stop.

/// One piece of work with a known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// What is being done, for a person ("train the full model").
    pub label: String,
    /// Units of work in all.
    pub total: u64,
    /// What a unit is.
    pub unit: Unit,
}

/// What a task counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Optimiser updates.
    Steps,
    /// Images, sampled or measured.
    Images,
    /// Runs of a study.
    Runs,
    /// Timesteps of the noise schedule.
    Timesteps,
    /// Pruning ratios.
    Ratios,
}

/// A task in progress; dropping it ends the task.
pub trait TaskProgress: Send {
    /// `done` units are finished; `detail` is a short text such as the loss.
    fn advance(&mut self, done: u64, detail: &str);
}

/// Where progress goes. Libraries print nothing: an application shows it, or [`Silent`] drops it.
pub trait Progress: Sync {
    /// Starts a task.
    fn begin(&self, task: Task) -> Box<dyn TaskProgress + '_>;
    /// Something worth knowing that is not an error.
    fn note(&self, text: &str);
    /// Whether the user asked to stop; work then ends at the next safe point.
    fn stop_requested(&self) -> bool;
}

/// Shows nothing and never stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl TaskProgress for Silent {
    fn advance(&mut self, _done: u64, _detail: &str) {}
}

impl Progress for Silent {
    fn begin(&self, _task: Task) -> Box<dyn TaskProgress + '_> {
        Box::new(Silent)
    }
    fn note(&self, _text: &str) {}
    fn stop_requested(&self) -> bool {
        false
    }
}

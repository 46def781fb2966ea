//! What every Tribute binary shares: device and thread options, progress bars on stderr, a clean stop on Ctrl-C,
//! and exit codes: 0 on success, 2 for bad usage or configuration, 1 for any other failure.

/// Keeps the buffers of a training step for the next one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod bars;
mod compute;
mod datasets;
mod exit;
mod optimization;
mod output;
mod precompute;
mod session;
mod spelling;
mod stop;
mod study_args;
mod training;
mod who;

pub use bars::Bars;
pub use compute::ComputeArgs;
pub use datasets::find_datasets;
pub use exit::{main_with, usage};
pub use optimization::OptimizationArgs;
pub use output::{print, print_json, tell};
pub use precompute::PrecomputeStage;
pub use session::Session;
pub use spelling::parse;
pub use stop::StopFlag;
pub use study_args::{LayerArgs, StudyArgs};
pub use training::TrainingArgs;
pub use who::Who;

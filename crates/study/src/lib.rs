//! A study: the whole method end to end, from one TOML file.
//!
//! [`StudyConfig`] is the file; [`Context`] opens its images; [`run_study`] trains and prunes a model, fine-tunes it on
//! coalitions of contributors, samples, measures, estimates Shapley values, judges them by retrained models, and writes a
//! report. Every run is an immutable record, so a study can be interrupted at any moment and continued.
//!
//! Files are in a [`StudyDir`]. Nothing is printed: an application passes a [`Progress`].
//!
//! ```no_run
//! use std::path::Path;
//!
//! use diffusion_core::device::DeviceChoice;
//! use study::{Context, RunOptions, Silent, StudyConfig, StudyDir, run_study};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = StudyConfig::read(Path::new("datasets/studies/demo.toml"))?;
//! let device = DeviceChoice::Flex;
//! let context = Context::open(config, device.open()?, device.to_string())?;
//! let summary = run_study(&context, &StudyDir::new("runs/demo"), RunOptions::default(), &Silent)?;
//! for share in &summary.shares {
//!     println!("{}: {:+.3} of {}", share.name, share.value, summary.behavior);
//! }
//! # Ok(())
//! # }
//! ```

mod autoencoder;
mod baseline_scores;
mod begun;
mod compare;
mod config;
mod context;
mod driver;
mod enough;
mod error;
mod execute;
mod fitting;
mod group_unlearning;
mod latent;
mod layout;
mod loaded;
mod local;
mod matching;
mod measuring;
mod models;
mod parts;
mod plan;
mod progress;
mod proxy;
mod pruning;
mod records;
mod reporting;
mod runs;
mod samples;
mod scores;
mod stages;
mod status;
mod study;
mod training_log;
mod unlearning;
mod work;

pub use autoencoder::{TrainedAutoencoder, train_autoencoder};
pub use baseline_scores::{MethodScores, baseline_scores};
pub use compare::{CompareConfig, compare_study};
pub use config::{
    CoalitionChoice, CoalitionsConfig, DataConfig, DatasetPreset, EvaluationConfig, FineTuneConfig,
    LatentConfig, MeasuresConfig, ModelConfig, ModelPreset, Overrides, Posterior, Precompute, PruneConfig,
    SamplingConfig, StudyConfig, TrainConfig, TrainLog, UnlearnConfig, VqvaeConfig,
};
pub use context::Context;
pub use driver::Workers;
pub use enough::{Stopped, stopped_draws};
pub use error::StudyError;
pub use fitting::require_fitting;
pub use layout::StudyDir;
pub use matching::{
    SettingDifference, differences_from_study, planned_runs, run_settings, setting_differences,
};
pub use models::{Connect, TrainedModel, fine_tune_pruned, train_from, train_full_model, unlearned_model};
pub use plan::{Draws, drawn_coalitions};
pub use progress::{Progress, Silent, Task, TaskProgress, Unit};
pub use pruning::{
    GradientsUsed, PrunedWeights, ScanRow, prune_weights, prune_without_images, pruning_streams,
    scan_pruning, scan_ratios,
};
pub use records::read_records;
pub use reporting::{Share, Summary};
pub use samples::{read_samples, write_samples};
pub use stages::{Recordable, load_model, load_trained_model, record_model, training_draw};
pub use status::{FailedRun, PartStatus, StudyStatus, study_status};
pub use study::{RunOptions, Truth, run_study};
pub use work::{Slice, Stage, WorkList, WorkStage, is_planned, list_of, work, write_work_list};

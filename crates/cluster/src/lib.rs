//! Chains of dependent job arrays on a Slurm cluster.
//!
//! A [`Chain`] is a list of [`Link`]s: each is a command that does one of several slices of a stage, and names the links that
//! must be finished first. [`Chain::write_scripts`] writes one readable batch script a link; a [`Follower`] submits them as
//! job arrays with `--dependency=afterok`, looks at the queue, and submits again what ended without success.
//!
//! ```text
//! <folder>/slurm/<link>.sh            the batch script
//! <folder>/slurm/jobs.json            which jobs were submitted for which slices, see [`Jobs`]
//! <folder>/slurm/logs/<link>-<k>.log  what slice k printed, over all its starts
//! <folder>/slurm/done/<link>-<k>      slice k succeeded
//! <folder>/slurm/failed/<link>-<k>    the exit code of slice k's last start, if it failed
//! ```
//!
//! Whether a slice is done is told by its file alone, so Slurm's accounting database is not needed. Whether it is waiting or
//! running is told by `squeue`. A slice that is neither was lost: killed, out of memory, on a node that went down.
//!
//! This crate knows neither studies nor models. Nothing is printed.

mod chain;
mod error;
mod follow;
mod jobs;
mod script;
mod settings;
mod slurm;

pub use chain::{Chain, Link, Word};
pub use error::ClusterError;
pub use follow::{Follower, LinkCount, Seen, refuse_former_jobs};
pub use jobs::{Jobs, Submitted};
pub use settings::{Gpus, LinkResources, SlurmSettings};
pub use slurm::{Activity, Queue, Scheduler, Slurm, Submission};

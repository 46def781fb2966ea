//! Many ways to score the same contributors, at equal compute, judged by the same retrained models.

mod area;
mod budget;
mod config;
mod entries;
mod estimate;
mod memory;
mod run;
mod saved;

pub use config::CompareConfig;
pub use run::compare_study;
pub(crate) use saved::read_comparison;

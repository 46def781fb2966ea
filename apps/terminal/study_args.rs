//! Which study, from a file, a preset and options.

use std::path::{Path, PathBuf};

use clap::Args;
use study::{Context, DatasetPreset, Overrides, StudyConfig};

use crate::datasets::find_datasets;
use crate::session::Session;

/// A study's file, and what is laid under and over it.
#[derive(Debug, Clone, Args)]
pub struct StudyArgs {
    /// The study file; may be left out with --dataset
    pub study: Option<PathBuf>,
    /// What is laid under and over the file.
    #[command(flatten)]
    pub layers: LayerArgs,
}

/// What is laid under and over a study file.
#[derive(Debug, Clone, Default, Args)]
pub struct LayerArgs {
    /// Start from the study of a known data set: cifar, cifar2, cifar20, cifar100, celeba, mnist, fashion-mnist
    #[arg(long)]
    pub dataset: Option<DatasetPreset>,
    /// Images, in place of the study's `data.path`
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Set a key of the study, as in --set train.steps=1000; may be given often
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl StudyArgs {
    /// The study with `set`, the options of the stage, laid over it.
    ///
    /// # Errors
    /// As [`LayerArgs::config`].
    pub fn config(&self, set: &Overrides) -> anyhow::Result<StudyConfig> {
        self.layers.config(self.study.as_deref(), set)
    }

    /// The study with its images and feature extractors open.
    ///
    /// # Errors
    /// As [`StudyArgs::config`] and [`Context::open`].
    pub fn open(&self, session: &Session, set: &Overrides) -> anyhow::Result<Context> {
        session.open(self.config(set)?)
    }
}

impl LayerArgs {
    /// The study of a file, between the preset and the options: `set`, then `--data`, then `--set`.
    ///
    /// # Errors
    /// Neither file nor preset, unreadable files, unknown keys, values out of range.
    pub fn config(&self, file: Option<&Path>, set: &Overrides) -> anyhow::Result<StudyConfig> {
        let mut all = Overrides::default();
        if file.is_none() {
            // A study without a file has no folder to look for weights in.
            all.set("weights", find_datasets().map(|datasets| datasets.join("weights")));
        }
        all.extend(set);
        all.set(
            "data.path",
            self.data.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        );
        for assignment in &self.set {
            all.set_text(assignment)?;
        }
        Ok(StudyConfig::layered(self.dataset, file, &all)?)
    }
}

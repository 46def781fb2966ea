//! Which study, from a file, a preset and options.

use std::path::{Path, PathBuf};

use clap::Args;
use diffusion_core::pipeline::autoencoder;
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

    /// As [`open`](Self::open), for the use of a model: see [`LayerArgs::config_for`].
    ///
    /// # Errors
    /// As [`LayerArgs::config_for`] and [`Context::open`].
    pub fn open_for(
        &self,
        model: Option<&Path>,
        session: &Session,
        set: &Overrides,
    ) -> anyhow::Result<Context> {
        session.open(self.layers.config_for(model, self.study.as_deref(), set)?)
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

    /// As [`config`](Self::config); a study without `[latent]` gets the latent space of a `model` that brings its autoencoder.
    ///
    /// # Errors
    /// As [`config`](Self::config); a pipeline that is not supported.
    pub fn config_for(
        &self,
        model: Option<&Path>,
        file: Option<&Path>,
        set: &Overrides,
    ) -> anyhow::Result<StudyConfig> {
        let config = self.config(file, set)?;
        let Some(model) = model.filter(|_| config.latent.is_none()) else { return Ok(config) };
        if autoencoder(model)?.is_none() {
            return Ok(config);
        }
        let mut set = set.clone();
        set.set("latent.model", Some(std::path::absolute(model)?));
        self.config(file, &set)
    }
}

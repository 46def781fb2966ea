//! The study file: one TOML document that determines every run of an experiment.
//!
//! Every section is validated before anything runs. Unknown keys are refused by name, paths are
//! resolved against the folder of the study file.

mod coalitions;
mod data;
mod evaluation;
mod latent;
mod measures;
mod model;
mod overrides;
mod preset;
mod prune;
mod train_log;
mod training;
mod vqvae;

pub use coalitions::{CoalitionChoice, CoalitionsConfig};
pub use data::DataConfig;
pub use evaluation::{EvaluationConfig, SamplingConfig};
pub use latent::{LatentConfig, Posterior, Precompute};
pub use measures::MeasuresConfig;
pub use model::{ModelConfig, ModelPreset};
pub use overrides::Overrides;
pub use preset::DatasetPreset;
pub use prune::PruneConfig;
pub use train_log::TrainLog;
pub use training::{FineTuneConfig, TrainConfig, UnlearnConfig};
pub use vqvae::VqvaeConfig;

use std::path::{Path, PathBuf};

use behavior::Behavior;
use cluster::SlurmSettings;
use diffusion_core::pipeline::{autoencoder, forward_process};
use diffusion_core::schedule::NoiseScheduleConfig;
use diffusion_core::training::TrainingConfig;
use influence::InfluenceConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::compare::CompareConfig;
use crate::error::StudyError;

/// A whole study, as written in its TOML file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyConfig {
    /// Name of the study: the folder of its results and the title of its report.
    pub name: String,
    /// Seed from which every random stream of the study is derived by name.
    #[serde(default)]
    pub seed: u64,
    /// Marks the numbers as "for show only" in the report: the study is too small to conclude from.
    #[serde(default)]
    pub for_show: bool,
    /// What is measured on each model's samples; the first entry is the primary behaviour.
    pub behaviors: Vec<Behavior>,
    /// Folder with the weights of the feature extractors; `weights` beside the study file when left out.
    #[serde(default = "default_weights")]
    pub weights: PathBuf,
    /// Images and contributors.
    pub data: DataConfig,
    /// The autoencoder in whose latent space models are; they are of pixels when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latent: Option<LatentConfig>,
    /// The autoencoder that `tribute-train --model vqvae` makes.
    #[serde(default, skip_serializing_if = "VqvaeConfig::is_default")]
    pub vqvae: VqvaeConfig,
    /// Architecture of the denoising network; may be left out where `train.load` says it.
    #[serde(default = "ModelConfig::left_out", skip_serializing_if = "ModelConfig::is_left_out")]
    pub model: ModelConfig,
    /// Forward process.
    #[serde(default)]
    pub diffusion: NoiseScheduleConfig,
    /// Training of the full model, and of every retrained model.
    pub train: TrainConfig,
    /// Structural pruning of the full model.
    pub prune: PruneConfig,
    /// Fine-tuning of the pruned model on all contributors.
    pub fine_tune: FineTuneConfig,
    /// From the parent model to the model of a coalition.
    pub unlearn: UnlearnConfig,
    /// Which coalitions the scores are estimated from.
    pub coalitions: CoalitionsConfig,
    /// How images are generated.
    pub sample: SamplingConfig,
    /// What behaviours are measured against.
    #[serde(default, skip_serializing_if = "MeasuresConfig::is_default")]
    pub measures: MeasuresConfig,
    /// How the scores are judged.
    pub evaluation: EvaluationConfig,
    /// The comparison methods that work on gradients.
    #[serde(default, skip_serializing_if = "is_default")]
    pub influence: InfluenceConfig,
    /// What `tribute compare` compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<CompareConfig>,
    /// What the jobs of `tribute submit --slurm` ask for; no record depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slurm: Option<SlurmSettings>,
}

fn is_default(influence: &InfluenceConfig) -> bool {
    *influence == InfluenceConfig::default()
}

fn default_weights() -> PathBuf {
    PathBuf::from("weights")
}

impl StudyConfig {
    /// Reads and validates a study file; relative paths in it are resolved against its folder.
    ///
    /// # Errors
    /// [`StudyError::ReadStudy`] if the file cannot be read, [`StudyError::ParseStudy`] for TOML errors and unknown
    /// keys (with line and key), [`StudyError::InvalidKey`] for values out of range.
    pub fn read(path: &Path) -> Result<Self, StudyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| StudyError::ReadStudy { path: path.to_owned(), source })?;
        let base = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        Self::parse(&text, &base, path)
    }

    /// Parses and validates the text of a study file; `base` resolves relative paths, `path` is named in errors.
    ///
    /// # Errors
    /// As [`StudyConfig::read`].
    pub fn parse(text: &str, base: &Path, path: &Path) -> Result<Self, StudyError> {
        let mut config: Self = toml::from_str(text)
            .map_err(|source| StudyError::ParseStudy { path: path.to_owned(), source: Box::new(source) })?;
        config.resolve(base);
        if config.train.load.is_some() {
            // It was a table just now.
            let table = text.parse().unwrap_or_default();
            config.adopt_loaded(&table)?;
        }
        config.validate()?;
        Ok(config)
    }

    /// Takes what the study, whose `table` this is, leaves to the model that it loads: forward process and latent space.
    ///
    /// # Errors
    /// [`StudyError::Loaded`] for a folder that cannot be read.
    fn adopt_loaded(&mut self, table: &toml::Table) -> Result<(), StudyError> {
        let Some(load) = self.train.load.clone() else { return Ok(()) };
        let unreadable = |source| StudyError::Loaded { path: load.clone(), source: Box::new(source) };
        if !table.contains_key("diffusion")
            && let Some(forward) = forward_process(&load).map_err(unreadable)?
        {
            self.diffusion = forward;
        }
        if autoencoder(&load).map_err(unreadable)?.is_some() {
            let latent = self.latent.get_or_insert_with(|| LatentConfig::of(load.clone()));
            if latent.model.as_os_str().is_empty() {
                latent.model = load;
            }
        }
        Ok(())
    }

    fn resolve(&mut self, base: &Path) {
        self.weights = base.join(&self.weights);
        self.data.resolve(base);
        if let Some(latent) = &mut self.latent {
            latent.resolve(base);
        }
        self.train.resolve(base);
        self.measures.resolve(base);
        self.evaluation.resolve(base);
    }

    /// The same study with paths that mean the same wherever its file is put.
    pub(crate) fn with_absolute_paths(&self) -> Self {
        // Only the path of a removed working folder cannot be made absolute; it then stays as it is.
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let mut config = self.clone();
        config.weights = absolute(&config.weights);
        config.data.path = absolute(&config.data.path);
        if let Some(latent) = &mut config.latent {
            latent.model = absolute(&latent.model);
            latent.folder = absolute(&latent.folder);
        }
        config.train.load = config.train.load.as_ref().map(absolute);
        config.measures.map_paths(&|path| absolute(&path.to_owned()));
        config.evaluation.truth = config.evaluation.truth.as_ref().map(absolute);
        config
    }

    /// The study as a file in its results' folder has it: with all defaults, and absolute paths.
    pub(crate) fn normalised(&self) -> Result<String, StudyError> {
        toml::to_string_pretty(&self.with_absolute_paths()).map_err(|source| StudyError::NotToml { source })
    }

    /// SHA-256 of the normalised study without `[slurm]`, by which a plan knows its study.
    pub(crate) fn fingerprint(&self) -> Result<String, StudyError> {
        let text = Self { slurm: None, ..self.clone() }.normalised()?;
        Ok(Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Batch size, optimiser, clipping and EMA of the pruned model's fine-tuning.
    pub fn fine_tune_optimization(&self) -> &TrainingConfig {
        self.fine_tune.optimization.as_ref().unwrap_or(&self.train.optimization)
    }

    /// Batch size, optimiser, clipping and EMA of the unlearning method.
    pub fn unlearn_optimization(&self) -> &TrainingConfig {
        self.unlearn.optimization.as_ref().unwrap_or(&self.train.optimization)
    }

    /// Batch size, optimiser, clipping and EMA of the autoencoder's training.
    pub fn vqvae_optimization(&self) -> &TrainingConfig {
        self.vqvae.optimization.as_ref().unwrap_or(&self.train.optimization)
    }

    /// Checks every value that has a range.
    ///
    /// # Errors
    /// [`StudyError::InvalidKey`] names the first offending key, its value and the allowed range.
    pub fn validate(&self) -> Result<(), StudyError> {
        let name_ok = !self.name.is_empty()
            && self.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !self.name.starts_with('.');
        require(name_ok, "name", &self.name, "letters, digits, '-', '_' and '.', not starting with '.'")?;
        require(!self.behaviors.is_empty(), "behaviors", "[]", "at least one behaviour")?;
        for (i, behavior) in self.behaviors.iter().enumerate() {
            let twice = self.behaviors[..i].contains(behavior);
            require(!twice, "behaviors", behavior.key(), "each behaviour once")?;
        }
        self.data.validate()?;
        match &self.latent {
            // The size of its latents is in the autoencoder's folder, which `Context::open` reads.
            Some(latent) => latent.validate(&self.sample.sampler)?,
            None if self.model.is_left_out() => {}
            None => self.model.unet(self.data.channels.count(), self.data.resolution).map(drop)?,
        }
        require(
            !self.model.is_left_out() || self.train.load.is_some(),
            "model",
            "missing",
            "a section [model] with the network's architecture, or the folder of a model in `train.load`",
        )?;
        self.validate_channels()?;
        self.vqvae.validate()?;
        let schedule =
            self.diffusion.build().map_err(|source| StudyError::Section { section: "diffusion", source })?;
        self.train.validate()?;
        self.prune.validate(&schedule)?;
        self.fine_tune.validate()?;
        self.unlearn.validate()?;
        self.coalitions.validate()?;
        self.sample.validate(&schedule)?;
        self.measures.validate()?;
        self.measures.validate_for(&self.behaviors, self.sample.count)?;
        self.influence.validate(schedule.timesteps())?;
        self.evaluation.validate()?;
        self.compare.as_ref().map_or(Ok(()), CompareConfig::validate)?;
        Ok(self.slurm.as_ref().map_or(Ok(()), SlurmSettings::validate)?)
    }

    /// Grey images have no colours to measure, and autoencoders are of colours.
    fn validate_channels(&self) -> Result<(), StudyError> {
        if self.data.channels.is_rgb() {
            return Ok(());
        }
        require(self.latent.is_none(), "data.channels", 1, "3 in latent space: autoencoders take colours")?;
        let of_colours =
            |behavior: &&Behavior| matches!(behavior, Behavior::Colourfulness | Behavior::Saturation);
        match self.behaviors.iter().find(of_colours) {
            Some(behavior) => require(
                false,
                "behaviors",
                behavior.key(),
                "other ones with `data.channels = 1`: it is 0 for every grey picture, so that nobody could be credited for it",
            ),
            None => Ok(()),
        }
    }
}

/// Most models that one key can ask for. Their runs are listed before the first is made, so that a slip of some digits would
/// otherwise end where memory does.
const MOST_MODELS: usize = 1_000_000;

/// Fails with a message that names the key, its value and what is allowed.
pub(crate) fn require(
    ok: bool,
    key: &'static str,
    value: impl ToString,
    allowed: &'static str,
) -> Result<(), StudyError> {
    if ok { Ok(()) } else { Err(StudyError::InvalidKey { key, value: value.to_string(), allowed }) }
}

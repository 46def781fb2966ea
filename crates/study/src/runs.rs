//! What a run is, and the key that names it.

use diffusion_core::UNet2DConfig;
use diffusion_core::samplers::Sampler;
use diffusion_core::training::TrainingConfig;
use ledger::{RunId, RunKey};
use removal::Coalition;
use serde::Serialize;
use unlearn::{Method, ParentModel};

use crate::config::StudyConfig;
use crate::error::StudyError;

/// Raised when a change of the program changes what a run computes.
const RUN_FORMAT: u32 = 1;

/// How the model of a run is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// The freshly initialised network: the model of nobody.
    Null,
    /// Trained from scratch on a coalition.
    Retrain {
        /// Which independent repetition: initial weights, data order, noise and samples all differ between seeds.
        seed: u64,
    },
    /// The study's unlearning method, from the study's parent model.
    Unlearn {
        /// Hash of the parent's weights and configuration.
        parent: String,
    },
}

/// One model to make and measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Whose images the model is trained on.
    pub coalition: Coalition,
    /// How it is made.
    pub recipe: Recipe,
}

/// What all runs of a study share.
#[derive(Debug, Clone)]
pub struct RunSettings<'a> {
    /// The study.
    pub config: &'a StudyConfig,
    /// The full architecture.
    pub unet: &'a UNet2DConfig,
    /// Hash of images, contributors, key and resolution.
    pub data_hash: &'a str,
    /// Hash of the weights of each feature extractor in use, by name.
    pub extractors: &'a [(String, String)],
}

#[derive(Serialize)]
struct DataSettings<'a> {
    hash: &'a str,
    held_out: f64,
    horizontal_flip: bool,
}

#[derive(Serialize)]
struct TrainingSettings<'a> {
    steps: u64,
    optimization: &'a TrainingConfig,
}

#[derive(Serialize)]
struct SampleSettings<'a> {
    count: usize,
    num_inference_steps: usize,
    sampler: &'a Sampler,
}

#[derive(Serialize)]
struct MeasureSettings<'a> {
    behaviors: Vec<String>,
    extractors: &'a [(String, String)],
}

impl Run {
    /// The run of a coalition by the study's method; with the empty coalition, the model of nobody.
    pub fn unlearned(coalition: Coalition, parent: &str) -> Self {
        let recipe =
            if coalition.is_empty() { Recipe::Null } else { Recipe::Unlearn { parent: parent.to_owned() } };
        Self { coalition, recipe }
    }

    /// The run that retrains on a coalition; with the empty coalition, the model of nobody.
    pub fn retrained(coalition: Coalition, seed: u64) -> Self {
        let recipe = if coalition.is_empty() { Recipe::Null } else { Recipe::Retrain { seed } };
        Self { coalition, recipe }
    }

    /// The model of nobody out of `n` contributors.
    pub fn null(n: usize) -> Self {
        Self { coalition: Coalition::empty(n), recipe: Recipe::Null }
    }

    /// The seed that tells independent repetitions of one coalition apart.
    pub fn repetition(&self) -> u64 {
        match self.recipe {
            Recipe::Null | Recipe::Unlearn { .. } => 0,
            Recipe::Retrain { seed } => seed,
        }
    }

    /// The run's key: all that determines its record, and nothing else.
    ///
    /// # Errors
    /// If a setting cannot be written as JSON.
    pub fn key(&self, settings: &RunSettings<'_>) -> Result<RunKey, StudyError> {
        let config = settings.config;
        let method = match &self.recipe {
            Recipe::Null => "null".to_owned(),
            Recipe::Retrain { .. } => Method::Retrain.to_string(),
            Recipe::Unlearn { .. } => config.unlearn.method_on().to_string(),
        };
        let sample = SampleSettings {
            count: config.sample.count,
            num_inference_steps: config.sample.num_inference_steps,
            sampler: &config.sample.sampler,
        };
        let mut behaviors: Vec<String> = config.behaviors.iter().map(ToString::to_string).collect();
        // Which behaviour is the primary one changes the report, not the records.
        behaviors.sort_unstable();
        let mut key = RunKey::new(method, self.coalition.clone())
            .seed("study", config.seed)
            .seed("repetition", self.repetition())
            .setting("format", &RUN_FORMAT)?
            .setting(
                "data",
                &DataSettings {
                    hash: settings.data_hash,
                    held_out: config.data.held_out,
                    horizontal_flip: config.data.horizontal_flip,
                },
            )?
            .setting("diffusion", &config.diffusion)?
            .setting("sample", &sample)?
            .setting("measure", &MeasureSettings { behaviors, extractors: settings.extractors })?;
        match &self.recipe {
            Recipe::Null => key = key.setting("model", settings.unet)?,
            Recipe::Retrain { .. } => {
                key = key.setting("model", settings.unet)?.setting(
                    "training",
                    &TrainingSettings { steps: config.train.steps, optimization: &config.train.optimization },
                )?;
            }
            Recipe::Unlearn { parent } => {
                key = key.parent(parent).setting(
                    "training",
                    &TrainingSettings {
                        steps: config.unlearn.steps,
                        optimization: config.unlearn_optimization(),
                    },
                )?;
            }
        }
        Ok(key)
    }

    /// The run's name.
    ///
    /// # Errors
    /// As [`Run::key`].
    pub fn id(&self, settings: &RunSettings<'_>) -> Result<RunId, StudyError> {
        Ok(self.key(settings)?.id()?)
    }
}

/// The key of the pruned and fine-tuned model; it has no record, the key names its folder.
pub(crate) fn pruned_key(parent: &str, settings: &RunSettings<'_>, n: usize) -> Result<RunKey, StudyError> {
    let config = settings.config;
    Ok(RunKey::new("prune_fine_tune", Coalition::full(n))
        .seed("study", config.seed)
        .parent(parent)
        .setting("format", &RUN_FORMAT)?
        .setting("prune", &config.prune)?
        .setting("data", &settings.data_hash)?
        .setting("diffusion", &config.diffusion)?
        .setting(
            "training",
            &TrainingSettings {
                steps: config.fine_tune.steps,
                optimization: config.fine_tune_optimization(),
            },
        )?)
}

/// Which model the study's method starts from; `None` for a method that starts from scratch.
pub(crate) fn parent_of(config: &StudyConfig) -> Option<ParentModel> {
    config.unlearn.method.starts_from_parent().then_some(config.unlearn.parent)
}

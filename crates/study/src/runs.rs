//! What a run is, and the key that names it.

use behavior::{Behavior, Needs};
use data::ContributorKey;
use diffusion_core::UNet2DConfig;
use diffusion_core::samplers::Sampler;
use diffusion_core::training::TrainingConfig;
use ledger::{RunId, RunKey};
use removal::Coalition;
use serde::{Serialize, Serializer};
use unlearn::{Method, ParentModel};

use crate::config::{MeasuresConfig, StudyConfig};
use crate::error::StudyError;
use crate::proxy::ProxySettings;

/// Raised when a change of the program changes what a run computes.
const RUN_FORMAT: u32 = 1;

/// The method of the record of a loaded full model.
pub(crate) const LOADED: &str = "loaded";

/// How the model of a run is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// The freshly initialised network: the model of nobody.
    Null,
    /// Loaded, and trained on everybody's images: the full model of a study with `train.load`.
    Loaded {
        /// Hash of the loaded weights and configuration.
        hash: String,
    },
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
    /// Hash of the model that the full model starts from, if the study loads one.
    pub loaded: Option<&'a str>,
    /// Hash of the weights of each feature extractor in use, by name.
    pub extractors: &'a [(String, String)],
    /// Hash of the reference images, where they are not the training images.
    pub reference: Option<&'a str>,
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
    #[serde(serialize_with = "of_results")]
    optimization: &'a TrainingConfig,
}

/// Writes the settings that change results.
pub(crate) fn of_results<S: Serializer>(
    optimization: &&TrainingConfig,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    optimization.of_results().serialize(serializer)
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
    /// Left out where it is the default, as it was before there was a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    noises: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a ContributorKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<LocalSettings<'a>>,
}

/// What, besides the network's shape, decides on the full model whose pictures local behaviours compare with.
#[derive(Serialize)]
struct LocalSettings<'a> {
    training: TrainingSettings<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
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
            Recipe::Null | Recipe::Loaded { .. } | Recipe::Unlearn { .. } => 0,
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
            Recipe::Loaded { .. } => LOADED.to_owned(),
            Recipe::Retrain { .. } => Method::Retrain.to_string(),
            Recipe::Unlearn { .. } => config.unlearn.method_on().to_string(),
        };
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
            .setting("diffusion", &config.diffusion)?;
        key = measuring_settings(settings, key)?;
        if let Some(seed) = config.train.seed.filter(|_| self.recipe != Recipe::Null) {
            key = key.seed("training", seed);
        }
        let training = |steps| TrainingSettings { steps, optimization: &config.train.optimization };
        match &self.recipe {
            Recipe::Null => key = key.setting("model", settings.unet)?,
            Recipe::Loaded { hash } => {
                key = key.parent(hash).setting("training", &training(config.train.steps))?;
            }
            Recipe::Retrain { .. } => {
                key = key
                    .setting("model", settings.unet)?
                    .setting("training", &training(config.train.retrain_steps()))?;
            }
            Recipe::Unlearn { parent } => key = unlearning_settings(config, key.parent(parent))?,
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

/// Adds how the model is sampled from and what is measured.
pub(crate) fn measuring_settings(settings: &RunSettings<'_>, key: RunKey) -> Result<RunKey, StudyError> {
    let config = settings.config;
    let sample = SampleSettings {
        count: config.sample.count,
        num_inference_steps: config.sample.num_inference_steps,
        sampler: &config.sample.sampler,
    };
    let mut behaviors: Vec<String> = config.behaviors.iter().map(ToString::to_string).collect();
    // Which behaviour is the primary one changes the report, not the records.
    behaviors.sort_unstable();
    let noises = config.measures.noises;
    let has = |kind: &dyn Fn(&Behavior) -> bool| config.behaviors.iter().any(kind);
    let measure = MeasureSettings {
        behaviors,
        extractors: settings.extractors,
        noises: (noises != MeasuresConfig::default().noises).then_some(noises),
        reference: settings.reference,
        labels: config.measures.labels.as_ref().filter(|_| has(&|b| matches!(b.needs(), Needs::Labels(_)))),
        local: has(&|b| b.needs() == Needs::FullModel).then_some(LocalSettings {
            training: TrainingSettings {
                steps: config.train.steps,
                optimization: &config.train.optimization,
            },
            loaded: settings.loaded,
            seed: config.train.seed,
        }),
    };
    Ok(key.setting("sample", &sample)?.setting("measure", &measure)?)
}

/// Adds what the study's method depends on, and nothing that is another method's.
fn unlearning_settings(config: &StudyConfig, key: RunKey) -> Result<RunKey, StudyError> {
    let (unlearn, optimization) = (&config.unlearn, config.unlearn_optimization());
    let training = TrainingSettings { steps: unlearn.steps, optimization };
    Ok(match unlearn.method {
        Method::Retrain | Method::PruneFineTune | Method::Gd => {
            let key = key.setting("training", &training)?;
            // Where the full model is trained by the same settings, the parent's hash stands for them.
            if unlearn.method == Method::Retrain && config.train.load.is_some() {
                let (steps, optimization) = (config.train.retrain_steps(), &config.train.optimization);
                key.setting("retraining", &TrainingSettings { steps, optimization })?
            } else {
                key
            }
        }
        Method::Lora => key.setting("training", &training)?.setting("lora", &unlearn.lora())?,
        // Its number of steps follows from the coalition.
        Method::Ga => {
            let settings = unlearn.ascent();
            key.setting("optimization", &settings.training(optimization).of_results())?
                .setting("ga", &settings)?
        }
        Method::Conditional => key.setting("conditional", &ProxySettings::of(config))?,
        Method::Iu => {
            key.setting("batch_size", &optimization.batch_size)?.setting("iu", &unlearn.influence())?
        }
    })
}

/// The key of the pruned and fine-tuned model; it has no record, the key names its folder.
pub(crate) fn pruned_key(parent: &str, settings: &RunSettings<'_>, n: usize) -> Result<RunKey, StudyError> {
    let config = settings.config;
    let mut key = RunKey::new("prune_fine_tune", Coalition::full(n)).seed("study", config.seed);
    if let Some(seed) = config.train.seed {
        key = key.seed("training", seed);
    }
    Ok(key
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DatasetPreset, Overrides};

    /// The key of a run of a study by a method, with further keys set.
    fn key(method: &str, set: &[(&str, &str)]) -> RunKey {
        let mut all = Overrides::default();
        for (name, value) in [("data.path", "images"), ("unlearn.method", method)].iter().chain(set) {
            all.set_text(&format!("{name}={value}")).unwrap();
        }
        let config = StudyConfig::layered(Some(DatasetPreset::Mnist), None, &all).unwrap();
        let unet = config.model.unet(3, 32).unwrap();
        let settings = RunSettings {
            config: &config,
            unet: &unet,
            data_hash: "data",
            loaded: None,
            extractors: &[],
            reference: None,
        };
        let coalition = Coalition::from_members(4, [0, 2]).unwrap();
        Run::unlearned(coalition, "parent").key(&settings).unwrap()
    }

    #[test]
    fn settings_of_a_method_are_in_the_keys_of_its_runs_alone() {
        let settings = [
            ("unlearn.ga_ratio", "2.0", "ga"),
            ("unlearn.ga_learning_rate", "1e-4", "ga"),
            ("unlearn.iu_ratio", "0.25", "iu"),
            ("unlearn.iu_variant", "reference", "iu"),
            ("unlearn.iu_damping", "0.1", "iu"),
            ("unlearn.lora_rank", "4", "lora"),
            ("unlearn.lora_alpha", "8.0", "lora"),
            ("unlearn.lora_dropout", "0.0", "lora"),
            ("unlearn.lora_lr_ratio", "1.0", "lora"),
            ("unlearn.conditional_steps", "7", "conditional"),
        ];
        for method in ["retrain", "gd", "ga", "iu", "lora", "conditional"] {
            let plain = key(method, &[]).id().unwrap();
            for (name, value, of) in settings {
                let changed = key(method, &[(name, value)]).id().unwrap();
                assert_eq!(changed != plain, of == method, "{name} for {method}");
            }
            let longer = key(method, &[("unlearn.steps", "77")]).id().unwrap();
            assert_eq!(longer != plain, !matches!(method, "ga" | "iu" | "conditional"), "steps for {method}");
            let fewer = key(method, &[("unlearn.optimization.batch_size", "3")]).id().unwrap();
            assert_ne!(fewer, plain, "batch size for {method}");
            for section in ["train", "unlearn"] {
                let name = format!("{section}.optimization.gradient_checkpointing");
                let same = key(method, &[(&name, "true")]).id().unwrap();
                assert_eq!(same, plain, "{name} for {method}: it changes no number");
            }
        }
    }

    #[test]
    fn retraining_beside_a_loaded_model_is_in_the_key() {
        let pipeline =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../diffusion-core/tests/fixtures/pipeline/whole");
        let id = |method: &str, set: &[(&str, &str)]| {
            let loading =
                [&[("train.load", pipeline), ("train.steps", "0"), ("train.retrain_steps", "9")], set];
            key(method, &loading.concat()).id().unwrap()
        };
        for set in [("train.retrain_steps", "8"), ("train.optimization.max_grad_norm", "2.0")] {
            let own = [("unlearn.optimization.batch_size", "4"), set];
            assert_ne!(id("retrain", &own), id("retrain", &own[..1]), "{set:?}");
            assert_eq!(
                id("gd", &[("unlearn.optimization", "{}"), set]),
                id("gd", &[("unlearn.optimization", "{}")])
            );
        }
    }

    #[test]
    fn methods_and_parents_are_told_apart() {
        let words = ["gd", "ga", "iu", "lora"]
            .map(|method| ["pruned", "full"].map(|parent| key(method, &[("unlearn.parent", parent)]).method));
        let words: Vec<String> = words.into_iter().flatten().collect();
        assert_eq!(words, ["gd", "gd_u", "ga", "ga_u", "iu", "iu_u", "lora", "lora_u"]);
    }

    #[test]
    fn keys_of_sparsified_fine_tuning_have_the_settings_they_always_had() {
        let key = key("gd", &[]);
        let names: Vec<&str> = key.settings.keys().map(String::as_str).collect();
        assert_eq!(names, ["data", "diffusion", "format", "measure", "sample", "training"]);
        let training = key.settings["training"].as_object().unwrap();
        assert_eq!(training.keys().collect::<Vec<_>>(), ["optimization", "steps"]);
    }
}

//! From options to settings, and to a study where images are needed.

use std::path::{Path, PathBuf};

use clap::Args;
use study::{Context, Overrides, PruneConfig, StudyConfig, StudyError};
use terminal::{LayerArgs, OptimizationArgs, Session, tell, usage};

use crate::Arguments;

/// Options of importances that rank by gradients.
#[derive(Debug, Clone, Args)]
pub struct ImageOptions {
    /// For taylor and diff-pruning: timesteps to add gradients up over, evenly spread; all when left out
    #[arg(long)]
    timesteps: Option<usize>,
    /// For taylor and diff-pruning: number of images; the training batch size when left out
    #[arg(long)]
    batch_size: Option<usize>,
}

/// Options of the fine-tuning behind --fine-tune, which also is what a scan times.
#[derive(Debug, Clone, Args)]
pub struct TrainingOptions {
    #[command(flatten)]
    optimization: OptimizationArgs,
    /// Accepted for the reference's command lines; pruning samples nothing
    #[arg(long, hide = true)]
    num_inference_steps: Option<usize>,
}

impl TrainingOptions {
    fn set(&self, set: &mut Overrides) {
        self.optimization.set(set, "fine_tune.optimization");
        set.set("sample.num_inference_steps", self.num_inference_steps);
    }
}

/// Where settings, seed and images come from.
pub enum Source {
    /// A study with open images.
    Images(Box<Context>),
    /// Settings alone: no image is looked at.
    Settings {
        /// The `[prune]` section.
        prune: Box<PruneConfig>,
        /// The study's seed.
        seed: u64,
    },
}

impl Source {
    /// How to prune.
    pub fn settings(&self) -> &PruneConfig {
        match self {
            Source::Images(context) => &context.config.prune,
            Source::Settings { prune, .. } => prune,
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        match self {
            Source::Images(context) => context.config.seed,
            Source::Settings { seed, .. } => *seed,
        }
    }

    /// The study with its images, where they are needed.
    pub fn context(&self) -> Option<&Context> {
        match self {
            Source::Images(context) => Some(context),
            Source::Settings { .. } => None,
        }
    }
}

impl Arguments {
    /// Reads what the options name, and opens images only if something needs them; for pruning `model`.
    pub fn source(&self, session: &Session, model: &Path) -> anyhow::Result<Source> {
        let fine_tune = self.fine_tune.as_ref().and_then(Option::as_deref);
        if let (Some(_), Some(_)) = (fine_tune, &self.study) {
            return Err(usage("give the study file with --study or with --fine-tune, not with both"));
        }
        let file = fine_tune.or(self.study.as_deref());
        if self.fine_tune.is_none()
            && !self.scan
            && let Some(option) = self.training.optimization.first_given()
        {
            // Also where stderr is no terminal, and so shows no bars.
            if !self.compute.quiet {
                tell(format_args!("{option} has no effect without --fine-tune"));
            }
        }
        if file.is_none() && self.layers.dataset.is_none() {
            return self.without_study();
        }
        let set = self.overrides();
        let needs_images = self.fine_tune.is_some() || self.scan;
        if !needs_images {
            let config = self.settings_of(file, &set)?;
            if !config.prune.pruner.needs_gradients() {
                return Ok(Source::Settings { prune: Box::new(config.prune), seed: config.seed });
            }
        }
        let config = self.layers.config_for(Some(model), file, &set)?;
        Ok(Source::Images(Box::new(session.open(config)?)))
    }

    /// The study for its settings alone, which a preset has without images.
    fn settings_of(&self, file: Option<&Path>, set: &Overrides) -> anyhow::Result<StudyConfig> {
        let mut layers = self.layers.clone();
        if file.is_none() {
            layers.data.get_or_insert_with(|| PathBuf::from("images"));
        }
        layers.config(file, set)
    }

    fn without_study(&self) -> anyhow::Result<Source> {
        let LayerArgs { data, set, .. } = &self.layers;
        if data.is_some() || !set.is_empty() || self.scan || self.fine_tune.is_some() {
            return Err(StudyError::NoStudy.into());
        }
        let prune = PruneConfig {
            pruner: self.pruner.unwrap_or_default(),
            rounding: self.rounding.unwrap_or_default(),
            scope: self.scope.unwrap_or_default(),
            iterative_steps: self.iterative_steps.unwrap_or(1),
            threshold: self.threshold.unwrap_or_default(),
            timesteps: self.images.timesteps,
            batch_size: self.images.batch_size,
            ratio: match self.ratio {
                Some(ratio) => ratio,
                None => sparsify::Ratio::new(0.3).map_err(StudyError::from)?,
            },
        };
        prune.check()?;
        Ok(Source::Settings { prune: Box::new(prune), seed: self.seed.unwrap_or(0) })
    }

    fn overrides(&self) -> Overrides {
        let mut set = Overrides::default();
        set.set("seed", self.seed);
        set.set("prune.ratio", self.ratio);
        set.set("prune.pruner", self.pruner);
        set.set("prune.rounding", self.rounding);
        set.set("prune.scope", self.scope);
        set.set("prune.iterative_steps", self.iterative_steps);
        set.set("prune.threshold", self.threshold);
        set.set("prune.timesteps", self.images.timesteps);
        set.set("prune.batch_size", self.images.batch_size);
        self.training.set(&mut set);
        set
    }
}

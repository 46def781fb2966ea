//! Options that are keys of the study.

use clap::Args;
use serde_json::Value;
use study::Overrides;
use terminal::{OptimizationArgs, PrecomputeStage, TrainingArgs};

/// Settings of training and of what it leaves beside the model.
#[derive(Debug, Args)]
pub struct Settings {
    /// Optimiser updates (train.steps; fine_tune.steps with --method prune_fine_tune, vqvae.steps with --model vqvae)
    #[arg(long)]
    steps: Option<u64>,
    /// Images of one update (train.optimization.batch_size)
    #[arg(long)]
    batch_size: Option<usize>,
    /// Learning rate (train.optimization.optimizer.learning_rate)
    #[arg(long)]
    learning_rate: Option<f64>,
    #[command(flatten)]
    optimization: OptimizationArgs,
    #[command(flatten)]
    training: TrainingArgs,
    /// Denoising steps of samples (sample.num_inference_steps)
    #[arg(long)]
    num_inference_steps: Option<usize>,
    /// Images sampled for --db and --sample-every (sample.count)
    #[arg(long)]
    n_samples: Option<usize>,
    /// Steps between two sheets of pictures in <out>-log/samples
    #[arg(long)]
    sample_every: Option<u64>,
    /// In latent space (the study's [latent]): keep latents on disk, or take them from there (latent.precompute)
    #[arg(long, value_enum)]
    pub precompute_stage: Option<PrecomputeStage>,
    /// With --method prune_fine_tune: share of channels to remove (prune.ratio)
    #[arg(long)]
    pruning_ratio: Option<f64>,
    /// With --method prune_fine_tune: how channels are ranked (prune.pruner)
    #[arg(long)]
    pruner: Option<String>,
    /// With --method prune_fine_tune and diff-pruning: share of the largest loss to stop under (prune.threshold)
    #[arg(long)]
    thr: Option<f64>,
}

/// Which training the options are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `[train]`
    Train,
    /// `[fine_tune]`
    FineTune,
    /// `[vqvae]`
    Vqvae,
}

impl Settings {
    /// What is laid over the study.
    pub fn overrides(&self, part: Part) -> Overrides {
        let section = match part {
            Part::Train => "train",
            Part::FineTune => "fine_tune",
            Part::Vqvae => "vqvae",
        };
        let mut set = Overrides::default();
        set.set(&format!("{section}.steps"), self.steps);
        let mut training =
            |key: &str, value: Option<Value>| set.set(&format!("{section}.optimization.{key}"), value);
        training("batch_size", self.batch_size.map(number));
        training("optimizer.learning_rate", self.learning_rate.map(Value::from));
        self.optimization.set(&mut set, &format!("{section}.optimization"));
        self.training.set(&mut set);
        PrecomputeStage::lay_over(self.precompute_stage, &mut set);
        set.set("sample.num_inference_steps", self.num_inference_steps);
        set.set("sample.count", self.n_samples);
        set.set("train.log.sample_every", self.sample_every);
        set.set("prune.ratio", self.pruning_ratio);
        set.set("prune.pruner", self.pruner.as_deref());
        set.set("prune.threshold", self.thr);
        set
    }
}

fn number(value: usize) -> Value {
    Value::from(value)
}

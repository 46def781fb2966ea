//! Options that are keys of the study.

use clap::Args;
use serde_json::Value;
use study::Overrides;
use terminal::{OptimizationArgs, PrecomputeStage};

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
    /// Timesteps of the forward process (diffusion.num_train_timesteps)
    #[arg(long)]
    num_train_steps: Option<usize>,
    /// Denoising steps of samples (sample.num_inference_steps)
    #[arg(long)]
    num_inference_steps: Option<usize>,
    /// Images sampled for --db and --sample-every (sample.count)
    #[arg(long)]
    n_samples: Option<usize>,
    /// Seed of data order, noise and timesteps (train.seed)
    #[arg(long)]
    opt_seed: Option<u64>,
    /// Updates between two checkpoints (train.checkpoint_every)
    #[arg(long)]
    checkpoint_every: Option<u64>,
    /// Keep every checkpoint, in <out>-log/checkpoints
    #[arg(long)]
    keep_all_ckpts: bool,
    /// Save the freshly initialised network, in <out>-log/null
    #[arg(long)]
    save_null_model: bool,
    /// Steps between two rows of <out>-log/metrics.csv and of the TensorBoard file beside it
    #[arg(long)]
    log_freq: Option<u64>,
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
        PrecomputeStage::lay_over(self.precompute_stage, &mut set);
        set.set("diffusion.num_train_timesteps", self.num_train_steps);
        set.set("sample.num_inference_steps", self.num_inference_steps);
        set.set("sample.count", self.n_samples);
        set.set("train.seed", self.opt_seed);
        set.set("train.checkpoint_every", self.checkpoint_every);
        set.set("train.log.keep_checkpoints", self.keep_all_ckpts.then_some(true));
        set.set("train.log.null_model", self.save_null_model.then_some(true));
        set.set("train.log.every", self.log_freq);
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

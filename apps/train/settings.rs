//! Options that are keys of the study.

use clap::{Args, ValueEnum};
use serde_json::Value;
use study::Overrides;

/// Settings of training and of what it leaves beside the model.
#[derive(Debug, Args)]
pub struct Settings {
    /// Optimiser updates (train.steps; fine_tune.steps with --method prune_fine_tune)
    #[arg(long)]
    steps: Option<u64>,
    /// Images of one update (train.optimization.batch_size)
    #[arg(long)]
    batch_size: Option<usize>,
    /// Learning rate (train.optimization.optimizer.learning_rate)
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Slices that each batch goes through the network in, to save memory
    #[arg(long)]
    gradient_accumulation_steps: Option<usize>,
    /// Precision of weights and activations within a step
    #[arg(long, value_enum)]
    mixed_precision: Option<MixedPrecision>,
    /// Keep the optimiser's state in 8 bits
    #[arg(long)]
    use_8bit_optimizer: bool,
    /// Inverse rate of the average's warm-up (1.0)
    #[arg(long)]
    ema_inv_gamma: Option<f64>,
    /// Exponent of the average's warm-up (0.75)
    #[arg(long)]
    ema_power: Option<f64>,
    /// Largest decay of the average (0.9999)
    #[arg(long)]
    ema_max_decay: Option<f64>,
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

/// `--mixed-precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MixedPrecision {
    /// 32 bits throughout
    No,
    /// 16 bits with 5 of exponent, losses scaled
    Fp16,
    /// 16 bits with 8 of exponent
    Bf16,
}

impl Settings {
    /// What is laid over the study.
    pub fn overrides(&self, fine_tunes: bool) -> Overrides {
        let mut set = Overrides::default();
        set.set(if fine_tunes { "fine_tune.steps" } else { "train.steps" }, self.steps);
        let section = if fine_tunes { "fine_tune.optimization" } else { "train.optimization" };
        let mut training = |key: &str, value: Option<Value>| set.set(&format!("{section}.{key}"), value);
        training("batch_size", self.batch_size.map(number));
        training("optimizer.learning_rate", self.learning_rate.map(Value::from));
        training("gradient_accumulation_steps", self.gradient_accumulation_steps.map(number));
        training("mixed_precision", self.mixed_precision.map(word));
        training("optimizer.bits", self.use_8bit_optimizer.then_some(Value::from(8)));
        training("ema.inv_gamma", self.ema_inv_gamma.map(Value::from));
        training("ema.power", self.ema_power.map(Value::from));
        training("ema.max_decay", self.ema_max_decay.map(Value::from));
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

fn word(precision: MixedPrecision) -> Value {
    let word = match precision {
        MixedPrecision::No => "no",
        MixedPrecision::Fp16 => "fp16",
        MixedPrecision::Bf16 => "bf16",
    };
    Value::from(word)
}

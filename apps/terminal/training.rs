//! Options of how a training runs and of what it leaves beside the model.

use clap::Args;
use study::Overrides;

/// Settings of every stage that trains: those that stand outside the `optimization` table.
#[derive(Debug, Clone, Default, Args)]
pub struct TrainingArgs {
    /// Timesteps of the forward process (diffusion.num_train_timesteps)
    #[arg(long)]
    num_train_steps: Option<usize>,
    /// Seed of data order, noise and timesteps (train.seed)
    #[arg(long)]
    opt_seed: Option<u64>,
    /// Updates between two checkpoints (train.checkpoint_every)
    #[arg(long)]
    checkpoint_every: Option<u64>,
    /// Keep every checkpoint, in <out>-log/checkpoints
    #[arg(long)]
    keep_all_ckpts: bool,
    /// Save the model before its first step, in <out>-log/null
    #[arg(long)]
    save_null_model: bool,
    /// Steps between two rows of <out>-log/metrics.csv and of the TensorBoard file beside it
    #[arg(long)]
    log_freq: Option<u64>,
}

impl TrainingArgs {
    /// Sets the keys that were given.
    pub fn set(&self, set: &mut Overrides) {
        set.set("diffusion.num_train_timesteps", self.num_train_steps);
        set.set("train.seed", self.opt_seed);
        set.set("train.checkpoint_every", self.checkpoint_every);
        set.set("train.log.keep_checkpoints", self.keep_all_ckpts.then_some(true));
        set.set("train.log.null_model", self.save_null_model.then_some(true));
        set.set("train.log.every", self.log_freq);
    }
}

//! Options of trainings that several stages have: keys of an `optimization` table.

use clap::{Args, ValueEnum};
use study::Overrides;

/// How a training computes and averages.
#[derive(Debug, Clone, Default, Args)]
pub struct OptimizationArgs {
    /// Slices that each batch goes through the network in, to save memory
    #[arg(long)]
    gradient_accumulation_steps: Option<usize>,
    /// Precision of weights and activations within a step
    #[arg(long, value_enum)]
    mixed_precision: Option<MixedPrecision>,
    /// Compute blocks again in the backward pass in place of keeping their activations: less memory, same numbers
    #[arg(long)]
    gradient_checkpointing: bool,
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

impl OptimizationArgs {
    /// Sets the keys of the table `section`, such as `train.optimization`.
    pub fn set(&self, set: &mut Overrides, section: &str) {
        let key = |name: &str| format!("{section}.{name}");
        set.set(&key("gradient_accumulation_steps"), self.gradient_accumulation_steps);
        set.set(&key("mixed_precision"), self.mixed_precision.map(MixedPrecision::word));
        set.set(&key("gradient_checkpointing"), self.gradient_checkpointing.then_some(true));
        set.set(&key("optimizer.bits"), self.use_8bit_optimizer.then_some(8));
        set.set(&key("ema.inv_gamma"), self.ema_inv_gamma);
        set.set(&key("ema.power"), self.ema_power);
        set.set(&key("ema.max_decay"), self.ema_max_decay);
    }

    /// The first of these options that was given.
    pub fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--gradient-accumulation-steps", self.gradient_accumulation_steps.is_some()),
            ("--mixed-precision", self.mixed_precision.is_some()),
            ("--gradient-checkpointing", self.gradient_checkpointing),
            ("--use-8bit-optimizer", self.use_8bit_optimizer),
            ("--ema-inv-gamma", self.ema_inv_gamma.is_some()),
            ("--ema-power", self.ema_power.is_some()),
            ("--ema-max-decay", self.ema_max_decay.is_some()),
        ];
        given.iter().find(|(_, given)| *given).map(|(name, _)| *name)
    }
}

impl MixedPrecision {
    /// As study files write it.
    fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};
    use study::StudyConfig;

    use super::*;

    #[test]
    fn gradient_checkpointing_is_set_by_its_option() {
        // It changes no number, so nothing that a program leaves tells of it.
        for (options, expected) in [(vec!["train"], false), (vec!["train", "--gradient-checkpointing"], true)]
        {
            let command = OptimizationArgs::augment_args(Command::new("train"));
            let arguments = OptimizationArgs::from_arg_matches(&command.get_matches_from(options)).unwrap();
            let mut set = Overrides::default();
            set.set("data.path", Some("images"));
            arguments.set(&mut set, "unlearn.optimization");
            let config = StudyConfig::layered(Some(study::DatasetPreset::Cifar), None, &set).unwrap();
            assert_eq!(config.unlearn_optimization().gradient_checkpointing, expected);
            assert!(!config.train.optimization.gradient_checkpointing);
            assert_eq!(arguments.first_given(), expected.then_some("--gradient-checkpointing"));
        }
    }
}

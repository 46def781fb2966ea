//! Options that are keys of the study.

use std::path::PathBuf;

use clap::Args;
use study::Overrides;
use terminal::{OptimizationArgs, PrecomputeStage, TrainingArgs};
use unlearn::{Method, MethodOn, ParentModel};

/// Settings of the methods and of what is measured.
#[derive(Debug, Args)]
pub struct Settings {
    /// Method: retrain, gd, ga, iu, lora, conditional, the last five with the suffix _u on the unpruned model; or
    /// prune_fine_tune. The study's when left out
    #[arg(long)]
    pub method: Option<MethodOn>,
    /// Optimiser steps of gd and lora (unlearn.steps)
    #[arg(long)]
    gd_steps: Option<u64>,
    /// By how much ga divides the batches of the removed images to get its steps (1.0)
    #[arg(long)]
    ga_ratio: Option<f64>,
    /// Length of the jump of iu (0.5)
    #[arg(long)]
    iu_ratio: Option<f64>,
    /// Damping of the Fisher matrix of iu (1.0)
    #[arg(long)]
    iu_damping: Option<f64>,
    /// How iu inverts the Fisher matrix: exact, or reference for the recursion of the reference
    #[arg(long)]
    iu_variant: Option<String>,
    /// Rank of lora (16)
    #[arg(long)]
    lora_rank: Option<usize>,
    /// Dropout of lora (0.05)
    #[arg(long)]
    lora_dropout: Option<f64>,
    #[command(flatten)]
    optimization: OptimizationArgs,
    #[command(flatten)]
    training: TrainingArgs,
    /// Accepted for the reference's command lines, which find the pruned model by it; here it is given with --load
    #[arg(long, hide = true)]
    pruning_ratio: Option<f64>,
    /// Accepted for the reference's command lines, as --pruning-ratio
    #[arg(long, hide = true)]
    pruner: Option<String>,
    /// Accepted for the reference's command lines, as --pruning-ratio
    #[arg(long, hide = true)]
    thr: Option<f64>,
    /// Images sampled for --db (sample.count)
    #[arg(long)]
    n_samples: Option<usize>,
    /// Images sampled at once: speed and memory only (sample.batch_size)
    #[arg(long)]
    batch_size: Option<usize>,
    /// Denoising steps (sample.num_inference_steps)
    #[arg(long)]
    num_inference_steps: Option<usize>,
    /// Noises of each image in the diffusion loss (measures.noises)
    #[arg(long)]
    n_noises: Option<usize>,
    /// Images that FID, precision, recall and entropy refer to, in place of the training images (measures.reference)
    #[arg(long)]
    reference_dir: Option<PathBuf>,
    /// In latent space (the study's [latent]): keep latents on disk, or take them from there (latent.precompute)
    #[arg(long, value_enum)]
    precompute_stage: Option<PrecomputeStage>,
}

impl Settings {
    /// What is laid over the study.
    pub fn overrides(&self) -> Overrides {
        let mut set = Overrides::default();
        // The stage before unlearning is not a method of studies.
        if let Some(method) = self.method.filter(|method| method.method != Method::PruneFineTune) {
            set.set("unlearn.method", Some(method.method));
            if method.method.has_unpruned_form() {
                set.set("unlearn.parent", Some(method.parent));
            }
        }
        // Retraining has the settings of [train], pruning's fine-tuning those of [fine_tune].
        let section = match self.method.map(|method| method.method) {
            Some(Method::Retrain) => "train.optimization",
            Some(Method::PruneFineTune) => "fine_tune.optimization",
            _ => "unlearn.optimization",
        };
        self.optimization.set(&mut set, section);
        self.training.set(&mut set);
        set.set("prune.ratio", self.pruning_ratio);
        set.set("prune.pruner", self.pruner.as_deref());
        set.set("prune.threshold", self.thr);
        PrecomputeStage::lay_over(self.precompute_stage, &mut set);
        set.set("unlearn.steps", self.gd_steps);
        set.set("unlearn.ga_ratio", self.ga_ratio);
        set.set("unlearn.iu_ratio", self.iu_ratio);
        set.set("unlearn.iu_damping", self.iu_damping);
        set.set("unlearn.iu_variant", self.iu_variant.as_deref());
        set.set("unlearn.lora_rank", self.lora_rank);
        set.set("unlearn.lora_dropout", self.lora_dropout);
        set.set("sample.count", self.n_samples);
        set.set("sample.batch_size", self.batch_size);
        set.set("sample.num_inference_steps", self.num_inference_steps);
        set.set("measures.noises", self.n_noises);
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        set.set("measures.reference", self.reference_dir.as_ref().map(absolute));
        set
    }
}

/// Whether the parent is one that the method's name says, and the name that says it.
///
/// # Errors
/// A method on the unpruned model with a pruned parent; --pruned with an unpruned one.
pub fn check_parent(method: MethodOn, pruned: Option<bool>, said_pruned: bool) -> anyhow::Result<()> {
    if method.parent == ParentModel::Full && method.method.has_unpruned_form() && pruned == Some(true) {
        let of_pruned = method.method;
        return Err(terminal::usage(format!(
            "method {method} is for the unpruned model, but the one to start from is pruned: use {of_pruned}, or give the \
             full model with --load"
        )));
    }
    if said_pruned && pruned == Some(false) {
        return Err(terminal::usage(
            "--pruned is given, but the model to start from has all its channels: give the pruned one with --load, or leave \
             --pruned out",
        ));
    }
    Ok(())
}

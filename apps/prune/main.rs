//! `tribute-prune`: a smaller network.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use diffusion_core::UNet2DModel;
use diffusion_core::model_folder::{self, model_hash};
use serde_json::json;
use sparsify::{Importance, Plan, PruningReport, PruningSettings, Ratio, surgery};
use study::fine_tune_pruned;
use terminal::{ComputeArgs, Session, main_with, parse, print_json};

/// Remove the least important channels of a model, and fine-tune what is left
#[derive(Parser)]
#[command(name = "tribute-prune", version)]
struct Arguments {
    /// Model folder
    #[arg(alias = "load")]
    model: PathBuf,
    /// Model folder to write
    #[arg(long, alias = "outdir")]
    out: PathBuf,
    /// Share of channels to remove from each group, above 0 and below 1
    #[arg(long, alias = "pruning-ratio", default_value = "0.3", allow_negative_numbers = true)]
    ratio: Ratio,
    /// How channels are ranked
    #[arg(long, default_value_t = Importance::Magnitude)]
    pruner: Importance,
    /// Fine-tune on everybody's images by the [fine_tune] section of this study file
    #[arg(long)]
    fine_tune: Option<PathBuf>,
    /// Write the kept channels of each group to this JSON file
    #[arg(long)]
    plan: Option<PathBuf>,
    #[command(flatten)]
    compute: ComputeArgs,
}

fn main() -> ExitCode {
    let arguments: Arguments = parse();
    main_with(|| {
        arguments.compute.in_threads(|| {
            let session = Session::start(&arguments.compute)?;
            let (config, weights) = model_folder::read_averaged_or_trained(&arguments.model)?;
            let settings =
                PruningSettings { importance: arguments.pruner, ..PruningSettings::new(arguments.ratio) };
            let plan = Plan::new(&config, &weights, settings)?;
            let (pruned, pruned_weights) = surgery(&config, &weights, &plan)?;
            if let Some(path) = &arguments.plan {
                diffusion_core::write_atomically(path, plan.to_json().as_bytes()).context("the plan")?;
            }
            let sizes = PruningReport::of(&config, &pruned)?;
            let mut hash = model_hash(&pruned, &pruned_weights);
            match &arguments.fine_tune {
                None => model_folder::write(&arguments.out, &pruned, &pruned_weights)?,
                Some(study) => {
                    let context = session.open_study(study)?;
                    let network = UNet2DModel::from_state_dict(&pruned, &pruned_weights, &context.device)?;
                    let parent = model_hash(&config, &weights);
                    hash =
                        fine_tune_pruned(&context, network, &parent, &arguments.out, &session.progress)?.hash;
                }
            }
            print_json(&json!({
                "model": arguments.out,
                "hash": hash,
                "ratio": arguments.ratio.get(),
                "pruner": arguments.pruner.to_string(),
                "parameters": { "before": sizes.before.parameters, "after": sizes.after.parameters },
                "macs": { "before": sizes.before.macs, "after": sizes.after.macs },
            }))
        })
    })
}

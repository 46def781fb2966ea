//! `tribute-prune`: a smaller network, or a table of what each pruning ratio does.

mod options;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use diffusion_core::model_folder::{self, model_hash};
use diffusion_core::pipeline::{Companions, autoencoder, forward_process};
use diffusion_core::{StateDict, UNet2DConfig, UNet2DModel, write_atomically};
use options::{ImageOptions, Source, TrainingOptions};
use serde_json::json;
use sparsify::{Importance, NetworkSize, Ratio, Rounding, Scope, Threshold};
use study::{
    PrunedWeights, fine_tune_pruned, prune_weights, prune_without_images, require_fitting, scan_pruning,
    scan_ratios,
};
use terminal::{ComputeArgs, LayerArgs, Session, main_with, parse, print_json, tell};

/// Remove the least important channels of a model, and fine-tune what is left
#[derive(Parser)]
#[command(name = "tribute-prune", version)]
struct Arguments {
    /// Model folder
    #[arg(required_unless_present = "load")]
    model: Option<PathBuf>,
    /// Model folder, as an option
    #[arg(long, conflicts_with = "model")]
    load: Option<PathBuf>,
    /// Model folder to write
    #[arg(long, alias = "outdir", required_unless_present = "scan", conflicts_with = "scan")]
    out: Option<PathBuf>,
    /// Share of channels to remove, above 0 and below 1; the study's when left out, 0.3 without one
    #[arg(long, alias = "pruning-ratio", allow_negative_numbers = true)]
    ratio: Option<Ratio>,
    /// How channels are ranked: magnitude, taylor, diff-pruning, random or reinit
    #[arg(long)]
    pruner: Option<Importance>,
    /// For diff-pruning: stop at the first timestep whose loss is under this share of the largest
    #[arg(long, alias = "thr", allow_negative_numbers = true)]
    threshold: Option<Threshold>,
    /// Rank the channels of each `group` by themselves, or all together (`global`)
    #[arg(long)]
    scope: Option<Scope>,
    /// Prune in this many steps, ranking afresh before each
    #[arg(long)]
    iterative_steps: Option<u32>,
    /// Fractions of channels: up or down
    #[arg(long)]
    rounding: Option<Rounding>,
    /// Seed of random ranks and of the noise behind gradients; the study's when left out, 0 without one
    #[arg(long)]
    seed: Option<u64>,
    /// Write the kept channels of each group to this JSON file
    #[arg(long, conflicts_with = "scan")]
    plan: Option<PathBuf>,
    /// Study file, for its [prune] section and its images
    #[arg(long)]
    study: Option<PathBuf>,
    #[command(flatten)]
    layers: LayerArgs,
    #[command(flatten)]
    images: ImageOptions,
    /// Fine-tune on everybody's images by the [fine_tune] section of this study file, or of that of --study or --dataset
    #[arg(long, value_name = "STUDY", num_args = 0..=1)]
    fine_tune: Option<Option<PathBuf>>,
    #[command(flatten)]
    training: TrainingOptions,
    /// Print what each ratio does to the loss on held-out images, to size and to the time of a training step
    #[arg(long, conflicts_with = "fine_tune")]
    scan: bool,
    /// Ratios to scan; 0.1 to 0.9 when left out
    #[arg(long, requires = "scan", value_delimiter = ',', allow_negative_numbers = true)]
    ratios: Vec<Ratio>,
    /// Training steps to time for each ratio; 0 for none
    #[arg(long, requires = "scan", default_value_t = 3)]
    timed_steps: usize,
    /// Write the scan to this CSV file, too
    #[arg(long, requires = "scan")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    compute: ComputeArgs,
}

fn main() -> ExitCode {
    let arguments: Arguments = parse();
    main_with(|| {
        arguments.compute.in_threads(|| {
            let session = Session::start(&arguments.compute)?;
            // clap requires one of the two.
            let folder = arguments.model.as_ref().or(arguments.load.as_ref()).context("which model?")?;
            let source = arguments.source(&session, folder)?;
            if let Some(context) = source.context() {
                require_fitting(context, folder)?;
            }
            let (config, weights) = model_folder::read_averaged_or_trained(folder)?;
            if arguments.scan {
                arguments.scan(&session, &source, &config, &weights)
            } else {
                arguments.prune(&session, &source, folder, &config, &weights)
            }
        })
    })
}

/// Unlike training, ranking and scanning leave nothing that the same command could continue from.
fn nothing_written(error: study::StudyError) -> anyhow::Error {
    match error {
        study::StudyError::Stopped => anyhow::anyhow!("stopped; nothing was written"),
        other => other.into(),
    }
}

impl Arguments {
    fn prune(
        &self,
        session: &Session,
        source: &Source,
        folder: &Path,
        config: &UNet2DConfig,
        weights: &StateDict,
    ) -> anyhow::Result<()> {
        // clap requires it without --scan.
        let out = self.out.as_ref().context("which folder is to be written?")?;
        let settings = source.settings();
        let made = match source.context() {
            Some(context) => {
                prune_weights(context, config, weights, &session.progress).map_err(nothing_written)?
            }
            None => prune_without_images(config, weights, settings.pruning(), source.seed())?,
        };
        let PrunedWeights { pruned, gradients } = made;
        if let Some(path) = &self.plan {
            write_atomically(path, pruned.plan.to_json().as_bytes()).context("the plan")?;
        }
        let (before, after) = (NetworkSize::of(config)?, NetworkSize::of(&pruned.config)?);
        let mut result = json!({
            "model": out,
            "ratio": settings.ratio.get(),
            "pruner": settings.pruner.name(),
            "scope": settings.scope.name(),
            "rounding": settings.rounding.name(),
            "iterative_steps": settings.iterative_steps,
            "seed": source.seed(),
            "parameters": { "before": before.parameters, "after": after.parameters },
            "macs": { "before": before.macs, "after": after.macs },
        });
        if settings.pruner.needs_gradients() {
            result["gradients"] = json!(gradients);
        }
        if let Some(threshold) = settings.stopping_threshold() {
            result["threshold"] = json!(threshold.get());
        }
        let write = |companions| -> anyhow::Result<String> {
            model_folder::write(out, &pruned.config, &pruned.weights, companions)?;
            Ok(model_hash(&pruned.config, &pruned.weights))
        };
        let hash = match (&self.fine_tune, source.context()) {
            (Some(_), Some(context)) => {
                let network = UNet2DModel::from_state_dict(&pruned.config, &pruned.weights, &context.device)?;
                let parent = model_hash(config, weights);
                fine_tune_pruned(context, network, &parent, out, &session.progress)?.hash
            }
            (_, Some(context)) => write(Some(context.companions()))?,
            (_, None) => {
                // What the model brought stays with it.
                let forward = forward_process(folder)?;
                let brought = autoencoder(folder)?;
                let read = |folder| diffusion_core::autoencoder::folder::read(folder, &session.device);
                let brought = brought.as_deref().map(read).transpose()?;
                let autoencoder = brought.as_ref();
                write(forward.as_ref().map(|forward| Companions { forward, autoencoder }))?
            }
        };
        result["hash"] = json!(hash);
        print_json(&result)
    }

    fn scan(
        &self,
        session: &Session,
        source: &Source,
        config: &UNet2DConfig,
        weights: &StateDict,
    ) -> anyhow::Result<()> {
        let ratios = match &self.ratios[..] {
            [] => scan_ratios().map_err(study::StudyError::from)?,
            given => given.to_vec(),
        };
        // A scan is not accepted without a study.
        let context = source.context().context("a scan needs a study")?;
        let rows = scan_pruning(context, config, weights, &ratios, self.timed_steps, &session.progress)
            .map_err(nothing_written)?;
        if let Some(path) = &self.csv {
            write_atomically(path, table::csv(&rows).as_bytes()).context("the table")?;
        }
        if !self.compute.quiet {
            tell(table::text(&rows).trim_end());
        }
        let settings = source.settings();
        print_json(&json!({
            "pruner": settings.pruner.name(),
            "scope": settings.scope.name(),
            "rounding": settings.rounding.name(),
            "iterative_steps": settings.iterative_steps,
            "seed": source.seed(),
            "device": session.device_name,
            "rows": rows,
        }))
    }
}

//! `tribute-unlearn`: the model of a coalition.

mod settings;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser, ValueEnum};
use ledger::append_jsonl;
use removal::Coalition;
use serde_json::json;
use settings::{Settings, check_parent};
use study::{Recordable, load_model, load_trained_model, record_model, unlearned_model, write_samples};
use terminal::{ComputeArgs, Session, StudyArgs, Who, main_with, parse, print_json, usage};
use unlearn::Method;

/// Make the model of a coalition by retraining or unlearning
#[derive(Parser)]
#[command(name = "tribute-unlearn", version)]
struct Arguments {
    #[command(flatten)]
    study: StudyArgs,
    /// Model folder to write; an unfinished training in it continues
    #[arg(long, alias = "outdir")]
    out: PathBuf,
    /// Model folder to start from; not needed to retrain
    #[arg(long, alias = "load")]
    parent: Option<PathBuf>,
    /// Make sure that the model to start from is pruned
    #[arg(long)]
    pruned: bool,
    #[command(flatten)]
    who: Who,
    /// Which independent repetition
    #[arg(long, default_value_t = 0)]
    repetition: u64,
    #[command(flatten)]
    settings: Settings,
    /// Sample from the model, measure it, and add one record to this JSONL file
    #[arg(long)]
    db: Option<PathBuf>,
    /// Name of the experiment, kept in the record of --db
    #[arg(long, requires = "db")]
    exp_name: Option<String>,
    /// What --db measures: the study's behaviours (global), or what became of each picture of the full model (local): MSE,
    /// NRMSE, SSIM and diffusion loss
    #[arg(long, value_enum, default_value_t = ModelBehavior::Global, requires = "db")]
    model_behavior: ModelBehavior,
    /// The full model whose pictures local behaviours are about; --load when left out, if that is not pruned
    #[arg(long, requires = "db")]
    full: Option<PathBuf>,
    /// Folder for the samples that --db measures
    #[arg(long, requires = "db")]
    samples: Option<PathBuf>,
    /// Whether --db samples from the averaged weights; `false` for the trained ones
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    use_ema: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// `--model-behavior`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModelBehavior {
    /// Of the model as a whole
    Global,
    /// Of single pictures
    Local,
}

fn main() -> ExitCode {
    let arguments: Arguments = parse();
    main_with(|| arguments.compute.in_threads(|| run(&arguments)))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let session = Session::start(&arguments.compute)?;
    let brought = arguments.parent.as_deref().or(arguments.full.as_deref());
    let context = arguments.study.open_for(brought, &session, &arguments.settings.overrides())?;
    let method = arguments.settings.method.unwrap_or_else(|| context.config.unlearn.method_on());
    let coalition = match arguments.who.coalition(&context)? {
        Some(coalition) => coalition,
        None if method.method == Method::PruneFineTune => Coalition::full(context.contributors()),
        None => {
            return Err(usage(
                "say who remains: --coalition n:hex, --members 0,2, --draw K (or --removal-seed K), or --removal-dist NAME",
            ));
        }
    };
    if method.method == Method::Conditional {
        if arguments.repetition > 0 {
            return Err(usage(
                "--repetition is for methods that train a model for each coalition: leave it out with `conditional`",
            ));
        }
        if !arguments.use_ema {
            return Err(usage(
                "--use-ema false is for methods that train a model for each coalition: `conditional` samples averaged weights",
            ));
        }
    }
    let parent = arguments.parent.as_deref().map(|folder| load_model(&context, folder)).transpose()?;
    let pruned = parent.as_ref().map(|parent| !parent.config().pruned_channels.is_empty());
    check_parent(method, pruned, arguments.pruned)?;
    let full = match (arguments.model_behavior, &arguments.full) {
        (ModelBehavior::Global, Some(folder)) if context.local_behavior().is_some() => {
            Some(load_model(&context, folder)?)
        }
        (ModelBehavior::Global, Some(_)) => {
            return Err(usage("--full is for --model-behavior local, and for studies with local behaviours"));
        }
        (ModelBehavior::Global, None) => None,
        (ModelBehavior::Local, Some(folder)) => Some(load_model(&context, folder)?),
        (ModelBehavior::Local, None) if pruned == Some(false) => parent.clone(),
        (ModelBehavior::Local, None) => {
            return Err(usage(
                "--model-behavior local compares with the full model's pictures: give the full model with --full",
            ));
        }
    };
    let made = unlearned_model(
        &context,
        method.method,
        &coalition,
        arguments.repetition,
        parent.as_ref(),
        &arguments.out,
        &session.progress,
    )?;
    let contributors = context.dataset.contributors();
    let remaining: Vec<&str> = coalition.members().map(|i| contributors[i].name.as_str()).collect();
    let mut told = json!({
        "model": arguments.out,
        "hash": made.hash,
        "method": method.to_string(),
        "coalition": coalition,
        "remaining": remaining,
        "seconds": made.seconds,
    });
    if let Some(db) = &arguments.db {
        let mut further = Vec::new();
        if let Some(name) = &arguments.exp_name {
            further.push(("exp_name", json!(name)));
        }
        let trained = if arguments.use_ema {
            None
        } else {
            further.push(("weights", json!("trained")));
            Some(load_trained_model(&context, &arguments.out)?)
        };
        let what = Recordable {
            model: trained.as_ref().unwrap_or(&made.model),
            method: method.method,
            coalition: &coalition,
            repetition: arguments.repetition,
            parent: parent.as_ref(),
            seconds: made.seconds,
            local: full.as_ref().filter(|_| arguments.model_behavior == ModelBehavior::Local),
            full: full.as_ref(),
            settings: &further,
        };
        let (record, samples) = record_model(&context, &what, &session.progress)?;
        if let Some(folder) = &arguments.samples {
            write_samples(folder, &samples)?;
        }
        told["run"] = json!(record.id());
        told["behaviors"] = json!(record.behaviors);
        told["added"] = json!(append_jsonl(db, &record)?);
    }
    print_json(&told)
}

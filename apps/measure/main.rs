//! `tribute-measure`: the behaviours of a model.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use study::{Overrides, load_model, read_samples};
use terminal::{ComputeArgs, Session, StudyArgs, main_with, parse, print_json};

/// Measure the behaviours of a model and its samples
#[derive(Parser)]
#[command(name = "tribute-measure", version)]
struct Arguments {
    #[command(flatten)]
    study: StudyArgs,
    /// Model folder
    #[arg(long, alias = "load")]
    model: PathBuf,
    /// Samples written by tribute-sample; sampled anew when left out
    #[arg(long)]
    samples: Option<PathBuf>,
    /// Which independent repetition's noise, where samples are made anew
    #[arg(long, default_value_t = 0)]
    repetition: u64,
    /// The full model's folder, whose pictures local behaviours compare with
    #[arg(long)]
    full: Option<PathBuf>,
    #[command(flatten)]
    compute: ComputeArgs,
}

fn main() -> ExitCode {
    let arguments: Arguments = parse();
    main_with(|| {
        arguments.compute.in_threads(|| {
            let session = Session::start(&arguments.compute)?;
            let context =
                arguments.study.open_for(Some(&arguments.model), &session, &Overrides::default())?;
            let model = load_model(&context, &arguments.model)?;
            let samples = match &arguments.samples {
                Some(folder) => read_samples(folder)?,
                None => context.sample(&model, arguments.repetition, "sample", &session.progress)?,
            };
            let full = || match &arguments.full {
                Some(folder) => load_model(&context, folder),
                None => Err(context.no_full_model()),
            };
            let behaviors =
                context.measure(&model, &samples, arguments.repetition, &full, &session.progress)?;
            print_json(
                &json!({ "model": arguments.model, "count": samples.shape[0], "behaviors": behaviors }),
            )
        })
    })
}

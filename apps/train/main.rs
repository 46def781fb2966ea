//! `tribute-train`: trains the full model of a study into a model folder; an interrupted training continues.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use study::{Overrides, train_full_model};
use terminal::{ComputeArgs, Session, StudyArgs, main_with, parse, print_json};

/// Train the full model of a study
#[derive(Parser)]
#[command(name = "tribute-train", version)]
struct Arguments {
    #[command(flatten)]
    study: StudyArgs,
    /// Model folder to write; an unfinished training in it continues
    #[arg(long, alias = "outdir")]
    out: PathBuf,
    #[command(flatten)]
    compute: ComputeArgs,
}

fn main() -> ExitCode {
    let arguments: Arguments = parse();
    main_with(|| {
        arguments.compute.in_threads(|| {
            let session = Session::start(&arguments.compute)?;
            let context = arguments.study.open(&session, &Overrides::default())?;
            let trained = train_full_model(&context, &arguments.out, &session.progress)?;
            print_json(&json!({
                "model": arguments.out,
                "hash": trained.hash,
                "steps": context.config.train.steps,
                "parameters": trained.model.parameter_count(),
                "seconds": trained.seconds,
            }))
        })
    })
}

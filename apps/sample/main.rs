//! `tribute-sample`: images from a model.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use study::{Overrides, load_model, write_samples};
use terminal::{ComputeArgs, Session, StudyArgs, main_with, parse, print_json};

/// Sample images from a model with its averaged weights
#[derive(Parser)]
#[command(name = "tribute-sample", version)]
struct Arguments {
    #[command(flatten)]
    study: StudyArgs,
    /// Model folder
    #[arg(long, alias = "load")]
    model: PathBuf,
    /// Folder to write samples.png and samples.json to
    #[arg(long, alias = "outdir")]
    out: PathBuf,
    /// Number of images; the study's when left out
    #[arg(long, alias = "n-samples")]
    count: Option<usize>,
    /// Denoising steps; the study's when left out
    #[arg(long, alias = "num-inference-steps")]
    steps: Option<usize>,
    /// Write the noise that each image starts from, too, as tensor `noise` of this safetensors file
    #[arg(long)]
    noise: Option<PathBuf>,
    /// Which independent repetition's noise
    #[arg(long, default_value_t = 0)]
    repetition: u64,
    #[command(flatten)]
    compute: ComputeArgs,
}

fn main() -> ExitCode {
    let arguments: Arguments = parse();
    main_with(|| {
        arguments.compute.in_threads(|| {
            let session = Session::start(&arguments.compute)?;
            let mut set = Overrides::default();
            set.set("sample.count", arguments.count);
            set.set("sample.num_inference_steps", arguments.steps);
            let context = arguments.study.open_for(Some(&arguments.model), &session, &set)?;
            let model = load_model(&context, &arguments.model)?;
            let samples = context.sample(&model, arguments.repetition, "sample", &session.progress)?;
            write_samples(&arguments.out, &samples)?;
            if let Some(file) = &arguments.noise {
                context.initial_noise(&model, arguments.repetition)?.write(file)?;
            }
            print_json(
                &json!({ "samples": arguments.out, "count": samples.shape[0], "shape": samples.shape }),
            )
        })
    })
}

//! `tribute-unlearn`: the model of a coalition.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Parser};
use removal::Coalition;
use serde_json::json;
use study::{Overrides, load_model, unlearned_model};
use terminal::{ComputeArgs, Session, StudyArgs, main_with, parse, print_json};
use unlearn::MethodOn;

/// Make the model of a coalition by retraining or unlearning
#[derive(Parser)]
#[command(name = "tribute-unlearn", version, group(ArgGroup::new("who").required(true)))]
struct Arguments {
    #[command(flatten)]
    study: StudyArgs,
    /// Model folder to write; an unfinished training in it continues
    #[arg(long, alias = "outdir")]
    out: PathBuf,
    /// Method: retrain, gd, or gd_u; the study's when left out
    #[arg(long)]
    method: Option<MethodOn>,
    /// Model folder to start from; not needed to retrain
    #[arg(long, alias = "load")]
    parent: Option<PathBuf>,
    /// Who remains, as n:hex (12:fff is all of 12)
    #[arg(long, group = "who")]
    coalition: Option<Coalition>,
    /// Who remains, as contributor numbers from 0, separated by commas
    #[arg(long, group = "who", value_delimiter = ',')]
    members: Option<Vec<usize>>,
    /// Who remains, as this draw of the study's distribution
    #[arg(long, alias = "removal-seed", group = "who")]
    draw: Option<u64>,
    /// Which independent repetition
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
            let context = arguments.study.open(&session, &Overrides::default())?;
            let n = context.contributors();
            let coalition = match (&arguments.coalition, &arguments.members, arguments.draw) {
                (Some(coalition), _, _) => coalition.clone(),
                (_, Some(members), _) => {
                    Coalition::from_members(n, members.iter().copied()).map_err(study::StudyError::from)?
                }
                (_, _, Some(draw)) => study::training_draw(&context, draw)?,
                // clap requires one of the three.
                (None, None, None) => Coalition::full(n),
            };
            let method = arguments.method.unwrap_or_else(|| context.config.unlearn.method_on());
            let parent =
                arguments.parent.as_deref().map(|folder| load_model(&context, folder)).transpose()?;
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
            print_json(&json!({
                "model": arguments.out,
                "hash": made.hash,
                "method": method.to_string(),
                "coalition": coalition,
                "remaining": remaining,
                "seconds": made.seconds,
            }))
        })
    })
}

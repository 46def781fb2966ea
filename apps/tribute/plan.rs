//! `tribute plan`: a study's work as a list for many machines.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use study::{StudyDir, write_work_list};
use terminal::{ComputeArgs, Session, StudyArgs, print_json};

use crate::coalitions::CoalitionArgs;
use crate::run::default_out;

/// Arguments of `tribute plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    study: StudyArgs,
    /// Folder of the results, which every machine must see; runs/<name of the study> when left out
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    coalitions: CoalitionArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Begins the study and writes the list.
pub fn plan(arguments: &PlanArgs) -> anyhow::Result<()> {
    let config = arguments.study.config(&arguments.coalitions.overrides()?)?;
    let out = arguments.out.clone().unwrap_or_else(|| default_out(&config));
    let session = Session::start(&arguments.compute)?;
    let context = session.open(config)?;
    let (path, list) = write_work_list(&context, &StudyDir::new(out))?;
    let stages: Vec<_> = list
        .stages
        .iter()
        .map(|stage| json!({ "stage": stage.stage, "tasks": stage.tasks.len(), "needs": stage.needs }))
        .collect();
    print_json(&json!({ "plan": path, "stages": stages }))
}

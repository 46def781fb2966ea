//! `tribute work`: one slice of a planned study, anywhere.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use study::{Slice, Stage, StudyConfig, WorkList, Workers, work as do_work};
use terminal::{ComputeArgs, Session, print_json};

/// Arguments of `tribute work`.
#[derive(Debug, Args)]
pub struct WorkArgs {
    /// The list that `tribute plan` wrote
    #[arg(long)]
    plan: PathBuf,
    /// Stage: train, prune, condition, coalitions or retrain
    #[arg(long)]
    stage: Stage,
    /// Which slice, from 0: the array index of a cluster's job
    #[arg(long)]
    index: usize,
    /// Number of slices that the stage is cut into; a slice is one task when left out
    #[arg(long)]
    count: Option<usize>,
    /// Runs at the same time within the slice
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Does the slice.
pub fn work(arguments: &WorkArgs) -> anyhow::Result<()> {
    if arguments.workers == 0 {
        return Err(terminal::usage("--workers is 0: give 1 or more"));
    }
    let list = WorkList::read(&arguments.plan)?;
    let tasks = list.tasks(arguments.stage);
    let slice = Slice::new(arguments.index, arguments.count.unwrap_or(tasks.max(1)))?;
    let dir = list.dir(&arguments.plan);
    let config = StudyConfig::read(&dir.study_file())?;
    list.check(&config, &dir.study_file())?;
    arguments.compute.in_threads(|| {
        let session = Session::start(&arguments.compute)?;
        let context = session.open(config)?;
        let workers = Workers { count: arguments.workers, threads: 0 };
        let done = do_work(&context, &dir, arguments.stage, slice, workers, &session.progress)?;
        print_json(&json!({ "stage": arguments.stage, "slice": slice.index, "of": slice.of, "tasks": done }))
    })
}

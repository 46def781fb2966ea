//! `tribute run`: a study from its file.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use study::{Progress, RunOptions, StudyConfig, StudyDir, Summary, Truth, Workers, run_study};
use terminal::{ComputeArgs, Session, StudyArgs, print};

use crate::coalitions::CoalitionArgs;

/// `--truth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TruthSource {
    /// Use the records of retrained models that come with the study, and compute those that are missing
    Shipped,
    /// Retrain everything
    Recompute,
}

/// What `run` and `demo` share.
#[derive(Debug, Args)]
pub struct DriveArgs {
    /// Runs at the same time; one per core when left out, which is fastest for small networks
    #[arg(long)]
    workers: Option<usize>,
    /// Where the retrained models that judge the scores come from
    #[arg(long, value_enum, default_value_t = TruthSource::Shipped)]
    truth: TruthSource,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

impl DriveArgs {
    /// Refuses what cannot be.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.workers == Some(0) { Err(terminal::usage("--workers is 0: give 1 or more")) } else { Ok(()) }
    }

    /// How the study is run; within its threads.
    pub fn options(&self) -> RunOptions {
        let count = self.workers.unwrap_or_else(rayon::current_num_threads);
        RunOptions {
            workers: Workers { count, threads: 0 },
            truth: match self.truth {
                TruthSource::Shipped => Truth::Shipped,
                TruthSource::Recompute => Truth::Recompute,
            },
        }
    }
}

/// Arguments of `tribute run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    study: StudyArgs,
    /// Folder of the results; runs/<name of the study> when left out
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    coalitions: CoalitionArgs,
    #[command(flatten)]
    drive: DriveArgs,
}

/// Runs or continues the study.
pub fn run(arguments: &RunArgs) -> anyhow::Result<()> {
    let config = arguments.study.config(&arguments.coalitions.overrides()?)?;
    let out = arguments.out.clone().unwrap_or_else(|| default_out(&config));
    drive(config, &out, &arguments.drive)
}

/// Where the results of a study go unless the user says otherwise.
pub fn default_out(config: &StudyConfig) -> PathBuf {
    Path::new("runs").join(&config.name)
}

/// Drives a study in `out` and says what came out.
pub fn drive(config: StudyConfig, out: &Path, arguments: &DriveArgs) -> anyhow::Result<()> {
    arguments.check()?;
    arguments.compute.in_threads(|| drive_here(config, out, arguments))
}

fn drive_here(config: StudyConfig, out: &Path, arguments: &DriveArgs) -> anyhow::Result<()> {
    let session = Session::start(&arguments.compute)?;
    let context = session.open(config)?;
    let dir = StudyDir::new(out);
    let summary = run_study(&context, &dir, arguments.options(), &session.progress)?;
    session.progress.note("");
    print(describe(&summary))?;
    print(format_args!("report: {}", dir.report_html().display()))
}

/// Who contributed most, and how far to trust it.
fn describe(summary: &Summary) -> String {
    let mut lines = vec![format!("Shares in {}:", summary.behavior)];
    let width = summary.shares.iter().map(|share| share.name.chars().count()).max().unwrap_or(0);
    for share in &summary.shares {
        let interval = match share.interval {
            Some((low, high)) => format!("[{low:+.4}, {high:+.4}]"),
            None => format!("(no interval: {})", summary.no_interval),
        };
        lines.push(format!("  {:width$}  {:+.4}  {interval}", share.name, share.value));
    }
    lines.extend(summary.verdicts.iter().cloned());
    lines.join("\n")
}

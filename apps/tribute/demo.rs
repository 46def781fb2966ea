//! `tribute demo`: the study that ships.

use std::path::PathBuf;

use clap::Args;
use study::StudyConfig;
use terminal::find_datasets;

use crate::run::{DriveArgs, default_out, drive};

/// Arguments of `tribute demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// A smaller study in at most 2 minutes; its numbers are for show only
    #[arg(long)]
    quick: bool,
    /// Folder of the results; runs/<name of the study> when left out
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder with the packs, weights and studies that ship with Tribute; looked for when left out
    #[arg(long)]
    datasets: Option<PathBuf>,
    #[command(flatten)]
    drive: DriveArgs,
}

/// Runs or continues the demo.
pub fn demo(arguments: &DemoArgs) -> anyhow::Result<()> {
    let datasets = match &arguments.datasets {
        Some(folder) => folder.clone(),
        None => find_datasets().ok_or_else(|| {
            terminal::usage(
                "cannot find the folder `datasets` that ships with Tribute, neither here nor beside the program: \
                 give it with --datasets",
            )
        })?,
    };
    let file = if arguments.quick { "demo-quick.toml" } else { "demo.toml" };
    let config = StudyConfig::read(&datasets.join("studies").join(file))?;
    let out = arguments.out.clone().unwrap_or_else(|| default_out(&config));
    drive(config, &out, &arguments.drive)
}

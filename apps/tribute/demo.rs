//! `tribute demo`: the study that ships.

use std::path::{Path, PathBuf};

use clap::Args;
use study::StudyConfig;

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
        None => find_datasets()?,
    };
    let file = if arguments.quick { "demo-quick.toml" } else { "demo.toml" };
    let config = StudyConfig::read(&datasets.join("studies").join(file))?;
    let out = arguments.out.clone().unwrap_or_else(|| default_out(&config));
    drive(config, &out, &arguments.drive)
}

/// `datasets` in the current folder or one above it, or above the program's own file.
fn find_datasets() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_default();
    here.ancestors()
        .chain(program.ancestors().skip(1))
        .map(|folder| folder.join("datasets"))
        .find(|folder| is_ours(folder))
        .ok_or_else(|| {
            terminal::usage(
                "cannot find the folder `datasets` that ships with Tribute, neither here nor beside the program: \
                 give it with --datasets",
            )
        })
}

fn is_ours(folder: &Path) -> bool {
    folder.join("studies").join("demo.toml").is_file()
}

//! `tribute export`: records for other programs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ledger::Ledger;
use study::StudyDir;

/// File formats of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One record's JSON a line, whole: can be read back
    Jsonl,
    /// One record a row, flat
    Csv,
}

/// Arguments of `tribute export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of the study's results
    folder: PathBuf,
    /// File to write
    #[arg(long, short)]
    output: PathBuf,
    /// File format
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Only the records of this method (retrain, gd, gd_u, null)
    #[arg(long)]
    method: Option<String>,
}

/// Writes the records.
pub fn export(arguments: &ExportArgs) -> anyhow::Result<()> {
    let dir = StudyDir::new(&arguments.folder);
    dir.check()?;
    let ledger = Ledger::open(dir.ledger())?;
    let keep = |record: &ledger::Record| arguments.method.as_ref().is_none_or(|m| record.key().method == *m);
    let count = match arguments.format {
        Format::Jsonl => ledger.export_jsonl(&arguments.output, keep)?,
        Format::Csv => ledger.export_csv(&arguments.output, keep)?,
    };
    eprintln!("{count} records written to {}", arguments.output.display());
    Ok(())
}

//! `tribute export`: records and scores for other programs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ledger::{Cell, Ledger, Table, TableFormat};
use serde_json::Value;
use study::StudyDir;
use terminal::{tell, usage};

/// File formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line; records whole, so that they can be read back
    Jsonl,
    /// One record or score a row, flat
    Csv,
    /// The rows of the CSV as an Apache Parquet file, with numbers as numbers
    Parquet,
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// One for each model that was made and measured
    Records,
    /// One for each behaviour and contributor, as in the report
    Scores,
}

/// Arguments of `tribute export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of the study's results
    folder: PathBuf,
    /// File to write
    #[arg(long, short)]
    output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t = What::Records)]
    what: What,
    /// File format; by the end of the file's name when left out, and JSONL if that says nothing
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Only the records of this method (retrain, gd, gd_u, null...)
    #[arg(long)]
    method: Option<String>,
}

/// Writes the records or scores.
pub fn export(arguments: &ExportArgs) -> anyhow::Result<()> {
    let dir = StudyDir::new(&arguments.folder);
    dir.check()?;
    let format = match arguments.format {
        Some(Format::Jsonl) => TableFormat::Jsonl,
        Some(Format::Csv) => TableFormat::Csv,
        Some(Format::Parquet) => TableFormat::Parquet,
        None => TableFormat::of_path(&arguments.output).unwrap_or(TableFormat::Jsonl),
    };
    let (count, what) = match arguments.what {
        What::Records => (records(&dir, arguments, format)?, "records"),
        What::Scores => (scores(&dir, arguments, format)?, "scores"),
    };
    tell(format_args!("{count} {what} written to {}", arguments.output.display()));
    Ok(())
}

fn records(dir: &StudyDir, arguments: &ExportArgs, format: TableFormat) -> anyhow::Result<usize> {
    let ledger = Ledger::open(dir.ledger())?;
    if let Some(method) = &arguments.method {
        let methods = ledger.iter()?.map(|record| Ok(record?.key().method.clone()));
        let methods = methods.collect::<Result<BTreeSet<_>, ledger::LedgerError>>()?;
        if !methods.contains(method) {
            return Err(usage(format!(
                "no record is of the method `{method}`: there are {}",
                methods.into_iter().collect::<Vec<_>>().join(", ")
            )));
        }
    }
    let keep = |record: &ledger::Record| arguments.method.as_ref().is_none_or(|m| record.key().method == *m);
    Ok(match format {
        TableFormat::Jsonl => ledger.export_jsonl(&arguments.output, keep)?,
        flat => ledger.export_table(&arguments.output, flat, keep)?,
    })
}

/// The scores of `report.json`.
fn scores(dir: &StudyDir, arguments: &ExportArgs, format: TableFormat) -> anyhow::Result<usize> {
    if arguments.method.is_some() {
        return Err(usage("--method chooses records; scores are of the study's own method"));
    }
    let path = dir.report_json();
    if !path.is_file() {
        return Err(usage(format!(
            "{} has no report yet, which the scores stand in: let `tribute run` come to its end",
            dir.root().display()
        )));
    }
    let damaged = |what: &str| {
        anyhow::anyhow!("{} is damaged ({what}); run the study again to write it anew", path.display())
    };
    let report: Value =
        serde_json::from_slice(&std::fs::read(&path)?).map_err(|error| damaged(&error.to_string()))?;
    let list = |value: &Value, name: &str| value[name].as_array().cloned().ok_or_else(|| damaged(name));
    let contributors = list(&report, "contributors")?;
    let columns = [
        "behavior",
        "contributor",
        "name",
        "score",
        "standard_error",
        "lower",
        "upper",
        "level",
        "rank",
        "estimator",
    ];
    let mut table = Table::new(columns.map(str::to_owned).to_vec());
    for behavior in list(&report, "behaviors")? {
        for score in list(&behavior, "scores")? {
            let contributor = score["contributor"].as_u64().ok_or_else(|| damaged("contributor"))?;
            let person = contributors.get(contributor as usize).ok_or_else(|| damaged("contributors"))?;
            table.push(vec![
                text(&behavior["key"]),
                Some(Cell::Integer(contributor as i64)),
                text(&person["name"]),
                number(&score["value"]),
                number(&score["standard_error"]),
                number(&score["interval"]["low"]),
                number(&score["interval"]["high"]),
                number(&behavior["confidence"]),
                score["rank"].as_i64().map(Cell::Integer),
                text(&behavior["method"]),
            ]);
        }
    }
    table.write(&arguments.output, format)?;
    Ok(table.len())
}

fn text(value: &Value) -> Option<Cell> {
    value.as_str().map(Cell::from)
}

fn number(value: &Value) -> Option<Cell> {
    value.as_f64().map(Cell::Number)
}

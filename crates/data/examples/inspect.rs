//! Prints who contributed how many images of a pack, a table or a folder.
//!
//! ```text
//! cargo run --release -p data --example inspect -- PATH [--key contributor,skin_tone] [--resolution 32]
//! ```

use data::{Dataset, OpenOptions};
use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "usage: inspect PATH [--key COLUMNS] [--resolution PIXELS]";

fn main() -> ExitCode {
    match inspect(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn inspect(mut arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn std::error::Error>> {
    let path = arguments.next().ok_or(USAGE)?;
    let mut options = OpenOptions::default();
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--key" => options.key = value.parse()?,
            "--resolution" => options.resolution = Some(value.parse()?),
            _ => return Err(USAGE.into()),
        }
    }
    let dataset = Dataset::open(path, &options)?;
    dataset.preload()?;
    let (width, height) = dataset.size();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", dataset.path().display())?;
    if let Some(pack) = dataset.description() {
        writeln!(out, "{} ({})", pack.credit, pack.licence)?;
    }
    writeln!(out, "columns: {}", dataset.columns().join(", "))?;
    writeln!(
        out,
        "{} images of {width} x {height} by {} contributors:",
        dataset.len(),
        dataset.contributors().len()
    )?;
    for contributor in dataset.contributors() {
        writeln!(out, "{:6}  {}", contributor.images.len(), contributor.name)?;
    }
    writeln!(out, "content hash: {}", dataset.content_hash()?)?;
    Ok(())
}

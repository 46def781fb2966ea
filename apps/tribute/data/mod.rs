//! `tribute data`: what images there are, and packs of them.

mod inspect;
mod pack;
mod page;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use data::{ContributorKey, DataError, DataFormat, Dataset, OpenOptions, Resize};
use study::StudyError;

/// Arguments of `tribute data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Show images, contributors, sizes, near duplicates and licence of a data set
    Inspect(inspect::InspectArgs),
    /// Write a data set as a pack: a sheet of images, a table, and licence and credit
    Pack(pack::PackArgs),
}

/// Which images.
#[derive(Debug, Args)]
struct SourceArgs {
    /// The images: all that `data.path` of a study can be
    path: PathBuf,
    /// What they are, as `data.format` of a study; found out when left out
    #[arg(long, value_parser = word::<DataFormat>)]
    format: Option<DataFormat>,
    /// Column, or columns joined by commas, that say who contributed an image
    #[arg(long, default_value = "contributor")]
    contributor: ContributorKey,
    /// Lines `name id` that say who is in each image of a folder
    #[arg(long)]
    identities: Option<PathBuf>,
    /// How images become smaller or larger: block-means or lanczos, as `data.resize` of a study
    #[arg(long, value_parser = word::<Resize>, default_value = "block-means")]
    resize: Resize,
}

impl SourceArgs {
    fn open(&self, resolution: Option<u32>) -> Result<Dataset, StudyError> {
        let options = OpenOptions {
            key: self.contributor.clone(),
            resolution,
            format: self.format,
            identities: self.identities.clone(),
            resize: self.resize,
            ..OpenOptions::default()
        };
        Ok(Dataset::open(&self.path, &options)?)
    }

    /// At the given size, or else at the size that all images have, or else at `otherwise`.
    fn open_at(&self, size: Option<u32>, otherwise: Option<u32>) -> Result<Dataset, StudyError> {
        match (self.open(size), otherwise) {
            (Err(StudyError::Data(DataError::MixedSizes { .. })), Some(size)) => self.open(Some(size)),
            (opened, _) => opened,
        }
    }
}

/// The value that a word of a study file means.
fn word<T: serde::de::DeserializeOwned>(word: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(word.replace('_', "-")))
}

/// Inspects or packs.
pub fn data(arguments: &DataArgs) -> anyhow::Result<()> {
    match &arguments.command {
        DataCommand::Inspect(arguments) => inspect::inspect(arguments),
        DataCommand::Pack(arguments) => pack::pack(arguments),
    }
}

/// Prints what was done to images that their makers might not expect.
fn warn(dataset: &Dataset) {
    for notice in dataset.notices() {
        terminal::tell(format_args!("warning: {notice}"));
    }
}

//! `tribute data pack`: a data set as one sheet and one table.

use std::path::PathBuf;

use clap::Args;
use data::PackNotice;
use study::StudyError;
use terminal::{tell, usage};

use super::{SourceArgs, warn};

/// Arguments of `tribute data pack`.
#[derive(Debug, Args)]
pub struct PackArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// New folder of the pack
    #[arg(long)]
    out: PathBuf,
    /// Side to which images are cropped and resized; their own when left out
    #[arg(long)]
    size: Option<u32>,
    /// Name of the pack; that of the folder when left out
    #[arg(long)]
    name: Option<String>,
    /// Licence of the images, as an SPDX expression where there is one; that of the pack at PATH when left out
    #[arg(long, alias = "license")]
    licence: Option<String>,
    /// Whom to credit wherever the images are shown; that of the pack at PATH when left out
    #[arg(long)]
    credit: Option<String>,
    /// Where the images come from; that of the pack at PATH, or its name, when left out
    #[arg(long)]
    origin: Option<String>,
}

/// Packs.
pub fn pack(arguments: &PackArgs) -> anyhow::Result<()> {
    let dataset = arguments.source.open_at(arguments.size, None)?;
    let given = dataset.description();
    let missing = |option: &str, what: &str| {
        usage(format!("{} does not say {what}: give {option}", dataset.path().display()))
    };
    let licence = arguments.licence.clone().or_else(|| Some(given?.licence.clone()));
    let credit = arguments.credit.clone().or_else(|| Some(given?.credit.clone()));
    let origin = arguments.origin.clone().or_else(|| Some(given?.origin.clone()));
    let folder_name = arguments.out.file_name().map(|name| name.to_string_lossy().into_owned());
    let notice = PackNotice {
        name: arguments
            .name
            .clone()
            .or(folder_name)
            .ok_or_else(|| usage(format!("{} is no name of a folder", arguments.out.display())))?,
        licence: licence.ok_or_else(|| missing("--licence", "under which licence its images are"))?,
        credit: credit.ok_or_else(|| missing("--credit", "whom to credit for its images"))?,
        origin: origin.unwrap_or_else(|| {
            let name = dataset.path().file_name().map(|name| name.to_string_lossy().into_owned());
            format!("Written by `tribute data pack` from {}.", name.unwrap_or_default())
        }),
    };
    dataset.write_pack(&arguments.out, &notice).map_err(StudyError::from)?;
    warn(&dataset);
    tell(format_args!(
        "{} images of {} x {} by {} contributors written to {}",
        dataset.len(),
        dataset.size().0,
        dataset.size().1,
        dataset.contributors().len(),
        arguments.out.display()
    ));
    Ok(())
}

//! `[data]`: which images, by whom, at which size.

use std::path::{Path, PathBuf};

use data::{Channels, ContributorKey, DataFormat, Dataset, OpenOptions, Resize, Selection};
use serde::{Deserialize, Serialize};

use super::require;
use crate::error::StudyError;

/// Images and their contributors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A dataset pack (its folder with `pack.toml`), a CSV with a column `file`, a published layout, or a folder of
    /// contributors' folders.
    pub path: PathBuf,
    /// A published layout; found out when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DataFormat>,
    /// Lines `name id` that say who is in each image of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<PathBuf>,
    /// Columns that together name the contributor.
    #[serde(default)]
    pub contributor: ContributorKey,
    /// Which contributors and images to keep; all when left out.
    #[serde(default)]
    pub select: Selection,
    /// Side of the square training images in pixels.
    pub resolution: usize,
    /// How images are brought to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resize: Resize,
    /// Channels that networks see: 3, or 1 for grey.
    #[serde(default, skip_serializing_if = "Channels::is_rgb")]
    pub channels: Channels,
    /// MiB of pixels kept in memory at most; images beyond are read at each use.
    #[serde(default = "default_cache_mib", skip_serializing_if = "is_default_cache")]
    pub cache_mib: u64,
    /// Share of each contributor's images held out of training, for the held-out loss.
    #[serde(default = "default_held_out")]
    pub held_out: f64,
    /// Mirror training images left to right at random.
    #[serde(default)]
    pub horizontal_flip: bool,
}

fn is_default(resize: &Resize) -> bool {
    *resize == Resize::default()
}

fn default_cache_mib() -> u64 {
    512
}

fn is_default_cache(mib: &u64) -> bool {
    *mib == default_cache_mib()
}

fn default_held_out() -> f64 {
    0.1
}

impl DataConfig {
    /// Opens the images.
    ///
    /// # Errors
    /// Those of [`Dataset::open`] and [`Dataset::select`].
    pub fn open(&self) -> Result<Dataset, StudyError> {
        let resolution = u32::try_from(self.resolution).ok();
        let options = OpenOptions {
            key: self.contributor.clone(),
            resolution,
            format: self.format,
            identities: self.identities.clone(),
            resize: self.resize,
            channels: self.channels,
            cache_bytes: Some(self.cache_mib << 20),
            ..OpenOptions::default()
        };
        Ok(Dataset::open(&self.path, &options)?.select(&self.select)?)
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        self.path = base.join(&self.path);
        self.identities = self.identities.as_ref().map(|file| base.join(file));
    }

    pub(super) fn validate(&self) -> Result<(), StudyError> {
        require(
            (4..=1024).contains(&self.resolution),
            "data.resolution",
            self.resolution,
            "4 to 1024 pixels",
        )?;
        require(self.select.max_images != Some(0), "data.select.max_images", 0, "1 or more")?;
        require(self.cache_mib <= 1 << 24, "data.cache_mib", self.cache_mib, "at most 16777216")?;
        require((0.0..1.0).contains(&self.held_out), "data.held_out", self.held_out, "at least 0 and below 1")
    }
}

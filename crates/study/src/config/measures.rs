//! `[measures]`: what behaviours refer to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use behavior::measure::held_out_loss::HeldOutLossConfig;
use behavior::{Behavior, CommandConfig, CommandName, Direction, WeightFiles};
use data::{Channels, ContributorKey, Dataset, OpenOptions};
use serde::{Deserialize, Serialize};

use super::require;
use crate::error::StudyError;

/// What behaviours are measured against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MeasuresConfig {
    /// Noises of each held-out image in `diffusion_loss`.
    pub noises: usize,
    /// Images that distances, manifolds and clusters refer to; the training images when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<PathBuf>,
    /// Columns of the reference images' table that together are their label, for `demographic_entropy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<ContributorKey>,
    /// File with the weights of the extractor `inception`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inception: Option<PathBuf>,
    /// File with the weights of the extractor `clip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<PathBuf>,
    /// File with the linear head of the aesthetic score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aesthetic_head: Option<PathBuf>,
    /// Programs that measure, by the name that stands behind `command_`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub commands: BTreeMap<String, CommandConfig>,
}

impl Default for MeasuresConfig {
    fn default() -> Self {
        Self {
            noises: HeldOutLossConfig::default().noises,
            reference: None,
            labels: None,
            inception: None,
            clip: None,
            aesthetic_head: None,
            commands: BTreeMap::new(),
        }
    }
}

impl MeasuresConfig {
    /// Whether all keys have their defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Opens the reference images at the side of the training images, in grey where those are.
    pub(crate) fn open_reference(
        &self,
        resolution: usize,
        channels: Channels,
    ) -> Result<Option<Dataset>, StudyError> {
        let Some(path) = &self.reference else { return Ok(None) };
        let resolution = u32::try_from(resolution).ok();
        Ok(Some(Dataset::open(path, &OpenOptions { resolution, channels, ..OpenOptions::default() })?))
    }

    /// The weights of all extractors, with those that ship in `folder`.
    pub fn weight_files(&self, folder: &Path) -> WeightFiles {
        WeightFiles {
            folder: folder.to_owned(),
            inception: self.inception.clone(),
            clip: self.clip.clone(),
            aesthetic_head: self.aesthetic_head.clone(),
        }
    }

    /// Which way a behaviour is better, also one that a command measures.
    pub fn direction(&self, behavior: &Behavior) -> Direction {
        match behavior {
            Behavior::Command { name } => {
                self.commands.get(name.as_str()).map_or(Direction::Neutral, |command| command.better)
            }
            other => other.direction(),
        }
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        self.map_paths(&|path| base.join(path));
    }

    /// Changes every path.
    pub(crate) fn map_paths(&mut self, change: &dyn Fn(&Path) -> PathBuf) {
        for path in [&mut self.reference, &mut self.inception, &mut self.clip, &mut self.aesthetic_head] {
            *path = path.take().map(|path| change(&path));
        }
        for command in self.commands.values_mut() {
            command.directory = change(&command.directory);
        }
    }

    pub(super) fn validate(&self) -> Result<(), StudyError> {
        require((1..=10_000).contains(&self.noises), "measures.noises", self.noises, "1 to 10,000")?;
        for (name, command) in &self.commands {
            require(
                CommandName::new(name).is_some(),
                "measures.commands",
                name,
                "names of 1 to 32 letters, digits and `_`",
            )?;
            command.validate().map_err(|source| StudyError::CommandSettings {
                name: name.clone(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    /// Checks that behaviours have what they are measured with, and that local ones have pictures.
    pub(super) fn validate_for(&self, behaviors: &[Behavior], pictures: usize) -> Result<(), StudyError> {
        for behavior in behaviors {
            match behavior {
                Behavior::Command { name } => require(
                    self.commands.contains_key(name.as_str()),
                    "behaviors",
                    behavior.key(),
                    "commands that `[measures.commands.NAME]` has",
                )?,
                Behavior::Local { image: Some(image), .. } => require(
                    *image < pictures,
                    "behaviors",
                    behavior.key(),
                    "pictures by number, from 0, below `sample.count`",
                )?,
                _ => {}
            }
        }
        Ok(())
    }
}

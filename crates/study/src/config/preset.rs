//! Whole studies of known data sets, by name.

use std::fmt;
use std::str::FromStr;

use crate::error::StudyError;

/// A data set with a study of its own: architecture, schedules and lengths of the paper (Lu et al. 2025,
/// <https://arxiv.org/abs/2407.03153>). Where its images are is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DatasetPreset {
    /// CIFAR-10.
    Cifar,
    /// Automobiles and horses of CIFAR-10.
    Cifar2,
    /// Four animal superclasses of CIFAR-100, twenty classes.
    Cifar20,
    /// CIFAR-100.
    Cifar100,
    /// CelebA-HQ.
    Celeba,
    /// MNIST.
    Mnist,
    /// Fashion-MNIST.
    FashionMnist,
}

impl DatasetPreset {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Cifar,
        Self::Cifar2,
        Self::Cifar20,
        Self::Cifar100,
        Self::Celeba,
        Self::Mnist,
        Self::FashionMnist,
    ];

    /// Its name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar => "cifar",
            Self::Cifar2 => "cifar2",
            Self::Cifar20 => "cifar20",
            Self::Cifar100 => "cifar100",
            Self::Celeba => "celeba",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
        }
    }

    /// Its study file, without `data.path`.
    pub fn toml(self) -> &'static str {
        match self {
            Self::Cifar => include_str!("../../presets/cifar.toml"),
            Self::Cifar2 => include_str!("../../presets/cifar2.toml"),
            Self::Cifar20 => include_str!("../../presets/cifar20.toml"),
            Self::Cifar100 => include_str!("../../presets/cifar100.toml"),
            Self::Celeba => include_str!("../../presets/celeba.toml"),
            Self::Mnist => include_str!("../../presets/mnist.toml"),
            Self::FashionMnist => include_str!("../../presets/fashion-mnist.toml"),
        }
    }
}

impl fmt::Display for DatasetPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DatasetPreset {
    type Err = StudyError;

    fn from_str(word: &str) -> Result<Self, StudyError> {
        let wanted = word.to_ascii_lowercase().replace('_', "-");
        Self::ALL
            .into_iter()
            .find(|preset| preset.name() == wanted)
            .ok_or_else(|| StudyError::UnknownPreset { word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, StudyConfig};

    #[test]
    fn every_preset_is_a_valid_study_once_it_has_images() {
        for preset in DatasetPreset::ALL {
            assert_eq!(preset.name().parse::<DatasetPreset>().unwrap(), preset);
            let mut set = Overrides::default();
            set.set("data.path", Some("images"));
            let config = StudyConfig::layered(Some(preset), None, &set).unwrap();
            assert_eq!(config.name, preset.name());
            config.validate().unwrap();
        }
        let error = "imagenet".parse::<DatasetPreset>().unwrap_err().to_string();
        assert!(error.contains("imagenet") && error.contains("fashion-mnist"), "{error}");
    }

    #[test]
    fn they_use_the_parts_and_sizes_of_the_known_data_sets() {
        let mut set = Overrides::default();
        set.set("data.path", Some("images"));
        for preset in DatasetPreset::ALL {
            let known: data::KnownDataset = preset.name().parse().unwrap();
            let config = StudyConfig::layered(Some(preset), None, &set).unwrap().data;
            assert_eq!(config.select, known.selection(), "{preset}");
            assert_eq!(config.channels.count(), known.channels(), "{preset}");
            assert_eq!(config.horizontal_flip, known.horizontal_flip(), "{preset}");
        }
    }

    #[test]
    fn the_lengths_are_the_papers() {
        let mut set = Overrides::default();
        set.set("data.path", Some("images"));
        let lengths = |preset| {
            let config = StudyConfig::layered(Some(preset), None, &set).unwrap();
            (config.train.steps, config.fine_tune.steps, config.unlearn.steps)
        };
        assert_eq!(lengths(DatasetPreset::Cifar), (200_000, 200_000, 4000));
        assert_eq!(lengths(DatasetPreset::Cifar20), (20_000, 10_000, 1000));
        assert_eq!(lengths(DatasetPreset::Celeba), (20_000, 20_000, 500));
        assert_eq!(lengths(DatasetPreset::Mnist), (100, 100, 10));
    }
}

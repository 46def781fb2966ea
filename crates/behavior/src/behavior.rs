use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{BehaviorError, ExtractorNetwork, ExtractorSpec};

/// The neighbours of precision and recall in the paper.
pub const DEFAULT_NEIGHBOURS: usize = 3;
/// The neighbours of density and coverage in the paper, and of the classifier of the demographic entropy.
pub const DEFAULT_NEAREST: usize = 5;
/// The usual number of clusters of the cluster entropy.
pub const DEFAULT_CLUSTERS: usize = 20;

const EXAMPLES: &str = "`colourfulness`, `is_lite0`, `fid_squeezenet_64px`, `precision_lite0`, `recall_lite0_k5`, \
                        `entropy_lite0_64px_c10`, `density_lite0`, `coverage_lite0`, `demographic_entropy_lite0`, `aesthetic_p90`, \
                        `diffusion_loss`, `avg_mse`, `ssim_3` or `command_NAME`";

/// A model behaviour: what is measured on a model's samples, or on the model itself.
///
/// In files and on command lines a behaviour is its [key](Behavior::key).
///
/// ```
/// use behavior::Behavior;
///
/// let behavior: Behavior = "entropy_lite0_64px".parse()?;
/// assert_eq!(behavior.key(), "entropy_lite0_64px");
/// # Ok::<(), behavior::BehaviorError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Behavior {
    /// [Colourfulness](crate::measure::pixel_properties::colourfulness) of Hasler and Süsstrunk.
    Colourfulness,
    /// [Mean luma](crate::measure::pixel_properties::brightness).
    Brightness,
    /// [Mean HSV saturation](crate::measure::pixel_properties::saturation).
    Saturation,
    /// [Share of nearly white pixels](crate::measure::pixel_properties::background_fraction).
    Background,
    /// [Inception score](crate::measure::inception_score::inception_score).
    InceptionScore {
        /// Whose class probabilities.
        extractor: ExtractorSpec,
    },
    /// [Fréchet distance](crate::measure::frechet_distance) to the reference images.
    FrechetDistance {
        /// Whose features.
        extractor: ExtractorSpec,
    },
    /// [Share of the samples within the reference images' manifold](crate::measure::precision_recall).
    Precision {
        /// Whose features.
        extractor: ExtractorSpec,
        /// Which neighbour sets the radius.
        k: usize,
    },
    /// [Share of the reference images within the samples' manifold](crate::measure::precision_recall).
    Recall {
        /// Whose features.
        extractor: ExtractorSpec,
        /// Which neighbour sets the radius.
        k: usize,
    },
    /// [Entropy of the samples over clusters of the reference images](crate::measure::cluster_entropy), in bits.
    ClusterEntropy {
        /// Whose features.
        extractor: ExtractorSpec,
        /// The number of clusters.
        clusters: usize,
    },
    /// [How many reference images' neighbourhoods a sample lies in](crate::measure::density_coverage).
    Density {
        /// Whose features.
        extractor: ExtractorSpec,
        /// Which neighbour sets the radius.
        k: usize,
    },
    /// [Share of the reference images' neighbourhoods with a sample inside](crate::measure::density_coverage).
    Coverage {
        /// Whose features.
        extractor: ExtractorSpec,
        /// Which neighbour sets the radius.
        k: usize,
    },
    /// [Entropy of the samples over true labels of the reference images](crate::measure::label_entropy), in bits.
    DemographicEntropy {
        /// Whose features.
        extractor: ExtractorSpec,
        /// How many neighbours tell a sample's label.
        k: usize,
    },
    /// [Aesthetic score](crate::extractor::AestheticHead) of CLIP's features, over the samples.
    Aesthetic {
        /// What is told of the samples' scores.
        statistic: Statistic,
    },
    /// [Noise-prediction error on held-out images](crate::measure::held_out_loss).
    DiffusionLoss,
    /// What became of the full model's pictures: of one, or on average.
    Local {
        /// What is compared.
        measure: LocalMeasure,
        /// The number of the picture; the mean over all when none.
        image: Option<usize>,
    },
    /// What [a program of the user's](crate::measure::command) prints.
    Command {
        /// The name of the command.
        name: CommandName,
    },
}

/// What is told of the values of many samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statistic {
    /// The mean.
    Mean,
    /// The 90th percentile.
    Percentile90,
}

/// A comparison of a picture of the full model with the picture that another model makes from the same noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalMeasure {
    /// [Mean squared error](crate::measure::image_similarity::mean_squared_error).
    Mse,
    /// [Its root over that of the full model's picture](crate::measure::image_similarity::normalized_root_mse).
    Nrmse,
    /// [Structural similarity](crate::measure::image_similarity::structural_similarity).
    Ssim,
    /// The other model's noise-prediction error on the full model's picture.
    DiffusionLoss,
}

impl LocalMeasure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mse, Self::Nrmse, Self::Ssim, Self::DiffusionLoss];

    /// The name in keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mse => "mse",
            Self::Nrmse => "nrmse",
            Self::Ssim => "ssim",
            Self::DiffusionLoss => "diffusion_loss",
        }
    }
}

/// The name of a user's command: 1 to 32 letters, digits and `_`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandName {
    bytes: [u8; Self::MAX],
    length: u8,
}

impl CommandName {
    const MAX: usize = 32;

    /// Takes a name; `None` if it has other characters or is too long.
    pub fn new(name: &str) -> Option<Self> {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || name.is_empty() || name.len() > Self::MAX {
            return None;
        }
        let mut bytes = [0; Self::MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self { bytes, length: name.len() as u8 })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        // Made of ASCII alone.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Which way a behaviour is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better, as for the Inception score.
    #[serde(alias = "higher")]
    HigherIsBetter,
    /// Less is better, as for a distance or a loss.
    #[serde(alias = "lower")]
    LowerIsBetter,
    /// A property without better and worse, as colourfulness.
    #[serde(alias = "neither")]
    Neutral,
}

/// What a behaviour is measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The pixels of the samples alone.
    Pixels,
    /// A feature extractor.
    Extractor(ExtractorSpec),
    /// A feature extractor, and reference images.
    Reference(ExtractorSpec),
    /// CLIP's features, and an aesthetic head.
    Aesthetic,
    /// A feature extractor, and reference images with labels.
    Labels(ExtractorSpec),
    /// The model itself, and held-out images.
    Model,
    /// The model itself, and pictures of the full model.
    FullModel,
    /// A user's command.
    Command(CommandName),
}

impl Needs {
    /// The extractor that the samples go through, if any.
    pub fn extractor(self) -> Option<ExtractorSpec> {
        match self {
            Self::Extractor(spec) | Self::Reference(spec) | Self::Labels(spec) => Some(spec),
            Self::Aesthetic => Some(ExtractorSpec::native(ExtractorNetwork::Clip)),
            Self::Pixels | Self::Model | Self::FullModel | Self::Command(_) => None,
        }
    }
}

impl Behavior {
    /// The score's name: the measure, the extractor with its input size where it is not the native one, and parameters
    /// that are not the usual ones, as in `fid_squeezenet`, `entropy_lite0_64px`, `recall_lite0_k5`.
    ///
    /// A score also depends on the number of samples, which stands beside it in a [`Score`](crate::Score).
    pub fn key(&self) -> String {
        self.to_string()
    }

    /// Which way is better. What a command measures has a direction of its own, in its
    /// [settings](crate::measure::command::CommandConfig::better).
    pub fn direction(&self) -> Direction {
        match self {
            Self::Colourfulness
            | Self::Brightness
            | Self::Saturation
            | Self::Background
            | Self::Command { .. } => Direction::Neutral,
            Self::Local { measure: LocalMeasure::Ssim, .. } => Direction::HigherIsBetter,
            Self::FrechetDistance { .. } | Self::DiffusionLoss | Self::Local { .. } => {
                Direction::LowerIsBetter
            }
            Self::InceptionScore { .. }
            | Self::Precision { .. }
            | Self::Recall { .. }
            | Self::Density { .. }
            | Self::Coverage { .. }
            | Self::DemographicEntropy { .. }
            | Self::Aesthetic { .. }
            | Self::ClusterEntropy { .. } => Direction::HigherIsBetter,
        }
    }

    /// What it is measured with.
    pub fn needs(&self) -> Needs {
        match *self {
            Self::Colourfulness | Self::Brightness | Self::Saturation | Self::Background => Needs::Pixels,
            Self::InceptionScore { extractor } => Needs::Extractor(extractor),
            Self::FrechetDistance { extractor }
            | Self::Precision { extractor, .. }
            | Self::Recall { extractor, .. }
            | Self::Density { extractor, .. }
            | Self::Coverage { extractor, .. }
            | Self::ClusterEntropy { extractor, .. } => Needs::Reference(extractor),
            Self::DemographicEntropy { extractor, .. } => Needs::Labels(extractor),
            Self::Aesthetic { .. } => Needs::Aesthetic,
            Self::DiffusionLoss => Needs::Model,
            Self::Local { .. } => Needs::FullModel,
            Self::Command { name } => Needs::Command(name),
        }
    }
}

impl fmt::Display for Behavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameter = |f: &mut fmt::Formatter<'_>, k: usize, usual: usize| {
            if k == usual { Ok(()) } else { write!(f, "_k{k}") }
        };
        let neighbours = |f: &mut fmt::Formatter<'_>, k| parameter(f, k, DEFAULT_NEIGHBOURS);
        let nearest = |f: &mut fmt::Formatter<'_>, k| parameter(f, k, DEFAULT_NEAREST);
        match self {
            Self::Colourfulness => f.write_str("colourfulness"),
            Self::Brightness => f.write_str("brightness"),
            Self::Saturation => f.write_str("saturation"),
            Self::Background => f.write_str("background"),
            Self::DiffusionLoss => f.write_str("diffusion_loss"),
            Self::InceptionScore { extractor } => write!(f, "is_{extractor}"),
            Self::FrechetDistance { extractor } => write!(f, "fid_{extractor}"),
            Self::Precision { extractor, k } => {
                write!(f, "precision_{extractor}")?;
                neighbours(f, *k)
            }
            Self::Recall { extractor, k } => {
                write!(f, "recall_{extractor}")?;
                neighbours(f, *k)
            }
            Self::Density { extractor, k } => {
                write!(f, "density_{extractor}")?;
                nearest(f, *k)
            }
            Self::Coverage { extractor, k } => {
                write!(f, "coverage_{extractor}")?;
                nearest(f, *k)
            }
            Self::DemographicEntropy { extractor, k } => {
                write!(f, "demographic_entropy_{extractor}")?;
                nearest(f, *k)
            }
            Self::Aesthetic { statistic: Statistic::Mean } => f.write_str("aesthetic_mean"),
            Self::Aesthetic { statistic: Statistic::Percentile90 } => f.write_str("aesthetic_p90"),
            Self::Local { measure, image: None } => write!(f, "avg_{}", measure.name()),
            Self::Local { measure, image: Some(image) } => write!(f, "{}_{image}", measure.name()),
            Self::Command { name } => write!(f, "command_{}", name.as_str()),
            Self::ClusterEntropy { extractor, clusters: DEFAULT_CLUSTERS } => {
                write!(f, "entropy_{extractor}")
            }
            Self::ClusterEntropy { extractor, clusters } => write!(f, "entropy_{extractor}_c{clusters}"),
        }
    }
}

impl FromStr for Behavior {
    type Err = BehaviorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason: String| BehaviorError::UnknownBehavior {
            name: text.to_string(),
            reason,
            examples: EXAMPLES,
        };
        match text {
            "colourfulness" => return Ok(Self::Colourfulness),
            "brightness" => return Ok(Self::Brightness),
            "saturation" => return Ok(Self::Saturation),
            "background" => return Ok(Self::Background),
            "diffusion_loss" => return Ok(Self::DiffusionLoss),
            "aesthetic_mean" => return Ok(Self::Aesthetic { statistic: Statistic::Mean }),
            "aesthetic_p90" => return Ok(Self::Aesthetic { statistic: Statistic::Percentile90 }),
            _ => {}
        }
        if let Some(local) = local(text) {
            return Ok(local);
        }
        if let Some(name) = text.strip_prefix("command_") {
            let name = CommandName::new(name)
                .ok_or_else(|| refuse("a command's name has 1 to 32 letters, digits and `_`".to_string()))?;
            return Ok(Self::Command { name });
        }
        let (measure, rest) = match text.strip_prefix("demographic_entropy_") {
            Some(rest) => ("demographic_entropy", rest),
            None => text
                .split_once('_')
                .ok_or_else(|| refuse("no such measure, or its extractor is missing".to_string()))?,
        };
        // The last part is a parameter where it is the measure's letter and a number: `_k5`, `_c10`.
        let parameter = |letter: char, usual: usize| -> Result<(ExtractorSpec, usize), BehaviorError> {
            let own = rest.rsplit_once('_').and_then(|(extractor, last)| {
                let number: usize = last.strip_prefix(letter)?.parse().ok()?;
                Some((extractor, number))
            });
            let (extractor, number) = own.unwrap_or((rest, usual));
            if number == 0 {
                return Err(refuse(format!("`{letter}0` is no number of neighbours or clusters")));
            }
            let extractor = extractor.parse().map_err(|error: BehaviorError| match error {
                BehaviorError::UnknownBehavior { reason, .. } => refuse(reason),
                other => other,
            })?;
            Ok((extractor, number))
        };
        let extractor = || parameter('\0', 1).map(|(extractor, _)| extractor);
        match measure {
            "is" => match extractor()? {
                ExtractorSpec { network: ExtractorNetwork::Clip, .. } => {
                    Err(refuse("CLIP's image tower tells no classes".to_string()))
                }
                extractor => Ok(Self::InceptionScore { extractor }),
            },
            "fid" => Ok(Self::FrechetDistance { extractor: extractor()? }),
            "precision" => {
                parameter('k', DEFAULT_NEIGHBOURS).map(|(extractor, k)| Self::Precision { extractor, k })
            }
            "recall" => {
                parameter('k', DEFAULT_NEIGHBOURS).map(|(extractor, k)| Self::Recall { extractor, k })
            }
            "density" => parameter('k', DEFAULT_NEAREST).map(|(extractor, k)| Self::Density { extractor, k }),
            "coverage" => {
                parameter('k', DEFAULT_NEAREST).map(|(extractor, k)| Self::Coverage { extractor, k })
            }
            "demographic_entropy" => parameter('k', DEFAULT_NEAREST)
                .map(|(extractor, k)| Self::DemographicEntropy { extractor, k }),
            "entropy" => parameter('c', DEFAULT_CLUSTERS)
                .map(|(extractor, clusters)| Self::ClusterEntropy { extractor, clusters }),
            other => Err(refuse(format!("there is no measure `{other}`"))),
        }
    }
}

/// `avg_ssim`, or `ssim_3` for picture 3.
fn local(text: &str) -> Option<Behavior> {
    let of_name = |name: &str| LocalMeasure::ALL.into_iter().find(|measure| measure.name() == name);
    if let Some(name) = text.strip_prefix("avg_") {
        return Some(Behavior::Local { measure: of_name(name)?, image: None });
    }
    let (name, number) = text.rsplit_once('_')?;
    // Written as it would be read back: no sign, no leading zeros.
    let image = number.parse().ok().filter(|image: &usize| image.to_string() == number)?;
    Some(Behavior::Local { measure: of_name(name)?, image: Some(image) })
}

impl TryFrom<String> for Behavior {
    type Error = BehaviorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Behavior> for String {
    fn from(behavior: Behavior) -> Self {
        behavior.key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        for key in [
            "colourfulness",
            "brightness",
            "saturation",
            "background",
            "diffusion_loss",
            "is_lite0",
            "fid_squeezenet",
            "entropy_lite0_64px",
            "entropy_squeezenet_c7",
            "precision_lite0_96px_k5",
            "recall_lite0",
            "fid_inception",
            "is_inception",
            "precision_clip_k7",
            "density_lite0_64px",
            "coverage_inception_k3",
            "demographic_entropy_clip",
            "demographic_entropy_squeezenet_64px_k1",
            "aesthetic_p90",
            "aesthetic_mean",
            "avg_mse",
            "avg_diffusion_loss",
            "diffusion_loss_12",
            "nrmse_0",
            "command_faces_in_2_rows",
        ] {
            let behavior: Behavior = key.parse().unwrap();
            assert_eq!(behavior.key(), key);
            let json = serde_json::to_string(&behavior).unwrap();
            assert_eq!(json, format!("\"{key}\""));
            assert_eq!(serde_json::from_str::<Behavior>(&json).unwrap(), behavior);
        }
        assert_eq!("recall_lite0_224px_k3".parse::<Behavior>().unwrap().key(), "recall_lite0");
    }

    #[test]
    fn wrong_keys_are_refused_with_the_reason() {
        for (key, part) in [
            ("colour", "its extractor is missing"),
            ("is", "its extractor is missing"),
            ("is_vgg", "no extractor `vgg`"),
            ("is_clip", "no classes"),
            ("fid_inception_64px", "299 px"),
            ("command_", "1 to 32"),
            ("command_a-b", "1 to 32"),
            ("avg_is", "no measure `avg`"),
            ("mse_01", "no measure `mse`"),
            ("density_lite0_k0", "`k0`"),
            ("kid_lite0", "no measure `kid`"),
            ("is_lite0_k3", "`k3` is no size in px"),
            ("recall_lite0_k0", "`k0`"),
            ("entropy_lite0_64px_c", "no size in px"),
            ("fid_lite0_8px", "32 to 512 px"),
            ("", "its extractor is missing"),
        ] {
            let error = key.parse::<Behavior>().unwrap_err().to_string();
            assert!(error.contains(part), "{key}: {error}");
        }
    }
}

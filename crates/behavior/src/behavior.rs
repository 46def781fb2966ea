use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{BehaviorError, ExtractorSpec};

/// The neighbours of precision and recall in the paper.
pub const DEFAULT_NEIGHBOURS: usize = 3;
/// The usual number of clusters of the cluster entropy.
pub const DEFAULT_CLUSTERS: usize = 20;

const EXAMPLES: &str = "`colourfulness`, `is_lite0`, `fid_squeezenet_64px`, `precision_lite0`, `recall_lite0_k5`, \
                        `entropy_lite0_64px_c10` or `diffusion_loss`";

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
    /// [Noise-prediction error on held-out images](crate::measure::held_out_loss).
    DiffusionLoss,
}

/// Which way a behaviour is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better, as for the Inception score.
    HigherIsBetter,
    /// Less is better, as for a distance or a loss.
    LowerIsBetter,
    /// A property without better and worse, as colourfulness.
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
    /// The model itself, and held-out images.
    Model,
}

impl Behavior {
    /// The score's name: the measure, the extractor with its input size where it is not the native one, and parameters
    /// that are not the usual ones, as in `fid_squeezenet`, `entropy_lite0_64px`, `recall_lite0_k5`.
    ///
    /// A score also depends on the number of samples, which stands beside it in a [`Score`](crate::Score).
    pub fn key(&self) -> String {
        self.to_string()
    }

    /// Which way is better.
    pub fn direction(&self) -> Direction {
        match self {
            Self::Colourfulness | Self::Brightness | Self::Saturation | Self::Background => {
                Direction::Neutral
            }
            Self::FrechetDistance { .. } | Self::DiffusionLoss => Direction::LowerIsBetter,
            Self::InceptionScore { .. }
            | Self::Precision { .. }
            | Self::Recall { .. }
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
            | Self::ClusterEntropy { extractor, .. } => Needs::Reference(extractor),
            Self::DiffusionLoss => Needs::Model,
        }
    }
}

impl fmt::Display for Behavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let neighbours = |f: &mut fmt::Formatter<'_>, k: usize| match k {
            DEFAULT_NEIGHBOURS => Ok(()),
            k => write!(f, "_k{k}"),
        };
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
            _ => {}
        }
        let (measure, rest) = text
            .split_once('_')
            .ok_or_else(|| refuse("no such measure, or its extractor is missing".to_string()))?;
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
            "is" => Ok(Self::InceptionScore { extractor: extractor()? }),
            "fid" => Ok(Self::FrechetDistance { extractor: extractor()? }),
            "precision" => {
                parameter('k', DEFAULT_NEIGHBOURS).map(|(extractor, k)| Self::Precision { extractor, k })
            }
            "recall" => {
                parameter('k', DEFAULT_NEIGHBOURS).map(|(extractor, k)| Self::Recall { extractor, k })
            }
            "entropy" => parameter('c', DEFAULT_CLUSTERS)
                .map(|(extractor, clusters)| Self::ClusterEntropy { extractor, clusters }),
            other => Err(refuse(format!("there is no measure `{other}`"))),
        }
    }
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
            ("is_inception", "no extractor `inception`"),
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

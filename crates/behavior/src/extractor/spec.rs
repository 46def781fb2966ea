use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::inception;
use super::resize::Plane;
use crate::BehaviorError;

/// A pretrained network. The first two ship with the project, in `datasets/weights`; the others are read from files of the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtractorNetwork {
    /// SqueezeNet 1.1: 512 features, 227 px.
    SqueezeNet,
    /// EfficientNet-Lite0: 1280 features, 224 px.
    Lite0,
    /// The Inception v3 of published Fréchet distances: 2048 features, 299 px.
    Inception,
    /// The image tower of CLIP, of the size that its file has: 512 (ViT-B/32) or 768 (ViT-L/14) features, usually 224 px.
    Clip,
}

impl ExtractorNetwork {
    /// All networks.
    pub const ALL: [Self; 4] = [Self::SqueezeNet, Self::Lite0, Self::Inception, Self::Clip];

    /// The name in score names.
    pub fn name(self) -> &'static str {
        match self {
            Self::SqueezeNet => "squeezenet",
            Self::Lite0 => "lite0",
            Self::Inception => "inception",
            Self::Clip => "clip",
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::SqueezeNet => "SqueezeNet 1.1",
            Self::Lite0 => "EfficientNet-Lite0",
            Self::Inception => "Inception v3",
            Self::Clip => "CLIP's image tower",
        }
    }

    /// The name of the weights file in the folder of those that ship, and the usual one of the others.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::SqueezeNet => "squeezenet1_1.f16.safetensors",
            Self::Lite0 => "efficientnet_lite0.f16.safetensors",
            Self::Inception => "pt_inception-2015-12-05-6726825d.pth",
            Self::Clip => "ViT-L-14.safetensors",
        }
    }

    /// The side in pixels of the images that the network was trained on.
    pub fn native_size(self) -> usize {
        match self {
            Self::SqueezeNet => 227,
            Self::Lite0 | Self::Clip => 224,
            Self::Inception => 299,
        }
    }

    /// The number of features, where the network alone tells it.
    pub fn features(self) -> Option<usize> {
        match self {
            Self::SqueezeNet => Some(512),
            Self::Lite0 => Some(1280),
            Self::Inception => Some(inception::FEATURES),
            Self::Clip => None,
        }
    }

    /// Whether images can be shown to it at other sizes than its own.
    fn takes_any_size(self) -> bool {
        matches!(self, Self::SqueezeNet | Self::Lite0)
    }

    /// How the input planes are made of an RGB image.
    pub(super) fn planes(self) -> [Plane; 3] {
        match self {
            Self::SqueezeNet => [(2, 103.939), (1, 116.779), (0, 123.68)].map(|(channel, mean)| Plane {
                channel,
                scale: 1.0,
                shift: -mean,
            }),
            Self::Lite0 => {
                [0, 1, 2].map(|channel| Plane { channel, scale: 1.0 / 128.0, shift: -127.0 / 128.0 })
            }
            Self::Inception => [0, 1, 2].map(|channel| Plane { channel, scale: 2.0 / 255.0, shift: -1.0 }),
            Self::Clip => {
                let [mean, deviation] =
                    [[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.261_302_6, 0.275_777_1]];
                [0, 1, 2].map(|channel| Plane {
                    channel,
                    scale: 1.0 / (255.0 * deviation[channel]),
                    shift: -mean[channel] / deviation[channel],
                })
            }
        }
    }
}

/// A network and the size at which it sees the images; written `lite0` or `lite0_64px`.
///
/// A size under the native one is much cheaper and enough for images of 16 to 32 px; the networks that ship are fully
/// convolutional up to the spatial mean. Scores at different sizes are different scores. Inception and CLIP have one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExtractorSpec {
    /// The network.
    pub network: ExtractorNetwork,
    /// The side in pixels, or none for the network's native size.
    pub input_size: Option<usize>,
}

impl ExtractorSpec {
    /// The smallest input size: below it the networks' maps vanish.
    pub const MIN_SIZE: usize = 32;
    /// The largest input size.
    pub const MAX_SIZE: usize = 512;

    /// `network` at its native size.
    pub fn native(network: ExtractorNetwork) -> Self {
        Self { network, input_size: None }
    }

    /// `network` at `size` px; the native size is written as none, so that equal extractors are equal values.
    ///
    /// # Errors
    /// [`BehaviorError::Parameter`] where `size` is outside [`Self::MIN_SIZE`] to [`Self::MAX_SIZE`].
    pub fn at(network: ExtractorNetwork, size: usize) -> Result<Self, BehaviorError> {
        let spec = Self { network, input_size: (size != network.native_size()).then_some(size) };
        spec.validate()?;
        Ok(spec)
    }

    /// The side in pixels of the network's input.
    pub fn size(&self) -> usize {
        self.input_size.unwrap_or(self.network.native_size())
    }

    /// Checks the input size.
    ///
    /// # Errors
    /// [`BehaviorError::Parameter`] as for [`ExtractorSpec::at`].
    pub fn validate(&self) -> Result<(), BehaviorError> {
        let size = self.size();
        let own = self.network.native_size();
        if !self.network.takes_any_size() && size != own {
            return Err(BehaviorError::Parameter {
                name: "input size",
                value: format!("{size} px"),
                valid: format!("left out: {} takes {own} px alone", self.network.title()),
            });
        }
        if (Self::MIN_SIZE..=Self::MAX_SIZE).contains(&size) {
            return Ok(());
        }
        Err(BehaviorError::Parameter {
            name: "input size",
            value: format!("{size} px"),
            valid: format!("{} to {} px", Self::MIN_SIZE, Self::MAX_SIZE),
        })
    }

    /// Images a batch: few enough that the largest feature maps (some 20 MB) stay near the processor's caches.
    pub(super) fn batch_size(&self) -> usize {
        (6 * 224 * 224 / (self.size() * self.size())).clamp(1, 32)
    }
}

impl fmt::Display for ExtractorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.network.name())?;
        match self.input_size {
            Some(size) if size != self.network.native_size() => write!(f, "_{size}px"),
            _ => Ok(()),
        }
    }
}

impl FromStr for ExtractorSpec {
    type Err = BehaviorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason: String| BehaviorError::UnknownBehavior {
            name: text.to_string(),
            reason,
            examples: "`squeezenet`, `lite0`, `lite0_64px`, `inception` or `clip`",
        };
        let (name, size) = match text.split_once('_') {
            Some((name, size)) => (name, Some(size)),
            None => (text, None),
        };
        let network = ExtractorNetwork::ALL
            .into_iter()
            .find(|network| network.name() == name)
            .ok_or_else(|| refuse(format!("there is no extractor `{name}`")))?;
        match size {
            None => Ok(Self::native(network)),
            Some(size) => {
                let pixels = size.strip_suffix("px").and_then(|digits| digits.parse().ok());
                Self::at(network, pixels.ok_or_else(|| refuse(format!("`{size}` is no size in px")))?)
            }
        }
    }
}

impl TryFrom<String> for ExtractorSpec {
    type Error = BehaviorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ExtractorSpec> for String {
    fn from(spec: ExtractorSpec) -> Self {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["squeezenet", "lite0", "lite0_64px", "squeezenet_96px", "inception", "clip"] {
            assert_eq!(name.parse::<ExtractorSpec>().unwrap().to_string(), name);
        }
        assert_eq!(
            "lite0_224px".parse::<ExtractorSpec>().unwrap(),
            ExtractorSpec::native(ExtractorNetwork::Lite0)
        );
    }

    #[test]
    fn wrong_names_are_refused() {
        for (name, part) in [
            ("vgg", "no extractor `vgg`"),
            ("inception_64px", "299 px alone"),
            ("clip_96px", "left out"),
            ("lite0_64", "no size in px"),
            ("lite0_16px", "32 to 512 px"),
            ("lite0_px", "no size in px"),
            ("lite0_9999px", "32 to 512 px"),
        ] {
            let error = name.parse::<ExtractorSpec>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}

//! The comparison methods, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::InfluenceError;

/// How training images are scored against a model's samples without making a model for any coalition.
///
/// Notation: training images z_n, samples s, unit pixels or features f, projected gradients
/// `phi(z) = P' g(z) / sqrt(d)` with `g(z)` the mean over timesteps and noises of the loss's gradient and P a random
/// `[parameters, d]` matrix, kernel `K = sum_n phi(z_n) phi(z_n)' + (damping / d) I`. A training image's score is the mean
/// over samples; a contributor's score is the mean (for the `max` methods, the maximum) over the contributor's images.
///
/// The scores know no model behaviour: high says that the image pushed the model towards these samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InfluenceMethod {
    /// Cosine of the raw pixels (0..1, all channels): mean over the contributor's images.
    PixelSimilarityMean,
    /// Cosine of the raw pixels: maximum over the contributor's images.
    PixelSimilarityMax,
    /// Cosine of the features of a pretrained network: mean over the contributor's images.
    FeatureSimilarityMean,
    /// Cosine of the features: maximum over the contributor's images.
    FeatureSimilarityMax,
    /// Negated Euclidean distance of the features: mean over the contributor's images.
    FeatureDistanceMean,
    /// Negated Euclidean distance of the features: maximum, that is the nearest image.
    FeatureDistanceMax,
    /// Cosine of the gradients, `phi(s)' phi(z) / (|phi(s)| |phi(z)|)`. Charpiat et al. 2019,
    /// <https://arxiv.org/abs/1912.05481>.
    GradientSimilarity,
    /// `phi(s)' K^-1 phi(z)`. Park et al. 2023, equation 13 with one model and the loss as the model's output,
    /// <https://arxiv.org/abs/2303.14186>.
    Trak,
    /// As `trak`, with the gradient of the mean squared output `|epsilon(x_t, t)|^2 / (C H W)` in place of the loss's, of
    /// samples and of training images. Zheng et al. 2024, <https://arxiv.org/abs/2311.00500>.
    #[serde(alias = "dtrak")]
    DTrak,
    /// As `trak`, with the samples' gradients taken on their way: at each visited timestep the clean image that the model
    /// then predicts is noised anew to that timestep. Georgiev et al. 2023, <https://arxiv.org/abs/2312.06205>.
    JourneyTrak,
    /// `trak` over the norm of the parameters' change, `|K^-1 phi(z)|`. Barshan et al. 2020 (theta-relative influence),
    /// <https://arxiv.org/abs/2003.11630>.
    RelativeInfluence,
    /// `trak` over the norm of the gradient, `|phi(z)|`. Hammoudeh and Lowd 2022, <https://arxiv.org/abs/2201.10055>.
    #[serde(alias = "renormalized_influence")]
    RenormalisedInfluence,
    /// By how much the loss on the model's own samples rises when a contributor's images are unlearned. Murata et al. 2026
    /// (GUDA), <https://arxiv.org/abs/2601.22651>. It makes one model for each contributor, so it scores no single images, and is
    /// computed by who can make them.
    Guda,
}

/// What a method is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// Raw pixels.
    Pixels,
    /// Features of a pretrained network.
    Features,
    /// Projected gradients of the model.
    Gradients,
    /// Models that unlearned a contributor.
    Unlearning,
}

/// From the scores of a contributor's images to the contributor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// Their mean.
    Mean,
    /// Their maximum.
    Max,
}

impl InfluenceMethod {
    /// All methods; those that make models last.
    pub const ALL: [Self; 13] = [
        Self::PixelSimilarityMean,
        Self::PixelSimilarityMax,
        Self::FeatureSimilarityMean,
        Self::FeatureSimilarityMax,
        Self::FeatureDistanceMean,
        Self::FeatureDistanceMax,
        Self::GradientSimilarity,
        Self::Trak,
        Self::DTrak,
        Self::JourneyTrak,
        Self::RelativeInfluence,
        Self::RenormalisedInfluence,
        Self::Guda,
    ];

    /// The methods that make no models.
    pub fn without_models() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|method| method.evidence() != Evidence::Unlearning)
    }

    /// The method as a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::PixelSimilarityMean => "pixel_similarity_mean",
            Self::PixelSimilarityMax => "pixel_similarity_max",
            Self::FeatureSimilarityMean => "feature_similarity_mean",
            Self::FeatureSimilarityMax => "feature_similarity_max",
            Self::FeatureDistanceMean => "feature_distance_mean",
            Self::FeatureDistanceMax => "feature_distance_max",
            Self::GradientSimilarity => "gradient_similarity",
            Self::Trak => "trak",
            Self::DTrak => "d_trak",
            Self::JourneyTrak => "journey_trak",
            Self::RelativeInfluence => "relative_influence",
            Self::RenormalisedInfluence => "renormalised_influence",
            Self::Guda => "guda",
        }
    }

    /// The method for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::PixelSimilarityMean => "Pixel similarity (mean)",
            Self::PixelSimilarityMax => "Pixel similarity (max)",
            Self::FeatureSimilarityMean => "Feature similarity (mean)",
            Self::FeatureSimilarityMax => "Feature similarity (max)",
            Self::FeatureDistanceMean => "Feature distance (mean)",
            Self::FeatureDistanceMax => "Feature distance (nearest)",
            Self::GradientSimilarity => "Gradient similarity",
            Self::Trak => "TRAK",
            Self::DTrak => "D-TRAK",
            Self::JourneyTrak => "Journey-TRAK",
            Self::RelativeInfluence => "Relative influence",
            Self::RenormalisedInfluence => "Renormalised influence",
            Self::Guda => "GUDA",
        }
    }

    /// What the method is computed from.
    pub fn evidence(self) -> Evidence {
        match self {
            Self::PixelSimilarityMean | Self::PixelSimilarityMax => Evidence::Pixels,
            Self::FeatureSimilarityMean
            | Self::FeatureSimilarityMax
            | Self::FeatureDistanceMean
            | Self::FeatureDistanceMax => Evidence::Features,
            Self::GradientSimilarity
            | Self::Trak
            | Self::DTrak
            | Self::JourneyTrak
            | Self::RelativeInfluence
            | Self::RenormalisedInfluence => Evidence::Gradients,
            Self::Guda => Evidence::Unlearning,
        }
    }

    /// How a contributor's score comes from those of the contributor's images.
    pub fn aggregate(self) -> Aggregate {
        match self {
            Self::PixelSimilarityMax | Self::FeatureSimilarityMax | Self::FeatureDistanceMax => {
                Aggregate::Max
            }
            _ => Aggregate::Mean,
        }
    }
}

impl Aggregate {
    /// The scores of `contributors` contributors from those of images; image i is contributor `owners[i]`'s. A
    /// contributor without images has 0.
    ///
    /// # Errors
    /// [`InfluenceError::Mismatch`] unless there is one owner, below `contributors`, for each image.
    pub fn of(
        self,
        scores: &[f64],
        owners: &[usize],
        contributors: usize,
    ) -> Result<Vec<f64>, InfluenceError> {
        if owners.len() != scores.len() {
            return Err(InfluenceError::Mismatch {
                what: "owners of training images",
                expected: scores.len(),
                found: owners.len(),
            });
        }
        let mut sums = vec![(0.0f64, 0usize); contributors];
        for (&score, &owner) in scores.iter().zip(owners) {
            let place = sums.get_mut(owner).ok_or(InfluenceError::Mismatch {
                what: "contributors",
                expected: owner + 1,
                found: contributors,
            })?;
            place.0 = match self {
                Self::Mean => place.0 + score,
                Self::Max if place.1 == 0 => score,
                Self::Max => place.0.max(score),
            };
            place.1 += 1;
        }
        Ok(sums
            .into_iter()
            .map(|(value, count)| match self {
                Self::Mean => value / count.max(1) as f64,
                Self::Max => value,
            })
            .collect())
    }
}

impl fmt::Display for InfluenceMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for InfluenceMethod {
    type Err = InfluenceError;

    fn from_str(word: &str) -> Result<Self, InfluenceError> {
        let plain = match word.replace('-', "_").as_str() {
            "dtrak" => "d_trak".to_owned(),
            "renormalized_influence" => "renormalised_influence".to_owned(),
            other => other.to_owned(),
        };
        Self::ALL
            .into_iter()
            .find(|method| method.name() == plain)
            .ok_or_else(|| InfluenceError::UnknownMethod { word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_and_are_those_of_serde() {
        for method in InfluenceMethod::ALL {
            assert_eq!(method.to_string().parse::<InfluenceMethod>().unwrap(), method);
            assert_eq!(serde_json::to_string(&method).unwrap(), format!("\"{method}\""));
        }
        for (word, method) in [
            ("d-trak", InfluenceMethod::DTrak),
            ("dtrak", InfluenceMethod::DTrak),
            ("renormalized_influence", InfluenceMethod::RenormalisedInfluence),
        ] {
            assert_eq!(word.parse::<InfluenceMethod>().unwrap(), method);
        }
        let error = "clip".parse::<InfluenceMethod>().unwrap_err().to_string();
        assert!(error.contains("`clip`") && error.contains("journey_trak"), "{error}");
    }

    #[test]
    fn contributors_get_the_mean_or_the_maximum_of_their_images() {
        let (scores, owners) = ([-1.0, -3.0, 5.0], [0, 0, 2]);
        assert_eq!(Aggregate::Mean.of(&scores, &owners, 3).unwrap(), [-2.0, 0.0, 5.0]);
        assert_eq!(Aggregate::Max.of(&scores, &owners, 3).unwrap(), [-1.0, 0.0, 5.0]);
        assert!(Aggregate::Mean.of(&scores, &owners[..2], 3).is_err());
        assert!(Aggregate::Mean.of(&scores, &owners, 2).is_err());
    }
}

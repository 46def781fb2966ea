//! The distributions that coalitions are drawn from.

use crate::{Coalition, RemovalError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use streams::{Streams, coin, subset, uniform};

/// How the remaining contributors of a draw are chosen, for n contributors.
///
/// As text (`Display`, `FromStr`): `shapley` (or `datashapley`), `datamodel(0.5)`, `uniform`, `loo`, `add_one_in`,
/// `none`. In serde formats: those names, and `{ datamodel = { alpha = 0.5 } }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RemovalDistribution {
    /// Size s in 1..n-1 with probability proportional to 1 / (s (n - s)), then a uniform subset of that size: the
    /// Kernel SHAP weights (Lundberg & Lee 2017; Covert & Lee 2021, eq. 5). Never empty, never full; needs n >= 2.
    #[serde(alias = "datashapley")]
    Shapley,
    /// A uniform subset of exactly floor(alpha n) contributors (Ilyas et al. 2022). Never full, and refused where it
    /// would be empty.
    Datamodel {
        /// The fraction of contributors that remain, in (0, 1).
        alpha: f64,
    },
    /// Each contributor remains with probability 1/2, independently (Banzhaf). Empty and full coalitions happen, each
    /// with probability 2^-n.
    Uniform,
    /// Draw i lacks contributor i only. For n = 1 that is the empty coalition.
    Loo,
    /// Draw i has contributor i only. For n = 1 that is the full coalition.
    AddOneIn,
    /// All contributors remain, in every draw.
    None,
}

/// A coalition with the distribution and index that it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// Those who remain.
    pub coalition: Coalition,
    /// Where it was drawn from.
    pub distribution: RemovalDistribution,
    /// The number of the draw; with the seed and n it fixes the coalition.
    pub index: u64,
}

impl RemovalDistribution {
    /// Checks that coalitions of `n` contributors can be drawn.
    ///
    /// # Errors
    /// No contributors, `shapley` with fewer than two, or a datamodel `alpha` that is outside of (0, 1) or keeps nobody.
    pub fn validate(&self, n: usize) -> Result<(), RemovalError> {
        if let Self::Datamodel { alpha } = *self {
            check_alpha(alpha)?;
        }
        if n == 0 {
            return Err(RemovalError::NoContributors);
        }
        match *self {
            Self::Shapley if n < 2 => {
                Err(RemovalError::TooFewContributors { distribution: self.to_string(), n, needed: 2 })
            }
            Self::Datamodel { alpha } if datamodel_size(alpha, n) == 0 => {
                Err(RemovalError::AlphaKeepsNobody { alpha, n })
            }
            _ => Ok(()),
        }
    }

    /// Draw `index` of coalitions of `n` contributors.
    ///
    /// It depends on the distribution, `n`, the seed of `streams` and `index` alone: never on how many draws are made, or
    /// in which order. Draws are independent, so a small game repeats coalitions; see [`crate::unique_draws`].
    ///
    /// # Errors
    /// Those of [`RemovalDistribution::validate`], and an `index` of `n` or more for `loo` and `add_one_in`.
    pub fn draw(&self, n: usize, streams: &Streams, index: u64) -> Result<Draw, RemovalError> {
        self.validate(n)?;
        let mut rng = streams.rng(&format!("removal {self}"), index);
        let coalition = match *self {
            Self::Shapley => {
                let size = pick_size(&self.size_probabilities(n)?, uniform(&mut rng));
                Coalition::from_members(n, subset(&mut rng, n, size))?
            }
            Self::Datamodel { alpha } => {
                Coalition::from_members(n, subset(&mut rng, n, datamodel_size(alpha, n)))?
            }
            Self::Uniform => Coalition::from_members(n, (0..n).filter(|_| coin(&mut rng)))?,
            Self::Loo => Coalition::from_members(n, [self.nth_contributor(n, index)?])?.complement(),
            Self::AddOneIn => Coalition::from_members(n, [self.nth_contributor(n, index)?])?,
            Self::None => Coalition::full(n),
        };
        Ok(Draw { coalition, distribution: *self, index })
    }

    /// The probability of each coalition size 0..=n; for `loo` and `add_one_in`, over a uniform index.
    ///
    /// # Errors
    /// Those of [`RemovalDistribution::validate`].
    pub fn size_probabilities(&self, n: usize) -> Result<Vec<f64>, RemovalError> {
        self.validate(n)?;
        let mut sizes = vec![0.0; n + 1];
        match *self {
            Self::Shapley => {
                for (size, weight) in sizes.iter_mut().enumerate().take(n).skip(1) {
                    *weight = 1.0 / (size as f64 * (n - size) as f64);
                }
                let total: f64 = sizes.iter().sum();
                sizes.iter_mut().for_each(|weight| *weight /= total);
            }
            Self::Datamodel { alpha } => sizes[datamodel_size(alpha, n)] = 1.0,
            Self::Uniform => {
                for (size, weight) in sizes.iter_mut().enumerate() {
                    *weight = (ln_binomial(n, size) - n as f64 * std::f64::consts::LN_2).exp();
                }
            }
            Self::Loo => sizes[n - 1] = 1.0,
            Self::AddOneIn => sizes[1] = 1.0,
            Self::None => sizes[n] = 1.0,
        }
        Ok(sizes)
    }

    /// The probability that a draw is this coalition; for `loo` and `add_one_in`, over a uniform index.
    ///
    /// # Errors
    /// Those of [`RemovalDistribution::validate`].
    pub fn probability(&self, coalition: &Coalition) -> Result<f64, RemovalError> {
        let (n, size) = (coalition.n(), coalition.len());
        Ok(self.size_probabilities(n)?[size] * (-ln_binomial(n, size)).exp())
    }

    /// Number of different coalitions of `n` contributors that draws can give; `u128::MAX` where it is larger.
    ///
    /// # Errors
    /// Those of [`RemovalDistribution::validate`].
    pub fn support(&self, n: usize) -> Result<u128, RemovalError> {
        self.validate(n)?;
        let subsets = u32::try_from(n).ok().and_then(|n| 1u128.checked_shl(n)).unwrap_or(u128::MAX);
        Ok(match *self {
            Self::Shapley if subsets == u128::MAX => subsets,
            Self::Shapley => subsets - 2,
            Self::Datamodel { alpha } => binomial(n, datamodel_size(alpha, n)),
            Self::Uniform => subsets,
            Self::Loo | Self::AddOneIn => n as u128,
            Self::None => 1,
        })
    }

    fn nth_contributor(&self, n: usize, index: u64) -> Result<usize, RemovalError> {
        usize::try_from(index).ok().filter(|&contributor| contributor < n).ok_or_else(|| {
            RemovalError::IndexOutOfRange {
                distribution: self.to_string(),
                index,
                n,
                last: n.saturating_sub(1),
            }
        })
    }
}

fn check_alpha(alpha: f64) -> Result<(), RemovalError> {
    if alpha > 0.0 && alpha < 1.0 { Ok(()) } else { Err(RemovalError::AlphaOutOfRange { alpha }) }
}

/// floor(alpha n), with alpha read as the decimal that it was written as: 0.29 of 100 is 29, though the nearest double of
/// 0.29 times 100 is a hair less. At most n - 1, since alpha < 1.
fn datamodel_size(alpha: f64, n: usize) -> usize {
    ((alpha * n as f64 * (1.0 + 4.0 * f64::EPSILON)).floor() as usize).min(n.saturating_sub(1))
}

/// The size whose share of the unit interval holds `point`.
fn pick_size(probabilities: &[f64], point: f64) -> usize {
    let mut last_possible = 0;
    let mut below = 0.0;
    for (size, &probability) in probabilities.iter().enumerate() {
        if probability > 0.0 {
            below += probability;
            last_possible = size;
            if point < below {
                break;
            }
        }
    }
    // Rounding can leave the sum a hair under one: such a point belongs to the last size.
    last_possible
}

fn ln_binomial(n: usize, k: usize) -> f64 {
    (1..=k.min(n - k)).map(|i| ((n + 1 - i) as f64 / i as f64).ln()).sum()
}

/// n over k; `u128::MAX` where it is larger.
fn binomial(n: usize, k: usize) -> u128 {
    let mut result = 1u128;
    for i in 1..=k.min(n - k) as u128 {
        match result.checked_mul(n as u128 + 1 - i) {
            Some(product) => result = product / i,
            None => return u128::MAX,
        }
    }
    result
}

impl fmt::Display for RemovalDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shapley => f.write_str("shapley"),
            Self::Datamodel { alpha } => write!(f, "datamodel({alpha})"),
            Self::Uniform => f.write_str("uniform"),
            Self::Loo => f.write_str("loo"),
            Self::AddOneIn => f.write_str("add_one_in"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for RemovalDistribution {
    type Err = RemovalError;

    fn from_str(text: &str) -> Result<Self, RemovalError> {
        let wrong = || RemovalError::DistributionText { text: text.to_owned() };
        Ok(match text {
            "shapley" | "datashapley" => Self::Shapley,
            "uniform" => Self::Uniform,
            "loo" => Self::Loo,
            "add_one_in" => Self::AddOneIn,
            "none" => Self::None,
            _ => {
                let alpha = text.strip_prefix("datamodel(").and_then(|rest| rest.strip_suffix(')'));
                let alpha: f64 = alpha.ok_or_else(wrong)?.trim().parse().map_err(|_| wrong())?;
                check_alpha(alpha)?;
                Self::Datamodel { alpha }
            }
        })
    }
}

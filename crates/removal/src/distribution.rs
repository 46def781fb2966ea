//! The distributions that coalitions are drawn from.

use crate::{Coalition, RemovalError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use streams::{Streams, coin, permutation, subset, uniform};

/// How the remaining contributors of a draw are chosen, for n contributors.
///
/// As text (`Display`, `FromStr`): `shapley` (or `datashapley`), `datamodel(0.5)`, `uniform`, `loo`, `add_one_in`,
/// `none`, `shapley_paired`, `leverage`, `leverage_paired`, `permutation`, `permutation_antithetic`. In serde formats: those
/// names, and `{ datamodel = { alpha = 0.5 } }`.
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
    /// Pairs: draw 2k is a draw as of [`RemovalDistribution::Shapley`], draw 2k + 1 is its complement (Covert & Lee 2021,
    /// section 4.2). What a game has in common with its mirror image cancels within a pair. Each draw by itself has the
    /// distribution of `shapley`, because that is the same under complements.
    ShapleyPaired,
    /// Size s uniform in 1..n-1, then a uniform subset of that size: the leverage scores of the rows of the Kernel SHAP
    /// regression, which are 1 / C(n, s) (Musco & Witter 2025, "Provably accurate Shapley value estimation via leverage score
    /// sampling", lemma 3.2). Middle sizes come more often than under `shapley`. Needs n >= 2.
    Leverage,
    /// As [`RemovalDistribution::Leverage`], in pairs of a coalition and its complement: Leverage SHAP.
    LeveragePaired,
    /// The beginnings of random orders of the contributors: draw k is the first `1 + k mod (n - 1)` contributors of order
    /// `floor(k / (n - 1))` (Castro, Gomez & Tejada 2009). n - 1 draws in a row, with v(none) and v(all), give every
    /// contributor one marginal contribution. Needs n >= 2.
    Permutation,
    /// As [`RemovalDistribution::Permutation`], where order 2j + 1 is order 2j backwards (Mitchell, Cooper, Frank & Holmes
    /// 2022, "Sampling permutations for Shapley value estimation").
    PermutationAntithetic,
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
    /// No contributors, fewer than two where the distribution needs two, or a datamodel `alpha` that is outside of (0, 1) or
    /// keeps nobody.
    pub fn validate(&self, n: usize) -> Result<(), RemovalError> {
        if let Self::Datamodel { alpha } = *self {
            check_alpha(alpha)?;
        }
        if n == 0 {
            return Err(RemovalError::NoContributors);
        }
        match *self {
            _ if self.is_strictly_between() && n < 2 => {
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
    /// in which order. Draws (pairs and orders, where they come in those) are independent, so a small game repeats
    /// coalitions; see [`crate::unique_draws`].
    ///
    /// # Errors
    /// Those of [`RemovalDistribution::validate`], and an `index` of `n` or more for `loo` and `add_one_in`.
    pub fn draw(&self, n: usize, streams: &Streams, index: u64) -> Result<Draw, RemovalError> {
        self.validate(n)?;
        let mut rng = streams.rng(&format!("removal {self}"), self.unit(n, index));
        let coalition = match *self {
            Self::Shapley | Self::Leverage | Self::ShapleyPaired | Self::LeveragePaired => {
                let size = pick_size(&self.size_probabilities(n)?, uniform(&mut rng));
                let drawn = Coalition::from_members(n, subset(&mut rng, n, size))?;
                if self.is_paired() && index % 2 == 1 { drawn.complement() } else { drawn }
            }
            Self::Permutation | Self::PermutationAntithetic => {
                let a_order = (n - 1) as u64;
                let (order_number, place) = (index / a_order, (index % a_order) as usize);
                let mut order = permutation(&mut rng, n);
                if *self == Self::PermutationAntithetic && order_number % 2 == 1 {
                    order.reverse();
                }
                Coalition::from_members(n, order[..=place].iter().copied())?
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
            Self::Shapley | Self::ShapleyPaired => {
                for (size, weight) in sizes.iter_mut().enumerate().take(n).skip(1) {
                    *weight = 1.0 / (size as f64 * (n - size) as f64);
                }
                let total: f64 = sizes.iter().sum();
                sizes.iter_mut().for_each(|weight| *weight /= total);
            }
            Self::Leverage | Self::LeveragePaired | Self::Permutation | Self::PermutationAntithetic => {
                sizes[1..n].fill(1.0 / (n - 1) as f64);
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
            _ if self.is_strictly_between() && subsets == u128::MAX => subsets,
            _ if self.is_strictly_between() => subsets - 2,
            Self::Datamodel { alpha } => binomial(n, datamodel_size(alpha, n)),
            Self::Uniform => subsets,
            Self::Loo | Self::AddOneIn => n as u128,
            // The distributions that draw neither nobody nor everybody were all served above.
            _ => 1,
        })
    }

    /// Whether draws 2k and 2k + 1 are complements of each other.
    pub fn is_paired(&self) -> bool {
        matches!(self, Self::ShapleyPaired | Self::LeveragePaired)
    }

    /// Whether coalitions of one size are alike, so that another one of that size could stand for a draw.
    pub fn leaves_choice(&self) -> bool {
        matches!(
            self,
            Self::Shapley
                | Self::ShapleyPaired
                | Self::Leverage
                | Self::LeveragePaired
                | Self::Datamodel { .. }
                | Self::Uniform
        )
    }

    /// Number of draws in a row that depend on each other, for n contributors: 2 for the paired distributions, n - 1 for
    /// `permutation` and 2 (n - 1) for `permutation_antithetic`, else 1. A count of draws that is a multiple of this wastes
    /// none.
    pub fn unit_size(&self, n: usize) -> usize {
        match self {
            Self::ShapleyPaired | Self::LeveragePaired => 2,
            Self::Permutation => n.saturating_sub(1).max(1),
            Self::PermutationAntithetic => 2 * n.saturating_sub(1).max(1),
            _ => 1,
        }
    }

    /// Which stream draw `index` comes from.
    fn unit(&self, n: usize, index: u64) -> u64 {
        index / self.unit_size(n) as u64
    }

    /// Whether draws are never empty, never full, and everything else happens.
    fn is_strictly_between(&self) -> bool {
        matches!(
            self,
            Self::Shapley
                | Self::ShapleyPaired
                | Self::Leverage
                | Self::LeveragePaired
                | Self::Permutation
                | Self::PermutationAntithetic
        )
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
            Self::ShapleyPaired => f.write_str("shapley_paired"),
            Self::Leverage => f.write_str("leverage"),
            Self::LeveragePaired => f.write_str("leverage_paired"),
            Self::Permutation => f.write_str("permutation"),
            Self::PermutationAntithetic => f.write_str("permutation_antithetic"),
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
            "shapley_paired" => Self::ShapleyPaired,
            "leverage" => Self::Leverage,
            "leverage_paired" => Self::LeveragePaired,
            "permutation" => Self::Permutation,
            "permutation_antithetic" => Self::PermutationAntithetic,
            _ => {
                let alpha = text.strip_prefix("datamodel(").and_then(|rest| rest.strip_suffix(')'));
                let alpha: f64 = alpha.ok_or_else(wrong)?.trim().parse().map_err(|_| wrong())?;
                check_alpha(alpha)?;
                Self::Datamodel { alpha }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RemovalDistribution::{
        AddOneIn, Datamodel, Leverage, LeveragePaired, Loo, None, Permutation, PermutationAntithetic,
        Shapley, ShapleyPaired, Uniform,
    };
    use proptest::prelude::*;

    const STREAMS: Streams = Streams::new(11);

    fn distributions() -> impl Strategy<Value = RemovalDistribution> {
        prop_oneof![
            Just(Shapley),
            (0.0f64..1.0)
                .prop_filter("open interval", |alpha| *alpha > 0.0)
                .prop_map(|alpha| Datamodel { alpha }),
            Just(Uniform),
            Just(Loo),
            Just(AddOneIn),
            Just(None),
            Just(ShapleyPaired),
            Just(Leverage),
            Just(LeveragePaired),
            Just(Permutation),
            Just(PermutationAntithetic),
        ]
    }

    proptest! {
        #[test]
        fn text_json_and_toml_round_trip(distribution in distributions(), n in 1usize..40, index in 0u64..40) {
            prop_assert_eq!(distribution.to_string().parse::<RemovalDistribution>().unwrap(), distribution);
            let json = serde_json::to_string(&distribution).unwrap();
            prop_assert_eq!(serde_json::from_str::<RemovalDistribution>(&json).unwrap(), distribution);
            let table = std::collections::BTreeMap::from([("removal", distribution)]);
            let toml = toml::to_string(&table).unwrap();
            let read: std::collections::BTreeMap<String, RemovalDistribution> = toml::from_str(&toml).unwrap();
            prop_assert_eq!(read["removal"], distribution);
            if let Ok(draw) = distribution.draw(n, &STREAMS, index) {
                let json = serde_json::to_string(&draw).unwrap();
                prop_assert_eq!(serde_json::from_str::<Draw>(&json).unwrap(), draw);
            }
        }

        #[test]
        fn sizes_are_those_of_the_distribution(distribution in distributions(), n in 2usize..150, index in 0u64..1000) {
            let Ok(draw) = distribution.draw(n, &STREAMS, index) else { return Ok(()) };
            let size = draw.coalition.len();
            prop_assert_eq!(draw.coalition.n(), n);
            prop_assert!(distribution.size_probabilities(n).unwrap()[size] > 0.0);
            prop_assert!(distribution.probability(&draw.coalition).unwrap() > 0.0);
            if let Datamodel { alpha } = distribution {
                prop_assert!(size as f64 <= alpha * n as f64 + 1e-9 && size as f64 > alpha * n as f64 - 1.0);
            }
        }

        #[test]
        fn size_probabilities_sum_to_one(distribution in distributions(), n in 2usize..400) {
            if let Ok(sizes) = distribution.size_probabilities(n) {
                prop_assert_eq!(sizes.len(), n + 1);
                prop_assert!((sizes.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn serde_names_are_snake_case_with_an_alias() {
        let json = serde_json::to_string(&[Shapley, Datamodel { alpha: 0.25 }, Uniform, Loo, AddOneIn, None])
            .unwrap();
        assert_eq!(json, r#"["shapley",{"datamodel":{"alpha":0.25}},"uniform","loo","add_one_in","none"]"#);
        assert_eq!(serde_json::from_str::<RemovalDistribution>(r#""datashapley""#).unwrap(), Shapley);
        assert_eq!("datashapley".parse::<RemovalDistribution>().unwrap(), Shapley);
        let unknown = serde_json::from_str::<RemovalDistribution>(r#"{"datamodel":{"alpha":0.5,"beta":1}}"#);
        assert!(unknown.unwrap_err().to_string().contains("beta"));
    }

    #[test]
    fn refuses_what_is_undefined() {
        let message =
            |distribution: RemovalDistribution, n| distribution.draw(n, &STREAMS, 0).unwrap_err().to_string();
        assert_eq!(
            message(Shapley, 1),
            "the shapley distribution is not defined for n = 1: it needs at least 2 contributors"
        );
        for alpha in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
            let message = message(Datamodel { alpha }, 10);
            assert!(message.contains("outside of (0, 1)"), "{message}");
            assert!(format!("datamodel({alpha})").parse::<RemovalDistribution>().is_err());
        }
        let few = message(Datamodel { alpha: 0.5 }, 1);
        assert!(few.starts_with("datamodel alpha = 0.5 keeps floor(0.5 x 1) = 0 of 1"), "{few}");
        for distribution in [Shapley, Datamodel { alpha: 0.5 }, Uniform, Loo, AddOneIn, None] {
            assert_eq!(distribution.draw(0, &STREAMS, 0), Err(RemovalError::NoContributors));
        }
        for distribution in [Loo, AddOneIn] {
            let message = distribution.draw(4, &STREAMS, 4).unwrap_err().to_string();
            assert!(message.ends_with("draw 4 of 4 does not exist (indices 0 to 3)"), "{message}");
        }
        for text in ["", "Shapley", "datamodel", "datamodel(x)", "datamodel(0.5", "aoi"] {
            let message = text.parse::<RemovalDistribution>().unwrap_err().to_string();
            assert!(message.contains("is not a removal distribution: write shapley"), "{message}");
        }
    }

    #[test]
    fn alpha_counts_as_the_decimal_that_was_written() {
        for (alpha, n, size) in [
            (0.29, 100, 29),
            (0.57, 100, 57),
            (0.5, 7, 3),
            (0.25, 12, 3),
            (0.7, 10, 7),
            (0.1, 30, 3),
            (0.999_999, 3, 2),
        ] {
            let draw = Datamodel { alpha }.draw(n, &STREAMS, 0).unwrap();
            assert_eq!(draw.coalition.len(), size, "alpha {alpha} of {n}");
        }
        // The largest double below one must not keep everybody.
        let almost_one = 1.0 - f64::EPSILON / 2.0;
        assert_eq!(Datamodel { alpha: almost_one }.draw(5, &STREAMS, 0).unwrap().coalition.len(), 4);
    }

    #[test]
    fn enumerating_distributions_name_each_contributor_once() {
        for index in 0..6 {
            let only = Coalition::from_members(6, [index as usize]).unwrap();
            assert_eq!(AddOneIn.draw(6, &STREAMS, index).unwrap().coalition, only);
            assert_eq!(Loo.draw(6, &STREAMS, index).unwrap().coalition, only.complement());
            assert!(None.draw(6, &STREAMS, index).unwrap().coalition.is_full());
        }
        assert!(Loo.draw(1, &STREAMS, 0).unwrap().coalition.is_empty());
        assert!(AddOneIn.draw(1, &STREAMS, 0).unwrap().coalition.is_full());
    }

    #[test]
    fn draws_are_golden() {
        let text = |distribution: RemovalDistribution| -> Vec<String> {
            (0..4)
                .map(|k| distribution.draw(12, &Streams::new(42), k).unwrap().coalition.to_string())
                .collect()
        };
        assert_eq!(text(Shapley), ["12:400", "12:e7d", "12:ea2", "12:080"]);
        assert_eq!(text(Datamodel { alpha: 0.5 }), ["12:5aa", "12:3a9", "12:555", "12:e51"]);
        assert_eq!(text(Uniform), ["12:567", "12:896", "12:551", "12:cd2"]);
        assert_eq!(text(ShapleyPaired), GOLDEN_PAIRED);
        assert_eq!(text(Leverage), GOLDEN_LEVERAGE);
        assert_eq!(text(Permutation), GOLDEN_PERMUTATION);
    }

    const GOLDEN_PAIRED: [&str; 4] = ["12:c80", "12:37f", "12:ff7", "12:008"];
    const GOLDEN_LEVERAGE: [&str; 4] = ["12:f0f", "12:d3e", "12:00a", "12:008"];
    const GOLDEN_PERMUTATION: [&str; 4] = ["12:800", "12:880", "12:881", "12:8c1"];

    #[test]
    fn pairs_are_complements() {
        for distribution in [ShapleyPaired, LeveragePaired] {
            for pair in 0..50 {
                let [one, two] = [2 * pair, 2 * pair + 1]
                    .map(|index| distribution.draw(9, &STREAMS, index).unwrap().coalition);
                assert_eq!(one.complement(), two);
            }
            assert_eq!((distribution.unit_size(9), distribution.is_paired()), (2, true));
        }
        assert_eq!((Shapley.unit_size(9), Shapley.is_paired()), (1, false));
    }

    #[test]
    fn orders_grow_one_by_one_and_antithetic_ones_come_backwards() {
        let n = 7;
        let order = |distribution: RemovalDistribution, number: u64| -> Vec<usize> {
            let mut before = Coalition::empty(n);
            let mut order = Vec::new();
            for place in 0..n as u64 - 1 {
                let draw = distribution.draw(n, &STREAMS, number * (n as u64 - 1) + place).unwrap().coalition;
                assert!(
                    before.members().all(|member| draw.contains(member)) && draw.len() == before.len() + 1
                );
                order.extend(draw.members().filter(|&member| !before.contains(member)));
                before = draw;
            }
            order.extend(before.complement().members());
            order
        };
        for number in [0, 2, 8] {
            let mut forwards = order(PermutationAntithetic, number);
            forwards.reverse();
            assert_eq!(forwards, order(PermutationAntithetic, number + 1));
            assert_ne!(order(Permutation, number), order(Permutation, number + 1));
        }
        assert_eq!((Permutation.unit_size(n), PermutationAntithetic.unit_size(n)), (6, 12));
    }

    #[test]
    fn support_counts_coalitions() {
        assert_eq!(Shapley.support(4).unwrap(), 14);
        assert_eq!(Datamodel { alpha: 0.5 }.support(12).unwrap(), 924);
        assert_eq!(Uniform.support(12).unwrap(), 4096);
        assert_eq!(Uniform.support(200).unwrap(), u128::MAX);
        assert_eq!(Shapley.support(200).unwrap(), u128::MAX);
        assert_eq!(Datamodel { alpha: 0.5 }.support(258).unwrap(), u128::MAX);
        assert_eq!(
            (Loo.support(9).unwrap(), AddOneIn.support(9).unwrap(), None.support(9).unwrap()),
            (9, 9, 1)
        );
    }
}

//! One model behaviour and everybody's share in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Counterfactual, Interval, LdsReport, Number};

/// A model behaviour, the contributors' scores for it, and the evidence for and against these scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BehaviorReport {
    /// The behaviour's key in records and settings, for example `is_lite0`.
    pub key: String,
    /// Its name in plain language, for example "Variety and clarity (Inception score)".
    pub name: String,
    /// One sentence for a reader who has never heard of it.
    pub explanation: String,
    /// The unit, if it has one, for example "bits".
    pub unit: Option<String>,
    /// Which way is better.
    pub direction: Direction,
    /// Whether this is the behaviour that the study was designed for; true for exactly one.
    pub primary: bool,
    /// Number of samples that were measured for each model.
    pub samples: u64,
    /// Its value for the model trained on everybody's images.
    pub value_all: Number,
    /// Its value for the model trained on nobody's images.
    pub value_none: Number,
    /// The estimator, for example "sFT-Shapley".
    pub method: String,
    /// How many coalitions the scores were estimated from.
    pub coalitions: u64,
    /// The confidence level of every interval of this behaviour, in (0, 1), for example 0.95.
    pub confidence: f64,
    /// Where the intervals come from, for example "bootstrap over coalitions".
    pub interval_method: String,
    /// One score for each contributor, in any order.
    pub scores: Vec<ContributorScore>,
    /// Numbers that tell how well the estimation went.
    pub diagnostics: Vec<Diagnostic>,
    /// How well the scores predict really retrained models, if that was tested.
    pub lds: Option<LdsReport>,
    /// What happens when contributors are really removed, if that was tested.
    pub counterfactuals: Vec<Counterfactual>,
}

/// Which way a behaviour is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better: rank 1 is the largest score.
    HigherIsBetter,
    /// Less is better: rank 1 is the smallest (most negative) score.
    LowerIsBetter,
    /// Neither: a property such as colourfulness. Rank 1 is the largest score.
    Neutral,
}

/// One contributor's share in one behaviour, in the behaviour's unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContributorScore {
    /// The contributor's index.
    pub contributor: usize,
    /// The score; Shapley values add up to `value_all - value_none`.
    pub value: Number,
    /// Its standard error.
    pub standard_error: Number,
    /// Its confidence interval.
    pub interval: Option<Interval>,
    /// Its place, 1 for the contributor who did most in the better direction (see [`Direction`]). Equal scores share
    /// the smaller number; missing scores come last. [`assign_ranks`] fills it.
    pub rank: usize,
    /// The places between which the contributor lies at the confidence level, `[best, worst]`.
    pub rank_interval: Option<[usize; 2]>,
}

/// A number about the estimation itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Diagnostic {
    /// What it is, for example "Agreement of ranks between two halves of the coalitions".
    pub name: String,
    /// Its value.
    pub value: Number,
    /// What a good value looks like, in one sentence.
    pub explanation: String,
}

impl Direction {
    /// `value` with the sign that makes "more" better.
    pub(crate) fn goodness(self, value: f64) -> f64 {
        match self {
            Direction::HigherIsBetter | Direction::Neutral => value,
            Direction::LowerIsBetter => -value,
        }
    }
}

/// Fills `rank` of every score from the values: `rank = 1 + number of strictly better scores`.
pub fn assign_ranks(scores: &mut [ContributorScore], direction: Direction) {
    let values: Vec<Option<f64>> =
        scores.iter().map(|s| s.value.get().map(|value| direction.goodness(value))).collect();
    for (score, own) in scores.iter_mut().zip(&values) {
        score.rank = 1 + values.iter().filter(|other| strictly_better(**other, *own)).count();
    }
}

/// Whether `a` is better than `b`, a missing value being worse than any.
pub(super) fn strictly_better(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a > b,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(values: &[f64], direction: Direction) -> Vec<usize> {
        let mut scores: Vec<ContributorScore> = values
            .iter()
            .enumerate()
            .map(|(contributor, &value)| ContributorScore {
                contributor,
                value: value.into(),
                standard_error: Number::MISSING,
                interval: None,
                rank: 0,
                rank_interval: None,
            })
            .collect();
        assign_ranks(&mut scores, direction);
        scores.iter().map(|s| s.rank).collect()
    }

    #[test]
    fn ranks_follow_the_better_direction_and_ties_share_a_place() {
        assert_eq!(ranks(&[1.0, 3.0, 1.0, f64::NAN, 2.0], Direction::HigherIsBetter), [3, 1, 3, 5, 2]);
        assert_eq!(ranks(&[1.0, 3.0, -1.0], Direction::LowerIsBetter), [2, 3, 1]);
    }
}

//! Test sets with their coalitions numbered, so that predictions are made once and resamples are cheap.

use std::collections::{BTreeMap, BTreeSet};

use removal::Coalition;

use crate::error::finite;
use crate::interval::check_level;
use crate::lds::{LdsSettings, merge_rounding};
use crate::rank::{RankOrder, spearman};
use crate::{AttributionError, UtilityTable};

/// The coalitions of all test sets together, in order, and each set's utilities by their numbers.
pub(crate) struct TestSets<'a> {
    coalitions: BTreeSet<&'a Coalition>,
    sets: Vec<Vec<(usize, f64)>>,
    /// The rows of each set in the order of their utilities.
    orders: Vec<RankOrder>,
}

/// Predictions for the rows of each set in their order, for resamples.
pub(crate) struct RankedPredictions {
    orders: Vec<RankOrder>,
    /// For each set, the first set with the same coalitions in its rows.
    like: Vec<usize>,
}

impl<'a> TestSets<'a> {
    /// Numbers the coalitions, after checking that there are sets and that the settings are in range.
    pub fn new(test_sets: &'a [UtilityTable], settings: &LdsSettings) -> Result<Self, AttributionError> {
        check_level(settings.level)?;
        settings.bootstrap.check()?;
        if test_sets.is_empty() {
            return Err(AttributionError::Empty { what: "test sets".into() });
        }
        let coalitions: BTreeSet<&Coalition> = test_sets.iter().flat_map(UtilityTable::coalitions).collect();
        let places: BTreeMap<&Coalition, usize> =
            coalitions.iter().enumerate().map(|(place, &c)| (c, place)).collect();
        let sets: Vec<Vec<(usize, f64)>> = test_sets
            .iter()
            .map(|set| set.rows().iter().map(|row| (places[row.coalition()], row.mean())).collect())
            .collect();
        let orders = sets
            .iter()
            .map(|set| RankOrder::of(&set.iter().map(|&(_, utility)| utility).collect::<Vec<_>>()))
            .collect();
        Ok(Self { coalitions, sets, orders })
    }

    /// Number of different coalitions.
    pub fn coalitions(&self) -> usize {
        self.coalitions.len()
    }

    /// Whether the other sets have the same coalitions.
    pub fn same_coalitions(&self, other: &TestSets<'_>) -> bool {
        self.coalitions == other.coalitions
    }

    /// The prediction for each coalition, those that differ by rounding only made equal.
    pub fn predictions(&self, predict: impl Fn(&Coalition) -> f64) -> Result<Vec<f64>, AttributionError> {
        let mut predictions = Vec::with_capacity(self.coalitions.len());
        for coalition in &self.coalitions {
            let prediction = predict(coalition);
            predictions.push(finite(prediction, || format!("the prediction for coalition {coalition}"))?);
        }
        merge_rounding(&mut predictions);
        Ok(predictions)
    }

    /// 100 times Spearman's correlation for each set.
    pub fn scores(&self, predictions: &[f64]) -> Result<Vec<f64>, AttributionError> {
        let score = |(place, set): (usize, &Vec<(usize, f64)>)| {
            let (predicted, utilities): (Vec<f64>, Vec<f64>) =
                set.iter().map(|&(c, y)| (predictions[c], y)).unzip();
            let correlation = spearman(&predicted, &utilities).map_err(|reason| {
                let what = format!("the LDS of test set {place} ({} coalitions)", set.len());
                AttributionError::Undefined { what, reason }
            })?;
            Ok(100.0 * correlation)
        };
        self.sets.iter().enumerate().map(score).collect()
    }

    /// Predictions sorted once for all resamples.
    pub fn ranked(&self, predictions: &[f64]) -> RankedPredictions {
        let order = |set: &Vec<(usize, f64)>| {
            RankOrder::of(&set.iter().map(|&(coalition, _)| predictions[coalition]).collect::<Vec<_>>())
        };
        let like = |set: &Vec<(usize, f64)>| {
            let same =
                |other: &Vec<(usize, f64)>| set.iter().map(|row| row.0).eq(other.iter().map(|row| row.0));
            self.sets.iter().position(same).unwrap_or_default()
        };
        RankedPredictions {
            orders: self.sets.iter().map(order).collect(),
            like: self.sets.iter().map(like).collect(),
        }
    }

    /// Spearman's correlation for each set when coalition c occurs `counts[c]` times; `None` if one is undefined.
    ///
    /// The same bits as [`spearman`] on the repeated rows: sums of products of ranks are whole multiples of 1/4, and exact.
    pub fn resampled(&self, predictions: &RankedPredictions, counts: &[u32]) -> Option<Vec<f64>> {
        let mut correlations = Vec::with_capacity(self.sets.len());
        let (mut of_rows, mut predicted, mut utilities) = (Vec::new(), Vec::new(), Vec::new());
        let (mut ranked, mut total, mut spread) = (usize::MAX, 0, 0.0);
        for (place, set) in self.sets.iter().enumerate() {
            let like = predictions.like[place];
            if like != ranked {
                of_rows.clear();
                of_rows.extend(set.iter().map(|&(coalition, _)| counts[coalition]));
                total = of_rows.iter().map(|&count| u64::from(count)).sum();
                spread = predictions.orders[like].deviations(&of_rows, total, &mut predicted);
                ranked = like;
            }
            let own_spread = self.orders[place].deviations(&of_rows, total, &mut utilities);
            if total < 3 || spread == 0.0 || own_spread == 0.0 {
                return None;
            }
            let rows = of_rows.iter().zip(&predicted).zip(&utilities);
            let product: f64 = rows.map(|((&count, one), two)| f64::from(count) * one * two).sum();
            correlations.push((product / (spread * own_spread).sqrt()).clamp(-1.0, 1.0));
        }
        Some(correlations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn resamples_are_correlations_of_the_repeated_rows(
            rows in prop::collection::vec((0usize..12, -4i32..4, -4i32..4), 3..40),
            other in prop::collection::vec((0usize..12, -4i32..4), 3..40),
            counts in prop::collection::vec(0u32..5, 12),
            same in any::<bool>(),
        ) {
            let one = |i: usize| Coalition::from_members(12, [i]).unwrap();
            let table = |rows: &[(usize, i32)]| {
                UtilityTable::from_pairs(12, rows.iter().map(|&(i, y)| (one(i), f64::from(y)))).unwrap()
            };
            let first: Vec<(usize, i32)> = rows.iter().map(|&(i, y, _)| (i, y)).collect();
            let second = if same { rows.iter().map(|&(i, _, y)| (i, y)).collect() } else { other };
            let sets = [table(&first), table(&second)];
            let tests = TestSets::new(&sets, &LdsSettings::default()).unwrap();
            let predictions = tests.predictions(|c| (c.members().sum::<usize>() % 5) as f64).unwrap();
            let counts = &counts[..tests.coalitions()];
            let expected: Option<Vec<f64>> = tests
                .sets
                .iter()
                .map(|set| {
                    let repeated: Vec<(usize, f64)> =
                        set.iter().flat_map(|&row| std::iter::repeat_n(row, counts[row.0] as usize)).collect();
                    let (one, two): (Vec<f64>, Vec<f64>) =
                        repeated.into_iter().map(|(c, y)| (predictions[c], y)).unzip();
                    spearman(&one, &two).ok()
                })
                .collect();
            prop_assert_eq!(tests.resampled(&tests.ranked(&predictions), counts), expected);
        }
    }
}

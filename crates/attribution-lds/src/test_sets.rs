//! Test sets with their coalitions numbered, so that predictions are made once and resamples are cheap.

use std::collections::{BTreeMap, BTreeSet};

use removal::Coalition;

use crate::error::finite;
use crate::interval::check_level;
use crate::lds::{LdsSettings, merge_rounding};
use crate::rank::spearman;
use crate::{AttributionError, UtilityTable};

/// The coalitions of all test sets together, in order, and each set's utilities by their numbers.
pub(crate) struct TestSets<'a> {
    coalitions: BTreeSet<&'a Coalition>,
    sets: Vec<Vec<(usize, f64)>>,
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
        let sets = test_sets
            .iter()
            .map(|set| set.rows().iter().map(|row| (places[row.coalition()], row.mean())).collect())
            .collect();
        Ok(Self { coalitions, sets })
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

    /// Spearman's correlation for each set when coalition c occurs `counts[c]` times; `None` if one is undefined.
    pub fn resampled(&self, predictions: &[f64], counts: &[u32]) -> Option<Vec<f64>> {
        let correlation = |set: &Vec<(usize, f64)>| {
            let rows = set.iter().flat_map(|&row| std::iter::repeat_n(row, counts[row.0] as usize));
            let (predicted, utilities): (Vec<f64>, Vec<f64>) = rows.map(|(c, y)| (predictions[c], y)).unzip();
            spearman(&predicted, &utilities).ok()
        };
        self.sets.iter().map(correlation).collect()
    }
}

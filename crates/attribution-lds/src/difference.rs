//! One score against another on the same test coalitions.

use std::collections::{BTreeMap, BTreeSet};

use removal::Coalition;
use serde::{Deserialize, Serialize};

use crate::bootstrap::resample_intervals;
use crate::lds::{Lds, LdsSettings, lds, merge_rounding};
use crate::observations::mean;
use crate::rank::spearman;
use crate::{AttributionError, Interval, UtilityTable};

/// The LDS of one scoring method minus that of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LdsDifference {
    /// Mean over the test sets, -200..200.
    pub mean: f64,
    /// Paired bootstrap interval over the test coalitions: both methods see the same resample, so what they share
    /// cancels, and the interval is narrower than two intervals side by side suggest.
    pub interval: Interval,
    /// Its confidence level.
    pub level: f64,
}

/// The difference `lds(first) - lds(second)` with a paired interval. Arguments as for [`lds()`].
///
/// # Errors
/// Those of [`lds()`] for either method.
pub fn lds_difference(
    first: impl Fn(&Coalition) -> f64,
    second: impl Fn(&Coalition) -> f64,
    test_sets: &[UtilityTable],
    settings: &LdsSettings,
) -> Result<LdsDifference, AttributionError> {
    let [one, two]: [Lds; 2] = [lds(&first, test_sets, settings)?, lds(&second, test_sets, settings)?];
    let coalitions: BTreeSet<&Coalition> = test_sets.iter().flat_map(UtilityTable::coalitions).collect();
    let places: BTreeMap<&Coalition, usize> =
        coalitions.iter().enumerate().map(|(place, &c)| (c, place)).collect();
    let mut predictions: [Vec<f64>; 2] =
        [coalitions.iter().map(|c| first(c)).collect(), coalitions.iter().map(|c| second(c)).collect()];
    predictions.iter_mut().for_each(|values| merge_rounding(values));
    let (intervals, _) = resample_intervals(settings.bootstrap, settings.level, 1, |resample| {
        let counts = resample.counts(coalitions.len());
        let differences = test_sets.iter().map(|set| {
            let drawn = set.rows().iter().flat_map(|row| {
                let place = places[row.coalition()];
                std::iter::repeat_n((place, row.mean()), counts[place] as usize)
            });
            let (drawn, utilities): (Vec<usize>, Vec<f64>) = drawn.unzip();
            let correlation = |values: &[f64]| {
                let predicted: Vec<f64> = drawn.iter().map(|&place| values[place]).collect();
                spearman(&predicted, &utilities).ok()
            };
            Some(100.0 * (correlation(&predictions[0])? - correlation(&predictions[1])?))
        });
        differences.collect::<Option<Vec<f64>>>().map(|differences| vec![mean(&differences)])
    });
    Ok(LdsDifference { mean: one.mean - two.mean, interval: intervals.intervals[0], level: settings.level })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict_additive;
    use removal::RemovalDistribution;
    use streams::{Streams, standard_normal};

    fn noisy_tests(n: usize, values: &[f64]) -> Vec<UtilityTable> {
        let streams = Streams::new(3);
        let draws =
            removal::unique_draws(&RemovalDistribution::Datamodel { alpha: 0.5 }, n, &streams, 40).unwrap();
        let noise = standard_normal(&mut streams.rng("noise", 0), 40);
        let pairs = draws.into_iter().zip(noise).map(|(draw, noise)| {
            let utility = predict_additive(values, &draw.coalition) + 0.5 * f64::from(noise);
            (draw.coalition, utility)
        });
        vec![UtilityTable::from_pairs(n, pairs).unwrap()]
    }

    #[test]
    fn a_method_does_not_differ_from_itself() {
        let values: Vec<f64> = (0..8).map(f64::from).collect();
        let tests = noisy_tests(8, &values);
        let predict = |c: &Coalition| predict_additive(&values, c);
        let same = lds_difference(predict, predict, &tests, &LdsSettings::default()).unwrap();
        assert_eq!((same.mean, same.interval.lower, same.interval.upper), (0.0, 0.0, 0.0));
    }

    #[test]
    fn the_truth_beats_its_opposite_for_sure() {
        let values: Vec<f64> = (0..8).map(f64::from).collect();
        let tests = noisy_tests(8, &values);
        let right = |c: &Coalition| predict_additive(&values, c);
        let wrong = |c: &Coalition| -predict_additive(&values, c);
        let settings = LdsSettings::default();
        let difference = lds_difference(right, wrong, &tests, &settings).unwrap();
        let one = lds(right, &tests, &settings).unwrap().mean;
        assert!((difference.mean - 2.0 * one).abs() < 1e-9);
        assert!(difference.interval.lower > 100.0, "{difference:?}");
    }
}

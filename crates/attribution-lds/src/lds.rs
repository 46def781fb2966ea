//! The linear datamodel score.

use removal::Coalition;
use serde::{Deserialize, Serialize};

use crate::bootstrap::resample_intervals;
use crate::observations::{mean, variance};
use crate::test_sets::TestSets;
use crate::{AttributionError, Bootstrap, Interval, UtilityTable};

/// How the uncertainty of a score is computed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LdsSettings {
    /// Confidence level of the bootstrap interval.
    pub level: f64,
    /// The bootstrap over coalitions.
    pub bootstrap: Bootstrap,
}

impl Default for LdsSettings {
    fn default() -> LdsSettings {
        LdsSettings { level: 0.95, bootstrap: Bootstrap::default() }
    }
}

/// A linear datamodel score (Park et al. 2023): 100 times Spearman's correlation between predicted and true utilities
/// over test coalitions whose models were really retrained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lds {
    /// The score of each test set (of each retraining seed, for instance), -100..100.
    pub sets: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// 1.96 sd / sqrt(k) over the k test sets: what other retraining seeds would change. `None` for one set.
    pub half_width: Option<f64>,
    /// Bootstrap interval of the mean over the test coalitions: what other coalitions would change. The sets' common
    /// coalitions are resampled together. Percentiles; a resample whose correlation is undefined widens it.
    pub interval: Interval,
    /// Its confidence level.
    pub level: f64,
    /// Different coalitions in all sets together.
    pub coalitions: usize,
}

/// Scores predictions against test sets. `predict` gives the predicted utility of a coalition, in any unit and up to any
/// constant: [`crate::Attribution::predict`], or [`crate::predict_additive`] for scores made elsewhere.
///
/// Predictions that agree to 12 digits of the largest count as ties, so that rounding in a sum orders nothing. Leave
/// training coalitions out of the test sets (or the other way round) with [`UtilityTable::without`].
///
/// ```
/// use attribution_lds::{LdsSettings, UtilityTable, lds, predict_additive};
/// use removal::Coalition;
///
/// let one = |i| Coalition::from_members(3, [i]);
/// let truth = UtilityTable::from_pairs(3, [(one(0)?, 0.1), (one(1)?, 0.4), (one(2)?, 0.3)])?;
/// let score = lds(|coalition| predict_additive(&[1.0, 3.0, 2.0], coalition), &[truth], &LdsSettings::default())?;
/// assert_eq!(score.mean, 100.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`AttributionError::Undefined`] naming the set whose utilities (or predictions) are constant or too few,
/// [`AttributionError::Empty`] without sets, [`AttributionError::NotFinite`] for a prediction,
/// [`AttributionError::OutOfRange`] for a setting.
pub fn lds(
    predict: impl Fn(&Coalition) -> f64,
    test_sets: &[UtilityTable],
    settings: &LdsSettings,
) -> Result<Lds, AttributionError> {
    let tests = TestSets::new(test_sets, settings)?;
    let predictions = tests.predictions(predict)?;
    let scores = tests.scores(&predictions)?;
    let (intervals, _) = resample_intervals(settings.bootstrap, settings.level, 1, |resample| {
        let correlations = tests.resampled(&predictions, &resample.counts(tests.coalitions()))?;
        Some(vec![100.0 * mean(&correlations)])
    });
    Ok(Lds {
        mean: mean(&scores),
        half_width: variance(&scores).map(|variance| 1.96 * (variance / scores.len() as f64).sqrt()),
        interval: clamp(intervals.intervals[0]),
        level: settings.level,
        coalitions: tests.coalitions(),
        sets: scores,
    })
}

/// A correlation is never beyond 100 in either direction, whatever was undefined.
pub(crate) fn clamp(interval: Interval) -> Interval {
    Interval { lower: interval.lower.max(-100.0), upper: interval.upper.min(100.0) }
}

/// Replaces values by numbers in the same order, equal for neighbours that differ by rounding only: by less than 2^-40 of
/// the largest.
pub(crate) fn merge_rounding(values: &mut [f64]) {
    let step = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs())) * 2f64.powi(-40);
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&one, &two| values[one].total_cmp(&values[two]));
    let groups = order.chunk_by(|&below, &above| values[above] - values[below] <= step);
    let groups: Vec<Vec<usize>> = groups.map(<[usize]>::to_vec).collect();
    for (group, places) in groups.iter().enumerate() {
        places.iter().for_each(|&place| values[place] = group as f64);
    }
}

#[cfg(test)]
mod tests {
    use removal::RemovalDistribution;
    use streams::{Streams, standard_normal};

    use super::*;
    use crate::{Undefined, predict_additive};

    fn test_sets(n: usize, count: u64, seeds: u64, noise: f64) -> Vec<UtilityTable> {
        let distribution = RemovalDistribution::Datamodel { alpha: 0.5 };
        let set = |seed| {
            let errors = standard_normal(&mut Streams::new(seed).rng("noise", 0), count as usize);
            let pairs = errors.iter().enumerate().map(|(index, &error)| {
                let coalition = distribution.draw(n, &Streams::new(0), index as u64).unwrap().coalition;
                let utility: f64 = coalition.members().map(|i| i as f64).sum();
                (coalition, utility + noise * f64::from(error))
            });
            UtilityTable::from_pairs(n, pairs).unwrap()
        };
        (0..seeds).map(set).collect()
    }

    fn scores(n: usize) -> Vec<f64> {
        (0..n).map(|i| 0.1 * i as f64).collect()
    }

    #[test]
    fn perfect_and_inverted_predictions() {
        let sets = test_sets(12, 60, 1, 0.0);
        let settings = LdsSettings::default();
        let score = lds(|c| predict_additive(&scores(12), c), &sets, &settings).unwrap();
        assert_eq!((score.mean, score.half_width), (100.0, None));
        assert_eq!(score.interval, Interval { lower: 100.0, upper: 100.0 });
        let inverted = lds(|c| -predict_additive(&scores(12), c), &sets, &settings).unwrap();
        assert_eq!(inverted.mean, -100.0);
    }

    #[test]
    fn seeds_and_coalitions_give_two_uncertainties() {
        let sets = test_sets(12, 100, 3, 8.0);
        let score = lds(|c| predict_additive(&scores(12), c), &sets, &LdsSettings::default()).unwrap();
        assert_eq!(score.coalitions, sets[0].coalitions().len());
        assert_eq!(score.sets.len(), 3);
        let spread = variance(&score.sets).unwrap().sqrt();
        assert!((score.half_width.unwrap() - 1.96 * spread / 3f64.sqrt()).abs() < 1e-12);
        assert!(score.interval.contains(score.mean) && score.interval.width() < 40.0, "{score:?}");
        // Fewer coalitions say less.
        let few: Vec<_> = sets.iter().map(|set| set.first(15)).collect();
        let rough = lds(|c| predict_additive(&scores(12), c), &few, &LdsSettings::default()).unwrap();
        assert!(rough.interval.width() > 1.5 * score.interval.width(), "{rough:?} {score:?}");
    }

    #[test]
    fn rounding_orders_nothing() {
        let mut values = [0.1 + 0.2, 5.0, 0.3, -0.0, 0.0, 0.3 + 1e-9];
        merge_rounding(&mut values);
        assert_eq!(values, [1.0, 3.0, 1.0, 0.0, 0.0, 2.0]);
    }

    #[test]
    fn undefined_is_typed_and_said() {
        let sets = test_sets(6, 20, 2, 1.0);
        let constant =
            UtilityTable::from_pairs(6, sets[1].rows().iter().map(|row| (row.coalition().clone(), 2.5)));
        let broken = [sets[0].clone(), constant.unwrap()];
        let error = lds(|c| predict_additive(&scores(6), c), &broken, &LdsSettings::default()).unwrap_err();
        assert!(matches!(error, AttributionError::Undefined { reason: Undefined::ConstantUtilities, .. }));
        assert!(
            error.to_string().contains("test set 1") && error.to_string().contains("no order"),
            "{error}"
        );
        // Equal scores on coalitions of one size, equal only to rounding.
        let error =
            lds(|c| c.members().map(|i| 0.1 + 1e-17 * i as f64).sum(), &sets, &LdsSettings::default());
        assert!(matches!(
            error,
            Err(AttributionError::Undefined { reason: Undefined::ConstantPredictions, .. })
        ));
        let nan = lds(|_| f64::NAN, &sets, &LdsSettings::default()).unwrap_err();
        assert!(nan.to_string().contains("prediction"), "{nan}");
        assert!(matches!(lds(|_| 0.0, &[], &LdsSettings::default()), Err(AttributionError::Empty { .. })));
    }
}

//! The linear datamodel score.

use rayon::prelude::*;
use removal::Coalition;
use serde::{Deserialize, Serialize};

use crate::bootstrap::Resample;
use crate::interval::percentile_interval;
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
    /// Mean and spread of the mean score over the bootstrap's resamples.
    pub bootstrapped: Bootstrapped,
    /// Different coalitions in all sets together.
    pub coalitions: usize,
}

/// A score over the resamples of a bootstrap, those aside in which it is undefined.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrapped {
    /// Resamples in which it is defined.
    pub resamples: usize,
    /// Its mean over them; `None` if there are fewer than two.
    pub mean: Option<f64>,
    /// Its standard deviation over them: the standard error of the score. `None` as for the mean.
    pub standard_error: Option<f64>,
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
    mean_lds(&[predict], &[test_sets], settings)
}

/// The mean of the scores of several behaviours, one a generated image for instance: each of `predict` is scored against
/// the test sets in its place, and each set's score is the mean over the behaviours. The coalitions of all behaviours are
/// resampled together.
///
/// # Errors
/// As [`lds()`]; [`AttributionError::WrongLength`] if there are not as many predictions as behaviours, or if they differ in
/// the number of test sets or in their coalitions.
pub fn mean_lds<P: Fn(&Coalition) -> f64, T: AsRef<[UtilityTable]>>(
    predict: &[P],
    test_sets: &[T],
    settings: &LdsSettings,
) -> Result<Lds, AttributionError> {
    let wrong = |what, found, expected| AttributionError::WrongLength { what, found, expected };
    if predict.len() != test_sets.len() {
        return Err(wrong("the list of predictions", predict.len(), test_sets.len()));
    }
    let behaviors = predict
        .iter()
        .zip(test_sets)
        .map(|(predict, sets)| {
            let tests = TestSets::new(sets.as_ref(), settings)?;
            let predictions = tests.predictions(predict)?;
            Ok((tests, predictions))
        })
        .collect::<Result<Vec<_>, AttributionError>>()?;
    let Some((first, _)) = behaviors.first() else {
        return Err(AttributionError::Empty { what: "behaviors to score".into() });
    };
    let (sets, coalitions) = (test_sets[0].as_ref().len(), first.coalitions());
    for ((tests, _), own) in behaviors.iter().zip(test_sets) {
        if own.as_ref().len() != sets {
            return Err(wrong("the list of test sets of a behavior", own.as_ref().len(), sets));
        }
        if !tests.same_coalitions(first) {
            return Err(wrong("the list of test coalitions of a behavior", tests.coalitions(), coalitions));
        }
    }
    let scores = behaviors
        .iter()
        .map(|(tests, predictions)| tests.scores(predictions))
        .collect::<Result<Vec<Vec<f64>>, _>>()?;
    let scores: Vec<f64> =
        (0..sets).map(|set| mean(&scores.iter().map(|by_set| by_set[set]).collect::<Vec<_>>())).collect();

    let Bootstrap { resamples, .. } = settings.bootstrap;
    let ranked: Vec<_> =
        behaviors.iter().map(|(tests, predictions)| (tests, tests.ranked(predictions))).collect();
    let resampled = |index| {
        let counts = Resample::new(settings.bootstrap, index).counts(coalitions);
        let means = ranked
            .iter()
            .map(|(tests, predictions)| Some(100.0 * mean(&tests.resampled(predictions, &counts)?)));
        Some(mean(&means.collect::<Option<Vec<f64>>>()?))
    };
    let estimates: Vec<f64> = (0..resamples).into_par_iter().filter_map(resampled).collect();
    let spread = variance(&estimates);
    let bootstrapped = Bootstrapped {
        resamples: estimates.len(),
        mean: spread.map(|_| mean(&estimates)),
        standard_error: spread.map(f64::sqrt),
    };
    let undefined = resamples - estimates.len();
    Ok(Lds {
        mean: mean(&scores),
        half_width: variance(&scores).map(|variance| 1.96 * (variance / scores.len() as f64).sqrt()),
        interval: clamp(percentile_interval(estimates, undefined, settings.level)),
        level: settings.level,
        bootstrapped,
        coalitions,
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
    fn the_bootstrap_tells_its_mean_and_spread() {
        let sets = test_sets(12, 100, 1, 8.0);
        let score = lds(|c| predict_additive(&scores(12), c), &sets, &LdsSettings::default()).unwrap();
        let Bootstrapped { resamples, mean, standard_error } = score.bootstrapped;
        assert_eq!(resamples, 1000);
        assert!((mean.unwrap() - score.mean).abs() < 3.0, "{score:?}");
        // A nearly normal bootstrap: its percentile interval is about 2 * 1.96 standard errors wide.
        let ratio = score.interval.width() / (2.0 * 1.96 * standard_error.unwrap());
        assert!((ratio - 1.0).abs() < 0.15, "{ratio}");
    }

    #[test]
    fn behaviours_are_averaged_set_by_set() {
        let sets = [test_sets(12, 60, 2, 8.0), test_sets(12, 60, 2, 3.0)];
        let settings = LdsSettings::default();
        let predict = |c: &Coalition| predict_additive(&scores(12), c);
        let [one, two] = [0, 1].map(|place| lds(predict, &sets[place], &settings).unwrap());
        let both = mean_lds(&[predict, predict], &sets, &settings).unwrap();
        for set in 0..2 {
            assert!((both.sets[set] - (one.sets[set] + two.sets[set]) / 2.0).abs() < 1e-12);
        }
        assert_eq!(mean_lds(&[predict], &sets[..1], &settings).unwrap(), one);
        assert!(both.interval.contains(both.mean), "{both:?}");
        let fewer = [sets[0].clone(), sets[1].iter().map(|set| set.first(50)).collect()];
        for wrong in [&fewer[..], &[sets[0].clone(), sets[1][..1].to_vec()], &sets[..1]] {
            let error = mean_lds(&[predict, predict], wrong, &settings).unwrap_err();
            assert!(matches!(error, AttributionError::WrongLength { .. }), "{error}");
        }
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

//! One score against another on the same test coalitions.

use removal::Coalition;
use serde::{Deserialize, Serialize};

use crate::bootstrap::resample_intervals;
use crate::lds::LdsSettings;
use crate::observations::mean;
use crate::test_sets::TestSets;
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
    let tests = TestSets::new(test_sets, settings)?;
    let [one, two] = [tests.predictions(first)?, tests.predictions(second)?];
    let ranked = [&one, &two].map(|predictions| tests.ranked(predictions));
    let (intervals, _) = resample_intervals(settings.bootstrap, settings.level, 1, |resample| {
        let counts = resample.counts(tests.coalitions());
        let pairs =
            tests.resampled(&ranked[0], &counts)?.into_iter().zip(tests.resampled(&ranked[1], &counts)?);
        Some(vec![mean(&pairs.map(|(one, two)| 100.0 * (one - two)).collect::<Vec<_>>())])
    });
    let difference = mean(&tests.scores(&one)?) - mean(&tests.scores(&two)?);
    Ok(LdsDifference { mean: difference, interval: intervals.intervals[0], level: settings.level })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lds, predict_additive};
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

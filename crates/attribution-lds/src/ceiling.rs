//! The noise ceiling: how well can anything predict a retraining?

use std::collections::BTreeMap;

use removal::Coalition;
use serde::{Deserialize, Serialize};

use crate::bootstrap::resample_intervals;
use crate::interval::check_level;
use crate::lds::clamp;
use crate::observations::mean;
use crate::rank::spearman;
use crate::{AttributionError, Interval, LdsSettings, UtilityTable};

/// How far independently seeded retrainings of the same coalitions agree, in the units of [`crate::Lds`].
///
/// With rho the mean of Spearman's correlation over all pairs of k seeds, as a share of 1:
/// * `between_retrainings` = 100 rho: what predicting one retraining by another one gives. A *single noisy* run of the real
///   thing scores this.
/// * `attainable` = 100 sqrt(rho): what the best possible prediction, the expected utility itself, gives against one
///   retraining (Spearman's correction for attenuation: the correlation of a noise-free variable with a measurement of
///   reliability rho). No score can be expected to beat this one; scores that average much noise away can pass rho.
/// * `mean_of_seeds` = 100 k rho / (1 + (k - 1) rho): the same as `between_retrainings` for the mean of k seeds
///   (Spearman-Brown).
/// * `attainable_by_mean` = 100 sqrt of that: the bound when the truth is the mean of the k seeds.
///
/// The last three formulas are exact for Pearson's correlation and independent noise; for ranks they are approximations.
/// If rho <= 0 the seeds do not agree at all and the bounds are 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseCeiling {
    /// Number of seeds, k.
    pub seeds: usize,
    /// Coalitions that all seeds have.
    pub coalitions: usize,
    /// 100 rho.
    pub between_retrainings: f64,
    /// Bootstrap interval of `between_retrainings` over coalitions.
    pub interval: Interval,
    /// Its confidence level.
    pub level: f64,
    /// 100 sqrt(rho).
    pub attainable: f64,
    /// `interval` carried through the root.
    pub attainable_interval: Interval,
    /// Spearman-Brown reliability of the mean of k seeds, times 100.
    pub mean_of_seeds: f64,
    /// 100 times the root of that reliability.
    pub attainable_by_mean: f64,
}

/// The noise ceiling from k >= 2 tables, one a seed, over the coalitions that all of them have. Rows of one coalition in
/// one table are averaged.
///
/// # Errors
/// [`AttributionError::TooFewRetrainings`] for fewer than two tables; [`AttributionError::Undefined`] if fewer than three
/// coalitions are common or a seed's utilities are constant; [`AttributionError::OutOfRange`] for a setting.
pub fn noise_ceiling(
    seeds: &[UtilityTable],
    settings: &LdsSettings,
) -> Result<NoiseCeiling, AttributionError> {
    check_level(settings.level)?;
    settings.bootstrap.check()?;
    if seeds.len() < 2 {
        let what = "a noise ceiling";
        return Err(AttributionError::TooFewRetrainings { what, needed: 2, found: seeds.len() });
    }
    let means: Vec<BTreeMap<&Coalition, f64>> = seeds.iter().map(mean_by_coalition).collect();
    let common = means[0].keys().filter(|coalition| means.iter().all(|seed| seed.contains_key(*coalition)));
    let common: Vec<&Coalition> = common.copied().collect();
    let utilities: Vec<Vec<f64>> =
        means.iter().map(|seed| common.iter().map(|coalition| seed[*coalition]).collect()).collect();

    let all: Vec<usize> = (0..common.len()).collect();
    let rho = mean_pair_correlation(&utilities, &all).map_err(|reason| {
        let what =
            format!("the noise ceiling of {} seeds with {} common coalitions", seeds.len(), common.len());
        AttributionError::Undefined { what, reason }
    })?;
    let (intervals, _) = resample_intervals(settings.bootstrap, settings.level, 1, |resample| {
        let counts = resample.counts(common.len());
        let places: Vec<usize> = counts
            .iter()
            .enumerate()
            .flat_map(|(place, &count)| std::iter::repeat_n(place, count as usize))
            .collect();
        mean_pair_correlation(&utilities, &places).ok().map(|rho| vec![100.0 * rho])
    });
    let interval = clamp(intervals.intervals[0]);
    let k = seeds.len() as f64;
    let reliability = (k * rho / (1.0 + (k - 1.0) * rho)).max(0.0);
    let root = |percent: f64| 10.0 * percent.max(0.0).sqrt();
    Ok(NoiseCeiling {
        seeds: seeds.len(),
        coalitions: common.len(),
        between_retrainings: 100.0 * rho,
        interval,
        level: settings.level,
        attainable: root(100.0 * rho),
        attainable_interval: Interval { lower: root(interval.lower), upper: root(interval.upper) },
        mean_of_seeds: 100.0 * reliability,
        attainable_by_mean: root(100.0 * reliability),
    })
}

fn mean_by_coalition(table: &UtilityTable) -> BTreeMap<&Coalition, f64> {
    let mut runs: BTreeMap<&Coalition, Vec<f64>> = BTreeMap::new();
    for row in table.rows() {
        runs.entry(row.coalition()).or_default().extend_from_slice(row.runs());
    }
    runs.into_iter().map(|(coalition, runs)| (coalition, mean(&runs))).collect()
}

/// The mean of Spearman's correlation over all pairs of seeds, at the given places.
fn mean_pair_correlation(utilities: &[Vec<f64>], places: &[usize]) -> Result<f64, crate::Undefined> {
    let selected: Vec<Vec<f64>> =
        utilities.iter().map(|seed| places.iter().map(|&place| seed[place]).collect()).collect();
    let mut correlations = Vec::new();
    for (second, two) in selected.iter().enumerate() {
        for one in &selected[..second] {
            // Both sides are utilities here, whichever is constant.
            correlations.push(spearman(one, two).map_err(|reason| match reason {
                crate::Undefined::ConstantPredictions => crate::Undefined::ConstantUtilities,
                other => other,
            })?);
        }
    }
    Ok(mean(&correlations))
}

#[cfg(test)]
mod tests {
    use streams::{Streams, standard_normal};

    use super::*;
    use crate::{Bootstrap, lds};

    /// Utilities `truth + noise` of 2^11 coalitions, one table a seed, and the truth.
    fn retrainings(seeds: u64, noise: f32) -> (Vec<UtilityTable>, BTreeMap<Coalition, f64>) {
        let coalitions: Vec<Coalition> = (0..2048usize)
            .map(|mask| Coalition::from_members(11, (0..11).filter(|i| mask >> i & 1 == 1)).unwrap())
            .collect();
        let truth = standard_normal(&mut Streams::new(99).rng("truth", 0), 2048);
        let table = |seed| {
            let errors = standard_normal(&mut Streams::new(seed).rng("noise", 0), 2048);
            let utilities = truth.iter().zip(errors).map(|(truth, error)| f64::from(truth + noise * error));
            UtilityTable::from_pairs(11, coalitions.iter().cloned().zip(utilities)).unwrap()
        };
        let expected = coalitions.iter().cloned().zip(truth.iter().map(|&truth| f64::from(truth))).collect();
        ((0..seeds).map(table).collect(), expected)
    }

    fn quick() -> LdsSettings {
        LdsSettings { level: 0.95, bootstrap: Bootstrap { resamples: 200, seed: 0 } }
    }

    /// The bounds against what the true expected utilities reach, for noise as large as the signal (rho about 0.48).
    #[test]
    fn the_best_prediction_reaches_the_ceiling() {
        let (seeds, truth) = retrainings(3, 1.0);
        let ceiling = noise_ceiling(&seeds, &quick()).unwrap();
        assert!((ceiling.between_retrainings - 48.3).abs() < 3.0, "{ceiling:?}");
        assert!(ceiling.interval.contains(ceiling.between_retrainings));
        let best = lds(|coalition| truth[coalition], &seeds, &quick()).unwrap();
        assert!((best.mean - ceiling.attainable).abs() < 2.0, "{best:?} {ceiling:?}");
        assert!(best.mean > ceiling.between_retrainings + 15.0);
        // The mean of the three seeds as truth.
        let mut means = UtilityTable::new(11);
        for (place, row) in seeds[0].rows().iter().enumerate() {
            let runs = seeds.iter().map(|seed| seed.rows()[place].mean()).collect();
            means.push_runs(row.coalition().clone(), runs).unwrap();
        }
        let best = lds(|coalition| truth[coalition], &[means], &quick()).unwrap();
        assert!((best.mean - ceiling.attainable_by_mean).abs() < 2.0, "{best:?} {ceiling:?}");
    }

    #[test]
    fn only_common_coalitions_count() {
        let (seeds, _) = retrainings(2, 0.0);
        let part = seeds[1].first(50);
        let ceiling = noise_ceiling(&[seeds[0].clone(), part], &quick()).unwrap();
        assert_eq!((ceiling.coalitions, ceiling.between_retrainings, ceiling.attainable), (50, 100.0, 100.0));
    }

    #[test]
    fn what_cannot_be_said_is_an_error() {
        let (seeds, _) = retrainings(2, 1.0);
        let one = noise_ceiling(&seeds[..1], &quick()).unwrap_err().to_string();
        assert!(one.contains("at least 2 retrainings"), "{one}");
        let apart = [seeds[0].first(10), seeds[1].filtered(|place, _| place >= 10)];
        let none = noise_ceiling(&apart, &quick()).unwrap_err().to_string();
        assert!(none.contains("0 common coalitions"), "{none}");
        let flat =
            UtilityTable::from_pairs(11, seeds[0].rows().iter().map(|row| (row.coalition().clone(), 1.0)));
        for pair in [[seeds[0].clone(), flat.clone().unwrap()], [flat.unwrap(), seeds[0].clone()]] {
            let constant = noise_ceiling(&pair, &quick()).unwrap_err().to_string();
            assert!(constant.contains("all true utilities are equal"), "{constant}");
        }
    }
}

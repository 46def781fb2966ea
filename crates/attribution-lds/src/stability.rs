//! Does the ranking come out the same from other draws?

use rayon::prelude::*;
use removal::RemovalDistribution;
use serde::{Deserialize, Serialize};
use streams::{Streams, permutation};

use crate::bootstrap::Resample;
use crate::interval::percentile_interval;
use crate::observations::mean;
use crate::rank::{kendall_tau, spearman};
use crate::units::resampling_units;
use crate::{AttributionError, Bootstrap, Interval, Observations, UtilityTable};

/// How far the rankings from two halves of the draws agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitHalf {
    /// Mean over the splits of Spearman's correlation between the halves' scores, -1..1.
    pub correlation: f64,
    /// The middle 95 % of the splits. Splits share their draws, so this shows spread and is no confidence interval.
    pub spread: Interval,
    /// Spearman-Brown's 2 r / (1 + r): the agreement to expect from two studies as large as this one. 0 if r <= 0.
    pub full_length: f64,
    /// Splits made.
    pub splits: usize,
    /// Splits left out because a half's scores were all equal.
    pub undefined: usize,
}

/// Splits the draws at random into halves, `splits` times, scores contributors from each half, and compares the ranks. What
/// `distribution` draws together, pairs and orders, stays together.
///
/// `score` is any estimator: `|half| Ok(settings.fit(half)?.values)`; without a bootstrap, which it does not need.
///
/// # Errors
/// [`AttributionError::OutOfRange`] for no splits, [`AttributionError::Empty`] for fewer than two draws,
/// [`AttributionError::Undefined`] if no split has a correlation, and those of `score`.
pub fn split_half(
    observations: &Observations,
    distribution: RemovalDistribution,
    splits: usize,
    seed: u64,
    score: impl Fn(&Observations) -> Result<Vec<f64>, AttributionError>,
) -> Result<SplitHalf, AttributionError> {
    if splits == 0 {
        return Err(AttributionError::OutOfRange { setting: "splits", value: 0.0, range: "at least 1" });
    }
    let units = resampling_units(observations.draws(), distribution);
    let mut correlations = Vec::with_capacity(splits);
    let mut reason = None;
    for split in 0..splits {
        let order = permutation(&mut Streams::new(seed).rng("split half", split as u64), units.len());
        let mut first = vec![None; observations.draws().len()];
        for (place, &unit) in order.iter().enumerate() {
            first[units[unit].clone()].fill(Some(place < units.len() / 2));
        }
        let half = |wanted: bool| {
            let rows = observations.draws().filtered(|place, _| first[place] == Some(wanted));
            score(&observations.with_draws(rows)?)
        };
        match spearman(&half(true)?, &half(false)?) {
            Ok(correlation) => correlations.push(correlation),
            Err(undefined) => reason = Some(undefined),
        }
    }
    if let (true, Some(reason)) = (correlations.is_empty(), reason) {
        let what = "the split-half agreement of the scores".to_string();
        return Err(AttributionError::Undefined { what, reason });
    }
    let correlation = mean(&correlations);
    Ok(SplitHalf {
        correlation,
        full_length: if correlation > 0.0 { 2.0 * correlation / (1.0 + correlation) } else { 0.0 },
        splits,
        undefined: splits - correlations.len(),
        spread: percentile_interval(correlations, 0, 0.95),
    })
}

/// How far the ranking from resampled draws agrees with the ranking from all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankStability {
    /// Mean over the resamples of Kendall's tau-b between their scores and those of all draws, -1..1.
    pub kendall_tau: f64,
    /// The middle 95 % of the resamples.
    pub kendall_spread: Interval,
    /// How many contributors count as the top.
    pub top: usize,
    /// Mean over the resamples of the share of the top by all draws that is in the top by the resample, 0..1.
    pub top_agreement: f64,
    /// Resamples made.
    pub resamples: usize,
    /// Resamples left out because they do not determine the scores, or give all contributors the same.
    pub undefined: usize,
}

/// Scores contributors from draws resampled with replacement, and compares the ranks with those from all draws: Kendall's
/// tau-b, and how much of the top stays in it. What `distribution` draws together is resampled together. The top are the
/// `top` largest scores (all, if there are fewer): turn the sign where less is better.
///
/// A resample has fewer different draws than the study, so agreement with it is a little lower than between two studies.
/// `score` is any estimator, as for [`split_half`]. The bits of the result do not depend on the number of threads.
///
/// # Errors
/// [`AttributionError::OutOfRange`] for a `top` of 0 or fewer than 2 resamples, those of `score` on all draws, and if no resample
/// has an agreement the reason of the first: [`AttributionError::Undefined`] if scores are equal, or that of `score`.
pub fn rank_stability(
    observations: &Observations,
    distribution: RemovalDistribution,
    top: usize,
    bootstrap: Bootstrap,
    score: impl Fn(&Observations) -> Result<Vec<f64>, AttributionError> + Sync,
) -> Result<RankStability, AttributionError> {
    bootstrap.check()?;
    if top == 0 {
        return Err(AttributionError::OutOfRange { setting: "top", value: 0.0, range: "at least 1" });
    }
    let all = score(observations)?;
    let best = largest(&all, top);
    let units = resampling_units(observations.draws(), distribution);
    let agreement = |index: usize| -> Result<(f64, f64), AttributionError> {
        let counts = Resample::new(bootstrap, index).counts(units.len());
        let again = score(&observations.with_draws(resampled(observations.draws(), &units, &counts)?)?)?;
        let stayed = largest(&again, top).iter().filter(|place| best.contains(place)).count();
        let tau = kendall_tau(&again, &all).map_err(|reason| AttributionError::Undefined {
            what: "the stability of the ranks".to_string(),
            reason,
        })?;
        Ok((tau, stayed as f64 / best.len().max(1) as f64))
    };
    let found: Vec<Result<(f64, f64), AttributionError>> =
        (0..bootstrap.resamples).into_par_iter().map(agreement).collect();
    if found.iter().all(Result::is_err) {
        found.into_iter().collect::<Result<Vec<_>, _>>()?;
        return Err(AttributionError::Empty { what: "resamples".into() });
    }
    let found = found.into_iter().flatten();
    let (taus, stayed): (Vec<f64>, Vec<f64>) = found.unzip();
    Ok(RankStability {
        kendall_tau: mean(&taus),
        top: best.len(),
        top_agreement: mean(&stayed),
        resamples: bootstrap.resamples,
        undefined: bootstrap.resamples - taus.len(),
        kendall_spread: percentile_interval(taus, 0, 0.95),
    })
}

/// The places of the largest values; of equals, the first.
fn largest(values: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&one, &two| values[two].total_cmp(&values[one]));
    order.truncate(count);
    order
}

/// A table in which each unit of rows stands as often as it was drawn. Rows that are units by themselves count instead.
fn resampled(
    table: &UtilityTable,
    units: &[std::ops::Range<usize>],
    counts: &[u32],
) -> Result<UtilityTable, AttributionError> {
    let mut again = UtilityTable::new(table.n());
    for (unit, &count) in units.iter().zip(counts).filter(|(_, count)| **count > 0) {
        let (copies, times) = if unit.len() == 1 { (1, count) } else { (count, 1) };
        for _ in 0..copies {
            for row in &table.rows()[unit.clone()] {
                again.push_times(row.coalition().clone(), row.runs().to_vec(), row.times() * times)?;
            }
        }
    }
    Ok(again)
}

#[cfg(test)]
mod tests {
    use removal::Coalition;
    use streams::standard_normal;

    use super::*;
    use crate::{FnGame, Game, KernelShap, UtilityTable};

    const SHAPLEY: RemovalDistribution = RemovalDistribution::Shapley;

    fn fit(half: &Observations) -> Result<Vec<f64>, AttributionError> {
        Ok(KernelShap { bootstrap: None, ..KernelShap::default() }.fit(half)?.values)
    }

    #[test]
    fn clear_games_agree_and_noise_does_not() {
        let game = FnGame::new(8, |c: &Coalition| c.members().map(|i| (i * i) as f64).sum());
        let clear = game.observe(RemovalDistribution::Shapley, 200, &Streams::new(1)).unwrap();
        let agreement = split_half(&clear, SHAPLEY, 20, 0, fit).unwrap();
        assert_eq!((agreement.correlation, agreement.full_length, agreement.undefined), (1.0, 1.0, 0));
        let errors = standard_normal(&mut Streams::new(2).rng("noise", 0), 200);
        let rows = clear.draws().rows().iter().zip(errors);
        let pairs = rows.map(|(row, error)| (row.coalition().clone(), f64::from(error)));
        let noise = clear.with_draws(UtilityTable::from_pairs(8, pairs).unwrap()).unwrap();
        let agreement = split_half(&noise, SHAPLEY, 20, 0, fit).unwrap();
        assert!(agreement.correlation.abs() < 0.5, "{agreement:?}");
        assert!(agreement.spread.width() > 0.3, "{agreement:?}");
    }

    #[test]
    fn no_scores_no_agreement() {
        let game = FnGame::new(4, |_: &Coalition| 1.0);
        let flat = game.observe(RemovalDistribution::Shapley, 60, &Streams::new(1)).unwrap();
        let error = split_half(&flat, SHAPLEY, 3, 0, |_| Ok(vec![0.0; 4])).unwrap_err();
        assert!(matches!(error, AttributionError::Undefined { .. }), "{error}");
        assert!(matches!(split_half(&flat, SHAPLEY, 0, 0, fit), Err(AttributionError::OutOfRange { .. })));
    }
    fn stability(observations: &Observations, top: usize) -> Result<RankStability, AttributionError> {
        rank_stability(observations, SHAPLEY, top, Bootstrap { resamples: 100, seed: 4 }, fit)
    }

    #[test]
    fn ranks_of_clear_games_stay_and_of_noise_do_not() {
        let game = FnGame::new(8, |c: &Coalition| c.members().map(|i| (i * i) as f64).sum());
        let clear = game.observe(SHAPLEY, 200, &Streams::new(1)).unwrap();
        let found = stability(&clear, 3).unwrap();
        assert_eq!((found.kendall_tau, found.top_agreement, found.top), (1.0, 1.0, 3));
        assert_eq!(stability(&clear, 20).unwrap().top, 8);
        let errors = standard_normal(&mut Streams::new(2).rng("noise", 0), 200);
        let rows = clear.draws().rows().iter().zip(errors);
        let pairs = rows.map(|(row, error)| (row.coalition().clone(), f64::from(error)));
        let noise = clear.with_draws(UtilityTable::from_pairs(8, pairs).unwrap()).unwrap();
        let found = stability(&noise, 3).unwrap();
        assert!(found.kendall_tau < 0.9 && found.top_agreement < 0.95, "{found:?}");
        assert!(found.kendall_spread.contains(found.kendall_tau), "{found:?}");
        assert_eq!(stability(&noise, 3).unwrap(), found);
        assert!(matches!(stability(&noise, 0), Err(AttributionError::OutOfRange { .. })));
        let flat = rank_stability(&noise, SHAPLEY, 3, Bootstrap::default(), |_| Ok(vec![1.0; 8]));
        assert!(matches!(flat, Err(AttributionError::Undefined { .. })));
    }

    /// Permutation sampling needs whole orders, in halves and in resamples.
    #[test]
    fn orders_are_split_and_resampled_whole() {
        let game = FnGame::new(5, |c: &Coalition| c.members().map(|i| (1 << i) as f64).sum());
        let distribution = RemovalDistribution::PermutationAntithetic;
        let observations = game.observe(distribution, 48, &Streams::new(1)).unwrap();
        let fit = |part: &Observations| {
            let fit = crate::PermutationSampling::default().fit(part)?;
            assert_eq!(fit.diagnostics.left_out, 0);
            Ok(fit.values)
        };
        assert_eq!(split_half(&observations, distribution, 5, 0, fit).unwrap().correlation, 1.0);
        let found = rank_stability(&observations, distribution, 2, Bootstrap { resamples: 9, seed: 0 }, fit);
        assert_eq!(found.unwrap().kendall_tau, 1.0);
    }
}

//! Does the ranking come out the same from other draws?

use serde::{Deserialize, Serialize};
use streams::{Streams, permutation};

use crate::interval::percentile_interval;
use crate::observations::mean;
use crate::rank::spearman;
use crate::{AttributionError, Interval, Observations};

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

/// Splits the draws at random into halves, `splits` times, scores contributors from each half, and compares the ranks.
///
/// `score` is any estimator: `|half| Ok(settings.fit(half)?.values)`; without a bootstrap, which it does not need.
///
/// # Errors
/// [`AttributionError::OutOfRange`] for no splits, [`AttributionError::Empty`] for fewer than two draws,
/// [`AttributionError::Undefined`] if no split has a correlation, and those of `score`.
pub fn split_half(
    observations: &Observations,
    splits: usize,
    seed: u64,
    score: impl Fn(&Observations) -> Result<Vec<f64>, AttributionError>,
) -> Result<SplitHalf, AttributionError> {
    if splits == 0 {
        return Err(AttributionError::OutOfRange { setting: "splits", value: 0.0, range: "at least 1" });
    }
    let draws = observations.draws().len();
    let mut correlations = Vec::with_capacity(splits);
    let mut reason = None;
    for split in 0..splits {
        let order = permutation(&mut Streams::new(seed).rng("split half", split as u64), draws);
        let mut first = vec![false; draws];
        order[..draws / 2].iter().for_each(|&place| first[place] = true);
        let half = |wanted: bool| {
            let rows = observations.draws().filtered(|place, _| first[place] == wanted);
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

#[cfg(test)]
mod tests {
    use removal::{Coalition, RemovalDistribution};
    use streams::standard_normal;

    use super::*;
    use crate::{FnGame, Game, KernelShap, UtilityTable};

    fn fit(half: &Observations) -> Result<Vec<f64>, AttributionError> {
        Ok(KernelShap { bootstrap: None, ..KernelShap::default() }.fit(half)?.values)
    }

    #[test]
    fn clear_games_agree_and_noise_does_not() {
        let game = FnGame::new(8, |c: &Coalition| c.members().map(|i| (i * i) as f64).sum());
        let clear = game.observe(RemovalDistribution::Shapley, 200, &Streams::new(1)).unwrap();
        let agreement = split_half(&clear, 20, 0, fit).unwrap();
        assert_eq!((agreement.correlation, agreement.full_length, agreement.undefined), (1.0, 1.0, 0));
        let errors = standard_normal(&mut Streams::new(2).rng("noise", 0), 200);
        let rows = clear.draws().rows().iter().zip(errors);
        let pairs = rows.map(|(row, error)| (row.coalition().clone(), f64::from(error)));
        let noise = clear.with_draws(UtilityTable::from_pairs(8, pairs).unwrap()).unwrap();
        let agreement = split_half(&noise, 20, 0, fit).unwrap();
        assert!(agreement.correlation.abs() < 0.5, "{agreement:?}");
        assert!(agreement.spread.width() > 0.3, "{agreement:?}");
    }

    #[test]
    fn no_scores_no_agreement() {
        let game = FnGame::new(4, |_: &Coalition| 1.0);
        let flat = game.observe(RemovalDistribution::Shapley, 60, &Streams::new(1)).unwrap();
        let error = split_half(&flat, 3, 0, |_| Ok(vec![0.0; 4])).unwrap_err();
        assert!(matches!(error, AttributionError::Undefined { .. }), "{error}");
        assert!(matches!(split_half(&flat, 0, 0, fit), Err(AttributionError::OutOfRange { .. })));
    }
}

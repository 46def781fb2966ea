//! Draws without repeated coalitions.

use crate::{Coalition, Draw, RemovalDistribution, RemovalError};
use std::collections::BTreeSet;
use streams::Streams;

/// Draws allowed for each coalition asked for, beyond [`FREE_DRAWS`].
const DRAWS_A_COALITION: u64 = 1_000;
/// Draws that are always allowed.
const FREE_DRAWS: u64 = 10_000;

/// The first `count` different coalitions of a distribution, each with the lowest index that draws it.
///
/// Draws 0, 1, 2, ... are made until `count` distinct coalitions were seen; repeats are skipped, so indices ascend but may
/// have gaps. The answer for a smaller `count` is a prefix of the answer for a larger one. The empty and the full coalition
/// are coalitions like any other: they appear where the distribution gives them (`uniform`; `loo` and `add_one_in` for
/// n = 1; `none`), and their utilities are those of the untrained and of the fully trained model.
///
/// Dropping repeats changes the distribution when `count` comes near the number of coalitions there are: estimators that
/// weigh coalitions by how often they were drawn should use [`RemovalDistribution::draw`] itself, and count a repeat twice.
/// So should permutation sampling, which needs every beginning of an order, repeated or not.
///
/// # Errors
/// Those of [`RemovalDistribution::validate`]; [`RemovalError::NotEnoughCoalitions`] where fewer than `count` exist;
/// [`RemovalError::GaveUp`] after `10_000 + 1_000 * count` draws, when the rest is too rare.
///
/// ```
/// use removal::{unique_draws, RemovalDistribution};
/// use streams::Streams;
///
/// let draws = unique_draws(&RemovalDistribution::Shapley, 4, &Streams::new(0), 14)?;
/// assert_eq!(draws.len(), 14); // all of the 2^4 - 2 that there are
/// assert!(unique_draws(&RemovalDistribution::Shapley, 4, &Streams::new(0), 15).is_err());
/// # Ok::<(), removal::RemovalError>(())
/// ```
pub fn unique_draws(
    distribution: &RemovalDistribution,
    n: usize,
    streams: &Streams,
    count: usize,
) -> Result<Vec<Draw>, RemovalError> {
    unique_draws_except(distribution, n, streams, count, &BTreeSet::new())
}

/// As [`unique_draws`], leaving out the coalitions in `excluded`: training coalitions that do not occur in a test set.
///
/// # Errors
/// Those of [`unique_draws`], counting only coalitions that are not excluded.
pub fn unique_draws_except(
    distribution: &RemovalDistribution,
    n: usize,
    streams: &Streams,
    count: usize,
    excluded: &BTreeSet<Coalition>,
) -> Result<Vec<Draw>, RemovalError> {
    let support = distribution.support(n)?;
    let mut excluded_support = 0u128;
    for coalition in excluded.iter().filter(|coalition| coalition.n() == n) {
        excluded_support += u128::from(distribution.probability(coalition)? > 0.0);
    }
    if (count as u128) > support - excluded_support {
        let excluded = match excluded_support {
            0 => String::new(),
            some => format!(", {some} of them excluded"),
        };
        return Err(RemovalError::NotEnoughCoalitions {
            count,
            distribution: distribution.to_string(),
            n,
            support,
            excluded,
        });
    }
    let limit = FREE_DRAWS.saturating_add(DRAWS_A_COALITION.saturating_mul(count as u64));
    let mut seen = excluded.clone();
    let mut draws = Vec::with_capacity(count);
    let mut index = 0;
    while draws.len() < count {
        if index == limit {
            return Err(RemovalError::GaveUp {
                count,
                found: draws.len(),
                drawn: limit,
                distribution: distribution.to_string(),
                n,
            });
        }
        let draw = distribution.draw(n, streams, index)?;
        if seen.insert(draw.coalition.clone()) {
            draws.push(draw);
        }
        index += 1;
    }
    Ok(draws)
}

#[cfg(test)]
mod tests {
    use super::*;
    use RemovalDistribution::{AddOneIn, Datamodel, Loo, None, Shapley, Uniform};

    const STREAMS: Streams = Streams::new(5);

    #[test]
    fn draws_are_distinct_and_lead_into_larger_counts() {
        for distribution in [Shapley, Datamodel { alpha: 0.5 }, Uniform] {
            let many = unique_draws(&distribution, 6, &STREAMS, 20).unwrap();
            let coalitions: BTreeSet<_> = many.iter().map(|draw| &draw.coalition).collect();
            assert_eq!(coalitions.len(), 20);
            assert!(many.is_sorted_by(|a, b| a.index < b.index));
            for draw in &many {
                assert_eq!(&distribution.draw(6, &STREAMS, draw.index).unwrap(), draw);
            }
            assert_eq!(unique_draws(&distribution, 6, &STREAMS, 7).unwrap(), many[..7]);
        }
    }

    #[test]
    fn pairs_stay_whole() {
        let draws = unique_draws(&RemovalDistribution::LeveragePaired, 6, &STREAMS, 40).unwrap();
        for pair in draws.chunks(2) {
            assert_eq!(pair[0].coalition.complement(), pair[1].coalition);
        }
    }

    #[test]
    fn skips_repeats_only() {
        let draws = unique_draws(&Shapley, 4, &STREAMS, 14).unwrap();
        let last = draws.last().unwrap().index;
        assert!(last > 13, "fourteen draws of fourteen coalitions without a repeat are all but impossible");
        let drawn: BTreeSet<_> =
            (0..=last).map(|k| Shapley.draw(4, &STREAMS, k).unwrap().coalition).collect();
        assert_eq!(drawn, draws.into_iter().map(|draw| draw.coalition).collect());
    }

    #[test]
    fn gives_whole_supports_and_no_more() {
        for (distribution, n, support) in [
            (Shapley, 3, 6),
            (Datamodel { alpha: 0.5 }, 4, 6),
            (Uniform, 3, 8),
            (Loo, 5, 5),
            (AddOneIn, 5, 5),
            (None, 5, 1),
            (RemovalDistribution::ShapleyPaired, 4, 14),
            (RemovalDistribution::LeveragePaired, 3, 6),
            (RemovalDistribution::Leverage, 3, 6),
            (RemovalDistribution::Permutation, 3, 6),
        ] {
            assert_eq!(unique_draws(&distribution, n, &STREAMS, support).unwrap().len(), support);
            let message = unique_draws(&distribution, n, &STREAMS, support + 1).unwrap_err().to_string();
            assert!(message.contains(&format!("has only {support}: ask for fewer")), "{message}");
        }
        assert!(unique_draws(&Shapley, 3, &STREAMS, 0).unwrap().is_empty());
        assert!(unique_draws(&Shapley, 1, &STREAMS, 1).is_err());
    }

    #[test]
    fn leaves_out_the_excluded() {
        let test: BTreeSet<Coalition> = unique_draws(&Datamodel { alpha: 0.5 }, 4, &STREAMS, 2)
            .unwrap()
            .into_iter()
            .map(|d| d.coalition)
            .collect();
        let train = unique_draws_except(&Shapley, 4, &STREAMS, 12, &test).unwrap();
        assert!(train.iter().all(|draw| !test.contains(&draw.coalition)));
        let message = unique_draws_except(&Shapley, 4, &STREAMS, 13, &test).unwrap_err().to_string();
        assert!(message.contains("has only 14, 2 of them excluded"), "{message}");
        // Coalitions that the distribution cannot give take nothing away from it.
        let full = BTreeSet::from([Coalition::full(4), Coalition::empty(4), Coalition::full(9)]);
        assert_eq!(unique_draws_except(&Shapley, 4, &STREAMS, 14, &full).unwrap().len(), 14);
        assert_eq!(unique_draws_except(&Loo, 4, &STREAMS, 4, &full).unwrap().len(), 4);
    }

    #[test]
    fn enumerating_distributions_end_with_an_error() {
        let excluded = BTreeSet::from([Loo.draw(4, &STREAMS, 1).unwrap().coalition]);
        let draws = unique_draws_except(&Loo, 4, &STREAMS, 3, &excluded).unwrap();
        assert_eq!(draws.iter().map(|draw| draw.index).collect::<Vec<_>>(), [0, 2, 3]);
        assert!(unique_draws_except(&Loo, 4, &STREAMS, 4, &excluded).is_err());
    }

    #[test]
    fn gives_up_on_coalitions_that_are_too_rare() {
        // One coalition is left, which one draw in 340,000 gives: (1/64) / (1/(8 * 8) + 2/(7 * 9) + ...) / 12870.
        let n = 16;
        let left = Coalition::from_members(n, 0..8).unwrap();
        let all = (0..1usize << n)
            .map(|mask| Coalition::from_members(n, (0..n).filter(|i| mask >> i & 1 == 1)).unwrap());
        let excluded: BTreeSet<Coalition> = all.filter(|coalition| *coalition != left).collect();
        let message = unique_draws_except(&Shapley, n, &STREAMS, 1, &excluded).unwrap_err().to_string();
        assert!(message.starts_with("only 0 of 1 distinct coalitions turned up in 11000 draws"), "{message}");
    }
}

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

//! Exact values by enumeration: the oracle for everything else.

use removal::Coalition;

use crate::AttributionError;
use crate::error::finite;

/// The largest game that is enumerated: 2^20 coalitions.
pub const EXACT_LIMIT: usize = 20;

/// The utilities of all 2^n coalitions. Entry `mask` is the coalition whose member i is bit i of `mask`.
///
/// # Errors
/// [`AttributionError::TooManyContributors`] beyond [`EXACT_LIMIT`], [`AttributionError::NotFinite`].
pub fn utility_of_all(n: usize, utility: impl Fn(&Coalition) -> f64) -> Result<Vec<f64>, AttributionError> {
    check_size(n)?;
    (0..1usize << n)
        .map(|mask| {
            let coalition = Coalition::from_members(n, (0..n).filter(|member| mask >> member & 1 == 1))?;
            finite(utility(&coalition), || format!("the utility of coalition {coalition}"))
        })
        .collect()
}

/// Shapley values from the utilities of all coalitions, as [`utility_of_all`] orders them:
/// `phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))` (Shapley 1953).
///
/// # Errors
/// [`AttributionError::TooFewContributors`] for n = 0, [`AttributionError::TooManyContributors`] beyond
/// [`EXACT_LIMIT`], [`AttributionError::WrongLength`] for a table that does not have 2^n entries.
pub fn exact_shapley(n: usize, utilities: &[f64]) -> Result<Vec<f64>, AttributionError> {
    // 1 / (n C(n-1, s)) for each size s of the coalition joined.
    let mut weights = vec![1.0; n];
    let mut binomial = 1.0;
    for (size, weight) in weights.iter_mut().enumerate() {
        *weight = 1.0 / (n as f64 * binomial);
        binomial = binomial * (n - 1 - size) as f64 / (size + 1) as f64;
    }
    marginal_sums(n, utilities, |size| weights[size])
}

/// Banzhaf values from the utilities of all coalitions: the mean of v(S + i) - v(S) over all S without i.
///
/// # Errors
/// As [`exact_shapley`].
pub fn exact_banzhaf(n: usize, utilities: &[f64]) -> Result<Vec<f64>, AttributionError> {
    let weight = 2f64.powi(1 - n.min(EXACT_LIMIT) as i32);
    marginal_sums(n, utilities, |_| weight)
}

pub(crate) fn marginal_sums(
    n: usize,
    utilities: &[f64],
    weight: impl Fn(usize) -> f64,
) -> Result<Vec<f64>, AttributionError> {
    if n == 0 {
        return Err(AttributionError::TooFewContributors { what: "exact attribution", needed: 1, found: 0 });
    }
    check_size(n)?;
    let (found, expected) = (utilities.len(), 1 << n);
    if found != expected {
        return Err(AttributionError::WrongLength { what: "the table of all utilities", found, expected });
    }
    let values = (0..n).map(|member| {
        let bit = 1 << member;
        let joined = (0..expected).filter(|mask| mask & bit == 0);
        joined
            .map(|mask| weight(mask.count_ones() as usize) * (utilities[mask | bit] - utilities[mask]))
            .sum()
    });
    Ok(values.collect())
}

fn check_size(n: usize) -> Result<(), AttributionError> {
    if n > EXACT_LIMIT {
        let what = "exact attribution";
        return Err(AttributionError::TooManyContributors { what, limit: EXACT_LIMIT, found: n });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_example() {
        // Three players, Shapley's own "two of three with a veto": v = 1 if player 0 and another are in.
        let veto = |c: &Coalition| f64::from(u8::from(c.contains(0) && c.len() >= 2));
        let table = utility_of_all(3, veto).unwrap();
        for (value, expected) in
            exact_shapley(3, &table).unwrap().iter().zip([2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0])
        {
            assert!((value - expected).abs() < 1e-15);
        }
        assert_eq!(exact_banzhaf(3, &table).unwrap(), [0.75, 0.25, 0.25]);
    }

    #[test]
    fn twenty_is_the_limit() {
        assert!(matches!(utility_of_all(21, |_| 0.0), Err(AttributionError::TooManyContributors { .. })));
        assert!(matches!(exact_shapley(3, &[0.0; 7]), Err(AttributionError::WrongLength { .. })));
        assert!(matches!(exact_shapley(0, &[0.0]), Err(AttributionError::TooFewContributors { .. })));
        let table: Vec<f64> = (0..1 << 20).map(|mask: u32| f64::from(mask)).collect();
        for (member, value) in exact_shapley(20, &table).unwrap().iter().enumerate() {
            assert!((value / f64::from(1 << member) - 1.0).abs() < 1e-9, "{member}: {value}");
        }
    }
}

//! Semivalues: Shapley, Banzhaf and Beta-Shapley values as averages of marginal contributions.

use serde::{Deserialize, Serialize};
use statrs::function::beta::ln_beta;
use statrs::function::factorial::ln_binomial;

use crate::AttributionError;
use crate::exact::marginal_sums;

/// How much each size of the coalition that a contributor joins counts (Dubey, Neyman & Weber 1981):
/// ```text
/// phi_i = sum over s = 0..n-1 of P_s * mean over S without i, |S| = s, of (v(S + i) - v(S)),   sum of P_s = 1
/// ```
/// In serde formats: `shapley`, `banzhaf`, `{ beta_shapley = { alpha = 16.0, beta = 1.0 } }`.
///
/// ```
/// use attribution_lds::Semivalue;
///
/// assert_eq!(Semivalue::Shapley.size_weights(4)?, [0.25; 4]);
/// assert_eq!(Semivalue::Banzhaf.size_weights(3)?, [0.25, 0.5, 0.25]);
/// let early = Semivalue::BetaShapley { alpha: 16.0, beta: 1.0 }.size_weights(4)?;
/// assert!(early[0] > 0.8, "joining nobody counts most: {early:?}");
/// # Ok::<(), attribution_lds::AttributionError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Semivalue {
    /// P_s = 1/n: every size counts alike, and the values sum to v(all) - v(none).
    #[default]
    Shapley,
    /// P_s = C(n-1, s) / 2^(n-1): every coalition counts alike (data Banzhaf, Wang & Jia 2023).
    Banzhaf,
    /// P_s = C(n-1, s) B(s + beta, n-1-s + alpha) / B(alpha, beta) (Kwon & Zou 2022, eq. 5): a beta-binomial number of others.
    /// (1, 1) is Shapley; a larger alpha looks more at small coalitions, a larger beta more at large ones.
    BetaShapley {
        /// First parameter, positive.
        alpha: f64,
        /// Second parameter, positive.
        beta: f64,
    },
}

impl Semivalue {
    /// Refuses parameters that are not positive and finite.
    pub(crate) fn check(&self) -> Result<(), AttributionError> {
        if let Semivalue::BetaShapley { alpha, beta } = *self {
            for (setting, value) in [("beta-Shapley's alpha", alpha), ("beta-Shapley's beta", beta)] {
                if !(value.is_finite() && value > 0.0) {
                    return Err(AttributionError::OutOfRange {
                        setting,
                        value,
                        range: "positive and finite",
                    });
                }
            }
        }
        Ok(())
    }

    /// P_s for s = 0..n-1.
    ///
    /// # Errors
    /// [`AttributionError::OutOfRange`] for Beta-Shapley parameters that are not positive and finite.
    pub fn size_weights(&self, n: usize) -> Result<Vec<f64>, AttributionError> {
        self.check()?;
        let others = n.saturating_sub(1);
        let ln_choose = |size: usize| ln_binomial(others as u64, size as u64);
        let weight = |size: usize| match *self {
            Semivalue::Shapley => 1.0 / n as f64,
            Semivalue::Banzhaf if others < 60 => (ln_choose(size).exp()).round() * 0.5f64.powi(others as i32),
            Semivalue::Banzhaf => (ln_choose(size) - others as f64 * std::f64::consts::LN_2).exp(),
            Semivalue::BetaShapley { alpha, beta } => {
                let moment = ln_beta(size as f64 + beta, (others - size) as f64 + alpha);
                (ln_choose(size) + moment - ln_beta(alpha, beta)).exp()
            }
        };
        Ok((0..n).map(weight).collect())
    }

    /// The values in the game that is 1 for coalitions with all of `inside` given contributors and none of `outside` others:
    /// of one of the first, and of one of the second. Whoever else plays does not matter.
    pub(crate) fn of_conjunction(&self, inside: usize, outside: usize) -> (f64, f64) {
        let (a, b) = (inside as f64, outside as f64);
        match *self {
            Semivalue::Shapley => {
                Semivalue::BetaShapley { alpha: 1.0, beta: 1.0 }.of_conjunction(inside, outside)
            }
            Semivalue::Banzhaf => {
                let value = 0.5f64.powi((inside + outside) as i32 - 1);
                (value, -value)
            }
            Semivalue::BetaShapley { alpha, beta } => {
                let whole = ln_beta(alpha, beta);
                let first = if inside > 0 { (ln_beta(a - 1.0 + beta, b + alpha) - whole).exp() } else { 0.0 };
                let second =
                    if outside > 0 { (ln_beta(a + beta, b - 1.0 + alpha) - whole).exp() } else { 0.0 };
                (first, -second)
            }
        }
    }
}

/// A semivalue of each contributor from the utilities of all coalitions, as [`crate::utility_of_all`] orders them.
///
/// # Errors
/// As [`crate::exact_shapley`], and those of [`Semivalue::size_weights`].
///
/// ```
/// use attribution_lds::{Semivalue, exact_banzhaf, exact_semivalue, utility_of_all};
///
/// let table = utility_of_all(3, |coalition| (coalition.len() as f64).sqrt())?;
/// assert_eq!(exact_semivalue(Semivalue::Banzhaf, 3, &table)?, exact_banzhaf(3, &table)?);
/// # Ok::<(), attribution_lds::AttributionError>(())
/// ```
pub fn exact_semivalue(
    semivalue: Semivalue,
    n: usize,
    utilities: &[f64],
) -> Result<Vec<f64>, AttributionError> {
    let mut binomial = 1.0;
    let mut weights = semivalue.size_weights(n)?;
    for (size, weight) in weights.iter_mut().enumerate() {
        *weight /= binomial;
        binomial = binomial * (n - 1 - size) as f64 / (size + 1) as f64;
    }
    marginal_sums(n, utilities, |size| weights[size])
}

#[cfg(test)]
mod tests {
    use removal::Coalition;

    use super::*;
    use crate::{exact_banzhaf, exact_shapley, utility_of_all};

    const ALL: [Semivalue; 4] = [
        Semivalue::Shapley,
        Semivalue::Banzhaf,
        Semivalue::BetaShapley { alpha: 16.0, beta: 1.0 },
        Semivalue::BetaShapley { alpha: 0.5, beta: 3.0 },
    ];

    #[test]
    fn weights_sum_to_one_and_one_one_is_shapley() {
        for n in [1, 2, 5, 12, 100, 3000] {
            for semivalue in ALL {
                let sum: f64 = semivalue.size_weights(n).unwrap().iter().sum();
                assert!((sum - 1.0).abs() < 1e-9, "{semivalue:?} of {n}: {sum}");
            }
            let flat = Semivalue::BetaShapley { alpha: 1.0, beta: 1.0 }.size_weights(n).unwrap();
            assert!(flat.iter().all(|weight| (weight * n as f64 - 1.0).abs() < 1e-9));
        }
        let error = Semivalue::BetaShapley { alpha: 0.0, beta: 1.0 }.size_weights(3).unwrap_err();
        assert!(error.to_string().contains("alpha is 0"), "{error}");
    }

    /// Kwon & Zou's weight n B(j + beta - 1, n - j + alpha) / B(alpha, beta) of the mean over joined coalitions of j - 1,
    /// written with factorials: Beta(2, 1) has n * 2 (j-1)! (n-j+1)! / (n+1)!, and a coalition weighs it over n C(n-1, j-1).
    #[test]
    fn beta_two_one_by_factorials() {
        let n = 5;
        let factorial = |k: usize| (1..=k).product::<usize>() as f64;
        let choose = |n, k| factorial(n) / factorial(k) / factorial(n - k);
        let weights = Semivalue::BetaShapley { alpha: 2.0, beta: 1.0 }.size_weights(n).unwrap();
        for j in 1..=n {
            let expected =
                choose(n - 1, j - 1) * 2.0 * factorial(j - 1) * factorial(n - j + 1) / factorial(n + 1);
            assert!((weights[j - 1] - expected).abs() < 1e-12, "{j}");
        }
    }

    #[test]
    fn enumeration_agrees_with_its_special_cases_and_with_conjunctions() {
        let n = 6;
        let table =
            utility_of_all(n, |c: &Coalition| (1.0 + c.members().map(|i| i * i).sum::<usize>() as f64).ln());
        let table = table.unwrap();
        let close = |one: Vec<f64>, two: Vec<f64>| one.iter().zip(&two).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(
            exact_semivalue(Semivalue::Shapley, n, &table).unwrap(),
            exact_shapley(n, &table).unwrap()
        ));
        assert!(close(
            exact_semivalue(Semivalue::Banzhaf, n, &table).unwrap(),
            exact_banzhaf(n, &table).unwrap()
        ));
        for semivalue in ALL {
            for (inside, outside) in [(1, 0), (3, 0), (0, 2), (2, 2), (1, 3), (0, 1)] {
                let game = |c: &Coalition| {
                    let all = (0..inside).all(|i| c.contains(i));
                    let none = (inside..inside + outside).all(|i| !c.contains(i));
                    f64::from(u8::from(all && none))
                };
                let exact = exact_semivalue(semivalue, n, &utility_of_all(n, game).unwrap()).unwrap();
                let (first, second) = semivalue.of_conjunction(inside, outside);
                for (player, value) in exact.iter().enumerate() {
                    let expected = match player {
                        _ if player < inside => first,
                        _ if player < inside + outside => second,
                        _ => 0.0,
                    };
                    assert!((value - expected).abs() < 1e-12, "{semivalue:?} {inside} {outside} {player}");
                }
            }
        }
    }
}

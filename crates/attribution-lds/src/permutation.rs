//! Permutation sampling: marginal contributions along random orders.

use serde::{Deserialize, Serialize};

use crate::attribution::{Attribution, Diagnostics};
use crate::interval::{check_level, student_intervals};
use crate::{AttributionError, Estimator, IntervalMethod, Observations, Semivalue, UtilityRow};

/// Permutation sampling (Castro, Gomez & Tejada 2009): contributors join in a random order, each is credited with what the
/// utility changes when it joins, and the orders are averaged. With the place s = 0..n-1 of i in an order,
/// ```text
/// phi_i = mean over orders of  n P_s (v(first s of the order, and i) - v(first s of the order))
/// ```
/// where P is the [`Semivalue`]'s; n P_s = 1 for Shapley values, whose estimates then sum to v(all) - v(none) exactly.
///
/// Rows must stand as `permutation` or `permutation_antithetic` draws them: sizes 1, 2, ..., n-1, each containing the one
/// before. An order that is not complete (cut off at the end of the budget) is left out, since its early places alone would
/// favour small coalitions; [`Diagnostics::left_out`] counts its rows. An order and the same one backwards, one after the
/// other, are one unit.
///
/// Intervals: Student's t over units (orders, or pairs of opposite ones), unbounded for fewer than two.
///
/// ```
/// use attribution_lds::{FnGame, Game, PermutationSampling};
/// use removal::{Coalition, RemovalDistribution};
/// use streams::Streams;
///
/// // A conference needs both contributors 0 and 1.
/// let game = FnGame::new(3, |c: &Coalition| f64::from(u8::from(c.contains(0) && c.contains(1))));
/// let observations = game.observe(RemovalDistribution::PermutationAntithetic, 40, &Streams::new(7))?;
/// let values = PermutationSampling::default().fit(&observations)?.values;
/// // An order and its reverse differ in who of 0 and 1 comes last, so that even few are exact.
/// assert!((values[0] - 0.5).abs() < 1e-12 && (values[1] - 0.5).abs() < 1e-12 && values[2].abs() < 1e-12);
/// # Ok::<(), attribution_lds::AttributionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PermutationSampling {
    /// Which value is estimated.
    pub semivalue: Semivalue,
    /// Confidence level of the intervals.
    pub level: f64,
}

impl Default for PermutationSampling {
    fn default() -> PermutationSampling {
        PermutationSampling { semivalue: Semivalue::Shapley, level: 0.95 }
    }
}

impl PermutationSampling {
    /// Estimates the values.
    ///
    /// # Errors
    /// [`AttributionError::NoOrder`] if no order is complete, [`AttributionError::TooFewContributors`] for n < 2,
    /// [`AttributionError::OutOfRange`] for the level or the semivalue's parameters.
    pub fn fit(&self, observations: &Observations) -> Result<Attribution, AttributionError> {
        check_level(self.level)?;
        let n = observations.n();
        if n < 2 {
            return Err(AttributionError::TooFewContributors {
                what: "permutation sampling",
                needed: 2,
                found: n,
            });
        }
        let factors: Vec<f64> =
            self.semivalue.size_weights(n)?.into_iter().map(|weight| weight * n as f64).collect();
        let rows = observations.draws().rows();
        let orders = orders(n, rows);
        if orders.is_empty() {
            return Err(AttributionError::NoOrder { rows: rows.len(), needed: n - 1 });
        }
        let mut units: Vec<Vec<f64>> = Vec::new();
        let mut place = 0;
        while place < orders.len() {
            let opposite = orders
                .get(place + 1)
                .is_some_and(|next| next.members.iter().rev().eq(orders[place].members.iter()));
            let together = &orders[place..place + if opposite { 2 } else { 1 }];
            let mut marginals = vec![0.0; n];
            for order in together {
                let mut before = observations.none();
                for (size, &member) in order.members.iter().enumerate() {
                    let after = match rows[order.start..].get(size) {
                        Some(row) if size + 1 < n => row.mean(),
                        _ => observations.full(),
                    };
                    marginals[member] += factors[size] * (after - before) / together.len() as f64;
                    before = after;
                }
            }
            units.push(marginals);
            place += together.len();
        }
        let (values, closed_form) = student_intervals(IntervalMethod::Sampling, self.level, n, &units);
        let table = observations.draws();
        let used = orders.len() * (n - 1);
        Ok(Attribution {
            estimator: Estimator::Permutation,
            values,
            intercept: observations.none(),
            size_effect: Vec::new(),
            penalty: None,
            closed_form: Some(closed_form),
            bootstrap: None,
            diagnostics: Diagnostics {
                contributors: n,
                draws: used,
                distinct_coalitions: table.coalitions().len(),
                left_out: rows.len() - used,
                rank: n,
                full_rank: n,
                no_residual: units.len() < 2,
                constant_utilities: table.is_constant(),
                endpoint_runs: Some((observations.full_runs().len(), observations.none_runs().len())),
                ..Diagnostics::default()
            },
        })
    }
}

/// A complete order and where its first row stands.
struct Order {
    start: usize,
    members: Vec<usize>,
}

/// The complete orders among the rows.
fn orders(n: usize, rows: &[UtilityRow]) -> Vec<Order> {
    let mut found = Vec::new();
    let mut start = 0;
    while start + n - 1 <= rows.len() {
        match order(n, &rows[start..start + n - 1]) {
            Some(members) => {
                found.push(Order { start, members });
                start += n - 1;
            }
            None => start += 1,
        }
    }
    found
}

/// The rows of each complete order, together with those of the same order backwards where that follows.
pub(crate) fn order_units(n: usize, rows: &[UtilityRow]) -> Vec<std::ops::Range<usize>> {
    if n < 2 {
        return Vec::new();
    }
    let orders = orders(n, rows);
    let mut units = Vec::new();
    let mut place = 0;
    while place < orders.len() {
        let together = if opposite(&orders, place) { 2 } else { 1 };
        units.push(orders[place].start..orders[place + together - 1].start + n - 1);
        place += together;
    }
    units
}

/// Whether the order behind the one at `place` is the same backwards.
fn opposite(orders: &[Order], place: usize) -> bool {
    orders.get(place + 1).is_some_and(|next| {
        next.start == orders[place].start + next.members.len() - 1
            && next.members.iter().rev().eq(orders[place].members.iter())
    })
}

/// Who joins at each place, if the rows are the beginnings of one order.
fn order(n: usize, rows: &[UtilityRow]) -> Option<Vec<usize>> {
    let mut members = Vec::with_capacity(n);
    let mut before = removal::Coalition::empty(n);
    for row in rows {
        let now = row.coalition();
        let mut joined = now.members().filter(|&member| !before.contains(member));
        let newcomer = joined.next()?;
        if joined.next().is_some() || now.len() != before.len() + 1 {
            return None;
        }
        members.push(newcomer);
        before = now.clone();
    }
    members.extend(before.complement().members());
    Some(members)
}

#[cfg(test)]
mod tests {
    use removal::{Coalition, RemovalDistribution};
    use streams::Streams;

    use super::*;
    use crate::{FnGame, Game, UtilityTable, exact_semivalue, utility_of_all};

    /// All orders of four contributors give the exact values.
    #[test]
    fn all_orders_are_exact() {
        let n = 4;
        let utility = |c: &Coalition| (1.0 + c.members().map(|i| i * i).sum::<usize>() as f64).sqrt();
        let mut table = UtilityTable::new(n);
        let mut count = 0;
        for code in 0..256usize {
            let order: Vec<usize> = (0..4).map(|place| code >> (2 * place) & 3).collect();
            if (0..4).all(|i| order.contains(&i)) {
                count += 1;
                for size in 1..n {
                    let coalition = Coalition::from_members(n, order[..size].iter().copied()).unwrap();
                    let value = utility(&coalition);
                    table.push(coalition, value).unwrap();
                }
            }
        }
        assert_eq!(count, 24);
        let ends = [Coalition::full(n), Coalition::empty(n)].map(|c| vec![utility(&c)]);
        let [full, none] = ends;
        let observations = Observations::new(table, full, none).unwrap();
        for semivalue in
            [Semivalue::Shapley, Semivalue::Banzhaf, Semivalue::BetaShapley { alpha: 4.0, beta: 1.0 }]
        {
            let exact = exact_semivalue(semivalue, n, &utility_of_all(n, utility).unwrap()).unwrap();
            let fit = PermutationSampling { semivalue, ..Default::default() }.fit(&observations).unwrap();
            for (value, exact) in fit.values.iter().zip(&exact) {
                assert!((value - exact).abs() < 1e-12, "{semivalue:?}: {value} {exact}");
            }
        }
    }

    #[test]
    fn incomplete_orders_are_left_out_and_counted() {
        let game = FnGame::new(5, |c: &Coalition| c.len() as f64);
        let observe =
            |count| game.observe(RemovalDistribution::Permutation, count, &Streams::new(1)).unwrap();
        let fit = PermutationSampling::default().fit(&observe(11)).unwrap();
        assert_eq!((fit.diagnostics.draws, fit.diagnostics.left_out), (8, 3));
        let short = PermutationSampling::default().fit(&observe(3)).unwrap_err().to_string();
        assert!(short.contains("3 rows") && short.contains("4"), "{short}");
        let one = PermutationSampling::default().fit(&observe(4)).unwrap();
        assert!(one.diagnostics.no_residual && !one.intervals()[0].is_bounded());
    }
}

//! What was observed of a game.

use std::collections::BTreeSet;

use removal::Coalition;

use crate::AttributionError;
use crate::error::finite;

/// One draw of a coalition and the utilities of the models trained for it.
#[derive(Clone, Debug, PartialEq)]
pub struct UtilityRow {
    coalition: Coalition,
    runs: Vec<f64>,
    times: u32,
}

impl UtilityRow {
    /// The coalition.
    pub fn coalition(&self) -> &Coalition {
        &self.coalition
    }

    /// The utilities of its runs (several seeds give several), at least one.
    pub fn runs(&self) -> &[f64] {
        &self.runs
    }

    /// How many draws this row stands for.
    pub fn times(&self) -> u32 {
        self.times
    }

    /// The mean utility of its runs.
    pub fn mean(&self) -> f64 {
        mean(&self.runs)
    }
}

/// Coalitions with their utilities, in the order they were added. Training draws and test sets alike.
///
/// A row is one draw. The same coalition may stand in several rows (it was drawn and retrained several times); a row
/// may hold several runs (one draw, retrained with several seeds: their mean counts, once).
#[derive(Clone, Debug, PartialEq)]
pub struct UtilityTable {
    n: usize,
    rows: Vec<UtilityRow>,
}

impl UtilityTable {
    /// An empty table of a game with `n` contributors.
    pub fn new(n: usize) -> UtilityTable {
        UtilityTable { n, rows: Vec::new() }
    }

    /// A table with one run a row.
    ///
    /// # Errors
    /// Those of [`UtilityTable::push`].
    pub fn from_pairs(
        n: usize,
        pairs: impl IntoIterator<Item = (Coalition, f64)>,
    ) -> Result<UtilityTable, AttributionError> {
        let mut table = UtilityTable::new(n);
        for (coalition, utility) in pairs {
            table.push(coalition, utility)?;
        }
        Ok(table)
    }

    /// Adds a draw with one run.
    ///
    /// # Errors
    /// [`AttributionError::WrongContributors`] or [`AttributionError::NotFinite`].
    pub fn push(&mut self, coalition: Coalition, utility: f64) -> Result<(), AttributionError> {
        self.push_runs(coalition, vec![utility])
    }

    /// Adds a draw with the utilities of several runs.
    ///
    /// # Errors
    /// As [`UtilityTable::push`], and [`AttributionError::Empty`] without any run.
    pub fn push_runs(&mut self, coalition: Coalition, runs: Vec<f64>) -> Result<(), AttributionError> {
        self.push_times(coalition, runs, 1)
    }

    /// Adds a coalition that was drawn `times` times but run only once (or once for each of `runs`).
    ///
    /// It weighs as much as `times` rows. In intervals it is one unit: repeating a number does not make it surer.
    ///
    /// # Errors
    /// As [`UtilityTable::push_runs`]; `times` of 0 is [`AttributionError::OutOfRange`].
    pub fn push_times(
        &mut self,
        coalition: Coalition,
        runs: Vec<f64>,
        times: u32,
    ) -> Result<(), AttributionError> {
        let row = self.rows.len();
        if coalition.n() != self.n {
            return Err(AttributionError::WrongContributors { row, found: coalition.n(), expected: self.n });
        }
        if runs.is_empty() {
            return Err(AttributionError::Empty {
                what: format!("utilities in row {row}, coalition {coalition}"),
            });
        }
        for &utility in &runs {
            finite(utility, || format!("a utility in row {row}, coalition {coalition},"))?;
        }
        if times == 0 {
            return Err(AttributionError::OutOfRange { setting: "times", value: 0.0, range: "at least 1" });
        }
        self.rows.push(UtilityRow { coalition, runs, times });
        Ok(())
    }

    /// Number of contributors of the game.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows.
    pub fn rows(&self) -> &[UtilityRow] {
        &self.rows
    }

    /// The different coalitions among the rows.
    pub fn coalitions(&self) -> BTreeSet<&Coalition> {
        self.rows.iter().map(UtilityRow::coalition).collect()
    }

    /// Whether all rows have one mean utility (true without rows): nothing to learn from them.
    pub fn is_constant(&self) -> bool {
        self.rows.windows(2).all(|pair| pair[0].mean() == pair[1].mean())
    }

    /// The first `count` rows (all if there are fewer): what a smaller budget would have seen.
    pub fn first(&self, count: usize) -> UtilityTable {
        self.filtered(|place, _| place < count)
    }

    /// The rows whose coalition does not occur in `other`: training draws without those of a test set.
    pub fn without(&self, other: &UtilityTable) -> UtilityTable {
        let others = other.coalitions();
        self.filtered(|_, row| !others.contains(row.coalition()))
    }

    pub(crate) fn filtered(&self, keep: impl Fn(usize, &UtilityRow) -> bool) -> UtilityTable {
        let rows = self.rows.iter().enumerate().filter(|(place, row)| keep(*place, row));
        UtilityTable { n: self.n, rows: rows.map(|(_, row)| row.clone()).collect() }
    }
}

/// A table of draws together with v(all) and v(none): what Shapley estimators need.
///
/// ```
/// use attribution_lds::{Observations, UtilityTable};
/// use removal::Coalition;
///
/// let mut draws = UtilityTable::new(3);
/// draws.push(Coalition::from_members(3, [0, 2])?, 1.5)?;
/// draws.push(Coalition::from_members(3, [1])?, 0.5)?;
/// let observations = Observations::new(draws, vec![2.0, 2.1], vec![0.0])?;
/// assert_eq!(observations.full(), 2.05);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Observations {
    draws: UtilityTable,
    full_runs: Vec<f64>,
    none_runs: Vec<f64>,
}

impl Observations {
    /// Draws with the utilities of one or more runs with all contributors and with none.
    ///
    /// # Errors
    /// [`AttributionError::Empty`] for a table or list without entries, [`AttributionError::NotFinite`].
    pub fn new(
        draws: UtilityTable,
        full_runs: Vec<f64>,
        none_runs: Vec<f64>,
    ) -> Result<Observations, AttributionError> {
        if draws.is_empty() {
            return Err(AttributionError::Empty { what: "observed coalitions".into() });
        }
        for (runs, name) in [(&full_runs, "v(all)"), (&none_runs, "v(none)")] {
            if runs.is_empty() {
                return Err(AttributionError::Empty { what: format!("runs of {name}") });
            }
            for &utility in runs {
                finite(utility, || name.to_string())?;
            }
        }
        Ok(Observations { draws, full_runs, none_runs })
    }

    /// Number of contributors.
    pub fn n(&self) -> usize {
        self.draws.n()
    }

    /// The draws.
    pub fn draws(&self) -> &UtilityTable {
        &self.draws
    }

    /// The runs with all contributors.
    pub fn full_runs(&self) -> &[f64] {
        &self.full_runs
    }

    /// The runs with none.
    pub fn none_runs(&self) -> &[f64] {
        &self.none_runs
    }

    /// v(all): the mean of its runs.
    pub fn full(&self) -> f64 {
        mean(&self.full_runs)
    }

    /// v(none): the mean of its runs.
    pub fn none(&self) -> f64 {
        mean(&self.none_runs)
    }

    /// The same endpoints with other draws of the same game (a part of them, for instance).
    ///
    /// # Errors
    /// [`AttributionError::Empty`], or [`AttributionError::WrongContributors`] for a table of another game.
    pub fn with_draws(&self, draws: UtilityTable) -> Result<Observations, AttributionError> {
        if draws.n() != self.n() {
            return Err(AttributionError::WrongContributors { row: 0, found: draws.n(), expected: self.n() });
        }
        Observations::new(draws, self.full_runs.clone(), self.none_runs.clone())
    }
}

/// The mean of at least one number.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The unbiased variance; `None` for fewer than two numbers.
pub(crate) fn variance(values: &[f64]) -> Option<f64> {
    let center = mean(values);
    let sum: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    (values.len() > 1).then(|| sum / (values.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(members: &[usize]) -> Coalition {
        Coalition::from_members(3, members.iter().copied()).unwrap()
    }

    #[test]
    fn bad_input_is_named() {
        let mut table = UtilityTable::new(3);
        table.push(pair(&[0]), 1.0).unwrap();
        let message = |error: AttributionError| error.to_string();
        let nan = message(table.push(pair(&[0, 2]), f64::NAN).unwrap_err());
        assert!(nan.contains("row 1") && nan.contains("3:5") && nan.contains("NaN"), "{nan}");
        let wrong = message(table.push(Coalition::full(4), 1.0).unwrap_err());
        assert!(wrong.contains("4 contributors") && wrong.contains('3'), "{wrong}");
        assert!(matches!(table.push_runs(pair(&[1]), vec![]), Err(AttributionError::Empty { .. })));
        assert!(matches!(
            table.push_times(pair(&[1]), vec![1.0], 0),
            Err(AttributionError::OutOfRange { .. })
        ));
        assert_eq!(table.len(), 1);
        let empty = message(Observations::new(UtilityTable::new(3), vec![1.0], vec![0.0]).unwrap_err());
        assert!(empty.contains("observed coalitions"), "{empty}");
        let none = message(Observations::new(table.clone(), vec![1.0], vec![]).unwrap_err());
        assert!(none.contains("v(none)"), "{none}");
        let infinite = message(Observations::new(table, vec![f64::INFINITY], vec![0.0]).unwrap_err());
        assert!(infinite.contains("v(all) is inf"), "{infinite}");
    }

    #[test]
    fn tables_are_cut_and_compared() {
        let train =
            UtilityTable::from_pairs(3, [(pair(&[0]), 1.0), (pair(&[1]), 2.0), (pair(&[0]), 3.0)]).unwrap();
        let test = UtilityTable::from_pairs(3, [(pair(&[0]), 9.0)]).unwrap();
        assert_eq!(train.without(&test).rows()[0].coalition(), &pair(&[1]));
        assert_eq!(train.without(&test).len(), 1);
        assert_eq!(train.first(2).len(), 2);
        assert_eq!(train.coalitions().len(), 2);
        assert!(!train.is_constant() && test.is_constant());
    }
}

//! Shapley values of a proxy game: boosted trees fitted to the utilities of few coalitions.

use removal::Coalition;
use serde::{Deserialize, Serialize};

use crate::trees::{Boosting, TreeRow, Trees};
use crate::{AttributionError, Observations, Semivalue};

/// Settings of a surrogate game: regression trees on who is in, fitted one after the other to what the earlier ones leave
/// (Friedman 2001, least-squares boosting).
///
/// With residuals r and weights w (how often a coalition was drawn), a node splits on the contributor that most raises the
/// sum over its two children of `(sum w r)^2 / (sum w + penalty)`, the first of equals; a leaf adds
/// `learning_rate (sum w r) / (sum w + penalty)`. The first prediction is the weighted mean of the utilities. v(all) and
/// v(none) are rows like the others. [`crate::Surrogate::Trees`] grows the same trees, with settings of its own.
///
/// The Shapley values of the fitted game are exact and need no enumeration. A leaf's path asks for contributors A to be in
/// and B to be out; the game that is 1 for those coalitions and else 0 gives each of A `(|A|-1)! |B|! / (|A|+|B|)!` and
/// each of B `-|A|! (|B|-1)! / (|A|+|B|)!`, and Shapley values add up over leaves and trees. What is missing from
/// v(all) - v(none) as observed is shared out equally, so that the scores are efficient.
///
/// Source: Lu et al. 2026, SurrogateSHAP, <https://arxiv.org/abs/2601.22276>, for fitting a game by boosted trees and
/// deriving its Shapley values from them; the closed form is interventional TreeSHAP (Lundberg et al. 2020) with the
/// empty coalition as its only reference. Its other half, utilities by a conditional model without retraining, asks for a
/// network conditioned on contributors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TreeSurrogate {
    /// Number of trees.
    pub trees: usize,
    /// Splits between root and leaf, at most: contributors whose interaction one tree can hold.
    pub depth: usize,
    /// Share of its fit that each tree adds, in (0, 1].
    pub learning_rate: f64,
    /// Added to the weight of every node, at least 0: shrinks the leaves of few coalitions.
    pub penalty: f64,
    /// Least weight of a leaf.
    pub min_leaf: f64,
}

impl Default for TreeSurrogate {
    fn default() -> Self {
        Self { trees: 300, depth: 3, learning_rate: 0.05, penalty: 1.0, min_leaf: 2.0 }
    }
}

/// A fitted surrogate game.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeSurrogateFit {
    /// Shapley values by contributor, adding up to v(all) - v(none) as observed.
    pub values: Vec<f64>,
    /// What was added to each value for that: the surrogate's error of v(all) - v(none), over n.
    pub efficiency_shift: f64,
    /// Root mean squared error of the surrogate on its own rows.
    pub training_error: f64,
    mean: f64,
    trees: Trees,
}

impl TreeSurrogate {
    /// Fits the surrogate game and gives its Shapley values.
    ///
    /// # Errors
    /// [`AttributionError::OutOfRange`] for a setting out of its range, [`AttributionError::Empty`] without draws,
    /// [`AttributionError::TooFewContributors`] for n = 0.
    pub fn fit(&self, observations: &Observations) -> Result<TreeSurrogateFit, AttributionError> {
        self.validate()?;
        let n = observations.n();
        if n == 0 {
            let what = "a tree surrogate";
            return Err(AttributionError::TooFewContributors { what, needed: 1, found: 0 });
        }
        if observations.draws().is_empty() {
            return Err(AttributionError::Empty { what: "draws for a tree surrogate".into() });
        }
        let ends = [(Coalition::full(n), observations.full()), (Coalition::empty(n), observations.none())];
        let draws = observations.draws().rows().iter();
        let draws = draws.map(|row| (row.coalition(), row.mean(), f64::from(row.times())));
        let ends = ends.iter().map(|(coalition, utility)| (coalition, *utility, 1.0));
        let mut rows: Vec<TreeRow> = draws
            .chain(ends)
            .map(|(coalition, target, weight)| TreeRow { coalition, target, weight, count: weight })
            .collect();
        let total: f64 = rows.iter().map(|row| row.weight).sum();
        let mean = rows.iter().map(|row| row.weight * row.target).sum::<f64>() / total;
        rows.iter_mut().for_each(|row| row.target -= mean);
        let &TreeSurrogate { trees, depth, learning_rate, penalty, min_leaf } = self;
        let trees = Trees::fit(n, Boosting { trees, depth, learning_rate, penalty, min_leaf }, &mut rows);
        let squares: f64 = rows.iter().map(|row| row.weight * row.target * row.target).sum();
        let mut values = vec![0.0; n];
        trees.add_values(Semivalue::Shapley, &mut values);
        let missing = observations.full() - observations.none() - values.iter().sum::<f64>();
        let efficiency_shift = missing / n as f64;
        values.iter_mut().for_each(|value| *value += efficiency_shift);
        let training_error = (squares / total).sqrt();
        Ok(TreeSurrogateFit { values, efficiency_shift, training_error, mean, trees })
    }

    fn validate(&self) -> Result<(), AttributionError> {
        let refuse = |setting, value, range| Err(AttributionError::OutOfRange { setting, value, range });
        if self.trees == 0 || self.depth == 0 {
            let (setting, value) =
                if self.trees == 0 { ("trees", self.trees) } else { ("depth", self.depth) };
            return refuse(setting, value as f64, "at least 1");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return refuse("learning_rate", self.learning_rate, "above 0 and at most 1");
        }
        for (setting, value) in [("penalty", self.penalty), ("min_leaf", self.min_leaf)] {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(setting, value, "a number of at least 0");
            }
        }
        Ok(())
    }
}

impl TreeSurrogateFit {
    /// The surrogate's utility of a coalition, interactions included.
    pub fn predict(&self, coalition: &Coalition) -> f64 {
        self.mean + self.trees.predict(coalition)
    }
}

#[cfg(test)]
mod tests {
    use removal::RemovalDistribution;
    use streams::Streams;

    use super::*;
    use crate::{FnGame, Game, UtilityTable, exact_shapley, utility_of_all};

    /// An additive game with a pair that only counts together, and one member who spoils it.
    fn game() -> FnGame<impl Fn(&Coalition) -> f64> {
        FnGame::new(8, |c: &Coalition| {
            let worth: f64 = c.members().map(|i| i as f64).sum();
            let pair = if c.contains(1) && c.contains(2) { 6.0 } else { 0.0 };
            let spoiled = if c.contains(0) && c.contains(7) { -4.0 } else { 0.0 };
            worth + pair + spoiled
        })
    }

    fn observed(count: usize) -> Observations {
        game().observe(RemovalDistribution::Shapley, count, &Streams::new(3)).unwrap()
    }

    #[test]
    fn values_are_the_exact_shapley_values_of_the_fitted_game() {
        for depth in [1, 2, 5] {
            let fit = TreeSurrogate { depth, ..TreeSurrogate::default() }.fit(&observed(60)).unwrap();
            let table = utility_of_all(8, |c| fit.predict(c)).unwrap();
            for (value, exact) in fit.values.iter().zip(exact_shapley(8, &table).unwrap()) {
                assert!((value - fit.efficiency_shift - exact).abs() < 1e-10, "{value} {exact}");
            }
            let sum: f64 = fit.values.iter().sum();
            assert!((sum - (game().utility(&Coalition::full(8)))).abs() < 1e-10, "{sum}");
        }
    }

    #[test]
    fn few_coalitions_come_close_to_a_game_with_interactions() {
        let exact = exact_shapley(8, &utility_of_all(8, |c| game().utility(c)).unwrap()).unwrap();
        let error = |count| {
            let fit = TreeSurrogate { trees: 600, ..TreeSurrogate::default() }.fit(&observed(count)).unwrap();
            fit.values.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        // Values lie between 0 and 6.
        assert!(error(120) < 0.5, "{}", error(120));
        assert!(error(120) < error(20), "{} {}", error(120), error(20));
    }

    #[test]
    fn one_full_step_gives_the_means_of_the_two_sides() {
        let table = UtilityTable::from_pairs(
            1,
            [(Coalition::full(1), 3.0), (Coalition::empty(1), 1.0), (Coalition::full(1), 5.0)],
        );
        let observations = Observations::new(table.unwrap(), vec![4.0], vec![1.0]).unwrap();
        let settings = TreeSurrogate { trees: 1, depth: 1, learning_rate: 1.0, penalty: 0.0, min_leaf: 0.0 };
        let fit = settings.fit(&observations).unwrap();
        assert!((fit.predict(&Coalition::full(1)) - 4.0).abs() < 1e-12);
        assert!((fit.predict(&Coalition::empty(1)) - 1.0).abs() < 1e-12);
        assert!((fit.values[0] - 3.0).abs() < 1e-12);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let base = TreeSurrogate::default;
        for (settings, name) in [
            (TreeSurrogate { trees: 0, ..base() }, "trees"),
            (TreeSurrogate { depth: 0, ..base() }, "depth"),
            (TreeSurrogate { learning_rate: 0.0, ..base() }, "learning_rate"),
            (TreeSurrogate { learning_rate: 1.5, ..base() }, "learning_rate"),
            (TreeSurrogate { penalty: -1.0, ..base() }, "penalty"),
            (TreeSurrogate { min_leaf: f64::NAN, ..base() }, "min_leaf"),
        ] {
            let message = settings.fit(&observed(5)).unwrap_err().to_string();
            assert!(message.starts_with(name), "{message}");
        }
    }
}

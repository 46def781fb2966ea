//! Shapley values of a proxy game: boosted trees fitted to the utilities of few coalitions.

use removal::Coalition;
use serde::{Deserialize, Serialize};

use crate::{AttributionError, Observations};

/// Settings of a surrogate game: regression trees on who is in, fitted one after the other to what the earlier ones leave
/// (Friedman 2001, least-squares boosting).
///
/// With residuals r and weights w (how often a coalition was drawn), a node splits on the contributor that most raises the
/// sum over its two children of `(sum w r)^2 / (sum w + penalty)`, the first of equals; a leaf adds
/// `learning_rate (sum w r) / (sum w + penalty)`. The first prediction is the weighted mean of the utilities. v(all) and
/// v(none) are rows like the others.
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
    trees: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Leaf(f64),
    Split { contributor: usize, out: Box<Node>, within: Box<Node> },
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
        let rows = Rows::new(observations);
        let total: f64 = rows.weights.iter().sum();
        let mean = rows.weights.iter().zip(&rows.utilities).map(|(w, y)| w * y).sum::<f64>() / total;
        let mut residuals: Vec<f64> = rows.utilities.iter().map(|y| y - mean).collect();
        let all: Vec<usize> = (0..residuals.len()).collect();
        let mut trees = Vec::with_capacity(self.trees);
        for _ in 0..self.trees {
            let tree = self.grow(&rows, &residuals, &all, self.depth);
            for (residual, row) in residuals.iter_mut().zip(&rows.members) {
                *residual -= tree.value(|contributor| row[contributor]);
            }
            trees.push(tree);
        }
        let squares: f64 = residuals.iter().zip(&rows.weights).map(|(r, w)| w * r * r).sum();
        let mut values = vec![0.0; n];
        for tree in &trees {
            tree.add_shapley(&mut Vec::new(), &mut Vec::new(), &mut values);
        }
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

    /// The tree over the rows `at`.
    fn grow(&self, rows: &Rows, residuals: &[f64], at: &[usize], depth: usize) -> Node {
        let sums = |at: &mut dyn Iterator<Item = usize>| {
            at.fold((0.0, 0.0), |(w, s), row| (w + rows.weights[row], s + rows.weights[row] * residuals[row]))
        };
        let (weight, sum) = sums(&mut at.iter().copied());
        let strength = |weight: f64, sum: f64| sum * sum / (weight + self.penalty);
        let leaf = Node::Leaf(self.learning_rate * sum / (weight + self.penalty));
        if depth == 0 {
            return leaf;
        }
        let mut best: Option<(f64, usize)> = None;
        for contributor in 0..rows.members[0].len() {
            let inside = |row: &usize| rows.members[*row][contributor];
            let (within, within_sum) = sums(&mut at.iter().copied().filter(|row| inside(row)));
            let (out, out_sum) = sums(&mut at.iter().copied().filter(|row| !inside(row)));
            if within.min(out) <= 0.0 || within.min(out) < self.min_leaf {
                continue;
            }
            let gain = strength(within, within_sum) + strength(out, out_sum) - strength(weight, sum);
            if gain > best.map_or(0.0, |(gain, _)| gain) {
                best = Some((gain, contributor));
            }
        }
        let Some((_, contributor)) = best else { return leaf };
        let (within, out): (Vec<usize>, Vec<usize>) =
            at.iter().partition(|&&row| rows.members[row][contributor]);
        let grow = |at: &[usize]| Box::new(self.grow(rows, residuals, at, depth - 1));
        Node::Split { contributor, out: grow(&out), within: grow(&within) }
    }
}

impl TreeSurrogateFit {
    /// The surrogate's utility of a coalition, interactions included.
    pub fn predict(&self, coalition: &Coalition) -> f64 {
        self.mean + self.trees.iter().map(|tree| tree.value(|member| coalition.contains(member))).sum::<f64>()
    }
}

impl Node {
    fn value(&self, contains: impl Fn(usize) -> bool) -> f64 {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(value) => return *value,
                Self::Split { contributor, out, within } => {
                    node = if contains(*contributor) { within } else { out };
                }
            }
        }
    }

    /// Adds the Shapley values of each leaf's game; `a` must be in and `b` out on the way here.
    fn add_shapley(&self, a: &mut Vec<usize>, b: &mut Vec<usize>, values: &mut [f64]) {
        match self {
            Self::Leaf(value) => {
                // k! l! / (k + l + 1)! for k = |A| - 1 and l = |B|, and the other way round.
                for &member in a.iter() {
                    values[member] += value * beta(a.len() - 1, b.len());
                }
                for &member in b.iter() {
                    values[member] -= value * beta(a.len(), b.len() - 1);
                }
            }
            Self::Split { contributor, out, within } => {
                // A split is never repeated on its way down: all rows of a child are on one side of it.
                a.push(*contributor);
                within.add_shapley(a, b, values);
                a.pop();
                b.push(*contributor);
                out.add_shapley(a, b, values);
                b.pop();
            }
        }
    }
}

/// `k! l! / (k + l + 1)!`
fn beta(k: usize, l: usize) -> f64 {
    let (small, large) = (k.min(l), k.max(l));
    // 1 / ((k + l + 1) C(k + l, small)), factor by factor.
    (1..=small).fold(1.0 / (k + l + 1) as f64, |product, i| product * i as f64 / (large + i) as f64)
}

/// The rows that trees are fitted to.
struct Rows {
    members: Vec<Vec<bool>>,
    utilities: Vec<f64>,
    weights: Vec<f64>,
}

impl Rows {
    fn new(observations: &Observations) -> Self {
        let n = observations.n();
        let ends = [(Coalition::full(n), observations.full()), (Coalition::empty(n), observations.none())];
        let mut rows = Self { members: Vec::new(), utilities: Vec::new(), weights: Vec::new() };
        let draws = observations.draws().rows().iter();
        let draws = draws.map(|row| (row.coalition().clone(), row.mean(), f64::from(row.times())));
        for (coalition, utility, weight) in draws.chain(ends.into_iter().map(|(c, v)| (c, v, 1.0))) {
            rows.members.push((0..n).map(|member| coalition.contains(member)).collect());
            rows.utilities.push(utility);
            rows.weights.push(weight);
        }
        rows
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
